"""What clips show: exact orders, untouched pixels, and the same draws wherever they are made."""

import multiprocessing

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cvrl.data.clips import ClipSpec
from cvrl.data.dataset import EvalDataset
from cvrl.data.loader import eval_loader
from cvrl.data.manifest import read_manifest
from cvrl.data.perturbations import (
    PERTURBATIONS,
    Perturbation,
    blurred,
    check_perturbations,
    frame_order,
    moving,
    rearrange,
    repaint,
)
from cvrl.transforms import recipes
from cvrl.utils.errors import UserError

SPEC = ClipSpec(frames=8, stride=2)


def scene(frames: int = 9, side: int = 64, *, pan: int = 0) -> Tensor:
    """A square crossing a fine texture, which pans by so many pixels a frame: (1, 3, T, H, W)."""
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 200, (side, side + pan * frames, 3), dtype=np.uint8)
    clip = np.stack([wide[:, pan * t : pan * t + side] for t in range(frames)])
    for t in range(frames):
        clip[t, 28:36, 6 * t : 6 * t + 8] = 255
    return torch.from_numpy(clip).permute(3, 0, 1, 2)[None]


class TestOrder:
    @given(frames=st.integers(2, 40), seed=st.integers(0, 2**32), clip=st.integers(0, 99))
    def test_a_shuffle_is_a_permutation_that_leaves_nothing_in_place(
        self, frames: int, seed: int, clip: int
    ) -> None:
        order = frame_order("shuffled", frames, seed, clip)
        assert sorted(order) == list(range(frames))
        assert (order != np.arange(frames)).all()
        assert (order == frame_order("shuffled", frames, seed, clip)).all()

    def test_every_derangement_of_four_is_drawn_alike(self) -> None:
        drawn = [tuple(frame_order("shuffled", 4, seed)) for seed in range(1800)]
        counts = {order: drawn.count(order) for order in set(drawn)}
        assert len(counts) == 9  # !4
        assert all(130 < count < 270 for count in counts.values())

    @given(ticks=st.lists(st.integers(0, 999), min_size=1, max_size=30))
    def test_reversed_twice_is_as_it_was(self, ticks: list[int]) -> None:
        once = rearrange(np.array([ticks]), ["reversed"])
        assert once[0].tolist() == ticks[::-1]
        assert rearrange(once, ["reversed"])[0].tolist() == ticks

    def test_still_repeats_the_middle_frame(self) -> None:
        assert rearrange(np.array([[3, 5, 7, 9], [1, 2, 3, 4]]), ["still"]).tolist() == [
            [7] * 4,
            [3] * 4,
        ]

    def test_clips_of_one_video_are_shuffled_each_in_its_own_way(self) -> None:
        ticks = np.tile(np.arange(12), (3, 1))
        shuffled = rearrange(ticks, ["shuffled"], 0, 5)
        assert len({tuple(row) for row in shuffled}) == 3
        assert (shuffled == rearrange(ticks, ["shuffled"], 0, 5)).all()
        assert (shuffled != rearrange(ticks, ["shuffled"], 1, 5)).any()
        assert (shuffled != rearrange(ticks, ["shuffled"], 0, 6)).any()

    def test_one_frame_cannot_be_shuffled(self) -> None:
        assert frame_order("shuffled", 1, 0).tolist() == [0]

    @pytest.mark.parametrize("show", ["plain", "background_blurred", "foreground_blurred"])
    def test_the_others_keep_the_order(self, show: Perturbation) -> None:
        assert frame_order(show, 5, 0).tolist() == [0, 1, 2, 3, 4]

    @pytest.mark.parametrize(
        ("asked", "said"),
        [(["stil"], "--perturb stil: is no perturbation"), ([], "--perturb: names none")],
    )
    def test_unknown_names_are_refused(self, asked: list[str], said: str) -> None:
        with pytest.raises(UserError, match=f"{said}; use plain, still"):
            check_perturbations(asked)


