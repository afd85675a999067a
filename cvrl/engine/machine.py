"""Choices that depend on the machine. Importing this module imports nothing heavy."""


def pick_device(name: str, option: str = "--device") -> str:
    """Resolve ``auto`` to ``cuda`` where there is a GPU, else ``cpu``.

    Args:
        name: what is asked for.
        option: where, for the message.

    Raises:
        UserError: a GPU is asked for and there is none.

    Example:
        >>> pick_device("cpu")
        'cpu'
    """
    import torch

    from cvrl.utils.errors import UserError

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        remedy = f"use {option} cpu"
        raise UserError(f"{option} {name}", "no GPU is visible to torch", remedy)
    return name


def pick_workers(workers: int | None) -> int:
    """Resolve None to the number of loader processes that suits the machine.

    Example:
        >>> pick_workers(3)
        3
    """
    from cvrl.data.loader import default_workers

    return default_workers() if workers is None else workers
