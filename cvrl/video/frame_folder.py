"""A folder of jpg or png frames, read like a video."""

import io
import os
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from cvrl.utils.errors import CorruptVideoError
from cvrl.utils.file_names import file_path
from cvrl.video.limits import Limits, reason_of

_SUFFIXES = (".jpg", ".jpeg", ".png")
# mmaction2 and TSN keep optical flow beside the frames: x_00001.jpg, flow_y_00001.jpg
_FLOW = re.compile(r"(flow[_-]?)?[xyuv][_-]?\d+\.\w+", re.IGNORECASE)
_COVER = re.compile(r"(cover|folder|poster|thumb(nail)?s?|fanart|albumart.*|banner)\.\w+", re.I)
_MASK = re.compile(
    r"((.*[_. -])?(masks?|depth|seg|segmentation|alpha|thumb|keyframe)[_. -]?\d*)\.\w+", re.I
)
# What Pillow raises on a broken image; SyntaxError is its word for a broken png.
_NUMBERED = re.compile(r"(.*?)([0-9]+)([^0-9]*)")
_BROKEN = (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError)


def list_frames(folder: str) -> list[str]:
    """Names of the frames in a folder, in natural order: 2.jpg comes before 10.jpg.

    Hidden files are left out, and so is what lies beside the frames, see :func:`frame_names`. A gap
    in the numbers is not filled.

    Args:
        folder: an existing folder.

    Returns:
        File names; empty where the folder holds no image.

    Example:
        >>> import pathlib, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> for name in ("img_10.jpg", "img_2.jpg", "x_2.jpg", "notes.txt"):
        ...     pathlib.Path(folder, name).touch()
        >>> list_frames(folder)
        ['img_2.jpg', 'img_10.jpg']
    """
    return _frames_among(os.listdir(folder))


def _frames_among(files: Iterable[str]) -> list[str]:
    names = [name for name in files if name.lower().endswith(_SUFFIXES)]
    names = [name for name in names if not name.startswith(".")]
    return frame_names(names) or sorted(names, key=_natural)


def frame_names(names: Sequence[str]) -> list[str]:
    """Which images of a folder are frames, in natural order.

    Optical-flow fields (``x_00001.jpg``), masks (``mask_1.png``, ``1_mask.png``), png masks named
    like jpg frames, and pictures without a number beside numbered ones are none; nor is a cover
    (``folder.jpg``), even alone.

    Args:
        names: of images.

    Example:
        >>> frame_names(["cover.jpg", "1_mask.png", "10.jpg", "2.jpg"]), frame_names(["cover.jpg"])
        (['2.jpg', '10.jpg'], [])
    """
    frames = [name for name in names if not _COVER.fullmatch(name)]
    for kept in (
        [name for name in frames if not _FLOW.fullmatch(name)],
        [name for name in frames if not (_FLOW.fullmatch(name) or _MASK.fullmatch(name))],
    ):
        frames = kept or frames
    jpgs = {os.path.splitext(name)[0] for name in frames if not name.lower().endswith(".png")}
    pngs = {os.path.splitext(name)[0] for name in frames if name.lower().endswith(".png")}
    if pngs and pngs <= jpgs:
        frames = [name for name in frames if not name.lower().endswith(".png")]
    numbered = [name for name in frames if re.search(r"\d", os.path.splitext(name)[0])]
    return sorted(numbered if len(numbered) > 1 else frames, key=_natural)


def numberings(names: Sequence[str]) -> list[list[str]]:
    """Split frames into numberings: those of ``a_0001.jpg`` and of ``b_0001.jpg`` are two.

    Args:
        names: of the frames of a folder, in order.

    Returns:
        Two lists or more only where nearly all names are in one of two or more each, and numbers
        occur in several; else one list, of all.

    Example:
        >>> numberings(["a_1.jpg", "a_2.jpg", "b_1.jpg", "b_2.jpg"])
        [['a_1.jpg', 'a_2.jpg'], ['b_1.jpg', 'b_2.jpg']]
    """
    found: dict[str, list[str]] = {}
    numbers: dict[str, list[int]] = {}
    for name in names:
        match = _NUMBERED.fullmatch(os.path.splitext(name)[0])
        if match:
            key = f"{match[1]}#{match[3]}".lower()
            found.setdefault(key, []).append(name)
            numbers.setdefault(key, []).append(int(match[2]))
    whole = {key: numbers[key] for key, own in found.items() if len(own) > 1}
    kinds = {re.sub(r"[0-9]+", "#", key) for key in whole}
    if len(kinds) < len(whole):  # times of day look like several numberings of one kind
        firsts = {min(own) for own in whole.values()}
        runs = all(max(own) - min(own) == len(own) - 1 for own in whole.values())
        if not (runs and firsts in ({0}, {1})):
            return [list(names)]
    if len(whole) < 2 or sum(len(found[key]) for key in whole) < 0.9 * len(names):
        return [list(names)]
    return [found[key] for key in found if key in whole]


def pattern_of(names: Sequence[str]) -> str:
    """The name of one numbering, which stands for all its frames.

    Args:
        names: one of :func:`numberings`.

    Example:
        >>> pattern_of(["a_1.jpg", "a_2.jpg"])
        'a_%d.jpg'
    """
    stem, suffix = os.path.splitext(names[0])
    return _NUMBERED.sub(r"\1%d\3", stem) + suffix


def is_frames(path: str) -> bool:
    """Whether a path is that of a video of frames: a folder, or one numbering in a folder.

    Example:
        >>> is_frames("."), is_frames("./a_%d.jpg"), is_frames("./a_1.jpg")
        (True, True, False)
    """
    folder, name = os.path.split(path)
    return os.path.isdir(path) or (
        "%d" in name and os.path.isdir(folder or ".") and not os.path.lexists(path)
    )


