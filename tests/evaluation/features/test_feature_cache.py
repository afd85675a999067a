"""Stored features: the same as computed ones, and never those of other clips."""

import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cvrl.data.clips import ClipSpec
from cvrl.data.dataset import EvalDataset
from cvrl.data.manifest import Manifest, make_manifest
from cvrl.data.splits import Parts
from cvrl.evaluation.evaluate import Options, evaluate
from cvrl.evaluation.features.extraction import Features
from cvrl.evaluation.features.feature_cache import FeatureCache, extract_with_cache
from cvrl.models.backbones import Encoder
from cvrl.transforms import recipes
from cvrl.utils.errors import UserError
from cvrl.utils.file_names import path_text

DatasetOf = Callable[..., EvalDataset]


class Means(nn.Module):
    """Mean colours of each clip, and how many clips it was given."""

    clips = 0

    def forward(self, clips_MCTHW: Tensor) -> Tensor:
        """Means (M, C)."""
        self.clips += len(clips_MCTHW)
        return clips_MCTHW.mean(dim=(2, 3, 4))


def extract(dataset: EvalDataset, network: Means, folder: Path | None) -> Features:
    [plain, kept] = extract_with_cache([Means()], {"means": network}, dataset, folder)
    assert torch.equal(plain.vectors_ND, kept.vectors_ND)
    return kept


def same(one: Features, other: Features) -> bool:
    tensors = ("vectors_ND", "index_N", "start_N", "end_N")
    equal = all(torch.equal(getattr(one, name), getattr(other, name)) for name in tensors)
    return equal and (one.n_listed, one.bad) == (other.n_listed, other.bad)


def test_the_second_time_the_network_is_not_run(
    videos: Manifest, dataset_of: DatasetOf, tmp_path: Path
) -> None:
    network, folder = Means(), tmp_path / "not" / "there"
    first = extract(dataset_of(videos), network, folder)
    assert network.clips == 2 * len(videos)
    second = extract(dataset_of(videos), network, folder)
    assert network.clips == 2 * len(videos)
    assert same(first, second)
    assert [file.name[:6] for file in folder.iterdir()] == ["means_"]


def test_without_a_folder_nothing_is_kept(videos: Manifest, dataset_of: DatasetOf) -> None:
    network = Means()
    for _ in range(2):
        extract(dataset_of(videos), network, None)
    assert network.clips == 4 * len(videos)


