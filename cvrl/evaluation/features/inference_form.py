"""The form in which an encoder infers: as trained, folded and fused, or in 8-bit integers."""

import logging
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from cvrl.data.dataset import EvalDataset, VideoReader
from cvrl.data.loader import eval_loader
from cvrl.data.manifest import Manifest
from cvrl.evaluation.features.extraction import evaluating, module_device, transform_of
from cvrl.models.backbones import Encoder
from cvrl.models.hf import TokenMap
from cvrl.models.inference.folded import freeze
from cvrl.models.inference.int8 import quantise
from cvrl.utils.errors import UserError

logger = logging.getLogger("cvrl")

Precision = Literal["plain", "fp32", "int8"]
PRECISIONS: tuple[Precision, ...] = ("plain", "fp32", "int8")
CALIBRATION = 32  # videos whose clips tell the ranges of the maps
READER = VideoReader()


def for_inference(
    encoder: Encoder, precision: Precision, manifest: Manifest, *, reader: VideoReader = READER
) -> Encoder:
    """An encoder that gives the same features faster, on a CPU.

    Args:
        encoder: as ``load_encoder`` gives it; left as it is.
        precision: ``plain`` is the encoder itself. ``fp32`` folds norms into convolutions and fuses
            what follows them: equal up to rounding. ``int8`` has features whose cosine with those
            is 0.99 or so.
        manifest: videos like those to come; int8 takes its ranges from some of them.
        reader: how files are opened.

    Returns:
        The encoder itself where it is asked for, is on another device, or is of no known kind.

    Raises:
        UserError: int8 of a transformer or on another device than a CPU, or none of the videos can
            be decoded.

    Example:
        >>> from cvrl.data.manifest import make_manifest
        >>> from cvrl.models.backbones import build_encoder
        >>> encoder, videos = build_encoder("r3d_small"), make_manifest({"path": ["a"]}, root="/")
        >>> for_inference(encoder, "plain", videos) is encoder
        True
    """
    if precision == "int8":
        if isinstance(encoder.stem, TokenMap):
            reason = f"is not made for encoder {encoder.spec['name']}"
            raise UserError("precision int8", reason, "use fp32")
        return quantise(encoder, _calibration_clips(encoder, manifest, reader))
    if precision == "plain" or module_device(encoder).type != "cpu":
        return encoder
    try:
        return freeze(encoder)
    except ValueError as error:
        logger.info("the encoder infers as it was trained: %s", error)
        return encoder


def _calibration_clips(encoder: Encoder, manifest: Manifest, reader: VideoReader) -> Tensor:
    """The middle clip of some videos, spread over the list: (N, C, T, H, W)."""
    rows = np.unique(np.linspace(0, len(manifest) - 1, min(CALIBRATION, len(manifest))).round())
    some = manifest.take(rows.astype(np.int64))
    transform = transform_of(encoder)
    dataset = EvalDataset(some, encoder.clip, 1, transform, reader=reader, name_bad=True)
    with evaluating(encoder):
        batches = [batch.clips_MCTHW for batch in eval_loader(dataset, batch_videos=1, workers=0)]
    clips = [clips_MCTHW for clips_MCTHW in batches if len(clips_MCTHW)]
    if not clips:
        raise UserError("precision int8", "no video to measure ranges on decodes", "use fp32")
    return torch.cat(clips)
