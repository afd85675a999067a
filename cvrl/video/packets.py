"""What the packets of a video stream say, and where decoding may start: arithmetic, no decoder.

N frames in presentation order, P packets in file order.
"""

import re
from array import array
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

NO_TIME = int(np.iinfo(np.int64).min)


class Packets:
    """Times, sizes and key frames of a stream's packets, in file order; 24 bytes a packet.

    Attributes:
        reordered: some packet is shown at another time than it is decoded, as B-frames are.
        smallest: size of the smallest packet in bytes.

    Example:
        >>> packets = Packets()
        >>> for pts, is_key in ((0, True), (40, False), (20, False), (60, True)):
        ...     packets.append(pts, dts=None, size=100, is_key=is_key)
        >>> len(packets), packets.reordered
        (4, True)
    """

    def __init__(self) -> None:
        self._pts = array("q")
        self._dts = array("q")
        self._size = array("q")
        self._key_rows = array("q")
        self.reordered = False
        self.smallest = 0

    def __len__(self) -> int:
        """The number of packets."""
        return len(self._pts)

    def append(self, pts: int | None, *, dts: int | None, size: int, is_key: bool) -> None:
        """Add the next packet of the file.

        Args:
            pts: when it is shown, in the stream's units.
            dts: when it is decoded.
            size: bytes.
            is_key: whether decoding may start with it.

        Example:
            >>> packets = Packets()
            >>> packets.append(0, dts=0, size=7, is_key=True)
            >>> packets.smallest
            7
        """
        self.smallest = min(self.smallest, size) if len(self) else size
        self.reordered |= pts != dts
        if is_key:
            self._key_rows.append(len(self))
        self._pts.append(NO_TIME if pts is None else pts)
        self._dts.append(NO_TIME if dts is None else dts)
        self._size.append(size)

    def columns(self) -> dict[str, NDArray[np.int64]]:
        """All that is known of the packets, to be kept in a file; see :meth:`of_columns`."""
        columns = {"pts": self._pts, "dts": self._dts, "size": self._size, "keys": self._key_rows}
        return {name: np.array(column, np.int64) for name, column in columns.items()}

    @classmethod
    def of_columns(
        cls,
        pts: NDArray[np.int64],
        dts: NDArray[np.int64],
        size: NDArray[np.int64],
        keys: NDArray[np.int64],
    ) -> "Packets":
        """The packets that had these columns.

        Example:
            >>> packets = Packets()
            >>> packets.append(40, dts=0, size=7, is_key=True)
            >>> again = Packets.of_columns(**packets.columns())
            >>> again.is_at(0, 40, dts=0, size=7), again.reordered, again.smallest
            (True, True, 7)
        """
        packets = cls()
        packets._pts, packets._dts = array("q", pts.tobytes()), array("q", dts.tobytes())
        packets._size, packets._key_rows = array("q", size.tobytes()), array("q", keys.tobytes())
        packets.reordered = not np.array_equal(pts, dts)
        packets.smallest = int(size.min(initial=size[0] if len(size) else 0))
        return packets

    def is_at(self, row: int, pts: int | None, *, dts: int | None, size: int) -> bool:
        """Whether a packet read again is the one at this row.

        Example:
            >>> packets = Packets()
            >>> packets.append(0, dts=0, size=7, is_key=True)
            >>> packets.is_at(0, 0, dts=0, size=7), packets.is_at(1, 0, dts=0, size=7)
            (True, False)
        """
        return row < len(self) and (self._pts[row], self._dts[row], self._size[row]) == (
            NO_TIME if pts is None else pts,
            NO_TIME if dts is None else dts,
            size,
        )

    def seek_time(self, row: int) -> int:
        """A time to seek to that does not lie behind the packet, whichever clock a container uses.

        Example:
            >>> packets = Packets()
            >>> packets.append(40, dts=0, size=7, is_key=True)
            >>> packets.seek_time(0)
            0
        """
        dts = self._dts[row]
        return self._pts[row] if dts == NO_TIME else min(self._pts[row], dts)

    def displacement(self) -> int:
        """The most places that a packet's place in the file is from that in presentation order.

        Example:
            >>> packets = Packets()
            >>> for pts in (0, 40, 20, 60):
            ...     packets.append(pts, dts=None, size=100, is_key=True)
            >>> packets.displacement()
            1
        """
        order = np.argsort(np.array(self._pts, np.int64), kind="stable")
        return int(np.abs(order - np.arange(len(order))).max(initial=0))

    def restarts(self) -> int:
        """How often the clock of decoding times goes back, as in joined recordings.

        Example:
            >>> packets = Packets()
            >>> for dts in (0, 20, 40, 0, 20):
            ...     packets.append(None, dts=dts, size=100, is_key=True)
            >>> packets.restarts()
            1
        """
        dts_P = np.array(self._dts, np.int64)
        return int((np.diff(dts_P[dts_P != NO_TIME]) < 0).sum())

    def timeline(self) -> "Timeline | None":
        """When frames are shown if each packet is one frame; None where times do not tell it.

        Example:
            >>> packets = Packets()
            >>> packets.append(None, dts=None, size=7, is_key=True)
            >>> packets.timeline() is None
            True
        """
        pts_P = np.array(self._pts, np.int64)
        pts_N = np.sort(pts_P)
        if not len(pts_N) or pts_N[0] == NO_TIME or (np.diff(pts_N) == 0).any():
            return None
        rows = np.array([row for row in self._key_rows if row], np.int64)
        firsts = np.searchsorted(pts_N, pts_P[rows])
        order = np.argsort(firsts)
        return Timeline(pts_N, np.append(0, rows[order]), np.append(0, firsts[order]))


