"""Which files are videos and which are images, by their names."""

import os

# fmt: off
VIDEO_SUFFIXES = frozenset((
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".m2v", ".ts", ".m2ts",
    ".mts", ".vob", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".gif", ".divx",
    ".h264", ".h265", ".264", ".265", ".hevc", ".mjpeg", ".mjpg", ".mxf", ".rm", ".rmvb", ".y4m",
    ".mod", ".tod", ".dav", ".qt", ".dv", ".amv", ".ivf", ".m1v", ".m4p", ".mpe", ".mpv", ".m2t",
    ".trp", ".tp", ".wtv", ".ogm", ".nut", ".insv", ".lrv", ".obu",
))
# fmt: on
# Files that are not tried: some of them begin like a video, as sound and pictures do
_OTHER_SUFFIXES = {
    *(".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".md", ".html", ".pdf"),
    *(".py", ".npy", ".npz", ".pkl", ".pt", ".pth", ".h5", ".hdf5", ".mat", ".parquet", ".log"),
    *(".zip", ".tar", ".gz", ".7z", ".rar", ".part", ".partial", ".crdownload", ".download"),
    *(".tmp", ".wav", ".mp3", ".m4a", ".flac", ".ogg", ".aac", ".srt", ".vtt", ".ass", ".heic"),
    *(".heif", ".avif", ".webp", ".bmp", ".tif", ".tiff", ".db", ".ini", ".url", ".lnk", ".thm"),
    ".aae",
}
IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png"))
_MAGIC = (
    *(
        b"\x1aE\xdf\xa3",
        b"\x00\x00\x01\xba",
        b"\x00\x00\x01\xb3",
        b"FLV\x01",
        b"0&\xb2u\x8ef\xcf\x11",
    ),
    *(b"\x06\x0e+4\x02\x05\x01\x01", b".RMF", b"YUV4MPEG2", b"DHAV", b"DKIF", b"OggS", b"GIF8"),
)


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


def begins_like_video(path: str) -> bool:
    """Whether a file of no or an unknown suffix begins as video containers do.

    Args:
        path: of a regular file; one that cannot be read begins like none.

    Example:
        >>> begins_like_video("no/such/file")
        False
    """
    if os.path.splitext(path)[1].lower() in _OTHER_SUFFIXES:
        return False
    try:
        with open(path, "rb") as stream:
            head = stream.read(400)
    except OSError:
        return False
    if head.startswith(_MAGIC) or head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        return True
    if head.startswith(b"RIFF"):
        return head[8:12] == b"AVI "
    return len(head) > 376 and all(head[at] == 0x47 for at in (0, 188, 376))  # a transport stream
