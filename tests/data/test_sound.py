"""Videos without sound are counted and left out; a sample's sound is that under its clip."""

import logging

import numpy as np
import pytest
import torch

from cvrl.data.clips import ClipSpec, Plan
from cvrl.data.dataset import TrainDataset, VideoReader, collate
from cvrl.data.manifest import make_manifest, read_manifest
from cvrl.data.sampler import Visit
from cvrl.data.sound import spectrograms, with_sound
from cvrl.data.view_base import Sound
from cvrl.transforms import recipes
from cvrl.transforms.log_mel import log_mel
from cvrl.utils.errors import CorruptVideoError, UserError
from cvrl.video.frame_cache import FrameCache
from cvrl.video.limits import Limits
from cvrl.video.reader import open_video
from cvrl.video.sound import read_sound
from cvrl.views.audio_pair import AudioPair

RATE = 16_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_video):
    """Three videos with noise of their own, two without sound and a broken one."""
    folder = tmp_path_factory.mktemp("heard")
    for name in range(3):
        noise = np.random.default_rng(name).uniform(-0.5, 0.5, 3 * RATE).astype(np.float32)
        make_video(folder / f"loud{name}.mp4", 75, sound=noise)
    for name in range(2):
        make_video(folder / f"mute{name}.mp4", 20)
    return folder


def listed(folder, *names):
    return make_manifest({"path": [f"{name}.mp4" for name in names]}, root=folder)


def test_silent_videos_are_counted_and_left_out(folder, caplog):
    videos = read_manifest(folder)
    with caplog.at_level(logging.WARNING, "cvrl"):
        kept = with_sound(videos)
    assert [path.rpartition("/")[2] for path in kept.paths] == [f"loud{n}.mp4" for n in range(3)]
    (message,) = caplog.messages
    assert "2 of 5 videos have no sound and are left out, such as" in message
    assert message.endswith("mute0.mp4")


def test_a_list_in_which_all_have_sound_stays_as_it_is(folder, caplog):
    videos = listed(folder, "loud0", "loud2")
    assert with_sound(videos) is videos and caplog.messages == []


def test_a_list_without_any_sound_is_refused(folder):
    with pytest.raises(UserError, match="has no sound in any of 2 videos"):
        with_sound(listed(folder, "mute0", "mute1"))


def test_a_file_that_cannot_be_opened_is_left_to_the_run(folder, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    paths = [str(tmp_path / "broken.mp4"), str(folder / "loud0.mp4"), str(folder / "mute0.mp4")]
    kept = with_sound(make_manifest({"path": paths}, root="/"))
    assert kept.paths == paths[:2]


def test_windows_are_centred_on_their_ticks(folder):
    path, sound = str(folder / "loud0.mp4"), Sound(seconds=0.5, bins=32)
    plan = Plan(np.zeros((1, 4), np.int64), np.zeros(1, np.int64), sound_W=np.array([40, -1]))
    times = np.arange(75) / 25
    found = spectrograms(path, sound, plan, times, Limits())
    wave = torch.from_numpy(read_sound(path, [1.6 - 0.25], 0.5, RATE)[0])
    how = {"bins": 32, "window": 0.025, "hop": 0.01}
    assert torch.equal(found[0], log_mel(wave, RATE, **how))
    assert torch.equal(found[1], torch.full_like(found[1], -1.0)), "silence"


def dataset(folder, **keywords):
    views = AudioPair(ClipSpec(4, 2), clips=2, seconds=0.6)
    return TrainDataset(with_sound(read_manifest(folder)), views, recipes.light(32), **keywords)


def test_a_sample_holds_the_sound_of_its_clips(folder):
    made = dataset(folder, seed=0)
    sample = made[Visit(0, 1)]
    assert sample.sound_WMF.shape == (4, 64, 61) and sample.sound_WMF.dtype == torch.float32
    with open_video(made.manifest.path(1)) as video:
        plan, _ = made.plan(video, Visit(0, 1))
        start = video.times[plan.sound_W] - 0.3
    for window, begin in zip(sample.sound_WMF, start, strict=True):
        wave = torch.from_numpy(read_sound(made.manifest.path(1), [begin], 0.6, RATE)[0])
        assert torch.equal(window, log_mel(wave, RATE, bins=64, window=0.025, hop=0.01))


def test_it_is_a_function_of_seed_epoch_and_index_and_not_of_the_cache(folder, tmp_path):
    plain, again = dataset(folder, seed=0), dataset(folder, seed=0)
    cached = dataset(folder, seed=0, reader=VideoReader(cache=FrameCache(tmp_path, 48)))
    again[Visit(3, 0)]
    sound = plain[Visit(1, 2)].sound_WMF
    assert torch.equal(sound, again[Visit(1, 2)].sound_WMF)
    assert torch.equal(sound, cached[Visit(1, 2)].sound_WMF)
    assert not torch.equal(sound, plain[Visit(2, 2)].sound_WMF)


def test_batches_carry_it(folder):
    made = dataset(folder, seed=0)
    batch = collate([made[Visit(0, row)] for row in range(3)])
    assert batch.sound_BWMF.shape == (3, 4, 64, 61)
    assert torch.equal(batch.to(torch.device("cpu")).sound_BWMF, batch.sound_BWMF)


def test_a_video_that_lost_its_sound_is_replaced_and_named(folder):
    made = TrainDataset(
        listed(folder, "mute0", "loud1"),
        AudioPair(ClipSpec(4, 2), seconds=0.6),
        recipes.light(32),
        seed=0,
    )
    ((path, reason),) = set(made[Visit(0, 0)].bad)
    assert path.endswith("mute0.mp4") and reason == "has no sound"
    with pytest.raises(CorruptVideoError, match="has no sound"):
        made._sample(0, 0)