class TestBlur:
    def test_what_moves_is_kept_bit_for_bit(self) -> None:
        clip = scene()
        mask = moving(clip).expand_as(clip)
        shown = repaint(clip, ["background_blurred"])
        assert torch.equal(shown[mask], clip[mask])
        assert torch.equal(shown[~mask], blurred(clip)[~mask])
        assert shown[~mask].float().std() < 0.3 * clip[~mask].float().std()

    def test_the_other_way_round(self) -> None:
        clip = scene()
        mask = moving(clip).expand_as(clip)
        shown = repaint(clip, ["foreground_blurred"])
        assert torch.equal(shown[~mask], clip[~mask])
        assert torch.equal(shown[mask], blurred(clip)[mask])

    def test_the_mask_holds_the_mover_and_little_else(self) -> None:
        mask = moving(scene())[0, 0]
        for t, mask_HW in enumerate(mask):
            assert mask_HW[28:36, 6 * t : 6 * t + 8].all()
        assert mask.float().mean() < 0.1

    def test_a_panning_camera_moves_everything(self) -> None:
        assert moving(scene(pan=3)).float().mean() > 0.95

    def test_where_nothing_moves_all_is_blurred_and_stays_still(self) -> None:
        still = scene()[:, :, :1].expand(-1, -1, 6, -1, -1)
        shown = repaint(still, ["background_blurred"])
        assert not moving(still).any()
        assert torch.equal(shown, shown[:, :, :1].expand_as(shown))
        assert torch.equal(repaint(still, ["foreground_blurred"]), still)

    @pytest.mark.parametrize("frames", [1, 2, 7, 8])
    def test_the_background_is_the_median(self, frames: int) -> None:
        clip = torch.randint(0, 256, (2, 3, frames, 6, 5), dtype=torch.uint8)
        median = clip.median(dim=2, keepdim=True).values
        far = ((clip.int() - median.int()).abs() > 20).any(dim=1, keepdim=True)
        assert moving(clip)[far].all()
        near = torch.nn.functional.max_pool2d(far[:, 0].float(), 5, 1, 2) > 0
        assert torch.equal(moving(clip)[:, 0], near)

    def test_the_blur_is_a_wide_gaussian(self) -> None:
        """Against a direct sum over a step edge, which falls off as the error function does."""
        step = torch.zeros(1, 3, 1, 160, 160, dtype=torch.uint8)
        step[..., 80:] = 200
        across = blurred(step)[0, 0, 0, 80].float()
        x = torch.arange(160) - 79.5
        expected = 100 * (1 + torch.erf(x / (16 * 2**0.5)))
        inner = slice(20, 140)
        assert (across[inner] - expected[inner]).abs().max() < 4

    @pytest.mark.parametrize("size", [(1, 1), (5, 300), (37, 41), (240, 320)])
    def test_odd_sizes(self, size: tuple[int, int]) -> None:
        clip = torch.randint(0, 256, (1, 3, 3, *size), dtype=torch.uint8)
        for show in ("background_blurred", "foreground_blurred"):
            assert repaint(clip, [show]).shape == clip.shape

    def test_several_shows_are_those_of_each_alone(self) -> None:
        clip = scene().repeat(2, 1, 1, 1, 1)
        shows: list[Perturbation] = ["plain", "background_blurred", "foreground_blurred"]
        together = repaint(torch.cat([clip] * 3), shows)
        alone = torch.cat([repaint(clip, [show]) for show in shows])
        assert torch.equal(together, alone)


class TestDataset:
    def dataset(self, folder: object, *shows: Perturbation, seed: int = 0) -> EvalDataset:
        how = {"perturbations": shows or PERTURBATIONS, "seed": seed}
        return EvalDataset(read_manifest(str(folder)), SPEC, 2, recipes.evaluation(32), **how)

    def test_all_shows_of_one_decode_are_those_of_each_alone(self, video_folder) -> None:
        together = self.dataset(video_folder)[3]
        alone = [self.dataset(video_folder, show)[3] for show in PERTURBATIONS]
        assert torch.equal(together.clips_NCTHW, torch.cat([one.clips_NCTHW for one in alone]))
        assert torch.equal(together.start_N, torch.cat([one.start_N for one in alone]))
        assert torch.equal(together.end_N, torch.cat([one.end_N for one in alone]))

    def test_order_shows_hold_the_plain_frames(self, video_folder) -> None:
        plain, still, shuffled, backwards = self.dataset(
            video_folder, "plain", "still", "shuffled", "reversed"
        )[0].clips_NCTHW.chunk(4)
        assert torch.equal(backwards, plain.flip(2))
        assert torch.equal(still, plain[:, :, 4:5].expand_as(plain))
        order = frame_order("shuffled", 8, 0, 0, 0)
        assert torch.equal(shuffled[0], plain[0][:, order])

    def test_workers_and_processes_make_the_same_clips(self, video_folder) -> None:
        def clips(workers: int) -> Tensor:
            loader = eval_loader(
                self.dataset(video_folder, "shuffled", "background_blurred"),
                batch_videos=3,
                workers=workers,
            )
            return torch.cat([batch.clips_MCTHW for batch in loader])

        here = clips(0)
        assert torch.equal(here, clips(2))
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            orders = pool.starmap(frame_order, [("shuffled", 8, 0, row, 0) for row in range(5)])
        for row, order in enumerate(orders):
            assert order.tolist() == frame_order("shuffled", 8, 0, row, 0).tolist()
        other = self.dataset(video_folder, "shuffled", "background_blurred", seed=1)[0]
        assert not torch.equal(other.clips_NCTHW, here[:4])


@pytest.mark.real
def test_a_standing_camera_leaves_the_actor_sharp(real_data) -> None:
    """Weizmann's camera stands still; the waving arms take up a small part of the picture."""
    videos = read_manifest(str(real_data / "weizmann4"))
    clips = EvalDataset(videos, ClipSpec(16, 2), 1, lambda clips: clips)[0].clips_NCTHW
    share = moving(clips).float().mean().item()
    assert 0.005 < share < 0.3
