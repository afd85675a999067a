"""Compiled loops: the same as tensor operations, whatever the clip's size and place in memory."""

import colorsys
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cvrl.transforms import ColorJitter, GaussianBlur, Solarize, recipes
from cvrl.transforms import kernels as kernels_module
from cvrl.transforms.colour import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    scale_saturation,
)
from cvrl.transforms.filters import half_gaussian
from cvrl.transforms.kernels import (
    BLOCK,
    BRIGHTNESS,
    CONTRAST,
    HUE,
    SATURATION,
    SOLARIZE,
    Change,
    blur,
    change_colours,
    serves,
)

Apply = Callable[[Tensor], Tensor]
TENSOR_OPERATIONS: dict[int, Callable[[float], Apply]] = {
    BRIGHTNESS: lambda factor: lambda clip: adjust_brightness(clip, factor),
    CONTRAST: lambda factor: lambda clip: adjust_contrast(clip, factor),
    SATURATION: lambda factor: lambda clip: scale_saturation(clip, factor),
    HUE: lambda sixths: lambda clip: adjust_hue(clip, sixths / 6),
    SOLARIZE: lambda threshold: lambda clip: Solarize(min(threshold, 1.0))._apply(clip, True),
}
SHAPES = [(1, 1, 1), (2, 5, 7), (1, 1, BLOCK), (3, 31, 43), (1, 2, BLOCK + 1)]


def levels(shape: tuple[int, int, int], seed: int = 0) -> Tensor:
    """A clip of few levels, so that channels are often equal, black or white."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 6, (3, *shape), generator=generator) / 5


def changed(clip: Tensor, kind: int, amount: float) -> Tensor:
    constant = None
    if kind == CONTRAST:
        constant = clip.mean(dim=(2, 3)).mean(dim=1).mul(1 - amount)
    amount = min(amount, 1.0) if kind == SOLARIZE else amount
    return change_colours(clip, [(Change(kind, amount), constant)])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", TENSOR_OPERATIONS)
@pytest.mark.parametrize("amount", [0.0, 0.3, 0.5, 1.0, 1.7])
def test_each_change_has_the_bits_of_the_tensor_operations(
    kind: int, amount: float, shape: tuple[int, int, int]
) -> None:
    for clip in (levels(shape), torch.rand(3, *shape)):
        kept = clip.clone()
        assert torch.equal(changed(clip, kind, amount), TENSOR_OPERATIONS[kind](amount)(clip))
        assert torch.equal(clip, kept)


@given(
    st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32), st.floats(0, 1, width=32)),
    st.floats(-0.5, 0.5),
)
def test_any_pixels_hue_and_saturation_have_their_bits(
    pixel: tuple[float, float, float], turn: float
) -> None:
    clip = torch.tensor(pixel).reshape(3, 1, 1, 1)
    hue, saturation = Change(HUE, 6 * turn), Change(SATURATION, 1 + turn)
    assert torch.equal(change_colours(clip, [(hue, None)]), adjust_hue(clip, turn))
    assert torch.equal(change_colours(clip, [(saturation, None)]), scale_saturation(clip, 1 + turn))


@pytest.mark.parametrize("sixths", [-2.5, -1.0, 0.0, 0.7, 3.0])
def test_hue_is_that_of_colorsys(sixths: float) -> None:
    clip = levels((2, 9, 11))
    turned = change_colours(clip, [(Change(HUE, sixths), None)])
    for before, after in zip(clip.flatten(1).T.tolist(), turned.flatten(1).T.tolist(), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before)
        wanted = colorsys.hsv_to_rgb((hue + sixths / 6) % 1.0, saturation, value)
        assert after == pytest.approx(wanted, abs=2e-6)


@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.6, 9.0])
def test_saturation_is_that_of_colorsys(factor: float) -> None:
    clip = levels((2, 9, 11))
    richer = change_colours(clip, [(Change(SATURATION, factor), None)])
    for before, after in zip(clip.flatten(1).T.tolist(), richer.flatten(1).T.tolist(), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before)
        wanted = colorsys.hsv_to_rgb(hue, min(saturation * factor, 1.0), value)
        assert after == pytest.approx(wanted, abs=2e-6)


def test_several_changes_are_one_after_the_other() -> None:
    clip = torch.rand(3, 3, 40, 50)
    changes = [Change(HUE, 0.4), Change(BRIGHTNESS, 1.3), Change(SATURATION, 0.2)]
    slow = clip
    for change in changes:
        slow = changed(slow, *change)
    assert torch.equal(change_colours(clip, [(change, None) for change in changes]), slow)
    assert torch.equal(change_colours(clip, []), clip)


def test_frames_cut_out_of_a_clip_and_other_layouts_are_read_right() -> None:
    clip = torch.rand(3, 6, 10, 12)
    whole = changed(clip, HUE, 1.0)
    assert torch.equal(changed(clip[:, 2:5], HUE, 1.0), whole[:, 2:5])
    last = clip.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)
    assert torch.equal(changed(last, HUE, 1.0), whole)
    assert torch.equal(
        blur(last, [0.5, 0.25], replicate=True), blur(clip, [0.5, 0.25], replicate=True)
    )


@pytest.mark.parametrize("model", ["tensorflow", "torchvision"])
def test_a_jitter_joined_into_one_pass_has_the_bits_of_its_steps(model: str) -> None:
    jitter = ColorJitter(0.8, 0.8, 0.8, 0.2, model=model)  # type: ignore[arg-type]
    generator, clip = torch.Generator().manual_seed(0), torch.rand(3, 4, 20, 30)
    for _ in range(20):
        params = jitter.draw(generator, (3, 4, 20, 30))
        with torch.no_grad():  # a clip that wants a gradient is left to tensor operations
            slow = jitter.apply(clip.clone().requires_grad_(), params)
        assert torch.equal(jitter.apply(clip, params), slow)


@pytest.mark.parametrize("padding", ["zeros", "replicate"])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1), (1, 2, 3, 40), (3, 2, 40, 7), (3, 5, 33, 31)], ids=str
)
@pytest.mark.parametrize(("sigma", "taps"), [(0.1, 3), (0.8, 5), (2.0, 23)])
def test_blur_is_the_product_with_banded_matrices(
    padding: str, shape: tuple[int, int, int, int], sigma: float, taps: int
) -> None:
    op = GaussianBlur(sigma=(sigma, sigma), kernel_size=taps, padding=padding)  # type: ignore[arg-type]
    clip = torch.rand(shape)
    with torch.no_grad():
        slow = op.apply(clip.clone().requires_grad_(), sigma)
    torch.testing.assert_close(op.apply(clip, sigma), slow, rtol=0, atol=1e-6)


def test_a_filter_of_one_tap_multiplies_along_rows_and_columns() -> None:
    clip = torch.rand(3, 2, 4, 5)
    assert torch.equal(blur(clip, [0.5], replicate=False), clip * 0.25)


def test_every_frame_is_blurred_alike_wherever_it_stands() -> None:
    frame, half = torch.rand(3, 1, 30, 40), half_gaussian(1.5, 4)
    many = blur(torch.cat([torch.rand(3, 2, 30, 40), frame, frame], dim=1), half, replicate=True)
    alone = blur(frame, half, replicate=True)
    assert torch.equal(many[:, 2:3], alone)
    assert torch.equal(many[:, 3:4], alone)


@pytest.mark.parametrize("name", ["cvrl", "rho", "light", "supervised"])
def test_a_whole_recipe_is_that_of_tensor_operations(name: str) -> None:
    _, recipe = getattr(recipes, name)(size=40).split()
    clips, generator = torch.rand(2, 3, 4, 40, 40), torch.Generator().manual_seed(0)
    for _ in range(10):
        params = recipe.draw(clips.shape, generator)
        with torch.no_grad():
            slow = recipe.apply(clips.clone().requires_grad_(), params)
        torch.testing.assert_close(recipe.apply(clips, params), slow, rtol=0, atol=5e-6)


class Jittered(torch.utils.data.Dataset[Tensor]):
    """Clips that a worker jitters and blurs, each by its own draws."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, row: int) -> Tensor:
        clip = torch.rand(3, 4, 24, 32, generator=torch.Generator().manual_seed(row))
        drawn = torch.Generator().manual_seed(100 + row)
        return GaussianBlur()(ColorJitter(0.4, 0.4, 0.4, 0.1)(clip, drawn), drawn)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_give_what_the_main_process_gives(start: str) -> None:
    data = Jittered()
    loader = torch.utils.data.DataLoader(
        data, batch_size=None, num_workers=2, multiprocessing_context=start
    )
    for row, clip in enumerate(loader):
        assert torch.equal(clip, data[row])


