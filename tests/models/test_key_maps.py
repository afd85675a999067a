"""Names of other libraries: every tensor lands where it computes what it did there."""

import copy
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cvrl.models.backbones import build_encoder
from cvrl.models.key_maps import comes_from_tensorflow, inflate, to_encoder_keys
from cvrl.models.weights import load_matching, load_pretrained
from cvrl.utils.errors import UserError

Place = tuple[int, int, str]  # stage 2 to 5, block, "s" for the shortcut or "a", "b", "c"; STEM
Network = dict[tuple[Place, str], Tensor]
Pad = Callable[[Tensor, tuple[int, ...], tuple[int, ...]], Tensor]
STEM: Place = (1, 0, "stem")
NORM = ("scale", "shift", "mean", "variance")


def stirred(net: nn.Module, seed: int = 0) -> nn.Module:
    """The network in evaluation mode with every tensor moved from where it starts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if tensor.ndim == 1:
                drawn = torch.rand(tensor.shape, generator=generator)
                tensor.copy_(drawn - 0.5 if name.endswith(("bias", "mean")) else drawn + 0.5)
    return net.eval()


@pytest.fixture(scope="module")
def resnet50() -> Any:
    from torchvision.models import resnet50

    torch.manual_seed(1)
    return stirred(resnet50(weights=None))


@pytest.fixture(scope="module")
def ptv_slow_r50() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pytorchvideo.models.hub import slow_r50

    torch.manual_seed(2)
    return stirred(slow_r50(pretrained=False))


# --- names ---------------------------------------------------------------------------------------


@torch.no_grad()
def test_pytorchvideos_slow_r50_gives_its_own_features(ptv_slow_r50: Any, tmp_path: Path) -> None:
    torch.save({"model_state": ptv_slow_r50.state_dict()}, tmp_path / "SLOW_8x8_R50.pyth")
    encoder = build_encoder("slow_r50").eval()
    report = load_pretrained(encoder, tmp_path / "SLOW_8x8_R50.pyth")
    assert str(report) == (
        "265 of 265 tensors match (100.0 %), 2 not used (blocks.5.proj.weight, blocks.5.proj.bias)"
    )
    clips = maps = torch.rand(1, 3, 4, 32, 32)
    for block in ptv_slow_r50.blocks[:5]:
        maps = block(maps)
    assert torch.equal(encoder.stages(clips)["res5"], maps)
    torch.testing.assert_close(encoder(clips), maps.mean(dim=(2, 3, 4)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "factory"), [("r3d18", "r3d_18"), ("r2plus1d18", "r2plus1d_18")])
@torch.no_grad()
def test_torchvisions_networks_give_their_own_features(
    name: str, factory: str, tmp_path: Path
) -> None:
    from torchvision.models import video

    theirs = stirred(getattr(video, factory)(weights=None))
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    encoder = build_encoder(name).eval()
    report = load_pretrained(encoder, tmp_path / "w.pth")
    assert (report.fraction, report.missing) == (1.0, ())
    assert report.unexpected == ("fc.weight", "fc.bias")
    theirs.fc = nn.Identity()
    clips = torch.rand(1, 3, 8, 16, 16)
    torch.testing.assert_close(encoder(clips), theirs(clips), rtol=1e-5, atol=1e-5)


def test_an_encoders_own_names_stay() -> None:
    state = build_encoder("r3d_small", width=4).state_dict()
    renamed = to_encoder_keys(state)
    assert list(renamed) == list(state)


def test_every_name_is_kept_apart() -> None:
    one = torch.ones(1)
    renamed = to_encoder_keys({f"blocks.{block}.x": one for block in range(6)})
    assert list(renamed) == ["stem.x", "res2.x", "res3.x", "res4.x", "res5.x", "blocks.5.x"]
    renamed = to_encoder_keys({f"layer{layer}.x": one for layer in range(1, 5)} | {"fc.bias": one})
    assert list(renamed) == ["res2.x", "res3.x", "res4.x", "res5.x", "fc.bias"]


def test_classifiers_may_have_any_number_of_classes(ptv_slow_r50: Any) -> None:
    state = ptv_slow_r50.state_dict() | {"blocks.5.proj.weight": torch.ones(3, 2048)}
    report = load_matching(build_encoder("slow_r50"), to_encoder_keys(state), minimum=1.0)
    assert report.unexpected == ("blocks.5.proj.weight", "blocks.5.proj.bias")


# --- inflation -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "frames"), [("slow_r50", 1), ("r3d50", 5)])
def test_every_tensor_of_an_image_resnet_finds_its_place(
    resnet50: Any, name: str, frames: int
) -> None:
    encoder, flat = build_encoder(name), resnet50.state_dict()
    report = load_matching(encoder, inflate(flat, encoder), minimum=1.0)
    assert (len(report.matched), report.missing) == (265, ())
    assert report.unexpected == ("fc.weight", "fc.bias")
    loaded = encoder.state_dict()
    assert loaded["stem.conv.weight"].shape[2] == frames
    torch.testing.assert_close(loaded["stem.conv.weight"].sum(dim=2), flat["conv1.weight"])
    middle = loaded["res4.res_blocks.2.branch2.conv_a.weight"]
    assert middle.shape[2] == 3
    torch.testing.assert_close(middle[:, :, 0], flat["layer3.2.conv1.weight"] / 3)
    assert torch.equal(loaded["res5.res_blocks.0.branch1_norm.running_var"],
                       flat["layer4.0.downsample.1.running_var"])  # fmt: skip


@torch.no_grad()
def test_a_still_clip_gives_the_image_networks_maps(resnet50: Any) -> None:
    """All of slow_r50, at a frame that no zero before or after the clip reaches: 9 frames away."""
    encoder, flat_net = build_encoder("slow_r50").eval().double(), copy.deepcopy(resnet50).double()
    load_matching(encoder, inflate(flat_net.state_dict(), encoder))
    flat = image = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    for part in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
        flat = getattr(flat_net, part)(flat)
    maps = encoder.stages(image.unsqueeze(2).expand(-1, -1, 20, -1, -1))["res5"]
    torch.testing.assert_close(maps[:, :, 9], flat)
    torch.testing.assert_close(maps[:, :, 10], flat)
    assert not torch.allclose(maps[:, :, 0], flat, rtol=1e-2), "a border frame differs"


@torch.no_grad()
def test_a_strided_stem_answers_a_still_clip_as_the_flat_one_does(resnet50: Any) -> None:
    encoder = build_encoder("r3d50").eval()
    load_matching(encoder, inflate(resnet50.state_dict(), encoder))
    image = torch.rand(1, 3, 32, 32)
    maps = encoder.get_submodule("stem.conv")(image.unsqueeze(2).expand(-1, -1, 8, -1, -1))
    flat = resnet50.conv1(image)
    assert maps.shape[2] == 4
    for frame in (1, 2):
        torch.testing.assert_close(maps[:, :, frame], flat, rtol=1e-4, atol=1e-5)


def test_resnet18_inflates_to_r3d18(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    flat = resnet18(weights=None).state_dict()
    torch.save(
        {"state_dict": {f"module.{name}": t for name, t in flat.items()}}, tmp_path / "w.pth"
    )
    encoder = build_encoder("r3d18")
    report = load_pretrained(encoder, tmp_path / "w.pth")
    assert (report.fraction, report.unexpected) == (1.0, ("fc.weight", "fc.bias"))
    kernel = encoder.state_dict()["res3.1.conv2.0.weight"]
    torch.testing.assert_close(kernel.sum(dim=2), flat["layer2.1.conv2.weight"])


def test_factored_kernels_cannot_be_inflated() -> None:
    with pytest.raises(UserError, match="r2plus1d18: cannot start from image weights; use r3d18"):
        inflate({"conv1.weight": torch.ones(64, 3, 7, 7)}, build_encoder("r2plus1d18"))


def test_inflating_another_network_fails_with_its_tensors(resnet50: Any, tmp_path: Path) -> None:
    torch.save(resnet50.state_dict(), tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth: 0 of 65 tensors match .*320 not used"):
        load_pretrained(build_encoder("r3d_small"), tmp_path / "w.pth")


def test_a_part_that_stays_random_is_warned_of(
    ptv_slow_r50: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(ptv_slow_r50.state_dict(), tmp_path / "w.pth")
    report = load_pretrained(build_encoder("r3d50"), tmp_path / "w.pth")
    assert [name for name, _, _ in report.mismatched] == ["stem.conv.weight"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "stem.conv.weight 64x3x1x7x7 for 64x3x5x7x7" in caplog.text


# --- a ResNet-50 for video, written out once more by the papers ----------------------------------


def layers(stem_frames: int) -> Iterator[tuple[Place, tuple[int, ...]]]:
    """Every convolution of R3D-50 with the shape (out, in, T, H, W) of its kernel."""
    yield STEM, (64, 3, stem_frames, 7, 7)
    dim = 64
    stages = ((2, 3, 64, 1), (3, 4, 128, 1), (4, 6, 256, 3), (5, 3, 512, 3))
    for stage, depth, width, frames in stages:
        for block in range(depth):
            if block == 0:
                yield (stage, block, "s"), (4 * width, dim, 1, 1, 1)
            yield (stage, block, "a"), (width, dim, frames, 1, 1)
            yield (stage, block, "b"), (width, width, 1, 3, 3)
            yield (stage, block, "c"), (4 * width, width, 1, 1, 1)
            dim = 4 * width


def drawn_network(stem_frames: int) -> Network:
    """Random kernels, and a norm behind each that is far from doing nothing."""
    generator = torch.Generator().manual_seed(stem_frames)
    network: Network = {}
    for place, shape in layers(stem_frames):
        deviation = (2 / np.prod(shape[1:])) ** 0.5
        network[place, "kernel"] = torch.randn(shape, generator=generator) * deviation
        for part in NORM:
            low = 0.5 if part in ("scale", "variance") else -0.5
            network[place, part] = torch.rand(shape[0], generator=generator) + low
    return network


def torch_pad(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    T, H, W = (size // 2 for size in kernel)
    return F.pad(x, (W, W, H, H, T, T))


def tensorflow_pad(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """SAME: as many outputs as strides fit into the size, the odd zero behind."""
    pads: list[int] = []
    for size, width, step in zip(x.shape[2:], kernel, stride, strict=True):
        total = max((-(-size // step) - 1) * step + width - size, 0)
        pads = [total // 2, total - total // 2, *pads]
    return F.pad(x, pads)


def features(network: Network, clips: Tensor, pad: Pad) -> Tensor:
    """The pooled features of the network in double precision, (B, 2048)."""

    def layer(x: Tensor, place: Place, stride: tuple[int, int, int] = (1, 1, 1)) -> Tensor:
        kernel = network[place, "kernel"].double()
        x = F.conv3d(pad(x, tuple(kernel.shape[2:]), stride), kernel, stride=stride)
        scale, shift, mean, variance = (
            network[place, part].double().view(-1, 1, 1, 1) for part in NORM
        )
        return (x - mean) / (variance + 1e-5).sqrt() * scale + shift

    stem_frames = network[STEM, "kernel"].shape[2]
    x = layer(clips.double(), STEM, (1 if stem_frames == 1 else 2, 2, 2)).relu()
    x = F.max_pool3d(pad(x, (1, 3, 3), (1, 2, 2)), (1, 3, 3), (1, 2, 2))
    for stage, block in sorted({place[:2] for place, _ in network if place != STEM}):
        stride = (1, 2, 2) if block == 0 and stage > 2 else (1, 1, 1)
        short = layer(x, (stage, block, "s"), stride) if block == 0 else x
        inner = layer(layer(x, (stage, block, "a")).relu(), (stage, block, "b"), stride).relu()
        x = (layer(inner, (stage, block, "c")) + short).relu()
    return x.mean(dim=(2, 3, 4))


@pytest.fixture(scope="module")
def slow() -> Network:
    return drawn_network(stem_frames=1)


@pytest.fixture(scope="module")
def r3d() -> Network:
    return drawn_network(stem_frames=5)


# --- SlowFast ------------------------------------------------------------------------------------


def slowfast_name(place: Place, part: str) -> str:
    stage, block, layer = place
    where = "s1.pathway0_stem." if place == STEM else f"s{stage}.pathway0_res{block}."
    conv, norm = {
        "stem": ("conv", "bn"),
        "s": ("branch1", "branch1_bn"),
    }.get(layer, (f"branch2.{layer}", f"branch2.{layer}_bn"))
    if part == "kernel":
        return f"{where}{conv}.weight"
    last = {"scale": "weight", "shift": "bias", "mean": "running_mean", "variance": "running_var"}
    return f"{where}{norm}.{last[part]}"


def slowfast_state(network: Network) -> dict[str, Tensor]:
    state = {slowfast_name(place, part): tensor for (place, part), tensor in network.items()}
    counters = {n.replace("running_mean", "num_batches_tracked") for n in state if "mean" in n}
    return state | {name: torch.tensor(7) for name in sorted(counters)}


@torch.no_grad()
def test_slowfasts_contrastive_checkpoint_gives_the_online_networks_features(
    slow: Network, tmp_path: Path
) -> None:
    online = slowfast_state(slow)
    heads = {
        "head.projection.projection.0.weight": torch.ones(8, 2048),
        "head.projection.projection.1.running_mean": torch.ones(8),
        "head.predictors.0.projection.3.bias": torch.ones(8),
    }
    rest = {
        **{f"backbone_hist.{name}": torch.zeros_like(tensor) for name, tensor in online.items()},
        "ptr": torch.tensor([3]),
        "queue_x": torch.rand(16, 8),
        "iter": torch.tensor([9]),
        "knn_mem.memory": torch.rand(5, 1, 8),
        "swav_prototypes.weight": torch.rand(4, 8),
    }
    prefixed = {f"module.backbone.{name}": tensor for name, tensor in (online | heads).items()}
    model_state = prefixed | {f"module.{name}": tensor for name, tensor in rest.items()}
    content = {"epoch": 199, "model_state": model_state, "optimizer_state": {}, "cfg": "TASK: ssl"}
    torch.save(content, tmp_path / "checkpoint_epoch_00200.pyth")
    encoder = build_encoder("slow_r50").eval()
    report = load_pretrained(encoder, tmp_path / "checkpoint_epoch_00200.pyth")
    assert (len(report.matched), report.missing, report.mismatched) == (265, (), ())
    assert report.unexpected == (*heads, *rest)
    assert report.lines() == [f"not used: {name}" for name in (*heads, *rest)]
    clips = torch.rand(2, 3, 4, 32, 32)
    torch.testing.assert_close(
        encoder.double()(clips.double()), features(slow, clips, torch_pad), rtol=1e-5, atol=1e-5
    )
    assert encoder.state_dict()["res4.res_blocks.5.branch2.norm_c.num_batches_tracked"] == 7


def test_slowfasts_classifier_is_listed_as_not_used(
    slow: Network, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    head = {"head.projection.weight": torch.ones(4, 2048), "head.projection.bias": torch.ones(4)}
    torch.save({"model_state": slowfast_state(slow) | head}, tmp_path / "SLOW_8x8_R50.pyth")
    with caplog.at_level(logging.INFO, "cvrl"):
        report = load_pretrained(build_encoder("slow_r50"), tmp_path / "SLOW_8x8_R50.pyth")
    assert report.unexpected == ("head.projection.weight", "head.projection.bias")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", f"{tmp_path / 'SLOW_8x8_R50.pyth'}: 265 of 265 tensors match (100.0 %), "
                 "2 not used (head.projection.weight, head.projection.bias)")
    ]  # fmt: skip


def test_a_file_with_a_hole_is_loaded_with_a_warning_and_listed(
    slow: Network, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = slowfast_state(slow)
    state = {n: t for n, t in whole.items() if "s5.pathway0_res2.branch2.c" not in n}
    state["s1.pathway0_stem.conv.weight"] = torch.ones(64, 3, 5, 7, 7)
    state["s5.pathway0_nonlocal1.conv_g.weight"] = torch.ones(2)
    torch.save(state, tmp_path / "w.pyth")
    with caplog.at_level(logging.INFO, "cvrl"):
        report = load_pretrained(build_encoder("slow_r50"), tmp_path / "w.pyth")
    c = "res5.res_blocks.2.branch2"
    norm = [f"missing: {c}.norm_c.{x}" for x in ("weight", "bias", "running_mean", "running_var")]
    assert sorted(report.lines()) == sorted([
        f"missing: {c}.conv_c.weight",
        *norm,
        "of another shape: stem.conv.weight 64x3x5x7x7 for 64x3x1x7x7",
        "not used: s5.pathway0_nonlocal1.conv_g.weight",
    ])  # fmt: skip
    first, second = caplog.records
    assert (first.levelname, second.levelname) == ("WARNING", "INFO")
    assert "259 of 265 tensors match" in first.getMessage()
    assert all(line in second.getMessage() for line in report.lines())


def test_a_deeper_network_is_refused_with_the_count(slow: Network, tmp_path: Path) -> None:
    state = slowfast_state(slow)
    block = {name: t for name, t in state.items() if name.startswith("s4.pathway0_res5.")}
    for number in range(6, 23):
        state |= {name.replace("res5", f"res{number}"): t for name, t in block.items()}
    torch.save(state, tmp_path / "SLOW_8x8_R101.pyth")
    encoder = build_encoder("slow_r50")
    before = copy.deepcopy(encoder.state_dict())
    with pytest.raises(
        UserError, match=r"R101\.pyth: is of a larger network: 255 .*\(s4\.pathway0_res6"
    ):
        load_pretrained(encoder, tmp_path / "SLOW_8x8_R101.pyth")
    assert all(torch.equal(tensor, before[n]) for n, tensor in encoder.state_dict().items())


@pytest.mark.parametrize("name", ["r3d18", "r3d_small"])
def test_another_architecture_is_refused_with_the_counts(
    slow: Network, tmp_path: Path, name: str
) -> None:
    torch.save(slowfast_state(slow), tmp_path / "w.pyth")
    encoder = build_encoder(name)
    total = sum("num_batches" not in key for key in encoder.state_dict())
    with pytest.raises(UserError, match=rf"0 of {total} tensors match .*{total} missing"):
        load_pretrained(encoder, tmp_path / "w.pyth")


# --- CVRL as published, in TensorFlow ------------------------------------------------------------

TF_TENSOR = {
    "kernel": "kernel",
    "scale": "gamma",
    "shift": "beta",
    "mean": "moving_mean",
    "variance": "moving_variance",
}
FIRST_BLOCK = {2: 0, 3: 3, 4: 7, 5: 13}  # of each stage, counted through the network


def checkpoint_name(place: Place, part: str) -> str:
    """As tf.train.list_variables names it: layers with weights count on, attributes in blocks."""
    stage, block, layer = place
    if place == STEM:
        path = "layer_with_weights-0" if part == "kernel" else "layer_with_weights-1"
    else:
        convs = {"s": "shortcut", "a": "temporal", "b": "spatial", "c": "expand"}
        norms = {"s": "_norm0", "a": "_norm1", "b": "_norm2", "c": "_norm3"}
        attribute = f"_{convs[layer]}_conv" if part == "kernel" else norms[layer]
        path = f"layer_with_weights-{2 + FIRST_BLOCK[stage] + block}/{attribute}"
    return f"backbone/{path}/{TF_TENSOR[part]}/.ATTRIBUTES/VARIABLE_VALUE"


def without_backbone(place: Place, part: str) -> str:
    return checkpoint_name(place, part).removeprefix("backbone/")


def of_whole_model(place: Place, part: str) -> str:
    return f"model/layer_with_weights-0/{without_backbone(place, part)}"


def keras(layer: str, number: int) -> str:
    return f"{layer}_{number}" if number else layer


def variable_name(place: Place, part: str) -> str:
    """As Keras 2.15 names it: layers count on from 0 in each block."""
    stage, block, layer = place
    kind = "conv3d" if part == "kernel" else "sync_batch_normalization"
    if place == STEM:
        return f"{kind}/{TF_TENSOR[part]}:0"
    scope = keras("bottleneck_block3d", FIRST_BLOCK[stage] + block)
    return f"{scope}/{keras(kind, 'sabc'.index(layer))}/{TF_TENSOR[part]}:0"


def counted_through(place: Place, part: str) -> str:
    """Layers that count on through all of a second network of a process, with plain norms."""
    stage, block, layer = place
    kind = "conv3d" if part == "kernel" else "batch_normalization"
    if place == STEM:
        return f"{kind}_65/{TF_TENSOR[part]}"
    index = FIRST_BLOCK[stage] + block
    number = 66 + 4 * index + "sabc".index(layer)
    return f"bottleneck_block3d_{16 + index}/{kind}_{number}/{TF_TENSOR[part]}"


def tensorflow_state(network: Network, name: Callable[[Place, str], str]) -> dict[str, Tensor]:
    """Kernels as TensorFlow keeps them, (T, H, W, in, out), in an order that says nothing."""
    state = {
        name(place, part): tensor.permute(2, 3, 4, 1, 0) if part == "kernel" else tensor
        for (place, part), tensor in network.items()
    }
    return {key: state[key] for key in sorted(state, reverse=True)}


def write_tensorflow(path: Path, network: Network, name: Callable[[Place, str], str]) -> None:
    state = tensorflow_state(network, name)
    np.savez(path, **{key: tensor.numpy() for key, tensor in state.items()})


@pytest.mark.parametrize("name", [checkpoint_name, variable_name])
@torch.no_grad()
def test_cvrls_variables_give_the_networks_features(
    r3d: Network, tmp_path: Path, name: Callable[[Place, str], str]
) -> None:
    write_tensorflow(tmp_path / "r3d_1x_k400.npz", r3d, name)
    encoder = build_encoder("r3d50").eval()
    report = load_pretrained(encoder, tmp_path / "r3d_1x_k400.npz")
    assert str(report) == "265 of 265 tensors match (100.0 %)"
    clips = torch.rand(1, 3, 5, 33, 33)  # sizes that TensorFlow pads as PyTorch does
    torch.testing.assert_close(
        encoder.double()(clips.double()), features(r3d, clips, tensorflow_pad), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("name", [without_backbone, of_whole_model, counted_through])
def test_other_names_of_cvrls_variables_mean_the_same(
    r3d: Network, name: Callable[[Place, str], str]
) -> None:
    known = to_encoder_keys(tensorflow_state(r3d, checkpoint_name))
    renamed = to_encoder_keys(tensorflow_state(r3d, name))
    assert set(renamed) == set(known)
    assert all(torch.equal(tensor, known[key]) for key, tensor in renamed.items())


@torch.no_grad()
def test_even_sizes_are_padded_aside_and_the_log_says_so(
    r3d: Network, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tensorflow(tmp_path / "w.npz", r3d, checkpoint_name)
    encoder = build_encoder("r3d50").eval()
    load_pretrained(encoder, tmp_path / "w.npz")
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "features differ from the original's" in warning.getMessage()
    encoder.double()
    for T, size in ((4, 33), (5, 32)):
        clips = torch.rand(1, 3, T, size, size, dtype=torch.float64)
        assert not torch.allclose(encoder(clips), features(r3d, clips, tensorflow_pad), rtol=1e-2)


def test_what_else_a_tensorflow_checkpoint_holds_is_listed(r3d: Network, tmp_path: Path) -> None:
    write_tensorflow(tmp_path / "w.npz", r3d, checkpoint_name)
    rest = {
        "model/layer_with_weights-1/kernel/.ATTRIBUTES/VARIABLE_VALUE": np.ones((4, 2)),
        "model/layer_with_weights-2/gamma/.ATTRIBUTES/VARIABLE_VALUE": np.ones(2),
        "backbone/layer_with_weights-0/kernel/.OPTIMIZER_SLOT/optimizer/momentum/"
        ".ATTRIBUTES/VARIABLE_VALUE": np.ones((5, 7, 7, 3, 64)),
        "optimizer/iter/.ATTRIBUTES/VARIABLE_VALUE": np.int64(71488),
    }
    text = {"_CHECKPOINTABLE_OBJECT_GRAPH": np.array(b"text, no tensor")}
    with np.load(tmp_path / "w.npz") as stored:
        np.savez(tmp_path / "all.npz", **stored, **text, **rest)
    report = load_pretrained(build_encoder("r3d50"), tmp_path / "all.npz")
    assert (len(report.matched), report.unexpected) == (265, tuple(rest))


def test_norms_of_a_projector_are_not_taken_for_the_stems(r3d: Network, tmp_path: Path) -> None:
    state = tensorflow_state(r3d, variable_name)
    projector = {
        "sync_batch_normalization_2/gamma:0": torch.ones(64),
        "sync_batch_normalization_10/gamma:0": torch.ones(64),
        "dense/kernel:0": torch.ones(2048, 2048),
    }
    renamed = to_encoder_keys(projector | state)
    assert [name for name in projector if name in renamed] == list(projector)
    assert torch.equal(renamed["stem.norm.weight"], r3d[STEM, "scale"])


def test_a_missing_block_does_not_shift_the_others(r3d: Network) -> None:
    for name in (checkpoint_name, variable_name):
        without = {key: tensor for key, tensor in r3d.items() if key[0][:2] != (4, 2)}
        renamed = to_encoder_keys({name(*key): tensor for key, tensor in without.items()})
        assert not [key for key in renamed if key.startswith("res4.res_blocks.2.")]
        moved = renamed["res4.res_blocks.3.branch2.norm_b.running_var"]
        assert torch.equal(moved, r3d[(4, 3, "b"), "variance"])


def test_a_deeper_tensorflow_network_is_not_squeezed_in(r3d: Network) -> None:
    for extra in (
        "backbone/layer_with_weights-18/_norm1/gamma/.ATTRIBUTES/VARIABLE_VALUE",
        "bottleneck_block3d_16/conv3d_1/kernel:0",
    ):
        name = checkpoint_name if "backbone" in extra else variable_name
        state = {name(*key): tensor for key, tensor in r3d.items()}
        assert extra in to_encoder_keys(state | {extra: torch.ones(2)})


def test_two_networks_in_one_file_are_refused() -> None:
    twice = {
        checkpoint_name(STEM, "kernel"): torch.ones(1),
        variable_name(STEM, "kernel"): torch.ones(1),
    }
    with pytest.raises(UserError, match=r"w\.npz: holds two networks with a tensor stem\.conv"):
        to_encoder_keys(twice, source="w.npz")


def test_tensorflows_weights_are_told_from_others(slow: Network, r3d: Network) -> None:
    assert comes_from_tensorflow(checkpoint_name(*key) for key in r3d)
    assert comes_from_tensorflow(variable_name(*key) for key in r3d)
    assert not comes_from_tensorflow(slowfast_state(slow))
    assert not comes_from_tensorflow(build_encoder("r3d_small").state_dict())
