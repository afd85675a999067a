"""Weights: safetensors round trips, broken files, other libraries' names, inflation, reports."""

import copy
import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cvrl.models.backbones import Encoder, build_encoder
from cvrl.models.weights import (
    inflate,
    load_matching,
    load_pretrained,
    load_weights,
    read_state_dict,
    save_weights,
    to_encoder_keys,
)
from cvrl.utils.errors import UserError

TINY: dict[str, Any] = {"width": 4, "blocks": (1, 1, 1, 1)}
State = dict[str, Tensor]


def tiny() -> Encoder:
    return build_encoder("r3d_small", **TINY)


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


# --- safetensors ---------------------------------------------------------------------------------


def test_tensors_and_metadata_come_back_as_they_were(tmp_path: Path) -> None:
    tensors = {
        "float": torch.randn(3, 4),
        "half": torch.randn(5).bfloat16(),
        "count": torch.tensor(7),
        "empty": torch.zeros(0, 2),
    }
    metadata = {
        "encoder": {"name": "r3d50", "blocks": [1, 2]},
        "size": 64,
        "note": "é",
        "none": None,
    }
    save_weights(tmp_path / "w.safetensors", tensors, metadata)
    loaded, facts = load_weights(tmp_path / "w.safetensors")
    assert facts == metadata
    assert set(loaded) == set(tensors)
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)


def test_views_shared_memory_and_memory_formats_are_written_out(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    last = torch.randn(2, 3, 2, 4, 4).contiguous(memory_format=torch.channels_last_3d)
    tensors = {"whole": whole, "same": whole, "view": whole[:, 1:3].T, "last": last}
    save_weights(tmp_path / "w.safetensors", tensors, {})
    loaded, _ = load_weights(tmp_path / "w.safetensors")
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor)


def test_parameters_are_saved_without_their_graph(tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", dict(nn.Linear(2, 2).named_parameters()), {})
    assert not load_weights(tmp_path / "w.safetensors")[0]["weight"].requires_grad


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    tensors = {"b": torch.ones(2), "a": torch.zeros(3)}
    metadata = {f"key{number}": number for number in range(8)}
    save_weights(tmp_path / "1", tensors, metadata)
    save_weights(tmp_path / "2", tensors, dict(reversed(metadata.items())))
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(path, {"a": torch.ones(1)}, {})
    with pytest.raises(TypeError):
        save_weights(path, {"a": torch.zeros(1)}, {"not JSON": object()})
    assert os.listdir(tmp_path) == ["w.safetensors"]
    assert load_weights(path)[0]["a"] == 1


def test_another_programs_metadata_is_given_as_text(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "w.safetensors", {"format": "pt"})
    assert load_weights(tmp_path / "w.safetensors")[1] == {"format": "pt"}
    save_file({"a": torch.ones(1)}, tmp_path / "w.safetensors")
    assert load_weights(tmp_path / "w.safetensors")[1] == {}


def written(path: Path) -> bytes:
    save_weights(path, {"a": torch.ones(1000)}, {"epoch": 1})
    return path.read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:4],
        lambda content: content[:50],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: content + b"more",
        lambda content: b"this is no file of weights at all",
        lambda content: b"\xff" * 200,
        lambda content: content.replace(rb"{\"epoch\": 1}", rb"{\"epoch\": ]}"),
    ],
)
def test_a_broken_safetensors_file_is_named(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(damage(written(path)))
    with pytest.raises(UserError, match="is no whole safetensors file") as caught:
        load_weights(path)
    assert str(caught.value).startswith(str(path))
    assert "download or write it again" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="does not exist; give the path of a file"):
        read_state_dict(tmp_path / name)
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match="is a folder; give the path of a file"):
        read_state_dict(tmp_path / name)


