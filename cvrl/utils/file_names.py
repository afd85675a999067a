r"""File names whose bytes are not UTF-8, carried through text.

Lists, Parquet files, pages and messages hold UTF-8. There, a byte of a name that is not UTF-8 is
written as ``\xe9``, and the file is found by turning that back into the byte.
"""

import os
import re


def path_text(path: str) -> str:
    r"""The text that stands for a path; a path in UTF-8 stands for itself.

    Example:
        >>> print(path_text("caf\udce9.mp4"))  # Python's form of a byte that is not UTF-8
        caf\xe9.mp4
    """
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def file_path(text: str) -> str:
    r"""The path that a text stands for; a file of exactly this name comes first.

    Example:
        >>> file_path(r"caf\xe9.mp4") == "caf\udce9.mp4"
        True
    """
    if "\\x" not in text or os.path.lexists(text):
        return text
    return re.sub(r"\\x([89a-f][0-9a-f])", lambda match: chr(0xDC00 + int(match[1], 16)), text)
