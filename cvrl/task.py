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

        Args:
            weight_decay: of the tensors with two or more dimensions.
        """
        trainable = [(name, p) for name, p in self.named_parameters() if p.requires_grad]
        return [
            _group("decayed", [p for _, p in trainable if p.ndim >= 2], weight_decay),
            _group("plain", [p for _, p in trainable if p.ndim < 2], 0.0),
        ]


def _group(name: str, params: Iterable[nn.Parameter], weight_decay: float) -> dict[str, Any]:
    return {"name": name, "params": list(params), "weight_decay": weight_decay}