CHANGES: dict[str, Callable[[EvalDataset], dict[str, object]]] = {
    "other videos": lambda clips: {"manifest": clips.manifest.take([1, 0, 2])},
    "fewer videos": lambda clips: {"manifest": clips.manifest.take([0, 1])},
    "fewer clips": lambda clips: {"clips_per_video": 1},
    "another stride": lambda clips: {"spec": replace(clips.spec, stride=2)},
    "another size": lambda clips: {"transform": recipes.evaluation(24)},
    "normalised": lambda clips: {"transform": recipes.evaluation(32, normalise=True)},
    "one frame repeated": lambda clips: {"perturbations": ["still"]},
    "dense": lambda clips: {"every_seconds": 0.1},
    "half overlap": lambda clips: {"half_overlap": True},
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_clips_are_others(
    videos: Manifest, dataset_of: DatasetOf, tmp_path: Path, change: str
) -> None:
    dataset, network = dataset_of(videos.take([0, 1, 2])), Means()
    extract(dataset, network, tmp_path)
    before = network.clips
    for name, value in CHANGES[change](dataset).items():
        setattr(dataset, name, value)
    extract(dataset, network, tmp_path)
    assert network.clips > before


@pytest.mark.parametrize("name", ["mine.mp4", "caf\udce9.mp4"])  # the second is not UTF-8
def test_a_file_that_changed_is_read_again(
    video_folder: Path, dataset_of: DatasetOf, tmp_path: Path, name: str
) -> None:
    files, mine = sorted(video_folder.rglob("*.mp4")), tmp_path / name
    shutil.copy(files[0], mine)
    dataset, network = (
        dataset_of(make_manifest({"path": [path_text(str(mine))]}, root="/")),
        Means(),
    )
    first = extract(dataset, network, tmp_path)
    shutil.copy(files[-1], mine)
    second = extract(dataset, network, tmp_path)
    assert not torch.equal(first.vectors_ND, second.vectors_ND)
    os.utime(mine, ns=(0, 0))
    before = network.clips
    assert same(extract(dataset, network, tmp_path), second) and network.clips > before


def test_a_frame_that_changed_is_read_again(
    videos: Manifest, dataset_of: DatasetOf, tmp_path: Path
) -> None:
    """Though the time of its folder is as before."""
    shutil.copytree(videos.path(0), tmp_path / "frames")
    dataset = dataset_of(make_manifest({"path": [str(tmp_path / "frames")]}, root="/"))
    first = extract(dataset, Means(), tmp_path)
    frame = sorted(path for path in (tmp_path / "frames").iterdir() if path.suffix != ".txt")[0]
    frame.write_bytes(next(iter(sorted(Path(videos.path(17)).iterdir()))).read_bytes())
    assert not torch.equal(first.vectors_ND, extract(dataset, Means(), tmp_path).vectors_ND)


def test_other_code_is_another_network(
    videos: Manifest, dataset_of: DatasetOf, tmp_path: Path
) -> None:
    dataset, cache = dataset_of(videos.take([0])), FeatureCache(tmp_path)
    zeros = torch.zeros(2)
    cache.write("means", Means(), dataset, Features(torch.ones(2, 3), zeros, zeros, zeros, 1))
    assert cache.read("means", Means(), dataset) is not None
    assert cache.read("means", nn.Flatten(), dataset) is None
    assert cache.read("flat", Means(), dataset) is None


def test_a_broken_file_is_computed_again(
    videos: Manifest, dataset_of: DatasetOf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset, network = dataset_of(videos.take([0, 1])), Means()
    first = extract(dataset, network, tmp_path)
    [file] = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    with caplog.at_level(logging.WARNING, logger="cvrl"):
        assert same(extract(dataset, network, tmp_path), first)
    assert "computed again" in caplog.text
    before = network.clips
    extract(dataset, network, tmp_path)
    assert network.clips == before


def test_a_folder_that_cannot_be_written_to_costs_a_warning(
    videos: Manifest, dataset_of: DatasetOf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "file"
    file.write_text("no folder")
    with caplog.at_level(logging.WARNING, logger="cvrl"):
        extract(dataset_of(videos.take([0])), Means(), file / "folder")
    assert "features are not kept" in caplog.text


def test_bad_videos_are_kept_by_name(
    with_a_bad_video: Manifest, encoder: Encoder, tmp_path: Path
) -> None:
    assert encoder.preprocess is not None
    how = (encoder.clip, 2, encoder.preprocess)
    dataset = EvalDataset(with_a_bad_video, *how, name_bad=True)
    first, second = (extract(dataset, Means(), tmp_path) for _ in range(2))
    assert same(first, second)
    assert [Path(path).name for path, _ in second.bad] == ["broken.mp4"]


def test_features_of_other_clips_are_refused(
    videos: Manifest, dataset_of: DatasetOf, tmp_path: Path
) -> None:
    """As when somebody puts files of another machine there."""
    dataset, zeros = dataset_of(videos.take([0])), torch.zeros(5)
    wrong = Features(torch.ones(5, 3), zeros.long(), zeros, zeros, 1)
    FeatureCache(tmp_path).write("means", Means(), dataset, wrong)
    with pytest.raises(UserError, match="has means features of other clips; delete this folder"):
        extract(dataset, Means(), tmp_path)


def test_an_evaluation_gives_the_same_with_and_without(
    encoder: Encoder, videos: Manifest, tmp_path: Path
) -> None:
    parts = Parts(videos.take(range(0, 18, 2)), videos.take(range(1, 18, 2)), "test", "train")
    options = Options(k=3, baselines=("hog_mbh",))
    plain = evaluate(encoder, parts, ["knn", "linear"], options)
    options = replace(options, feature_cache=tmp_path)
    assert evaluate(encoder, parts, ["knn", "linear"], options) == plain
    assert len(list(tmp_path.iterdir())) == 2  # of both parts
    assert evaluate(encoder, parts, ["knn", "linear"], options) == plain
    encoder.clip = ClipSpec(frames=9, stride=1)
    evaluate(encoder, parts, ["knn"], options)
    assert len(list(tmp_path.iterdir())) == 4
