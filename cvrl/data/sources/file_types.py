"""Which files are videos and which are images, by their names."""

import os

# fmt: off
VIDEO_SUFFIXES = frozenset((
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".m2v", ".ts", ".m2ts",
    ".mts", ".vob", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".gif", ".divx",
    ".h264", ".h265", ".264", ".265", ".hevc", ".mjpeg",
))
# fmt: on
IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png"))


def is_video_name(name: str) -> bool:
    """Whether a file name ends like a video, in either case.

    Example:
        >>> is_video_name("CLIP.MP4"), is_video_name("notes.txt")
        (True, False)
    """
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES


def stem(path: str) -> str:
    """The path without the suffixes of videos at its end.

    Example:
        >>> stem("run/a.mp4.AVI"), stem("run/frames_1.5")
        ('run/a', 'run/frames_1.5')
    """
    while is_video_name(path):
        path = os.path.splitext(path)[0]
    return path
