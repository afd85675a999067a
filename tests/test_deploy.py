"""The files of docs/deploy: images that build from the wheel, a Slurm script, a Kubernetes job."""

import fnmatch
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import cvrl
from cvrl.config import load_config

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "docs" / "deploy"
DOCKERFILES = sorted(DEPLOY.glob("Dockerfile*"))
WHEEL = f"dist/cvrl-{cvrl.__version__}-py3-none-any.whl"
SETUP = (ROOT / "setup.py").read_text()


# --- Docker --------------------------------------------------------------------------------------


def instructions(text):
    """The (instruction, argument) pairs of a Dockerfile, with continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def faults(text):
    """What is wrong with a Dockerfile, one name a rule."""
    found, steps = [], instructions(text)
    names = [name for name, _ in steps]
    if names[:1] != ["FROM"] and "FROM" not in names:
        found.append("no base")
    for name, argument in steps:
        if name == "FROM" and not re.fullmatch(r"[\w./-]+:(?!latest)[\w.-]+", argument):
            found.append("base without a version")
        if name == "ADD":
            found.append("ADD")
        if name == "COPY":
            *sources, _ = argument.split()
            found += ["no source" for s in sources if not (fnmatch.fnmatch(WHEEL, s) or there(s))]
        if name == "RUN":
            installs = re.findall(r"\bpip install\b[^&|;]*", argument)
            found += ["pip cache" for call in installs if "--no-cache-dir" not in call]
            if "apt-get install" in argument and not all(
                part in argument
                for part in ("update", "-y", "--no-install-recommends", "rm -rf /var/lib/apt")
            ):
                found.append("apt-get")
            for extras in re.findall(r"\$wheel\[([\w,]+)\]", argument):
                found += [f"extra {e}" for e in extras.split(",") if f'"{e}": ' not in SETUP]
        if name in ("ENTRYPOINT", "CMD") and not is_json_list(argument):
            found.append("shell form")
    users = [argument for name, argument in steps if name == "USER"]
    if not users or users[-1] in ("root", "0"):
        found.append("root")
    return found


def there(source):
    return bool([*ROOT.glob(source)])


def is_json_list(text):
    try:
        return isinstance(json.loads(text), list)
    except ValueError:
        return False


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_a_dockerfile_builds_from_the_wheel(path):
    text = path.read_text()
    assert faults(text) == []
    steps = instructions(text)
    assert ("COPY", "dist/cvrl-*.whl /tmp/") in steps
    assert ("ENTRYPOINT", '["cvrl"]') in steps and '"cvrl=cvrl.cli:run"' in SETUP
    assert f"docker build -f docs/deploy/{path.name} -t cvrl:" in text
    (base,) = [argument for name, argument in steps if name == "FROM"]
    version = re.fullmatch(r"python:3\.(\d+)-slim", base)
    assert version and 10 <= int(version[1]) <= 13
    assert ("whl/cpu" in text) == (path.name == "Dockerfile")


def test_there_is_one_for_the_cpu_and_one_for_gpus():
    assert [path.name for path in DOCKERFILES] == ["Dockerfile", "Dockerfile.cuda"]


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("python:3.12-slim", "python", "base without a version"),
        ("python:3.12-slim", "python:latest", "base without a version"),
        ("COPY dist/cvrl-*.whl", "COPY dist/cvlr-*.whl", "no source"),
        ("COPY dist", "ADD dist", "ADD"),
        ("pip install --no-cache-dir $TORCH", "pip install $TORCH", "pip cache"),
        (" --no-install-recommends", "", "apt-get"),
        ("export,hub", "export,hubs", "extra hubs"),
        ('ENTRYPOINT ["cvrl"]', "ENTRYPOINT cvrl", "shell form"),
        ("USER cvrl", "USER root", "root"),
    ],
)
def test_faults_of_a_dockerfile_are_seen(before, after, fault):
    text = (DEPLOY / "Dockerfile.cuda").read_text()
    assert before in text and fault in faults(text.replace(before, after))


# --- torchrun, Slurm, Kubernetes -----------------------------------------------------------------


def torchrun(arguments):
    """The options of torchrun, and the config that ``cvrl train`` would read."""
    from torch.distributed.run import get_args_parser

    options = get_args_parser().parse_args(arguments)
    assert options.module and options.training_script == "cvrl"
    command, flag, config, *overrides = options.training_script_args
    assert (command, flag) == ("train", "--config")
    return options, load_config(config, overrides)


def test_the_slurm_script_is_bash_and_its_options_stand_on_top():
    script = DEPLOY / "train.sbatch"
    subprocess.run(["bash", "-n", str(script)], check=True)
    lines = script.read_text().splitlines()
    first = next(n for n, line in enumerate(lines) if line and not line.startswith("#"))
    options = dict(
        re.fullmatch(r"#SBATCH --([\w-]+)(?:=(\S+))?", line).groups()
        for line in lines
        if line.startswith("#SBATCH")
    )
    assert all(n < first for n, line in enumerate(lines) if line.startswith("#SBATCH"))
    assert lines[0] == "#!/bin/bash" and lines[first] == "set -euo pipefail"
    assert options["ntasks-per-node"] == "1", "torchrun starts the processes of a node"
    assert re.fullmatch(r"TERM@\d+", options["signal"]) and options["requeue"] is None
    assert re.fullmatch(r"\d+:\d\d:\d\d", options["time"])


@pytest.fixture
def node(tmp_path):
    """The environment of a Slurm job of one node; its commands run in place."""
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "srun").write_text('#!/bin/bash\nexec "$@"\n')
    (commands / "scontrol").write_text('#!/bin/bash\n[ "$3" = "n[1-2]" ] && echo localhost\n')
    (commands / "torchrun").write_text(
        f'#!/bin/bash\nexec {sys.executable} -m torch.distributed.run "$@"\n'
    )
    for command in commands.iterdir():
        command.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{commands}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "SLURM_JOB_NODELIST": "n[1-2]",
        "SLURM_NNODES": "1",
        "SLURM_JOB_ID": "7",
    }


def test_the_slurm_script_calls_torchrun_with_what_it_is_given(node, tmp_path):
    (tmp_path / "bin" / "torchrun").write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    given = {**node, "DATA": "my videos", "OUTPUT": "runs/x", "SLURM_GPUS_ON_NODE": "4"}
    command = ["bash", str(DEPLOY / "train.sbatch"), "seed=5"]
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=True)
    options, config = torchrun(done.stdout.splitlines())
    assert (options.nnodes, options.nproc_per_node) == ("1", "4")
    assert options.rdzv_endpoint == "localhost:29500" and options.rdzv_id == "7"
    assert (config.data.train, config.output, config.seed) == ("my videos", "runs/x", 5)


@pytest.mark.parametrize("missing", ["DATA", "OUTPUT"])
def test_the_slurm_script_asks_for_what_it_needs(node, missing):
    given = {**node, "DATA": "videos", "OUTPUT": "runs/x"}
    del given[missing]
    command = ["bash", str(DEPLOY / "train.sbatch")]
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and f"{missing}: is the" in done.stderr


@pytest.mark.slow
def test_the_slurm_script_trains(node, video_folder, tmp_path):
    given = {**node, "DATA": str(video_folder), "OUTPUT": str(tmp_path / "x"), "PORT": "0"}
    tiny = ["train.steps=2", "train.batch_size=4", "data.workers=0", "eval.every_epochs=0"]
    command = ["bash", str(DEPLOY / "train.sbatch"), *tiny]
    done = subprocess.run(
        command, env=given, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x" / "model.safetensors").is_file()


@pytest.fixture
def kubernetes():
    documents = yaml.safe_load_all((DEPLOY / "train.yaml").read_text())
    return {document["kind"]: document for document in documents}


def test_the_kubernetes_service_finds_the_pods_of_the_job(kubernetes):
    service, job = kubernetes["Service"], kubernetes["Job"]
    template = job["spec"]["template"]
    assert (service["apiVersion"], job["apiVersion"]) == ("v1", "batch/v1")
    assert service["spec"]["clusterIP"] == "None", "pods are found by their names"
    selector = service["spec"]["selector"]
    assert selector.items() <= template["metadata"]["labels"].items()
    assert template["spec"]["subdomain"] == service["metadata"]["name"]
    names = [service["metadata"]["name"], job["metadata"]["name"]]
    assert all(re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", name) for name in names)


def test_the_kubernetes_job_starts_a_process_a_gpu_on_every_node(kubernetes):
    job, service = kubernetes["Job"], kubernetes["Service"]
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    options, config = torchrun(container["args"])
    assert container["command"] == ["torchrun"]
    limits = container["resources"]["limits"]
    assert int(options.nproc_per_node) == limits["nvidia.com/gpu"]
    nodes = job["spec"]["completions"]
    assert int(options.nnodes) == nodes == job["spec"]["parallelism"]
    assert job["spec"]["completionMode"] == "Indexed", "gives pods the names that are used"
    host, port = options.rdzv_endpoint.split(":")
    assert host == f"{job['metadata']['name']}-0.{pod['subdomain']}"
    assert int(port) in [entry["port"] for entry in service["spec"]["ports"]]
    assert pod["restartPolicy"] == "OnFailure" and job["spec"]["backoffLimit"] > 0
    assert pod["terminationGracePeriodSeconds"] >= 60, "time for a checkpoint"
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}
    assert config.data.train.startswith(f"{mounts['videos']}/")
    assert config.output.startswith(f"{mounts['runs']}/")
    assert mounts["shared-memory"] == "/dev/shm", "loader processes pass frames through it"
    assert f"-t {container['image']} " in (DEPLOY / "Dockerfile.cuda").read_text()


def test_commands_in_the_files_are_whole():
    """Every command that a comment shows can be split, and names files that are there."""
    for path in DEPLOY.iterdir():
        for line in re.findall(r"^#   (.+)$", path.read_text(), re.M):
            words = shlex.split(line)
            named = [word for word in words if word.startswith("docs/")]
            assert all((ROOT / word).is_file() for word in named), line
