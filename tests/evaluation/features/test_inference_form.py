"""The faster forms of an encoder: the same features, or nearly so where that is asked for."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cvrl.data.clips import ClipSpec
from cvrl.data.manifest import Manifest, make_manifest
from cvrl.evaluation.features import inference_form as inference
from cvrl.evaluation.features.clip_stream import ClipChoice, ClipStream
from cvrl.evaluation.features.feature_files import read_features
from cvrl.evaluation.features.feature_store import Extraction, extract_to_file
from cvrl.evaluation.features.inference_form import PRECISIONS, for_inference
from cvrl.models.backbones import build_encoder
from cvrl.models.inference.folded import FrozenConv, freeze
from cvrl.models.inference.int8 import Int8Encoder
from cvrl.models.inference.overlapping import still_stages
from cvrl.transforms import recipes
from cvrl.utils.errors import UserError

CLIPS = torch.rand(6, 3, 8, 32, 32, generator=torch.Generator().manual_seed(0))


def lived_in(name="r3d_small", **keywords):
    """An encoder whose norms do something: those of a fresh one neither scale nor shift."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = build_encoder(name, **keywords).eval()
        for norm in encoder.modules():
            if isinstance(norm, nn.BatchNorm3d):
                nn.init.uniform_(norm.running_mean, -0.3, 0.3)
                nn.init.uniform_(norm.running_var, 0.5, 2.0)
                nn.init.uniform_(norm.weight, 0.5, 1.5)
    encoder.clip, encoder.size = ClipSpec(frames=8, stride=2), 32
    encoder.preprocess = recipes.evaluation(32, normalise=True)
    return encoder


@pytest.fixture
def broken(tmp_path):
    file = tmp_path / "broken.mp4"
    file.write_text("this is no video")
    return str(file)


# --- what comes back -----------------------------------------------------------------------------


@pytest.mark.parametrize("keywords", [{}, {"stem_kernel": (1, 7, 7)}, {"blocks": (2, 1, 1, 2)}])
@torch.no_grad()
def test_fp32_gives_the_features_of_the_plain_form(videos, keywords):
    encoder = lived_in(width=8, **keywords)
    fast = for_inference(encoder, "fp32", videos)
    assert fast is not encoder and not any(isinstance(m, nn.BatchNorm3d) for m in fast.modules())
    plain = encoder.stages(CLIPS)
    for name, values in fast.stages(CLIPS).items():
        scale = float(plain[name].abs().max())
        torch.testing.assert_close(values, plain[name], atol=1e-5 * scale, rtol=1e-5)


def test_the_encoder_stays_as_it_is(videos):
    encoder = lived_in(width=4).train()
    before = copy.deepcopy(encoder.state_dict())
    for precision in PRECISIONS:
        for_inference(encoder, precision, videos)
    assert encoder.training and encoder.stem[1].training
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())


def test_what_is_kept_beside_the_encoder_goes_along(videos):
    encoder = lived_in(width=4)
    encoder.projector = nn.Linear(encoder.dim, 3)
    for precision in PRECISIONS:
        made = for_inference(encoder, precision, videos)
        assert made.projector is encoder.projector and made.preprocess is encoder.preprocess
        assert (made.clip, made.size, made.dim) == (encoder.clip, encoder.size, encoder.dim)
        assert made.spec == encoder.spec and made.stage_dims == encoder.stage_dims


def test_plain_is_the_encoder_itself(videos):
    encoder = lived_in(width=4)
    assert for_inference(encoder, "plain", videos) is encoder


@pytest.mark.parametrize("layer", [nn.GELU(), nn.Sequential(nn.GELU()), nn.BatchNorm3d(32)])
def test_a_network_of_another_kind_stays_as_it_is(videos, layer):
    encoder = lived_in(width=4)
    encoder.res5.append(layer)  # no block of convolutions, or a norm that follows none
    assert for_inference(encoder, "fp32", videos) is encoder


# --- in bytes ------------------------------------------------------------------------------------


@torch.no_grad()
def test_int8_features_lie_beside_those_in_floats(videos):
    encoder = lived_in(width=16)
    bytewise = for_inference(encoder, "int8", videos)
    assert isinstance(bytewise, Int8Encoder)
    near = F.cosine_similarity(bytewise(CLIPS), encoder(CLIPS))
    assert near.min() > 0.98  # of noise, which looks like none of the videos ranges came from


@torch.no_grad()
def test_int8_is_the_same_each_time_it_is_made(videos):
    encoder = lived_in(width=8)
    one, other = (for_inference(encoder, "int8", videos) for _ in range(2))
    assert torch.equal(one(CLIPS), other(CLIPS))


