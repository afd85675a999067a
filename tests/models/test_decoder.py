"""The decoder returns the clip's size for every encoder, and paints a cell near where it stands."""

import pytest
import torch

from cvrl.models.backbones import build_encoder
from cvrl.models.decoder import MapDecoder


@pytest.mark.parametrize("size", [(8, 32, 32), (9, 48, 40), (16, 33, 65)])
@pytest.mark.parametrize(
    "keywords",
    [{}, {"stem_stride": [2, 3, 1], "time_strides": [1, 1, 2, 1]}, {"stem_stride": [1, 1, 1]}],
)
def test_it_has_the_size_of_the_clip_whatever_the_strides(size, keywords):
    encoder = build_encoder("r3d_small", width=2, **keywords)
    clips = torch.rand(2, 3, *(max(a, b) for a, b in zip(size, encoder.strides, strict=True)))
    decoder = MapDecoder(encoder.dim, encoder.strides, width=4)
    painted = decoder(encoder.stages(clips)["res5"], tuple(clips.shape[2:]))
    assert painted.shape == clips.shape


@pytest.mark.parametrize("name", ["r3d18", "r3d50"])
def test_it_fits_the_large_networks(name):
    with torch.device("meta"):
        encoder = build_encoder(name)
        clips = torch.rand(1, 3, 16, 112, 100)
        decoder = MapDecoder(encoder.dim, encoder.strides)
        assert decoder(encoder.stages(clips)["res5"], (16, 112, 100)).shape == clips.shape


@torch.no_grad()
def test_a_cell_is_painted_where_it_stands():
    torch.manual_seed(0)
    decoder = MapDecoder(4, (2, 16, 16), width=4).eval()
    plain = torch.zeros(1, 4, 4, 4, 4)
    moved = plain.clone()
    moved[0, :, 1, 2, 3] = 5.0
    size = (8, 64, 64)
    changed = (decoder(moved, size) - decoder(plain, size)).abs().sum(dim=1)[0] > 1e-6
    frames, rows, columns = (torch.unique(axis) for axis in changed.nonzero(as_tuple=True))
    # Its own block of 2 frames and 16x16 pixels, and one neighbour of the 3x3x3 convolution.
    assert frames.min() >= 1 and frames.max() <= 4
    assert rows.min() >= 24 and rows.max() < 56 and columns.min() >= 40
    assert changed[2:4, 32:48, 48:].float().mean() > 0.5
