"""A process that ends with its parent: a rank whose launcher was killed must not train on."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # of prctl, <linux/prctl.h>


def stop_with_parent() -> None:
    """Have the system send this process SIGTERM when its parent ends; Linux only.

    Example:
        >>> stop_with_parent()
    """
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before the call
        signal.raise_signal(signal.SIGTERM)