def frame_files(path: str) -> list[str]:
    """The frames of a video of frames, in order.

    Args:
        path: for which :func:`is_frames` is true.

    Returns:
        Paths of images; empty where there are none.

    Raises:
        OSError: the folder cannot be listed.

    Example:
        >>> import pathlib, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> for name in ("a_1.jpg", "a_2.jpg", "b_1.jpg", "b_2.jpg"):
        ...     pathlib.Path(folder, name).touch()
        >>> [os.path.basename(file) for file in frame_files(f"{folder}/b_%d.jpg")]
        ['b_1.jpg', 'b_2.jpg']
    """
    if os.path.isdir(path):
        return [os.path.join(path, name) for name in list_frames(path)]
    folder, pattern = os.path.split(path)
    for names in numberings(list_frames(folder or ".")):
        if names and pattern_of(names) == pattern:
            return [os.path.join(folder, name) for name in names]
    return []


def video_path(path: str) -> str:
    """The file or folder behind a path in a list: that of the video, or the folder of its frames.

    Example:
        >>> video_path("no/such/file.mp4"), video_path("./a_%d.jpg")
        ('no/such/file.mp4', '.')
    """
    path = file_path(path)
    is_numbering = is_frames(path) and not os.path.isdir(path)
    return os.path.dirname(path) or "." if is_numbering else path


class FramesFolder:
    """The frames of a folder, decoded one at a time when asked for.

    The first frame gives the size; a frame of another size is resized to it. Images are turned as
    their EXIF orientation says.

    Args:
        folder: holds one image a frame; or one numbering in it, as ``folder/a_%d.jpg``.
        fps: frames a second, which no image tells.
        limits: what the folder may cost.
        images: the files by name, where they are in memory and not in the folder.

    Attributes:
        fps: as given.
        times: (N,) float64 seconds, from 0.
        size: height and width of the first frame.
        key_frames: None, since no frame is predicted from another.

    Raises:
        CorruptVideoError: no frames, a first frame that does not decode, or one over a limit.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> for name in ("9.png", "10.png"):
        ...     Image.new("RGB", (8, 4)).save(f"{folder}/{name}")
        >>> frames = FramesFolder(folder, fps=25.0, limits=Limits())
        >>> frames.size, frames.times.tolist(), frames.read([1]).shape
        ((4, 8), [0.0, 0.04], (1, 4, 8, 3))
    """

    def __init__(
        self,
        folder: str,
        *,
        fps: float,
        limits: Limits,
        images: Mapping[str, bytes] | None = None,
    ) -> None:
        self._folder = folder
        self._limits = limits
        self._images = images
        try:
            self._files = frame_files(folder) if images is None else _frames_among(images)
        except OSError as error:
            raise CorruptVideoError(folder, reason_of(error)) from error
        if not self._files:
            raise CorruptVideoError(folder, "no jpg or png frames in the folder")
        several = numberings([os.path.basename(file) for file in self._files])
        if len(several) > 1:
            patterns = " and ".join(pattern_of(names) for names in several[:3])
            reason = f"holds {len(several)} numberings of frames, {patterns}"
            raise CorruptVideoError(folder, f"{reason}: give one of them, as folder/a_%d.jpg")
        limits.check_count(folder, len(self._files))
        self.fps = float(fps)
        self.times: NDArray[np.float64] = np.arange(len(self._files)) / self.fps
        height, width = self._image(0).shape[:2]
        self.size: tuple[int, int] = (height, width)
        self.key_frames: NDArray[np.int64] | None = None

    def read(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """Decode frames.

        Args:
            indices: ascending, each in [0, N).

        Returns:
            (len(indices), H, W, 3) uint8, RGB.

        Raises:
            CorruptVideoError: an image that does not decode, or a limit passed.

        Example:
            >>> import tempfile
            >>> folder = tempfile.mkdtemp()
            >>> Image.new("L", (2, 2), 7).save(f"{folder}/1.png")
            >>> FramesFolder(folder, fps=25.0, limits=Limits()).read([0])[0, 0, 0].tolist()
            [7, 7, 7]
        """
        work = self._limits.work(self._folder)
        frames = np.empty((len(indices), *self.size, 3), np.uint8)
        for row, index in enumerate(indices):
            work.check()
            frames[row] = self._image(index, self.size)
            work.frame(*self.size)
        return frames

    def _image(self, index: int, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """One frame, (H, W, 3); at its own size where none is given."""
        try:
            file = self._files[index]
            with _opened(file if self._images is None else io.BytesIO(self._images[file])) as image:
                # Before the pixels are decoded: a bomb is small until then.
                self._limits.check_size(self._folder, image.height, image.width)
                upright = _rgb(ImageOps.exif_transpose(image))
        except CorruptVideoError:
            raise
        except _BROKEN as error:
            name = os.path.basename(self._files[index])
            reason = f"frame {name} does not decode: {reason_of(error)}"
            raise CorruptVideoError(self._folder, reason) from error
        if size and (upright.height, upright.width) != size:
            upright = upright.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        return np.asarray(upright)


def _opened(path: str | io.BytesIO) -> Image.Image:
    """Read an image's header; without Pillow's warning on size, for which there are limits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(path)


def _rgb(image: Image.Image) -> Image.Image:
    """Three channels of 8 bits; of 16 the upper 8, where Pillow would clip."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """A key that orders runs of digits by their value, and then 01 before 1."""
    parts = re.findall(r"\d+|\D+", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], name
