"""The interface between methods and the training loop: a task is an encoder with a loss.

The loop calls ``losses = task(batch)``, backpropagates ``losses["loss"]``, calls
``task.before_step()``, steps the optimiser and calls ``task.after_step(step)``. It knows nothing
else about the method.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from cvrl.data.dataset import Batch
from cvrl.models.backbones import Encoder
from cvrl.models.heads import ClassHead


class Task(nn.Module):
    """Base class of methods: an encoder, the modules a method adds to it, and a loss.

    Attributes:
        accepts: kinds of views (``Views.kinds``) the method can compare.
        least_clips: minimum number of clips per video.
        needs_labels: whether every training video must have a label.
        needs_negatives: whether the other videos of a batch are what a video is compared with.
        encoder: the network kept after training.
        projector: maps the encoder's feature (B, D) to the space of the loss; None if the method
            has no such head.
    """

    accepts: frozenset[str] = frozenset()
    least_clips: int = 1
    needs_labels: bool = False
    needs_negatives: bool = False
    encoder: Encoder
    projector: nn.Module | None

    def __init__(self) -> None:
        super().__init__()
        self.projector = None

    @property
    def class_head(self) -> ClassHead | None:
        """The classifier saved with the encoder, or None."""
        classifier = getattr(self, "classifier", None)
        return classifier if isinstance(classifier, ClassHead) else None

    @property
    def kept_encoder(self) -> Encoder:
        """The encoder that is saved and monitored: the trained one, or its moving average."""
        return self.encoder

    def project_views(self, clips_BVCTHW: Tensor) -> Tensor:
        """Projections ``projector(encoder(clips))`` of every clip, (V, B, D)."""
        if self.projector is None:
            raise TypeError(f"{type(self).__name__} has no projector")
        B, V = clips_BVCTHW.shape[:2]
        z_ND: Tensor = self.projector(self.encoder(clips_BVCTHW.flatten(0, 1)))
        return z_ND.view(B, V, -1).transpose(0, 1)

    def project_crops(self, batch: Batch) -> Tensor:
        """Projections of every clip, then of every small clip if any, (V + S, B, D)."""
        z_VBD = self.project_views(batch.clips_BVCTHW)
        if batch.small_BVCTHW is None:
            return z_VBD
        return torch.cat([z_VBD, self.project_views(batch.small_BVCTHW)])

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of a batch: ``loss`` is minimised, other scalars are logged.

        ``loss`` is this rank's share of the mean over the global batch (``dist.global_mean``).
        ``embedding_ND``, if present, is the input of the collapse monitors.
        """
        raise NotImplementedError

    def before_step(self) -> None:
        """Change gradients before they are clipped and used; called once an optimiser step."""

    def after_step(self, step: int) -> None:
        """Update what is not learned by gradient; called once after each optimiser step."""

    def is_ready(self) -> bool:
        """Whether the optimiser may step, for methods that must first fill a queue.

        Called after each backward pass; every rank must return the same value.
        """
        return True

    def param_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Parameter groups for the optimiser: weights decayed, biases and norm scales not.

        A group's ``lr_scale``, if present, multiplies the schedule's learning rate.

        Args:
            weight_decay: applied to tensors with two or more dimensions.
        """
        return parameter_groups(self.parameters(), weight_decay)


def parameter_groups(
    parameters: Iterable[nn.Parameter], weight_decay: float, *, lr_scale: float = 1.0
) -> list[dict[str, Any]]:
    """Group trainable parameters by whether they are decayed.

    Args:
        parameters: of a module.
        weight_decay: applied to tensors with two or more dimensions; biases and norm scales are
            not decayed.
        lr_scale: multiplies the learning rate of both groups.

    Returns:
        The groups ``decayed`` and ``plain``, either of which may be empty.

    Example:
        >>> decayed, plain = parameter_groups(nn.Linear(2, 3).parameters(), 0.1, lr_scale=0.5)
        >>> decayed["weight_decay"], plain["weight_decay"], plain["lr_scale"]
        (0.1, 0.0, 0.5)
    """
    trainable = [p for p in parameters if p.requires_grad]
    decayed = [p for p in trainable if p.ndim >= 2]
    plain = [p for p in trainable if p.ndim < 2]
    shared = {"lr_scale": lr_scale}
    return [
        {"name": "decayed", "params": decayed, "weight_decay": weight_decay, **shared},
        {"name": "plain", "params": plain, "weight_decay": 0.0, **shared},
    ]
