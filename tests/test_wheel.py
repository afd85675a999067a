"""The wheel and the source distribution, built and used as somebody who has no checkout would."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy
import pytest

ROOT = Path(__file__).parents[1]
BUILD = "from setuptools.build_meta import {0}; print({0}({1!r}))"
NO_GIT = shutil.ignore_patterns(".*", "runs", "build", "dist", "*.egg-info", "__pycache__")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def run(command, folder):
    """Run a command without this checkout on the path, and return what it prints."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [*map(str, command)],
        cwd=folder,
        env={**environment, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """The wheel and the sdist of the working tree."""
    source, output = tmp_path_factory.mktemp("source") / "cvrl", tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT, source, ignore=NO_GIT)
    for kind in ("build_wheel", "build_sdist"):
        run([sys.executable, "-c", BUILD.format(kind, str(output))], source)
    return {file.suffix: file for file in output.iterdir()}


def install(file, folder):
    """A new environment with the file installed; its dependencies are those of this environment."""
    venv.create(folder, with_pip=False)
    (site,) = (folder / "lib").glob("python*/site-packages")
    # A path in a .pth file does not run the .pth files there, such as that of an editable install.
    (site / "dependencies.pth").write_text(f"{Path(numpy.__file__).parents[1]}\n")
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet"]
    flags = ["--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    run([*pip, *flags, "--force-reinstall", file], folder)
    return folder / "bin"


def test_the_wheel_holds_the_configs_and_nothing_of_the_tests(distributions):
    names = zipfile.ZipFile(distributions[".whl"]).namelist()
    configs = {f"cvrl/{file.relative_to(ROOT)}" for file in (ROOT / "configs").rglob("*.yaml")}
    assert configs <= set(names) and "cvrl/py.typed" in names
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"cvrl"}


def test_the_wheel_trains_and_evaluates_from_any_folder(distributions, video_folder, tmp_path):
    bin_folder = install(distributions[".whl"], tmp_path / "venv")
    desk = tmp_path / "desk"
    desk.mkdir()
    where = run([bin_folder / "python", "-c", "import cvrl; print(cvrl.__file__)"], desk)
    assert where.startswith(str(tmp_path / "venv"))
    cvrl = bin_folder / "cvrl"
    assert "pretrain/cvrl_small" in run([cvrl, "configs"], desk)
    assert run([bin_folder / "python", "-m", "cvrl", "--help"], desk) == run([cvrl], desk)
    tiny = ["train.steps=3", "train.batch_size=4", "data.workers=0", "data.hold_out=0.34"]
    source = f"data.train={video_folder}"
    run([cvrl, "train", "--config", "cvrl_small", source, "output=runs/x", *tiny], desk)
    score = [cvrl, "evaluate", "--checkpoint", "runs/x", "--protocol", "knn", "--workers", "0"]
    assert "chance" in run(score, desk)
    assert (desk / "runs" / "x" / "eval" / "knn.json").is_file()


def test_the_source_distribution_installs(distributions, tmp_path):
    bin_folder = install(distributions[".gz"], tmp_path / "venv")
    assert "pretrain/cvrl_small" in run([bin_folder / "cvrl", "configs"], tmp_path)
