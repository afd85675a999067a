"""Contrastive losses over embeddings, as plain functions of tensors.

Shape suffixes: B videos on this process, G videos on all processes, A anchors, K keys, D dims.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from cvrl.losses.masks import view_masks
from cvrl.utils import dist


def info_nce(
    z_a_BD: Tensor,
    z_b_BD: Tensor,
    temperature: float = 0.1,
    group_id: Tensor | None = None,
    z_negative_BD: Tensor | None = None,
) -> Tensor:
    r"""InfoNCE (NT-Xent) between two views of each video, in both directions.

    With the 2G clips of the global batch and their L2-normalised embeddings z, the loss of clip
    i, whose other view is clip j, is

    .. math:: l_{i,j} = -\log
        \frac{\exp(z_i \cdot z_j / \tau)}{\sum_{k \ne i} \exp(z_i \cdot z_k / \tau)}

    and the result is the mean of it over all 2G clips as anchors: SimCLR (Chen et al. 2020,
    equation 1) and CVRL (Qian et al. 2021, equation 1). Every other clip of the batch is a
    negative, of both views, except clips of the anchor's own group, which are left out of the
    denominator. CVRL's released code adds the two directions where this takes their mean, so its
    loss is twice this one.

    Under ``torch.distributed`` the rows are this process's share of the batch and the shares may
    differ in size. The value is then this process's part, scaled so that its mean over processes,
    and the mean of the gradients which DDP takes, are those of one process that holds the whole
    batch.

    The arithmetic is float32 (float64 for float64 input) under autocast too. An anchor without
    any negative (a single video, or a batch of one group) has loss 0 and gradient 0: it teaches
    nothing.

    Args:
        z_a_BD: embeddings of the first view, shape (B, D), any norm.
        z_b_BD: embeddings of the second view, shape (B, D); row i shows the same video as row i
            of z_a_BD.
        temperature: the softmax temperature, above 0; CVRL uses 0.1.
        group_id: source group of each video, integers of shape (B,). Negative means none.
        z_negative_BD: embeddings of something made of each video that does not belong with its
            views, such as the clip shuffled (IIC, arXiv 2008.02531): further negatives, of the
            video itself too.

    Returns:
        A scalar tensor.

    Raises:
        ValueError: for mismatched or empty shapes, or a temperature not above 0.
        FloatingPointError: for embeddings that are not finite. It is found after gathering, so
            every process raises it together.

    Example:
        >>> z = torch.eye(4)
        >>> round(info_nce(z, z, temperature=0.1).item(), 6)  # log(1 + 6 exp(-10))
        0.000272
    """
    _check_embeddings("z_a_BD and z_b_BD", z_a_BD, z_b_BD)
    if z_negative_BD is not None:
        _check_embeddings("z_a_BD and z_negative_BD", z_a_BD, z_negative_BD)
    _check_temperature(temperature)
    _check_groups(group_id, len(z_a_BD))
    with torch.autocast(z_a_BD.device.type, enabled=False):
        a_BD, b_BD = _unit(z_a_BD), _unit(z_b_BD)
        sets = [a_BD, b_BD] if z_negative_BD is None else [a_BD, b_BD, _unit(z_negative_BD)]
        joined_GE = dist.gather_with_grad(torch.cat(sets, dim=1))  # E = 2D or 3D: one collective
        keys_KD = torch.cat(joined_GE.chunk(len(sets), dim=1))
        _check_finite(keys_KD)
        logits_AK = torch.cat([a_BD, b_BD]) @ keys_KD.T / temperature
        positive_AK, negative_AK = _global_masks(a_BD, group_id)
        if z_negative_BD is not None:  # of other videos where views are negatives, and of one's own
            others_AG = negative_AK[:, : len(joined_GE)]
            own_AG = positive_AK.view(len(positive_AK), 2, -1).any(dim=1)
            negative_AK = torch.cat([negative_AK, others_AG | own_AG], dim=1)
            positive_AK = F.pad(positive_AK, (0, len(joined_GE)))
        logits_AK = logits_AK.masked_fill(~(positive_AK | negative_AK), float("-inf"))
        target_A = positive_AK.int().argmax(dim=1)  # each anchor has exactly one positive
        return dist.global_mean(F.cross_entropy(logits_AK, target_A, reduction="none"))


def query_info_nce(
    q_BD: Tensor,
    k_BD: Tensor,
    temperature: float = 0.1,
    group_id: Tensor | None = None,
    k_negative_BD: Tensor | None = None,
    has_negative_B: Tensor | None = None,
) -> Tensor:
    r"""InfoNCE of queries against keys, in this direction alone.

    .. math:: l_i = -\log \frac{\exp(q_i \cdot k_i / \tau)}{\sum_j \exp(q_i \cdot k_j / \tau)}

    averaged over the queries of the global batch (van den Oord et al., arXiv 1807.03748, eq. 4).
    Queries are compared with keys only, so the two may come from different networks, modalities or
    sizes of clip. Groups, processes and precision are treated as in :func:`info_nce`; the gradient
    reaches queries and keys.

    Args:
        q_BD: embeddings of the queries, any norm.
        k_BD: embeddings of the keys; row i is the positive of query i, the rows of other videos
            are its negatives.
        temperature: tau, above 0.
        group_id: source group of each video, integers of shape (B,). Negative means none.
        k_negative_BD: further negatives, one made of each video, and of the video itself too.
        has_negative_B: which rows of ``k_negative_BD`` count; None: all.

    Raises:
        ValueError, FloatingPointError: as for :func:`info_nce`.

    Example:
        >>> z = torch.eye(4)
        >>> round(query_info_nce(z, z, temperature=1.0).item(), 6)  # log(1 + 3 exp(-1))
        0.743668
    """
    sets = [k_BD] if k_negative_BD is None else [k_BD, k_negative_BD]
    _check_embeddings("queries and keys", q_BD, *sets)
    _check_temperature(temperature)
    _check_groups(group_id, len(q_BD))
    with torch.autocast(q_BD.device.type, enabled=False):
        unit_BD = _unit(q_BD)
        joined_GE = dist.gather_with_grad(torch.cat([_unit(z) for z in sets], dim=1))
        keys_KD = torch.cat(joined_GE.chunk(len(sets), dim=1))
        _check_finite(dist.gather(unit_BD.detach()))
        _check_finite(keys_KD)
        positive_BK, negative_BK = (
            mask_AK.chunk(2)[0].chunk(2, dim=1)[1] for mask_AK in _global_masks(unit_BD, group_id)
        )
        allowed = [positive_BK | negative_BK] * len(sets)
        if has_negative_B is not None:
            allowed[-1] = allowed[-1] & dist.gather(has_negative_B)
        logits_BK = unit_BD @ keys_KD.T / temperature
        logits_BK = logits_BK.masked_fill(~torch.cat(allowed, dim=1), float("-inf"))
        target_B = positive_BK.int().argmax(dim=1)
        return dist.global_mean(F.cross_entropy(logits_BK, target_B, reduction="none"))


def soft_info_nce(
    z_a_BD: Tensor,
    z_b_BD: Tensor,
    teacher_BE: Tensor,
    *,
    share: float = 0.5,
    temperature: float = 0.1,
    teacher_temperature: float = 0.1,
    group_id: Tensor | None = None,
) -> Tensor:
    r"""InfoNCE whose target is shared between the positive and clips that a teacher finds similar.

    With s the softmax over the negatives k of the teacher's cosine :math:`t_i \cdot t_k / \tau_t`,

    .. math:: l_i = -\sum_k w_{ik} \log
        \frac{\exp(z_i \cdot z_k / \tau)}{\sum_{m \ne i} \exp(z_i \cdot z_m / \tau)}, \quad
        w_{ik} = (1 - \lambda) 1_{k = j} + \lambda s_{ik}

    for the other view j of clip i: similarity contrastive estimation (SCE, Denize et al., arXiv
    2111.14585, eq. 7), with the similarities of a frozen teacher in place of a momentum encoder's.
    With ``share`` 0 it is :func:`info_nce`, whose treatment of groups, processes and precision it
    has.

    Args:
        z_a_BD: embeddings of the first view, any norm.
        z_b_BD: embeddings of the second view of the same videos.
        teacher_BE: the teacher's feature of each video, any norm. A row that is not finite has no
            similar clips, and its video's clips are similar to none.
        share: lambda, in [0, 1].
        temperature: tau, above 0.
        teacher_temperature: tau_t, above 0.
        group_id: source group of each video, integers of shape (B,). Negative means none.

    Raises:
        ValueError, FloatingPointError: as for :func:`info_nce`.

    Example:
        >>> z, teacher = torch.eye(4), torch.rand(4, 8)
        >>> hard = soft_info_nce(z, z, teacher, share=0.0)
        >>> torch.allclose(hard, info_nce(z, z))
        True
    """
    _check_embeddings("z_a_BD and z_b_BD", z_a_BD, z_b_BD)
    _check_temperature(temperature)
    _check_temperature(teacher_temperature)
    _check_groups(group_id, len(z_a_BD))
    with torch.autocast(z_a_BD.device.type, enabled=False):
        a_BD, b_BD = _unit(z_a_BD), _unit(z_b_BD)
        joined_GE = dist.gather_with_grad(torch.cat([a_BD, b_BD], dim=1))
        keys_KD = torch.cat(joined_GE.chunk(2, dim=1))
        _check_finite(keys_KD)
        positive_AK, negative_AK = _global_masks(a_BD, group_id)
        logits_AK = torch.cat([a_BD, b_BD]) @ keys_KD.T / temperature
        logits_AK = logits_AK.masked_fill(~(positive_AK | negative_AK), float("-inf"))
        log_p_AK = logits_AK.log_softmax(dim=1).masked_fill(~(positive_AK | negative_AK), 0.0)
        t_BE = _unit(teacher_BE)
        likeness_AK = (t_BE @ dist.gather(t_BE).T / teacher_temperature).repeat(2, 2)
        similar_AK = negative_AK & torch.isfinite(likeness_AK)
        soft_AK = likeness_AK.masked_fill(~similar_AK, float("-inf")).softmax(dim=1)
        soft_AK = share * torch.nan_to_num(soft_AK)  # an anchor without similar clips has none
        target_AK = soft_AK + positive_AK * (1 - soft_AK.sum(dim=1, keepdim=True))
        return dist.global_mean(-(target_AK * log_p_AK).sum(dim=1))


def nce_pair(
    anchor_BD: Tensor,
    positive_BD: Tensor,
    negative_BD: Tensor,
    temperature: float = 1.0,
    normalize: bool = False,
) -> Tensor:
    r"""Noise-contrastive estimation with one negative for each anchor.

    .. math:: -\log \frac{e^{f(x) \cdot f(x^+)}}{e^{f(x) \cdot f(x^+)} + e^{f(x) \cdot f(x^-)}}
        = \mathrm{softplus}\left(f(x) \cdot f(x^-) - f(x) \cdot f(x^+)\right)

    averaged over the global batch (Lu 2021, section 3). The softplus form neither overflows nor
    loses a small loss in rounding. Distributed, it is scaled as :func:`info_nce`.

    Args:
        anchor_BD: embeddings f(x), shape (B, D).
        positive_BD: embeddings f(x+) of what belongs with each anchor, shape (B, D).
        negative_BD: embeddings f(x-) of what does not, shape (B, D).
        temperature: the scores are divided by it; 1 is the equation above.
        normalize: L2-normalise the embeddings first, which makes the scores cosines.

    Raises:
        ValueError, FloatingPointError: as for :func:`info_nce`.

    Example:
        >>> x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> round(nce_pair(x, x, y).item(), 6)  # log(1 + exp(-1))
        0.313262
    """
    _check_embeddings("anchor_BD, positive_BD and negative_BD", anchor_BD, positive_BD, negative_BD)
    _check_temperature(temperature)
    with torch.autocast(anchor_BD.device.type, enabled=False):
        anchor_BD, positive_BD, negative_BD = (
            _unit(z) if normalize else z.to(_precision(z))
            for z in (anchor_BD, positive_BD, negative_BD)
        )
        score_B = (anchor_BD * (negative_BD - positive_BD)).sum(dim=1) / temperature
        _check_finite(dist.gather(score_B.detach()))
        return dist.global_mean(F.softplus(score_B))


def nce_pair_of_views(
    z_a_BD: Tensor,
    z_b_BD: Tensor,
    temperature: float = 0.1,
    group_id: Tensor | None = None,
) -> Tensor:
    """:func:`nce_pair` between two views of each video, in both directions, over cosines.

    The negative of a clip is the other view of the next video of the global batch that is not of
    its group; the last video is followed by the first. Since batches are drawn at random, so is the
    negative. A clip without any has loss 0 and gradient 0. Groups, processes and precision are as
    in :func:`info_nce`.

    Args:
        z_a_BD: embeddings of the first view, any norm.
        z_b_BD: embeddings of the second view of the same videos.
        temperature: the cosines are divided by it.
        group_id: source group of each video, integers of shape (B,). Negative means none.

    Raises:
        ValueError, FloatingPointError: as for :func:`info_nce`.

    Example:
        >>> z = torch.eye(2)
        >>> round(nce_pair_of_views(z, z, temperature=1.0).item(), 6)  # log(1 + exp(-1))
        0.313262
    """
    _check_embeddings("z_a_BD and z_b_BD", z_a_BD, z_b_BD)
    _check_temperature(temperature)
    _check_groups(group_id, len(z_a_BD))
    with torch.autocast(z_a_BD.device.type, enabled=False):
        a_BD, b_BD = _unit(z_a_BD), _unit(z_b_BD)
        joined_GE = dist.gather_with_grad(torch.cat([a_BD, b_BD], dim=1))
        _check_finite(joined_GE)
        a_GD, b_GD = joined_GE.chunk(2, dim=1)
        _, negative_AK = _global_masks(a_BD, group_id)
        is_negative_BG = negative_AK[: len(a_BD), : len(joined_GE)]  # of other videos and groups
        next_B, has_one_B = _next_negative(
            is_negative_BG, sum(dist.row_counts(a_BD)[: dist.rank()])
        )
        score_2B = torch.cat(
            [
                (a_BD * (b_GD[next_B] - b_BD)).sum(dim=1),
                (b_BD * (a_GD[next_B] - a_BD)).sum(dim=1),
            ]
        )
        loss_2B = F.softplus(score_2B / temperature).masked_fill(~has_one_B.repeat(2), 0.0)
        return dist.global_mean(loss_2B)


def _next_negative(is_negative_BG: Tensor, start: int) -> tuple[Tensor, Tensor]:
    """The next negative behind each row in the global batch, and whether there is one."""
    B, G = is_negative_BG.shape
    device = is_negative_BG.device
    row_B = torch.arange(start, start + B, device=device)
    order_BG = (row_B[:, None] + torch.arange(G, device=device)) % G
    ahead_BG = is_negative_BG.gather(1, order_BG)
    first_B = ahead_BG.int().argmax(dim=1)
    return order_BG.gather(1, first_B[:, None])[:, 0], ahead_BG.any(dim=1)


def _global_masks(a_BD: Tensor, group_id: Tensor | None) -> tuple[Tensor, Tensor]:
    """Masks of this process's 2B anchors (first views, then second) against the 2G keys."""
    counts = dist.row_counts(a_BD)
    start = sum(counts[: dist.rank()])
    here = slice(start, start + len(a_BD))
    video_G = torch.arange(sum(counts), device=a_BD.device)
    first_G = torch.zeros_like(video_G)
    video_A, video_K = video_G[here].repeat(2), video_G.repeat(2)
    view_A = torch.cat([first_G[here], first_G[here] + 1])
    view_K = torch.cat([first_G, first_G + 1])
    if group_id is None:
        return view_masks(video_A, view_A, video_K, view_K)
    group_G = dist.gather(group_id.to(a_BD.device))
    return view_masks(video_A, view_A, video_K, view_K, group_G[here].repeat(2), group_G.repeat(2))


