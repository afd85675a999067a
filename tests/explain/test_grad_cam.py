"""Grad-CAM against evidence whose place is known, against its own definition, and its side effects.

The hand-made encoder's maps are the clip's colours in cells of 2 frames and 8x8 pixels, so a head
that asks for red must find the red square, where and when it is shown.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cvrl.data.clips import ClipSpec, clip_indices
from cvrl.explain.grad_cam import (
    along,
    class_logit,
    class_number,
    covering_starts,
    default_stage,
    feature_of_video,
    grad_cam,
    heat_of_video,
    stitch,
)
from cvrl.models.backbones import STAGES, Encoder, build_encoder
from cvrl.models.heads import ClassHead
from cvrl.transforms import recipes
from cvrl.utils.errors import CorruptVideoError, UserError


def colour_encoder() -> Encoder:
    dims = (3, 3, 3, 3)
    stages = [nn.Identity() for _ in dims]
    spec = {"name": "colours"}
    made = Encoder(nn.AvgPool3d((2, 8, 8)), stages, stage_dims=dims, strides=(2, 8, 8), spec=spec)
    made.clip, made.size, made.preprocess = ClipSpec(8, 2), 32, recipes.evaluation(32)
    return made


def colour_head() -> ClassHead:
    head = ClassHead(3, ["red", "green", "blue"])
    with torch.no_grad():
        head.weight.copy_(torch.eye(3) - 0.5)
        head.bias.zero_()
    return head


def small(seed: int = 0) -> Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = build_encoder("r3d_small", width=4)
    made.clip, made.size, made.preprocess = ClipSpec(8, 2), 32, recipes.evaluation(32)
    return made


def red_flash(frames: int, when: range, *, row: int, column: int) -> NDArray[np.uint8]:
    """Grey, but for a red square of 16 pixels in the frames ``when``: (T, 64, 64, 3)."""
    clip = np.full((frames, 64, 64, 3), 60, np.uint8)
    clip[when.start : when.stop, row : row + 16, column : column + 16] = (255, 0, 0)
    return clip


class TestHeat:
    def test_it_peaks_where_and_when_the_evidence_is(self) -> None:
        clip = torch.zeros(2, 3, 8, 32, 32)
        clip[0, 0, 4:6, 8:16, 24:32] = 1
        clip[1, 1, :, 0:8, 0:8] = 1  # green says nothing for red
        heat = grad_cam(colour_encoder(), clip, class_logit(colour_head(), 0))
        assert heat.shape == (2, 4, 4, 4)
        assert heat[0].flatten().argmax() == torch.tensor([2 * 16 + 1 * 4 + 3]).item()
        assert torch.count_nonzero(heat[0]) == 1
        assert torch.count_nonzero(heat[1]) == 0

    @pytest.mark.parametrize("stage", STAGES)
    def test_it_is_the_definition(self, stage: str) -> None:
        """Equations 1 and 2 by finite sums over the gradient of the whole network."""
        encoder, head = small().eval(), ClassHead(32, ["a", "b"])
        clips = torch.rand(2, 3, 8, 32, 32)
        maps = encoder.stages(clips)
        (slope,) = torch.autograd.grad(head(maps["pooled"])[:, 1].sum(), maps[stage])
        expected = torch.zeros(2, *maps[stage].shape[2:])
        for b in range(2):
            for k in range(maps[stage].shape[1]):
                expected[b] += slope[b, k].mean() * maps[stage][b, k].detach()
        heat = grad_cam(encoder, clips, class_logit(head, 1), stage)
        torch.testing.assert_close(heat, expected.clamp(min=0), rtol=1e-3, atol=1e-7)

    def test_a_linear_answer_is_the_sum_of_its_heat(self) -> None:
        """With positive weights nothing is cut off, and all heat adds up to the logit."""
        encoder, reference = small().eval(), torch.rand(32)
        clips = torch.rand(3, 3, 8, 64, 64)
        target = along(reference)
        heat = grad_cam(encoder, clips, target)
        torch.testing.assert_close(heat.sum(dim=(1, 2, 3)), target(encoder(clips)).detach())

    def test_it_has_a_gradient_where_the_cosine_with_itself_has_none(self) -> None:
        encoder = small().eval()
        clip = torch.rand(1, 3, 8, 32, 32)
        own = encoder(clip)[0].detach()
        assert grad_cam(encoder, clip, along(own)).max() > 0

    def test_other_weights_give_another_heat(self) -> None:
        """The sanity check of Adebayo et al., arXiv 1810.03292: layer by layer, from the top."""
        encoder, clips = small().eval(), torch.rand(1, 3, 8, 96, 96)
        target = class_logit(ClassHead(32, ["a", "b"]), 0)
        before = grad_cam(encoder, clips, target, "res3").flatten()
        for name in ("res5", "res4", "res3"):
            with torch.random.fork_rng():
                torch.manual_seed(7)
                for part in getattr(encoder, name).modules():
                    if isinstance(part, nn.Conv3d):
                        part.reset_parameters()
            after = grad_cam(encoder, clips, target, "res3").flatten()
            alike = torch.corrcoef(torch.stack([before, after]))[0, 1]
            assert not alike > 0.9, name  # not a number where nothing speaks for it any more

    def test_it_leaves_no_trace(self) -> None:
        encoder = small().train()
        encoder.res3.eval()
        before = {key: value.clone() for key, value in encoder.state_dict().items()}
        modes = [part.training for part in encoder.modules()]
        grad_cam(encoder, torch.rand(2, 3, 8, 32, 32), along(torch.ones(32)), "res3")
        assert [part.training for part in encoder.modules()] == modes
        assert all(parameter.grad is None for parameter in encoder.parameters())
        assert all(parameter.requires_grad for parameter in encoder.parameters())
        for key, value in encoder.state_dict().items():
            assert torch.equal(value, before[key]), key

    def test_it_works_where_gradients_are_off(self) -> None:
        with torch.no_grad():
            heat = grad_cam(small(), torch.rand(1, 3, 8, 32, 32), along(torch.ones(32)))
        assert not heat.requires_grad

    def test_refusals(self) -> None:
        with pytest.raises(UserError, match="use one of res2, res3, res4, res5"):
            grad_cam(small(), torch.rand(1, 3, 8, 32, 32), along(torch.ones(32)), "pooled")
        with pytest.raises(UserError, match="smaller than the strides"):
            grad_cam(small(), torch.rand(1, 3, 2, 32, 32), along(torch.ones(32)))


class TestStage:
    @pytest.mark.parametrize(
        ("size", "stage"), [(128, "res5"), (112, "res5"), (64, "res4"), (48, "res3"), (16, "res2")]
    )
    def test_it_is_the_last_of_four_cells_or_the_finest(self, size: int, stage: str) -> None:
        encoder = small().train()
        encoder.size = size
        if size < 32:
            encoder.strides = (8, 16, 16)
        assert default_stage(encoder) == stage
        assert encoder.training
        cells = {name: maps.shape[-1] for name, maps in encoder.stages(
            torch.rand(2, 3, 8, size, size)
        ).items() if name in STAGES}  # fmt: skip
        later = STAGES[STAGES.index(stage) + 1 :]
        assert all(cells[name] < 4 for name in later)

    def test_heat_says_which(self, make_video: Callable[..., Path], tmp_path: Path) -> None:
        path = str(make_video(tmp_path / "a.mp4", 8))
        heat = heat_of_video(small(), path, along(torch.ones(32)), "", stage="res4")
        assert (heat.stage, heat.map_Lhw.shape) == ("res4", (8, 2, 2))


class TestVideo:
    def test_the_flash_is_found_in_a_real_file(
        self, make_video: Callable[..., Path], tmp_path: Path
    ) -> None:
        frames = red_flash(100, range(60, 70), row=32, column=16)
        path = make_video(tmp_path / "flash.mp4", frames)
        heat = heat_of_video(colour_encoder(), str(path), class_logit(colour_head(), 0), "red")
        assert heat.map_Lhw.shape == (100, 4, 4)
        assert heat.map_Lhw.min() >= 0 and heat.map_Lhw.max() == 1
        tick, row, column = np.unravel_index(heat.map_Lhw.argmax(), heat.map_Lhw.shape)
        assert 60 <= tick < 70 and (row, column) == (2, 1)
        outside = np.r_[0:54, 76:100]
        assert heat.over_time_L[outside].max() < 0.2 * heat.over_time_L.max()

    def test_nothing_to_see_is_no_heat_and_no_error(
        self, make_video: Callable[..., Path], tmp_path: Path
    ) -> None:
        green = np.zeros((20, 64, 64, 3), np.uint8) + np.array([0, 200, 0], np.uint8)
        path = make_video(tmp_path / "green.mp4", green)
        heat = heat_of_video(colour_encoder(), str(path), class_logit(colour_head(), 0), "red")
        assert (heat.map_Lhw == 0).all()

    @pytest.mark.parametrize("frames", [1, 5, 16, 17])
    def test_short_videos(
        self, make_video: Callable[..., Path], tmp_path: Path, frames: int
    ) -> None:
        path = str(make_video(tmp_path / "short.mp4", frames))
        reference = feature_of_video(small(), path).mean(dim=0)
        heat = heat_of_video(small(), path, along(reference), "itself")
        assert len(heat.map_Lhw) == frames and np.isfinite(heat.map_Lhw).all()

    def test_a_broken_file_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "bad.mp4").write_text("this is no video")
        with pytest.raises(CorruptVideoError, match=r"bad\.mp4"):
            heat_of_video(small(), str(tmp_path / "bad.mp4"), along(torch.ones(32)), "")


class TestStitching:
    @pytest.mark.parametrize("length", [1, 7, 29, 30, 64, 100, 333])
    def test_clips_reach_from_the_first_tick_to_the_last(self, length: int) -> None:
        spec = ClipSpec(frames=8, stride=4)
        starts = covering_starts(length, spec)
        ticks = np.concatenate([clip_indices(int(s), spec, length) for s in starts])
        assert ticks.min() == 0 and ticks.max() >= length - spec.stride
        assert np.diff(np.unique(ticks)).max(initial=0) <= spec.stride
        assert len(starts) == max(1, -(-length // 32)) or length < spec.span

    def test_it_interpolates_as_numpy_does(self) -> None:
        rng = np.random.default_rng(0)
        ticks, maps = np.array([9, 3, 5, 3]), rng.random((4, 2, 3), np.float32)
        known = np.stack([(maps[1] + maps[3]) / 2, maps[2], maps[0]])
        out = stitch(ticks, maps, 12)
        for h in range(2):
            for w in range(3):
                expected = np.interp(np.arange(12), [3, 5, 9], known[:, h, w])
                np.testing.assert_allclose(out[:, h, w], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "said"),
    [("JumpingJak", "did you mean JumpingJack?"), ("jumpingjack", "JumpingJack"), ("xyz", "knows")],
)
def test_an_unknown_class_is_told_the_nearest(given: str, said: str) -> None:
    with pytest.raises(UserError, match=said.replace("?", r"\?")):
        class_number(["JumpingJack", "PushUps"], given)


def test_a_logit_is_a_logit() -> None:
    features: Tensor = torch.rand(4, 3)
    head = colour_head()
    assert torch.equal(class_logit(head, 2)(features), head(features)[:, 2])
