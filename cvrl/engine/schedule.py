"""Schedules are arrays indexed by step: right after a resume by construction, easy to plot."""

import numpy as np
from numpy.typing import NDArray


def cosine_with_warmup(
    peak: float,
    total_steps: int,
    warmup_steps: int = 0,
    final: float = 0.0,
    *,
    under_warmup: bool = False,
) -> NDArray[np.float64]:
    """A linear rise from 0 over ``warmup_steps``, then half a cosine to ``final``.

    The first step of the warm-up takes ``peak / warmup_steps``, so no step is wasted at 0, and
    the step after the warm-up takes ``peak`` itself.

    Args:
        peak: the highest value.
        total_steps: length of the schedule, >= 1.
        warmup_steps: length of the rise, in [0, total_steps].
        final: what the cosine tends to; the value after the last step.
        under_warmup: begin the cosine at step 0, and rise from 0 at step 0 to its value where the
            warm-up ends, a little below ``peak``, as TensorFlow's model garden does.

    Returns:
        (total_steps,) values.

    Raises:
        ValueError: lengths out of range.

    Example:
        >>> cosine_with_warmup(1.0, total_steps=4, warmup_steps=2).round(2).tolist()
        [0.5, 1.0, 1.0, 0.5]
        >>> cosine_with_warmup(1.0, 4, 2, under_warmup=True).round(2).tolist()
        [0.0, 0.25, 0.5, 0.15]
    """
    if total_steps < 1 or not 0 <= warmup_steps <= total_steps:
        raise ValueError(f"cannot warm up {warmup_steps} of {total_steps} steps")
    if under_warmup:
        whole = (
            final + (peak - final) * (1 + np.cos(np.pi * np.arange(total_steps) / total_steps)) / 2
        )
        end = whole[min(warmup_steps, total_steps - 1)]
        whole[:warmup_steps] = end * np.arange(warmup_steps) / max(warmup_steps, 1)
        return whole
    rise = peak * np.arange(1, warmup_steps + 1) / max(warmup_steps, 1)
    progress = np.arange(total_steps - warmup_steps) / max(total_steps - warmup_steps, 1)
    fall = final + (peak - final) * (1 + np.cos(np.pi * progress)) / 2
    return np.concatenate([rise, fall])