# --- checkpoints of other libraries --------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".pyth", ".PTH"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model_state": state, "epoch": 3, "cfg": "text"},
        lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}},
        lambda state: {"state_dict": {f"module.backbone.{k}": v for k, v in state.items()}},
        lambda state: {"model": {"state_dict": {f"backbone.{k}": v for k, v in state.items()}}},
        lambda state: {"step": 1, "task": {f"encoder.{k}": v for k, v in state.items()}},
        lambda state: {**state, "epoch": 3},
    ],
)
def test_wrappers_and_prefixes_are_taken_off(
    tmp_path: Path, wrap: Callable[[State], dict[str, Any]], suffix: str
) -> None:
    state = {"stem.conv.weight": torch.ones(2), "res2.a": torch.zeros(1)}
    torch.save(wrap(state), tmp_path / f"w{suffix}")
    found = read_state_dict(tmp_path / f"w{suffix}")
    assert list(found) == list(state)
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_safetensors_are_read_too(tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", {"encoder.a": torch.ones(1)}, {})
    assert list(read_state_dict(tmp_path / "w.safetensors")) == ["a"]


class Evil:
    """What unpickling would run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("old_format", [False, True])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, old_format: bool) -> None:
    path, made = tmp_path / "w.pth", tmp_path / "made"
    content = {"state_dict": {"a": torch.ones(1)}, "extra": Evil(made)}
    torch.save(content, path, _use_new_zipfile_serialization=not old_format)
    with pytest.raises(UserError, match=r"mkdir, code that could do anything") as caught:
        read_state_dict(path)
    assert str(caught.value).startswith(str(path))
    assert "save its state dict alone" in str(caught.value)
    assert not made.exists()


def test_a_whole_pickled_module_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"holds torch.nn.modules.linear.Linear, code"):
        read_state_dict(tmp_path / "w.pth")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:4],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-30],
        lambda content: b"this is no file of weights at all",
        lambda content: bytes(range(256)) * 8,
    ],
)
@pytest.mark.parametrize("old_format", [False, True])
def test_a_broken_checkpoint_is_named(
    tmp_path: Path, damage: Callable[[bytes], bytes], old_format: bool
) -> None:
    path = tmp_path / "w.pth"
    torch.save({"a": torch.ones(1000)}, path, _use_new_zipfile_serialization=not old_format)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="is no whole checkpoint") as caught:
        read_state_dict(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [torch.ones(2), [torch.ones(2)], {"epoch": 3}, {}])
def test_a_file_without_named_tensors_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(UserError, match="holds no tensors by name"):
        read_state_dict(tmp_path / "w.pt")


def test_two_networks_in_one_state_dict_are_not_mixed(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1), "module.a": torch.zeros(1)}, tmp_path / "w.pt")
    with pytest.raises(UserError, match="two networks with a tensor a"):
        read_state_dict(tmp_path / "w.pt")


def test_another_suffix_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "w.h5").touch()
    with pytest.raises(UserError, match=r"give one of \.safetensors, \.pt, \.pth, \.pyth"):
        read_state_dict(tmp_path / "w.h5")


# --- names ---------------------------------------------------------------------------------------


@torch.no_grad()
def test_pytorchvideos_slow_r50_gives_its_own_features(ptv_slow_r50: Any, tmp_path: Path) -> None:
    torch.save({"model_state": ptv_slow_r50.state_dict()}, tmp_path / "SLOW_8x8_R50.pyth")
    encoder = build_encoder("slow_r50").eval()
    report = load_pretrained(encoder, tmp_path / "SLOW_8x8_R50.pyth")
    assert str(report) == "265 of 265 tensors match (100.0 %)"
    clips = maps = torch.rand(1, 3, 4, 32, 32)
    for block in ptv_slow_r50.blocks[:5]:
        maps = block(maps)
    assert torch.equal(encoder.stages(clips)["res5"], maps)


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
    assert (report.fraction, report.missing, report.unexpected) == (1.0, (), ())
    theirs.fc = nn.Identity()
    clips = torch.rand(1, 3, 8, 16, 16)
    torch.testing.assert_close(encoder(clips), theirs(clips))


def test_an_encoders_own_names_stay() -> None:
    state = tiny().state_dict()
    renamed = to_encoder_keys(state)
    assert list(renamed) == list(state)


def test_every_name_is_kept_apart() -> None:
    one = torch.ones(1)
    renamed = to_encoder_keys({f"blocks.{block}.x": one for block in range(6)})
    assert list(renamed) == ["stem.x", "res2.x", "res3.x", "res4.x", "res5.x"]
    renamed = to_encoder_keys({f"layer{layer}.x": one for layer in range(1, 5)} | {"fc.bias": one})
    assert list(renamed) == ["res2.x", "res3.x", "res4.x", "res5.x"]


def test_classifiers_may_have_any_number_of_classes(ptv_slow_r50: Any) -> None:
    state = ptv_slow_r50.state_dict() | {"blocks.5.proj.weight": torch.ones(3, 2048)}
    assert not [name for name in to_encoder_keys(state) if "proj" in name]


# --- inflation -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "frames"), [("slow_r50", 1), ("r3d50", 5)])
def test_every_tensor_of_an_image_resnet_finds_its_place(
    resnet50: Any, name: str, frames: int
) -> None:
    encoder, flat = build_encoder(name), resnet50.state_dict()
    report = load_matching(encoder, inflate(flat, encoder), minimum=1.0)
    assert str(report) == "265 of 265 tensors match (100.0 %)"
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
    assert (report.fraction, report.unexpected) == (1.0, ())
    kernel = encoder.state_dict()["res3.1.conv2.0.weight"]
    torch.testing.assert_close(kernel.sum(dim=2), flat["layer2.1.conv2.weight"])


def test_factored_kernels_cannot_be_inflated() -> None:
    with pytest.raises(UserError, match="r2plus1d18: cannot start from image weights; use r3d18"):
        inflate({"conv1.weight": torch.ones(64, 3, 7, 7)}, build_encoder("r2plus1d18"))


def test_inflating_another_network_fails_with_its_tensors(resnet50: Any, tmp_path: Path) -> None:
    torch.save(resnet50.state_dict(), tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth: 0 of 65 tensors match .*318 not used"):
        load_pretrained(build_encoder("r3d_small"), tmp_path / "w.pth")


# --- matching ------------------------------------------------------------------------------------


def layers(count: int, **other: Tensor) -> State:
    return {f"{i}.weight": torch.full((2, 2), float(i)) for i in range(count)} | other


def stack(count: int = 20) -> nn.Sequential:
    return nn.Sequential(*(nn.Linear(2, 2, bias=False) for _ in range(count)))


def test_a_full_match_loads_everything() -> None:
    net = stack()
    report = load_matching(net, layers(20))
    assert report.matched == tuple(f"{i}.weight" for i in range(20))
    assert (report.missing, report.unexpected, report.mismatched) == ((), (), ())
    assert net.state_dict()["7.weight"].eq(7).all()


def test_the_border_is_95_percent() -> None:
    assert load_matching(stack(), layers(19)).missing == ("19.weight",)
    with pytest.raises(UserError, match=r"18 of 20 tensors match \(90\.0 %\)"):
        load_matching(stack(), layers(18))
    assert load_matching(stack(), layers(18), minimum=0.9).fraction == 0.9


def test_a_refusal_names_source_first_tensors_and_remedy_and_changes_nothing() -> None:
    net = stack()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state = layers(8) | {"8.weight": torch.ones(2, 3), "head.weight": torch.ones(1)}
    with pytest.raises(UserError) as caught:
        load_matching(net, state, source="runs/x/model.safetensors")
    assert str(caught.value) == (
        "runs/x/model.safetensors: 8 of 20 tensors match (40.0 %), "
        "11 missing (9.weight, 10.weight, 11.weight, ...), "
        "1 of another shape (8.weight 2x3 for 2x2), 1 not used (head.weight); "
        "give weights of this architecture: 95 % must match"
    )
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_what_is_not_used_does_not_count() -> None:
    report = load_matching(stack(2), layers(9))
    assert report.fraction == 1.0
    assert len(report.unexpected) == 7
    assert "7 not used (2.weight, 3.weight, 4.weight, ...)" in str(report)


def test_counters_of_batches_are_loaded_but_not_counted() -> None:
    norm = nn.BatchNorm1d(3)
    old = {name: t for name, t in norm.state_dict().items() if "num_batches" not in name}
    assert str(load_matching(norm, old, minimum=1.0)) == "4 of 4 tensors match (100.0 %)"
    load_matching(norm, {**old, "num_batches_tracked": torch.tensor(9)})
    assert norm.num_batches_tracked == 9


def test_running_statistics_count() -> None:
    norm = nn.BatchNorm1d(3)
    with pytest.raises(UserError, match="2 missing"):
        load_matching(norm, dict(norm.named_parameters()))


def test_a_module_without_tensors_matches_nothing() -> None:
    assert load_matching(nn.ReLU(), {}, minimum=0.0).fraction == 0.0


# --- an encoder from a file ----------------------------------------------------------------------


def test_an_encoder_starts_from_its_own_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stored = stirred(tiny())
    tensors = {f"encoder.{name}": tensor for name, tensor in stored.state_dict().items()}
    tensors["projector.0.weight"] = torch.ones(2, 2)
    save_weights(tmp_path / "model.safetensors", tensors, {})
    encoder = tiny().eval()
    with caplog.at_level(logging.INFO, "cvrl"):
        report = load_pretrained(encoder, tmp_path / "model.safetensors")
    assert report.unexpected == ("projector.0.weight",)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    clips = torch.rand(1, 3, 8, 32, 32)
    assert torch.equal(encoder(clips), stored(clips))


def test_a_part_that_stays_random_is_warned_of(
    ptv_slow_r50: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(ptv_slow_r50.state_dict(), tmp_path / "w.pth")
    report = load_pretrained(build_encoder("r3d50"), tmp_path / "w.pth")
    assert [name for name, _, _ in report.mismatched] == ["stem.conv.weight"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "stem.conv.weight 64x3x1x7x7 for 64x3x5x7x7" in caplog.text


def test_another_networks_file_is_refused_by_name(tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", nn.Linear(2, 2).state_dict(), {})
    with pytest.raises(UserError, match=r"w\.safetensors: 0 of 65 tensors match") as caught:
        load_pretrained(tiny(), tmp_path / "w.safetensors")
    assert "2 not used (" in str(caught.value)