def test_ranges_come_from_videos_all_over_the_list(videos, monkeypatch):
    asked = []
    take = Manifest.take
    monkeypatch.setattr(inference, "CALIBRATION", 3)

    def spy(manifest, rows):
        asked.append(list(rows))
        return take(manifest, rows)

    monkeypatch.setattr(Manifest, "take", spy)
    for_inference(lived_in(width=4), "int8", videos)
    last = len(videos) - 1
    assert asked == [[0, round(last / 2), last]]


def test_a_bad_video_tells_no_ranges(videos, broken):
    encoder = lived_in(width=4)
    some = make_manifest({"path": [broken, *videos.paths[:2]]}, root="/")
    good = make_manifest({"path": videos.paths[:2]}, root="/")
    with torch.no_grad():
        ours, theirs = (for_inference(encoder, "int8", m)(CLIPS) for m in (some, good))
    assert torch.equal(ours, theirs)


def test_no_ranges_at_all_are_refused(broken):
    bad = make_manifest({"path": [broken]}, root="/")
    with pytest.raises(UserError, match="no video to measure ranges on decodes; use fp32"):
        for_inference(lived_in(width=4), "int8", bad)


# --- in an extraction ----------------------------------------------------------------------------


@pytest.fixture
def stored(videos, tmp_path):
    """Features of all videos in a precision, as a file keeps them."""

    def extract(precision, **how):
        file = tmp_path / f"{precision}.npy"
        extraction = Extraction(lived_in(width=16), ClipChoice(clips=2), precision=precision, **how)
        extract_to_file(extraction, videos, file)
        return read_features(file).vectors_ND

    return extract


def test_precisions_agree_in_a_file(stored):
    plain = stored("plain")
    np.testing.assert_allclose(stored("fp32"), plain, atol=1e-5 * np.abs(plain).max())
    bytewise = stored("int8")
    assert not np.array_equal(bytewise, plain)
    near = F.cosine_similarity(torch.tensor(bytewise), torch.tensor(plain))
    assert near.min() > 0.99


def test_a_file_begun_in_another_precision_is_not_gone_on_with(videos, tmp_path, monkeypatch):
    encoder, file = lived_in(width=4), tmp_path / "f.npy"
    plain, bytewise = (
        Extraction(encoder, ClipChoice(clips=1), precision=p) for p in ("plain", "int8")
    )
    whole = ClipStream.__iter__

    def cut_short(stream):
        for done, piece in enumerate(whole(stream)):
            if done == 3:
                raise KeyboardInterrupt
            yield piece

    monkeypatch.setattr(ClipStream, "__iter__", cut_short)
    with pytest.raises(KeyboardInterrupt):
        extract_to_file(plain, videos, file, batch_clips=1, shard_videos=1)
    monkeypatch.setattr(ClipStream, "__iter__", whole)
    with pytest.raises(UserError, match="precision"):
        extract_to_file(bytewise, videos, file, shard_videos=1)
    assert not file.exists()
    extract_to_file(plain, videos, file, shard_videos=1)
    assert '"precision": "plain"' in file.with_name("f.npy.report.json").read_text()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_overlapping_clips_in_every_precision(videos, tmp_path, precision):
    """Frames are shared where the form allows it, and the features stay."""
    encoder = lived_in(width=8, stem_kernel=(1, 7, 7))
    found = []
    for share in (True, False):
        file = tmp_path / f"{share}.npy"
        extraction = Extraction(
            encoder, ClipChoice(overlap=0.5), precision=precision, share_frames=share
        )
        extract_to_file(extraction, videos.take([0, 1]), file)
        found.append(read_features(file).vectors_ND)
    np.testing.assert_allclose(found[0], found[1], atol=1e-5 * np.abs(found[1]).max())


def test_a_frozen_encoder_has_the_same_still_stages():
    for keywords in ({}, {"stem_kernel": (1, 7, 7)}):
        encoder = lived_in(width=4, **keywords)
        assert still_stages(freeze(encoder)) == still_stages(encoder)
    slow = build_encoder("slow_r50")
    assert still_stages(freeze(slow)) == ("stem", "res2", "res3")
    assert any(isinstance(m, FrozenConv) for m in freeze(slow).res2.modules())


def test_neighbours_are_the_same_in_fp32(stored):
    plain, fast = (torch.tensor(stored(p)) for p in ("plain", "fp32"))
    ranks = [
        F.normalize(v, dim=1).matmul(F.normalize(v, dim=1).T).fill_diagonal_(-1).argmax(dim=1)
        for v in (plain, fast)
    ]
    assert torch.equal(ranks[0], ranks[1])
