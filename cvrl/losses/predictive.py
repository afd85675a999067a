"""The loss of predicting features: each prediction finds its feature among those of the batch.

Shape suffixes: B videos on this process, G videos on all processes, Q predictions a video (time
steps and places), D dims; A = B Q predictions, K = G Q candidates.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from cvrl.losses.masks import same_group
from cvrl.utils import dist


def prediction_scores(
    predicted_BQD: Tensor,
    target_BQD: Tensor,
    temperature: float = 1.0,
    normalize: bool = False,
    group_id: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Score every prediction against every feature that was to be predicted in the global batch.

    .. math:: s_{a,k} = \hat z_a \cdot z_k / \tau

    The candidates of a prediction are the Q features of its own video, at other steps and places,
    and those of all other videos. Other videos of its source group may show the very same scene and
    are ignored: their score is minus infinity.

    The arithmetic is float32 (float64 for float64 input) under autocast too. Gradients flow into
    the features of other processes as well.

    Args:
        predicted_BQD: predictions, shape (B, Q, D).
        target_BQD: row (b, q) is what row (b, q) of ``predicted_BQD`` should be.
        temperature: tau, above 0; 1 for the plain dot product.
        normalize: L2-normalise both first, which makes the scores cosines.
        group_id: source group of each video, integers of shape (B,). Negative means none.

    Returns:
        Scores (A, K), and for each prediction the column of its own feature (A,).

    Raises:
        ValueError: for mismatched shapes, or a temperature not above 0.
        FloatingPointError: for values that are not finite. They are found after gathering, so every
            process raises together.

    Example:
        >>> z_BQD = torch.eye(4).view(2, 2, 4)
        >>> scores, own = prediction_scores(z_BQD, z_BQD, group_id=torch.tensor([7, 7]))
        >>> scores[0].tolist(), own.tolist()
        ([1.0, 0.0, -inf, -inf], [0, 1, 2, 3])
    """
    if predicted_BQD.ndim != 3 or predicted_BQD.shape != target_BQD.shape:
        shapes = f"{tuple(predicted_BQD.shape)} and {tuple(target_BQD.shape)}"
        raise ValueError(f"predictions and targets must have one shape (B, Q, D), not {shapes}")
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be a finite number above 0, got {temperature}")
    B, Q, _ = target_BQD.shape
    with torch.autocast(predicted_BQD.device.type, enabled=False):
        predicted_AD, target_AD = _rows(predicted_BQD, normalize), _rows(target_BQD, normalize)
        candidate_KD = dist.gather_with_grad(target_AD)
        _check_finite(candidate_KD, predicted_AD)
        scores_AK = predicted_AD @ candidate_KD.T / temperature
    first = sum(dist.row_counts(target_BQD)[: dist.rank()])
    if group_id is not None:
        ignored_BG = _ignored(group_id.to(scores_AK.device), first)
        ignored_AK = ignored_BG.repeat_interleave(Q, dim=0).repeat_interleave(Q, dim=1)
        scores_AK = scores_AK.masked_fill(ignored_AK, float("-inf"))
    return scores_AK, first * Q + torch.arange(B * Q, device=scores_AK.device)


def prediction_nce(scores_AK: Tensor, own_A: Tensor) -> Tensor:
    r"""InfoNCE of predictions: CPC (arXiv 1807.03748, eq. 4), over places DPC (arXiv 1909.04656).

    .. math:: -\frac{1}{|A|} \sum_a \log \frac{\exp s_{a, own(a)}}{\sum_k \exp s_{a,k}}

    Under ``torch.distributed`` the value is this process's share (``dist.global_mean``): its mean
    over processes, and that of the gradients, are those of one process with the whole batch.

    Args:
        scores_AK: from :func:`prediction_scores`.
        own_A: likewise.

    Example:
        >>> round(prediction_nce(torch.zeros(2, 4), torch.tensor([0, 1])).item(), 4)  # log 4
        1.3863
    """
    return dist.global_mean(F.cross_entropy(scores_AK, own_A, reduction="none"))


@torch.no_grad()
def prediction_top1(scores_AK: Tensor, own_A: Tensor) -> Tensor:
    """The share of this process's predictions whose best candidate is their own, in [0, 1].

    Example:
        >>> float(prediction_top1(torch.eye(4), torch.tensor([0, 1, 0, 0])))
        0.5
    """
    return (scores_AK.argmax(dim=1) == own_A).float().mean()


@torch.no_grad()
def chance(scores_AK: Tensor) -> Tensor:
    """What :func:`prediction_top1` of guessing would be: 1 over the number of candidates.

    Example:
        >>> float(chance(torch.zeros(3, 8)))
        0.125
    """
    return (scores_AK > float("-inf")).sum(dim=1).float().reciprocal().mean()


def _rows(z_BQD: Tensor, normalize: bool) -> Tensor:
    z_AD = z_BQD.flatten(0, 1)
    z_AD = z_AD.to(torch.float64 if z_AD.dtype == torch.float64 else torch.float32)
    return F.normalize(z_AD, dim=1) if normalize else z_AD


def _ignored(group_B: Tensor, first: int) -> Tensor:
    """(B, G): other videos of the same group."""
    ignored_BG = same_group(group_B, dist.gather(group_B))
    rows = torch.arange(len(group_B), device=group_B.device)
    ignored_BG[rows, first + rows] = False
    return ignored_BG


def _check_finite(*values: Tensor) -> None:
    finite = torch.stack([torch.isfinite(value).all() for value in values]).all()
    if float(dist.average(finite.float())) < 1:
        raise FloatingPointError(
            "features or predictions are not finite (NaN or infinity): the network has diverged; "
            "lower the learning rate or clip the gradient"
        )
