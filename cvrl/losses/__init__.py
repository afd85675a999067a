"""Losses: plain functions of tensors, in float32 or float64."""

from cvrl.losses.contrastive import info_nce, nce_pair

__all__ = ["info_nce", "nce_pair"]
