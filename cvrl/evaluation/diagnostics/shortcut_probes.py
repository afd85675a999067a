"""Can a pretext label be told without looking at what moves? Tiny probes on cheap facts try to.

Noroozi and Favaro (arXiv 1603.09246) and Doersch et al. (arXiv 1505.05192) found that networks
solve puzzles by what the puzzle's making leaves behind, and then learn nothing else. Each function
here measures one such trace on the clips of a visit, as the network gets them; :func:`probe` is a
linear classifier that tries to tell the label from it, in videos of groups it has not seen.

Colour and seams are measured as they are. Borders and shape are measured so that what a scene looks
like cancels, since that is what a task may use: sky above ground tells a turned clip rightly.

Shapes: R rows (one label each), V clips of a row, C channels, T frames, H W pixels, D features, P
pieces of a clip, K key frames, G groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from cvrl.data.view_base import Box
from cvrl.utils.errors import UserError
from cvrl.utils.seed import numpy_rng

Ints = NDArray[np.int64]

SIGMAS = 3.0  # above chance by more is reported
L2 = 1e-2  # on standardised features: enough to keep a few hundred of them in check
STRIPS = (32, 16)  # a border strip is one pixel wide, or the side over one of these; wider is scene
TINY = 1e-8
DIM = 1e-3  # a difference in brightness that nothing can be told from


def colour(clips_RVCTHW: Tensor) -> Tensor:
    """Mean of each channel of each clip.

    Returns:
        (R, V C).

    Example:
        >>> colour(torch.ones(5, 2, 3, 8, 16, 16)).shape
        torch.Size([5, 6])
    """
    return clips_RVCTHW.mean(dim=(-3, -2, -1)).flatten(1)


def border(clips_RVCTHW: Tensor) -> Tensor:
    """How suddenly brightness changes beside each side of each clip.

    Three strips lie side by side along a side of the picture; the feature is the outermost minus
    twice the middle one plus the inner one. A bar, a frame or a bright line gives it away, at one
    of several widths; light that falls off evenly across the picture, as from sky to ground, does
    not. Other than the plain brightness of a border, it is near 0 for a border like its inside.

    Returns:
        (R, V 4 S), of S widths the sides top, bottom, left and right.

    Example:
        >>> ramp = torch.arange(16.0).expand(1, 1, 3, 8, 16, 16)
        >>> border(ramp).abs().max().item()
        0.0
    """
    still_RVHW = clips_RVCTHW.mean(dim=(2, 3))
    found = []
    for line_RVL in (still_RVHW.mean(dim=-1), still_RVHW.mean(dim=-2)):
        side = line_RVL.shape[-1]
        for w in sorted({1, *(side // part for part in STRIPS)} - {0}):
            for inward in (line_RVL, line_RVL.flip(-1)):
                outer, middle, inner = (inward[..., i * w : (i + 1) * w].mean(-1) for i in range(3))
                found.append(outer - 2 * middle + inner)
    return torch.stack(found, dim=-1).flatten(1)


def shape(clips_RVCTHW: Tensor, aspect_R: Tensor) -> Tensor:
    """How much finer detail is from left to right than from top to bottom.

    A picture that was stretched along one axis is smoother along it. How fast brightness goes up
    and down along an axis is the energy of its second differences over that of its first ones, a
    mean squared frequency; how strong the lines of a scene are, and how many go which way, is in
    both energies and cancels. The feature is the logarithm of the ratio of the two axes.

    Args:
        clips_RVCTHW: the clips.
        aspect_R: width over height of the videos they come from.

    Returns:
        (R, V + 1), the last one the logarithm of ``aspect_R``.

    Example:
        >>> noise = torch.rand(1, 1, 3, 8, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> wide = noise.repeat_interleave(2, dim=-1)
        >>> plain, stretched = (shape(x, torch.ones(1))[0, 0].item() for x in (noise, wide))
        >>> abs(plain) < 0.05, stretched < -0.3
        (True, True)
    """
    across_RV, down_RV = (_frequency(clips_RVCTHW, dim) for dim in (-1, -2))
    return torch.cat([(across_RV / down_RV).log(), aspect_R[:, None].log()], dim=1)


def _frequency(clips_RVCTHW: Tensor, dim: int) -> Tensor:
    """Mean squared frequency along an axis, (R, V)."""
    energies = (clips_RVCTHW.diff(n=n, dim=dim).square().mean(dim=(2, 3, 4, 5)) for n in (2, 1))
    second, first = (energy + TINY for energy in energies)
    return second / first


def gop_position(frames_VT: Ints, keys_K: Ints | None) -> Tensor:
    """Where the clips of one row lie between the key frames of their video.

    Of each clip: the phase of its first frame in its group of pictures, as sine and cosine; whether
    its first frame is a key frame, whether any is, which one, and the share that is. Of each two
    clips: the difference of their phases, likewise. The phase is 0 0 in a video with one key frame:
    there it would tell the time, and only frame 0 stands out.

    Args:
        frames_VT: stored frames the clips show.
        keys_K: key frames of the video; None or empty where there are none to tell.

    Returns:
        (6 V + V (V - 1),).

    Example:
        >>> gop_position(np.array([[6, 8, 12, 14]]), np.array([0, 12, 24])).tolist()[2:]
        [0.0, 1.0, 0.5, 0.25]
    """
    keys = np.empty(0, np.int64) if keys_K is None else keys_K
    key_VT = np.isin(frames_VT, keys)
    first_V = frames_VT[:, 0]
    angle_V = np.zeros(len(frames_VT))
    if len(keys) > 1:
        before_V = keys[np.maximum(np.searchsorted(keys, first_V, side="right") - 1, 0)]
        angle_V = 2 * np.pi * (first_V - before_V) / np.median(np.diff(keys))
    has_phase = float(len(keys) > 1)

    def circle(angle: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        return [np.sin(angle) * has_phase, np.cos(angle) * has_phase]

    where_V = key_VT.argmax(axis=1) / key_VT.shape[1]
    own = [*circle(angle_V), key_VT[:, 0], key_VT.any(axis=1), where_V, key_VT.mean(axis=1)]
    apart = np.array([angle_V[i] - angle_V[j] for i, j in combinations(range(len(angle_V)), 2)])
    parts = [np.stack(own, axis=1).ravel(), *circle(apart)]
    return torch.from_numpy(np.concatenate(parts)).float()


def seams(clips_RVCTHW: Tensor, pieces: Sequence[Box] = ()) -> Tensor:
    """How well things would fit at every seam there could be.

    Of clips shown together: the mean absolute difference between the last frame of one and the
    first frame of another, in both directions. Of the pieces of a clip: which way round two of them
    fit better, see :func:`_fits`.

    Args:
        clips_RVCTHW: the clips.
        pieces: of which each clip is made; of one size.

    Returns:
        (R, V (V - 1) + V A P (P - 1)) for A axes; no columns where there is no seam.

    Example:
        >>> seams(torch.zeros(5, 3, 3, 8, 16, 16)).shape
        torch.Size([5, 6])
    """
    V = clips_RVCTHW.shape[1]
    found = [
        (clips_RVCTHW[:, i, :, -1] - clips_RVCTHW[:, j, :, 0]).abs().mean(dim=(1, 2, 3))
        for i, j in permutations(range(V), 2)
    ]
    tiles = [clips_RVCTHW[(..., *piece)] for piece in pieces]
    for axis in range(3):
        if len({piece[axis].start for piece in pieces}) > 1:
            found.extend(_fits(tiles, axis))
    return torch.stack(found, dim=1) if found else clips_RVCTHW.new_empty(len(clips_RVCTHW), 0)


def _fits(tiles: Sequence[Tensor], axis: int) -> Tensor:
    """Of each two tiles, along an axis of T, H, W: do they fit better as they are or swapped?

    Lines: how much nearer two faces are than when one of them is turned round, as the logarithm of
    the ratio of their mean absolute differences; how flat or busy the tiles are cancels in it.
    Light: the logarithm of how different the faces' mean values are. Both are taken for the one
    tile before the other and, subtracted, for the other before the one. So what the tiles show, as
    that both are of the ground, cancels too, which a task may use; that one runs on in the other
    remains. (The plain differences of faces tell the permutation of real tiles almost as well when
    they are taken between faces that never met.)

    Returns:
        (V P (P - 1), R), half of it lines, half light.
    """
    far_RVPCab, near_RVPCab = (
        torch.stack([tile.select(axis - 3, edge) for tile in tiles], dim=2) for edge in (-1, 0)
    )
    turned_RVPCab = near_RVPCab.flip((-2, -1) if axis == 0 else (-1,))
    apart_RVPP, apart_turned_RVPP = (
        torch.cdist(far_RVPCab.flatten(3), near.flatten(3), p=1)
        for near in (near_RVPCab, turned_RVPCab)
    )
    far_RVPC, near_RVPC = (face.mean(dim=(-2, -1)) for face in (far_RVPCab, near_RVPCab))
    lines_RVPP = ((apart_RVPP + TINY) / (apart_turned_RVPP + TINY)).log()
    light_RVPP = (torch.cdist(far_RVPC, near_RVPC, p=1) + DIM).log()
    first, second = torch.triu_indices(len(tiles), len(tiles), offset=1)
    swapped = (fit - fit.mT for fit in (lines_RVPP, light_RVPP))
    return torch.cat([fit[..., first, second].flatten(1).T for fit in swapped])


@dataclass(frozen=True)
class Verdict:
    """What a probe could tell.

    Attributes:
        rows: N, labels it was asked for.
        accuracy: share that it told.
        chance: share it would have told had its answers been dealt out among the rows anew. One in
            so many classes where classes are equally frequent, and the share of the commonest for
            a probe that always names it.

    Example:
        >>> Verdict(rows=900, accuracy=0.56, chance=0.5).reported
        True
    """

    rows: int
    accuracy: float
    chance: float

    @property
    def z(self) -> float:
        """Standard deviations above chance, sqrt(p (1 - p) / N) each.

        Several rows of a video are not independent pictures. But a label is drawn for every row, so
        under chance the answers are right or wrong independently of each other, whatever they look
        at. (The four turns of one clip are drawn without repeats; that moves it by 15 % at most.)
        """
        spread = float(np.sqrt(self.chance * (1 - self.chance) / self.rows))
        return (self.accuracy - self.chance) / spread if spread else 0.0

    @property
    def reported(self) -> bool:
        """Whether that is more than chance makes likely."""
        return self.z > SIGMAS


def probe(x_RD: Tensor, label_R: Tensor, group_R: Tensor, *, seed: int = 0) -> Verdict:
    """Learn to tell the label on half of the groups, and try on the others.

    Args:
        x_RD: one trace, from the functions above.
        label_R: pretext labels.
        group_R: source group of each row's video.
        seed: of the halves.

    Raises:
        UserError: fewer than two groups, or fewer than two classes to learn.

    Example:
        >>> label = torch.arange(400) % 2
        >>> probe(label[:, None].float(), label, torch.arange(400) // 4).accuracy
        1.0
    """
    groups_G = np.unique(group_R.numpy())
    learnt_G = numpy_rng(seed, len(groups_G)).permutation(groups_G)[: len(groups_G) // 2]
    learn_R = np.isin(group_R.numpy(), learnt_G)
    x, y = x_RD.double().numpy(), label_R.numpy()
    if len(np.unique(y[learn_R])) < 2 or learn_R.all():
        reason = f"too few to learn from: {len(groups_G)} groups, {len(y)} labels"
        raise UserError("audit", reason, "add videos of other groups, or raise rows")
    model = LogisticRegression(C=1 / (int(learn_R.sum()) * L2), max_iter=1000)
    pipeline = make_pipeline(StandardScaler(), model).fit(x[learn_R], y[learn_R])
    said, right = pipeline.predict(x[~learn_R]), y[~learn_R]
    chance = sum((said == k).mean() * (right == k).mean() for k in np.unique(y))
    return Verdict(len(right), float((said == right).mean()), float(chance))
