"""Files in object stores and on the web (``s3://``, ``gs://``, ``http://`` ...), through fsspec.

Credentials and endpoints are those of the backends: environment variables, their own config files,
or fsspec's (``FSSPEC_S3_ENDPOINT_URL``, ``FSSPEC_S3_ANON=true``). Every action is tried ``TRIES``
times with pauses that grow, each try bounded by ``CONNECT_SECONDS`` and ``READ_SECONDS``; then it
ends with one line. What is not there, or may not be seen, is not tried again.

A :class:`pathlib.Path` of a URL loses a slash (``s3:/bucket/x``); both forms are understood.
"""

import logging
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from cvrl.utils.errors import UserError

logger = logging.getLogger("cvrl")
Result = TypeVar("Result")
AnyPath = str | os.PathLike[str]
TRIES = 4
FIRST_PAUSE = 0.2  # seconds; doubled each time
CONNECT_SECONDS = 5.0
READ_SECONDS = 20.0
_URL = re.compile(r"(?!file:)([a-z][a-z0-9+]+):/{1,2}(?=[^/])")
_EXTRA = "pip install 'cvrl[remote]' (for gs:// gcsfs, for az:// adlfs)"
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound")


def is_remote(path: AnyPath) -> bool:
    """Whether a path is a URL.

    Example:
        >>> is_remote("s3://bucket/a.mp4"), is_remote(Path("s3://bucket/a.mp4"))
        (True, True)
        >>> is_remote("videos/a.mp4"), is_remote("file:///a.mp4")
        (False, False)
    """
    return _URL.match(os.fspath(path)) is not None


def to_url(path: AnyPath) -> str:
    """The URL that a path stands for.

    Example:
        >>> to_url(Path("s3://bucket/a.mp4"))
        's3://bucket/a.mp4'
    """
    return _URL.sub(r"\1://", os.fspath(path), count=1)


def absolute(path: AnyPath) -> Path:
    """The absolute path; a URL is absolute as it is.

    Example:
        >>> absolute("s3://bucket/a").as_posix()
        's3:/bucket/a'
    """
    return Path(path) if is_remote(path) else Path(os.path.abspath(path))


def join(root: AnyPath, path: str) -> str:
    """A path from a root, as ``os.path.join`` gives it; a URL starts anew.

    Example:
        >>> join("s3://bucket/", "a.mp4"), join("videos", "a.mp4"), join("x", "s3://bucket/a.mp4")
        ('s3://bucket/a.mp4', 'videos/a.mp4', 's3://bucket/a.mp4')
    """
    if is_remote(path):
        return to_url(path)
    return os.path.join(to_url(root) if is_remote(root) else root, path)


def join_all(root: AnyPath, paths: Sequence[str]) -> list[str]:
    """:func:`join` for every path.

    Example:
        >>> join_all("s3://bucket", ["a.mp4", "b.mp4"])
        ['s3://bucket/a.mp4', 's3://bucket/b.mp4']
    """
    base = to_url(root) if is_remote(root) else os.fspath(root)
    return [
        to_url(path) if ":/" in path and is_remote(path) else os.path.join(base, path)
        for path in paths
    ]


def read_bytes(path: AnyPath, start: int | None = None, stop: int | None = None) -> bytes:
    """The bytes of a remote file, or a range of them with one request.

    Args:
        path: the URL.
        start: first byte.
        stop: the byte to stop before.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it cannot be read.

    Example:
        >>> write_bytes("memory://notes/a.txt", b"0123456789")
        >>> read_bytes("memory://notes/a.txt", 2, 5)
        b'234'
    """

    def read(system: Any, url: str) -> bytes:
        content = bytes(system.cat_file(url, start=start, end=stop))
        if start is not None and stop is not None and len(content) != stop - start:
            raise OSError(f"gave {len(content)} bytes, not the {stop - start} asked for")
        return content

    return _attempt(path, "read", read)


def write_bytes(path: AnyPath, content: bytes) -> None:
    """Write a remote file as a whole.

    Raises:
        UserError: it cannot be written.
    """
    _attempt(path, "written", lambda system, url: system.pipe_file(url, content))


