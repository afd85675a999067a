"""The reward of a video along a demonstration, from files to numbers."""

import csv

import numpy as np
import pytest
import torch

from cvrl.data.clips import ClipSpec
from cvrl.evaluation.prediction.reward import embed, reward_along, write_reward
from cvrl.models.backbones import build_encoder
from cvrl.models.heads import mlp
from cvrl.pretrained import load_encoder, save_model
from cvrl.utils.errors import UserError
from cvrl.video.encode import write_mp4

FPS = 10.0


def film(path, shown):
    """A bright square that stands at the given places of a dark picture."""
    frames = []
    for place in shown:
        picture = np.zeros((32, 64, 3), np.uint8)
        picture[8:24, place : place + 16] = (230, 60, 30)
        frames.append(picture)
    write_mp4(path, frames, FPS)
    return path


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    places = np.arange(0, 48, 2)
    return {
        "shown": film(folder / "shown.mp4", places),
        "slow": film(folder / "slow.mp4", places.repeat(2)),
        "back": film(folder / "back.mp4", places[::-1]),
    }


@pytest.fixture(scope="module", params=[False, True], ids=["pooled", "projected"])
def encoder(tmp_path_factory, request):
    torch.manual_seed(0)
    made = build_encoder("r3d_small", width=4, time_strides=[1, 1, 1, 1])
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    head = mlp(made.dim, 8, 1, 4) if request.param else None
    save_model(path, made, clip=ClipSpec(2, 1), size=32, projector=head)
    return load_encoder(path)


def test_it_is_the_equation_on_the_embeddings_of_the_moments(encoder, films):
    (times, v), (_, w) = embed(encoder, (films["shown"], films["back"]), every=0.2)
    assert v.shape[1] == (encoder.dim if encoder.projector is None else 4)
    how = {"alpha": 0.3, "beta": 0.7, "gamma": 0.01}
    reward = reward_along(encoder, films["shown"], films["back"], every=0.2, **how)
    for n in range(len(times)):
        square = sum((a - b) ** 2 for a, b in zip(w[n].tolist(), v[n].tolist(), strict=True))
        expected = -0.3 * square - 0.7 * (0.01 + square) ** 0.5
        assert reward.reward_N[n] == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(reward.seconds_N, times)
    np.testing.assert_allclose(reward.matched_N, times)
    assert times[:3] == pytest.approx([0.0, 0.2, 0.4])


def test_the_demonstration_itself_has_the_most(encoder, films):
    for match in ("time", "dtw"):
        reward = reward_along(encoder, films["shown"], films["shown"], every=0.2, match=match)
        np.testing.assert_allclose(reward.reward_N, reward.most, atol=1e-6)
    worse = reward_along(encoder, films["shown"], films["back"], every=0.2)
    assert worse.reward_N.mean() < reward.most - 1e-4


def test_pace_does_not_count_under_dtw_and_is_refused_under_time(encoder, films):
    slow = reward_along(encoder, films["shown"], films["slow"], every=0.2, match="dtw")
    back = reward_along(encoder, films["shown"], films["back"], every=0.2, match="dtw")
    assert slow.reward_N.mean() > back.reward_N.mean()
    assert (np.diff(slow.matched_N) >= 0).all()
    middle = len(slow.seconds_N) // 2
    assert slow.matched_N[middle] == pytest.approx(slow.seconds_N[middle] / 2, abs=0.45)
    with pytest.raises(UserError, match=r"slow\.mp4: has \d+ moments .* use --match dtw"):
        reward_along(encoder, films["shown"], films["slow"], every=0.2)


@pytest.mark.parametrize(
    ("name", "value"), [("every", 0.0), ("alpha", -1.0), ("beta", -1.0), ("gamma", -1e-3)]
)
def test_numbers_out_of_range_are_refused(encoder, films, name, value):
    with pytest.raises(UserError, match=f"--{name}"):
        reward_along(encoder, films["shown"], films["back"], **{name: value})


def test_the_file_has_a_row_a_moment(encoder, films, tmp_path):
    reward = reward_along(encoder, films["shown"], films["slow"], every=0.2, match="dtw")
    with open(write_reward(reward, tmp_path / "r.csv")) as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["seconds", "demonstration_seconds", "reward"]
    found = np.array([[float(value) for value in row.values()] for row in rows])
    expected = np.stack([reward.seconds_N, reward.matched_N, reward.reward_N], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)
