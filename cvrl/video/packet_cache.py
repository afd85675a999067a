"""What was found out about video files, kept for their next visit.

Before a file gives frames its packets are read and its first frame is decoded, which costs a few
milliseconds, and minutes for a recording of hours; training comes back to each file in every epoch.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from cvrl.video.byte_source import Stamp, stamp_of
from cvrl.video.packet_index import PacketIndex, PacketIndexStore

MOST_PACKETS = 2**20  # of all files together: some 40 MB
LONG = 0.5  # processor seconds; what took longer is kept on disk


class PacketIndexCache:
    """The files seen last, as long as they stay as they are.

    Each process has its own: a copy that goes to a worker is filled there.

    Args:
        most_packets: of all files that are kept together; beyond, the file seen least lately goes.
        store: where what took long to find is kept for other processes and later runs.

    Example:
        >>> import tempfile
        >>> from types import SimpleNamespace
        >>> packet_cache, file = PacketIndexCache(), tempfile.NamedTemporaryFile()
        >>> look = lambda: SimpleNamespace(packets=[1, 2, 3])
        >>> packet_cache.of(file.name, (), look) is packet_cache.of(file.name, (), look)
        True
    """

    def __init__(
        self, most_packets: int = MOST_PACKETS, store: PacketIndexStore | None = None
    ) -> None:
        self._most = most_packets
        self._store = store
        self._count = 0
        self._known: OrderedDict[Hashable, PacketIndex] = OrderedDict()

    def of(
        self,
        path: str,
        how: Hashable,
        look: Callable[[], PacketIndex],
        stamp: Stamp | None = None,
    ) -> PacketIndex:
        """What is known of a file; looked up anew where it, or how it is looked at, is another.

        Args:
            path: of the file.
            how: whatever else decides what is found.
            look: finds it.
            stamp: of the file, where it is known.

        Raises:
            OSError: there is no such file.
        """
        key = (*(stamp or stamp_of(path)), how)
        if key not in self._known:
            found = self._stored(key, look)
            self._known[key] = found
            self._count += len(found.packets)
            while self._count > self._most:
                self._count -= len(self._known.popitem(last=False)[1].packets)
            return found
        self._known.move_to_end(key)
        return self._known[key]

    def _stored(self, key: Hashable, look: Callable[[], PacketIndex]) -> PacketIndex:
        """What the store holds; else what a look finds, kept there if that took long."""
        if self._store is None:
            return look()
        found = self._store.get(key)
        if found is None:
            began = time.thread_time()
            found = look()
            if time.thread_time() - began > LONG:
                self._store.put(key, found)
        return found
