"""The command ``cvrl``: what it prints, which module it calls, and how it ends."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import cvrl
from cvrl.cli import COMMANDS, main

ROOT = Path(__file__).parents[2]
FILES = {path.stem for path in (ROOT / "cvrl" / "cli").glob("[a-z]*.py")} - {"arguments"}


def run(*arguments):
    command = [sys.executable, "-m", "cvrl", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_module_is_a_command_and_the_other_way_round():
    assert set(COMMANDS) == FILES


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_help_lists_every_command(capsys, arguments):
    main(arguments)
    shown = capsys.readouterr().out
    assert all(
        re.search(rf"^  {name} +{re.escape(COMMANDS[name])}$", shown, re.M) for name in FILES
    )


def test_the_version_is_that_of_the_package(capsys):
    main(["--version"])
    assert capsys.readouterr().out == f"cvrl {cvrl.__version__}\n"


def test_a_command_that_does_not_exist_ends_with_one_line():
    done = run("evalute")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "error: cvrl evalute: no such command; did you mean evaluate?\n"


def test_help_of_a_command_names_it_as_it_was_called():
    assert run("inspect", "--help").stdout.startswith("usage: cvrl inspect ")
    assert "cvrl inspect FOLDER" in run("inspect", "--help").stdout
    script = [sys.executable, "tools/inspect_data.py", "--help"]
    shown = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert shown.startswith("usage: inspect_data.py ")
    assert "python tools/inspect_data.py FOLDER" in shown and "cvrl inspect" not in shown


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_examples_of_a_command_call_it(name):
    text = (ROOT / "cvrl" / "cli" / f"{name}.py").read_text()
    assert re.search(rf"^(source <\()?cvrl {name}", text, re.M)


def test_a_wrong_argument_shows_the_usage_of_the_command(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["train", "--no-such-flag"])
    assert caught.value.code == 2
    assert "usage: cvrl train" in capsys.readouterr().err
