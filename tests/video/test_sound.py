"""Sound is read at the right time, whatever codec, rate and window, and its absence is told."""

import av
import numpy as np
import pytest

from cvrl.utils.errors import CorruptVideoError
from cvrl.video.reader import open_video
from cvrl.video.sound import has_sound, read_sound

RATE = 16_000  # of conftest.write_video


def clicks(times, seconds=3.0, rate=RATE):
    wave = np.zeros(round(seconds * rate), np.float32)
    for time in times:
        wave[round(time * rate) : round(time * rate) + rate // 100] = 0.5
    return wave


def onsets(wave, start, rate=RATE):
    """When a window becomes loud, in seconds of the file."""
    loud = np.abs(wave) > 0.2
    return [start + at / rate for at in np.flatnonzero(np.diff(loud.astype(int), prepend=0) == 1)]


@pytest.fixture(scope="module")
def clicking(tmp_path_factory, make_video):
    folder = tmp_path_factory.mktemp("sound")
    return make_video(folder / "clicks.mp4", 75, sound=clicks([0.5, 1.0, 1.7, 2.2]))


@pytest.mark.parametrize("start", [0.0, 0.4, 0.93, 1.237, 1.6, -0.3])
def test_a_click_is_found_when_it_sounds(clicking, start):
    (wave,) = read_sound(clicking, [start], 1.0, RATE)
    assert wave.shape == (RATE,) and wave.dtype == np.float32
    expected = [t for t in (0.5, 1.0, 1.7, 2.2) if start <= t < start + 1.0]
    assert onsets(wave, start) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000])
def test_another_rate_moves_nothing(clicking, rate):
    (wave,) = read_sound(clicking, [0.9], 1.0, rate)
    assert len(wave) == rate
    assert onsets(wave, 0.9, rate) == pytest.approx([1.0, 1.7], abs=2e-3)


def test_a_window_is_a_function_of_itself(clicking):
    starts = [1.5, 0.2, 0.9]
    together = read_sound(clicking, starts, 0.5, RATE)
    for start, wave in zip(starts, together, strict=True):
        assert np.array_equal(wave, read_sound(clicking, [start], 0.5, RATE)[0])


@pytest.mark.parametrize("start", [-5.0, 3.5, 100.0])
def test_outside_the_sound_there_is_silence(clicking, start):
    (wave,) = read_sound(clicking, [start], 0.5, RATE)
    assert len(wave) == RATE // 2 and not wave.any()


def test_lossless_sound_comes_back_as_it_was(tmp_path, make_video):
    rng = np.random.default_rng(0)
    wave = (0.5 * rng.uniform(-1, 1, 2 * RATE)).astype(np.float32)
    path = make_video(tmp_path / "noise.mp4", 50, sound=wave)
    (found,) = read_sound(path, [0.25], 1.0, RATE)
    np.testing.assert_allclose(found, wave[RATE // 4 : RATE // 4 + RATE], atol=1 / 32767)


@pytest.mark.parametrize(("codec", "suffix"), [("aac", "mp4"), ("mp3", "mkv"), ("flac", "mkv")])
def test_stereo_of_other_codecs_is_averaged_in_time(tmp_path, codec, suffix):
    wave = clicks([0.5, 1.4], seconds=2.0, rate=44_100)
    path = tmp_path / f"stereo.{suffix}"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        audio = container.add_stream(codec, rate=44_100)
        audio.layout = "stereo"
        frame = av.AudioFrame.from_ndarray(
            np.stack([2 * wave, 0 * wave]), format="fltp", layout="stereo"
        )
        frame.sample_rate = 44_100
        resampler = av.AudioResampler(format=audio.format, layout="stereo", rate=44_100)
        fifo = av.AudioFifo()
        fifo.write(resampler.resample(frame)[0])
        for piece in fifo.read_many(1152 if codec == "mp3" else 1024):
            container.mux(audio.encode(piece))
        container.mux(audio.encode(None))
        for _ in range(50):
            picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
    (found,) = read_sound(path, [0.0], 1.5, RATE)
    # A codec smears a click and may start a little late.
    assert onsets(found, 0.0)[0] == pytest.approx(0.5, abs=0.06)


def test_its_clock_is_that_of_the_pictures(tmp_path, make_video):
    """A flash and a click of one moment are found at one time."""
    frames = np.zeros((50, 32, 32, 3), np.uint8)
    frames[30:] = 255
    path = make_video(tmp_path / "flash.mp4", frames, sound=clicks([30 / 25], seconds=2.0))
    with open_video(path) as video:
        bright = video.frames(range(len(video))).mean(axis=(1, 2, 3)) > 128
        flash = video.times[np.argmax(bright)]
    (wave,) = read_sound(path, [0.0], 2.0, RATE)
    assert onsets(wave, 0.0) == pytest.approx([flash], abs=5e-3)


def test_a_file_without_sound_says_so(tmp_path, make_video):
    path = make_video(tmp_path / "mute.mp4", 10)
    assert not has_sound(path)
    with pytest.raises(CorruptVideoError, match=r"mute\.mp4: has no sound"):
        read_sound(path, [0.0], 1.0, RATE)


def test_a_folder_of_frames_has_none_and_a_broken_file_is_named(tmp_path, clicking):
    assert has_sound(clicking) and not has_sound(tmp_path)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video" * 100)
    for call in (lambda: has_sound(broken), lambda: read_sound(broken, [0.0], 1.0, RATE)):
        with pytest.raises(CorruptVideoError, match=r"broken\.mp4"):
            call()
