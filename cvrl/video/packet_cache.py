"""What was found out about video files, kept in memory for their next visit.

Before a file gives frames its packets are read and its first frame is decoded, which costs a few
milliseconds; training comes back to each file in every epoch.
"""

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sized
from typing import Generic, Protocol, TypeVar

MOST_PACKETS = 2**20  # of all files together: some 40 MB


class Surveyed(Protocol):
    """What a look through a file gives."""

    @property
    def packets(self) -> Sized:
        """Its packets, of which there may be many."""


Found = TypeVar("Found", bound=Surveyed)


class PacketIndexCache(Generic[Found]):
    """The files seen last, as long as they stay as they are.

    Each process has its own: a copy that goes to a worker is filled there.

    Args:
        most_packets: of all files that are kept together; beyond, the file seen least lately goes.

    Example:
        >>> import tempfile
        >>> from types import SimpleNamespace
        >>> packet_cache, file = PacketIndexCache(), tempfile.NamedTemporaryFile()
        >>> look = lambda: SimpleNamespace(packets=[1, 2, 3])
        >>> packet_cache.of(file.name, (), look) is packet_cache.of(file.name, (), look)
        True
    """

    def __init__(self, most_packets: int = MOST_PACKETS) -> None:
        self._most = most_packets
        self._count = 0
        self._known: OrderedDict[Hashable, Found] = OrderedDict()

    def of(self, path: str, how: Hashable, look: Callable[[], Found]) -> Found:
        """What is known of a file; looked up anew where it, or how it is looked at, is another.

        Args:
            path: of the file.
            how: whatever else decides what is found.
            look: finds it.

        Raises:
            OSError: there is no such file.
        """
        now = os.stat(path)
        key = (os.path.abspath(path), now.st_ino, now.st_size, now.st_mtime_ns, how)
        if key not in self._known:
            found = look()
            self._known[key] = found
            self._count += len(found.packets)
            while self._count > self._most:
                self._count -= len(self._known.popitem(last=False)[1].packets)
            return found
        self._known.move_to_end(key)
        return self._known[key]
