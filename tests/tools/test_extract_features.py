"""``tools/extract_features.py`` as a user runs it, killed with -9 included."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from cvrl.data.clips import ClipSpec
from cvrl.evaluation.features.feature_files import read_features
from cvrl.models import heads
from cvrl.models.backbones import build_encoder
from cvrl.pretrained import load_encoder, save_model
from cvrl.utils.log import logger

TOOL = Path(__file__).parents[2] / "tools" / "extract_features.py"
Run = Callable[..., None]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run the tool in this process; the library's logger is put back afterwards."""
    state = logger.handlers, logger.propagate, logger.level
    spec = importlib.util.spec_from_file_location("extract_tool", TOOL)
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def call(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["extract.py", "--workers", "0", *map(str, arguments)])
        tool.run_tool(tool.main)

    yield call
    logger.handlers, logger.propagate = state[:2]
    logger.setLevel(state[2])


def refusal(run: Run, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line of a refusal, which must end the process with exit code 2."""
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
    return line


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "x"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = build_encoder("r3d_small", width=4)
        head = heads.mlp(encoder.dim, 16, 1, 8)
    clip = ClipSpec(frames=8, stride=2)
    save_model(folder / "model.safetensors", encoder, clip=clip, size=32, projector=head)
    return folder


def test_a_folder_becomes_a_table(
    run: Run,
    checkpoint: Path,
    video_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "features.parquet"
    run("--checkpoint", checkpoint, "--input", video_folder, "--output", output, "--clips", 2)
    table = pq.read_table(output)
    assert table.num_rows == 24
    assert set(table["video"].to_pylist()) == {str(p) for p in video_folder.rglob("*.mp4")}
    assert table["start"].to_pylist()[0] == 0.0
    assert table["end"].to_pylist()[0] == pytest.approx(15 / 25)
    assert len(table["vector"][0]) == load_encoder(checkpoint).dim
    assert capsys.readouterr().out == f"{output}: 24 clips of 12 videos\n"


def test_one_clip_is_the_default(
    run: Run, checkpoint: Path, video_folder: Path, tmp_path: Path
) -> None:
    run("--checkpoint", checkpoint, "--input", video_folder, "--output", tmp_path / "f.npy")
    assert np.load(tmp_path / "f.npy").shape == (12, load_encoder(checkpoint).dim)
    assert (tmp_path / "f.csv").read_text().startswith('"video","start","end"\n')


def test_a_list_dense_and_projected(
    run: Run, checkpoint: Path, video_folder: Path, tmp_path: Path
) -> None:
    path = min(video_folder.rglob("*.mp4"))  # 24 frames: room for clips from 0 to 9
    (tmp_path / "list.csv").write_text(f"path\n{path}\n")
    source = "--input", tmp_path / "list.csv"
    output = tmp_path / "f.parquet"
    how = "--every", 0.2, "--stage", "projected"
    run("--checkpoint", checkpoint, *source, "--output", output, *how)
    stored = read_features(output)
    np.testing.assert_allclose(stored.start_N, [0, 0.2], atol=1e-6)
    assert stored.vectors_ND.shape == (2, 8)


def test_a_single_video(run: Run, checkpoint: Path, video_folder: Path, tmp_path: Path) -> None:
    video = min(video_folder.rglob("*.mp4"))
    run("--checkpoint", checkpoint, "--input", video, "--output", tmp_path / "f.npy")
    assert read_features(tmp_path / "f.npy").videos == [str(video)]


class TestBadVideos:
    @pytest.fixture
    def folder(self, video_folder: Path, tmp_path: Path) -> Path:
        folder = tmp_path / "videos"
        folder.mkdir()
        shutil.copy(min(video_folder.rglob("*.mp4")), folder / "good.mp4")
        (folder / "bad.mp4").write_text("this is no video")
        return folder

    def test_they_are_named_and_the_run_succeeds(
        self,
        run: Run,
        checkpoint: Path,
        folder: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        output = tmp_path / "f.parquet"
        run("--checkpoint", checkpoint, "--input", folder, "--output", output)
        said = capsys.readouterr()
        assert f"left out {folder / 'bad.mp4'}: " in said.err
        assert said.out == f"{output}: 1 clips of 2 videos, 1 could not be decoded\n"

    def test_strict(
        self,
        run: Run,
        checkpoint: Path,
        folder: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        where = "--input", folder, "--output", tmp_path / "f.parquet"
        said = refusal(run, capsys, "--checkpoint", checkpoint, *where, "--strict")
        assert said.startswith(f"error: {folder / 'bad.mp4'}: ")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"--output": "f.txt"}, "no such format"),
        ({"--input": "no/such"}, "no such file or folder"),
        ({"--checkpoint": "nowhere"}, "error: nowhere"),
        ({"--clips": "0"}, "--clips 0: must be 1 or more"),
        ({"--every": "-1"}, "--every -1.0: must be above 0"),
    ],
)
def test_refusals(
    run: Run,
    checkpoint: Path,
    video_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = {"--checkpoint": checkpoint, "--input": video_folder, "--output": "f.npy"} | change
    line = refusal(run, capsys, *[part for pair in arguments.items() for part in pair])
    assert said in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_kill_and_go_on(run: Run, checkpoint: Path, video_folder: Path, tmp_path: Path) -> None:
    """Killed with -9 half way, the same command ends with the file of an undisturbed run."""
    videos = sorted(video_folder.rglob("*.mp4"))
    copies = tmp_path / "videos"
    copies.mkdir()
    for n in range(150):
        shutil.copy(videos[n % len(videos)], copies / f"{n:03d}.mp4")
    arguments = ["--checkpoint", str(checkpoint), "--input", str(copies)]
    arguments += ["--clips", "3", "--batch-clips", "3"]
    output = tmp_path / "f.parquet"
    command = [sys.executable, str(TOOL), *arguments, "--workers", "1", "--output", str(output)]
    environment = {**os.environ, "PYTHONPATH": str(TOOL.parents[1])}

    shard = tmp_path / "f.parquet.partial" / "shard_000000.parquet"
    with subprocess.Popen(command, env=environment) as process:
        deadline = time.monotonic() + 120
        while not shard.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert shard.exists() and not output.exists()
    subprocess.run(command, env=environment, check=True, timeout=120)
    assert not shard.parent.exists()

    run(*arguments, "--output", tmp_path / "whole.parquet")
    assert output.read_bytes() == (tmp_path / "whole.parquet").read_bytes()


@pytest.mark.parametrize("precision", ["plain", "fp32", "int8"])
def test_the_precision_is_kept_with_the_features(
    run, checkpoint, video_folder, tmp_path, precision
):
    output = tmp_path / "f.npy"
    given = ("--checkpoint", checkpoint, "--input", video_folder, "--output", output)
    run(*given, "--precision", precision)
    vectors_ND = read_features(output).vectors_ND
    assert vectors_ND.shape[0] == 12 and np.isfinite(vectors_ND).all()
    report = output.with_name("f.npy.report.json").read_text()
    assert f'"precision": "{precision}"' in report


def test_an_unknown_precision_is_refused(run, checkpoint, video_folder, tmp_path, capsys):
    given = ("--checkpoint", checkpoint, "--input", video_folder, "--output", tmp_path / "f.npy")
    with pytest.raises(SystemExit) as caught:
        run(*given, "--precision", "int4")
    assert caught.value.code == 2
    assert "invalid choice: 'int4'" in capsys.readouterr().err
