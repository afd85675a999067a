"""The first seconds: --help of every command imports nothing heavy and takes little time."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from cvrl.cli import COMMANDS as COMMANDS_OF_CVRL

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(
    path
    for folder in ("tools", "datasets")
    for path in (ROOT / folder).glob("*.py")
    if "__main__" in path.read_text()
)
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
COMMAND = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))
from cvrl.cli import main
main({arguments!r})
"""
MOST_SECONDS_OF_CVRL = 0.4


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.name)
def test_help_imports_nothing_heavy(path):
    check_help(REPORT.format(path=str(path), folder=str(path.parent)), MOST_SECONDS)


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS_OF_CVRL)], ids=str)
def test_help_of_the_command_imports_nothing_heavy(command):
    loaded = check_help(COMMAND.format(arguments=[*command, "--help"]), MOST_SECONDS_OF_CVRL)
    mine = {name for name in loaded if name.startswith("cvrl.cli.")} - {"cvrl.cli.arguments"}
    assert mine <= {f"cvrl.cli.{name}" for name in command}


def check_help(program, most_seconds):
    """Run a program that prints help and then the modules it imported, which are returned."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0 and done.stdout.startswith("usage:")
    loaded = json.loads(done.stderr.splitlines()[-1])
    assert not {name.partition(".")[0] for name in loaded} & HEAVY
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert seconds < most_seconds
    return loaded


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


def test_the_choices_of_evaluate_are_those_of_the_package():
    from cvrl.cli import evaluate as command
    from cvrl.data.perturbations import PERTURBATIONS
    from cvrl.evaluation.compare import ACROSS
    from cvrl.evaluation.evaluate import PROTOCOLS
    from cvrl.evaluation.protocols.retrieval import RECIPES

    assert command.PROTOCOLS == PROTOCOLS and command.PERTURBATIONS == PERTURBATIONS
    assert command.RECIPES == RECIPES and command.ACROSS == ACROSS


def test_a_dry_run_imports_what_it_uses(video_folder, tmp_path):
    overrides = [f"data.train={video_folder}", "train.batch_size=4", f"output={tmp_path / 'run'}"]
    arguments = ["train", "--config", "cvrl_small", *overrides, "--dry-run"]
    program = COMMAND.format(arguments=arguments)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "GFLOP" in done.stdout
    loaded = {*json.loads(done.stderr.splitlines()[-1])}
    # torch._dynamo takes as long as all of torch; torchvision and torch.optim import it
    assert not loaded & {"torchvision", "torch._dynamo", "pytorchvideo", "sklearn", "matplotlib"}
