"""Events: how they are listed, split and read, and what is said when a camera's file is missing."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from cvrl.data.cameras import Cameras, events_of
from cvrl.data.clips import ClipSpec
from cvrl.data.dataset import TrainDataset, VideoReader, collate
from cvrl.data.event_lists import by_camera, list_events
from cvrl.data.manifest import make_manifest, read_manifest, write_manifest
from cvrl.transforms import recipes
from cvrl.utils.errors import CorruptVideoError, UserError
from cvrl.video.frame_cache import CachedVideo, FrameCache
from cvrl.video.reader import open_video
from cvrl.views.synchronised import Synchronised

CAMERAS = ("left.mp4", "right.mp4")


def grey(frames, level, size=(48, 64)):
    """A film that brightens: frame t has the value level + 2 t everywhere."""
    levels = np.uint8(level + 2 * np.arange(frames))
    return np.broadcast_to(levels[:, None, None, None], (frames, *size, 3)).copy()


@pytest.fixture(scope="module")
def events(tmp_path_factory, make_video):
    """4 events of 20 to 23 frames by two cameras, the second of which runs 3 frames longer."""
    root = tmp_path_factory.mktemp("events")
    for index in range(4):
        for camera, name in enumerate(CAMERAS):
            frames = grey(20 + index + 3 * camera, 20 + 100 * camera)
            make_video(root / f"event{index}" / name, frames, fps=10)
    return root


@pytest.fixture
def reader():
    return VideoReader(cameras=CAMERAS)


class TestListing:
    def test_every_film_is_a_row_in_the_group_of_its_event(self, events):
        films = read_manifest(events, cameras=CAMERAS)
        assert [Path(path).relative_to(events).as_posix() for path in films.paths] == [
            f"event{index}/{name}" for index in range(4) for name in CAMERAS
        ]
        assert films.group_ids.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
        assert films.row(2)["event"] == films.row(2)["group"] == "event1"
        assert films.class_names == [] and (films.label_ids == -1).all()

    def test_events_are_a_row_each(self, events):
        found = events_of(read_manifest(events, cameras=CAMERAS))
        assert found.paths == [str(events / f"event{index}") for index in range(4)]
        assert len(set(found.group_ids.tolist())) == 4

    @pytest.mark.parametrize("seed", range(5))
    def test_an_event_is_never_torn_apart(self, events, seed):
        rest, held = read_manifest(events, cameras=CAMERAS).hold_out(0.5, seed)
        assert len(rest) == len(held) == 4
        assert not {*rest.table["event"].to_pylist()} & {*held.table["event"].to_pylist()}
        assert len(events_of(held)) == 2
        assert sorted(events_of(rest).paths + events_of(held).paths) == [
            str(events / f"event{index}") for index in range(4)
        ]

    def test_a_list_names_events_with_labels_groups_and_splits(self, events, tmp_path):
        rows = [f"event{i},{'ab'[i % 2]},{'xy'[i // 2]},{'train' if i else 'test'}" for i in (2, 0)]
        listed = tmp_path / "events.csv"
        listed.write_text("\n".join(["path,label,group,split", *rows]))
        films = read_manifest(listed, root=events, cameras=CAMERAS)
        assert films.table["group"].to_pylist() == ["y", "y", "x", "x"]
        assert films.table["event"].to_pylist() == ["event2", "event2", "event0", "event0"]
        assert films.select("test").paths == [str(events / "event0" / name) for name in CAMERAS]
        assert films.class_names == ["a"] and films.label_ids.tolist() == [0] * 4
        (event,) = events_of(films.select("train")).paths
        assert event == str(events / "event2")

    def test_groups_of_several_events_stay_together(self, events, tmp_path):
        listed = tmp_path / "events.csv"
        listed.write_text("path,group\n" + "\n".join(f"event{i},{'xy'[i // 2]}" for i in range(4)))
        rest, held = read_manifest(listed, root=events, cameras=CAMERAS).hold_out(0.5, 0)
        assert len({*held.table["group"].to_pylist()}) == 1 and len(events_of(held)) == 2
        assert len(events_of(rest)) == 2

    def test_folders_around_events_are_classes_and_splits(self, tmp_path):
        for place in ("train/pour/a", "train/stir/a", "test/pour/b"):
            (tmp_path / place).mkdir(parents=True)
            (tmp_path / place / "left.mp4").touch()
        table = list_events(tmp_path, CAMERAS)
        assert table["path"].to_pylist() == ["test/pour/b", "train/pour/a", "train/stir/a"]
        assert table["label"].to_pylist() == ["pour", "pour", "stir"]
        assert table["split"].to_pylist() == ["test", "train", "train"]

    def test_a_single_event(self, events):
        films = read_manifest(events / "event1", cameras=CAMERAS)
        assert films.paths == [str(events / "event1" / name) for name in CAMERAS]
        assert events_of(films).paths == [str(events / "event1")]

    def test_a_folder_of_frames_can_be_a_camera(self, tmp_path):
        from PIL import Image

        for camera in ("a", "b"):
            (tmp_path / "e" / camera).mkdir(parents=True)
            for frame in range(3):
                Image.new("RGB", (8, 8)).save(tmp_path / "e" / camera / f"{frame}.png")
        films = read_manifest(tmp_path, cameras=["a", "b"])
        assert films.paths == [str(tmp_path / "e" / camera) for camera in ("a", "b")]

    def test_what_a_list_already_says_is_kept(self):
        table = make_manifest({"path": ["e"], "label": ["x"], "take": ["7"]}, root="/").table
        films = by_camera(table, CAMERAS)
        assert films["take"].to_pylist() == ["7", "7"] and films["label"].to_pylist() == ["x", "x"]
        assert films["group"].to_pylist() == ["e", "e"]

    def test_a_written_list_of_films_still_names_its_events(self, events, tmp_path):
        films = read_manifest(events, cameras=CAMERAS)
        write_manifest(films, tmp_path / "films.csv")
        again = read_manifest(tmp_path / "films.csv")
        assert again.paths == films.paths
        assert again.table["event"].to_pylist() == films.table["event"].to_pylist()

    def test_no_events(self, video_folder):
        with pytest.raises(UserError, match=r"holds no folder with left.mp4 or right.mp4"):
            read_manifest(video_folder, cameras=CAMERAS)

    def test_a_list_of_plain_videos_has_no_events(self, video_folder):
        with pytest.raises(UserError, match="does not say which event"):
            events_of(read_manifest(video_folder))

    def test_a_list_that_lacks_a_cameras_file_names_it(self, events, tmp_path):
        shutil.copytree(events / "event0", tmp_path / "event0")
        (tmp_path / "event0" / "right.mp4").unlink()
        listed = tmp_path / "events.csv"
        listed.write_text("path\nevent0\n")
        with pytest.raises(UserError, match=r"1 of 2 files are missing.*event0/right.mp4"):
            read_manifest(listed, cameras=CAMERAS)


class TestReading:
    def test_frames_are_those_of_one_camera_after_another(self, events, reader):
        with reader.open(str(events / "event1")) as event:
            assert len(event) == 2 * 21, "the longer film is cut"
            index = np.array([30, 0, 41, 20, 21, 0])
            found = event.frames(index)
        expected = []
        for i in index:
            with open_video(events / "event1" / CAMERAS[i // 21]) as film:
                expected.append(film.frames([i % 21])[0])
        np.testing.assert_array_equal(found, np.stack(expected))

    def test_times_begin_anew_with_each_camera(self, events, reader):
        with reader.open(str(events / "event0")) as event:
            np.testing.assert_allclose(event.times, np.tile(np.arange(20) / 10, 2))
            assert event.fps == 10

    def test_the_streams_own_start_does_not_count(self, events):
        class Late(CachedVideo):
            pass

        films = [Late(grey(4, 10), np.arange(4) / 10 + start, 10.0) for start in (0.0, 5.0)]
        np.testing.assert_allclose(Cameras(films).times, np.tile(np.arange(4) / 10, 2))

    def test_frames_of_other_sizes_are_scaled_to_the_first(self):
        films = [
            CachedVideo(grey(3, level, size), np.arange(3.0), 1.0)
            for level, size in ((10, (12, 16)), (50, (24, 20)))
        ]
        event = Cameras(films)
        found = event.frames(np.array([4, 1]))
        assert found.shape == (2, 12, 16, 3)
        assert (found[0] == 52).all() and (found[1] == 12).all()
        assert event.frames(np.array([5])).shape == (1, 24, 20, 3)

    def test_closing_it_closes_the_films(self, events):
        films = [open_video(events / "event0" / name) for name in CAMERAS]
        with Cameras(films):
            pass
        for film in films:
            with pytest.raises(ValueError, match="closed"):
                film.frames([0])

    def test_each_cameras_file_is_cached_by_itself(self, events, tmp_path, monkeypatch):
        cache = FrameCache(tmp_path, short_side=24)
        plain, cached = VideoReader(cache=cache), VideoReader(cache=cache, cameras=CAMERAS)
        with cached.open(str(events / "event0")) as event:
            assert event.frames(np.array([0, 25])).shape == (2, 24, 32, 3)
        assert len(list(tmp_path.glob("*.npy"))) == 2
        monkeypatch.setattr(
            "cvrl.video.frame_cache.open_video", lambda *_, **__: pytest.fail("decoded")
        )
        with plain.open(str(events / "event0" / "right.mp4")) as film:
            assert len(film) == 23

    @pytest.mark.parametrize("cached", [False, True])
    @pytest.mark.parametrize(("broken", "why"), [("left.mp4", "no"), ("right.mp4", "broken")])
    def test_a_bad_cameras_file_is_named(self, events, tmp_path, cached, broken, why):
        shutil.copytree(events / "event0", tmp_path / "event0")
        bad = tmp_path / "event0" / broken
        bad.unlink() if why == "no" else bad.write_text("no video")
        cache = FrameCache(tmp_path / "cache", short_side=24) if cached else None
        with pytest.raises(CorruptVideoError) as caught:
            VideoReader(cache=cache, cameras=CAMERAS).open(str(tmp_path / "event0"))
        assert caught.value.path == str(bad)


def test_real_events(real_data):
    cameras = ("cam0.mp4", "cam1.mp4")
    films = read_manifest(real_data / "urfall_pairs", cameras=cameras)
    assert len(films) == 40 and len(events_of(films)) == 20
    with VideoReader(cameras=cameras).open(events_of(films).path(0)) as event:
        assert len(event) == 320
        first, second = event.frames(np.array([80, 240]))
    for name, frame in zip(cameras, (first, second), strict=True):
        with open_video(real_data / "urfall_pairs" / "fall-01" / name) as film:
            np.testing.assert_array_equal(film.frames([80])[0], frame)


class TestTraining:
    @pytest.fixture
    def dataset(self, events, reader):
        views = Synchronised(ClipSpec(frames=2, stride=1), moments=4, min_gap=0.2)
        films = read_manifest(events, cameras=CAMERAS)
        recipe = recipes.evaluation(32)
        return TrainDataset(events_of(films), views, recipe, seed=0, reader=reader)

    def test_a_batch_of_moments(self, dataset):
        batch = collate([dataset[0, row] for row in range(4)])
        assert batch.clips_BVCTHW.shape == (4, 8, 3, 2, 32, 32)
        assert torch.equal(batch.time_BV[:, 0::2], batch.time_BV[:, 1::2])
        assert (batch.time_BV[:, 0::2].diff(dim=1) >= 0.2 - 1e-6).all()
        assert batch.video_id_B.tolist() == batch.group_id_B.tolist() == [0, 1, 2, 3]

    def test_clips_show_their_moment_from_their_camera(self, dataset):
        """The films' brightness tells camera and frame."""
        batch = collate([dataset[epoch, 1] for epoch in range(5)])
        level_BV = 255 * batch.clips_BVCTHW[:, :, :, 0].mean(dim=(2, 3, 4))
        expected_BV = 20 + 100 * batch.order_BV + 2 * 10 * batch.time_BV
        assert (level_BV - expected_BV).abs().max() < 2.5, "what a lossy codec may change"

    def test_a_bad_event_is_replaced_and_its_file_named(self, events, tmp_path, dataset):
        broken = tmp_path / "broken"
        broken.mkdir()
        shutil.copy(events / "event0" / "left.mp4", broken)
        paths = [str(events / "event0"), str(broken)]
        dataset.manifest = make_manifest({"path": paths}, root="/")
        sample = dataset[0, 1]
        assert sample.video_id == 0
        assert set(sample.bad) == {(str(broken / "right.mp4"), "no such file")}
