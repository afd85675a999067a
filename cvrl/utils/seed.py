"""Random generators keyed by integers, for instance ``(seed, epoch, sample, view)``.

The key says what the numbers are for. The number of workers, ranks or earlier draws does not enter,
so a run does not change with them, and a resumed run needs no saved generator state.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def numpy_rng(*key: int) -> np.random.Generator:
    """Create a NumPy generator from an integer key.

    Args:
        key: non-negative integers; order and count both matter.

    Returns:
        A fresh Philox generator, independent of every generator with another key.

    Example:
        >>> int(numpy_rng(0, 1, 2).integers(100)) == int(numpy_rng(0, 1, 2).integers(100))
        True
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def torch_generator(*key: int) -> "torch.Generator":
    """Create a CPU torch generator from an integer key.

    Args:
        key: non-negative integers; order and count both matter.

    Example:
        >>> import torch
        >>> a, b = torch_generator(0, 1), torch_generator(0, 1)
        >>> bool(torch.rand((), generator=a) == torch.rand((), generator=b))
        True
    """
    import torch

    return torch.Generator().manual_seed(integer_seed(*key))


def integer_seed(*key: int) -> int:
    """Derive a 63-bit seed from an integer key.

    Example:
        >>> integer_seed(1, 2) != integer_seed(2, 1)
        True
    """
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
