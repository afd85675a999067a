"""``tools/explain.py`` as a user runs it: what it prints, writes and refuses."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cvrl.data.clips import ClipSpec
from cvrl.models.backbones import build_encoder
from cvrl.models.heads import ClassHead
from cvrl.pretrained import save_model
from cvrl.utils.log import logger
from cvrl.video.reader import open_video

TOOL = Path(__file__).parents[2] / "tools" / "explain.py"
Run = Callable[..., None]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run the tool in this process; the library's logger is put back afterwards."""
    state = logger.handlers, logger.propagate, logger.level
    spec = importlib.util.spec_from_file_location("explain_tool", TOOL)
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def call(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["explain.py", *map(str, arguments)])
        tool.run_tool(tool.main)

    yield call
    logger.handlers, logger.propagate = state[:2]
    logger.setLevel(state[2])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    encoder = build_encoder("r3d_small", width=2)
    head = ClassHead(encoder.dim, ["down", "right"])
    save_model(path, encoder, clip=ClipSpec(8, 2), size=32, class_head=head)
    return path


def test_it_writes_a_video_and_a_strip(
    run: Run,
    model: Path,
    video_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clip = video_folder / "down" / "down_0.mp4"
    run("--checkpoint", model, clip, "--class", "right", "--output", tmp_path / "out.mp4")
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("class right (")
    assert said[0].endswith(" %), in 4 x 4 cells of res3")
    assert said[1:] == [str(tmp_path / "out.mp4"), str(tmp_path / "out.png")]
    with open_video(clip) as before, open_video(tmp_path / "out.mp4") as after:
        assert len(before) == len(after)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--class", "rigth"], "class rigth: is unknown to the model; did you mean right?"),
        (["--like", "nowhere.mp4"], "nowhere.mp4: no such file"),
        (["--output", "out.avi"], "--output out.avi: is not an MP4 file"),
    ],
)
def test_refusals_are_one_line(
    run: Run,
    model: Path,
    video_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    extra: list[str],
    said: str,
) -> None:
    clip = video_folder / "down" / "down_0.mp4"
    with pytest.raises(SystemExit) as caught:
        run("--checkpoint", model, clip, "--output", tmp_path / "out.mp4", *extra)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {said}")
    assert list(tmp_path.iterdir()) == []


def test_a_broken_file(
    run: Run, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.mp4").write_text("this is no video")
    with pytest.raises(SystemExit) as caught:
        run("--checkpoint", model, tmp_path / "bad.mp4", "--output", tmp_path / "out.mp4")
    assert caught.value.code == 2
    assert f"error: {tmp_path / 'bad.mp4'}: " in capsys.readouterr().err
