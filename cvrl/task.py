"""The seam between methods and the loop: a task is an encoder with a loss.

The loop calls ``losses = task(batch)``, backpropagates ``losses["loss"]``, steps the optimiser and
calls ``task.after_step(step)``. It knows nothing else of the method.
"""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from cvrl.data.dataset import Batch
from cvrl.models.backbones import Encoder
from cvrl.models.heads import ClassHead


class Task(nn.Module):
    """A method: an encoder, what it adds to it, and a loss.

    Attributes:
        accepts: the kinds of views (``Views.kinds``) the method can compare.
        least_clips: the least number of clips a video it needs.
        needs_labels: whether every training video must have a label.
        encoder: what is kept after training.
        projector: maps the encoder's feature (B, D) to the space of the loss; None where the method
            has no such head.
    """

    accepts: frozenset[str] = frozenset()
    least_clips: int = 1
    needs_labels: bool = False
    encoder: Encoder
    projector: nn.Module | None

    def __init__(self) -> None:
        super().__init__()
        self.projector = None

    @property
    def class_head(self) -> ClassHead | None:
        """The classifier of the data's classes, kept with the encoder; None where there is none."""
        classifier = getattr(self, "classifier", None)
        return classifier if isinstance(classifier, ClassHead) else None

    @property
    def kept_encoder(self) -> Encoder:
        """The encoder as it is written and watched: the trained one, or an average of it."""
        return self.encoder

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of a batch: ``loss`` is what is minimised, other scalars are logged.

        ``embedding_ND``, where given, is what the collapse monitors look at.

        ``loss`` is this rank's share of the mean over the global batch (``dist.global_mean``).
        """
        raise NotImplementedError

    def after_step(self, step: int) -> None:
        """Called once after each optimiser step; updates what is not learned by gradient."""

    def is_ready(self) -> bool:
        """Whether the optimiser may step; a method that first fills a queue says when it is full.

        Asked after each backward pass; the same answer on every rank.
        """
        return True

    def param_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Parameters for the optimiser: weights decayed, biases and norm scales not.

        A group's ``lr_scale``, where it has one, multiplies the learning rate of the schedule.

        Args:
            weight_decay: of the tensors with two or more dimensions.
        """
        return parameter_groups(self.parameters(), weight_decay)


def parameter_groups(
    parameters: Iterable[nn.Parameter], weight_decay: float, *, lr_scale: float = 1.0
) -> list[dict[str, Any]]:
    """The trainable ones of some parameters, as an optimiser takes them.

    Args:
        parameters: of a module.
        weight_decay: of the tensors with two or more dimensions; others, biases and norm scales,
            are not decayed.
        lr_scale: what multiplies their learning rate.

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
