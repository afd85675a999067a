"""Whole evaluations: honest rows, honest cards, one decode a video, and refusals before work."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cvrl.data.clips import ClipSpec
from cvrl.data.dataset import EvalDataset, VideoReader
from cvrl.data.manifest import Manifest, make_manifest
from cvrl.data.splits import Parts, read_splits
from cvrl.evaluation.card import Result, read_result
from cvrl.evaluation.evaluate import Options, Protocol, evaluate, suitable_protocols
from cvrl.evaluation.random_init import random_init_encoder, recalibrate_batch_norm, weights_sha256
from cvrl.models.backbones import Encoder, build_encoder
from cvrl.transforms import recipes
from cvrl.utils.errors import CorruptVideoError, UserError
from cvrl.video.frame_cache import FrameSource


@pytest.fixture
def parts(library: Path) -> Parts:
    return read_splits(str(library), hold_out=0.33, seed=0)


class CountingReader(VideoReader):
    """Remembers what it was asked to open."""

    opened: list[str]

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "opened", [])

    def open(self, path: str, spec: ClipSpec | None = None) -> FrameSource:
        self.opened.append(path)
        return super().open(path, spec)


def scores(result: Result, row: str) -> dict[str, float | None]:
    return result.row(row).scores


@pytest.fixture(scope="module")
def reader() -> CountingReader:
    return CountingReader()


@pytest.fixture(scope="module")
def results(library: Path, reader: CountingReader) -> list[Result]:
    """All protocols in one evaluation of a network with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = build_encoder("r3d_small", width=4)
    made.clip, made.size = ClipSpec(frames=8, stride=1), 32
    made.preprocess = recipes.evaluation(32)
    parts = read_splits(str(library), hold_out=0.33, seed=0)
    return evaluate(made, parts, suitable_protocols(parts, ["all"]), Options(k=3), reader=reader)


class TestOrderProbe:
    def test_it_needs_no_labels_and_asks_six_orders(self, encoder: Encoder, parts: Parts) -> None:
        (result,) = evaluate(encoder, parts, ["order_probe"], Options(clips_per_video=3))
        assert scores(result, "chance")["top1"] == pytest.approx(1 / 6)
        assert result.card.n_train == 12 and result.card.n_classes is None
        assert result.card.n_listed == result.card.n_scored == 6

    def test_three_clips_are_needed(self, encoder: Encoder, parts: Parts) -> None:
        with pytest.raises(UserError, match="--clips 3"):
            evaluate(encoder, parts, ["order_probe"], Options(clips_per_video=2))

    def test_a_second_part_is_needed(self, encoder: Encoder, parts: Parts) -> None:
        with pytest.raises(UserError, match="order_probe learns from one"):
            evaluate(encoder, Parts(parts.test), ["order_probe"], Options(clips_per_video=3))


