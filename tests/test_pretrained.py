"""An encoder comes back as it was saved, with all that is needed to use it."""

import pytest
import torch

from cvrl import load_classifier, load_encoder
from cvrl.data.clips import ClipSpec
from cvrl.models import heads
from cvrl.models.backbones import build_encoder
from cvrl.models.weights import load_pretrained, save_weights
from cvrl.pretrained import load_with_head, save_model
from cvrl.transforms import recipes
from cvrl.utils.errors import UserError

CLIP = ClipSpec(frames=8, stride=3, short_video="repeat", fps=12.5)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return build_encoder("r3d_small", width=4).eval()


def saved(encoder, folder, **keywords):
    save_model(folder / "model.safetensors", encoder, clip=CLIP, size=40, **keywords)
    return folder


def test_features_are_the_same_after_the_round_trip(encoder, tmp_path):
    loaded = load_encoder(saved(encoder, tmp_path))
    clips = torch.rand(2, 3, 8, 40, 40)
    assert torch.equal(loaded(clips), encoder(clips))
    assert (loaded.clip, loaded.size, loaded.spec) == (CLIP, 40, encoder.spec)
    assert loaded.projector is None and not loaded.training


def test_a_file_loads_as_its_folder_does(encoder, tmp_path):
    saved(encoder, tmp_path)
    assert load_encoder(tmp_path / "model.safetensors").size == 40


@pytest.mark.parametrize("normalise", [False, True])
def test_preprocess_is_the_evaluation_transform(encoder, tmp_path, normalise):
    loaded = load_encoder(saved(encoder, tmp_path, normalise=normalise))
    clip = torch.full((3, 8, 60, 90), 255, dtype=torch.uint8)
    done = loaded.preprocess(clip)
    assert done.shape == (3, 8, 40, 40)
    white = (1 - 0.45) / 0.225 if normalise else 1.0
    torch.testing.assert_close(done, torch.full_like(done, white))


@pytest.mark.parametrize(("size", "short_side"), [(48, None), (None, 80), (48, 56)])
def test_another_size_is_that_of_the_evaluation_transform(encoder, tmp_path, size, short_side):
    file = tmp_path / "model.safetensors"
    save_model(file, encoder, clip=ClipSpec(8, 4), size=64, normalise=True)
    loaded = load_encoder(file, size=size, short_side=short_side)
    frames = torch.randint(0, 256, (3, 8, 90, 120), dtype=torch.uint8)
    expected = recipes.evaluation(size or 64, resize=short_side, normalise=True)
    assert loaded.size == (size or 64)
    assert torch.equal(loaded.preprocess(frames), expected(frames))


def test_frames_smaller_than_the_crop_are_refused(encoder, tmp_path):
    file = tmp_path / "model.safetensors"
    save_model(file, encoder, clip=ClipSpec(8, 4), size=64)
    with pytest.raises(UserError, match="short side = 48: is smaller than the crop of 64 pixels"):
        load_encoder(file, short_side=48)


def test_the_projection_head_comes_along(encoder, tmp_path):
    head = heads.mlp(encoder.dim, 16, 2, 8).eval()
    loaded = load_encoder(saved(encoder, tmp_path, projector=head))
    h = torch.rand(3, encoder.dim)
    assert torch.equal(loaded.projector(h), head(h))
    assert loaded(torch.rand(1, 3, 8, 40, 40)).shape == (1, encoder.dim)


def test_a_loaded_encoder_can_be_saved_again(encoder, tmp_path):
    head = heads.mlp(encoder.dim, 16, 1, 8)
    first = load_encoder(saved(encoder, tmp_path, projector=head))
    (tmp_path / "again").mkdir()
    again = load_encoder(saved(first, tmp_path / "again", projector=first.projector))
    clips = torch.rand(1, 3, 8, 40, 40)
    assert torch.equal(again.projector(again(clips)), first.projector(first(clips)))


