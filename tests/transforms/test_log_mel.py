"""A tone lies in the bin of its pitch and at its time; silence is -1."""

import math

import pytest
import torch

from cvrl.transforms.log_mel import log_mel, mel_filters

RATE, HOW = 16_000, {"bins": 32, "window": 0.025, "hop": 0.01}


def tone(hertz, seconds=1.0):
    return torch.sin(2 * math.pi * hertz * torch.arange(round(seconds * RATE)) / RATE)


@pytest.mark.parametrize("hertz", [200, 440, 1000, 3000, 6500])
def test_a_tone_lies_in_its_bin(hertz):
    found = int(log_mel(tone(hertz), RATE, **HOW).mean(dim=1).argmax())
    top = 2595 * math.log10(1 + RATE / 2 / 700)
    expected = 2595 * math.log10(1 + hertz / 700) / top * 33 - 1
    assert abs(found - expected) <= 0.75


def test_it_is_loud_when_it_sounds():
    wave = torch.cat([torch.zeros(RATE // 2), tone(1000, 0.5)])
    loudness_F = log_mel(wave, RATE, **HOW).max(dim=0).values
    assert loudness_F.shape == (101,)
    assert (loudness_F[:48] < -0.9).all() and (loudness_F[53:99] > 0.7).all()


def test_silence_is_minus_one_and_ten_times_the_amplitude_two_thirds_more():
    silence = log_mel(torch.zeros(RATE), RATE, **HOW)
    assert torch.equal(silence, torch.full_like(silence, -1.0))
    loud, soft = (log_mel(scale * tone(1000), RATE, **HOW).max() for scale in (1.0, 0.1))
    assert loud.item() < 1.5
    assert (loud - soft).item() == pytest.approx(2 / 3, abs=1e-3)


def test_neighbouring_filters_share_every_frequency_between_them():
    filters_MK = mel_filters(20, 2049, RATE)
    assert filters_MK.min() == 0 and filters_MK.max() <= 1
    peaks = filters_MK.argmax(dim=1)
    assert (peaks.diff() > 0).all()
    inside = filters_MK.sum(dim=0)[peaks[0] + 1 : peaks[-1]]
    torch.testing.assert_close(inside, torch.ones_like(inside), atol=1e-4, rtol=0)
