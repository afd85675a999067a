"""``tools/evaluate.py`` as a user runs it: what it prints, writes and refuses."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from cvrl.config import Config, DataConfig, save_config
from cvrl.data.clips import ClipSpec
from cvrl.evaluation.card import read_result
from cvrl.models.backbones import build_encoder
from cvrl.pretrained import save_model
from cvrl.utils.log import logger

TOOL = Path(__file__).parents[2] / "tools" / "evaluate.py"
Run = Callable[..., None]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run the tool in this process; the library's logger is put back afterwards."""
    state = logger.handlers, logger.propagate, logger.level
    spec = importlib.util.spec_from_file_location("evaluate_tool", TOOL)
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def call(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["evaluate.py", "--workers", "0", *map(str, arguments)])
        tool.run_tool(tool.main)

    yield call
    logger.handlers, logger.propagate = state[:2]
    logger.setLevel(state[2])


def refusal(run: Run, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line of a refusal, which must end the process with exit code 2."""
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
    return line


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, video_folder: Path) -> Path:
    """A run folder: an untrained model, and a config that names the folder of videos."""
    folder = tmp_path_factory.mktemp("runs") / "x"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = build_encoder("r3d_small", width=4)
    save_model(folder / "model.safetensors", encoder, clip=ClipSpec(8, 2), size=32)
    config = Config(name="x", data=DataConfig(train=str(video_folder), hold_out=0.34))
    save_config(config, folder / "config.yaml")
    return folder


@pytest.fixture
def unlabelled(video_folder: Path, tmp_path: Path) -> Path:
    """A flat folder of links to the videos."""
    folder = tmp_path / "flat"
    folder.mkdir()
    for path in sorted(video_folder.rglob("*.mp4")):
        (folder / path.name).symlink_to(path)
    return folder


def test_the_data_come_from_the_run(
    run: Run, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--checkpoint", checkpoint, "--protocol", "all")
    shown = " ".join(capsys.readouterr().out.split())  # the terminal's width breaks lines
    for protocol in ("knn", "linear", "retrieval", "instance"):
        result = read_result(checkpoint / "eval" / f"{protocol}.json")
        assert result.card.n_listed == result.card.n_scored == 4
        assert str(checkpoint / "eval" / f"{protocol}.json") in shown
    for word in ("trained", "random init", "chance", "top-1 %", "R@1 %", "4 listed, 4 scored"):
        assert word in shown
    assert "0.34 of the groups" in shown


def test_settings_reach_the_card(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    arguments = ["--k", 3, "--temperature", 0.2, "--clips", 1, "--seed", 7, "--centre"]
    run("--checkpoint", checkpoint, "--output", tmp_path, *arguments)
    card = read_result(tmp_path / "knn.json").card
    assert card.settings == {"k": 3, "temperature": 0.2, "centre": True}
    assert (card.clips_per_video, card.seed) == (1, 7)


def test_a_model_file_with_videos_of_ones_own(
    run: Run, checkpoint: Path, unlabelled: Path, tmp_path: Path
) -> None:
    """Without labels the protocol that needs none is chosen; the run's split does not apply."""
    model = tmp_path / "model.safetensors"
    model.write_bytes((checkpoint / "model.safetensors").read_bytes())
    run("--checkpoint", model, "--train", unlabelled)
    card = read_result(tmp_path / "eval" / "instance.json").card
    assert (card.n_scored, card.train) == (12, None)


def test_train_and_test_lists(
    run: Run, checkpoint: Path, video_folder: Path, tmp_path: Path
) -> None:
    paths = sorted(video_folder.rglob("*.mp4"))
    for name, chosen in (("train", paths[::2]), ("test", paths[1::2])):
        rows = [f"{path},{path.parent.name}" for path in chosen]
        (tmp_path / f"{name}.csv").write_text("\n".join(["path,label", *rows]))
    lists = "--train", tmp_path / "train.csv", "--test", tmp_path / "test.csv"
    run("--checkpoint", checkpoint, *lists, "--output", tmp_path)
    card = read_result(tmp_path / "knn.json").card
    assert (card.n_train, card.n_scored) == (6, 6)


def test_retrieval_by_a_recipe_of_ones_choice(
    run: Run, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--protocol", "retrieval", "--retrieval", "vcop", "--output", tmp_path]
    run("--checkpoint", checkpoint, *arguments)
    assert read_result(tmp_path / "retrieval_vcop.json").card.clips_per_video == 10
    shown = " ".join(capsys.readouterr().out.split())
    assert "retrieval (vcop) on 4 videos" in shown and "R@1" in shown


def test_stages_in_one_table(
    run: Run, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = ["--stage", "res2", "res4", "--clips", 1]
    run("--checkpoint", checkpoint, "--protocol", "knn", *stages, "--output", tmp_path)
    shown = capsys.readouterr().out
    assert shown.count("Stages of the encoder") == 1
    for stage in ("res2", "res4"):
        assert read_result(tmp_path / f"knn_{stage}.json").card.stage == stage


def test_another_size_and_a_second_encoder(
    run: Run, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        encoder = build_encoder("r3d_small", width=3, input="residual")
    save_model(tmp_path / "model.safetensors", encoder, clip=ClipSpec(9, 1), size=36)
    more = ["--join", tmp_path, "--size", 40, "--short-side", 44]
    run("--checkpoint", checkpoint, "--protocol", "knn", *more, "--output", tmp_path)
    card = read_result(tmp_path / "knn_joined.json").card
    assert (card.size, card.short_side) == (40, 44)
    assert [(one["size"], one["clip_frames"]) for one in card.joined] == [(40, 8), (40, 9)]
    assert "joined  r3d_small on residual" in capsys.readouterr().out


def test_a_set_that_searches_itself(
    run: Run, checkpoint: Path, video_folder: Path, tmp_path: Path
) -> None:
    both = ["--train", video_folder, "--test", video_folder, "--leave-same-group-out"]
    run("--checkpoint", checkpoint, *both, "--protocol", "retrieval", "--output", tmp_path)
    card = read_result(tmp_path / "retrieval.json").card
    assert (card.n_scored, card.n_train, card.settings["same_group"]) == (12, 12, "left out")


@pytest.fixture
def people(video_folder: Path, tmp_path: Path) -> Path:
    """A list with a column ``person`` of three values, and a split that holds half of it."""
    rows = ["path,label,person,split"]
    for row, path in enumerate(sorted(video_folder.rglob("*.mp4"))):
        rows.append(f"{path},{path.parent.name},{'abc'[row % 3]},{('train', 'test')[row % 2]}")
    listed = tmp_path / "people.csv"
    listed.write_text("\n".join(rows))
    return listed


def test_one_person_is_left_out(
    run: Run, checkpoint: Path, people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every row of the list is scored, and baselines go through the same folds."""
    arguments = ["--leave-one-out", "person", "--protocol", "knn", "linear"]
    output = people.parent / "out"
    run("--checkpoint", checkpoint, "--train", people, *arguments, "--output", output)
    shown = " ".join(capsys.readouterr().out.split())
    assert "knn, leave one person out, 3 folds on 12 videos" in shown
    for protocol in ("knn", "linear"):
        result = read_result(output / f"{protocol}_leave_one_person_out.json")
        assert (result.card.n_scored, result.card.n_train, result.card.n_folds) == (12, 8, 3)
        assert [row.name for row in result.rows[2:]] == ["hog_mbh", "chance"]
        assert len(result.row("hog_mbh").details["folds"]) == 3
        assert not any("labels from scratch" in note for note in result.card.notes)


def test_leaving_one_out_needs_one_list(
    run: Run, checkpoint: Path, people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--checkpoint", checkpoint, "--train", people, "--leave-one-out", "person"]
    assert "--test: does not go with" in refusal(run, capsys, *arguments, "--test", people)
    assert "--hold-out: does not" in refusal(run, capsys, *arguments, "--hold-out", 0.5)
    arguments[-1] = "subject"
    assert "people.csv: no column 'subject'" in refusal(run, capsys, *arguments)


def test_missing_files_can_be_allowed(
    run: Run,
    checkpoint: Path,
    video_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = sorted(video_folder.rglob("*.mp4"))
    rows = [f"{p},{p.parent.name},{'test' if i % 2 else 'train'}" for i, p in enumerate(paths)]
    (tmp_path / "cut.mp4").write_bytes(paths[0].read_bytes()[:1000])
    rows += [f"{tmp_path / name}.mp4,down,test" for name in ("cut", "gone")]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *rows]))
    arguments = ["--checkpoint", checkpoint, "--train", tmp_path / "list.csv"]
    assert "gone.mp4" in refusal(run, capsys, *arguments)
    (tmp_path / "gone.mp4").write_text("there, and no video")
    assert "error: " + str(tmp_path) in refusal(run, capsys, *arguments)
    (tmp_path / "gone.mp4").unlink()
    run(*arguments, "--allow-missing", "--output", tmp_path)
    assert read_result(tmp_path / "knn.json").card.n_missing == 2
    shown = "".join(capsys.readouterr().out.split())
    assert "knnon6of8videos,2missing" in shown and "gone.mp4" in shown


class TestCompare:
    def test_results_that_agree(
        self, run: Run, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for seed in (0, 1):
            folder = tmp_path / f"seed{seed}"
            run("--checkpoint", checkpoint, "--k", 3, "--seed", seed, "--output", folder)
        capsys.readouterr()
        run("--compare", tmp_path / "seed0" / "knn.json", tmp_path / "seed1" / "knn.json")
        shown = capsys.readouterr().out
        assert "seed0" in shown and "seed1" in shown and "top-1 %" in shown
        run("--compare", tmp_path)
        assert capsys.readouterr().out == shown

    def test_results_that_do_not(
        self, run: Run, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for k in (1, 3):
            run("--checkpoint", checkpoint, "--k", k, "--output", tmp_path / f"k{k}")
        files = [tmp_path / f"k{k}" / "knn.json" for k in (1, 3)]
        said = refusal(run, capsys, "--compare", *files)
        assert said.startswith(f"error: {files[1]}: settings is k 3, ")
        assert f"and k 1, temperature 0.07, centre False in {files[0]}" in said

    def test_a_checkpoint_and_a_comparison_are_two_things(self, run: Run) -> None:
        with pytest.raises(SystemExit):
            run("--checkpoint", "x", "--compare", "y")


class TestRefusals:
    def test_unlabelled_videos(
        self, run: Run, checkpoint: Path, unlabelled: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        arguments = ["--train", unlabelled, "--protocol", "knn"]
        said = refusal(run, capsys, "--checkpoint", checkpoint, *arguments)
        assert "no label" in said and "--protocol instance" in said

    def test_leaking_groups(
        self, run: Run, checkpoint: Path, video_folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        both = ["--train", video_folder, "--test", video_folder]
        said = refusal(run, capsys, "--checkpoint", checkpoint, *both)
        assert "12 files are in train and test" in said and "--allow-group-leak" in said

    def test_no_run(self, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "holds no model.safetensors" in refusal(run, capsys, "--checkpoint", tmp_path)

    def test_a_truncated_model(
        self, run: Run, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        whole = (checkpoint / "model.safetensors").read_bytes()
        (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
        assert "model.safetensors" in refusal(run, capsys, "--checkpoint", tmp_path)

    def test_a_model_without_videos(
        self, run: Run, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "model.safetensors").write_bytes(
            (checkpoint / "model.safetensors").read_bytes()
        )
        assert "--train" in refusal(run, capsys, "--checkpoint", tmp_path)

    def test_missing_videos(
        self, run: Run, checkpoint: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        said = refusal(run, capsys, "--checkpoint", checkpoint, "--train", "no/such/folder")
        assert said.startswith("error: no/such/folder: no such file or folder")

    def test_a_bad_video(
        self, run: Run, checkpoint: Path, unlabelled: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (unlabelled / "z.mp4").write_text("this is no video")
        said = refusal(run, capsys, "--checkpoint", checkpoint, "--train", unlabelled)
        assert said.startswith(f"error: {unlabelled / 'z.mp4'}: ")


def test_as_a_command(tmp_path: Path) -> None:
    """The real thing in a process of its own, from another folder."""
    done = subprocess.run(
        [sys.executable, str(TOOL), "--checkpoint", "nowhere"],
        env={"PYTHONPATH": str(TOOL.parents[1]), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: nowhere: ")
    assert "Traceback" not in done.stderr


def test_motion_or_scene(
    run: Run, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--checkpoint", checkpoint, "--perturb", "plain", "reversed", "--output", tmp_path)
    shown = capsys.readouterr().out
    assert "Motion or scene" in shown and "frames reversed" in shown
    names = {"knn.json", "knn_reversed.json", "knn_reversed_taught_plain.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert all(str(tmp_path / name) in shown.splitlines() for name in names)


def test_still_is_a_show(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    run("--checkpoint", checkpoint, "--still", "--output", tmp_path)
    card = read_result(tmp_path / "knn_still.json").card
    assert (card.show, card.train_show) == ("still", "still")


def test_an_unknown_show(run: Run, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(run, capsys, "--checkpoint", checkpoint, "--perturb", "stil", "plain")
    assert said.startswith("error: --perturb stil: is no perturbation; use plain, still, shuffled")
    assert said.endswith("foreground_blurred or all")


def test_two_ways_to_say_what_is_shown(run: Run) -> None:
    with pytest.raises(SystemExit):
        run("--checkpoint", "x", "--still", "--perturb", "plain")


def test_a_model_without_classifier(
    run: Run, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refusal(run, capsys, "--checkpoint", checkpoint, "--protocol", "classifier")
    assert said.startswith("error: protocol classifier: the model was trained without labels")


def test_a_model_of_transformers_is_scored_without_a_run(
    run: Run, stored_transformer: Callable[[str], Path], video_folder: Path, tmp_path: Path
) -> None:
    where = ["--train", video_folder, "--hold-out", 0.5, "--output", tmp_path]
    run("--checkpoint", stored_transformer("VideoMAE"), "--protocol", "knn", *where)
    result = read_result(tmp_path / "knn.json")
    assert result.card.encoder["name"] == "hf" and result.card.size == 32
    assert [row.name for row in result.rows] == ["trained", "untrained", "chance"]


def test_a_model_of_transformers_has_no_videos_of_its_own(
    run: Run, stored_transformer: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal(run, capsys, "--checkpoint", stored_transformer("VideoMAE"))
    assert "give them with --train" in line


def test_published_figures_are_shown_and_not_written(
    run: Run, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "published.csv"
    figures.write_text("name,top1,source\nX,12.375,Table 2\n")
    where = ["--checkpoint", checkpoint, "--protocol", "knn", "--output", tmp_path]
    run(*where, "--published", figures)
    shown = capsys.readouterr().out
    assert "Published, not measured here" in shown and "12.375" in shown
    assert "12.375" not in (tmp_path / "knn.json").read_text()
    figures.write_text("name,top1\nX,12\n")
    assert "write a header" in refusal(run, capsys, *where, "--published", figures)
