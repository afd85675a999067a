"""Retrieval against a plain loop, chance by draws, ties, recipes, groups, the whole protocol."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cvrl.data.clips import ClipSpec
from cvrl.data.manifest import Manifest, make_manifest
from cvrl.data.splits import Parts, read_splits
from cvrl.evaluation.card import read_result
from cvrl.evaluation.evaluate import Options, evaluate
from cvrl.evaluation.protocols.retrieval import (
    MaxPooledMap,
    Search,
    chance_retrieval,
    retrieve,
    unit_features,
)
from cvrl.models.backbones import Encoder, build_encoder
from cvrl.utils.errors import UserError


def random_features(rows: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, 5, generator=torch.Generator().manual_seed(seed)).double()


def by_loop(
    query: torch.Tensor,
    gallery: torch.Tensor,
    query_labels: list[int],
    labels: list[int],
    k: int,
) -> tuple[float, float, float]:
    """R@k, mAP over classes and median rank, with sorted lists."""
    hits, ranks, precision = 0, [], dict[int, list[float]]()
    for vector, label in zip(query.tolist(), query_labels, strict=True):
        dots = [math.fsum(a * b for a, b in zip(vector, g, strict=True)) for g in gallery.tolist()]
        order = sorted(range(len(dots)), key=lambda i: -dots[i])
        right = [labels[i] == label for i in order]
        hits += any(right[:k])
        ranks.append(right.index(True) + 1 if any(right) else len(right) + 1)
        seen, total = 0, 0.0
        for place, one in enumerate(right, start=1):
            seen += one
            total += one * seen / place
        precision.setdefault(label, []).append(total / seen if seen else 0.0)
    mean_ap = float(np.mean([np.mean(values) for values in precision.values()]))
    return hits / len(query_labels), mean_ap, float(np.median(ranks))


class TestRanking:
    @settings(max_examples=30, deadline=None)
    @given(queries=st.integers(1, 9), gallery=st.integers(6, 12), seed=st.integers(0, 999))
    def test_equals_the_loop(self, queries: int, gallery: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        asked, known = rng.integers(0, 4, queries), rng.integers(0, 4, gallery)
        one, two = random_features(queries, seed), random_features(gallery, seed + 1)
        units = unit_features(one, two, "default")
        search = Search(torch.from_numpy(asked), torch.from_numpy(known))
        found = retrieve(*units, search, chunk=4)
        for k in (1, 5):
            recall, mean_ap, rank = by_loop(*units, asked.tolist(), known.tolist(), k)
            assert found.recall[k] == pytest.approx(recall)
            assert (found.mean_ap, found.median_rank) == (pytest.approx(mean_ap), rank)
        assert found.n_unmatched == sum(label not in known for label in asked)

    def test_a_k_of_the_whole_gallery_says_nothing(self) -> None:
        labels = torch.arange(12) % 3
        found = retrieve(random_features(12, 0), random_features(12, 1), Search(labels, labels))
        assert [k for k, share in found.recall.items() if share is None] == [20, 50]

    def test_a_collapsed_encoder_is_at_chance(self) -> None:
        """Whatever the order of the list: the first class would win if ties went by it."""
        labels = torch.arange(4).repeat_interleave(250)
        same = torch.ones(1000, 3).double()
        search = Search(labels, labels)
        found, chance = retrieve(same, same, search), chance_retrieval(search)
        for k in (1, 5, 10):
            assert found.recall[k] == pytest.approx(chance.recall[k], abs=0.05)
        assert found.mean_ap == pytest.approx(chance.mean_ap, abs=0.01)
        assert found.median_rank == pytest.approx(chance.median_rank, abs=1)

    def test_the_order_of_the_lists_changes_nothing(self) -> None:
        query, gallery = random_features(9, 3), random_features(30, 4)
        asked, known = torch.arange(9) % 3, torch.arange(30) % 3
        shuffled, turned = torch.randperm(30), torch.randperm(9)
        one = retrieve(query, gallery, Search(asked, known))
        two = retrieve(
            query[turned], gallery[shuffled], Search(asked[turned], known[shuffled]), seed=5
        )
        assert one.recall == two.recall and one.mean_ap == pytest.approx(two.mean_ap)


class TestChance:
    def test_against_draws(self) -> None:
        rng = np.random.default_rng(0)
        asked = torch.tensor([0, 0, 1, 2, 2, 3])
        known = torch.from_numpy(rng.integers(0, 4, 25))
        search, draws = Search(asked, known), 400
        chance = chance_retrieval(search)
        found = [
            retrieve(random_features(6, i), random_features(25, 10_000 + i), search)
            for i in range(draws)
        ]
        for k in (1, 5, 10):
            drawn = [one.recall[k] for one in found]
            assert chance.recall[k] == pytest.approx(np.mean(np.array(drawn)), abs=0.03)
        assert chance.mean_ap == pytest.approx(np.mean([f.mean_ap for f in found]), abs=0.02)

    def test_queries_without_a_match_count_as_misses(self) -> None:
        search = Search(torch.tensor([0, 7]), torch.tensor([0, 0, 0]))
        chance = chance_retrieval(search)
        assert (chance.recall[1], chance.n_unmatched, chance.mean_ap) == (0.5, 1, 0.5)


class TestGroups:
    def test_neighbours_of_the_own_group_do_not_exist(self) -> None:
        """A set that searches itself finds itself at once, and nothing of the kind without."""
        features, labels = random_features(8, 0), torch.arange(8) // 4
        groups = torch.arange(8) // 2
        units = unit_features(features, features, "vcop")
        assert retrieve(*units, Search(labels, labels)).recall[1] == 1.0
        apart = Search(labels, labels, groups, groups)
        n_M, r_M = apart.counts()
        assert (set(n_M), set(r_M)) == ({6}, {2})
        found = retrieve(*units, apart)
        kept = [[j for j in range(8) if groups[j] != groups[i]] for i in range(8)]
        best = [max(kept[i], key=lambda j: float(units[0][i] @ units[1][j])) for i in range(8)]
        share = np.mean([labels[j] == labels[i] for i, j in enumerate(best)])
        assert found.recall[1] == pytest.approx(share)
        assert found.recall[5] is not None and found.recall[10] is None

    def test_nothing_but_the_own_group(self) -> None:
        one = torch.zeros(3, dtype=torch.long)
        with pytest.raises(UserError, match="3 queries have no candidate"):
            Search(one, one, one, one)


class TestRecipes:
    def test_centring(self) -> None:
        query, gallery = random_features(6, 0) + 3, random_features(9, 1) - 2

        def unit(rows: torch.Tensor) -> torch.Tensor:
            return rows / rows.norm(dim=1, keepdim=True)

        default = unit(query - gallery.mean(0)), unit(gallery - gallery.mean(0))
        coclr = unit(query - query.mean(0)), unit(gallery - gallery.mean(0))
        for recipe, expected in (("default", default), ("coclr", coclr)):
            made = unit_features(query, gallery, recipe)  # type: ignore[arg-type]
            assert all(map(torch.allclose, made, expected))
        assert torch.allclose(unit_features(query, gallery, "vcop")[0], unit(query))

    def test_only_coclr_lets_queries_depend_on_each_other(self) -> None:
        query, gallery = random_features(6, 0), random_features(9, 1)
        for recipe, alone in (("default", True), ("vcop", True), ("coclr", False)):
            whole = unit_features(query, gallery, recipe)[0][:2]  # type: ignore[arg-type]
            part = unit_features(query[:2], gallery, recipe)[0]  # type: ignore[arg-type]
            assert torch.allclose(whole, part) == alone

    def test_the_map_of_vcop(self) -> None:
        """Its own numbers: a map of 512 x 2 x 7 x 7 gives 9216, as published; a loop agrees."""
        encoder = build_encoder("r3d_small", width=2)
        clips = torch.rand(2, 3, 16, 96, 96)
        res5 = encoder.eval().stages(clips)["res5"]
        pooled = MaxPooledMap(encoder)(clips)
        (B, C, T, H, W) = res5.shape
        expected = [
            res5[b, c, t, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max().item()
            for b in range(B)
            for c in range(C)
            for t in range(T)
            for i in range(H // 2)
            for j in range(W // 2)
        ]
        assert pooled.flatten().tolist() == pytest.approx(expected)
        assert 512 * 2 * (7 // 2) * (7 // 2) == 9216

    def test_a_network_without_a_map(self) -> None:
        with pytest.raises(UserError, match="res5"):
            MaxPooledMap(nn.Identity())


@pytest.fixture
def parts(library: Path) -> Parts:
    return read_splits(str(library), hold_out=0.33, seed=0)


class TestProtocol:
    def test_the_default(self, encoder: Encoder, parts: Parts, tmp_path: Path) -> None:
        (result,) = evaluate(encoder, parts, ["retrieval"])
        card = result.card
        assert (card.n_scored, card.n_train, card.variant, card.clips_per_video) == (6, 12, "", 2)
        chance = result.row("chance")
        assert chance.scores["r1"] == pytest.approx(4 / 12)
        assert chance.scores["r20"] is None
        assert chance.details["median_rank"] == 2.0  # 1 - (8 * 7) / (12 * 11) is above a half
        assert result.row("untrained").scores["map"] is not None
        assert result.write(tmp_path) == tmp_path / "retrieval.json"
        assert read_result(tmp_path / "retrieval.json") == result

    def test_vcop(self, encoder: Encoder, parts: Parts, tmp_path: Path) -> None:
        (result,) = evaluate(encoder, parts, ["retrieval"], Options(retrieval="vcop"))
        card = result.card
        assert (card.clips_per_video, card.stage) == (10, "res5, max-pooled")
        assert card.settings["centring"] == "none"
        assert result.write(tmp_path).name == "retrieval_vcop.json"

    def test_coclr_says_that_it_is_transductive(self, encoder: Encoder, parts: Parts) -> None:
        (result,) = evaluate(encoder, parts, ["retrieval"], Options(retrieval="coclr"))
        assert "transductive" in result.card.notes[0]
        assert result.card.clips_per_video is None
        assert result.card.settings["clips"] == "half-overlapping windows"

    def test_half_overlapping_windows_are_what_is_read(
        self, encoder: Encoder, videos: Manifest
    ) -> None:
        from cvrl.data.dataset import EvalDataset

        encoder.clip = ClipSpec(frames=4, stride=1)
        assert encoder.preprocess is not None
        item = EvalDataset(videos, encoder.clip, 1, encoder.preprocess, half_overlap=True)[0]
        assert len(item.start_N) == 3  # 9 frames: windows from 0, 2 and 4
        assert (item.start_N.diff() * 25).round().tolist() == [2, 2]

    def test_with_knn_a_video_is_decoded_once(self, encoder: Encoder, parts: Parts) -> None:
        knn, retrieval = evaluate(encoder, parts, ["knn", "retrieval"], Options(k=1, centre=True))
        assert knn.row("trained").scores["top1"] == retrieval.row("trained").scores["r1"]

    def test_a_set_that_searches_itself(self, encoder: Encoder, videos: Manifest) -> None:
        """Two clips a group: leave-one-group-out, as for sets without a split."""
        groups = [str(i // 2) for i in range(18)]
        columns = {"path": videos.paths, "label": videos.table["label"], "group": groups}
        one = make_manifest(columns, root="/")
        both, apart = Parts(one, one, "all", "all"), Options(k=3, leave_same_group_out=True)
        with pytest.raises(UserError, match="files are in train and test"):
            evaluate(encoder, both, ["retrieval"])
        with pytest.raises(UserError, match="files are in train and test"):
            evaluate(encoder, both, ["linear"], apart)
        knn, retrieval = evaluate(encoder, both, ["knn", "retrieval"], apart)
        for result in (knn, retrieval):
            assert result.card.group_check.startswith("no neighbours of a query's own group; LEAK")
            assert result.card.settings["same_group"] == "left out"
        assert retrieval.row("chance").scores["r1"] == pytest.approx(4 / 16)

    def test_a_class_that_cannot_be_found_is_noted(
        self, encoder: Encoder, videos: Manifest
    ) -> None:
        train = videos.take([0, 1, 2, 6, 7, 8])
        card = evaluate(encoder, Parts(videos.take([3, 9, 12]), train), ["retrieval"])[0].card
        assert "1 queries have no right candidate and count as misses" in card.notes

    def test_an_unknown_recipe(self, encoder: Encoder, parts: Parts) -> None:
        options = replace(Options(), retrieval="vcpo")  # type: ignore[arg-type]
        with pytest.raises(UserError, match="use default, vcop, coclr"):
            evaluate(encoder, parts, ["retrieval"], options)
