"""The audio encoder takes spectrograms of any length and does not depend on their scale."""

import pytest
import torch

from cvrl.models.audio import AudioEncoder


@pytest.mark.parametrize("shape", [(16, 20), (64, 101), (128, 301)])
def test_one_vector_a_window(shape):
    encoder = AudioEncoder(width=4)
    assert encoder.dim == 32
    assert encoder(torch.rand(3, *shape)).shape == (3, 32)


def test_offset_and_scale_of_decibels_do_not_matter():
    torch.manual_seed(0)
    encoder, sound = AudioEncoder(width=4), torch.rand(4, 32, 40)
    torch.testing.assert_close(encoder(sound), encoder(20 * sound - 7), atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_pitch_and_rhythm_are_seen():
    torch.manual_seed(0)
    encoder, sound = AudioEncoder(width=4).eval(), torch.zeros(1, 32, 40)
    sound[:, 5, ::8] = 1.0
    features = [encoder(s) for s in (sound, sound.roll(9, dims=1), sound.mT.reshape(1, 32, 40))]
    assert all((features[0] - other).abs().max() > 1e-4 for other in features[1:])
