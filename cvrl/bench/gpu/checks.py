"""What a device computes, held against float64 on the CPU."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cvrl.bench.common.networks import settle, smooth_clips
from cvrl.bench.gpu.steps import FORMS, mode
from cvrl.models.backbones import build_encoder
from cvrl.transforms.recipe import Recipe
from cvrl.utils.errors import UserError
from cvrl.utils.seed import torch_generator

# Of the length of the features and of all gradients together, by type. Batch statistics of few
# places multiply rounding errors, so gradients are held less tightly than features.
MOST_APART = {"fp32": (1e-4, 5e-2), "tf32": (1e-2, 0.3), "bf16": (5e-2, 0.8)}
LEVEL = 1 / 255


def check_encoders(
    device: torch.device, encoders: Sequence[str], forms: Sequence[str], *, size: int = 64
) -> list[str]:
    """Hold features and gradients of each form against float64 on the CPU.

    Args:
        device: what is checked.
        encoders: by name.
        forms: some of :data:`cvrl.bench.gpu.steps.FORMS`.
        size: height and width of the clips.

    Returns:
        Rows of a Markdown table.

    Raises:
        UserError: one is further away than its type allows.
    """
    rows = ["| encoder | type | form | features apart | gradients apart |", "|---|---|---|---|---|"]
    clips = smooth_clips(4, 16, size)
    for name in encoders:
        torch.manual_seed(0)
        start = settle(build_encoder(name), clips).train()
        exact = features_and_gradients(copy.deepcopy(start).double(), clips.double())
        # On a CPU bf16 is left out: gradients of torch 2.14 change from run to run there.
        precisions = MOST_APART if device.type == "cuda" else ["fp32"]
        for precision in precisions:
            most = MOST_APART[precision]
            for form in forms:
                network = FORMS[form](copy.deepcopy(start).to(device))
                with mode(device, precision, benchmark=False):
                    found = features_and_gradients(network, clips.to(device))
                apart = [_distance(*pair) for pair in zip(found, exact, strict=True)]
                said = f"{name} {precision} {form}"
                rows.append(f"| {name} | {precision} | {form} | {apart[0]:.1e} | {apart[1]:.1e} |")
                if not all(a <= b for a, b in zip(apart, most, strict=True)):
                    raise UserError(said, f"is {apart} from float64", f"allowed are {most}")
    return rows


def features_and_gradients(network: nn.Module, clips_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
    """Features of clips and the gradients of all parameters behind one another, in float64."""
    h_BD = network(clips_BCTHW)
    toward_D = torch.linspace(-1.0, 1.0, h_BD.shape[1], dtype=h_BD.dtype, device=h_BD.device)
    (h_BD @ toward_D).sum().backward()
    gradients = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
    return h_BD.detach().double().cpu(), torch.cat(gradients).double().cpu()


def check_augmentation(device: torch.device, recipe: Recipe, clips_BVCTHW: Tensor) -> str:
    """Hold a recipe on the device against the same draws on the CPU.

    Args:
        device: what is checked.
        recipe: what is left of one after its crop.
        clips_BVCTHW: uint8, on the CPU.

    Returns:
        How far the clips are apart, in words.

    Raises:
        UserError: by more than a level of 255 in the mean of the worst clip.
    """
    generator = torch_generator(0)
    params = [recipe.draw(clips.shape, generator) for clips in clips_BVCTHW]
    here = recipe.apply_batch(clips_BVCTHW, params)
    there = recipe.apply_batch(clips_BVCTHW.to(device), params).cpu()
    apart = (here - there).abs()
    worst = float(apart.flatten(2).mean(dim=2).max())
    equal = float((apart == 0).float().mean())
    said = f"{equal:.1%} of values bit-equal, largest distance {float(apart.max()):.1e}"
    if worst > LEVEL:
        raise UserError("augmentation on the device", said, "use data.augment_on=worker")
    return said


def _distance(one: Tensor, other: Tensor) -> float:
    """As a share of the length of the second."""
    return float((one - other).norm() / other.norm())
