"""The command, run as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TOOL = REPOSITORY / "tools" / "benchmark.py"


SUBJECT = '''"""A subject of its own file."""

import torch

from cvrl.bench.common.peers import split_by_installed
from cvrl.bench.common.timing import Goal, Report, interleave, ratio


def measure(*, runs, against, terms: int = 1000):
    """Sum numbers with a loop and with a formula."""
    here, absent = split_by_installed([*against, "no-such-package"])
    candidates = {"loop": lambda: sum(range(terms)), "formula": lambda: terms * (terms - 1) // 2}
    timings = interleave(candidates, runs=runs)
    goals = [Goal("loop / formula", ratio(timings, "loop", "formula"), 1.0, "at least")]
    facts = {"terms": terms, "threads": torch.get_num_threads(), "peers": here}
    return Report("sums", timings, goals, facts, absent)
'''


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A tree whose package is this one with one file more in its folder of subjects."""
    root = tmp_path_factory.mktemp("tree")
    (root / "cvrl" / "bench").mkdir(parents=True)
    for folder in ("cvrl", "cvrl/bench"):
        for path in (REPOSITORY / folder).glob("[!_]*"):
            if path.name != "bench":
                (root / folder / path.name).symlink_to(path)
        (root / folder / "__init__.py").write_text(
            (REPOSITORY / folder / "__init__.py").read_text()
        )
    (root / "cvrl" / "bench" / "bench_sums.py").write_text(SUBJECT)
    return root


def run(*arguments, cwd, tree=REPOSITORY):
    env = os.environ | {"PYTHONPATH": str(tree), "COLUMNS": "160"}
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


def test_help_names_the_subjects(tmp_path):
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "python tools/benchmark.py loader" in done.stdout
    assert "timing," not in done.stdout and "peers}" not in done.stdout  # no subjects of their own


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no_such_subject"], "invalid choice: 'no_such_subject'"),
        ([], "required: subject"),
    ],
)
def test_wrong_input_is_exit_code_2(arguments, message, tmp_path):
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


def test_a_subject_is_a_file(tree, tmp_path):
    done = run(
        *("sums", "terms=20000", "--runs", 3, "--against", "torchvision", "--output", "s.json"),
        cwd=tmp_path,
        tree=tree,
    )
    assert done.returncode == 0, done.stderr
    assert "| loop / formula |" in done.stdout and "terms 20000, threads 1" in done.stdout
    assert "not installed: no-such-package" in done.stdout
    content = json.loads((tmp_path / "s.json").read_text())
    assert len(content["timings"]["loop"]["cpu_s"]) == 3
    assert content["facts"]["peers"] == ["torchvision"] and content["goals"][0]["met"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["term=1"], "error: settings.term: not a keyword of measure; did you mean settings.terms"),
        (["terms=many"], "error: settings.terms = 'many': is of the wrong type; give a whole"),
        (["--against", "korna"], "error: --against korna: no such peer; known: pytorchvideo"),
        (["--runs", "0"], "error: runs = 0: nothing would be measured; give 1 or more"),
    ],
)
def test_wrong_settings_are_one_line(arguments, message, tree, tmp_path):
    done = run("sums", *arguments, cwd=tmp_path, tree=tree)
    assert done.returncode == 2
    assert done.stderr.startswith(message) and done.stderr.count("\n") == 1


def test_the_file_is_parsing_and_one_call():
    assert len(TOOL.read_text().splitlines()) <= 80
