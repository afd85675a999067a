"""Log-mel spectrograms: the picture of a sound that an audio encoder sees.

Shapes: S samples, M mel bins, F frames of the spectrogram, K frequencies.
"""

import math

import torch
from torch import Tensor

QUIET = 1e-6  # power that is added before the logarithm, about that of 16-bit rounding noise


def log_mel(wave_S: Tensor, rate: int, *, bins: int, window: float, hop: float) -> Tensor:
    """The log-mel spectrogram of a sound, roughly in [-1.5, 1.5].

    Power in Hann windows, summed in triangles that are equally wide on the mel scale, in decibels
    from silence at -1 to a full-scale tone at about 1.

    Args:
        wave_S: float samples in [-1, 1].
        rate: samples a second.
        bins: M, from 0 to rate / 2 hertz.
        window: seconds of a window.
        hop: seconds from one window to the next.

    Returns:
        (M, F), F = 1 + S // (samples a hop).

    Example:
        >>> wave = torch.sin(2 * math.pi * 1000 * torch.arange(16_000) / 16_000)
        >>> log_mel(wave, 16_000, bins=32, window=0.025, hop=0.01).shape
        torch.Size([32, 101])
    """
    width, step = round(window * rate), round(hop * rate)
    size = 2 ** math.ceil(math.log2(width))
    spectrum_KF = torch.stft(
        wave_S,
        n_fft=size,
        hop_length=step,
        win_length=width,
        window=torch.hann_window(width, dtype=wave_S.dtype),
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    power_KF = spectrum_KF.abs().square() / (width / 2) ** 2
    power_MF = mel_filters(bins, size // 2 + 1, rate).to(power_KF) @ power_KF
    return (power_MF + QUIET).log10() / 3 + 1


def mel_filters(bins: int, frequencies: int, rate: int) -> Tensor:
    """Triangles (M, K) over the frequencies 0 to rate / 2, equally wide on the mel scale.

    mel(f) = 2595 log10(1 + f / 700) (O'Shaughnessy, "Speech Communication", 1987).

    Example:
        >>> mel_filters(2, 5, 8000).shape
        torch.Size([2, 5])
    """
    top = 2595 * math.log10(1 + rate / 2 / 700)
    edges = torch.linspace(0, top, bins + 2, dtype=torch.float64)
    hertz = 700 * (10 ** (edges / 2595) - 1)
    frequency_K = torch.linspace(0, rate / 2, frequencies, dtype=torch.float64)
    low, peak, high = hertz[:-2, None], hertz[1:-1, None], hertz[2:, None]
    up_MK = (frequency_K - low) / (peak - low)
    down_MK = (high - frequency_K) / (high - peak)
    return torch.minimum(up_MK, down_MK).clamp(min=0).float()