@pytest.mark.parametrize("unit_length", [False, True])
@pytest.mark.parametrize("multi_label", [False, True])
def test_the_classifier_comes_along(encoder, tmp_path, multi_label, unit_length):
    how = {"multi_label": multi_label, "unit_length": unit_length, "dropout": 0.5}
    head = heads.ClassHead(encoder.dim, ["run", "jump", "sit"], **how)
    classifier = load_classifier(saved(encoder, tmp_path, class_head=head))
    clips = torch.rand(2, 3, 8, 40, 40)
    h_BD = encoder(clips)
    if unit_length:
        h_BD = h_BD / h_BD.norm(dim=1, keepdim=True)
    logits = h_BD @ head.weight.T + head.bias
    expected = (
        1 / (1 + (-logits).exp()) if multi_label else logits.exp() / logits.exp().sum(1)[:, None]
    )
    torch.testing.assert_close(classifier(clips), expected)
    assert classifier.class_names == ["run", "jump", "sit"]
    assert (classifier.encoder.size, classifier.head.spec) == (40, head.spec)


def test_an_encoder_without_classifier_is_no_classifier(encoder, tmp_path):
    with pytest.raises(UserError, match="trained without labels"):
        load_classifier(saved(encoder, tmp_path))


def test_the_classifier_comes_where_there_is_one(encoder, tmp_path):
    assert load_with_head(saved(encoder, tmp_path))[1] is None
    head = heads.ClassHead(encoder.dim, ["run", "jump"], dropout=0.5)
    loaded, same = load_with_head(saved(encoder, tmp_path, class_head=head))
    h, clips = torch.rand(3, encoder.dim), torch.rand(1, 3, 8, 40, 40)
    assert torch.equal(same(h), head.eval()(h)) and not same.training
    assert torch.equal(loaded(clips), encoder(clips))


def test_missing_and_foreign_files_are_refused(encoder, tmp_path):
    with pytest.raises(UserError, match=r"holds no model.safetensors"):
        load_encoder(tmp_path)
    with pytest.raises(UserError, match="nowhere"):
        load_encoder(tmp_path / "nowhere")
    save_weights(tmp_path / "model.safetensors", encoder.state_dict(), {})
    with pytest.raises(UserError, match="is not a model that cvrl wrote"):
        load_encoder(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_a_truncated_file_is_refused(encoder, tmp_path, share):
    file = saved(encoder, tmp_path) / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=r"model.safetensors"):
        load_encoder(tmp_path)


def test_weights_that_are_not_finite_are_refused(encoder, tmp_path):
    with torch.no_grad():
        next(encoder.parameters())[0] = torch.inf
    saved(encoder, tmp_path)
    for load in (load_encoder, load_classifier):
        with pytest.raises(UserError, match=r"values that are not finite; its training diverged"):
            load(tmp_path)
    with pytest.raises(UserError, match="not finite"):
        load_pretrained(encoder, tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("config.yaml", "is a config, not a model; give the run folder"),
        ("videos.csv", "is a list of videos, not a model"),
        ("eval/knn.json", "is a file of results"),
        ("checkpoints/step_00000002.pt", r"is a checkpoint to resume training from; give .*run$"),
        ("checkpoints", r"is the folder of a run's checkpoints; give .*run$"),
        ("eval", "holds no model.safetensors"),
    ],
)
def test_a_wrong_path_is_told_what_it_is(encoder, tmp_path, name, words):
    run = saved(encoder, tmp_path / "run")
    for file in ("config.yaml", "videos.csv", "eval/knn.json", "checkpoints/step_00000002.pt"):
        (run / file).parent.mkdir(exist_ok=True)
        (run / file).write_text("name: x")
    with pytest.raises(UserError, match=words):
        load_encoder(run / name)


def test_a_run_without_a_model_is_told_so(tmp_path):
    (tmp_path / "config.yaml").write_text("name: x")
    with pytest.raises(UserError, match=r"has saved no model\.safetensors yet"):
        load_encoder(tmp_path)
