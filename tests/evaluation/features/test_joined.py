"""Features of two encoders, side by side, against each encoder's own features put together here."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from cvrl.data.clips import ClipSpec
from cvrl.data.dataset import EvalDataset
from cvrl.data.manifest import Manifest
from cvrl.data.splits import Parts
from cvrl.evaluation.card import card_lines, read_result, title
from cvrl.evaluation.compare import compare_files
from cvrl.evaluation.diagnostics.collapse import effective_rank
from cvrl.evaluation.evaluate import Options, evaluate
from cvrl.evaluation.features.extraction import Features, extract_features, mean_over_clips
from cvrl.evaluation.features.joined import join_features
from cvrl.evaluation.protocols.knn import knn_accuracy
from cvrl.evaluation.random_init import weights_sha256
from cvrl.models.backbones import Encoder, build_encoder
from cvrl.transforms import recipes
from cvrl.utils.errors import UserError

OPTIONS = Options(k=3)


@pytest.fixture
def other() -> Encoder:
    """An encoder of frame differences, whose clips have more frames and pixels."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = build_encoder("r3d_small", width=3, input="residual")
    made.clip, made.size = ClipSpec(frames=10, stride=2), 40
    made.preprocess = recipes.evaluation(40, resize=44)
    return made.eval()


@pytest.fixture
def parts(videos: Manifest) -> Parts:
    even, odd = videos.take(range(0, 18, 2)), videos.take(range(1, 18, 2))
    return Parts(odd, even, "odd", "even")


def features_of(encoder: Encoder, manifest: Manifest) -> Features:
    assert encoder.preprocess is not None
    return extract_features(encoder, EvalDataset(manifest, encoder.clip, 2, encoder.preprocess))


def test_each_is_brought_to_length_one_and_put_behind_the_first(
    encoder: Encoder, other: Encoder, parts: Parts
) -> None:
    assert parts.train is not None
    (result,) = evaluate(encoder, parts, ["knn"], OPTIONS, joined=[other])
    videos_VD = []
    for part in (parts.test, parts.train):
        unit = [F.normalize(features_of(one, part).vectors_ND, dim=1) for one in (encoder, other)]
        clips = replace(features_of(encoder, part), vectors_ND=torch.cat(unit, dim=1))
        videos_VD.append(mean_over_clips(clips))
    test_labels, train_labels = map(torch.from_numpy, (parts.test.label_ids, parts.train.label_ids))
    expected = knn_accuracy(videos_VD[0], test_labels, videos_VD[1], train_labels, k=3)
    assert result.row("trained").scores["top1"] == expected.top1
    rank = result.row("trained").details["effective_rank"]
    assert rank == pytest.approx(effective_rank(videos_VD[0]), rel=1e-4)


def test_the_card_names_both(
    encoder: Encoder, other: Encoder, parts: Parts, tmp_path: Path
) -> None:
    joined, alone = (
        evaluate(encoder, parts, ["knn"], OPTIONS, joined=more)[0] for more in ([other], [])
    )
    assert title(joined.card) == "knn, 2 encoders joined"
    lines = [line for line in card_lines(joined.card) if line.startswith("joined")]
    assert lines == [
        f"joined  r3d_small on rgb, 8 frames, stride 1, 32 x 32 pixels, "
        f"weights {weights_sha256(encoder)[:16]}",
        f"joined  r3d_small on residual, 10 frames, stride 2, 40 x 40 pixels of a short side of "
        f"44, weights {weights_sha256(other)[:16]}",
    ]
    assert "; joined with same architecture, random weights of seed 1" in joined.card.untrained
    files = [result.write(tmp_path) for result in (joined, alone)]
    assert [file.name for file in files] == ["knn_joined.json", "knn.json"]
    assert read_result(files[0]) == joined
    assert len(compare_files(files, across=["encoder"])) == 1


def test_every_protocol_of_spread_clips_takes_them(
    encoder: Encoder, other: Encoder, parts: Parts, videos: Manifest
) -> None:
    options = replace(OPTIONS, baselines=("hog_mbh",), perturbations=("plain", "still"))
    results = evaluate(encoder, parts, ["knn", "retrieval", "instance"], options, joined=[other])
    assert {row.name for result in results for row in result.rows} >= {"trained", "untrained"}
    alone = evaluate(encoder, parts, ["knn"], options)
    assert results[0].row("hog_mbh").scores == alone[0].row("hog_mbh").scores
    folds = replace(OPTIONS, leave_one_out="group")
    (result,) = evaluate(encoder, Parts(videos), ["knn"], folds, joined=[other])
    assert result.card.n_folds > 1


def test_a_video_that_one_of_them_cannot_read_is_missing_once(
    encoder: Encoder, other: Encoder, with_a_bad_video: Manifest
) -> None:
    options = replace(OPTIONS, allow_missing=True)
    (result,) = evaluate(encoder, Parts(with_a_bad_video), ["instance"], options, joined=[other])
    assert (result.card.n_scored, result.card.n_missing) == (4, 1)


def test_videos_of_one_encoder_only_are_left_out_and_named() -> None:
    def of(rows: list[int], bad: tuple[tuple[str, str], ...]) -> Features:
        index_N = torch.tensor(rows)
        return Features(torch.rand(len(rows), 2), index_N, index_N, index_N, 3, bad)

    joined = join_features([of([0, 1, 1], (("c", "torn"),)), of([1, 1, 2], (("a", "gone"),))])
    assert joined.index_N.tolist() == [1, 1]
    assert sorted(joined.bad) == [("a", "gone"), ("c", "torn")]
    with pytest.raises(ValueError, match="different numbers of clips"):
        join_features([of([0, 1], ()), of([0, 1, 1], ())])


@pytest.mark.parametrize(
    ("protocol", "options", "reason"),
    [
        ("retrieval", Options(retrieval="coclr"), "retrieval as CoCLR takes a clip at every"),
        ("classifier", Options(), "answers by those it was trained on"),
        ("knn", Options(stages=("res4",)), "leave --stage out"),
    ],
)
def test_refusals(
    encoder: Encoder, other: Encoder, parts: Parts, protocol: str, options: Options, reason: str
) -> None:
    with pytest.raises(UserError, match=reason):
        evaluate(encoder, parts, [protocol], options, joined=[other])  # type: ignore[list-item]
