"""What holds for every transform: stillness, dtypes, draws, errors."""

import dataclasses
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

import cvrl.transforms.op as op_module
from cvrl.transforms import (
    CenterCrop,
    ColorJitter,
    Cutout,
    EraseBackground,
    GaussianBlur,
    GaussianNoise,
    Grayscale,
    HorizontalFlip,
    Normalize,
    Op,
    RandomCrop,
    RandomResizedCrop,
    Resize,
    Rotate,
    Sobel,
    Solarize,
)
from cvrl.transforms.kernels import BRIGHTNESS, CONTRAST, Change
from cvrl.transforms.op import (
    Step,
    check_clip,
    in_pieces,
    integer,
    pair,
    run_steps,
    to_float,
    uniform,
)
from cvrl.utils.errors import UserError

STRONG: dict[str, Any] = {"brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.2}
MOVING: list[Op[Any]] = [
    RandomCrop(size=17),
    CenterCrop(size=17),
    HorizontalFlip(),
    Rotate(),
    Cutout(value=0.2),
]
RESIZING: list[Op[Any]] = [
    RandomResizedCrop(size=19),
    RandomResizedCrop(size=50, area=(0.3, 1.0), aspect=(0.5, 2.0), law="height"),
    Resize(size=17),
    Resize(size=40),
]
VALUES: list[Op[Any]] = [
    ColorJitter(**STRONG),
    ColorJitter(**STRONG, model="torchvision"),
    Grayscale(),
    Solarize(threshold=0.3),
    Normalize(),
    GaussianBlur(kernel_size=7),
    GaussianBlur(kernel_size=7, padding="replicate"),
    GaussianNoise(sigma=(0.05, 0.2)),
    Sobel(),
    EraseBackground(weight=(0.1, 1.0)),
]
WHOLE_CLIP = (ColorJitter, EraseBackground)  # a frame depends on the others
EVERY = MOVING + RESIZING + VALUES


def name(op: Op[Any]) -> str:
    return type(op).__name__


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise_clip(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(seed))


@pytest.mark.parametrize("op", EVERY, ids=name)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("seed", range(5))
def test_a_still_clip_stays_still_bit_for_bit(op: Op[Any], dtype: torch.dtype, seed: int) -> None:
    # Odd sizes, so that frames start at every alignment and vector loops end anywhere in them.
    frame = noise_clip(3, 1, 21 + seed, 27, seed=seed)
    frame = frame if dtype == torch.uint8 else to_float(frame)
    clip_CTHW = frame.repeat(1, 7, 1, 1)
    out = op(clip_CTHW, generator(seed))
    assert out.shape[1] == 7
    assert torch.equal(out, out[:, :1].expand_as(out))


@pytest.mark.parametrize("op", EVERY, ids=name)
def test_the_clip_given_is_not_changed(op: Op[Any]) -> None:
    for clip in (noise_clip(3, 4, 20, 24), torch.rand(3, 4, 20, 24, generator=generator())):
        before = clip.clone()
        op(clip, generator())
        assert torch.equal(clip, before)


@pytest.mark.parametrize("op", EVERY, ids=name)
def test_memory_layout_makes_no_difference(op: Op[Any]) -> None:
    frames_THWC = noise_clip(5, 22, 30, 3)
    view_CTHW = frames_THWC.permute(3, 0, 1, 2)  # as the decoder gives it
    out = op(view_CTHW, generator(3))
    assert torch.equal(out, op(view_CTHW.contiguous(), generator(3)))


@pytest.mark.parametrize("op", MOVING, ids=name)
def test_moving_pixels_is_the_same_for_uint8_and_float(op: Op[Any]) -> None:
    clip = noise_clip(3, 4, 20, 24)
    whole, real = op(clip, generator(1)), op(to_float(clip), generator(1))
    assert whole.dtype == torch.uint8
    assert torch.equal(to_float(whole), real)


@pytest.mark.parametrize("op", RESIZING, ids=name)
@pytest.mark.parametrize("seed", range(10))
def test_resizing_uint8_is_within_1_1_levels_of_float(op: Op[Any], seed: int) -> None:
    clip = noise_clip(3, 2, 20 + 5 * seed, 61 - 4 * seed, seed=seed)
    if seed % 2:
        clip = (clip > 127).to(torch.uint8) * 255
    whole, real = op(clip, generator(seed)), op(clip / 255, generator(seed))
    assert whole.dtype == torch.uint8
    assert real.dtype == torch.float32
    assert whole.shape == real.shape
    assert (whole - real * 255).abs().max() <= 1.1


@pytest.mark.parametrize("op", VALUES, ids=name)
def test_transforms_of_values_give_the_same_bits_for_uint8_and_float(op: Op[Any]) -> None:
    clip = noise_clip(3, 4, 20, 24)
    from_uint8, from_float = op(clip, generator(1)), op(to_float(clip), generator(1))
    assert from_uint8.dtype == from_float.dtype == torch.float32
    assert torch.equal(from_uint8, from_float)


@pytest.mark.parametrize("op", [op for op in VALUES if not isinstance(op, Normalize)], ids=name)
def test_values_stay_in_range(op: Op[Any]) -> None:
    for seed in range(20):
        clip = noise_clip(3, 2, 12, 13, seed=seed)
        if seed % 2:
            clip = (clip > 127).to(torch.uint8) * 255
        out = op(clip, generator(seed))
        assert out.min() >= 0
        assert out.max() <= 1


@pytest.mark.parametrize("op", EVERY, ids=name)
def test_draws_are_a_function_of_the_generator(op: Op[Any]) -> None:
    shape = (3, 4, 20, 24)
    params = op.draw(generator(7), shape)
    assert params == op.draw(generator(7), shape)
    assert params == pickle.loads(pickle.dumps(params))
    clip = noise_clip(*shape)
    assert torch.equal(op.apply(clip, params), op(clip, generator(7)))
    assert tuple(op.apply(clip, params).shape) == op.output_shape(shape, params)


@pytest.mark.parametrize("op", [op for op in EVERY if not isinstance(op, WHOLE_CLIP)], ids=name)
def test_frames_alone_give_what_the_clip_gives(op: Op[Any]) -> None:
    clip = noise_clip(3, 4, 20, 24)
    params = op.draw(generator(2), (3, 4, 20, 24))
    alone = torch.cat([op.apply(frame, params) for frame in torch.split(clip, 1, dim=1)], dim=1)
    assert torch.equal(op.apply(clip, params), alone)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("op", EVERY, ids=name)
def test_the_device_gives_what_the_worker_gives(op: Op[Any]) -> None:
    clip = noise_clip(3, 4, 40, 48)
    for given in (clip, to_float(clip)):
        params = op.draw(generator(2), (3, 4, 40, 48))
        here, there = op.apply(given, params), op.apply(given.cuda(), params).cpu()
        assert here.dtype == there.dtype
        assert (to_float(here) - to_float(there)).abs().max() <= 1.1 / 255


def test_p_is_the_share_of_clips_transformed() -> None:
    for p in (0.1, 0.5, 0.8):
        op, source = HorizontalFlip(p=p), generator()
        hits = sum(op.draw(source, (3, 1, 4, 4)) is not None for _ in range(2000))
        assert abs(hits / 2000 - p) < 4 * (p * (1 - p) / 2000) ** 0.5


def test_p_zero_and_one_are_certain() -> None:
    shape = (3, 1, 4, 4)
    assert all(HorizontalFlip(p=0.0).draw(generator(i), shape) is None for i in range(50))
    assert HorizontalFlip(p=1.0).draw(None, shape)


def test_where_the_coin_falls_against_it_the_dtype_is_the_same() -> None:
    clip = noise_clip(3, 2, 4, 4)
    assert torch.equal(Grayscale(p=0.0)(clip, generator()), to_float(clip))
    assert torch.equal(HorizontalFlip(p=0.0)(clip, generator()), clip)


def test_p_outside_zero_to_one_is_refused() -> None:
    with pytest.raises(UserError, match=r"Grayscale\.p = 1\.5"):
        Grayscale(p=1.5)
    with pytest.raises(UserError, match=r"RandomCrop\.p = 0\.5"):
        RandomCrop(size=4, p=0.5)  # else some clips would keep their size


def test_chance_needs_a_generator() -> None:
    with pytest.raises(ValueError, match=r"torch\.Generator"):
        RandomResizedCrop(size=4)(torch.rand(3, 1, 8, 8))
    with pytest.raises(ValueError, match=r"torch\.Generator"):
        Grayscale(p=0.5)(torch.rand(3, 1, 8, 8))


@pytest.mark.parametrize(
    ("clip", "says"),
    [
        (torch.zeros(3, 2, 4, 4, dtype=torch.int64), "torch.int64"),
        (torch.zeros(3, 4, 4), r"\(3, 4, 4\)"),
        (torch.zeros(2, 3, 2, 4, 4), r"\(2, 3, 2, 4, 4\)"),
        (torch.zeros(3, 0, 4, 4), r"\(3, 0, 4, 4\)"),
    ],
)
def test_what_is_no_clip_is_refused_by_name(clip: Tensor, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        HorizontalFlip().apply(clip, True)
    with pytest.raises(ValueError, match=says):
        HorizontalFlip()(clip)


@pytest.mark.parametrize("op", [op for op in VALUES if op.rgb], ids=name)
def test_colour_needs_three_channels(op: Op[Any]) -> None:
    with pytest.raises(ValueError, match="expected 3 channels, got 1"):
        op(torch.zeros(1, 2, 8, 8), generator())


def test_check_clip_takes_any_number_of_channels_unless_told() -> None:
    check_clip(torch.zeros(5, 2, 4, 4))
    with pytest.raises(ValueError, match="expected 3"):
        check_clip(torch.zeros(5, 2, 4, 4), channels=3)


def test_half_and_double_precision_become_float32() -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert Grayscale()(torch.ones(3, 1, 2, 2, dtype=dtype)).dtype == torch.float32


def test_to_float_spans_zero_to_one_in_even_steps() -> None:
    levels = to_float(torch.arange(256, dtype=torch.uint8))
    assert levels[0] == 0
    assert levels[255] == 1
    assert torch.equal(levels, torch.arange(256) / 255)
    assert torch.equal((levels * 255).round(), torch.arange(256.0))


def test_pieces_make_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = torch.rand(3, 11, 6, 5)
    sizes = []

    def double(piece: Tensor) -> Tensor:
        sizes.append(piece.shape[1])
        return piece * 2

    monkeypatch.setattr(op_module, "_CACHED_VALUES", 3 * 90)
    assert torch.equal(in_pieces(double, clip), clip * 2)
    assert sizes == [3, 3, 3, 2]
    monkeypatch.setattr(op_module, "_CACHED_VALUES", 1)  # never less than a frame
    assert torch.equal(in_pieces(double, clip), clip * 2)


def test_steps_that_need_the_whole_clip_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = torch.rand(3, 8, 4, 4)
    seen = []

    def halve(piece: Tensor) -> Tensor:
        seen.append(piece.shape[1])
        return piece / 2

    steps = [Step(halve), Step(torch.sub, needs=torch.amax), Step(torch.neg)]
    monkeypatch.setattr(op_module, "_CACHED_VALUES", 3 * 3 * 16)
    assert torch.equal(run_steps(clip, steps), -(clip / 2 - clip.amax() / 2))
    assert seen == [3, 3, 2]
    assert torch.equal(run_steps(clip, []), clip)


def test_steps_that_are_a_change_of_colour_are_joined_where_that_can_be() -> None:
    asked: list[tuple[torch.dtype, int]] = []

    def slow(clip: Tensor) -> Tensor:
        asked.append((clip.dtype, len(clip)))
        return clip * 0.5

    halve = Step(slow, change=Change(BRIGHTNESS, 0.5))
    clip = torch.rand(3, 2, 4, 5)
    for kind in (torch.float32, torch.float64):
        for channels in (3, 2):
            part = clip[:channels].to(kind)
            assert torch.equal(run_steps(part, [halve, halve]), part / 4)
    both = [(torch.float32, 2), (torch.float64, 3), (torch.float64, 2)]
    assert asked == [one for one in both for _ in range(2)]


def test_a_joined_step_may_need_the_whole_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(op_module, "_CACHED_VALUES", 40)
    clip = torch.rand(3, 7, 4, 5)
    halve = Step(torch.neg, change=Change(BRIGHTNESS, 0.5))
    about = Step(
        torch.add,
        needs=lambda clip: clip.mean(dim=(1, 2, 3), keepdim=True).mul(0.5),
        change=Change(CONTRAST, 0.5),
    )
    half = clip * 0.5
    wanted = half * 0.5 + half.mean(dim=(1, 2, 3), keepdim=True) * 0.5
    assert torch.equal(run_steps(clip, [halve, about]), wanted)
    assert torch.equal(run_steps(clip, [halve, about, Step(torch.neg), halve]), wanted.neg() * 0.0)


def test_pieces_may_change_size_and_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = torch.randint(0, 256, (3, 5, 4, 6), dtype=torch.uint8)
    monkeypatch.setattr(op_module, "_CACHED_VALUES", 1)
    turned = run_steps(clip, [Step(to_float), Step(lambda piece: piece.transpose(2, 3))])
    assert torch.equal(turned, to_float(clip).transpose(2, 3))


@pytest.mark.parametrize("op", VALUES, ids=name)
def test_pieces_change_no_bit_of_any_transform(
    op: Op[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = noise_clip(3, 7, 21, 23)
    whole = op(clip, generator(4))
    monkeypatch.setattr(op_module, "_CACHED_VALUES", 3 * 21 * 23 * 2)
    assert torch.equal(op(clip, generator(4)), whole)


def test_uniform_and_integer_fill_their_ranges_evenly() -> None:
    source = generator()
    numbers = torch.tensor([uniform(source, -2, 3) for _ in range(2000)])
    assert numbers.min() >= -2
    assert numbers.max() < 3
    assert abs(float(numbers.mean()) - 0.5) < 4 * 5 / (12 * 2000) ** 0.5
    whole = [integer(source, 2, 5) for _ in range(3000)]
    assert set(whole) == {2, 3, 4}
    assert all(abs(whole.count(i) - 1000) < 4 * (3000 * 2 / 9) ** 0.5 for i in (2, 3, 4))


def test_pair_takes_lists_and_refuses_what_is_no_range() -> None:
    assert pair("area", [1, 2], "(0, inf)") == (1.0, 2.0)
    with pytest.raises(UserError, match="lower number first"):
        pair("area", (0.9, 0.3), "(0, 1]")
    with pytest.raises(UserError, match="two numbers"):
        pair("area", (0.1, 0.2, 0.3), "(0, 1]")
    with pytest.raises(UserError, match="two numbers"):
        pair("area", 0.3, "(0, 1]")
    with pytest.raises(UserError, match=r"area = 0\.0"):
        pair("area", (0.0, 1.0), "(0, 1]")


def test_what_draws_nothing_needs_no_generator() -> None:
    clip = noise_clip(3, 2, 20, 24)
    for op in (CenterCrop(size=8), Resize(size=8), HorizontalFlip(), Grayscale(), Solarize()):
        assert torch.equal(op(clip), op(clip, generator()))
    assert Sobel()(clip).shape == clip.shape
    assert Normalize()(clip).dtype == torch.float32


def test_settings_cannot_be_changed_behind_a_recipes_back() -> None:
    for op in EVERY:
        with pytest.raises(dataclasses.FrozenInstanceError):
            op.p = 0.5  # type: ignore[misc]
