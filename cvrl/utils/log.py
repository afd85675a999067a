"""What a long run says while it works: progress on a terminal, lines in a log file, numbers kept.

Rich's live bars are drawn where a person watches; elsewhere (a log file, a batch system) the same
facts come as a plain line now and then.
"""

import json
import logging
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from cvrl.utils.errors import printable
from cvrl.utils.io import atomic_path

logger = logging.getLogger("cvrl")
Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 15.0


def console() -> Console:
    """The console progress is drawn on: stderr, so that stdout carries only results."""
    # FORCE_COLOR, which Jupyter and CI services set, must not turn a log file into a live display.
    return Console(stderr=True, force_terminal=sys.stderr.isatty())


def set_up_logging(*, main: bool = True) -> None:
    """Send the library's log to stderr: readable on a terminal, plain lines with times elsewhere.

    Args:
        main: False silences all but warnings, for ranks other than the first.
    """
    output = console()
    handler: logging.Handler = logging.StreamHandler()
    if output.is_terminal:
        handler = RichHandler(console=output, show_path=False, show_level=False)
        handler.setFormatter(_PrintableFormatter("%(message)s"))
    else:
        handler.setFormatter(_PrintableFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO if main else logging.WARNING)


class _PrintableFormatter(logging.Formatter):
    """Keeps the control characters of file names from the terminal; lines stay lines."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(printable, super().format(record).split("\n")))


def bar(*extra: str) -> Progress:
    """A progress bar with the share done, the time left and ``extra`` fields of its tasks."""
    fields = [TextColumn("{task.fields[" + name + "]}") for name in extra]
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        *fields,
        console=console(),
        transient=False,
    )


def track(
    items: Iterable[Item], total: int, description: str, unit: str = "videos"
) -> Iterator[Item]:
    """Pass ``items`` on while showing how many are done, the rate and the time left.

    Args:
        items: what to iterate over.
        total: how many there will be.
        description: what is being done, for the start of the line.
        unit: what one item is.

    Yields:
        The items, unchanged.

    Example:
        >>> list(track([1, 2], total=2, description="counting"))
        [1, 2]
    """
    began = said = time.monotonic()
    if console().is_terminal:
        with bar("rate") as progress:
            row = progress.add_task(description, total=total, rate="")
            for done, item in enumerate(items, start=1):
                yield item
                rate = done / max(time.monotonic() - began, 1e-9)
                progress.update(row, completed=done, rate=f"{rate:.1f} {unit}/s")
        return
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - said >= SECONDS_BETWEEN_LINES:
            said, rate = now, done / (now - began)
            left = (total - done) / rate
            logger.info(
                "%s: %d of %d %s, %.1f/s, %.0f s left", description, done, total, unit, rate, left
            )


class Gauge:
    """Progress of one long task, told by the caller: a bar on a terminal, else a line now and then.

    A process that another one started for its work draws no bar, which would cross the others'.

    Args:
        description: what is being done.
        total: what :meth:`update` counts up to.

    Example:
        >>> gauge = Gauge("reading", total=100)
        >>> gauge.update(50)
        >>> gauge.close()
    """

    def __init__(self, description: str, total: int) -> None:
        self._description, self._total = description, max(total, 1)
        self._said = time.monotonic() - SECONDS_BETWEEN_LINES
        self._bar = None
        if console().is_terminal and multiprocessing.parent_process() is None:
            self._bar = bar()
            self._row = self._bar.add_task(description, total=self._total)
            self._bar.start()

    def update(self, done: int) -> None:
        """Say how much is done by now."""
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._row, completed=min(done, self._total))
        elif now - self._said >= SECONDS_BETWEEN_LINES:
            self._said = now
            share = 100 * min(done / self._total, 1)
            logger.info("%s: %.0f %%", self._description, share)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()


class MetricLog:
    """Numbers of a run: ``metrics.jsonl``, one JSON object a line, and TensorBoard beside it.

    Args:
        folder: the run folder.
        first_step: records of later steps are dropped: a run that was killed and resumed at this
            step makes them again.
        tensorboard: also write TensorBoard events under ``folder/tensorboard``.
        enabled: False makes every call do nothing, for ranks other than the first.

    Example:
        >>> import tempfile
        >>> log = MetricLog(tempfile.mkdtemp(), tensorboard=False)
        >>> log.write(step=1, loss=0.5)
        >>> log.close()
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        first_step: int = 0,
        tensorboard: bool = True,
        enabled: bool = True,
    ) -> None:
        self.path = Path(folder) / "metrics.jsonl"
        self._stream = None
        self._board: Any = None
        if not enabled:
            return
        kept = [record for record in read_metrics(self.path) if record["step"] <= first_step]
        with atomic_path(self.path) as temporary:
            temporary.write_text("".join(json.dumps(record) + "\n" for record in kept))
        self._stream = open(self.path, "a", buffering=1)  # noqa: SIM115 - open as long as the log
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(Path(folder) / "tensorboard", purge_step=first_step + 1)

    def write(self, *, step: int, **values: float) -> None:
        """Append one record; a value that is not finite is kept as null, so it stays JSON."""
        if self._stream is None:
            return
        clean = {key: value if math.isfinite(value) else None for key, value in values.items()}
        self._stream.write(json.dumps({"step": step, **clean}) + "\n")
        if self._board is not None:
            for key, value in values.items():
                self._board.add_scalar(key, value, step)

    def close(self) -> None:
        """Flush and close the files."""
        if self._stream is not None:
            self._stream.close()
        if self._board is not None:
            self._board.close()


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The records of a ``metrics.jsonl``; a last line cut short by a killed run is left out.

    Example:
        >>> read_metrics("no such file")
        []
    """
    records = []
    lines = Path(path).read_text().splitlines() if Path(path).exists() else []
    for number, line in enumerate(lines):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            logger.warning("%s: line %d is cut short and left out", path, number + 1)
    return records


class TrainProgress:
    """The line that tells how training goes: a live bar, or a log line where nobody watches.

    Args:
        total_steps: of the run.
        first_step: steps done before.
        enabled: False shows nothing.
    """

    def __init__(self, total_steps: int, first_step: int = 0, *, enabled: bool = True) -> None:
        self._total = total_steps
        self._live = bar("facts") if enabled and console().is_terminal else None
        self._enabled = enabled
        self._said = -math.inf
        self._began, self._first = time.monotonic(), first_step
        if self._live:
            self._live.start()
            self._row = self._live.add_task(
                "training", total=total_steps, completed=first_step, facts=""
            )

    def show(self, step: int, facts: Mapping[str, str]) -> None:
        """Show the step and some facts, already formatted; log lines are spaced in time."""
        text = "  ".join(f"{name} {value}" for name, value in facts.items())
        if self._live:
            self._live.update(self._row, completed=step, facts=text)
        elif self._enabled and self._is_due(step):
            spent = time.monotonic() - self._began
            left = spent / max(step - self._first, 1) * (self._total - step)
            logger.info("step %d of %d  %s  %.0f s left", step, self._total, text, left)

    def close(self) -> None:
        """End the live bar."""
        if self._live:
            self._live.stop()

    def _is_due(self, step: int) -> bool:
        now = time.monotonic()
        if now - self._said < SECONDS_BETWEEN_LINES and step < self._total:
            return False
        self._said = now
        return True
