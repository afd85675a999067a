"""Runs on events seen by several cameras: what is trained on, watched with, scored and refused."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from cvrl.config import load_config
from cvrl.engine import build
from cvrl.engine.trainer import train
from cvrl.evaluation.evaluate import evaluate
from cvrl.pretrained import load_encoder
from cvrl.utils.errors import UserError

CONFIGS = Path(__file__).parents[2] / "configs" / "pretrain"
TINY = (
    "data.workers=0",
    "log.tensorboard=false",
    "log.every_steps=1",
    "clip.size=32",
    "encoder.width=4",
    "method.hidden=8",
    "train.batch_size=3",
    "train.steps=3",
    "train.epochs=3",
    "optim.warmup_epochs=0",
    "data.hold_out=0.34",
    "data.cache_dir=null",
    "data.cameras=[cam0.mp4, cam1.mp4]",
)


@pytest.fixture(scope="module")
def events(tmp_path_factory, make_video):
    root = tmp_path_factory.mktemp("events")
    for index in range(6):
        for camera in range(2):
            make_video(root / f"event{index}" / f"cam{camera}.mp4", 30 + index)
    return root


def config_of(name, events, *more):
    own = {"tcn_small": ["views.moments=3"], "tcn_single_small": ["views.clips=24"]}[name]
    given = dict(text.split("=", 1) for text in (f"data.train={events}", *TINY, *own, *more))
    return load_config(CONFIGS / f"{name}.yaml", [f"{k}={v}" for k, v in given.items()])


class TestData:
    def test_synchronised_views_take_events(self, events):
        config = config_of("tcn_small", events)
        data = build.build_data(config)
        assert len(data.train) == 4 and len(data.watch) == 2
        assert all(Path(path).is_dir() for path in data.train.paths)
        assert len(data.parts.train) == 8 and len(data.parts.test) == 4, "their films"
        assert not {*data.train.group_ids} & {*data.watch.group_ids}
        sample = build.build_dataset(config, data, build.build_views(config))[0, 1]
        assert sample.clips_VCTHW.shape == (6, 3, 8, 32, 32)
        assert (sample.time_V[0::2] == sample.time_V[1::2]).all()

    def test_views_of_one_video_take_films(self, events):
        config = config_of("tcn_single_small", events)
        data = build.build_data(config)
        assert len(data.train) == 8 and all(path.endswith(".mp4") for path in data.train.paths)
        sample = build.build_dataset(config, data, build.build_views(config))[0, 1]
        assert sample.clips_VCTHW.shape == (24, 3, 8, 32, 32)
        same = data.train.group_ids.reshape(4, 2)
        assert (same[:, 0] == same[:, 1]).all(), "an event's films are one group"

    def test_the_clip_list_can_be_a_csv(self, events, tmp_path):
        listed = tmp_path / "events.csv"
        rows = [f"event{i},{'test' if i > 3 else 'train'}" for i in range(6)]
        listed.write_text("\n".join(["path,split", *rows]))
        more = f"data.root={events}", "data.hold_out=0"
        data = build.build_data(config_of("tcn_small", listed, *more))
        assert [Path(path).name for path in data.train.paths] == [f"event{i}" for i in range(4)]
        assert len(data.watch) == 2 and len(data.parts.test) == 4


class TestRefusals:
    def test_cameras_that_the_data_does_not_name(self, events):
        config = config_of("tcn_small", events, "data.cameras=null")
        with pytest.raises(UserError, match=r"views.cameras: .* 2 cameras, .* names 0; .*data.cam"):
            build.build_views(config)

    def test_another_number_of_cameras(self, events):
        config = config_of("tcn_small", events, "views.cameras=3")
        with pytest.raises(UserError, match=r"from 3 cameras, and data\.cameras names 2"):
            build.build_data(config)

    @pytest.mark.parametrize("cameras", ["[]", "[cam0.mp4]", "[cam0.mp4, cam0.mp4]"])
    def test_no_choice_of_cameras(self, events, cameras):
        with pytest.raises(UserError, match=r"data.cameras = .*name two or more"):
            load_config(CONFIGS / "tcn_small.yaml", ["data.train=x", f"data.cameras={cameras}"])

    def test_cameras_must_be_a_list_of_names(self):
        with pytest.raises(UserError, match=r"data.cameras = 'cam0.mp4'"):
            load_config(CONFIGS / "tcn_small.yaml", ["data.train=x", "data.cameras=cam0.mp4"])

    def test_a_clock_of_ones_own(self, events):
        with pytest.raises(UserError, match=r"clip.fps = 10: cannot go with data.cameras"):
            config_of("tcn_small", events, "clip.fps=10")

    def test_several_cameras_inside_joint_views(self, events):
        parts = "views.parts={a: {name: synchronised}}"
        more = "views.name=joint", parts, "method.name=joint"
        with pytest.raises(UserError, match=r"views.parts.a: looks at several cameras"):
            build.build_views(
                load_config(CONFIGS / "cvrl_small.yaml", [f"data.train={events}", *more])
            )


@pytest.mark.parametrize("name", ["tcn_small", "tcn_single_small"])
def test_a_run_trains_is_watched_and_can_be_scored(name, events, tmp_path):
    folder = train(config_of(name, events, f"output={tmp_path / 'run'}", "eval.every_epochs=1"))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert any("instance_r1" in line for line in lines), "films are watched as videos"
    assert all(0 <= line["pretext_top1"] <= 1 for line in lines if "loss" in line)
    config = load_config(folder / "config.yaml")
    assert config.data.cameras == ["cam0.mp4", "cam1.mp4"]
    parts = build.build_data(config).parts
    result = evaluate(load_encoder(folder), parts, ["alignment"])[0]
    assert result.card.n_listed == result.card.n_scored == 4
    assert [row.name for row in result.rows][:3] == ["trained", "projected", "untrained"]


def test_the_tool_scores_a_run(events, tmp_path, monkeypatch, capsys):
    folder = train(config_of("tcn_small", events, f"output={tmp_path / 'run'}"))
    source = Path(__file__).parents[2] / "tools" / "evaluate.py"
    spec = importlib.util.spec_from_file_location("evaluate_tool", source)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def call(*arguments):
        flags = ["--checkpoint", str(folder), "--protocol", "alignment", "--workers", "0"]
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *flags, *map(str, arguments)])
        tool.run_tool(tool.main)
        written = (folder / "eval").glob("alignment*.json")  # another list has a file of its own
        return json.loads(max(written, key=lambda file: file.stat().st_mtime_ns).read_text())

    assert call()["card"]["n_scored"] == 4
    other = call("--train", events, "--cameras", "cam0.mp4", "cam1.mp4", "--every", 0.2)
    assert other["card"]["n_scored"] == 12 and other["card"]["settings"]["clips"] == "every 0.2 s"
    with pytest.raises(SystemExit):
        call("--train", events)
    assert "--cameras" in capsys.readouterr().err
