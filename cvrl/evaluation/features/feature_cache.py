"""Features of a list kept in a folder, so that the next evaluation of the same clips is quick.

For networks that never change: hand-made features take longer than a small encoder, and are the
same for every run. The name of a file has a hash of what its features depend on: the files of the
list with their sizes and times of change, the clips and their transform, and the network's code.

Shape suffixes: N clips, D dims.
"""

import dataclasses
import hashlib
import inspect
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from cvrl import __version__
from cvrl.data.dataset import EvalDataset
from cvrl.evaluation.features.extraction import Features, extract_together
from cvrl.models.weights import load_weights, save_weights
from cvrl.utils.errors import UserError
from cvrl.video.frame_folder import video_path

logger = logging.getLogger("cvrl")
TENSORS = ("vectors_ND", "index_N", "start_N", "end_N")


@dataclass(frozen=True)
class FeatureCache:
    """Keeps features in files ``<network>_<hash>.safetensors``.

    Attributes:
        folder: made when the first file is written. Several runs may share it.

    Example:
        >>> import tempfile
        >>> from cvrl.data.clips import ClipSpec
        >>> from cvrl.data.manifest import make_manifest
        >>> videos = make_manifest({"path": ["a.mp4"]}, root="/")
        >>> clips = EvalDataset(videos, ClipSpec(8, 4), 1, torch.nn.Identity())
        >>> zeros = torch.zeros(1)
        >>> cache = FeatureCache(Path(tempfile.mkdtemp()))
        >>> features = Features(torch.ones(1, 2), zeros, zeros, zeros, n_listed=1)
        >>> cache.write("mine", nn.Identity(), clips, features)
        >>> cache.read("mine", nn.Identity(), clips).vectors_ND.tolist()
        [[1.0, 1.0]]
    """

    folder: Path

    def read(self, name: str, network: nn.Module, dataset: EvalDataset) -> Features | None:
        """The features of these clips, or None where they are not kept or cannot be read.

        Args:
            name: of the network.
            network: without weights.
            dataset: the clips.
        """
        file = self._file(name, network, dataset)
        if not file.exists():
            return None
        try:
            tensors, facts = load_weights(file)
            bad = tuple((path, reason) for path, reason in facts["bad"])
            kept = {part: tensors[part] for part in TENSORS}
            features = Features(**kept, n_listed=len(dataset), bad=bad)
        except (UserError, KeyError, ValueError) as error:
            logger.warning("%s cannot be read, and is computed again: %s", file, error)
            return None
        logger.info("%s features of %d videos are read from %s", name, len(dataset), file)
        return features

    def write(
        self, name: str, network: nn.Module, dataset: EvalDataset, features: Features
    ) -> None:
        """Keep the features of these clips; a folder that cannot be written to is only logged.

        Args:
            name: of the network.
            network: without weights.
            dataset: the clips.
            features: of all of them.
        """
        file = self._file(name, network, dataset)
        tensors = {part: getattr(features, part) for part in TENSORS}
        try:
            save_weights(file, tensors, {"bad": [list(one) for one in features.bad]})
        except (OSError, SafetensorError, UserError) as error:
            logger.warning("the %s features are not kept: %s", name, error)

    def _file(self, name: str, network: nn.Module, dataset: EvalDataset) -> Path:
        settings = json.dumps(_depends_on(network, dataset))
        digest = hashlib.sha256(settings.encode()).hexdigest()
        return self.folder / f"{name}_{digest[:16]}.safetensors"


def extract_with_cache(
    networks: Sequence[nn.Module],
    constant: Mapping[str, nn.Module],
    dataset: EvalDataset,
    folder: str | os.PathLike[str] | None,
    **how: Any,
) -> list[Features]:
    """Encode a list with several networks, but those of the cache that have been there before.

    Args:
        networks: encoders, one or more.
        constant: networks that never change, by name; their features are kept.
        dataset: the clips.
        folder: of the cache; None keeps nothing.
        how: as for :func:`cvrl.evaluation.features.extraction.extract_together`.

    Returns:
        The features of each network, those of ``constant`` last.

    Raises:
        UserError: as ``extract_together``; or a file of the cache has features of other clips.
        CorruptVideoError: a video cannot be decoded, unless the data set names such ones.
    """
    cache = None if folder is None else FeatureCache(Path(folder))
    found = {n: cache.read(n, one, dataset) if cache else None for n, one in constant.items()}
    new = [name for name, features in found.items() if features is None]
    read = extract_together([*networks, *(constant[name] for name in new)], dataset, **how)
    fresh = dict(zip(new, read[len(networks) :], strict=True))
    for name, features in found.items():
        if features is None:
            if cache:
                cache.write(name, constant[name], dataset, fresh[name])
        elif not torch.equal(features.index_N, read[0].index_N):
            reason = f"has {name} features of other clips"
            raise UserError(str(folder), reason, "delete this folder of stored features")
    return [*read[: len(networks)], *(found[name] or fresh[name] for name in constant)]


def _depends_on(network: nn.Module, dataset: EvalDataset) -> dict[str, Any]:
    """What features of a data set depend on, in plain values."""
    reader = dataset.reader
    return {
        "version": __version__,
        "network": [repr(network), inspect.getsource(sys.modules[type(network).__module__])],
        "files": [[path, *_state(path)] for path in dataset.manifest.paths],
        "clip": dataclasses.asdict(dataset.spec),
        "clips_per_video": dataset.clips_per_video,
        "every_seconds": dataset.every_seconds,
        "half_overlap": dataset.half_overlap,
        "transform": repr(dataset.transform),
        "perturbations": list(dataset.perturbations),
        "seed": dataset.seed,
        "reader": [reader.decoder, repr(reader.limits), list(reader.cameras)],
        "frames": None if reader.cache is None else reader.cache.short_side,
    }


def _state(path: str) -> tuple[int, int]:
    """Bytes and time of the last change of a file or a folder of frames; zeros where there is none.

    A frame written anew does not change the time of its folder, so the files in it count too.
    """
    path = video_path(path)
    try:
        found = [entry.stat() for entry in os.scandir(path)] if os.path.isdir(path) else []
        found.append(os.stat(path))
    except OSError:
        return 0, 0
    return sum(one.st_size for one in found), max(one.st_mtime_ns for one in found)
