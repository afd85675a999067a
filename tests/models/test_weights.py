"""Weights: safetensors round trips, broken files, other libraries' names, inflation, reports."""

import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cvrl.models.backbones import Encoder, build_encoder
from cvrl.models.weights import (
    load_matching,
    load_pretrained,
    load_weights,
    read_state_dict,
    save_weights,
)
from cvrl.utils.errors import UserError

TINY: dict[str, Any] = {"width": 4, "blocks": (1, 1, 1, 1)}
State = dict[str, Tensor]


def tiny() -> Encoder:
    return build_encoder("r3d_small", **TINY)


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


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.npz"])
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


ARRAYS = {"whole/kernel:0": np.ones((1, 2, 3), ">f4"), "step": np.int64(7), "note": np.array("a")}


def test_a_numpy_archive_gives_its_arrays_of_numbers(tmp_path: Path) -> None:
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "w.npz", **ARRAYS)
        found = read_state_dict(tmp_path / "w.npz")
        assert list(found) == ["whole/kernel:0", "step"]
        assert torch.equal(found["whole/kernel:0"], torch.ones(1, 2, 3))
        assert (found["step"].shape, found["step"].item()) == ((), 7)


def test_objects_in_a_numpy_archive_are_refused_and_not_run(tmp_path: Path) -> None:
    made = tmp_path / "made"
    np.savez(tmp_path / "w.npz", a=np.ones(2), b=np.array([Evil(made)], dtype=object))
    with pytest.raises(UserError, match=r"w\.npz: holds Python objects, code that could do"):
        read_state_dict(tmp_path / "w.npz")
    (tmp_path / "w.npz").write_bytes(pickle.dumps(Evil(made)))
    with pytest.raises(UserError, match="is no whole numpy archive"):
        read_state_dict(tmp_path / "w.npz")
    assert not made.exists()


def test_arrays_of_a_kind_that_torch_lacks_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", a=np.ones(2), b=np.zeros(2, "V2"))  # bfloat16, as numpy keeps it
    with pytest.raises(UserError, match=r"is not of numbers .*; save its arrays as float32"):
        read_state_dict(tmp_path / "w.npz")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-30],
        lambda content: content.replace(b"NUMPY", b"NOMPY"),
        lambda content: b"this is no file of weights at all",
    ],
)
def test_a_broken_numpy_archive_is_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "w.npz"
    np.savez(path, a=np.ones(1000))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="is no whole numpy archive") as caught:
        read_state_dict(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_lone_array_and_an_archive_of_text_are_no_weights(tmp_path: Path) -> None:
    with (tmp_path / "w.npz").open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(UserError, match=r"w\.npz: (is no whole|holds)"):
        read_state_dict(tmp_path / "w.npz")
    np.savez(tmp_path / "w.npz", note=np.array("text"))
    with pytest.raises(UserError, match="holds no tensors by name"):
        read_state_dict(tmp_path / "w.npz")


def test_two_networks_in_one_state_dict_are_not_mixed(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1), "module.a": torch.zeros(1)}, tmp_path / "w.pt")
    with pytest.raises(UserError, match="two networks with a tensor a"):
        read_state_dict(tmp_path / "w.pt")


def test_another_suffix_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "w.h5").touch()
    with pytest.raises(UserError, match=r"give one of \.safetensors, \.npz, \.pt, \.pth, \.pyth"):
        read_state_dict(tmp_path / "w.h5")


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


def test_tensors_of_parts_that_the_module_has_must_find_a_place_too() -> None:
    net, state = nn.Sequential(stack(20)), {f"0.{n}": t for n, t in layers(21).items()}
    assert load_matching(net, state).unexpected == ("0.20.weight",)
    state |= {"0.21.weight": torch.ones(2, 2), "0.0.num_batches_tracked": torch.tensor(1)}
    with pytest.raises(UserError, match=r"larger network: 2 tensors without a place \(0\.20\.weig"):
        load_matching(net, state, source="w.pth")
    assert load_matching(net, state, minimum=0.9).fraction == 1.0


def test_lines_list_every_tensor_that_the_one_line_leaves_out() -> None:
    state = layers(15) | {"15.weight": torch.ones(3, 2)} | {f"h.{i}": torch.ones(1) for i in "abcd"}
    report = load_matching(stack(), state, minimum=0.5)
    assert report.lines() == [
        *(f"missing: {number}.weight" for number in (16, 17, 18, 19)),
        "of another shape: 15.weight 3x2 for 2x2",
        *(f"not used: h.{letter}" for letter in "abcd"),
    ]
    assert report.is_abridged
    assert "4 not used (h.a, h.b, h.c, ...)" in str(report)
    short = load_matching(stack(), layers(17) | {"h": torch.ones(1)}, minimum=0.5)
    assert (short.is_abridged, len(short.lines())) == (False, 4)


def test_a_report_speaks_the_names_of_the_source() -> None:
    state = layers(20) | {"20.weight": torch.ones(2, 2), "x": torch.ones(1)}
    origins = {name: f"theirs.{name}" for name in layers(21)}
    report = load_matching(stack(), state, origins=origins)
    assert report.unexpected == ("theirs.20.weight", "x")


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
    stored = tiny()
    stored(torch.rand(2, 3, 8, 32, 32))  # moves the running statistics
    stored.eval()
    tensors = {f"encoder.{name}": tensor for name, tensor in stored.state_dict().items()}
    tensors["projector.0.weight"] = torch.ones(2, 2)
    save_weights(tmp_path / "model.safetensors", tensors, {})
    encoder = tiny().eval()
    with caplog.at_level(logging.INFO, "cvrl"):
        report = load_pretrained(encoder, tmp_path / "model.safetensors")
    assert report.unexpected == ("projector.0.weight",)
    first, second = (record.getMessage() for record in caplog.records)
    assert first.endswith("65 of 65 tensors match (100.0 %)")
    assert second.endswith("the encoder is used, its heads (1 tensors) are left out")
    clips = torch.rand(1, 3, 8, 32, 32)
    assert torch.equal(encoder(clips), stored(clips))


def test_another_networks_file_is_refused_by_name(tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", nn.Linear(2, 2).state_dict(), {})
    with pytest.raises(UserError, match=r"w\.safetensors: 0 of 65 tensors match") as caught:
        load_pretrained(tiny(), tmp_path / "w.safetensors")
    assert "2 not used (" in str(caught.value)
