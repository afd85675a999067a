"""Encoding clips that overlap: what sees one frame at a time runs once a frame, not once a clip.

Where clips of one video overlap, a frame is in several of them. As long as an encoder's kernels
span one frame, what it makes of a frame is the same in each; only from the first temporal kernel on
do the clips differ. So the leading stages run over the frames, their maps are gathered into clips,
and the other stages run over those. Slow R50 has such stages (stem, res2 and res3), R3D-50 with its
5x7x7 stem has none.

Shapes: N clips, F different frames, C channels, T frames a clip, H rows, W columns.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cvrl.models.backbones import STAGES, Encoder
from cvrl.models.inference.folded import FrozenConv

FRAMES_AT_ONCE = 4
"""Through the stages that see one at a time, on a CPU: few enough for maps to stay in its cache."""

_POINTWISE = (nn.ReLU, nn.GELU, nn.SiLU, nn.Dropout, nn.Identity, _BatchNorm, nn.Sequential)
_WINDOWED = (nn.Conv3d, nn.MaxPool3d, nn.AvgPool3d)


def still_stages(encoder: Encoder) -> tuple[str, ...]:
    """The leading stages whose kernels span one frame, found from the kernels.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> still_stages(build_encoder("r3d_small", stem_kernel=(1, 7, 7)))
        ('stem',)
        >>> still_stages(build_encoder("r3d_small"))
        ()
    """
    if not isinstance(encoder.input, nn.Identity):  # differences depend on the clip's frames
        return ()
    still: list[str] = []
    for name in ("stem", *STAGES):
        if not is_still(getattr(encoder, name)):
            break
        still.append(name)
    return tuple(still)


def is_still(module: nn.Module) -> bool:
    """Whether a module in evaluation mode treats each frame by itself.

    A layer of a kind that is not known here counts as one that does not.

    Args:
        module: maps (B, C, T, H, W) to the same order of dimensions.

    Example:
        >>> is_still(nn.Conv3d(3, 4, (1, 7, 7))), is_still(nn.Conv3d(3, 4, (3, 1, 1)))
        (True, False)
    """
    leaves = [part for part in module.modules() if not list(part.children())]
    return all(_leaf_is_still(leaf) for leaf in leaves)


def encode_frames(
    encoder: Encoder,
    frames_FCHW: Tensor,
    place_NT: Tensor,
    *,
    until: str = "pooled",
    at_once: int = 16,
) -> Iterator[Tensor]:
    """Encode clips that are made of shared frames, some at a time.

    The same as ``encoder.stages`` of the clips ``frames_FCHW[place_NT]``, up to rounding.

    Args:
        encoder: in evaluation mode.
        frames_FCHW: preprocessed, each once.
        place_NT: which of them each clip shows.
        until: the stage wanted, of ``res2`` to ``res5`` or ``pooled``; later ones are left out.
        at_once: clips that go together through the other stages, which bounds memory.

    Yields:
        What that stage makes of each ``at_once`` clips, in order.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> encoder = build_encoder("r3d_small", width=2).eval()
        >>> place_NT = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]])
        >>> [h_ND] = encode_frames(encoder, torch.rand(5, 3, 32, 32), place_NT)
        >>> h_ND.shape
        torch.Size([2, 16])
    """
    names = ("stem", *STAGES)
    wanted = names if until == "pooled" else names[: names.index(until) + 1]
    still = [name for name in still_stages(encoder) if name in wanted]
    few = FRAMES_AT_ONCE if frames_FCHW.device.type == "cpu" else at_once * place_NT.shape[1]
    parts = torch.split(frames_FCHW, few)
    maps_FCHW = torch.cat([_run(encoder, still, part[:, :, None])[:, :, 0] for part in parts])
    for place_MT in torch.split(place_NT, at_once):
        clips_MCTHW = gather_clips(maps_FCHW, place_MT)
        if not still:
            clips_MCTHW = encoder.input(clips_MCTHW)
        y = _run(encoder, wanted[len(still) :], clips_MCTHW)
        yield y.mean(dim=(2, 3, 4)) if until == "pooled" else y


def gather_clips(frames_FCHW: Tensor, place_NT: Tensor) -> Tensor:
    """Put frames together into clips (N, C, T, H, W).

    Example:
        >>> frames_FCHW = torch.arange(3.0).view(3, 1, 1, 1)
        >>> gather_clips(frames_FCHW, torch.tensor([[0, 1], [1, 2]])).flatten()
        tensor([0., 1., 1., 2.])
    """
    return frames_FCHW[place_NT].transpose(1, 2)


def _run(encoder: Encoder, names: list[str] | tuple[str, ...], x: Tensor) -> Tensor:
    for name in names:
        x = getattr(encoder, name)(x)
    return x


def _leaf_is_still(leaf: nn.Module) -> bool:
    if isinstance(leaf, FrozenConv):
        return [leaf.weight.shape[2], leaf.stride[0], leaf.padding[0]] == [1, 1, 0]
    if isinstance(leaf, _WINDOWED):
        sizes = (leaf.kernel_size, leaf.stride, leaf.padding)
        return [_first(size) for size in sizes] in ([1, 1, 0], [1, 1, "same"], [1, 1, "valid"])
    return isinstance(leaf, _POINTWISE)  # a sequence without children does nothing


def _first(size: object) -> object:
    """Of a kernel's size in time, height and width, or one number for all, that in time."""
    return size[0] if isinstance(size, tuple) else size
