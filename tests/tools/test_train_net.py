"""The command as a user meets it: wrong input is one line and exit code 2, a dry run tells all."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cvrl.data.clips import ClipSpec
from cvrl.models.backbones import build_encoder
from cvrl.pretrained import save_model

REPOSITORY = Path(__file__).parents[2]
TINY = {
    "name": "tiny",
    "clip": {"frames": 8, "stride": 2, "size": 32},
    "augment": {"name": "light"},
    "encoder": {"name": "r3d_small", "width": 4},
    "method": {"name": "simclr", "hidden": 16, "hidden_layers": 1, "dim": 8},
    "optim": {"warmup_epochs": 0},
    "train": {"epochs": 1, "batch_size": 4, "threads": 1},
    "log": {"tensorboard": False},
}


@pytest.fixture
def config_file(tmp_path):
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(TINY))
    return file


def train_net(config_file, *arguments):
    command = [sys.executable, str(REPOSITORY / "tools" / "train_net.py")]
    return subprocess.run(
        [*command, "--config", str(config_file), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=config_file.parent,
    )


def assert_refused(done, *words):
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "Traceback" not in done.stderr, done.stderr
    for word in words:
        assert word in lines[0], lines[0]


def test_a_dry_run_describes_the_run_and_writes_nothing(config_file, video_folder):
    done = train_net(
        config_file,
        f"data.train={video_folder}",
        "optim.lr=0.1",
        "optim.reference_batch=8",
        "--dry-run",
    )
    assert done.returncode == 0, done.stderr
    for words in (
        "epochs: 1",
        "12 in 2 classes",
        "2 of (3, 8, 32, 32)",
        "3, 3 an epoch",
        "0.05 at its peak",
        "GFLOP forward",
        "parameters",
        "memory a process",
        "the beginning",
    ):
        assert words in done.stdout, words
    assert [file.name for file in config_file.parent.iterdir()] == ["tiny.yaml"]


def test_training_prints_where_it_wrote_and_the_encoder_loads(config_file, video_folder):
    done = train_net(config_file, f"data.train={video_folder}", "data.workers=0")
    assert done.returncode == 0, done.stderr
    assert "wrote runs/tiny" in done.stdout and "step 3 of 3" in done.stderr
    assert (config_file.parent / "runs" / "tiny" / "model.safetensors").exists()


@pytest.fixture(scope="module")
def places(tmp_path_factory, video_folder):
    """Things a user may point at by mistake."""
    folder = tmp_path_factory.mktemp("places")
    (folder / "empty").mkdir()
    (folder / "texts").mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4", "d.mp4"):
        (folder / "texts" / name).write_text("no video")
    first = next(iter(video_folder.rglob("*.mp4")))
    (folder / "list.csv").write_text(f"path,label\n{first},x\nnowhere.mp4,y\n")
    model = folder / "model.safetensors"
    save_model(model, build_encoder("r3d_small", width=8), clip=ClipSpec(8, 2), size=32)
    content = model.read_bytes()
    (folder / "cut.safetensors").write_bytes(content[: len(content) // 2])
    return folder


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["data.train={places}/nowhere"], ["nowhere", "no such file or folder"]),
        (["data.train={places}/empty"], ["empty"]),
        (["data.train={places}/list.csv"], ["list.csv", "nowhere.mp4", "inspect_data.py"]),
        (["data.train={places}/texts"], [".mp4", "Invalid data"]),
        ([], ["data.train", "has no value"]),
        (["data.train={videos}", "optim.lrr=1"], ["optim.lrr", "did you mean optim.lr?"]),
        (["data.train={videos}", "optim.lr=fast"], ["optim.lr", "fast"]),
        (["data.train={videos}", "method.name=moka"], ["moka", "simclr"]),
        (["data.train={videos}", "views.name=pairs"], ["pairs", "temporal_pair"]),
        (["data.train={videos}", "views.clips=1"], ["at least 2 clips"]),
        (["data.train={videos}", "clip.size=64"], ["64x48", "clip.size=48"]),
        (["data.train={videos}", "train.batch_size=13"], ["12 training videos", "batch_size"]),
        (["data.train={videos}", "train.precision=fp16"], ["fp16", "GPU"]),
        (["data.train={videos}", "optim.lr=1e30", "train.epochs=9"], ["lower optim.lr"]),
        (
            ["data.train={videos}", "encoder.weights={places}/model.safetensors"],
            ["model.safetensors", "match"],
        ),
        (
            ["data.train={videos}", "encoder.weights={places}/cut.safetensors"],
            ["cut.safetensors"],
        ),
        (["data.train={videos}", "checkpoint.resume={places}/cut.safetensors"], ["not a whole"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_input_is_one_line_with_exit_code_2(
    config_file, places, video_folder, arguments, words
):
    workers = ["data.workers=2"]  # an error must end them too
    filled = workers + [text.format(places=places, videos=video_folder) for text in arguments]
    assert_refused(train_net(config_file, *filled), *words)


def test_a_missing_config_is_refused(tmp_path):
    assert_refused(train_net(tmp_path / "none.yaml"), "none.yaml")


def test_a_run_too_large_for_the_machine_is_refused(config_file, video_folder, tmp_path):
    many = tmp_path / "many"
    for index in range(4000):
        link = many / f"{index}.mp4"
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(next(iter(video_folder.rglob("*.mp4"))))
    done = train_net(
        config_file,
        f"data.train={many}",
        "train.batch_size=4000",
        "clip.frames=512",
        "clip.size=48",
        "encoder.width=64",
        "--dry-run",
    )
    assert_refused(done, "train.batch_size", "train.clips_at_once=")


@pytest.mark.parametrize("option", ["--clips", "--crops"])
def test_views_to_score_on_are_refused_where_nothing_is_scored(config_file, video_folder, option):
    done = train_net(config_file, f"data.train={video_folder}", option, "1")
    assert_refused(done, "--clips and --crops", "--splits or --leave-one-out", "tools/test_net.py")
    assert not (config_file.parent / "runs").exists()


def test_two_ways_to_split_are_refused(config_file, video_folder):
    ways = ("--splits", "1,2", "--leave-one-out", "label")
    done = train_net(config_file, f"data.train={video_folder}", *ways)
    assert done.returncode == 2 and "not allowed with" in done.stderr


def test_a_choice_of_splits_that_is_none_is_refused(config_file, video_folder):
    done = train_net(config_file, f"data.train={video_folder}", "--splits", "1,1")
    assert_refused(done, "--splits 1,1", "write --splits 1,2,3")
