"""Search a FAISS index for the clips that are most like those of a video."""

import json
import tempfile
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from cvrl.data.manifest import Manifest
from cvrl.evaluation.features.clip_stream import ClipChoice
from cvrl.evaluation.features.faiss_index import FeatureIndex
from cvrl.evaluation.features.feature_files import StoredFeatures, read_features
from cvrl.evaluation.features.feature_store import Extraction, extract_to_file
from cvrl.models.backbones import Encoder
from cvrl.utils.errors import UserError


@dataclass(frozen=True)
class Match:
    """The clip of a video of the index that is most like a clip of the query.

    Attributes:
        video: its path.
        start: of the clip in seconds.
        end: of the clip in seconds.
        cosine: of the two features, in [-1, 1].
        query_start: of the query's clip in seconds.
    """

    video: str
    start: float
    end: float
    cosine: float
    query_start: float


def read_settings(index: str | PathLike[str]) -> dict[str, Any]:
    """How the vectors of an index were made.

    Returns:
        The settings of :class:`cvrl.evaluation.features.feature_store.Extraction`, and
            ``checkpoint``, the path of the encoder.

    Raises:
        UserError: the report beside the index is missing.
    """
    file = Path(f"{index}.report.json")
    if not file.is_file():
        raise UserError(file, "no such file", "write the index with cvrl extract")
    done = json.loads(file.read_text("utf-8"))
    return {**done["settings"], "checkpoint": done.get("checkpoint")}


def search_index(
    index: str | PathLike[str],
    encoder: Encoder,
    videos: Manifest,
    *,
    top: int = 5,
    workers: int = 0,
) -> dict[str, list[Match]]:
    """Find the videos of an index that are most like each of some videos.

    Clips of a query are taken and encoded as those of the index were. A video of the index counts
    by its best clip.

    Args:
        index: a ``.faiss`` file that ``cvrl extract`` wrote.
        encoder: that made it.
        videos: the queries.
        top: videos a query.
        workers: loader processes.

    Returns:
        The matches of each query that can be decoded, best first.

    Raises:
        UserError: no such index, another encoder, or no query that can be decoded.
    """
    stored, settings = FeatureIndex(index), read_settings(index)
    choice = ClipChoice(*(settings[key] for key in ("clips", "every", "overlap")))
    precision = settings["precision"]
    if precision == "int8":  # whose scales are measured on the videos at hand
        precision = "fp32"
    extraction = Extraction(encoder, choice, settings["stage"], precision)
    for key in ("weights", "clip", "size"):
        if extraction.settings(videos)[key] != settings[key]:
            reason = f"was made by an encoder of other {key}"
            raise UserError(index, reason, "give that encoder with --checkpoint")
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "query.parquet"
        extract_to_file(extraction, videos, output, workers=workers)
        queries = read_features(output)
    return {
        video: _best(stored, queries, [n for n, v in enumerate(queries.videos) if v == video], top)
        for video in dict.fromkeys(queries.videos)
    }


def _best(index: FeatureIndex, queries: StoredFeatures, rows: list[int], top: int) -> list[Match]:
    """The best clip of each of the best videos.

    More clips are asked for until no clip that was not given can belong to a better video.
    """
    k, total = 4 * top, len(index.names)
    while True:
        cosine_QK, row_QK = index.search(queries.vectors_ND[rows], k)
        best: dict[str, Match] = {}
        for flat in np.argsort(-cosine_QK, axis=None, kind="stable"):
            q, place = divmod(int(flat), cosine_QK.shape[1])
            name = index.names.slice(int(row_QK[q, place]), 1).to_pylist()[0]
            if name["video"] not in best:
                start = float(queries.start_N[rows[q]])
                best[name["video"]] = Match(**name, cosine=float(cosine_QK[q, place]),
                                            query_start=start)  # fmt: skip
        matches = [*best.values()][:top]
        if k >= total or (len(matches) == top and matches[-1].cosine >= cosine_QK[:, -1].max()):
            return matches
        k *= 4
