"""What a config's words come to: where clips are augmented."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from cvrl.config import Config, DataConfig, LimitsConfig
from cvrl.data.manifest import read_manifest
from cvrl.engine import build
from cvrl.engine.build import augments_on_device
from cvrl.utils.errors import UserError
from cvrl.video.limits import Limits


def config_of(where: str, views: str = "temporal_pair", videos: Path | str = "videos") -> Config:
    config = Config(data=DataConfig(train=str(videos)))
    config.data.augment_on = where  # type: ignore[assignment]
    config.views.name = views
    config.augment.name = "light"
    config.clip.size, config.train.batch_size = 32, 4
    return config


def answer(config: Config) -> bool:
    return augments_on_device(config, build.build_views(config))


@pytest.mark.parametrize("has_gpu", [False, True])
def test_what_is_said_is_done(monkeypatch: pytest.MonkeyPatch, has_gpu: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert answer(config_of("device"))
    assert not answer(config_of("worker"))


@pytest.mark.parametrize("has_gpu", [False, True])
def test_left_open_it_is_the_device_where_that_is_a_gpu(
    monkeypatch: pytest.MonkeyPatch, has_gpu: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert Config().data.augment_on == "auto"
    assert answer(config_of("auto")) == has_gpu
    for views in ("rotated", "jigsaw_pair", "ordered_clips", "relative_patch", "multi_crop"):
        assert not answer(config_of("auto", views))


@pytest.mark.parametrize("views", ["rotated", "jigsaw_pair", "multi_crop"])
def test_views_that_cut_up_clips_cannot_leave_them_to_the_device(views: str) -> None:
    with pytest.raises(UserError, match=f"views {views} cut up.*augment_on=worker"):
        answer(config_of("device", views))


def test_both_places_make_the_same_clips(video_folder: Path) -> None:
    batches = []
    for where in ("worker", "device"):
        config = config_of(where, videos=video_folder)
        data = build.build_data(config)
        views = build.build_views(config)
        samples = build.build_dataset(config, data, views)
        assert (samples.rest is not None) == (where == "device")
        rest = build.build_recipe(config).split()[1]
        sample = samples[0, 1]
        moved = where == "device"
        assert (sample.clips_VCTHW.dtype == torch.uint8) == moved == (sample.params is not None)
        clips = sample.clips_VCTHW
        batches.append(clips if sample.params is None else rest.apply(clips, sample.params))
    assert torch.equal(*batches)


@pytest.mark.parametrize(
    ("method", "trained"), [("finetune", 8), ("simclr", 12), ("semi_supervised", 12)]
)
def test_of_one_list_each_method_takes_the_videos_it_can_learn_from(
    video_folder: Path, tmp_path: Path, method: str, trained: int
) -> None:
    videos = read_manifest(video_folder)
    rows = [
        f"{path},{'' if row % 3 == 0 else videos.class_names[videos.label_ids[row]]}"
        for row, path in enumerate(videos.paths)
    ]
    file = tmp_path / "some.csv"
    file.write_text("\n".join(["path,label", *rows]) + "\n")
    config = config_of("worker", videos=file)
    config.method.name = method
    assert len(build.build_data(config).train) == trained


def test_limits_of_the_config_are_those_of_the_reader(tmp_path: Path) -> None:
    given = LimitsConfig(max_frames=7, max_seconds=1.5)
    for cache_dir in (None, str(tmp_path)):
        data = DataConfig(train="videos", limits=given, cache_dir=cache_dir, cache_short_side=64)
        reader = build.build_reader(Config(data=data))
        assert reader.limits == Limits(max_frames=7, max_seconds=1.5)


def test_limits_without_a_config_are_the_same() -> None:
    assert asdict(LimitsConfig()) == asdict(Limits())
