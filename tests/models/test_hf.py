"""Encoders of transformers: the features of the library's own models, rebuilt from what is stored.

Nothing here is downloaded: tiny models with random weights are stored and loaded.
"""

import json
import shutil

import pytest
import torch

from cvrl.models.backbones import build_encoder
from cvrl.models.hf import FAMILIES, is_stored_model
from cvrl.utils.errors import UserError

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
NAMES = ("VideoMAE", "VJEPA2", "Timesformer", "Vivit")
CLIP = (4, 32, 32)  # T, H, W of the stored models


def tokens_of(folder, frames_BTHWC):
    """The last tokens of a stored model, by the library alone: its processor, its model."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    processor = transformers.AutoVideoProcessor.from_pretrained(folder)
    as_it_is = {"do_resize": False, "do_center_crop": False, "return_tensors": "pt"}
    inputs = processor(list(frames_BTHWC.permute(0, 1, 4, 2, 3)), **as_it_is)
    with torch.no_grad():
        return model(**inputs).last_hidden_state


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def folder(name, stored_transformer):
    return stored_transformer(name)


@pytest.fixture
def encoder(folder):
    return build_encoder("hf", model=str(folder)).eval()


def test_the_feature_is_the_mean_of_the_librarys_own_tokens(encoder, folder):
    frames_BTHWC = torch.randint(0, 256, (2, *CLIP, 3), dtype=torch.uint8)
    tokens_BND = tokens_of(folder, frames_BTHWC)
    n_patches = torch.tensor(CLIP).div(torch.tensor(encoder.strides)).long().prod()
    expected_BD = tokens_BND[:, -n_patches:].mean(dim=1)
    h_BD = encoder(frames_BTHWC.permute(0, 4, 1, 2, 3) / 255)
    torch.testing.assert_close(h_BD, expected_BD, atol=1e-5, rtol=1e-4)
    assert encoder.dim == h_BD.shape[1] == 24


def test_a_cell_of_the_map_is_the_token_of_its_patch(encoder):
    """Time, rows and columns are not mixed up: what is put into one token moves its cell most."""
    clip_BCTHW = torch.rand(1, 3, *CLIP)
    t, h, w = encoder.strides
    changed_BCTHW = clip_BCTHW.clone()
    changed_BCTHW[..., -t:, h : 2 * h, 2 * w : 3 * w] += 3.0
    before, after = (encoder.stages(x)["res5"] for x in (clip_BCTHW, changed_BCTHW))
    shift_thw = (after - before).square().sum(dim=1)[0]
    place = torch.unravel_index(shift_thw.argmax(), shift_thw.shape)
    assert tuple(map(int, place)) == (shift_thw.shape[0] - 1, 1, 2)


def test_the_spec_rebuilds_it_without_the_folder(encoder):
    spec = json.loads(json.dumps(encoder.spec))
    other = build_encoder(**spec).eval()
    clips = torch.rand(2, 3, *CLIP)
    assert not torch.allclose(other(clips), encoder(clips), atol=1e-3)  # random weights
    other.load_state_dict(encoder.state_dict())
    assert torch.equal(other(clips), encoder(clips)) and other.spec == encoder.spec


def test_random_weights_where_they_are_asked_for(encoder, folder):
    fresh = build_encoder("hf", model=str(folder), pretrained=False).eval()
    clips = torch.rand(2, 3, *CLIP)
    assert fresh.spec == encoder.spec
    assert not torch.allclose(fresh(clips), encoder(clips), atol=1e-3)


def test_every_weight_learns_and_is_in_one_layer(encoder):
    encoder.train()
    encoder(torch.rand(2, 3, *CLIP)).square().sum().backward()
    for key, parameter in encoder.named_parameters():
        assert parameter.grad is not None, key
    layers = encoder.layers
    assert len(layers) == 3 and all(layers)  # the embedding and two blocks
    grouped = [id(p) for layer in layers for p in layer]
    assert sorted(grouped) == sorted(id(p) for p in encoder.parameters())


def test_recomputed_activations_give_the_same_gradient(encoder):
    clips, found = torch.rand(2, 3, *CLIP), []
    for recompute in (False, True):
        encoder.train().zero_grad()
        encoder.stem.recompute(recompute)
        encoder(clips).square().sum().backward()
        found.append([p.grad.clone() for p in encoder.parameters()])
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("shape", [(3, 8, 32, 32), (3, 4, 48, 48)])
def test_other_clips_are_refused(encoder, shape):
    with pytest.raises(UserError, match=r"takes 4 frames of 32x32 pixels; set clip.frames=4"):
        encoder(torch.rand(1, *shape))


@pytest.mark.parametrize("given", ["residual", "derivatives", "alternating"])
def test_other_inputs_than_frames_are_refused(stored_transformer, given):
    """It was trained on frames, and its own mean and std are those of frames."""
    with pytest.raises(UserError, match=rf"clip.input = {given}: does not suit .*; use rgb"):
        build_encoder("hf", input=given, model=str(stored_transformer("VideoMAE")))


def test_only_relative_positions_take_other_clips(folder, name):
    other = {"model": str(folder), "frames": 8, "size": 48}
    if name != "VJEPA2":
        with pytest.raises(UserError, match=r"encoder.frames = 8: .* takes 4 alone"):
            build_encoder("hf", **other)
        return
    encoder = build_encoder("hf", **other).eval()
    assert encoder(torch.rand(1, 3, 8, 48, 48)).shape == (1, 24)
    assert build_encoder(**encoder.spec).clip_shape == encoder.clip_shape == (8, 48, 48)
    with pytest.raises(UserError, match="multiples of 2"):
        build_encoder("hf", model=str(folder), frames=7)


def test_a_classifier_gives_its_encoder(stored_transformer, tmp_path):
    """A model that was stored with a head has its encoder under another name."""
    config = transformers.AutoConfig.from_pretrained(stored_transformer("VideoMAE"))
    classifier = transformers.VideoMAEForVideoClassification(config).eval()
    classifier.save_pretrained(tmp_path)
    encoder = build_encoder("hf", model=str(tmp_path)).eval()
    for key, tensor in classifier.videomae.state_dict().items():
        assert torch.equal(encoder.stem.model.state_dict()[key], tensor), key


def test_without_a_processor_the_familys_is_used_and_named(stored_transformer, tmp_path, caplog):
    shutil.copytree(stored_transformer("Vivit"), tmp_path, dirs_exist_ok=True)
    (tmp_path / "video_preprocessor_config.json").unlink(missing_ok=True)
    (tmp_path / "preprocessor_config.json").unlink(missing_ok=True)
    encoder = build_encoder("hf", model=str(tmp_path))
    assert encoder.spec["mean"] == [0.75] * 3 and encoder.spec["std"] == [0.25] * 3
    assert "has no preprocessor_config.json" in caplog.text


def test_weights_that_are_not_all_there_are_refused(stored_transformer, tmp_path):
    config = transformers.AutoConfig.from_pretrained(stored_transformer("VideoMAE"))
    config.num_hidden_layers = 1
    transformers.VideoMAEModel(config).save_pretrained(tmp_path)
    config.num_hidden_layers = 2
    config.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"lacks \d+ tensors .*encoder\.layer\.1"):
        build_encoder("hf", model=str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(UserError, match="weights cannot be loaded"):
        build_encoder("hf", model=str(tmp_path))


def test_what_is_no_video_model_is_refused(stored_transformer, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=r"encoder.model = .*none.* is no folder with config.json"):
        build_encoder("hf", model=str(tmp_path / "none"))
    transformers.BertConfig().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="is a bert, not a known video model"):
        build_encoder("hf", model=str(tmp_path))
    with pytest.raises(UserError, match=r"encoder\.model: is missing"):
        build_encoder("hf")
    config = transformers.AutoConfig.from_pretrained(stored_transformer("Timesformer"))
    config.attention_type = "space_only"
    config.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="encodes frames apart"):
        build_encoder("hf", model=str(tmp_path))


def test_a_folder_is_told_by_its_config(folder, name, tmp_path):
    assert is_stored_model(folder) and not is_stored_model(tmp_path)
    assert {"VideoMAE", "VJEPA2", "Timesformer", "Vivit"} == {
        family.model.removesuffix("Model") for family in FAMILIES.values()
    }
