"""Features of several stages of an encoder from one pass, side by side and taken apart again.

Shape suffixes: M clips, D dims of a stage, W dims of all stages; C, T, H, W of a clip.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from cvrl.evaluation.features.extraction import Features, Stage, averaged
from cvrl.models.backbones import Encoder
from cvrl.utils.errors import UserError

POOLED: tuple[Stage, ...] = ("pooled",)


class SideBySide(nn.Module):
    """An encoder whose feature is that of several stages, each averaged over time and space.

    Args:
        encoder: with these stages.
        stages: by name.

    Raises:
        UserError: a network without such stages.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> encoder = build_encoder("r3d_small", width=2).eval()
        >>> SideBySide(encoder, ["res2", "res5"])(torch.rand(1, 3, 8, 32, 32)).shape
        torch.Size([1, 18])
    """

    def __init__(self, encoder: nn.Module, stages: Sequence[Stage]) -> None:
        super().__init__()
        if not isinstance(encoder, Encoder):
            raise UserError("--stage", "the network has no inner stages", "use build_encoder")
        self.encoder = encoder
        self.names = tuple(stages)

    def forward(self, clips_MCTHW: Tensor) -> Tensor:
        """The stages of each clip, one after the other: (M, W)."""
        maps = self.encoder.stages(clips_MCTHW)
        return torch.cat([averaged(maps[name]) for name in self.names], dim=1)

    def apart(self, features: Features) -> dict[Stage, Features]:
        """The features of each stage.

        Args:
            features: as this network gives them.
        """
        dims = [self.encoder.stage_dims[name] for name in self.names]
        parts = torch.split(features.vectors_ND, dims, dim=1)
        return {
            name: replace(features, vectors_ND=part)
            for name, part in zip(self.names, parts, strict=True)
        }
