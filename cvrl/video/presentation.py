"""When decoded frames are shown, where their time stamps repeat, go back or start again.

N frames in the order in which the decoder returns them, which is that of their presentation.
"""

import numpy as np
from numpy.typing import NDArray

_BACK = 4  # frames; smaller steps back are stamps that frames have exchanged
_JUMP = 10.0  # seconds; FFmpeg takes a longer step of a broadcast clock for another clock, too


def clock_joints(
    stamps_N: NDArray[np.float64], restarts: int, *, may_jump: bool = False
) -> NDArray[np.int64]:
    """The frames from which another clock counts, as where recordings have been joined.

    Args:
        stamps_N: seconds.
        restarts: how often the decoding times of the packets go back.
        may_jump: whether the container may change its clock, as transport streams may: a step of
            more than ten seconds ahead is then another clock, and not a pause.

    Returns:
        Ascending frame numbers, none of them 0.

    Example:
        >>> clock_joints(np.array([5, 5.1, 5.2, 5.3, 5.4, 5.5, 5, 5.1, 5.2]), restarts=1).tolist()
        [6]
    """
    steps = np.diff(stamps_N)
    lowest = np.argsort(steps, kind="stable")[:restarts]
    back = lowest[steps[lowest] < -_BACK * usual_step(stamps_N)]
    ahead = np.flatnonzero(steps > _JUMP) if may_jump else back[:0]
    return np.union1d(back, ahead).astype(np.int64) + 1


def ascending(
    stamps_N: NDArray[np.float64], joints: NDArray[np.int64], step: float
) -> NDArray[np.float64]:
    """Times that ascend: clocks joined without a gap, exchanged stamps sorted, equal ones spread.

    Args:
        stamps_N: seconds.
        joints: see :func:`clock_joints`.
        step: seconds a frame, where the stamps do not tell.

    Example:
        >>> ascending(np.array([0, 1, 3, 2, 0, 1, 1, 2]), np.array([4]), step=1.0).tolist()
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 5.5, 6.0]
    """
    step = usual_step(stamps_N) or step
    times, end = [], None
    for part in np.split(stamps_N.astype(np.float64), joints):
        part = np.sort(part)
        if end is not None:
            part += end + step - part[0]
        times.append(part)
        end = part[-1]
    times_N = np.concatenate(times)
    firsts = np.flatnonzero(np.diff(times_N, prepend=-np.inf) > 0)
    if len(firsts) == len(times_N):
        return times_N
    after = times_N[-1] + step * (len(times_N) - firsts[-1])
    places, shown = np.append(firsts, len(times_N)), np.append(times_N[firsts], after)
    spread_N: NDArray[np.float64] = np.interp(np.arange(len(times_N)), places, shown)
    return spread_N


def usual_step(stamps_N: NDArray[np.float64]) -> float:
    """The median step ahead from a frame to the next, in seconds; 0 where there is none.

    Example:
        >>> usual_step(np.array([0.0, 1.0, 2.0, 1.0, 2.0, 9.0]))
        1.0
    """
    steps = np.diff(stamps_N)
    ahead = steps[steps > 0]
    return float(np.median(ahead)) if len(ahead) else 0.0
