"""Every command and example of the README and of docs/ runs, as a newcomer would type it.

Videos, lists and training are small stand-ins. Commands in blocks marked ``text`` take hours or
need data that is not here, and are not run.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from cvrl.utils.log import logger

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
PAGES = ["README.md", *sorted(f"docs/{page.name}" for page in DOCS.glob("*.md"))]


def commands_of(page):
    """The lines of a page's bash blocks."""
    return [
        line.split("   #")[0].strip()
        for language, block in blocks_of(page)
        if language == "bash"
        for line in block.splitlines()
        if line.strip()
    ]


def python_of(page):
    """The Python blocks of a page, each with its own imports or those of the blocks above."""
    return [block for language, block in blocks_of(page) if language == "python"]


def blocks_of(page):
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    return re.findall(r"```(\w+)\n(.*?)```", text, re.S)


# A command stays as it is but for its length: a minute's training is enough to see that it works.
SHORTER = ["train.steps=3", "train.batch_size=4", "data.workers=0"]
OFTEN = ("docs/index.md", "docs/own_videos.md", "docs/few_labels.md")
WRITTEN = {
    "docs/few_labels.md": [
        f"weizmann/{person}/eval/classifier.json" for person in ("ann", "bob", "cid")
    ]
}
PARTS = {"finetune/hf": ["train.accumulate=1"]}  # of a batch of 4


def run(command, folder):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = shlex.split(command)
    if words[0] == "torchrun":
        words[:1] = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    elif words[0] == "python":
        words[0] = sys.executable
    elif words[0] == "cvrl":
        words[:1] = [sys.executable, "-m", "cvrl"]
    if "cvrl train" in command or "tools/train_net.py" in command:
        keys = tuple(pair.partition("=")[0] + "=" for pair in SHORTER)
        words = [word for word in words if not word.startswith(keys)] + SHORTER
    words += [pair for config, pairs in PARTS.items() if config in words for pair in pairs]
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


def long_if_rare(page):
    """A page that most people do not start with is tested by ``make test-long`` only."""
    return page if page in OFTEN else pytest.param(page, marks=pytest.mark.long)


@pytest.fixture
def logging_as_before():
    """Training sets the logger and the threads of its process."""
    state, threads = (logger.handlers, logger.propagate, logger.level), torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    logger.handlers, logger.propagate = state[:2]
    logger.setLevel(state[2])


@pytest.fixture
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
    partly = ["path,label,split"]  # every third video has no label
    for row, video in enumerate(sorted(videos.rglob("*.mp4"))):
        label = "" if row % 3 == 0 else video.parent.name
        partly.append(f"{video.relative_to(folder)},{label},{('train', 'test')[row % 2]}")
    (folder / "partly.csv").write_text("\n".join(partly) + "\n")
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
    called = {tuple(command.split()[:2]) for command in commands_of("README.md")}
    known = ("inspect", "train", "extract", "evaluate", "explain", "test", "predict", "export")
    assert {("cvrl", name) for name in known} <= called


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_exist(page):
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    path = r"(?:tools|configs|cvrl|datasets|docs)/[\w/]+\.(?:py|yaml|md|png)"
    named = {*re.findall(path, text)} - {"cvrl/views/first_and_last.py"}  # an example
    assert [name for name in sorted(named) if not (REPOSITORY / name).is_file()] == []


def test_every_message_of_troubleshooting_is_in_the_code():
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    messages = re.findall(r"^`([^`]+)` :", text, re.M)
    code = "\n".join(
        file.read_text(encoding="utf-8") for file in (REPOSITORY / "cvrl").rglob("*.py")
    )
    assert len(messages) == 26
    assert [message for message in messages if message not in code] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_commands_of_the_readme_run_in_their_order(desk, video_folder):
    for command in commands_of("README.md"):
        if command.startswith("make "):
            continue  # `make test` runs this; `make demo` has its own test
        if "cvrl study" in command:
            continue  # hours of training; tests/engine/studies runs one
        run(command, desk)
    assert (desk / "sheet.png").stat().st_size > 1000
    assert (desk / "runs" / "mine" / "report.html").exists() and (desk / "tuned.onnx").exists()
    assert (desk / "runs" / "mine" / "eval" / "knn_shuffled_taught_plain.json").exists()
    assert all((desk / f"explained.{suffix}").stat().st_size > 1000 for suffix in ("mp4", "png"))
    first = next(iter(video_folder.rglob("*.mp4")))
    (desk / "my_videos" / "clip.mp4").symlink_to(first)
    usage = desk / "usage.py"
    usage.write_text(
        python_of("README.md")[0].replace('"steps": 100', '"steps": 3')
        + "\nprint(frames.shape, tuple(feature.shape) == (1, run.encoder.dim))\n"
    )
    assert run("python usage.py", desk).endswith("(8, 48, 64, 3) True\n")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", [long_if_rare(page) for page in PAGES[1:] if commands_of(page)])
def test_the_commands_of_a_page_run_in_their_order(page, desk):
    """A manifest and a trained run are there, as the quick start makes them."""
    commands = commands_of(page)
    if page == "docs/serving.md":
        (desk / "serve.py").write_text(python_of(page)[0])
    if not any("output=runs/mine" in command for command in commands):
        run("cvrl inspect my_videos --output manifest.csv", desk)
        run("cvrl train --config cvrl_small data.train=manifest.csv output=runs/mine", desk)
        shutil.copytree(desk / "runs" / "mine", desk / "runs" / "two")
    for command in commands:
        if "cvrl study" not in command:  # hours of training; tests/engine/studies runs one
            run(command, desk)
    missing = [name for name in WRITTEN.get(page, ()) if not (desk / "runs" / name).is_file()]
    assert not missing


def test_the_examples_of_the_pages_run(tmp_path, video_folder, logging_as_before, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_videos").symlink_to(video_folder)
    run_as_scripts = ("README.md", "docs/serving.md")
    examples = [(p, block) for p in PAGES if p not in run_as_scripts for block in python_of(p)]
    assert len(examples) >= 2
    for page, block in examples:
        space: dict[str, object] = {}
        block = textwrap.dedent(block).replace('"steps": 100', '"steps": 3')
        exec(compile(block, page, "exec"), space)
        if "VIEWS" in space:
            check_first_and_last(space["VIEWS"])


def check_first_and_last(views_class):
    import numpy as np

    from cvrl.data.clips import ClipSpec

    views = views_class(ClipSpec(frames=8, stride=2))
    plan = views.plan(50, 25.0, np.random.default_rng(0))
    assert plan.start_V.tolist() == [0, 35] and plan.ticks_VT.max() == 49


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="mkdocs is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=250, check=False
    )
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "api" / "index.html").read_text(encoding="utf-8")
    assert 'href="#cvrl.pretrained.load_encoder"><code>' in page  # a reference of a docstring
    assert ":func:" not in page and ":class:" not in page


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
