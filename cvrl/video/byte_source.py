"""The bytes of a video that is no file of its own: a range of a tar, or a cell of a Parquet file.

Such a video has an address in place of a path: ``clips/000000.tar@1536+20480/run/a.mp4`` is the
20480 bytes from byte 1536 of ``clips/000000.tar``, and is called ``run/a.mp4``;
``clips.parquet@2+7/a.mp4`` is row 7 of row group 2. The base name of an address is the video's own,
so what looks at names works on addresses too. A range that is itself a series of tar members is a
video as images, one a frame.

Bytes in an object store are read into memory by one request, of the range or of the whole file.
"""

import io
import os
import re
import tarfile
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, BinaryIO, NamedTuple, cast

from cvrl.utils import remote
from cvrl.utils.errors import CorruptVideoError
from cvrl.utils.file_names import file_path
from cvrl.video.frame_folder import video_path
from cvrl.video.limits import reason_of

_ADDRESS = re.compile(r"(.+\.(?:tar|parquet))@(\d+)\+(\d+)/(.*)", re.DOTALL | re.IGNORECASE)
_TAR_MAGIC = slice(257, 262)
_HEAD = 512


@dataclass(frozen=True)
class Address:
    """Where the bytes of a video are.

    Attributes:
        container: the tar or Parquet file.
        start: first byte in a tar; row group in a Parquet file.
        length: bytes in a tar; row in the row group in a Parquet file.
        name: what the video is called.

    Example:
        >>> str(Address("clips/0.tar", 512, 2048, "run/a.mp4"))
        'clips/0.tar@512+2048/run/a.mp4'
        >>> Address.parse("clips/0.tar@512+2048/run/a.mp4").name
        'run/a.mp4'
        >>> Address.parse("run/a.mp4") is None
        True
    """

    container: str
    start: int
    length: int
    name: str

    def __str__(self) -> str:
        """The address as it stands in place of a path."""
        return f"{self.container}@{self.start}+{self.length}/{self.name}"

    @classmethod
    def parse(cls, path: str) -> "Address | None":
        """Read an address; None for the path of a file or folder."""
        match = _ADDRESS.fullmatch(path)
        return cls(match[1], int(match[2]), int(match[3]), match[4]) if match else None


class Stamp(NamedTuple):
    """What changes when a file does: where it is, its inode, bytes and time of change (ns)."""

    place: str
    inode: int
    size: int
    changed: int


class ByteSource:
    """The bytes behind an address.

    Args:
        path: the address as given, for errors.
        address: the same, read.
    """

    def __init__(self, path: str, address: Address) -> None:
        self.path = path
        self.address = address

    def size(self) -> int:
        """The number of bytes.

        Raises:
            CorruptVideoError: the container is missing or too short.
        """
        start, length = self.address.start, self.address.length
        try:
            whole = os.path.getsize(self.address.container)
        except OSError as error:
            raise CorruptVideoError(self.path, reason_of(error)) from error
        if start + length > whole:
            reason = f"ends at byte {start + length}, but {self.address.container} has {whole}"
            raise CorruptVideoError(self.path, reason)
        if not length:
            raise CorruptVideoError(self.path, "the file is empty")
        return length

    def stamp(self) -> Stamp:
        """What changes when the bytes may have.

        Raises:
            OSError: the container is missing.
        """
        status = os.stat(self.address.container)
        return Stamp(self.path, status.st_ino, status.st_size, status.st_mtime_ns)

    def stream(self) -> BinaryIO:
        """The bytes as a binary file that can be sought in; ``name`` is the video's own."""
        try:
            return cast(BinaryIO, _Range(self.address))
        except OSError as error:
            raise CorruptVideoError(self.path, reason_of(error)) from error


class _Cell(ByteSource):
    """A video in a Parquet file. Reading it reads its row group."""

    def size(self) -> int:
        return len(self._read())

    def stream(self) -> BinaryIO:
        return named_bytes(self._read(), self.address.name)

    def _read(self) -> bytes:
        container, group, row = self.address.container, self.address.start, self.address.length
        try:
            value = _row_group(container, os.stat(container).st_mtime_ns, group)[row].as_py()
        except (OSError, ValueError, IndexError) as error:  # pyarrow's errors are ValueErrors
            raise CorruptVideoError(self.path, reason_of(error)) from error
        if not value:
            raise CorruptVideoError(self.path, "the file is empty")
        return bytes(value)


class _Remote(ByteSource):
    """A video in an object store, as a file or in a tar; kept in memory once it is read."""

    def __init__(self, path: str, address: Address) -> None:
        super().__init__(path, address)
        self._content: bytes | None = None

    def size(self) -> int:
        return len(self._read())

    def stamp(self) -> Stamp:
        content = self._read()
        return Stamp(self.path, 0, len(content), zlib.crc32(content))

    def stream(self) -> BinaryIO:
        return named_bytes(self._read(), self.address.name)

    def _read(self) -> bytes:
        if self._content is None:
            start, length = self.address.start, self.address.length
            span = (start, start + length) if length else ()
            try:
                self._content = remote.read_bytes(self.address.container, *span)
            except FileNotFoundError as error:
                raise CorruptVideoError(self.path, "no such file") from error
        if not self._content:
            raise CorruptVideoError(self.path, "the file is empty")
        return self._content


