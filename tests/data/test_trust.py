"""What is trusted, and what sends a file the slow and certain way."""

from dataclasses import replace

import pytest

from cvrl.data.packets import Packets
from cvrl.data.trust import Traits, packets_are_frames

MP4 = Traits(
    containers=frozenset(("mov", "mp4", "m4a")),
    codec="h264",
    first_pts=0,
    interlaced=False,
)
AVI = replace(MP4, containers=frozenset(("avi",)), codec="mpeg4")


def _packets(*, reordered=False, size=100):
    packets = Packets()
    for pts, dts in ((0, 0), (2, 1), (1, 2)) if reordered else ((0, 0), (1, 1), (2, 2)):
        packets.append(pts, dts=dts, size=size, is_key=pts == 0)
    return packets


def _kept(traits, packets):
    return packets_are_frames(traits, packets, packets.timeline())


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "libdav1d", "mpeg4"])
@pytest.mark.parametrize("container", ["mov", "matroska"])
def test_common_files_keep_their_promise_with_b_frames_too(codec, container):
    traits = replace(MP4, codec=codec, containers=frozenset((container,)))
    assert _kept(traits, _packets(reordered=True))


@pytest.mark.parametrize(
    "traits",
    [
        replace(MP4, containers=frozenset(("mpegts",))),
        replace(MP4, codec="vp8"),
        replace(MP4, first_pts=1),
        replace(MP4, first_pts=None),
        replace(MP4, interlaced=True),
    ],
    ids=["container", "hidden frames", "leading frames lost", "no time", "fields"],
)
def test_others_are_decoded_once_to_be_counted(traits):
    assert not _kept(traits, _packets())


def test_an_avi_with_b_frames_has_guessed_times():
    assert _kept(AVI, _packets())
    assert not _kept(AVI, _packets(reordered=True))


def test_an_mpeg4_packet_without_a_picture_gives_no_frame():
    assert not _kept(AVI, _packets(size=7))
    assert _kept(replace(AVI, codec="h264"), _packets(size=7))
    assert not _kept(replace(AVI, codec="h264"), _packets(size=0))