class TestAllProtocols:
    def test_one_result_a_protocol_with_three_rows(self, results: list[Result]) -> None:
        names = [result.card.protocol for result in results]
        assert names == ["knn", "linear", "retrieval", "instance"]
        for result in results:
            assert [row.name for row in result.rows] == ["trained", "untrained", "chance"]
            for row in result.rows:
                assert all(v is None or 0 <= v <= 1 for v in row.scores.values())

    def test_each_video_is_decoded_once_for_all(
        self, results: list[Result], reader: CountingReader, parts: Parts
    ) -> None:
        """The training videos once more, for the batch norm of the untrained network."""
        assert parts.train is not None
        assert [reader.opened.count(path) for path in parts.test.paths] == [1] * 6
        assert [reader.opened.count(path) for path in parts.train.paths] == [2] * 12

    def test_listed_equals_scored(self, results: list[Result]) -> None:
        assert all(r.card.n_listed == r.card.n_scored == 6 for r in results)

    def test_colours_are_easy_once_batch_norm_is_measured(self, results: list[Result]) -> None:
        """Even the untrained network tells three colours apart: no made-up handicap."""
        for result in results[:2]:
            assert scores(result, "untrained")["top1"] == 1.0

    def test_chance(self, results: list[Result]) -> None:
        assert scores(results[0], "chance") == {
            "top1": pytest.approx(1 / 3),
            "top5": None,
            "mean_class": pytest.approx(1 / 3),
        }
        assert scores(results[2], "chance")["r1"] == pytest.approx(1 / 3)
        assert scores(results[3], "chance")["r1"] == pytest.approx(1 / 11)

    def test_cards(self, results: list[Result], parts: Parts) -> None:
        knn, linear, retrieval, instance = (result.card for result in results)
        assert (knn.test, knn.train, knn.n_train) == (parts.test_name, parts.train_name, 12)
        assert knn.settings == {"k": 3, "temperature": 0.07, "centre": False}
        assert "measured on 12 videos or as initialised" in knn.untrained
        assert (knn.clip_frames, knn.clip_stride, knn.size) == (8, 1, 32)
        found = "disjoint: 12 train and 6 test groups, no file in both"
        assert knn.group_check == f"{found} (compared by inode and content)"
        assert knn.encoder["name"] == "r3d_small"
        assert "l2_grid" in linear.settings
        assert retrieval.settings["centring"] == "the gallery's mean, from both parts"
        assert instance.train is None and instance.n_classes is None
        assert len({result.card.weights_sha256 for result in results}) == 1

    def test_details(self, results: list[Result]) -> None:
        knn, linear, retrieval, instance = (result.row("trained").details for result in results)
        assert {"embedding_std", "effective_rank", "uniformity"} <= set(knn)
        assert linear["l2"] in results[1].card.settings["l2_grid"]
        assert len(linear["held_out_top1_by_l2"]) == len(results[1].card.settings["l2_grid"])
        assert retrieval["median_rank"] >= 1
        assert instance["alignment"] >= 0

    def test_they_survive_the_disk(self, results: list[Result], tmp_path: Path) -> None:
        for result in results:
            assert read_result(result.write(tmp_path)) == result


