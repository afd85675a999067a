"""ONNX and .pt2 files of every backbone, against the model they were made from."""

import json
import shutil

import numpy as np
import pytest
import torch

from cvrl.data.clips import ClipSpec
from cvrl.data.manifest import read_manifest
from cvrl.export.files import export_file, read_facts
from cvrl.models.backbones import build_encoder
from cvrl.models.classifier import Classifier
from cvrl.models.heads import ClassHead
from cvrl.pretrained import load_with_head, save_model
from cvrl.utils.errors import UserError

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

SMALL = {"name": "r3d_small", "width": 4}
BACKBONES = {
    "r3d_small": SMALL,
    "residual": {**SMALL, "input": "residual"},
    "derivatives": {**SMALL, "input": "derivatives"},
    "alternating": {**SMALL, "input": "alternating"},
    "r3d18": {"name": "r3d18"},
    "r2plus1d18": {"name": "r2plus1d18"},
    "slow_r50": {"name": "slow_r50"},
    "r3d50": {"name": "r3d50"},
}
LARGE = pytest.mark.slow  # a few seconds each
NAMES = [
    name if name in list(BACKBONES)[:3] else pytest.param(name, marks=LARGE) for name in BACKBONES
]
FAMILIES = ("VideoMAE", "VJEPA2", "Timesformer", "Vivit")
FRAMES, SIZE = 8, 32


@pytest.fixture(scope="module")
def videos(video_folder):
    return read_manifest(video_folder)


@pytest.fixture
def store(tmp_path):
    """A function from an encoder's keywords to the model, as it is loaded from a file."""

    def stored(classes=(), normalise=False, **keywords):
        encoder = build_encoder(**keywords)
        with torch.no_grad():  # running statistics as after training: not 0 and 1
            encoder.train()(torch.rand(4, 3, FRAMES, SIZE, SIZE))
        head = ClassHead(encoder.dim, classes) if classes else None
        facts = {"clip": ClipSpec(FRAMES, 2), "size": SIZE, "normalise": normalise}
        save_model(tmp_path / "model.safetensors", encoder, class_head=head, **facts)
        encoder, head = load_with_head(tmp_path / "model.safetensors")
        return encoder if head is None else Classifier(encoder, head).eval()

    return stored


def answers(path, given):
    """What a file answers, by the runtime alone: nothing of this package."""
    if path.suffix == ".pt2":
        with torch.inference_mode():
            return torch.export.load(path).module()(torch.from_numpy(given)).numpy()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: given})[0]


def close(path, given, model, clips):
    with torch.inference_mode():
        expected = model(clips).numpy()
    found = answers(path, given)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("format", ["onnx", "torch"])
@pytest.mark.parametrize("name", NAMES)
def test_every_backbone_answers_as_the_model(name, format, store, videos, tmp_path):
    model = store(**BACKBONES[name])
    path = tmp_path / f"x{'.onnx' if format == 'onnx' else '.pt2'}"
    (parity,) = export_file(model, path, videos, format=format, takes="float", clips=3).values()
    assert parity.clips == 3 and parity.difference < 1e-4 and parity.cosine > 0.9999
    for batch in (1, 5):
        clips = torch.rand(batch, 3, FRAMES, SIZE, SIZE)
        close(path, clips.numpy(), model, clips)
    facts = read_facts(path)
    assert facts["kind"] == "encoder" and facts["labels"] is None
    assert facts["encoder"]["name"] == BACKBONES[name]["name"]
    assert facts["parity"]["difference"] == parity.difference


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_stored_transformer_answers_as_the_model(family, stored_transformer, videos, tmp_path):
    encoder = load_with_head(stored_transformer(family))[0]
    export_file(encoder, tmp_path / "x.onnx", videos, clips=2)
    frames = np.random.default_rng(0).integers(0, 256, (3, 4, 32, 32, 3), dtype=np.uint8)
    clips = encoder.preprocess(torch.from_numpy(frames).permute(0, 4, 1, 2, 3))
    close(tmp_path / "x.onnx", frames, encoder, clips)


