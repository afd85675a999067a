"""What is hidden, the loss over it against a loop, and which inputs can tell it."""

import itertools
from dataclasses import replace

import pytest
import torch
from cases import build, make_batch

from cvrl.methods.reconstruct import Reconstruct, masked_square
from cvrl.models.backbones import build_encoder
from cvrl.utils.errors import UserError

CASES = {"colour": "reconstruct@jigsaw_pair", "future": "reconstruct@pace", "cubes": "reconstruct"}


def small(**keywords):
    torch.manual_seed(0)
    return Reconstruct(build_encoder("r3d_small", width=4), **keywords).double()


def clips(count=2, size=(8, 32, 32), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, *size, generator=generator, dtype=torch.float64)


def shown_by_loop(task, clip, mask):
    """What is seen of one clip, value by value, and where it is hidden."""
    shown, hidden = clip.clone(), torch.zeros_like(clip, dtype=torch.bool)
    _, T, H, W = clip.shape
    for t, y, x in itertools.product(range(T), range(H), range(W)):
        if task.hide == "colour":
            red, green, blue = clip[:, t, y, x]
            shown[:, t, y, x] = 0.299 * red + 0.587 * green + 0.114 * blue
            hidden[:, t, y, x] = True
        elif task.hide == "future" and t >= T - task.future:
            shown[:, t, y, x] = clip[:, T - task.future - 1, y, x]
            hidden[:, t, y, x] = True
        elif task.hide == "cubes" and mask[0, t, y, x]:
            shown[:, t, y, x] = 0.0
            hidden[:, t, y, x] = True
    return shown, hidden


@torch.no_grad()
@pytest.mark.parametrize("hide", CASES)
def test_the_loss_is_that_of_a_loop(hide):
    task = build(CASES[hide]).double().eval()
    batch = make_batch(CASES[hide], videos=2, dtype=torch.float64)
    clips_BVCTHW = batch.clips_BVCTHW[..., :32, :32]
    V = clips_BVCTHW.shape[1]
    errors = []
    for b, v in itertools.product(range(2), range(V)):
        clip = clips_BVCTHW[b, v]
        drawn = task._cubes((1, *clip.shape), int(batch.video_id_B[b]), v)
        shown, hidden = shown_by_loop(task, clip, drawn)
        maps = task.encoder.stages(shown[None])
        painted = task.decoder(maps["res5"], clip.shape[1:])[0]
        errors.append(((clip - shown - painted)[hidden] ** 2).mean())
    loss = task(replace(batch, clips_BVCTHW=clips_BVCTHW))["loss"]
    torch.testing.assert_close(loss, torch.stack(errors).mean(), atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("hide", CASES)
def test_the_hidden_part_is_not_shown(hide):
    """Clips that differ in their hidden part only look the same."""
    task = small(hide=hide, cube=[2, 8, 8])
    one = clips()
    shown, hidden = task.hide_part(one, torch.tensor([3, 4]))
    change = clips(seed=1)
    if hide == "colour":  # a change of colour that leaves the grey
        change[:, 2] = -(0.299 * change[:, 0] + 0.587 * change[:, 1]) / 0.114
    again, _ = task.hide_part(one + change * hidden, torch.tensor([3, 4]))
    torch.testing.assert_close(shown, again)
    assert not torch.equal(one, shown)


def test_painting_nothing_has_the_error_one_and_painting_all_zero():
    task = small(hide="future").eval()
    batch = make_batch("reconstruct@pace", videos=2, dtype=torch.float64)
    with torch.no_grad():
        for parameter in task.decoder.layers[-1].parameters():
            parameter.zero_()
        assert task(batch)["relative_error"].item() == pytest.approx(1.0)
    shown, hidden = task.hide_part(clips(), torch.tensor([0, 1]))
    assert masked_square(clips() - shown - (clips() - shown), hidden).sum() == 0


class TestCubes:
    def mask(self, step=0, video=3, clip=0, size=(8, 32, 32), **keywords):
        task = small(cube=[2, 8, 8], **keywords)
        task.after_step(step - 1)
        return task._cubes((1, 3, *size), video, clip)

    @pytest.mark.parametrize(("ratio", "cubes"), [(0.5, 32), (0.01, 1), (0.9, 58), (0.999, 63)])
    def test_the_share_of_cubes_is_hidden_and_never_none_or_all(self, ratio, cubes):
        mask = self.mask(ratio=ratio)
        assert int(mask.sum()) == cubes * 2 * 8 * 8
        blocks = mask.view(4, 2, 4, 8, 4, 8).float().mean(dim=(1, 3, 5))
        assert set(blocks.unique().tolist()) == {0.0, 1.0}, "cubes are whole"

    def test_step_video_and_clip_decide(self):
        same = self.mask()
        assert torch.equal(same, self.mask())
        others = [self.mask(step=1), self.mask(video=4), self.mask(clip=1)]
        assert all(not torch.equal(same, other) for other in others)

    def test_every_place_is_hidden_equally_often(self):
        share = torch.stack([self.mask(video=v) for v in range(200)]).double().mean(dim=0)
        assert share.min() > 0.3 and share.max() < 0.7

    def test_a_clip_that_is_no_multiple_is_covered(self):
        assert self.mask(size=(9, 33, 35)).shape == (1, 9, 33, 35)

    def test_other_videos_of_the_batch_change_nothing(self):
        task = small(cube=[2, 8, 8])
        _, both = task.hide_part(clips(), torch.tensor([3, 4]))
        _, second = task.hide_part(clips()[1:], torch.tensor([4]))
        assert torch.equal(both[1], second[0])

    def test_one_cube_for_all_is_refused(self):
        with pytest.raises(UserError, match=r"method.cube = \[8, 64, 64\]: covers"):
            small(cube=[8, 64, 64]).hide_part(clips(), torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("keywords", "name"),
    [
        ({"hide": "sound"}, "method.hide = sound"),
        ({"future": 0}, "method.future"),
        ({"ratio": 1.0}, "method.ratio"),
        ({"cube": [2, 2]}, "method.cube"),
        ({"cube": [0, 2, 2]}, "method.cube"),
        ({"width": 0}, "method.width"),
    ],
)
def test_keywords_out_of_range_are_refused(keywords, name):
    with pytest.raises(UserError, match=name):
        small(**keywords)


def test_a_future_as_long_as_the_clip_is_refused():
    with pytest.raises(UserError, match=r"method.future = 8: leaves nothing to see"):
        small(hide="future", future=8).hide_part(clips(), torch.tensor([0, 1]))


@pytest.mark.parametrize("hide", CASES)
@pytest.mark.parametrize("given", ["derivatives", "residual", "alternating"])
def test_an_input_that_does_not_tell_what_is_hidden_is_refused(hide, given):
    encoder = build_encoder("r3d_small", width=4, input=given)
    if given == "derivatives" or (given, hide) == ("residual", "future"):
        assert Reconstruct(encoder, hide=hide).hide == hide
        return
    with pytest.raises(UserError, match=rf"clip.input = {given}.*use rgb, derivatives"):
        Reconstruct(encoder, hide=hide)