@dataclass(frozen=True)
class Timeline:
    """When each frame is shown, and where decoding may start to reach it.

    Attributes:
        pts_N: ascending, no time twice, in the stream's units.
        rows: packets from which decoding may start. The first packet of the file is always among
            them, for all that lies before the first key frame.
        firsts: the frame that each of them gives, ascending.

    Example:
        >>> packets = Packets()
        >>> for pts, is_key in ((0, True), (40, False), (20, False), (60, True)):
        ...     packets.append(pts, dts=None, size=100, is_key=is_key)
        >>> timeline = packets.timeline()
        >>> timeline.pts_N.tolist(), timeline.find(40), timeline.start_before(3)
        ([0, 20, 40, 60], 2, (3, 3))
    """

    pts_N: NDArray[np.int64]
    rows: NDArray[np.int64]
    firsts: NDArray[np.int64]

    def find(self, pts: int | None) -> int:
        """The frame shown at this very time, or -1.

        Example:
            >>> timeline = Timeline(np.array([0, 20]), np.array([0]), np.array([0]))
            >>> timeline.find(20), timeline.find(21), timeline.find(None)
            (1, -1, -1)
        """
        if pts is None:
            return -1
        index = int(np.searchsorted(self.pts_N, pts))
        return index if index < len(self.pts_N) and self.pts_N[index] == pts else -1

    def start_before(self, index: int) -> tuple[int, int]:
        """The last packet from which a frame can be decoded, and the first frame it gives.

        Example:
            >>> timeline = Timeline(np.arange(9), np.array([0, 5]), np.array([0, 5]))
            >>> timeline.start_before(4), timeline.start_before(5)
            ((0, 0), (5, 5))
        """
        place = int(np.searchsorted(self.firsts, index, side="right")) - 1
        return int(self.rows[place]), int(self.firsts[place])

    def started_by(self, is_key_N: NDArray[np.bool_]) -> "Timeline":
        """The timeline without starts whose frame is no key frame, whatever its packet claims.

        Example:
            >>> timeline = Timeline(np.arange(9), np.array([0, 5, 7]), np.array([0, 5, 7]))
            >>> timeline.started_by(np.arange(9) == 7).rows.tolist()
            [0, 7]
        """
        kept = is_key_N[self.firsts] | (self.rows == 0)
        return Timeline(self.pts_N, self.rows[kept], self.firsts[kept])


def seconds(pts_N: NDArray[np.int64], unit: Fraction) -> NDArray[np.float64]:
    """Timestamps in seconds, rounded once.

    Args:
        pts_N: in the stream's units.
        unit: seconds.

    Example:
        >>> seconds(np.array([0, 3]), Fraction(1, 30)).tolist()
        [0.0, 0.1]
    """
    return pts_N.astype(np.float64) * unit.numerator / unit.denominator


def is_b_picture(packet: bytes) -> bool:
    r"""Whether the first picture of an MPEG-4 (part 2) packet is a B-frame.

    Args:
        packet: of the file; a picture starts with ``00 00 01 b6`` and two bits for its type.

    Example:
        >>> is_b_picture(b"\0\0\1\xb6\x80..."), is_b_picture(b"\0\0\1\xb6\x40...")
        (True, False)
    """
    at = packet.find(b"\0\0\1\xb6") + 4
    return 4 <= at < len(packet) and packet[at] >> 6 == 2


def is_idr(packet: bytes, extradata: bytes | None) -> bool:
    r"""Whether an H.264 packet truly starts afresh: its first slice is an IDR slice.

    Containers also call key frames what is only a place to recover from: an open group of
    pictures, or a frame that is refreshed a stripe at a time.

    Args:
        packet: of the file, in either layout: start codes, or lengths.
        extradata: of the stream; tells the layout.

    Example:
        >>> is_idr(b"\0\0\1\x67...\0\0\1\x65...", None)
        True
        >>> is_idr(b"\0\0\0\2\x41.", b"\1\0\0\0\xff")
        False
    """
    if not extradata or extradata[0] != 1:  # Annex B of the standard
        kinds = [match[1][0] & 31 for match in re.finditer(rb"\x00\x00\x01(.)", packet, re.DOTALL)]
    else:
        kinds, at, width = [], 0, (extradata[4] & 3) + 1 if len(extradata) > 4 else 4
        while at + width < len(packet):
            kinds.append(packet[at + width] & 31)
            at += width + int.from_bytes(packet[at : at + width], "big")
    return next((kind == 5 for kind in kinds if 1 <= kind <= 5), False)
