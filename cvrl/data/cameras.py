"""Events filmed by several cameras at once: a folder an event, a file of the same name a camera.

In a list every camera's film is a video of its own, in the group of its event, so all that works
on videos works on it. Views of several cameras take a row an event instead (:func:`events_of`), and
:class:`Cameras` hands them the films one after another:

    camera 0: frames 0 ... n-1    camera 1: frames n ... 2n-1    ...    n: frames of the shortest

Films are taken to be in step by the number of the frame. Those that start or stop at other moments
must be cut before.
"""

from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray

from cvrl.data.manifest import Manifest
from cvrl.utils.errors import UserError
from cvrl.utils.resize import resize
from cvrl.video.frame_cache import FrameSource


class Cameras:
    """The videos of one event, one camera after another, as one ``FrameSource``.

    Args:
        films: one a camera, open; closing this closes them.

    Attributes:
        fps: of the first camera.
        size: height and width of the first camera's frames in pixels.
        times: seconds since the camera's own first frame, film after film: not ascending over all.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from cvrl.video.reader import open_video
        >>> folders = [tempfile.mkdtemp(), tempfile.mkdtemp()]
        >>> for folder, names in zip(folders, ("abc", "ab")):
        ...     for name in names:
        ...         Image.new("RGB", (8, 4)).save(f"{folder}/{name}.png")
        >>> event = Cameras([open_video(folder) for folder in folders])
        >>> len(event), event.times.tolist()
        (4, [0.0, 0.04, 0.0, 0.04])
    """

    def __init__(self, films: Sequence[FrameSource]) -> None:
        self._films = films
        self._length = min(len(film) for film in films)
        self.fps = films[0].fps
        self.size = films[0].size
        self.times: NDArray[np.float64] = np.concatenate(
            [film.times[: self._length] - film.times[0] for film in films]
        )

    def __len__(self) -> int:
        return len(self._films) * self._length

    def frames(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The frames at ``indices``, each film read once: uint8 (N, H, W, 3).

        Where the cameras' frames differ in size, all have that of the first camera asked for.
        """
        camera_N, frame_N = np.divmod(np.asarray(indices), self._length)
        asked = np.unique(camera_N)
        films = [self._films[camera].frames(frame_N[camera_N == camera]) for camera in asked]
        frames_NHWC = np.empty((len(camera_N), *films[0].shape[1:]), np.uint8)
        for camera, film_MHWC in zip(asked, films, strict=True):
            frames_NHWC[camera_N == camera] = _scaled(film_MHWC, films[0].shape[1:3])
        return frames_NHWC

    def __enter__(self) -> "Cameras":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for film in self._films:
            film.__exit__(kind, error, trace)


def events_of(films: Manifest) -> Manifest:
    """The events that a list of films shows: one row each, whose path is the event's folder.

    Args:
        films: as ``read_manifest(..., cameras=...)`` gives them, or some of those.

    Raises:
        UserError: the list does not say which event a film shows.

    Example:
        >>> from cvrl.data.manifest import make_manifest
        >>> columns = {"path": ["a/0.mp4", "a/1.mp4"], "event": ["a", "a"]}
        >>> events_of(make_manifest(columns, root="/x")).paths
        ['/x/a']
    """
    if "event" not in films.table.column_names:
        reason = "does not say which event a film shows"
        raise UserError(films.source, reason, "name the cameras' files in data.cameras")
    _, first = np.unique(np.array(films.table["event"].to_pylist()), return_index=True)
    events = films.take(np.sort(first))
    table = events.table.set_column(0, "path", events.table["event"])
    return replace(events, table=table)


def _scaled(frames_NHWC: NDArray[np.uint8], size: Sequence[int]) -> NDArray[np.uint8]:
    if frames_NHWC.shape[1:3] == tuple(size):
        return frames_NHWC
    frames_NCHW = torch.from_numpy(np.ascontiguousarray(frames_NHWC)).permute(0, 3, 1, 2)
    scaled_NCHW = resize(frames_NCHW, *size)
    scaled_NHWC: NDArray[np.uint8] = scaled_NCHW.permute(0, 2, 3, 1).numpy()
    return scaled_NHWC