@pytest.mark.parametrize("format", ["onnx", "torch"])
@pytest.mark.parametrize("normalise", [False, True])
def test_a_classifier_takes_bytes_and_knows_its_labels(normalise, format, store, videos, tmp_path):
    model = store(classes=["run", "jump", "été"], normalise=normalise, **BACKBONES["residual"])
    path = tmp_path / f"x{'.onnx' if format == 'onnx' else '.pt2'}"
    export_file(model, path, videos, format=format, clips=2)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (3, FRAMES, SIZE, SIZE, 3), dtype=np.uint8)
    clips = model.encoder.preprocess(torch.from_numpy(frames).permute(0, 4, 1, 2, 3))
    assert clips.min() < -1 if normalise else clips.min() >= 0
    close(path, frames, model, clips)
    facts = read_facts(path)
    assert facts["labels"] == ["run", "jump", "été"] and facts["output"] == "probabilities"
    assert facts["input"]["shape"] == ["batch", FRAMES, SIZE, SIZE, 3]
    assert facts["clip"]["stride"] == 2 and facts["size"] == SIZE
    assert json.loads(json.dumps(facts)) == facts


def test_int8_is_a_second_file_with_its_cosine(store, videos, tmp_path):
    model = store(name="r3d_small", width=8)
    written = export_file(model, tmp_path / "x.onnx", videos, int8=True, clips=6)
    plain, small = written
    assert small.name == "x.int8.onnx" and written[small].clips == 3
    assert 0.97 < written[small].cosine < 1
    facts = read_facts(small)
    assert facts["int8"] and facts["parity"]["cosine"] == written[small].cosine
    assert small.stat().st_size < 0.5 * plain.stat().st_size
    frames = np.zeros((2, FRAMES, SIZE, SIZE, 3), dtype=np.uint8)
    assert answers(small, frames).shape == (2, model.dim)


def test_a_file_that_answers_otherwise_is_not_written(store, videos, tmp_path, monkeypatch):
    from cvrl.export import files

    wrong = store(**SMALL)
    monkeypatch.setattr(files, "answers_of", lambda *_: np.ones((2, wrong.dim), np.float32))
    for name, format in (("x.onnx", "onnx"), ("x.pt2", "torch")):
        with pytest.raises(UserError, match=r"differ by .* from the model's; at most 1e-04"):
            export_file(wrong, tmp_path / name, videos, format=format, clips=2)
        assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("name", "keywords", "message"),
    [
        ("x.bin", {}, r"does not end in \.onnx"),
        ("x.onnx", {"format": "torch"}, r"does not end in \.pt2"),
        ("x.pt2", {"format": "torch", "int8": True}, "use --format onnx"),
        ("x.onnx", {"int8": True, "clips": 1}, "too few for --int8"),
    ],
)
def test_what_cannot_be_written_is_refused(name, keywords, message, store, videos, tmp_path):
    with pytest.raises(UserError, match=message):
        export_file(store(**SMALL), tmp_path / name, videos, **keywords)


def test_an_encoder_without_clips_is_refused(videos, tmp_path):
    with pytest.raises(UserError, match=r"load it with cvrl\.load_encoder"):
        export_file(build_encoder(**SMALL), tmp_path / "x.onnx", videos)


def test_videos_that_cannot_be_decoded_are_left_out(store, video_folder, tmp_path):
    good = next(video_folder.rglob("*.mp4"))
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "bad.mp4").write_bytes(b"no video")
    model = store(**SMALL)
    bad = read_manifest(folder)
    with pytest.raises(UserError, match="cannot be decoded"):
        export_file(model, tmp_path / "x.pt2", bad, format="torch")
    shutil.copy(good, folder / "good.mp4")
    written = export_file(model, tmp_path / "x.pt2", read_manifest(folder), format="torch")
    assert [parity.clips for parity in written.values()] == [1]
