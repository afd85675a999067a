"""Randomness as a function of what it is for, never of who computes it.

A generator is keyed by plain integers, for instance ``(seed, epoch, sample, view)``. The number of
workers, ranks or earlier draws does not enter, so a run is the same however it is spread, and a
resumed run needs no saved generator state.
"""

import numpy as np
import torch


def numpy_rng(*key: int) -> np.random.Generator:
    """A NumPy generator that is a function of its integer key.

    Args:
        key: non-negative integers; order and count both matter.

    Returns:
        A fresh Philox generator, independent of every generator with another key.

    Example:
        >>> int(numpy_rng(0, 1, 2).integers(100)) == int(numpy_rng(0, 1, 2).integers(100))
        True
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def torch_generator(*key: int) -> torch.Generator:
    """A CPU torch generator that is a function of its integer key.

    Args:
        key: non-negative integers; order and count both matter.

    Example:
        >>> a, b = torch_generator(0, 1), torch_generator(0, 1)
        >>> bool(torch.rand((), generator=a) == torch.rand((), generator=b))
        True
    """
    return torch.Generator().manual_seed(integer_seed(*key))


def integer_seed(*key: int) -> int:
    """A 63-bit seed that is a function of its integer key, for libraries that want one number.

    Example:
        >>> integer_seed(1, 2) != integer_seed(2, 1)
        True
    """
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