def _precision(z: Tensor) -> torch.dtype:
    return torch.float64 if z.dtype == torch.float64 else torch.float32


def _unit(z_BD: Tensor) -> Tensor:
    return F.normalize(z_BD.to(_precision(z_BD)), dim=1)


def _check_embeddings(names: str, *embeddings: Tensor) -> None:
    shapes = [tuple(z.shape) for z in embeddings]
    if len(set(shapes)) != 1 or len(shapes[0]) != 2 or 0 in shapes[0]:
        raise ValueError(f"{names} must have one shape (B, D) with B, D > 0, got {shapes}")
    if not all(z.is_floating_point() for z in embeddings):
        raise ValueError(f"{names} must be floating point, got {[z.dtype for z in embeddings]}")


def _check_temperature(temperature: float) -> None:
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be a finite number above 0, got {temperature}")


def _check_groups(group_id: Tensor | None, batch: int) -> None:
    if group_id is None:
        return
    if group_id.shape != (batch,) or group_id.is_floating_point():
        raise ValueError(
            f"group_id must be integers of shape ({batch},), "
            f"got {group_id.dtype} of shape {tuple(group_id.shape)}"
        )


def _check_finite(values: Tensor) -> None:
    if not bool(torch.isfinite(values).all()):
        raise FloatingPointError(
            "embeddings are not finite (NaN or infinity): the network has diverged; "
            "lower the learning rate or clip the gradient"
        )
