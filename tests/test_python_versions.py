"""Python 3.10 to 3.13: no file needs a newer one, and the Pythons of this machine start it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MINORS = range(10, 14)
SMALL = """
import sys
sys.path.insert(0, ".")
import cvrl
from cvrl.cli import main
main(["--version"])
sys.exit(sys.version_info[:2] != (3, {minor}))
"""


def needed(*paths):
    """What vermin says of files that must run on Python 3.10."""
    vermin = Path(sys.executable).with_name("vermin")
    command = [vermin, "-t=3.10-", "--violations", "--no-tips", *paths]
    return subprocess.run(
        [*map(str, command)], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_no_file_needs_more_than_the_oldest_python():
    pytest.importorskip("vermin", reason="vermin is not installed")
    found = needed("cvrl", "tools", "datasets")
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("line", ["import tomllib", "from datetime import UTC"])
def test_what_is_too_new_is_seen(line, tmp_path):
    pytest.importorskip("vermin", reason="vermin is not installed")
    (tmp_path / "new.py").write_text(f"{line}\n")
    found = needed(tmp_path / "new.py")
    assert found.returncode != 0 and "require !2, 3.11" in found.stdout.replace(
        "requires", "require"
    )


def test_the_versions_are_stated_alike():
    setup = (ROOT / "setup.py").read_text()
    assert f'python_requires=">=3.{MINORS[0]}"' in setup
    assert f'3.{{minor}}" for minor in range({MINORS[0]}, {MINORS[-1] + 1}))' in setup
    assert f'target-version = "py3{MINORS[0]}"' in (ROOT / "pyproject.toml").read_text()
    said = (ROOT / "docs" / "index.md").read_text()
    assert re.search(rf"Python 3\.{MINORS[0]} to 3\.{MINORS[-1]}\.", said)


def interpreter(minor):
    """A Python of this machine: that of the tests, one of pyenv, or one on the path."""
    if sys.version_info[:2] == (3, minor):
        return sys.executable
    versions = Path.home() / ".pyenv" / "versions"
    found = sorted(versions.glob(f"3.{minor}.*/bin/python"))
    return found[-1] if found else shutil.which(f"python3.{minor}", path="/usr/bin:/usr/local/bin")


@pytest.mark.parametrize("minor", MINORS)
def test_the_package_and_its_command_start(minor):
    """Without a third party, as the face of the package imports none."""
    python = interpreter(minor)
    if python is None:
        pytest.skip(f"no Python 3.{minor} here")
    command = [python, "-I", "-W", "error", "-c", SMALL.format(minor=minor)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("cvrl ")
