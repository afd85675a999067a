"""The contact sheet shows the frames it is given, where it says it does."""

import numpy as np
import pytest
import torch
from PIL import Image

from cvrl.data.clips import ClipSpec
from cvrl.data.manifest import make_manifest, read_manifest
from cvrl.report.contact_sheet import GAP, LINE, MARGIN, contact_sheet, draw_pairs
from cvrl.utils.errors import CorruptVideoError, UserError


def shades(videos=1, views=2, frames=4, size=(8, 10)):
    """Clips whose every frame is one grey of its own: (V, 3, T, H, W) each."""
    levels = np.arange(videos * views * frames, dtype=np.uint8).reshape(
        videos, views, 1, frames, 1, 1
    )
    return list(np.broadcast_to(10 + levels * 3, (videos, views, 3, frames, *size)))


def read(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def frame_at(sheet, video, view, place, *, shown, size=(8, 10), captioned=False):
    """The pixels where a frame should be."""
    height, width = size
    top = MARGIN + (LINE + MARGIN if captioned else 0)
    top += video * (height + 2 * LINE + MARGIN) + 2 * LINE
    left = MARGIN + view * (shown * (width + GAP) - GAP + MARGIN) + place * (width + GAP)
    return sheet[top : top + height, left : left + width]


@pytest.mark.parametrize("captioned", [False, True])
def test_every_frame_is_in_its_place(tmp_path, captioned):
    clips = shades(videos=3)
    caption = "what the model sees" if captioned else ""
    contact_sheet(clips, ["a", "b", "c"], tmp_path / "sheet.png", caption=caption)
    sheet = read(tmp_path / "sheet.png")
    for video in range(3):
        for view in range(2):
            for t in range(4):
                pixels = frame_at(sheet, video, view, t, shown=4, captioned=captioned)
                assert (pixels == clips[video][view, 0, t, 0, 0]).all()


def test_colours_and_positions_inside_a_frame(tmp_path):
    rng = np.random.default_rng(0)
    clips_VCTHW = rng.integers(0, 256, size=(2, 3, 1, 8, 10), dtype=np.uint8)
    contact_sheet([clips_VCTHW], ["a"], tmp_path / "sheet.png")
    pixels = frame_at(read(tmp_path / "sheet.png"), 0, 1, 0, shown=1)
    assert np.array_equal(pixels, clips_VCTHW[1, :, 0].transpose(1, 2, 0))


def test_frames_shown_are_spread_from_first_to_last(tmp_path):
    clips = shades(frames=16)
    contact_sheet(clips, ["a"], tmp_path / "sheet.png", frames=4)
    sheet = read(tmp_path / "sheet.png")
    for place, t in enumerate([0, 5, 10, 15]):
        pixels = frame_at(sheet, 0, 1, place, shown=4)
        assert (pixels == clips[0][1, 0, t, 0, 0]).all()


@pytest.mark.parametrize(
    "convert",
    [
        lambda clips: clips.astype(np.float32) / 255,
        lambda clips: clips.astype(np.float64) / 255,
        torch.from_numpy,
        lambda clips: torch.from_numpy(clips).float() / 255,
        lambda clips: (torch.from_numpy(clips).float() / 255).half(),
    ],
)
def test_floats_bytes_arrays_and_tensors_draw_the_same(tmp_path, convert):
    clips = np.array(shades()[0])
    contact_sheet([clips], ["a"], tmp_path / "bytes.png")
    contact_sheet([convert(clips)], ["a"], tmp_path / "other.png")
    assert np.array_equal(read(tmp_path / "bytes.png"), read(tmp_path / "other.png"))


def test_videos_may_differ_in_size_and_number_of_clips(tmp_path):
    clips = [shades(views=1)[0], shades(views=3, frames=2, size=(20, 30))[0]]
    contact_sheet(clips, ["a", "b"], tmp_path / "sheet.png")
    height, width, _ = read(tmp_path / "sheet.png").shape
    assert width == 2 * MARGIN + 3 * (2 * 30 + GAP) + 2 * MARGIN
    assert height == MARGIN + (8 + LINE + MARGIN) + (20 + 2 * LINE + MARGIN)


def test_titles_and_letters_are_written(tmp_path):
    clips = [np.full((2, 3, 2, 40, 60), 255, np.uint8)]
    contact_sheet(clips, ["run"], tmp_path / "run.png")
    contact_sheet(clips, ["jump"], tmp_path / "jump.png")
    run, jump = read(tmp_path / "run.png"), read(tmp_path / "jump.png")
    title = slice(MARGIN, MARGIN + LINE)
    assert not np.array_equal(run[title], jump[title])
    letters = run[MARGIN + LINE : MARGIN + 2 * LINE]
    second = MARGIN + 2 * 60 + GAP + MARGIN
    assert (letters[:, MARGIN : MARGIN + 50] < 200).any()
    assert (letters[:, second : second + 50] < 200).any()


def test_a_long_title_is_cut_at_the_edge(tmp_path):
    clips = [np.full((2, 3, 2, 16, 40), 255, np.uint8)]
    contact_sheet(clips, ["a very long name " * 30], tmp_path / "sheet.png")
    sheet = read(tmp_path / "sheet.png")
    assert (sheet[:, -MARGIN:] == 255).all()
    assert (sheet[MARGIN : MARGIN + LINE] < 200).any()


def test_a_tiny_sheet_has_no_room_for_words(tmp_path):
    contact_sheet([np.zeros((1, 3, 1, 1, 1), np.uint8)], ["a name"], tmp_path / "sheet.png")
    assert read(tmp_path / "sheet.png").shape[1] == 2 * MARGIN + 1


def test_letters_of_other_alphabets_do_no_harm(tmp_path):
    contact_sheet(shades(), ["ünïcödé 视频 🎬.mp4"], tmp_path / "sheet.png")


def test_the_folder_is_made_and_the_old_sheet_replaced(tmp_path):
    path = tmp_path / "deep" / "sheet.png"
    contact_sheet(shades(), ["a"], path)
    contact_sheet(shades(size=(20, 20)), ["a"], path)
    assert read(path).shape[0] == MARGIN + 20 + 2 * LINE + MARGIN
    assert [entry.name for entry in path.parent.iterdir()] == ["sheet.png"]


@pytest.mark.parametrize(
    ("clips", "titles", "message"),
    [
        ([], [], "0 videos with 0 titles"),
        (shades(), ["a", "b"], "1 videos with 2 titles"),
        ([np.zeros((3, 4, 8, 8), np.uint8)], ["a"], r"are \(V, 3, T, H, W\), not \(3, 4, 8, 8\)"),
        ([np.zeros((2, 1, 4, 8, 8), np.uint8)], ["a"], r"not \(2, 1, 4, 8, 8\)"),
        ([np.zeros((2, 3, 0, 8, 8), np.uint8)], ["a"], r"not \(2, 3, 0, 8, 8\)"),
        ([np.full((2, 3, 4, 8, 8), 1.5)], ["a"], r"lie in \[1\.50, 1\.50\], not in \[0, 1\]"),
        ([np.full((2, 3, 4, 8, 8), -0.5)], ["a"], "undo Normalize"),
        ([np.full((2, 3, 4, 8, 8), np.nan)], ["a"], "undo Normalize"),
    ],
)
def test_what_cannot_be_drawn(tmp_path, clips, titles, message):
    with pytest.raises(ValueError, match=message):
        contact_sheet(clips, titles, tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()


# Pairs of real files


def test_pairs_of_videos(video_folder, tmp_path):
    draw_pairs(read_manifest(video_folder), tmp_path / "sheet.png", videos=3, size=32)
    height, width, _ = read(tmp_path / "sheet.png").shape
    assert width == 2 * MARGIN + 2 * (6 * (32 + GAP) - GAP) + MARGIN
    assert height == 2 * MARGIN + LINE + 3 * (32 + 2 * LINE + MARGIN)


def test_the_same_seed_draws_the_same_sheet(video_folder, tmp_path):
    clips = read_manifest(video_folder)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        draw_pairs(clips, tmp_path / f"{name}.png", videos=2, size=32, seed=seed)
    one, again, other = (read(tmp_path / f"{name}.png") for name in "abc")
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_few_and_short_videos(make_video, tmp_path):
    make_video(tmp_path / "videos" / "a.mp4", 5)
    clips = read_manifest(tmp_path / "videos")
    draw_pairs(clips, tmp_path / "sheet.png", spec=ClipSpec(frames=3, stride=8), size=32)
    height, width, _ = read(tmp_path / "sheet.png").shape
    assert width == 2 * MARGIN + 2 * (3 * (32 + GAP) - GAP) + MARGIN
    assert height == 2 * MARGIN + LINE + 32 + 2 * LINE + MARGIN


def test_a_bad_video_is_replaced(make_video, tmp_path):
    make_video(tmp_path / "videos" / "a.mp4", 40)
    (tmp_path / "videos" / "b.mp4").write_text("no video")
    draw_pairs(read_manifest(tmp_path / "videos"), tmp_path / "sheet.png", size=32)
    assert (tmp_path / "sheet.png").exists()


def test_only_bad_videos(tmp_path):
    (tmp_path / "b.mp4").write_text("no video")
    with pytest.raises(CorruptVideoError, match=r"b\.mp4"):
        draw_pairs(read_manifest(tmp_path), tmp_path / "sheet.png")


def test_no_videos(tmp_path):
    with pytest.raises(UserError, match="no videos to draw"):
        draw_pairs(make_manifest({"path": ["a.mp4"]}, root="/").take([]), tmp_path / "sheet.png")


@pytest.mark.real
def test_pairs_of_real_videos(real_data, tmp_path):
    draw_pairs(read_manifest(real_data / "weizmann4"), tmp_path / "sheet.png", videos=4, size=64)
    sheet = read(tmp_path / "sheet.png")
    assert sheet.std() > 20