class TestContestants:
    def test_repeatable(self, encoder: Encoder, parts: Parts) -> None:
        one, two = (evaluate(encoder, parts, ["knn"]) for _ in range(2))
        assert one == two

    def test_trained_and_untrained_are_different_networks(
        self, encoder: Encoder, parts: Parts
    ) -> None:
        result = evaluate(encoder, parts, ["knn"])[0]
        trained, untrained = (result.row(n).details for n in ("trained", "untrained"))
        assert trained["embedding_std"] != untrained["embedding_std"]
        assert result.card.weights_sha256 == weights_sha256(encoder)

    def test_a_network_of_ones_own_for_the_untrained_row(
        self, encoder: Encoder, parts: Parts
    ) -> None:
        before = weights_sha256(encoder)
        result = evaluate(encoder, parts, ["knn"], untrained=encoder)[0]
        assert scores(result, "trained") == scores(result, "untrained")
        assert result.card.untrained == "a network that was given for it"
        assert weights_sha256(encoder) == before

    def test_the_stronger_untrained_network_is_the_row(
        self,
        encoder: Encoder,
        parts: Parts,
        dataset_of: Callable[..., EvalDataset],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def made(vote: dict[str, torch.nn.Module]) -> Result:
            monkeypatch.setattr(
                "cvrl.evaluation.evaluate.random_init_encoders", lambda *_, **__: (vote, "words")
            )
            return evaluate(encoder, parts, ["knn"])[0]

        blind = copy.deepcopy(encoder)
        with torch.no_grad():
            for parameter in blind.parameters():
                parameter.zero_()
        seeing = random_init_encoder(encoder.spec, 0)
        recalibrate_batch_norm(seeing, dataset_of(parts.test))
        for order in ({"a": blind, "b": seeing}, {"b": seeing, "a": blind}):
            row = made(order).row("untrained")
            assert row.details["batch_norm"] == "b"
            assert row.scores["top1"] == 1.0

    def test_the_encoder_is_left_as_it_was(self, encoder: Encoder, parts: Parts) -> None:
        encoder.train()
        before = weights_sha256(encoder)
        evaluate(encoder, parts, ["knn"])
        assert weights_sha256(encoder) == before
        assert all(part.training for part in encoder.modules())


class TestParts:
    def test_without_labels_instance_works(self, encoder: Encoder, videos: Manifest) -> None:
        unlabelled = make_manifest({"path": videos.paths}, root="/")
        result = evaluate(encoder, Parts(unlabelled, test_name="folder"), ["instance"])[0]
        assert result.card.group_check == "one part only"
        assert "measured on 18 videos" in result.card.untrained
        assert result.card.n_scored == 18

    def test_short_videos_are_noted(self, encoder: Encoder, videos: Manifest) -> None:
        encoder.clip = ClipSpec(frames=12, stride=1)
        result = evaluate(encoder, Parts(videos), ["instance"])[0]
        assert result.card.notes == ["12 videos are too short for two different clips"]

    def test_a_test_class_that_is_never_learned_is_noted(
        self, encoder: Encoder, videos: Manifest
    ) -> None:
        train = videos.take([0, 1, 2, 6, 7, 8])
        parts = Parts(videos.take([3, 9, 12]), train, "test", "train")
        card = evaluate(encoder, parts, ["knn"])[0].card
        assert card.notes == ["classes without a training video are always wrong: red"]

    def test_chance_of_uneven_classes_is_the_best_constant(
        self, encoder: Encoder, videos: Manifest
    ) -> None:
        parts = Parts(videos.take([3, 4, 5, 9]), videos.take([0, 1, 6, 7]), "test", "train")
        chance = scores(evaluate(encoder, parts, ["knn"])[0], "chance")
        assert (chance["top1"], chance["mean_class"]) == (0.75, 0.5)

    def test_more_neighbours_than_videos_are_recorded_as_used(
        self, encoder: Encoder, parts: Parts
    ) -> None:
        assert evaluate(encoder, parts, ["knn"], Options(k=99))[0].card.settings["k"] == 12


class TestRefusals:
    @pytest.mark.parametrize("protocol", ["knn", "linear"])
    def test_labels_are_missing(
        self, encoder: Encoder, videos: Manifest, protocol: Protocol
    ) -> None:
        unlabelled = make_manifest({"path": videos.paths}, root="/")
        with pytest.raises(UserError, match="use --protocol instance"):
            evaluate(encoder, Parts(unlabelled), [protocol])

    def test_one_part_only(self, encoder: Encoder, videos: Manifest) -> None:
        with pytest.raises(UserError, match="give --test, a split column or --hold-out"):
            evaluate(encoder, Parts(videos), ["knn"])

    def test_shared_groups(self, encoder: Encoder, videos: Manifest) -> None:
        parts = Parts(videos.take([0, 6]), videos.take([0, 1, 7]), "test", "train")
        with pytest.raises(UserError, match="1 file is in train and test"):
            evaluate(encoder, parts, ["knn"])
        allowed = evaluate(encoder, parts, ["knn"], Options(allow_group_leak=True))
        assert allowed[0].card.group_check.startswith("LEAK")

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (Options(k=0), "k = 0: must be 1 or more"),
            (Options(clips_per_video=0), "clips_per_video = 0"),
            (Options(batch_videos=0), "batch_videos = 0"),
            (Options(temperature=0.0), r"temperature = 0\.0"),
            (Options(temperature=float("nan")), "temperature = nan"),
        ],
    )
    def test_settings(self, encoder: Encoder, parts: Parts, options: Options, said: str) -> None:
        with pytest.raises(UserError, match=said):
            evaluate(encoder, parts, ["knn"], options)

    def test_instance_with_one_clip(self, encoder: Encoder, parts: Parts) -> None:
        with pytest.raises(UserError, match="--clips 2"):
            evaluate(encoder, parts, ["instance"], Options(clips_per_video=1))

    @pytest.mark.parametrize("protocols", [[], ["knnn"]])
    def test_protocols(self, encoder: Encoder, parts: Parts, protocols: Sequence[Protocol]) -> None:
        with pytest.raises(UserError, match="use knn, linear, retrieval"):
            evaluate(encoder, parts, protocols)

    def test_a_bad_video_is_not_left_out(
        self, encoder: Encoder, with_a_bad_video: Manifest
    ) -> None:
        with pytest.raises(CorruptVideoError, match=r"broken\.mp4"):
            evaluate(encoder, Parts(with_a_bad_video), ["instance"])

    def test_nothing_is_decoded_before_a_refusal(self, encoder: Encoder, videos: Manifest) -> None:
        reader = CountingReader()
        with pytest.raises(UserError):
            evaluate(encoder, replace(Parts(videos), train=None), ["knn"], reader=reader)
        assert reader.opened == []