def upload(local: AnyPath, path: AnyPath) -> None:
    """Copy a file to a URL; it is there as a whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    _attempt(path, "written", lambda system, url: system.put_file(os.fspath(local), url))


def download(path: AnyPath, local: AnyPath) -> None:
    """Copy a remote file to a path.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it cannot be read.
    """
    _attempt(path, "read", lambda system, url: system.get_file(url, os.fspath(local)))


def exists(path: AnyPath) -> bool:
    """Whether there is a remote file.

    Raises:
        UserError: the store cannot be asked.

    Example:
        >>> exists("memory://no/such/file")
        False
    """
    return _attempt(path, "read", lambda system, url: bool(system.isfile(url)))


def version(path: AnyPath) -> str:
    """What a store tells of the version of a file: its size, and its tag or time of change.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: the store cannot be asked.
    """
    told = _attempt(path, "read", lambda system, url: dict(system.info(url)))
    return " ".join(str(told.get(name)) for name in ("size", "ETag", "LastModified", "created"))


def sizes_below(folder: AnyPath) -> dict[str, int]:
    """Sizes of the files below a remote folder, by their names from there.

    Raises:
        UserError: it cannot be listed.

    Example:
        >>> write_bytes("memory://some/folder/a.txt", b"abc")
        >>> sizes_below("memory://some/folder")
        {'a.txt': 3}
    """

    def find(system: Any, url: str) -> dict[str, int]:
        system.invalidate_cache()
        base = system._strip_protocol(url.rstrip("/"))
        found = system.find(url.rstrip("/"), detail=True)
        return {name[len(base) :].lstrip("/"): int(f["size"]) for name, f in found.items()}

    return _attempt(folder, "listed", find)


def remove(path: AnyPath) -> None:
    """Remove a remote file; one that is not there is no error."""
    try:
        _attempt(path, "removed", lambda system, url: system.rm_file(url))
    except FileNotFoundError:
        logger.debug("%s is not there to be removed", path)


def _attempt(path: AnyPath, what: str, action: Callable[[Any, str], Result]) -> Result:
    """Do something with a URL, again where it fails for a reason that may pass."""
    url = to_url(path)
    system = _file_system(url)
    for attempt in range(TRIES):
        try:
            return action(system, url)
        except FileNotFoundError:
            raise
        except Exception as error:  # backends have errors of their own, which share no base
            reason = _reason(error)
            if isinstance(error, PermissionError) or type(error).__name__ in _NO_CREDENTIALS:
                remedy = "check the credentials (for s3://, AWS_ACCESS_KEY_ID or a profile)"
                raise UserError(url, f"cannot be {what}: {reason}", remedy) from error
            logger.debug("%s: try %d: %s", url, attempt + 1, reason)
            if attempt + 1 == TRIES:
                reason = f"cannot be {what}: {reason} ({TRIES} tries)"
                raise UserError(url, reason, "check the network and the store") from error
            time.sleep(FIRST_PAUSE * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


def _file_system(url: str) -> Any:
    """The file system of a URL, with bounds on time, and without retries of its own."""
    protocol = url.partition(":")[0]
    try:
        import fsspec
        from fsspec.config import conf

        options: dict[str, Any] = {}
        if protocol in ("s3", "s3a") and "config_kwargs" not in conf.get("s3", {}):
            bounds = {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}
            options["config_kwargs"] = bounds | {"retries": {"max_attempts": 0}}
        elif protocol in ("http", "https") and "client_kwargs" not in conf.get(protocol, {}):
            import aiohttp

            timeout = aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS
            )
            options["client_kwargs"] = {"timeout": timeout}
        system = fsspec.filesystem(protocol, use_listings_cache=False, **options)
    except ImportError as error:
        raise UserError(url, f"needs a package: {error}", _EXTRA) from error
    except ValueError as error:
        raise UserError(url, str(error), "use s3://, gs://, http:// or a local path") from error
    if hasattr(system, "retries"):
        system.retries = 1
    return system


def _reason(error: BaseException) -> str:
    """What went wrong, in a line; the name of the error where it says nothing."""
    text = " ".join(str(error).split())
    return text or type(error).__name__
