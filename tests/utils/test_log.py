"""Records are whole JSON lines, a resumed run drops what it will make again."""

import json
import logging
import os
import subprocess
import sys

import pytest

from cvrl.utils import log
from cvrl.utils.log import MetricLog, TrainProgress, read_metrics, set_up_logging, track


@pytest.fixture(autouse=True)
def _give_the_logger_back():
    logger = logging.getLogger("cvrl")
    before = (logger.handlers, logger.propagate, logger.level)
    yield
    logger.handlers, logger.propagate = before[0], before[1]
    logger.setLevel(before[2])


def test_records_are_appended_and_read_back(tmp_path):
    metrics = MetricLog(tmp_path, tensorboard=False)
    metrics.write(step=1, loss=0.5)
    metrics.write(step=2, loss=float("nan"))
    metrics.close()
    assert read_metrics(tmp_path / "metrics.jsonl") == [
        {"step": 1, "loss": 0.5},
        {"step": 2, "loss": None},
    ]


def test_resuming_drops_later_records_and_a_cut_line(tmp_path):
    lines = [json.dumps({"step": step, "loss": 1.0}) for step in range(1, 6)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 6, "lo')
    metrics = MetricLog(tmp_path, first_step=3, tensorboard=False)
    metrics.write(step=4, loss=2.0)
    metrics.close()
    records = read_metrics(tmp_path / "metrics.jsonl")
    assert [(r["step"], r["loss"]) for r in records] == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0)]


def test_a_disabled_log_writes_nothing(tmp_path):
    metrics = MetricLog(tmp_path, enabled=False)
    metrics.write(step=1, loss=0.5)
    metrics.close()
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_holds_the_same_numbers(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    metrics = MetricLog(tmp_path, tensorboard=True)
    metrics.write(step=7, loss=0.25)
    metrics.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    (event,) = events.Scalars("loss")
    assert (event.step, event.value) == (7, 0.25)


def test_track_passes_items_on_and_tells_the_rate(monkeypatch, capsys):
    monkeypatch.setattr(log, "SECONDS_BETWEEN_LINES", 0.0)
    set_up_logging()
    assert list(track(range(3), total=3, description="reading", unit="clips")) == [0, 1, 2]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and "reading: 2 of 3 clips" in lines[1] and "s left" in lines[1]


def test_progress_spaces_its_lines_but_shows_the_last(capsys):
    set_up_logging()
    progress = TrainProgress(total_steps=100)
    for step in range(1, 101):
        progress.show(step, {"loss": f"{step / 100:.2f}"})
    progress.close()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "step 100 of 100" in lines[1] and "loss 1.00" in lines[1]


def test_other_ranks_are_silent(capsys):
    set_up_logging(main=False)
    logging.getLogger("cvrl").info("hello")
    TrainProgress(10, enabled=False).show(10, {})
    assert capsys.readouterr().err == ""


def test_forced_colours_draw_no_bar_into_a_file(tmp_path):
    program = "from cvrl.utils.log import track\nlist(track(range(3), 3, 'counting'))"
    environment = {**os.environ, "FORCE_COLOR": "1"}
    with (tmp_path / "log.txt").open("wb") as file:
        subprocess.run([sys.executable, "-c", program], stderr=file, env=environment, check=True)
    assert "\x1b" not in (tmp_path / "log.txt").read_text()


def test_names_in_the_log_have_no_control_characters(capsys):
    set_up_logging()
    logging.getLogger("cvrl").info("%s: skipped", "a\x1b[2J.mp4")
    assert capsys.readouterr().err.endswith("a\\x1b[2J.mp4: skipped\n")
