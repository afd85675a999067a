"""The store: every frame, at its time and the right way up, only smaller; resumed, never mixed."""

import errno
import os
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from cvrl.preparation import store
from cvrl.preparation.store import Encoding, Job, build_store, store_video
from cvrl.utils.errors import UserError
from cvrl.utils.processes import Lost
from cvrl.video.reader import open_video

SMALL = Encoding(short_side=32, gop=4)


def decode(path):
    """All frames by a plain decode from the start, and which of them are key frames."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [frame.to_ndarray(format="rgb24") for frame in frames], [f.key_frame for f in frames]


def smooth(frames, size):
    """A ramp of colour that moves: (T, H, W, 3), without edges that a codec would blur."""
    H, W = size
    rows, columns = np.mgrid[:H, :W]
    clip = [
        np.stack([rows * 200 / H + 3 * t, columns * 200 / W + 2 * t, 0 * rows + 50], axis=-1)
        for t in range(frames)
    ]
    return np.uint8(np.clip(clip, 0, 255))


def stored(source, folder, encoding=SMALL):
    target = folder / f"{source.stem}.mp4"
    assert store_video(Job(str(source), str(target), encoding)) is None
    return target


# --- what is written -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.avi", "mpeg4", {}),
        ("packed.avi", "mpeg4", {"bf": "2"}),
        ("b.mkv", "libx264", {"bf": "3"}),
        ("c.webm", "libvpx-vp9", {}),
        ("d.mpg", "mpeg2video", {}),
    ],
)
def test_as_many_frames_as_decode(make_video, tmp_path, name, codec, options):
    source = make_video(tmp_path / name, 21, codec=codec, options=options)
    target = stored(source, tmp_path / "store")
    frames, _ = decode(target)
    assert len(frames) == len(decode(source)[0]) == 21
    with open_video(source) as before, open_video(target) as after:
        assert len(after) == len(before) == 21
        np.testing.assert_allclose(after.times, before.times - before.times[0], atol=1e-4)
        assert after.fps == pytest.approx(before.fps, rel=1e-3)
        assert after.size == (32, 42)


@pytest.mark.parametrize("fps", [12, 23.976, 25, 29.97, 60])
def test_times_are_kept(make_video, tmp_path, fps):
    source = make_video(tmp_path / "a.mp4", 15, fps=fps)
    with open_video(source) as before, open_video(stored(source, tmp_path / "store")) as after:
        np.testing.assert_allclose(after.times, before.times, atol=1e-4)
        assert after.fps == pytest.approx(before.fps, rel=1e-3)


def test_a_rate_that_varies_is_kept(make_video, tmp_path):
    source = make_video(tmp_path / "vary.mp4", 6, fps=10, times=[0, 1, 4, 5, 9, 20])
    with open_video(stored(source, tmp_path / "store")) as after:
        np.testing.assert_allclose(after.times, [0, 0.1, 0.4, 0.5, 0.9, 2.0], atol=1e-4)


def test_frames_are_the_same_picture(make_video, tmp_path):
    source = make_video(tmp_path / "a.mp4", smooth(9, (64, 96)), options={"crf": "5"})
    frames, _ = decode(stored(source, tmp_path / "store"))
    for before, after in zip(decode(source)[0], frames, strict=True):
        small = np.asarray(Image.fromarray(before).resize((48, 32), Image.Resampling.BOX))
        assert after.shape == (32, 48, 3)
        assert np.abs(after.astype(float) - small).mean() < 3


def test_frames_come_upright(make_video, tmp_path):
    source, turned = make_video(tmp_path / "a.mp4", smooth(5, (64, 96))), tmp_path / "turned.mp4"
    quarter = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    with av.open(str(source)) as before, av.open(str(turned), "w") as after:
        stream = after.add_stream_from_template(before.streams.video[0])
        stream.set_display_matrix(quarter)
        for packet in before.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                after.mux(packet)
    with open_video(turned) as video:
        assert video.size == (96, 64)
        wanted = video.frames([0])[0]
    frames, _ = decode(stored(turned, tmp_path / "store"))
    small = np.asarray(Image.fromarray(wanted).resize((32, 48), Image.Resampling.BOX))
    assert frames[0].shape == (48, 32, 3)
    assert np.abs(frames[0].astype(float) - small).mean() < 3


def test_a_folder_of_frames_is_stored(tmp_path):
    folder = tmp_path / "v_Run_g01_c01"
    folder.mkdir()
    for number in (1, 2, 10):
        Image.new("RGB", (64, 48), (20 * number, 0, 0)).save(folder / f"{number}.png")
    frames, _ = decode(stored(folder, tmp_path / "store"))
    assert [round(float(frame[..., 0].mean()) / 20) for frame in frames] == [1, 2, 10]


@pytest.mark.parametrize("gop", [1, 4, 12])
def test_a_key_frame_every_so_many(make_video, tmp_path, gop):
    noise = np.random.default_rng(0).integers(0, 256, (26, 32, 32, 3), dtype=np.uint8)
    source = make_video(tmp_path / "a.mp4", noise)
    _, keys = decode(stored(source, tmp_path / "store", Encoding(short_side=32, gop=gop)))
    assert keys == [index % gop == 0 for index in range(26)]


def test_small_and_odd_videos_are_not_enlarged(make_video, tmp_path):
    source = make_video(tmp_path / "a.avi", smooth(3, (31, 45)), codec="ffv1", pix_fmt="bgr0")
    frames, _ = decode(stored(source, tmp_path / "store", Encoding(short_side=128)))
    assert frames[0].shape == (30, 44, 3)


@pytest.mark.parametrize("side", [16, 100, 128, 224])
@pytest.mark.parametrize("height,width", [(240, 320), (1080, 1920), (720, 405), (97, 101)])
def test_sizes_are_even_and_keep_the_shape(side, height, width):
    h, w = Encoding(short_side=side).size(height, width)
    assert h % 2 == w % 2 == 0 and h <= height and w <= width
    assert abs(min(h, w) - min(side, height, width)) <= 1
    scale = min(1, side / min(height, width))
    assert abs(h - scale * height) <= 1 and abs(w - scale * width) <= 1


def test_the_same_bytes_every_time(make_video, tmp_path):
    source = make_video(tmp_path / "a.mp4", 20)
    first, second = (stored(source, tmp_path / name).read_bytes() for name in ("one", "two"))
    assert first == second


# --- what cannot be stored -----------------------------------------------------------------------


def test_a_broken_file_is_named_and_leaves_nothing(make_video, tmp_path):
    whole = make_video(tmp_path / "whole.avi", 60, codec="mpeg4").read_bytes()
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "good.avi").write_bytes(whole)
    names = ("text.mp4", "empty.mp4", "gone.mp4", "good.avi")
    folder = tmp_path / "store"
    jobs = [Job(str(tmp_path / name), str(folder / f"{name}.mp4"), SMALL) for name in names]
    failed = build_store(folder, jobs, workers=0)
    assert {Path(source).name: bool(reason) for source, reason in failed.items()} == {
        "text.mp4": True,
        "empty.mp4": True,
        "gone.mp4": True,
    }
    assert failed[str(tmp_path / "gone.mp4")] == "no such file"
    assert sorted(path.name for path in folder.iterdir()) == ["good.avi.mp4", "store.json"]


def test_a_file_that_breaks_midway_is_not_stored_in_part(make_video, tmp_path):
    source = make_video(tmp_path / "a.mkv", smooth(200, (64, 64)), codec="libvpx-vp9")
    data = bytearray(source.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    source.write_bytes(bytes(data))
    target = tmp_path / "store" / "a.mp4"
    reason = store_video(Job(str(source), str(target), SMALL))
    with open_video(source) as video:
        count = len(video)
    assert target.exists() == (reason is None)
    if reason is None:
        assert len(decode(target)[0]) == count


def test_frames_that_were_lost_on_the_way_are_noticed(make_video, tmp_path, monkeypatch):
    write = store._write

    def forget(video, path, encoding, beat):
        write(open_video(other), path, encoding, beat)

    source, other = make_video(tmp_path / "a.mp4", 20), make_video(tmp_path / "b.mp4", 19)
    monkeypatch.setattr(store, "_write", forget)
    target = tmp_path / "store.mp4"
    assert store_video(Job(str(source), str(target), SMALL)) == (
        "20 frames were read and 19 written"
    )
    assert not target.exists()


def test_a_full_disk_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "store_video", lambda job, beat: os.strerror(errno.ENOSPC))
    jobs = [Job("a.mp4", str(tmp_path / "a.mp4"), SMALL)]
    with pytest.raises(UserError, match="the disk is full; make room"):
        build_store(tmp_path, jobs, workers=0)


# --- a run after another -------------------------------------------------------------------------


def test_what_is_stored_is_kept(make_video, tmp_path):
    sources = [make_video(tmp_path / f"{name}.mp4", 12) for name in "ab"]
    folder = tmp_path / "store"
    jobs = [Job(str(s), str(folder / s.name), SMALL) for s in sources]
    assert build_store(folder, jobs[:1], workers=0) == {}
    before = (folder / "a.mp4").stat()
    (folder / ".b.123.tmp.mp4").write_text("half")  # of a run that was killed
    assert build_store(folder, jobs, workers=1) == {}
    assert (folder / "a.mp4").stat() == before
    assert sorted(path.name for path in folder.iterdir()) == ["a.mp4", "b.mp4", "store.json"]


def test_two_settings_do_not_mix(make_video, tmp_path):
    source = make_video(tmp_path / "a.mp4", 12)
    target = str(tmp_path / "store" / "a.mp4")
    build_store(tmp_path / "store", [Job(str(source), target, SMALL)], workers=0)
    other = Job(str(source), target, Encoding(short_side=48, gop=4))
    with pytest.raises(UserError, match=r'holds videos stored as \{"short_side": 32'):
        build_store(tmp_path / "store", [other], workers=0)


def test_no_job_makes_no_folder(tmp_path):
    assert build_store(tmp_path / "store", [], workers=0) == {}
    assert not (tmp_path / "store").exists()


def test_a_process_that_dies_is_named(tmp_path, monkeypatch):
    lost = [(0, Lost("the process that worked on it died (SIGABRT)"))]
    monkeypatch.setattr(store, "map_in_processes", lambda *args, **keywords: iter(lost))
    jobs = [Job("deadly.mp4", str(tmp_path / "a.mp4"), SMALL)]
    assert build_store(tmp_path, jobs, workers=1) == {"deadly.mp4": lost[0][1].reason}


# --- real files ----------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.slow
def test_real_files_keep_their_frames(real_data, tmp_path):
    """Packed B-frames, headers that claim too much, clips of 29 frames: all by a plain decode."""
    sources = sorted((real_data / "ucf101_4").rglob("*.avi"))[::50]
    jobs = [Job(str(s), str(tmp_path / f"{s.stem}.mp4"), Encoding()) for s in sources]
    assert build_store(tmp_path, jobs, workers=0) == {}
    for job in jobs:
        assert len(decode(job.target)[0]) == len(decode(job.source)[0])


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("name", ["fps_23976.mp4", "h264_bframes_opengop.mp4", "gif_10fps.gif"])
def test_odd_formats_keep_their_frames(real_data, tmp_path, name):
    source = real_data / "formats" / "derived" / name
    frames, _ = decode(stored(source, tmp_path))
    with open_video(source) as video:
        assert len(frames) == len(video)
