"""What a container says of its streams, on files written for real."""

import av
import numpy as np
import pytest

from cvrl.utils.errors import CorruptVideoError
from cvrl.video.container import claimed_frames, turn_of, video_stream
from cvrl.video.orientation import Turn


@pytest.fixture(scope="module")
def film(tmp_path_factory, make_video):
    return make_video(tmp_path_factory.mktemp("container") / "a.mp4", 20)


def test_a_header_claims_what_the_file_holds(film):
    with av.open(str(film)) as container:
        stream = video_stream(str(film), container)
        assert stream.type == "video"
        assert claimed_frames(container, stream) == pytest.approx(20, abs=1)


def test_an_upright_frame_is_not_turned(film):
    with av.open(str(film)) as container:
        assert turn_of(next(container.decode(video=0))) == Turn()


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container, pytest.raises(CorruptVideoError, match="no video"):
        video_stream(str(path), container)
