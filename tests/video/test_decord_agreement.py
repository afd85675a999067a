"""What is trusted, and what sends a file the slow and certain way."""

from dataclasses import replace

import numpy as np
import pytest

from cvrl.video.decord_agreement import Traits, decord_agrees, packets_are_frames
from cvrl.video.packets import Packets, Timeline

MP4 = Traits(
    containers=frozenset(("mov", "mp4", "m4a")),
    codec="h264",
    video_streams=1,
    claimed_frames=0,
    first_pts=0,
    pixel_format="yuv420p",
    size=(180, 320),
    interlaced=False,
    upright=True,
    clean_keys=True,
)
AVI = replace(MP4, containers=frozenset(("avi",)), codec="mpeg4")


def _packets(*, reordered=False, size=100):
    packets = Packets()
    for pts, dts in ((0, 0), (2, 1), (1, 2)) if reordered else ((0, 0), (1, 1), (2, 2)):
        packets.append(pts, dts=dts, size=size, is_key=pts == 0)
    return packets


def _kept(traits, packets):
    return packets_are_frames(traits, packets, packets.timeline())


def _aligned(frames=100, rows=(0, 12), firsts=(0, 12)):
    return Timeline(np.arange(frames), np.array(rows), np.array(firsts))


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


@pytest.mark.parametrize("traits", [MP4, AVI, replace(MP4, codec="libdav1d")])
def test_decord_agrees_on_the_common_files(traits):
    assert decord_agrees(traits, _aligned())


@pytest.mark.parametrize(
    "traits",
    [
        replace(MP4, containers=frozenset(("mpegts",))),
        replace(MP4, containers=frozenset(("avi",))),
        replace(MP4, codec="hevc"),
        replace(MP4, pixel_format="yuv420p10le"),
        replace(MP4, size=(181, 320)),
        replace(MP4, size=(180, 321)),
        replace(MP4, upright=False),
        replace(MP4, video_streams=2),
        replace(MP4, clean_keys=False),
        replace(MP4, claimed_frames=1e7),
    ],
)
def test_decord_is_not_asked_where_it_was_seen_to_differ(traits):
    assert not decord_agrees(traits, _aligned())


def test_decord_is_not_asked_where_frames_are_shown_before_their_key_frame():
    assert not decord_agrees(MP4, _aligned(rows=(0, 12), firsts=(0, 14)))


def test_decord_is_not_asked_where_it_could_hide_a_repeated_frame():
    assert not decord_agrees(MP4, _aligned(frames=10_000))
