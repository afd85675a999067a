"""Metric losses over clips of known times: n-pairs and semi-hard triplets.

Who belongs with whom is said by two boolean masks, positive and negative, of this process's N clips
against the K clips of all processes; a clip in neither is left out. Distributed, a loss is scaled
as :func:`cvrl.losses.contrastive.info_nce`.

Shape suffixes: N clips on this process, K clips on all, P pairs of anchor and positive, D dims.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from cvrl.losses.masks import same_group
from cvrl.utils import dist


def n_pairs(
    z_ND: Tensor,
    positive_NK: Tensor,
    negative_NK: Tensor,
    *,
    temperature: float = 1.0,
    norm_weight: float = 0.0,
    normalize: bool = False,
) -> Tensor:
    r"""N-pairs loss (Sohn, NeurIPS 2016) with soft targets.

    For anchor i with positives P and negatives N, and scores s_ik = z_i . z_k / temperature,

    .. math:: l_i = \log \sum_{k \in P \cup N} e^{s_{ik}} - \frac{1}{|P|} \sum_{p \in P} s_{ip}

    averaged over the anchors that have both. Scores are plain products unless ``normalize``, so the
    mean of ||z||^2 over all clips, times ``norm_weight``, is added, which keeps them from growing.

    Args:
        z_ND: embeddings, shape (N, D).
        positive_NK: who belongs with each clip, boolean (N, K).
        negative_NK: who is to be told from it, boolean (N, K).
        temperature: the scores are divided by it, above 0.
        norm_weight: of the mean squared norm, at least 0.
        normalize: L2-normalise first, which makes the scores cosines.

    Raises:
        ValueError: masks of another shape than N clips here against K on all processes.
        FloatingPointError: embeddings that are not finite.

    Example:
        >>> z, own = torch.eye(2).repeat(2, 1), torch.eye(4, dtype=torch.bool)
        >>> positive = own.roll(2, dims=0)
        >>> round(n_pairs(z, positive, ~own & ~positive).item(), 6)  # log(e + 2) - 1
        0.551445
    """
    with torch.autocast(z_ND.device.type, enabled=False):
        z_ND = F.normalize(_precise(z_ND), dim=1) if normalize else _precise(z_ND)
        key_KD = _gathered(z_ND, positive_NK, negative_NK)
        valid_N = positive_NK.any(dim=1) & negative_NK.any(dim=1)
        positive_AK, negative_AK = positive_NK[valid_N], negative_NK[valid_N]
        score_AK = z_ND[valid_N] @ key_KD.T / temperature
        all_A = score_AK.masked_fill(~(positive_AK | negative_AK), -torch.inf).logsumexp(dim=1)
        own_A = (score_AK * positive_AK).sum(dim=1) / positive_AK.sum(dim=1)
        return dist.global_mean(all_A - own_A) + norm_weight * dist.global_mean(
            z_ND.square().sum(dim=1)
        )


def semi_hard_triplet(
    z_ND: Tensor, positive_NK: Tensor, negative_NK: Tensor, *, margin: float = 0.2
) -> Tensor:
    r"""Triplet loss with semi-hard negatives (FaceNet, arXiv 1503.03832).

    With squared distances D of L2-normalised embeddings, the negative n of a pair (a, p) is the
    nearest one that is farther than p, D_an > D_ap; where there is none, the farthest. The loss is
    the mean of max(0, margin + D_ap - D_an) over all pairs, those of loss 0 too. Anchors without a
    negative are left out (TensorFlow's function gives them margin + D_ap).

    Args:
        z_ND: embeddings of any norm, shape (N, D).
        positive_NK: who belongs with each clip, boolean (N, K).
        negative_NK: who is to be told from it, boolean (N, K).
        margin: of squared distances, which lie in [0, 4].

    Raises:
        ValueError, FloatingPointError: as for :func:`n_pairs`.

    Example:
        >>> z, own = torch.eye(2).repeat(2, 1), torch.eye(4, dtype=torch.bool)
        >>> positive = own.roll(2, dims=0)
        >>> semi_hard_triplet(z, positive, ~own & ~positive, margin=2.5).item()  # 2.5 + 0 - 2
        0.5
    """
    with torch.autocast(z_ND.device.type, enabled=False):
        z_ND = F.normalize(_precise(z_ND), dim=1)
        distance_NK = 2 - 2 * z_ND @ _gathered(z_ND, positive_NK, negative_NK).T
        a_P, p_P = (positive_NK & negative_NK.any(dim=1, keepdim=True)).nonzero(as_tuple=True)
        near_P, row_PK, negative_PK = distance_NK[a_P, p_P], distance_NK[a_P], negative_NK[a_P]
        farther_PK = negative_PK & (row_PK > near_P[:, None])
        semi_hard_P = row_PK.masked_fill(~farther_PK, torch.inf).amin(dim=1)
        farthest_P = row_PK.masked_fill(~negative_PK, -torch.inf).amax(dim=1)
        far_P = torch.where(farther_PK.any(dim=1), semi_hard_P, farthest_P)
        return dist.global_mean(F.relu(margin + near_P - far_P))


def time_masks(
    video_N: Tensor,
    time_N: Tensor,
    group_N: Tensor,
    *,
    near: float,
    far: float,
    other_videos: bool = False,
) -> tuple[Tensor, Tensor]:
    """Say which clips are near a clip in time, and which are far from it.

    Args:
        video_N: which video, or event, each clip is from, integers (N,). With its time it names
            what a clip shows; equal times of different videos are nothing alike.
        time_N: its start in seconds.
        group_N: its source group, negative for none.
        near: at most so many seconds apart is near.
        far: more than so many seconds apart is far.
        other_videos: whether all clips of other groups are far, too.

    Returns:
        Two boolean tensors (N, K) of this process's clips against all: near, and far. No clip is
        near itself.

    Example:
        >>> video, time = torch.zeros(4, dtype=torch.long), torch.tensor([0.0, 0.1, 0.2, 0.5])
        >>> near, far = time_masks(video, time, video, near=0.1, far=0.2)
        >>> near[0].tolist(), far[0].tolist()
        ([False, True, False, False], [False, False, False, True])
    """
    video_K, time_K, group_K = dist.gather(video_N), dist.gather(time_N), dist.gather(group_N)
    apart_NK = (time_N[:, None] - time_K[None]).abs()
    same_NK = video_N[:, None] == video_K[None]
    itself_NK = places_of(video_N)[:, None] == torch.arange(len(video_K), device=video_N.device)
    rounding = 1e-6  # seconds: frames a radius apart are not pushed over it
    near_NK = same_NK & ~itself_NK & (apart_NK <= near + rounding)
    far_NK = same_NK & (apart_NK > far + rounding)
    if other_videos:
        far_NK |= ~same_NK & ~same_group(group_N, group_K)
    return near_NK, far_NK


def places_of(rows_ND: Tensor) -> Tensor:
    """The places of this process's rows among those of all processes, integers (N,).

    Example:
        >>> places_of(torch.zeros(3, 2)).tolist()
        [0, 1, 2]
    """
    first = sum(dist.row_counts(rows_ND)[: dist.rank()])
    return first + torch.arange(len(rows_ND), device=rows_ND.device)


def _precise(z: Tensor) -> Tensor:
    return z if z.dtype == torch.float64 else z.float()


def _gathered(z_ND: Tensor, *masks_NK: Tensor) -> Tensor:
    """The embeddings of all processes, checked on each alike."""
    key_KD = dist.gather_with_grad(z_ND)
    expected = (len(z_ND), len(key_KD))
    if any(mask.shape != expected or mask.dtype != torch.bool for mask in masks_NK):
        shapes = [(mask.dtype, tuple(mask.shape)) for mask in masks_NK]
        raise ValueError(f"the masks must be boolean of shape {expected}, got {shapes}")
    if not bool(torch.isfinite(key_KD).all()):
        raise FloatingPointError(
            "embeddings are not finite (NaN or infinity): the network has diverged; "
            "lower the learning rate or clip the gradient"
        )
    return key_KD