@pytest.mark.real
def test_a_few_videos_of_ucf101(encoder: Encoder, real_data: Path) -> None:
    """Official lists, packed B-frames and a wrong header count included: none is dropped."""
    parts = read_splits(
        str(real_data / "splits" / "ucf101_4.csv"),
        root=str(real_data / "ucf101_4"),
        split_column="split1",
    )
    assert parts.train is not None
    train = parts.train.take(range(0, 288, 24))
    few = replace(parts, train=train, test=parts.test.take(range(0, 112, 14)))
    knn, instance = evaluate(encoder, few, ["knn", "instance"], Options(k=3))
    assert knn.card.n_listed == knn.card.n_scored == 8
    assert (knn.card.n_classes, knn.card.n_train) == (4, 12)
    assert knn.card.group_check.startswith("disjoint: ")
    assert scores(knn, "chance")["top1"] == pytest.approx(1 / 4, abs=0.13)
    assert scores(instance, "chance")["r1"] < 0.1


class TestBaseline:
    def test_it_is_a_row_of_its_own_on_the_same_clips(self, encoder: Encoder, parts: Parts) -> None:
        options = Options(clips_per_video=2, baselines=("hog_mbh",))
        knn, linear, instance = evaluate(encoder, parts, ["knn", "linear", "instance"], options)
        for result in (knn, linear, instance):
            assert [row.name for row in result.rows] == [
                *("trained", "untrained", "hog_mbh", "chance")
            ]
        without = evaluate(encoder, parts, ["linear"], Options(clips_per_video=2))[0]
        for row in ("trained", "untrained", "chance"):
            assert scores(linear, row) == scores(without, row)

    def test_an_encoder_below_it_is_warned_of(self, encoder: Encoder, parts: Parts) -> None:
        constant = copy.deepcopy(encoder)
        with torch.no_grad():
            for parameter in constant.parameters():
                parameter.zero_()
        options = Options(clips_per_video=2, baselines=("hog_mbh",))
        result = evaluate(constant, parts, ["linear"], options)[0]
        top1 = [result.row(name).scores["top1"] for name in ("trained", "hog_mbh")]
        assert top1[0] is not None and top1[1] is not None and top1[0] < top1[1]
        warned = [note for note in result.card.notes if "below hog_mbh" in note]
        assert len(warned) == 1

    def test_an_unknown_one_is_refused(self, encoder: Encoder, parts: Parts) -> None:
        with pytest.raises(UserError, match="baseline sift: is not known; use hog_mbh"):
            evaluate(encoder, parts, ["knn"], Options(baselines=("sift",)))

    def test_protocols_of_other_clips_go_without(self, encoder: Encoder, parts: Parts) -> None:
        options = Options(baselines=("hog_mbh",), retrieval="vcop")
        result = evaluate(encoder, parts, ["retrieval"], options)[0]
        assert "hog_mbh" not in [row.name for row in result.rows]
