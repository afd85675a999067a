"""A weighted sum of methods over one encoder and one visit to each video.

Paper: Tao, Wang and Yamasaki, "Pretext-Contrastive Learning" (arXiv 2010.15464), sec. 3: the loss
is the weighted sum of a pretext task's and a contrastive one's, L = sum_p w_p L_p.

Deviations: each part has clips of its own, of the same visit, where their tasks share the clips.

Shapes: B videos on this rank, V clips of a video.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from cvrl.data.dataset import Batch
from cvrl.models.backbones import Encoder
from cvrl.task import Task
from cvrl.utils.errors import UserError


class Joint(Task):
    """Every part's loss on its own clips, weighted and summed.

    Args:
        encoder: what the parts share.
        parts: methods by the names their views have.
        clips_of: how many clips each part's views give, in the order they stand in.
        weights: w of the parts that do not count 1.

    Raises:
        UserError: views without a method, or a weight for no part.

    Example:
        >>> from cvrl.methods.simclr import SimCLR
        >>> from cvrl.models.backbones import build_encoder
        >>> encoder = build_encoder("r3d_small")
        >>> Joint(encoder, parts={"pair": SimCLR(encoder)}, clips_of={"pair": 2}).weights
        {'pair': 1.0}
    """

    accepts = frozenset({"joint"})

    def __init__(
        self,
        encoder: Encoder,
        *,
        parts: Mapping[str, Task],
        clips_of: Mapping[str, int],
        weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        weights = weights or {}
        for name in [*clips_of, *weights]:
            if name not in parts:
                raise UserError(
                    f"method.parts.{name}", "is missing", f"set method.parts.{name}.name"
                )
        self.encoder = encoder
        self.parts = nn.ModuleDict(parts)
        self.clips_of = dict(clips_of)
        self.weights = {name: float(weights.get(name, 1.0)) for name in parts}
        self.needs_labels = any(part.needs_labels for part in parts.values())
        self.needs_negatives = any(part.needs_negatives for part in parts.values())
        heads = [part.projector for part in parts.values() if part.projector is not None]
        self.projector = heads[0] if heads else None

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The sum, and what every part reports under its name."""
        losses: dict[str, Tensor] = {}
        terms, first = [], 0
        for name, clips in self.clips_of.items():
            found = self.parts[name](_share(batch, slice(first, first + clips)))
            first += clips
            terms.append(self.weights[name] * found["loss"])
            if "embedding_ND" in found:
                losses.setdefault("embedding_ND", found["embedding_ND"])
            losses |= {f"{name}/{key}": v for key, v in found.items() if key != "embedding_ND"}
        return losses | {"loss": torch.stack(terms).sum()}

    def before_step(self) -> None:
        """Every part's."""
        for part in self._tasks():
            part.before_step()

    def after_step(self, step: int) -> None:
        """Every part's."""
        for part in self._tasks():
            part.after_step(step)

    def is_ready(self) -> bool:
        """Whether every part is."""
        return all(part.is_ready() for part in self._tasks())

    def _tasks(self) -> list[Task]:
        return [part for part in self.parts.values() if isinstance(part, Task)]


def _share(batch: Batch, mine: slice) -> Batch:
    return replace(
        batch,
        clips_BVCTHW=batch.clips_BVCTHW[:, mine],
        time_BV=batch.time_BV[:, mine],
        order_BV=batch.order_BV[:, mine],
    )


METHOD = Joint
