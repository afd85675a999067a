"""Encoders: shapes, the published sizes and kernels, what they refuse, and how they behave."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cvrl.models.backbones import STAGES, Encoder, build_encoder
from cvrl.utils.errors import UserError

ROOT = Path(__file__).parents[2]
NAMES = ["r3d50", "slow_r50", "r3d18", "r2plus1d18", "r3d_small"]
TINY: dict[str, Any] = {"width": 4, "blocks": (1, 1, 1, 1)}


@pytest.fixture(scope="module", params=NAMES)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    torch.manual_seed(0)
    return build_encoder(request.param).eval()


def clips(batch: int = 2, frames: int = 8, size: int = 32, seed: int = 0) -> Tensor:
    return torch.rand(batch, 3, frames, size, size, generator=torch.Generator().manual_seed(seed))


def parts_of(encoder: Encoder) -> Any:
    """The encoder, for a look at the blocks that its libraries made."""
    return encoder


def modules_of(encoder: nn.Module, kind: type[nn.Module]) -> list[Any]:
    return [module for module in encoder.modules() if isinstance(module, kind)]


# --- every encoder -------------------------------------------------------------------------------


@torch.no_grad()
def test_stages_have_the_promised_shapes(encoder: Encoder) -> None:
    maps = encoder.stages(clips())
    assert list(maps) == [*STAGES, "pooled"] == list(encoder.stage_dims)
    for name in STAGES:
        assert maps[name].ndim == 5
        assert maps[name].shape[:2] == (2, encoder.stage_dims[name])
    assert maps["pooled"].shape == (2, encoder.dim)
    torch.testing.assert_close(maps["pooled"], maps["res5"].mean(dim=(2, 3, 4)))
    assert torch.equal(encoder(clips()), maps["pooled"])


@torch.no_grad()
def test_strides_say_how_far_res5_shrinks(encoder: Encoder) -> None:
    frames, rows, columns = encoder.strides
    big = torch.zeros(1, 3, 2 * frames, 2 * rows, 3 * columns)
    assert encoder.stages(big)["res5"].shape[2:] == (2, 2, 3)


@torch.no_grad()
def test_maps_are_not_changed_by_the_stages_after_them(encoder: Encoder) -> None:
    res2 = encoder.res2(encoder.stem(clips()))
    torch.testing.assert_close(encoder.stages(clips())["res2"], res2, rtol=0, atol=0)


@torch.no_grad()
def test_evaluation_is_deterministic_and_treats_clips_alone(encoder: Encoder) -> None:
    together = encoder(clips())
    assert torch.equal(together, encoder(clips()))
    torch.testing.assert_close(together[1:], encoder(clips()[1:]), rtol=1e-4, atol=1e-5)


def test_batch_norm_is_torchs_default(encoder: Encoder) -> None:
    norms = modules_of(encoder, nn.BatchNorm3d)
    assert norms
    assert {(norm.momentum, norm.eps) for norm in norms} == {(0.1, 1e-5)}


def test_convolutions_before_norms_have_no_bias(encoder: Encoder) -> None:
    assert all(conv.bias is None for conv in modules_of(encoder, nn.Conv3d))


def test_spec_rebuilds_the_architecture_through_json(encoder: Encoder) -> None:
    rebuilt = build_encoder(**json.loads(json.dumps(encoder.spec)))
    assert rebuilt.spec == encoder.spec
    rebuilt.load_state_dict(encoder.state_dict())
    assert torch.equal(rebuilt.eval()(clips()), encoder(clips()))


@torch.no_grad()
def test_channels_last_gives_the_same_features(encoder: Encoder) -> None:
    last = copy.deepcopy(encoder).to(memory_format=torch.channels_last_3d)
    ours = last(clips().contiguous(memory_format=torch.channels_last_3d))
    torch.testing.assert_close(ours, encoder(clips()), rtol=1e-4, atol=1e-5)


def test_small_or_short_clips_are_refused_with_their_shape(encoder: Encoder) -> None:
    frames, rows, columns = encoder.strides
    for shape in [(1, 3, frames, rows - 1, columns), (1, 3, frames, rows, columns - 1)]:
        with pytest.raises(UserError, match="smaller than the strides") as caught:
            encoder(torch.zeros(shape))
        assert str(shape) in str(caught.value)
        assert f"{frames} frames of {rows}x{columns} pixels" in str(caught.value)
    if frames > 1:
        with pytest.raises(ValueError, match="shorter"):
            encoder(torch.zeros(1, 3, frames - 1, rows, columns))


@pytest.mark.parametrize("name", ["r3d_small", "slow_r50"])  # 3x3x3 kernels take long on most CPUs
@torch.no_grad()
def test_bfloat16_autocast_stays_close(name: str) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(name).eval()
    exact = encoder(clips(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = encoder(clips(1))
    assert rounded.isfinite().all()
    assert (rounded.float() - exact).norm() < 0.05 * exact.norm()


# --- the published networks ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("r3d50", 31_672_128),  # CVRL counts 31.7 M
        ("slow_r50", 31_634_496),  # pytorchvideo's 32.45 M less its classifier
        ("r3d18", 33_166_272),  # torchvision's 33,371,472 less its classifier
        ("r2plus1d18", 31_300_125),  # torchvision's 31,505,325 less its classifier
        ("r3d_small", 904_272),
    ],
)
def test_parameter_counts(name: str, parameters: int) -> None:
    assert sum(p.numel() for p in build_encoder(name).parameters()) == parameters


@torch.no_grad()
def test_r3d50_has_the_shape_of_cvrls() -> None:
    encoder = build_encoder("r3d50").eval()
    stem, pool = parts_of(encoder).stem.conv, parts_of(encoder).stem.pool
    assert (stem.kernel_size, stem.stride, stem.out_channels) == ((5, 7, 7), (2, 2, 2), 64)
    assert (pool.kernel_size, tuple(pool.stride)) == ((1, 3, 3), (1, 2, 2))
    maps = encoder.stages(clips(1, 16, 64))
    assert [maps[name].shape[2] for name in STAGES] == [8] * 4, "no temporal stride after the stem"
    assert [maps[name].shape[3] for name in STAGES] == [16, 8, 4, 2]
    assert encoder.stage_dims == {
        "res2": 256,
        "res3": 512,
        "res4": 1024,
        "res5": 2048,
        "pooled": 2048,
    }


@pytest.mark.parametrize("name", ["r3d50", "slow_r50"])
def test_temporal_kernels_stand_in_every_block_of_the_last_two_stages(name: str) -> None:
    encoder = build_encoder(name)
    depths = []
    for stage, frames in zip(STAGES, (1, 1, 3, 3), strict=True):
        blocks = getattr(encoder, stage).res_blocks
        depths.append(len(blocks))
        for block in blocks:
            assert block.branch2.conv_a.kernel_size == (frames, 1, 1)
            assert block.branch2.conv_b.kernel_size == (1, 3, 3)
            assert block.branch2.conv_b.stride[0] == block.branch2.conv_a.stride[0] == 1
    assert depths == [3, 4, 6, 3]


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("r3d50", {"stem_conv_kernel_size": (5, 7, 7), "stem_conv_stride": (2, 2, 2)}),
        ("slow_r50", {"stem_conv_kernel_size": (1, 7, 7)}),
    ],
)
@torch.no_grad()
def test_fifty_layers_are_pytorchvideos_weight_for_weight(name: str, stem: dict[str, Any]) -> None:
    from pytorchvideo.models.resnet import create_resnet

    torch.manual_seed(5)
    ours = build_encoder(name).eval()
    torch.manual_seed(5)
    theirs = create_resnet(model_depth=50, head=None, **stem).eval()
    for our_tensor, their_tensor in zip(
        ours.state_dict().values(), theirs.state_dict().values(), strict=True
    ):
        assert torch.equal(our_tensor, their_tensor)
    assert torch.equal(ours.stages(clips())["res5"], theirs(clips()))


@torch.no_grad()
def test_r3d18_is_torchvisions() -> None:
    from torchvision.models.video import r3d_18

    torch.manual_seed(5)
    ours = build_encoder("r3d18").eval()
    torch.manual_seed(5)
    theirs = r3d_18(weights=None).eval()
    theirs.fc = nn.Identity()
    torch.testing.assert_close(ours(clips()), theirs(clips()))


# --- the small one -------------------------------------------------------------------------------


def test_the_small_ones_keywords_reach_the_network() -> None:
    encoder = build_encoder(
        "r3d_small",
        width=8,
        blocks=[1, 2, 1, 3],
        stem_kernel=[3, 5, 5],
        stem_stride=[1, 2, 2],
    )
    assert (encoder.dim, encoder.strides) == (64, (8, 32, 32))
    assert parts_of(encoder).stem[0].kernel_size == (3, 5, 5)
    assert [len(getattr(encoder, stage)) for stage in STAGES] == [1, 2, 1, 3]
    maps = encoder.stages(clips(2, 8, 64))
    assert [tuple(maps[name].shape[2:]) for name in STAGES] == [
        (8, 16, 16),
        (4, 8, 8),
        (2, 4, 4),
        (1, 2, 2),
    ]


def test_smaller_time_strides_keep_more_time_steps() -> None:
    encoder = build_encoder("r3d_small", width=4, time_strides=[1, 2, 1, 1])
    assert encoder.strides == (2, 32, 32)
    assert encoder.stages(clips(1, 8, 64))["res5"].shape[2:] == (4, 2, 2)


@torch.no_grad()
def test_the_small_one_is_r3d18_made_thin() -> None:
    """Full width, two blocks a stage and res2's stride taken back give torchvision's network."""
    from torchvision.models.video import r3d_18

    ours = build_encoder("r3d_small", width=64, blocks=[2, 2, 2, 2])
    theirs = r3d_18(weights=None)
    own = {k: tuple(v.shape) for k, v in ours.state_dict().items()}
    names = {f"layer{i + 1}": stage for i, stage in enumerate(STAGES)}
    expected = {}
    for key, value in theirs.state_dict().items():
        first, _, rest = key.partition(".")
        if first != "fc":
            expected[f"{names.get(first, first)}.{rest}"] = tuple(value.shape)
    extra = {key for key in own if key not in expected}
    assert all(key.startswith("res2.0.downsample") for key in extra)
    assert expected == {key: shape for key, shape in own.items() if key not in extra}


def test_a_spec_holds_every_keyword_so_new_defaults_do_not_change_old_models() -> None:
    spec = build_encoder("r3d_small", width=8).spec
    assert spec == {
        "name": "r3d_small",
        "width": 8,
        "blocks": [1, 1, 1, 1],
        "stem_kernel": [3, 7, 7],
        "stem_stride": [1, 2, 2],
        "time_strides": [1, 2, 2, 2],
    }


def test_lists_of_a_config_are_taken_as_they_are() -> None:
    from omegaconf import OmegaConf

    config = OmegaConf.create({"name": "r3d_small", "width": 4, "blocks": [1, 1, 1, 1]})
    spec = build_encoder(**{str(key): value for key, value in config.items()}).spec
    assert json.loads(json.dumps(spec))["blocks"] == [1, 1, 1, 1]


@pytest.mark.parametrize("name", ["r3d_small", "r3d18"])
def test_the_gradient_reaches_every_parameter(name: str) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(name, **(TINY if name == "r3d_small" else {}))
    for norm in modules_of(encoder, nn.BatchNorm3d):
        nn.init.ones_(norm.weight)  # the last norm of a block starts at 0, which stops its branch
    features = encoder(clips(4, 8, 32 if name == "r3d18" else 64))
    (features * torch.randn_like(features)).sum().backward()
    for key, parameter in encoder.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 0, key


def test_blocks_start_as_their_shortcut() -> None:
    block = parts_of(build_encoder("slow_r50")).res3.res_blocks[0]
    assert not block.branch2.norm_c.weight.any()


@torch.no_grad()
def test_the_order_of_frames_matters() -> None:
    torch.manual_seed(0)
    encoder = build_encoder("r3d_small", **TINY).eval()
    assert not torch.allclose(encoder(clips()), encoder(clips().flip(2)), rtol=1e-3)


def test_a_copy_is_independent() -> None:
    encoder = build_encoder("r3d_small", **TINY)
    twin = copy.deepcopy(encoder)
    nn.init.zeros_(parts_of(twin).stem[0].weight)
    assert parts_of(encoder).stem[0].weight.abs().sum() > 0
    assert twin.spec == encoder.spec


def test_the_same_seed_gives_the_same_weights() -> None:
    states = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        states.append(parts_of(build_encoder("r3d_small", **TINY)).stem[0].weight)
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_a_head_can_be_kept_beside_the_encoder() -> None:
    encoder = build_encoder("r3d_small", **TINY)
    assert encoder.projector is None
    encoder.projector = nn.Linear(encoder.dim, 2)
    assert encoder.projector is dict(encoder.named_children())["projector"]


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "keywords", "words"),
    [
        ("r3d5", {}, ["encoder.name = r3d5", "did you mean r3d50?", *NAMES]),
        ("resnext", {}, ["encoder.name = resnext", "known:", *NAMES]),
        ("r3d_small", {"widht": 8}, ["encoder.widht", "did you mean width?", "stem_kernel"]),
        ("r3d50", {"width": 8}, ["encoder.width", "r3d50 has no such keyword", "known: none"]),
        ("r3d_small", {"width": "8"}, ["encoder.width = '8'"]),
        ("r3d_small", {"width": 0}, ["encoder.width = 0"]),
        ("r3d_small", {"width": True}, ["encoder.width = True"]),
        ("r3d_small", {"blocks": [2, 2]}, ["encoder.blocks = [2, 2]", "4 whole numbers"]),
        ("r3d_small", {"blocks": 2}, ["encoder.blocks = 2", "4 whole numbers"]),
        ("r3d_small", {"blocks": [1, 1, 1, 0]}, ["encoder.blocks", "at least 1"]),
        ("r3d_small", {"blocks": "2222"}, ["encoder.blocks = '2222'"]),
        ("r3d_small", {"stem_kernel": [5, 6, 7]}, ["encoder.stem_kernel", "3 odd numbers"]),
        ("r3d_small", {"stem_stride": [2, 2.0, 2]}, ["encoder.stem_stride"]),
    ],
)
def test_wrong_keywords_are_named(name: str, keywords: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        build_encoder(name, **keywords)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "shape", [(3, 8, 32, 32), (2, 1, 8, 32, 32), (2, 8, 3, 32, 32), (1, 2, 3, 8, 32, 32)]
)
def test_clips_of_another_layout_are_refused_with_their_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"takes \(B, 3, T, H, W\)") as caught:
        build_encoder("r3d_small", **TINY)(torch.zeros(shape))
    assert str(shape) in str(caught.value)


def test_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"takes floats in \[0, 1\]"):
        build_encoder("r3d_small", **TINY)(torch.zeros(1, 3, 8, 32, 32, dtype=torch.uint8))


# --- imports -------------------------------------------------------------------------------------


def test_pytorchvideo_comes_only_when_needed_and_without_a_word() -> None:
    script = (
        "import sys, cvrl.models;"
        "assert 'pytorchvideo' not in sys.modules;"
        "cvrl.models.build_encoder('r3d_small');"
        "assert 'pytorchvideo' not in sys.modules;"
        "cvrl.models.build_encoder('slow_r50');"
        "assert 'pytorchvideo' in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
