"""A FAISS index of features: written beside the names of its clips, searched by cosine.

The only module that imports faiss; ``pip install cvrl[search]`` brings it. Vectors are scaled to
length 1 and kept whole (``IndexFlatIP``), so that the search is exact and an inner product is a
cosine.

Shape suffixes: N clips of the index, Q clips searched for, K answers, D dimensions.
"""

import importlib.util
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cvrl.utils.errors import UserError
from cvrl.utils.io import atomic_path

SUFFIX = ".faiss"
Floats = NDArray[np.float32]


def names_file(index: str | PathLike[str]) -> Path:
    """The Parquet file with video, start and end of each row of an index.

    Example:
        >>> names_file("runs/features.faiss").name
        'features.names.parquet'
    """
    return Path(index).with_suffix(".names.parquet")


def need_faiss(thing: object) -> None:
    """Refuse work with an index where faiss is not installed.

    Args:
        thing: what needs it, for the message.

    Raises:
        UserError: it is not.
    """
    if importlib.util.find_spec("faiss") is None:
        raise UserError(thing, "needs faiss", "pip install 'cvrl[search]'")


def write_index(parts: Iterable[tuple[Floats, pa.Table]], output: Path) -> None:
    """Write an index and the names of its rows; the index is whole in memory once.

    Args:
        parts: vectors (n, D) with a table of n names, in order.
        output: the index; its names go to :func:`names_file`.
    """
    import faiss

    index: Any = None
    names = []
    for vectors_ND, table in parts:
        index = faiss.IndexFlatIP(vectors_ND.shape[1]) if index is None else index
        index.add(unit_rows(vectors_ND))
        names.append(table)
    with atomic_path(names_file(output)) as names_path, atomic_path(output) as index_path:
        pq.write_table(pa.concat_tables(names), names_path)
        faiss.write_index(index, str(index_path))


class FeatureIndex:
    """An index in memory.

    Args:
        path: the ``.faiss`` file.

    Attributes:
        names: table with columns video, start and end, a row a clip.
        dim: D.

    Raises:
        UserError: no such file, one that is not an index, or names that are not of it.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        need_faiss(path)
        import faiss

        names = names_file(path)
        for file in (Path(path), names):
            if not file.is_file():
                remedy = "write it with cvrl extract --output NAME.faiss"
                raise UserError(file, "no such file", remedy)
        try:
            self._index: Any = faiss.read_index(str(path))
        except RuntimeError as error:
            raise UserError(path, "is no whole FAISS index", "extract it again") from error
        self.names = pq.read_table(names)
        self.dim: int = self._index.d
        if self._index.ntotal != len(self.names):
            reason = f"names {len(self.names)} clips, but the index holds {self._index.ntotal}"
            raise UserError(names, reason, "extract the index again")

    def search(self, vectors_QD: Floats, k: int) -> tuple[Floats, NDArray[np.int64]]:
        """The nearest clips of each vector, nearest first.

        Args:
            vectors_QD: features of any length.
            k: answers a vector; fewer where the index holds fewer.

        Returns:
            Cosines (Q, K) and rows (Q, K).
        """
        cosine_QK, row_QK = self._index.search(unit_rows(vectors_QD), min(k, len(self.names)))
        return cosine_QK, row_QK


def unit_rows(vectors_ND: Floats) -> Floats:
    """Vectors scaled to length 1; a vector of zeros stays.

    Example:
        >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32)).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    length_N1 = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    scaled = np.asarray(vectors_ND / np.maximum(length_N1, 1e-12), dtype=np.float32)
    return np.ascontiguousarray(scaled)
