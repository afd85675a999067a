"""Do frozen features know the order of a video's clips? A linear classifier tries to tell it.

The features of three clips of a video, joined in a drawn order, go into logistic regression, which
has to name the order: the task of Xu et al. (VCOP, CVPR 2019) as a probe. A network that was taught
to ignore the order of frames should stay at chance, one in six.

Shape suffixes: V videos, N tuples (six a video), K orders, D dims.
"""

from itertools import permutations

import torch
from torch import Tensor
from torch.nn import functional as F

from cvrl.evaluation.features.extraction import Features
from cvrl.evaluation.protocols.linear import L2_GRID, Probe, linear_probe
from cvrl.utils.errors import UserError

CLIPS = 3
ORDERS = tuple(permutations(range(CLIPS)))


def order_tuples(features: Features) -> tuple[Tensor, Tensor, Tensor]:
    """Every order of the first, the middle and the last clip of each video.

    Args:
        features: three or more clips of each video.

    Returns:
        Joined features (N, 3 D), each clip's brought to length 1; the order's number (N,); the
        video's (N,). Videos whose three clips do not start at three times are left out, since
        their order cannot be told.

    Raises:
        UserError: fewer than three clips of a video, or no video long enough.

    Example:
        >>> start_N, index_N = torch.tensor([0.0, 1.0, 2.0]), torch.zeros(3, dtype=torch.long)
        >>> joined, order, _ = order_tuples(Features(torch.eye(3), index_N, start_N, start_N, 1))
        >>> joined.shape, order.tolist()
        (torch.Size([6, 9]), [0, 1, 2, 3, 4, 5])
    """
    unit_ND = F.normalize(features.vectors_ND.float(), dim=1)
    joined, orders, videos = [], [], []
    for video in range(features.n_listed):
        mine = torch.nonzero(features.index_N == video)[:, 0]
        if len(mine) < CLIPS:
            remedy = f"take {CLIPS} or more clips of each video"
            raise UserError("order probe", f"a video has {len(mine)} clips", remedy)
        mine = mine[features.start_N[mine].argsort()][[0, len(mine) // 2, -1]]
        if len(set(features.start_N[mine].tolist())) < CLIPS:
            continue
        for number, order in enumerate(ORDERS):
            joined.append(unit_ND[mine[list(order)]].flatten())
            orders.append(number)
            videos.append(video)
    if not joined:
        raise UserError(
            "order probe", "no video is long enough for three clips", "use shorter ones"
        )
    return torch.stack(joined), torch.tensor(orders), torch.tensor(videos)


def order_probe(
    train: Features, test: Features, train_groups_V: Tensor, *, seed: int = 0
) -> tuple[Probe, int]:
    """Fit the classifier on the training part's videos and score it on the test part's.

    Args:
        train: three or more clips of each video.
        test: the same.
        train_groups_V: source groups of the training videos; folds that choose the regularisation
            share none.
        seed: of the folds.

    Returns:
        The probe, and how many test videos were too short to be asked.
    """
    x_ND, order_N, video_N = order_tuples(train)
    test_ND, test_order_N, test_video_N = order_tuples(test)
    groups_N = train_groups_V[video_N]
    probe = linear_probe(
        x_ND,
        order_N,
        test_ND,
        test_order_N,
        train_groups_N=groups_N,
        l2_grid=L2_GRID[2:],  # few videos: weak regularisation only costs time
        n_classes=len(ORDERS),
        seed=seed,
    )
    return probe, test.n_listed - len(set(test_video_N.tolist()))
