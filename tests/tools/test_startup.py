"""The first seconds: --help of every command imports nothing heavy and takes little time."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(
    path
    for folder in ("tools", "datasets")
    for path in (ROOT / folder).glob("*.py")
    if "__main__" in path.read_text()
)
NOT_YET = {"evaluate.py", "test_net.py"}
HEAVY = {
    *("accelerate", "av", "cv2", "decord", "fvcore", "matplotlib", "numba", "sklearn"),
    *("tensorboard", "timm", "torch", "torchvision", "transformers"),
}
MOST_SECONDS = 1.2  # of processor time; 0.4 on an idle machine
REPORT = """
import atexit, json, runpy, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))
sys.argv = [{path!r}, "--help"]
sys.path.insert(0, {folder!r})
runpy.run_path({path!r}, run_name="__main__")
"""


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.name)
def test_help_imports_nothing_heavy(path):
    if path.name in NOT_YET:
        pytest.skip("imports its choices from heavy modules still")
    program = REPORT.format(path=str(path), folder=str(path.parent))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0 and done.stdout.startswith("usage:")
    loaded = {name.partition(".")[0] for name in json.loads(done.stderr.splitlines()[-1])}
    assert not loaded & HEAVY
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert seconds < MOST_SECONDS


def test_the_choices_that_help_shows_are_those_of_the_package():
    from cvrl.evaluation.features.extraction import STAGES
    from cvrl.evaluation.features.inference_form import PRECISIONS
    from cvrl.models import backbones

    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import explain
        import extract_features
    finally:
        sys.path.pop(0)
    assert extract_features.STAGES == STAGES and extract_features.PRECISIONS == PRECISIONS
    assert explain.STAGES == backbones.STAGES
