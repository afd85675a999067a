"""Lists of absolute paths whose files have moved: ``--root`` says where they are now."""

import os
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from cvrl.utils.file_names import file_path


def moved_paths(table: pa.Table, root: Path) -> pa.Table:
    """Make absolute paths that lead nowhere relative to a root that holds their last parts.

    The first row decides how many folders are taken off; rows below the same folders follow it.

    Args:
        table: with a column ``path``.
        root: where the files lie now.

    Returns:
        The table; itself where the first file is where its path says, or not below the root.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> (root / "run").mkdir()
        >>> (root / "run" / "a.mp4").touch()
        >>> listed = pa.table({"path": ["/old/videos/run/a.mp4", "/old/videos/jump/b.mp4"]})
        >>> moved_paths(listed, root)["path"].to_pylist()
        ['run/a.mp4', 'jump/b.mp4']
    """
    first = PurePosixPath(table["path"][0].as_py()) if len(table) else PurePosixPath()
    if not first.is_absolute() or os.path.exists(file_path(str(first))):
        return table
    for parts in range(1, len(first.parts)):
        rest = os.path.join(*first.parts[parts:])
        if os.path.exists(file_path(os.path.join(root, rest))):
            former = str(PurePosixPath(*first.parts[:parts])).rstrip("/") + "/"
            path = table["path"]
            there = pc.starts_with(path, former)
            moved = pc.if_else(there, pc.utf8_slice_codeunits(path, len(former)), path)
            return table.set_column(table.column_names.index("path"), "path", moved)
    return table
