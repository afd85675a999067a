"""A function over many items, in processes that may die on one of them.

Native decoders can crash or hang on a hostile file and take their process along.
``ProcessPoolExecutor`` then gives up all that is under way and cannot say whose fault it was. Here
every process works on one item at a time over a pipe of its own, so the one to blame is known, a
new process takes over, and the rest goes on.
"""

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from typing import Any, Generic, TypeVar

from cvrl.utils.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")
Beat = Callable[[], None]


@dataclass(frozen=True)
class Lost:
    """What stands for a result where the process died.

    Attributes:
        reason: one line that says how.

    Example:
        >>> Lost("no sign of life for 60 s").reason
        'no sign of life for 60 s'
    """

    reason: str


def map_in_processes(
    function: Callable[[Item, Beat], Result],
    items: Sequence[Item],
    *,
    workers: int,
    stall_seconds: float = 120.0,
) -> Iterator[tuple[int, Result | Lost]]:
    """Apply a function to every item in spawned processes, whatever becomes of them.

    A script that calls this needs ``if __name__ == "__main__":`` around its main part, as spawned
    processes import it. Items, results and the function are pickled.

    Args:
        function: ``function(item, beat)``, which calls ``beat()`` now and then: a sign of life.
        items: what to apply it to.
        workers: processes; 0 works in this one, with no protection.
        stall_seconds: a process that neither beats nor finishes for so long is killed.

    Yields:
        The item's position and its result, in the order they are done. :class:`Lost` stands for
        the result of a process that died or was killed.

    Raises:
        UserError: a process cannot start at all.

    Example:
        >>> list(map_in_processes(lambda item, beat: 2 * item, [1, 2], workers=0))
        [(0, 2), (1, 4)]
    """
    if workers < 1:
        for index, item in enumerate(items):
            yield index, function(item, lambda: None)
        return
    context = multiprocessing.get_context("spawn")
    pool = [_Worker(context, function) for _ in range(min(workers, len(items)))]
    try:
        yield from _run(pool, iter(enumerate(items)), stall_seconds)
    finally:
        for worker in pool:
            worker.end()


def _run(
    pool: "list[_Worker[Item, Result]]", waiting: Iterator[tuple[int, Item]], stall_seconds: float
) -> Iterator[tuple[int, Result | Lost]]:
    """Hand out items until none is left; ``pool`` always holds the living workers."""
    while pool:
        ready = set(wait([worker.connection for worker in pool], timeout=1.0))
        for place, worker in reversed(list(enumerate(pool))):
            begun = worker.index
            outcome = worker.listen(worker.connection in ready, stall_seconds)
            if isinstance(outcome, Lost):
                pool[place] = worker.successor()
            elif worker.is_idle and not worker.take(next(waiting, None)):
                worker.end()
                del pool[place]
            if begun is not None and outcome is not None:
                yield begun, outcome if isinstance(outcome, Lost) else outcome[0]


class _Worker(Generic[Item, Result]):
    """One process and the item it works on."""

    def __init__(self, context: SpawnContext, function: Callable[[Item, Beat], Result]) -> None:
        self._context, self._function = context, function
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, function), daemon=True)
        self._process.start()
        theirs.close()  # so that the pipe breaks when the process dies
        self._heard = time.monotonic()
        self._has_started = False
        self.index: int | None = None

    @property
    def is_idle(self) -> bool:
        """Whether it waits for an item."""
        return self._has_started and self.index is None

    def take(self, numbered: tuple[int, Item] | None) -> bool:
        """Start on an item; False where there is none left."""
        if numbered is None:
            return False
        self.index = numbered[0]
        self._heard = time.monotonic()
        with suppress(OSError):  # it died while idle: the broken pipe is heard next
            self.connection.send(numbered[1])
        return True

    def listen(self, has_news: bool, stall_seconds: float) -> tuple[Result] | Lost | None:
        """What came of the item: its result, its loss, or nothing yet."""
        if has_news:
            self._heard = time.monotonic()
            try:
                message: tuple[Result] | None = self.connection.recv()
            except (EOFError, ConnectionError):
                return self._lose()
            self._has_started = True
            if message is not None:
                self.index = None
            return message
        if time.monotonic() - self._heard > stall_seconds:
            self.end()
            return Lost(f"no sign of life for {stall_seconds:g} s")
        return None

    def successor(self) -> "_Worker[Item, Result]":
        """A new process for the same work."""
        return _Worker(self._context, self._function)

    def end(self) -> None:
        """Stop the process, at work or not."""
        self.connection.close()
        self._process.kill()
        self._process.join()

    def _lose(self) -> Lost:
        self._process.join()
        code = self._process.exitcode or 0
        self.end()
        cause = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        if not self._has_started:
            remedy = "put the main part of your script under `if __name__ == '__main__':`"
            raise UserError("worker process", f"cannot start ({cause})", remedy)
        return Lost(f"the process that worked on it died ({cause})")


def _serve(connection: Connection, function: Callable[[Any, Beat], Any]) -> None:
    """The life of a worker process: results go back as a 1-tuple, signs of life as None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us

    def beat() -> None:
        connection.send(None)

    try:
        beat()
        while True:
            item = connection.recv()
            connection.send((function(item, beat),))
    except (EOFError, ConnectionError):  # the parent has no more work, or is gone
        return
