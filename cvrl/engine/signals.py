"""Stopping on request: the step is finished, the state saved, the process ends with exit code 0."""

import signal
import time
from types import FrameType, TracebackType
from typing import Any

from cvrl.data.loader import StopWaitingError
from cvrl.utils import dist

AGREE_SECONDS = 30.0  # in which ranks that wait for a batch may still stop together


class StopRequest:
    """While the block runs, SIGTERM, SIGHUP and the first Ctrl-C only set ``requested``.

    A second Ctrl-C interrupts at once. SIGHUP, which a closed terminal sends, stays ignored where
    it was, as under ``nohup``. The former handlers come back at the end of the block.

    Example:
        >>> with StopRequest() as stop:
        ...     signal.raise_signal(signal.SIGTERM)
        ...     stop.requested
        True
    """

    def __init__(self) -> None:
        self.requested = False
        self._since = time.monotonic()
        self._former: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue
            self._former[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def check_while_waiting(self) -> None:
        """Stop a run that waits for a batch, which may never come.

        The state is that of the last step then. Several ranks first try to stop at the same step.

        Raises:
            StopWaitingError: a stop was requested.
        """
        if not self.requested:
            self._since = time.monotonic()
        elif not dist.is_distributed() or time.monotonic() - self._since > AGREE_SECONDS:
            raise StopWaitingError

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
