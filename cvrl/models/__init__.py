"""Encoders, heads, batch norm across ranks, and weights."""

from cvrl.models.backbones import Encoder, build_encoder
from cvrl.models.batchnorm import SyncBatchNorm, convert_sync_batchnorm
from cvrl.models.weights import (
    MatchReport,
    load_matching,
    load_pretrained,
    load_weights,
    save_weights,
)

__all__ = [
    "Encoder",
    "MatchReport",
    "SyncBatchNorm",
    "build_encoder",
    "convert_sync_batchnorm",
    "load_matching",
    "load_pretrained",
    "load_weights",
    "save_weights",
]
