"""What every test may ask for: real H.264 files made on the spot, and the folder of real videos."""

import os
import subprocess
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch, and for the processes tests start

import av
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray
from PIL import Image

from cvrl.video.encode import add_sound

REPOSITORY = Path(__file__).parent.parent
MakeVideo = Callable[..., Path]
LIBRARY_CLASSES = {"blue": (20, 20, 220), "green": (20, 200, 20), "red": (220, 30, 30)}
VIDEOS_PER_CLASS = 6
SOUND_RATE = 16_000

torch.set_num_threads(1)  # the suite runs in parallel, and one thread adds up in one order
# On a busy machine drawing examples is slow too; pytest-timeout limits each test.
settings.register_profile("cvrl", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("cvrl")


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    """A test draws the same whichever tests ran before it in its process."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real videos; a test that asks for it is skipped where there is none."""
    place = os.environ.get("CVRL_TEST_DATA")
    folder = Path(place) if place else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real videos: {folder} is not there (CVRL_TEST_DATA names the folder)")
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a file system in memory of a given size, as in ``small_disk("200k")``."""
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        place = tmp_path / f"disk_{size}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("no small disk: there is no command mount")
        if done.returncode:
            pytest.skip(f"no small disk: {done.stderr.strip()}")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=False)


@pytest.fixture(scope="session")
def make_video() -> MakeVideo:
    """A writer of real video files, see :func:`write_video`."""
    return write_video


@pytest.fixture(scope="session")
def video_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2 classes of 6 files, 48x64 pixels, 24 to 40 frames: a square goes right, or down.

    The files must not be written to: the folder serves the whole session.
    """
    folder = tmp_path_factory.mktemp("videos")
    for class_name, velocity in (("down", (1, 0)), ("right", (0, 1))):
        for index in range(6):
            frames = moving_square(24 + 16 * index // 5, velocity=velocity, seed=index)
            write_video(folder / class_name / f"{class_name}_{index}.mp4", frames)
    return folder


def moving_square(
    frames: int,
    *,
    size: tuple[int, int] = (48, 64),
    velocity: tuple[int, int] = (0, 1),
    seed: int = 0,
) -> NDArray[np.uint8]:
    """A bright square on a still texture, wrapping round at the edges: (T, H, W, 3), RGB.

    Args:
        frames: T.
        size: H and W, pixels, even.
        velocity: of the square, pixels a frame, down and to the right.
        seed: of texture, start and colour.
    """
    H, W = size
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 120, size=(H // 8 + 1, W // 8 + 1, 3))
    still_HWC = coarse.repeat(8, axis=0).repeat(8, axis=1)[:H, :W]
    colour = rng.integers(160, 256, size=3)
    top, left = rng.integers(0, H), rng.integers(0, W)
    side = min(size) // 4
    clip_THWC = np.repeat(still_HWC[None].astype(np.uint8), frames, axis=0)
    for t in range(frames):
        rows = (top + velocity[0] * t + np.arange(side)) % H
        columns = (left + velocity[1] * t + np.arange(side)) % W
        clip_THWC[t][np.ix_(rows, columns)] = colour
    return clip_THWC


def write_video(
    path: Path,
    frames: NDArray[np.uint8] | int = 32,
    *,
    fps: float = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    gop: int = 12,
    times: list[int] | None = None,
    options: dict[str, str] | None = None,
    sound: NDArray[np.float32] | None = None,
) -> Path:
    """Encode frames into a file; the container is the one the suffix says.

    Args:
        path: the file; its folder is made.
        frames: (T, H, W, 3) RGB, H and W even; or a number of frames of :func:`moving_square`.
        fps: frames a second.
        codec: an encoder that PyAV's FFmpeg has.
        pix_fmt: how the file keeps colour.
        gop: frames from one key frame to the next.
        times: presentation times in units of 1 / fps, ascending; a gap makes the rate vary.
        options: of the encoder, such as ``{"crf": "0"}`` for libx264 without loss.
        sound: samples of one channel at SOUND_RATE, stored without loss; none where left out.

    Returns:
        The path.
    """
    clip_THWC = moving_square(frames) if isinstance(frames, int) else frames
    path.parent.mkdir(parents=True, exist_ok=True)
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w") as container:
        # x264's macroblock tree gives other bits on every call
        same_bits = {"x264-params": "mbtree=0"} if codec == "libx264" else {}
        stream = container.add_stream(codec, rate=rate, options=same_bits | (options or {}))
        stream.height, stream.width = clip_THWC.shape[1:3]
        stream.pix_fmt = pix_fmt
        stream.gop_size = gop
        stream.time_base = 1 / rate
        if sound is not None:
            add_sound(container, sound, SOUND_RATE)
        for index, image_HWC in enumerate(clip_THWC):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image_HWC), format="rgb24")
            frame.pts = times[index] if times else index
            frame.time_base = 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_frames(folder: Path, colour: tuple[int, int, int], frames: int, seed: int) -> None:
    """A folder of frames: one colour, with a texture that drifts and tells the video apart."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    texture = rng.integers(-20, 20, size=(36, 80, 3))
    for i in range(frames):
        frame = np.clip(np.array(colour) + texture[:, i : i + 40], 0, 255).astype(np.uint8)
        Image.fromarray(frame).save(folder / f"{i:03d}.png")


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder a class, six videos a class of 9 to 14 frames."""
    root = tmp_path_factory.mktemp("library")
    for c, (name, colour) in enumerate(LIBRARY_CLASSES.items()):
        for i in range(VIDEOS_PER_CLASS):
            write_frames(root / name / f"v_{name}_g{i:02d}_c01", colour, 9 + i, seed=100 * c + i)
    return root


@pytest.fixture(scope="session")
def stored_transformer(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A tiny random video model of ``transformers`` by family, stored as its library does."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    size = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    clip = {"image_size": 32, "num_frames": 4, "intermediate_size": 32}
    tubes = {"patch_size": 8, "tubelet_size": 2}
    fields = {
        "VideoMAE": {**tubes, **clip, "use_mean_pooling": False},
        "VJEPA2": {**tubes, "crop_size": 32, "frames_per_clip": 4, "pred_num_hidden_layers": 1},
        "Timesformer": {**clip, "patch_size": 8},
        "Vivit": {**clip, "tubelet_size": [2, 8, 8]},
    }
    folders: dict[str, Path] = {}

    def store(family: str) -> Path:
        if family not in folders:
            config = getattr(transformers, f"{family}Config")(**size, **fields[family])
            folders[family] = tmp_path_factory.mktemp(family)
            torch.manual_seed(7)  # not that of other tests, whose random weights are to differ
            getattr(transformers, f"{family}Model")(config).save_pretrained(folders[family])
            processor = getattr(transformers, f"{family}VideoProcessor")(image_mean=[0.4, 0.5, 0.6])
            processor.save_pretrained(folders[family])
        return folders[family]

    return store
