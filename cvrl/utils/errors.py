"""The two errors a user of the library meets, and how a command ends on them."""

import errno
import sys
import unicodedata
from collections.abc import Callable
from os import PathLike, fspath

from cvrl.utils.file_names import path_text

# What a user can mend: permissions, and a disk, quota or file system that takes no more.
_SYSTEM = (errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


class UserError(ValueError):
    """Something the user gave cannot be used.

    The message is one line, ``thing: reason; remedy``, so that it can be printed as it is.

    Args:
        thing: what is wrong, as the user knows it: a path, a config key, a flag.
        reason: why it cannot be used.
        remedy: what to do about it.

    Example:
        >>> str(UserError("videos/", "the folder is empty", "give a folder that holds videos"))
        'videos/: the folder is empty; give a folder that holds videos'
    """

    def __init__(self, thing: object, reason: str, remedy: str = "") -> None:
        self.thing = path_text(str(thing))
        self.reason = _one_line(reason)
        self.remedy = _one_line(remedy)
        text = f"{self.thing}: {self.reason}" + (f"; {self.remedy}" if remedy else "")
        super().__init__(printable(text))

    def __reduce__(self) -> tuple[type["UserError"], tuple[str, str, str]]:
        """Rebuild from the three parts, so the error survives the way out of a worker process."""
        return type(self), (self.thing, self.reason, self.remedy)


class CorruptVideoError(ValueError):
    """A video file cannot give the frames asked of it.

    Attributes:
        path: the file, as text (see :func:`cvrl.utils.file_names.path_text`).
        reason: one line that says what is wrong with it.

    Example:
        >>> error = CorruptVideoError("clip.mp4", "no video stream")
        >>> error.path, error.reason
        ('clip.mp4', 'no video stream')
    """

    def __init__(self, path: str | PathLike[str], reason: str) -> None:
        self.path = path_text(fspath(path))
        self.reason = _one_line(reason)
        super().__init__(printable(f"{self.path}: {self.reason}"))

    def __reduce__(self) -> tuple[type["CorruptVideoError"], tuple[str, str]]:
        """Rebuild from path and reason, so the error survives the way out of a worker process."""
        return type(self), (self.path, self.reason)


def run_tool(main: Callable[[], None]) -> None:
    """Run a command's ``main`` and end the process the way a user expects.

    A :class:`UserError` or :class:`CorruptVideoError` becomes one line on stderr and exit code 2;
    so does a file that the system refuses to open or write: no permission, a full disk. Ctrl-C
    becomes exit code 130; a closed pipe is no error. Anything else is a bug and keeps its
    traceback.

    Args:
        main: the command, without arguments.

    Example:
        >>> run_tool(lambda: None)
    """
    try:
        main()
    except (UserError, CorruptVideoError) as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        raise SystemExit(130) from None
    except BrokenPipeError:
        sys.stderr.close()  # the reader has gone, as in `... | head`; nothing is left to tell it
    except OSError as error:
        if error.errno not in _SYSTEM:
            raise
        name = "" if error.filename is None else f"{error.filename}: "
        sys.stderr.write(f"error: {name}{error.strerror}\n")
        raise SystemExit(2) from None


def printable(text: str) -> str:
    r"""Text as a terminal may show it: control characters and undecoded bytes are written out.

    A file name may hold the codes that move a terminal's cursor or change its title.

    Args:
        text: such as a path.

    Example:
        >>> print(printable("a\x1b[2Jb.mp4"))
        a\x1b[2Jb.mp4
    """
    return "".join(map(_shown, text)) if not text.isprintable() else text


def _shown(letter: str) -> str:
    if letter.isprintable() or letter == " " or unicodedata.category(letter) in ("Cf", "Zs"):
        return letter
    return letter.encode("unicode_escape").decode()


def _one_line(text: str) -> str:
    return path_text(" ".join(str(text).split()))
