"""Average precision against scikit-learn's and a loop, chance by draws, the probe, the protocol."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from cvrl.data.manifest import Manifest, make_manifest
from cvrl.data.splits import Parts, read_splits
from cvrl.evaluation.evaluate import evaluate, suitable_protocols
from cvrl.evaluation.protocols.multilabel import (
    average_precision,
    chance_tags,
    score_tags,
    tag_probe,
)
from cvrl.models.backbones import Encoder
from cvrl.utils.errors import UserError


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 20), tags=st.integers(1, 5), seed=st.integers(0, 999))
def test_equals_scikit_learn(rows: int, tags: int, seed: int) -> None:
    """With many equal scores among them."""
    rng = np.random.default_rng(seed)
    score_MH = rng.integers(0, 6, size=(rows, tags)) / 5
    has_MH = rng.random((rows, tags)) < 0.4
    has_MH[0, 0] = True
    found = score_tags(score_MH, has_MH)
    seen = has_MH.any(axis=0)
    assert found.n_skipped == (~seen).sum()
    macro = average_precision_score(has_MH[:, seen], score_MH[:, seen], average="macro")
    assert found.macro == pytest.approx(macro)
    assert found.micro == pytest.approx(
        average_precision_score(has_MH.ravel(), score_MH.ravel()),
    )


def test_equals_the_loop_without_ties() -> None:
    rng = np.random.default_rng(0)
    score_M, has_M = rng.permutation(30) / 30, rng.random(30) < 0.3
    hits, total = 0, 0.0
    for place, i in enumerate(sorted(range(30), key=lambda i: -score_M[i]), start=1):
        hits += bool(has_M[i])
        total += has_M[i] * hits / place
    assert average_precision(score_M, has_M) == pytest.approx(total / hits)


def test_chance_against_draws() -> None:
    rng = np.random.default_rng(0)
    has_MH = rng.random((12, 3)) < [0.2, 0.5, 0.0]
    found = [score_tags(rng.random(has_MH.shape), has_MH) for _ in range(3000)]
    macro, micro = chance_tags(has_MH)
    assert macro == pytest.approx(np.mean([f.macro for f in found]), abs=0.01)
    assert micro == pytest.approx(np.mean([f.micro for f in found]), abs=0.01)


class TestRefusals:
    def test_no_tag_at_all(self) -> None:
        with pytest.raises(UserError, match="has no video with a tag"):
            score_tags(np.zeros((2, 2)), np.zeros((2, 2), dtype=bool))
        with pytest.raises(ValueError, match="no right answer"):
            average_precision(np.zeros(2), np.zeros(2, dtype=bool))


class TestProbe:
    def test_it_learns_two_tags_and_keeps_what_is_constant(self) -> None:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(80, 4, generator=generator)
        has = torch.stack([x[:, 0] > 0, x[:, 1] > 0.5, torch.ones(80) > 0, torch.ones(80) < 0], 1)
        probe = tag_probe(x[:50], has[:50].long(), x[50:], has[50:].long(), l2_grid=[1e-3, 100.0])
        assert probe.l2 == 1e-3 and set(probe.held_out) == {1e-3, 100.0}
        assert min(a for a in probe.scores.by_tag if a is not None) > 0.95
        assert probe.scores.n_skipped == 1

    def test_the_strength_is_chosen_on_groups_apart(self) -> None:
        """Each group of ten has a mark of its own and a random tag: nothing carries over."""
        generator = torch.Generator().manual_seed(1)
        groups = torch.arange(20).repeat_interleave(10)
        x = torch.eye(20)[groups] + 0.01 * torch.randn(200, 20, generator=generator)
        has = (torch.rand(20, 1, generator=generator) < 0.5).long()[groups]
        apart = tag_probe(x, has, x, has, train_groups_N=groups, l2_grid=[1e-3, 1.0])
        alone = tag_probe(x, has, x, has, l2_grid=[1e-3, 1.0])
        assert min(alone.held_out.values()) > 0.99 > 0.8 > max(apart.held_out.values())

    def test_one_group_cannot_be_folded(self) -> None:
        x, has = torch.arange(4.0)[:, None], torch.tensor([[0], [0], [1], [1]])
        probe = tag_probe(x, has, x, has, train_groups_N=torch.zeros(4))
        assert probe.held_out == {} and probe.scores.macro == 1.0


@pytest.fixture
def tagged(videos: Manifest) -> Manifest:
    """Colour, and for odd videos a second tag."""
    colours = videos.table["label"].to_pylist()
    labels = [f"{colour}+odd" if i % 2 else colour for i, colour in enumerate(colours)]
    split = ["test" if i % 6 > 3 else "train" for i in range(18)]
    return make_manifest({"path": videos.paths, "label": labels, "split": split}, root="/")


class TestProtocol:
    def test_tags(self, encoder: Encoder, tagged: Manifest) -> None:
        parts = Parts(tagged.select("test"), tagged.select("train"), "test", "train")
        assert suitable_protocols(parts) == ["linear_tags"]
        assert suitable_protocols(parts, ["all"]) == ["linear_tags", "instance"]
        (result,) = evaluate(encoder, parts, ["linear_tags"])
        assert result.card.settings["tags"] == 4
        assert (result.card.n_scored, result.card.n_train) == (6, 12)
        for row in result.rows:
            assert 0 < (row.scores["map"] or 0) <= 1 and 0 < (row.scores["map_micro"] or 0) <= 1
        trained, chance = (result.row(name).scores["map"] for name in ("trained", "chance"))
        assert trained is not None and chance is not None and trained > chance

    def test_a_test_list_may_join_tags_anew(self, tmp_path: Path, library: Path) -> None:
        paths = sorted(p for p in library.rglob("v_*") if p.is_dir())
        (tmp_path / "train.csv").write_text(f"path,label\n{paths[0]},a\n{paths[1]},b\n")
        (tmp_path / "test.csv").write_text(f"path,label\n{paths[2]},a+b\n")
        parts = read_splits(str(tmp_path / "train.csv"), str(tmp_path / "test.csv"))
        assert parts.train is not None
        assert parts.test.class_names == parts.train.class_names == ["a", "a+b", "b"]
        assert parts.train.label_ids.tolist() == [0, 2] and parts.test.label_ids.tolist() == [1]
