"""Folders of frames: order, sizes, odd images, broken images."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cvrl.utils.errors import CorruptVideoError
from cvrl.video.frame_folder import FramesFolder, list_frames, numberings
from cvrl.video.limits import Limits
from cvrl.video.reader import open_video


def _images(folder, names, *, size=(8, 6), mode="RGB"):
    """One image a name, each of another grey."""
    folder.mkdir(exist_ok=True)
    for index, name in enumerate(names):
        Image.new("L", size, index * 10).convert(mode).save(folder / name)
    return folder


def _open(folder, **limits):
    return FramesFolder(str(folder), fps=25.0, limits=Limits(**limits))


@given(
    numbers=st.sets(st.integers(0, 10**9), min_size=1, max_size=20),
    prefix=st.sampled_from(["", "img_", "a1b"]),
)
def test_frames_stand_in_the_order_of_their_numbers(tmp_path_factory, numbers, prefix):
    folder = tmp_path_factory.mktemp("order")
    for number in numbers:
        (folder / f"{prefix}{number}.jpg").touch()
    assert list_frames(str(folder)) == [f"{prefix}{number}.jpg" for number in sorted(numbers)]


@pytest.mark.parametrize(
    ("names", "frames"),
    [
        (["2.png", "10.png", "1.png"], ["1.png", "2.png", "10.png"]),
        (["1.PNG", "2.Jpg", "3.JPEG", "4.txt", "5"], ["1.PNG", "2.Jpg", "3.JPEG"]),
        (["._1.jpg", ".2.jpg", "1.jpg"], ["1.jpg"]),
        (["img_1.jpg", "x_1.jpg", "y_1.jpg"], ["img_1.jpg"]),
        (["img_1.jpg", "flow_x_00001.jpg", "flow-y-1.jpg"], ["img_1.jpg"]),
        (["x_1.jpg", "x_2.jpg"], ["x_1.jpg", "x_2.jpg"]),
        (["b.png", "a.png"], ["a.png", "b.png"]),
        (["1.png", "01.png"], ["01.png", "1.png"]),
        (["t٣.png", "t²4.png"], ["t²4.png", "t٣.png"]),
        (["readme.md"], []),
        (["cover.jpg", "1.jpg", "2.jpg"], ["1.jpg", "2.jpg"]),
        (["start.jpg", "1.jpg", "2.jpg"], ["1.jpg", "2.jpg"]),
        (["1.jpg", "1.png", "2.jpg", "2.png"], ["1.jpg", "2.jpg"]),
        (["1.jpg", "2.png"], ["1.jpg", "2.png"]),
        (["1_mask.png", "1.png", "mask_2.png", "2.png"], ["1.png", "2.png"]),
        (["mask_1.png", "mask_2.png"], ["mask_1.png", "mask_2.png"]),
        (["cover.jpg"], ["cover.jpg"]),
    ],
)
def test_which_files_are_frames(tmp_path, names, frames):
    for name in names:
        (tmp_path / name).touch()
    assert sorted(list_frames(str(tmp_path))) == sorted(frames)
    if "t²4.png" not in names:
        assert list_frames(str(tmp_path)) == frames


def test_png_frames_are_given_bit_for_bit(tmp_path):
    clip = np.random.default_rng(0).integers(256, size=(5, 6, 8, 3), dtype=np.uint8)
    for index, image in enumerate(clip):
        Image.fromarray(image).save(tmp_path / f"{index + 8}.png")
    np.testing.assert_array_equal(_open(tmp_path).read([0, 2, 4]), clip[[0, 2, 4]])


def test_jpg_frames_are_pillows(tmp_path):
    image = np.random.default_rng(0).integers(256, size=(16, 16, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "1.jpg")
    np.testing.assert_array_equal(
        _open(tmp_path).read([0])[0], np.asarray(Image.open(tmp_path / "1.jpg"))
    )


def test_a_gap_in_the_numbers_is_not_filled(tmp_path):
    frames = _open(_images(tmp_path / "a", ["1.png", "2.png", "7.png"]))
    assert frames.times.tolist() == [0.0, 0.04, 0.08]
    assert frames.read([2])[0, 0, 0, 0] == 20


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "LA", "CMYK"])
def test_images_of_any_kind_become_rgb(tmp_path, mode):
    suffix = "jpg" if mode == "CMYK" else "png"
    frames = _open(_images(tmp_path / "a", [f"1.{suffix}"], mode=mode))
    assert frames.read([0]).shape == (1, 6, 8, 3)


def test_of_sixteen_bits_the_upper_eight_are_given(tmp_path):
    depth = (np.arange(48, dtype=np.uint16) * 1000).reshape(6, 8)
    Image.fromarray(depth).save(tmp_path / "1.png")
    np.testing.assert_array_equal(_open(tmp_path).read([0])[0, :, :, 1], depth >> 8)


def test_exif_orientation_is_applied(tmp_path):
    image = Image.fromarray(np.random.default_rng(0).integers(256, size=(6, 8, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    image.save(tmp_path / "1.png", exif=exif)
    frames = _open(tmp_path)
    assert frames.size == (8, 6)
    np.testing.assert_array_equal(frames.read([0])[0], np.rot90(np.asarray(image), -1))


def test_other_sizes_are_brought_to_the_first(tmp_path):
    _images(tmp_path, ["1.png"], size=(8, 6))
    Image.new("RGB", (20, 30), (1, 2, 3)).save(tmp_path / "2.png")
    frames = _open(tmp_path).read([0, 1])
    assert frames.shape == (2, 6, 8, 3) and (frames[1] == [1, 2, 3]).all()


@pytest.mark.parametrize("make", [lambda f: f.mkdir(), lambda f: _images(f, ["1.bmp"])])
def test_a_folder_without_frames(tmp_path, make):
    make(tmp_path / "a")
    with pytest.raises(CorruptVideoError, match=r"no jpg or png frames in the folder$"):
        _open(tmp_path / "a")


def _png(pixels=8):
    image = Image.fromarray(
        np.random.default_rng(0).integers(256, size=(pixels, pixels, 3), dtype=np.uint8)
    )
    data = io.BytesIO()
    image.save(data, "png")
    return data.getvalue()


@pytest.mark.parametrize(
    "damage",
    [b"", b"this is text", _png()[:60], _png()[:-40], _png().replace(b"IDAT", b"IDAX")],
    ids=["empty", "text", "header", "cut", "chunk"],
)
def test_a_broken_frame_is_named(tmp_path, damage):
    _images(tmp_path, ["1.png", "3.png"])
    (tmp_path / "2.png").write_bytes(damage)
    frames = _open(tmp_path)
    assert frames.read([0, 2]).shape[0] == 2
    with pytest.raises(CorruptVideoError, match=r"frame 2\.png does not decode: ") as caught:
        frames.read([0, 1])
    assert caught.value.path == str(tmp_path) and "\n" not in caught.value.reason


def test_a_broken_first_frame_is_found_on_opening(tmp_path):
    (tmp_path / "1.jpg").write_bytes(b"\xff\xd8")
    with pytest.raises(CorruptVideoError, match=r"frame 1\.jpg does not decode"):
        _open(tmp_path)


def test_a_frame_that_has_gone_is_named(tmp_path):
    frames = _open(_images(tmp_path / "a", ["1.png", "2.png"]))
    (tmp_path / "a" / "2.png").unlink()
    with pytest.raises(CorruptVideoError, match=r"frame 2\.png does not decode"):
        frames.read([1])


@pytest.mark.parametrize("side", [100, 12_000])
def test_a_large_image_is_refused_by_its_header(tmp_path, side):
    """The larger one Pillow would warn of, which is an error in these tests."""
    Image.new("1", (side, side)).save(tmp_path / "1.png")
    with pytest.raises(CorruptVideoError, match=f"{side}x{side} is over the limit max_pixels=5000"):
        _open(tmp_path, max_pixels=5000)


def test_too_many_frames(tmp_path):
    with pytest.raises(CorruptVideoError, match="max_frames=2"):
        _open(_images(tmp_path, ["1.png", "2.png", "3.png"]), max_frames=2)


def test_too_slow(tmp_path):
    frames = _open(_images(tmp_path, ["1.png"]), max_seconds=1e-9)
    with pytest.raises(CorruptVideoError, match="max_seconds"):
        frames.read([0])


def test_open_video_opens_folders(tmp_path):
    _images(tmp_path, ["1.png", "2.png"])
    video = open_video(tmp_path, fps=10)
    assert (len(video), video.fps, video.size) == (2, 10.0, (6, 8))
    assert video.times.tolist() == [0.0, 0.1]
    assert video.frames([1, 0])[:, 0, 0, 0].tolist() == [10, 0]


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "count", "size"),
    [
        ("derived/frames_0based", 60, (180, 320)),
        ("derived/frames_1based", 60, (180, 320)),
        ("derived/frames_gap", 56, (180, 320)),
        ("derived/frames_png", 60, (90, 160)),
        ("mmaction2_frames/imgs", 10, None),
    ],
)
def test_real_folders(real_data, name, count, size):
    folder = real_data / "formats" / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    video = open_video(folder)
    assert len(video) == count and video.size == (size or video.size)
    names = list_frames(str(folder))
    for index, frame in enumerate(video.frames(range(count))):
        np.testing.assert_array_equal(frame, np.asarray(Image.open(folder / names[index])))


@pytest.mark.real
def test_real_folder_of_two_sizes_and_a_cut_frame(real_data):
    folder = real_data / "formats" / "derived" / "frames_mixed_size"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    video = open_video(folder)
    assert video.frames(range(12)).shape == (12, 90, 160, 3)
    with pytest.raises(CorruptVideoError, match=r"frame 13\.jpg does not decode"):
        video.frames([12])


@pytest.mark.parametrize(
    ("names", "count"),
    [
        ([f"{v}_{i}.jpg" for v in "ab" for i in range(3)], 2),
        ([f"v{v}_{i}.jpg" for v in (1, 2) for i in range(3)], 2),
        ([f"img_{i}.jpg" for i in range(9)], 1),
        ([f"12-0{m}-{s}.jpg" for m in (1, 2) for s in (3, 7, 9)], 1),  # times of day
        (["a1b.jpg", "c2d.jpg", "e3f.jpg"], 1),
        (["x.jpg", "y.jpg"], 1),
        (["IMG_1.jpg", "img_2.jpg", "IMG_3.JPG", "img_4.jpg"], 1),
    ],
)
def test_numberings(names, count):
    found = numberings(names)
    assert len(found) == count and sorted(n for own in found for n in own) == sorted(names)


def test_a_folder_of_several_numberings_names_them(tmp_path):
    _images(tmp_path / "run", ["a_1.png", "a_2.png", "b_1.png", "b_2.png"])
    with pytest.raises(CorruptVideoError, match=r"2 numberings of frames, a_%d\.png and b_%d\.png"):
        _open(tmp_path / "run")


def test_each_numbering_is_a_video(tmp_path):
    for shade, name in enumerate([f"{v}_{i}.png" for v in ("a", "b%d", "C") for i in (9, 10, 11)]):
        Image.new("RGB", (8, 4), (shade, 0, 0)).save(tmp_path / name)
    for place, pattern in enumerate(("a_%d.png", "b%d_%d.png", "C_%d.png")):
        video = open_video(tmp_path / pattern)
        reds = video.frames(range(3))[:, 0, 0, 0]
        assert len(video) == 3 and reds.tolist() == [3 * place + i for i in range(3)]
    with pytest.raises(CorruptVideoError, match=r"d_%d\.png: no jpg or png frames"):
        open_video(tmp_path / "d_%d.png")
    for path in (tmp_path / "gone" / "a_%d.png", tmp_path / "%d.mp4" / "a"):
        with pytest.raises(CorruptVideoError, match="no such file"):
            open_video(path)