def find_source(path: str) -> ByteSource | None:
    """What reads the bytes behind an address or a URL; None for a file or folder.

    Example:
        >>> find_source("run/a.mp4") is None
        True
    """
    address = Address.parse(path)
    if remote.is_remote(path):
        return _Remote(path, address or Address(path, 0, 0, os.path.basename(path)))
    if address is None:
        return None
    address = replace(address, container=file_path(address.container))
    kind = _Cell if address.container.lower().endswith(".parquet") else ByteSource
    return kind(path, address)


def open_bytes(path: str) -> BinaryIO:
    """Open the bytes of a video, be it a file or at an address.

    Raises:
        OSError: a file that cannot be read.
        CorruptVideoError: an address with nothing behind it.

    Example:
        >>> import tempfile
        >>> name = tempfile.mkdtemp() + "/a.tar"
        >>> with open(name, "wb") as file:
        ...     _ = file.write(b"0123456789")
        >>> with open_bytes(f"{name}@2+3/a.mp4") as stream:
        ...     stream.read()
        b'234'
    """
    source = find_source(path)
    return open(file_path(path), "rb") if source is None else source.stream()


def byte_count(path: str) -> int:
    """The size of a video in bytes, be it a file or at an address.

    Raises:
        OSError: a file that cannot be read.
        CorruptVideoError: an address with nothing behind it.

    Example:
        >>> byte_count("no/such.tar@0+1/a.mp4")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        cvrl.utils.errors.CorruptVideoError: no/such.tar@0+1/a.mp4: No such file or directory
    """
    source = find_source(path)
    return os.path.getsize(file_path(path)) if source is None else source.size()


def video_exists(path: str) -> bool:
    """Whether there is a file or folder at a path, or bytes at an address.

    Example:
        >>> video_exists("."), video_exists("no/such.tar@0+1/a.mp4")
        (True, False)
    """
    source = find_source(path)
    if source is None:
        return os.path.exists(video_path(path))
    if isinstance(source, _Remote):
        return remote.exists(source.address.container)
    try:
        return bool(source.size())
    except CorruptVideoError:
        return False


def stamp_of(path: str) -> Stamp:
    """What changes when a video does, be it a file or at an address.

    Raises:
        OSError: there is no such file.

    Example:
        >>> stamp_of(".") == stamp_of(os.getcwd())
        True
    """
    source = find_source(path)
    if source is not None:
        return source.stamp()
    path = video_path(path)
    status = os.stat(path)
    return Stamp(os.path.abspath(path), status.st_ino, status.st_size, status.st_mtime_ns)


def version_of(path: str) -> str:
    """A text that changes when a video does; of a remote one nothing but facts is read.

    Raises:
        OSError: there is no such file.
        UserError: the store cannot be asked.
    """
    source = find_source(path)
    if isinstance(source, _Remote):
        return f"{path}|{remote.version(source.address.container)}"
    place, _, size, changed = stamp_of(path)
    return f"{place}|{size}|{changed}"


def read_frame_files(source: ByteSource) -> dict[str, bytes] | None:
    """The images of a video stored as tar members, by name; None where it is an encoded video.

    Raises:
        CorruptVideoError: a damaged tar.
    """
    with source.stream() as stream:
        try:
            if stream.read(_HEAD)[_TAR_MAGIC] != b"ustar":
                return None
            stream.seek(0)
            with tarfile.open(fileobj=stream, mode="r:") as archive:
                files = [(member, archive.extractfile(member)) for member in archive]
                return {os.path.basename(m.name): file.read() for m, file in files if file}
        except (OSError, tarfile.TarError) as error:
            raise CorruptVideoError(source.path, reason_of(error)) from error


def named_bytes(content: bytes, name: str) -> BinaryIO:
    """Bytes in memory as a file with a name.

    Example:
        >>> named_bytes(b"abc", "a.mp4").name
        'a.mp4'
    """
    stream = io.BytesIO(content)
    stream.name = name
    return stream


class _Range(io.RawIOBase):
    """A range of bytes of a file, as a file; reads with pread, so it survives a fork."""

    def __init__(self, address: Address) -> None:
        super().__init__()
        self.name = address.name
        self._start, self._length, self._at = address.start, address.length, 0
        self._file = os.open(address.container, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        if self.closed:  # the number of the file may be another's by now
            raise ValueError("read of a closed file")
        left = max(0, self._length - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        content = os.pread(self._file, wanted, self._start + self._at) if wanted else b""
        self._at += len(content)
        return content

    def readinto(self, buffer: Any, /) -> int:
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        if not self.closed:
            os.close(self._file)
        super().close()


@lru_cache(maxsize=1)
def _row_group(container: str, _changed: int, group: int) -> Any:
    """The videos of a row group, kept for its next row."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    file = pq.ParquetFile(container)
    name = bytes_column(file.schema_arrow)
    if name is None or not 0 <= group < file.num_row_groups:
        raise ValueError("no such row of bytes")
    column = file.read_row_group(group, columns=[name])[name]
    return pc.struct_field(column, "bytes") if hasattr(column.type, "fields") else column


def bytes_column(schema: Any) -> str | None:
    """The first column that holds files: of bytes, or a struct with a field ``bytes``.

    Args:
        schema: of pyarrow.

    Example:
        >>> import pyarrow as pa
        >>> bytes_column(pa.schema([("label", pa.int64()), ("mp4", pa.binary())]))
        'mp4'
    """
    import pyarrow as pa

    for field in schema:
        inner = field.type
        if pa.types.is_struct(inner) and inner.get_field_index("bytes") >= 0:
            inner = inner.field("bytes").type
        if pa.types.is_binary(inner) or pa.types.is_large_binary(inner):
            return str(field.name)
    return None