def test_only_float32_without_gradient_is_served() -> None:
    clip = torch.rand(3, 1, 2, 2)
    assert serves(clip)
    assert not serves(clip.double())
    assert not serves((clip * 255).to(torch.uint8))
    assert not serves(clip.clone().requires_grad_())
    assert not serves(torch.empty(3, 1, 2, 2, device="meta"))


def test_clips_of_other_channels_are_left_to_tensor_operations() -> None:
    clip = torch.rand(2, 3, 4, 5)
    assert torch.equal(Solarize(0.5)(clip), torch.where(clip >= 0.5, 1 - clip, clip))


def test_without_a_place_for_what_was_compiled_it_is_compiled_again() -> None:
    names: dict[str, Callable[[float], float]] = {}
    exec(compile("def double(x):\n    return 2 * x\n", "<no file>", "exec"), names)
    assert kernels_module._compiled(names["double"])(21.0) == 42.0


@pytest.mark.slow
def test_many_processes_may_compile_at_once(tmp_path: Path) -> None:
    program = (
        "import torch; from cvrl.transforms.kernels import *\n"
        "clip = torch.full((3, 1, 2, 2), 0.25)\n"
        "print(float(change_colours(clip, [(Change(BRIGHTNESS, 2.0), None)]).mean()))\n"
    )
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    running = [
        subprocess.Popen([sys.executable, "-c", program], env=env, stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    assert [one.communicate()[0].decode().strip() for one in running] == ["0.5"] * 4
    assert list(tmp_path.rglob("*.nbc"))


def test_amounts_are_rounded_as_tensors_round_numbers() -> None:
    third = 1 / 3
    assert float(np.float32(third)) != third
    clip = torch.rand(3, 1, 8, 8)
    assert torch.equal(changed(clip, BRIGHTNESS, third), adjust_brightness(clip, third))
