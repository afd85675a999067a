"""A trained encoder with its classifier: what names the action in a clip.

Shapes: B clips, K classes; C, T, H, W of a clip.
"""

from torch import Tensor, nn

from cvrl.models.backbones import Encoder
from cvrl.models.heads import ClassHead


class Classifier(nn.Module):
    """An encoder and the classifier on its feature: probabilities of named classes.

    :func:`cvrl.pretrained.load_classifier` makes it from a run.

    Args:
        encoder: as ``load_encoder`` gives it, with ``preprocess``, ``clip`` and ``size``.
        head: the classifier on its feature, with ``class_names`` and ``multi_label``.

    Example:
        >>> import torch
        >>> from cvrl.models.backbones import build_encoder
        >>> encoder = build_encoder("r3d_small", width=4)
        >>> classifier = Classifier(encoder, ClassHead(encoder.dim, ["run", "jump"])).eval()
        >>> classifier(torch.zeros(3, 3, 8, 32, 32)).shape
        torch.Size([3, 2])
    """

    def __init__(self, encoder: Encoder, head: ClassHead) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    @property
    def class_names(self) -> list[str]:
        """K names, in the order of the probabilities."""
        return self.head.class_names

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """Probabilities (B, K) of preprocessed clips; rows sum to 1, but for multi-label heads."""
        return self.head.probabilities(self.encoder(clips_BCTHW))
