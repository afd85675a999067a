"""Every command of the README runs, as a newcomer would type it, on small stand-ins."""

import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.S)
COMMANDS = [
    line.split("   #")[0].strip()
    for language, block in BLOCKS
    if language == "bash"
    for line in block.splitlines()
    if line.strip()
]
EXTENDING = (REPOSITORY / "docs" / "extending.md").read_text(encoding="utf-8")
PYTHON = [
    block
    for text in (README, EXTENDING)
    for block in re.findall(r"```python\n(.*?)```", text, re.S)
]
# A command stays as it is but for its length: a minute's training is enough to see that it works.
SHORTER = {"train_net.py": ["train.steps=3", "train.batch_size=4", "data.workers=0"]}
PARTS = {"finetune/hf.yaml": ["train.accumulate=1"]}  # of a batch of 4


def run(command, folder):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = shlex.split(command)
    if words[0] == "torchrun":
        words[:1] = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    elif words[0] == "python":
        words[0] = sys.executable
    for tool, shorter in SHORTER.items():
        if any(word.endswith(tool) for word in words):
            keys = tuple(pair.partition("=")[0] + "=" for pair in shorter)
            words = [word for word in words if not word.startswith(keys)] + shorter
    words += [
        pair for config, pairs in PARTS.items() if f"configs/{config}" in words for pair in pairs
    ]
    done = subprocess.run(
        words,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def desk(tmp_path_factory, video_folder):
    """A folder as a newcomer's: the repository's files, and videos of her own."""
    folder = tmp_path_factory.mktemp("desk")
    for name in ("tools", "configs", "datasets"):
        (folder / name).symlink_to(REPOSITORY / name)
    videos = folder / "my_videos"
    for file in video_folder.rglob("*.mp4"):
        (videos / file.parent.name).mkdir(parents=True, exist_ok=True)
        (videos / file.parent.name / file.name).symlink_to(file)
    (folder / "clip.mp4").symlink_to(file)
    people = ["path,label,person"]  # what the list of Weizmann's videos says
    for row, video in enumerate(sorted(videos.rglob("*.mp4"))):
        person = ("ann", "bob", "cid")[row % 3]
        people.append(f"{video.relative_to(folder)},{video.parent.name},{person}")
    (folder / "weizmann4.csv").write_text("\n".join(people) + "\n")
    store_large_model(folder / "videomae-base")
    return folder


def store_large_model(folder):
    """A VideoMAE of the published clip size, with few and large patches, where it can be made."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    size = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 56}
    config = transformers.VideoMAEConfig(**size, intermediate_size=32)
    transformers.VideoMAEModel(config).save_pretrained(folder)
    transformers.VideoMAEVideoProcessor().save_pretrained(folder)


def test_the_readme_has_the_commands_this_test_knows():
    tools = {word for command in COMMANDS for word in command.split() if word.startswith("tools/")}
    known = ("inspect_data", "train_net", "extract_features", "evaluate", "explain")
    assert {f"tools/{name}.py" for name in known} <= tools
    for word in tools:
        assert (REPOSITORY / word).is_file(), word


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_commands_run_in_their_order(desk, video_folder):
    for command in COMMANDS:
        if command.startswith("make "):
            continue  # `make test` runs this; `make demo` has its own test
        if "run_study.py" in command:
            continue  # hours of training; tests/engine/test_study.py runs a study
        run(command, desk)
    assert (desk / "sheet.png").stat().st_size > 1000
    for person in ("ann", "bob", "cid"):
        assert (desk / "runs" / "weizmann" / person / "eval" / "classifier.json").exists()
    assert (desk / "runs" / "mine" / "report.html").exists()
    assert (desk / "runs" / "mine" / "eval" / "knn_shuffled_taught_plain.json").exists()
    assert all((desk / f"explained.{suffix}").stat().st_size > 1000 for suffix in ("mp4", "png"))
    first = next(iter(video_folder.rglob("*.mp4")))
    (desk / "my_videos" / "clip.mp4").symlink_to(first)
    usage = desk / "usage.py"
    usage.write_text(
        PYTHON[0] + "\nprint(frames.shape, tuple(feature.shape) == (1, encoder.dim))\n"
    )
    assert run("python usage.py", desk).strip() == "(8, 48, 64, 3) True"


def test_the_pretext_task_of_the_readme_works():
    import numpy as np

    from cvrl.data.clips import ClipSpec

    space: dict[str, object] = {}
    exec(compile(textwrap.dedent(PYTHON[1]), "README.md", "exec"), space)
    views = space["VIEWS"](ClipSpec(frames=8, stride=2))
    plan = views.plan(50, 25.0, np.random.default_rng(0))
    assert plan.start_V.tolist() == [0, 35] and plan.ticks_VT.max() == 49


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("data", ["", "own videos"])
def test_make_demo_runs_what_it_says(data, tmp_path, video_folder):
    """The commands `make -n demo` prints, with fewer videos and steps."""
    for name in ("tools", "configs", "datasets", "Makefile", "setup.py"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    arguments = ["make", "-n", "demo", "VENV=.venv"]
    # `make test` may itself run under make with settings of its own, which are not meant for this
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    if data:
        (tmp_path / data).symlink_to(video_folder)
        arguments.append(f"DATA={tmp_path / data}")
    printed = subprocess.run(
        arguments,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    steps = [
        line for line in printed.splitlines() if "/bin/python tools/" in line or "datasets/" in line
    ]
    assert len(steps) >= 5
    for line in steps:
        command = line.replace(".venv/bin/python", "python").lstrip("@")
        command = command.replace('"$DATA"', shlex.quote(str(tmp_path / data)))
        if "make_synthetic" in command:
            command += " --videos-per-class 6"
        run(command, tmp_path)
    assert list((tmp_path / "runs").rglob("report.html"))
