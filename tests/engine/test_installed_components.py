"""Views and methods of another distribution, which is built and installed by pip."""

import re
import subprocess
import sys
from importlib import invalidate_caches
from pathlib import Path

import pytest
import torch

from cvrl.data.clips import ClipSpec
from cvrl.engine.components import build_views, needs_labels
from cvrl.run import train
from cvrl.utils.errors import UserError
from cvrl.utils.log import logger

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
METHOD = """
from cvrl.methods.simclr import METHOD as SimCLR


class Colder(SimCLR):
    def __init__(self, encoder, **keywords):
        super().__init__(encoder, **{"temperature": 0.05, **keywords})
"""
PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "tiny-views"
version = "0.3"

[project.entry-points."cvrl.views"]
first_and_last = "tiny_views.first_and_last:FirstAndLast"
no_views = "tiny_views:__name__"
no_module = "tiny_views.none:None_"

[project.entry-points."cvrl.methods"]
colder = "tiny_views.colder:Colder"
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of packages in which pip has installed the example of docs/extending.md."""
    source = tmp_path_factory.mktemp("source")
    package = source / "tiny_views"
    package.mkdir()
    (source / "pyproject.toml").write_text(PROJECT)
    (package / "__init__.py").touch()
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    (package / "first_and_last.py").write_text(example)
    (package / "colder.py").write_text(METHOD)
    site = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    flags = ["--no-deps", "--no-index", "--no-build-isolation", "--target", str(site)]
    subprocess.run([*pip, *flags, str(source)], check=True, capture_output=True)
    return site


@pytest.fixture
def installed(site, monkeypatch):
    """The distribution on the path of this process."""
    monkeypatch.syspath_prepend(site)
    invalidate_caches()
    state, threads = (logger.handlers, logger.propagate, logger.level), torch.get_num_threads()
    yield site
    torch.set_num_threads(threads)
    logger.handlers, logger.propagate = state[:2]
    logger.setLevel(state[2])
    for name in [name for name in sys.modules if name.startswith("tiny_views")]:
        del sys.modules[name]


def test_views_and_methods_of_a_distribution_train(installed, video_folder, tmp_path):
    data = {"train": video_folder, "hold_out": 0.34, "workers": 0, "cache_dir": None}
    small = {"train": {"steps": 2, "batch_size": 4}, "eval": {"every_epochs": 0}}
    names = {"views": {"name": "first_and_last"}, "method": {"name": "colder"}}
    (tmp_path / "own.yaml").write_text("encoder: {name: r3d_small, width: 4}\n")
    run = train(data, config=tmp_path / "own.yaml", output=tmp_path / "x", **small, **names,
                clip={"frames": 8, "size": 32}, log={"tensorboard": False})  # fmt: skip
    assert run.encoder.dim and run.config.views.name == "first_and_last"


def test_the_class_is_that_of_the_distribution(installed, caplog):
    logger.propagate = True
    with caplog.at_level("INFO", logger="cvrl"):
        views = build_views("first_and_last", {}, ClipSpec(8, 2))
    assert type(views).__module__ == "tiny_views.first_and_last" and views.clips == 2
    assert "views.name = first_and_last: of tiny-views 0.3" in caplog.text
    assert needs_labels("colder", {}) is False


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_views", "tiny_views:__name__ of tiny-views 0.3 is no class derived from Views; see"),
        ("no_module", r"tiny-views 0.3 cannot be imported: ModuleNotFoundError: No module named"),
        ("first_and_lost", "no such file in cvrl/views; did you mean first_and_last"),
    ],
)
def test_what_cannot_be_used_is_named(installed, name, reason):
    with pytest.raises(UserError, match=rf"^views.name = {name}: {reason}"):
        build_views(name, {}, ClipSpec(8, 2))


def test_two_distributions_with_one_name_are_refused(installed, tmp_path, monkeypatch):
    other = tmp_path / "other_views-1.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other-views\nVersion: 1.0\n")
    (other / "entry_points.txt").write_text("[cvrl.views]\nfirst_and_last = other:Views\n")
    monkeypatch.syspath_prepend(tmp_path)
    invalidate_caches()
    said = "several distributions: other-views 1.0, tiny-views 0.3; uninstall all but one"
    with pytest.raises(UserError, match=said):
        build_views("first_and_last", {}, ClipSpec(8, 2))


def test_without_the_distribution_the_name_is_unknown():
    with pytest.raises(UserError, match=r"first_and_last: no such file in cvrl/views"):
        build_views("first_and_last", {}, ClipSpec(8, 2))
