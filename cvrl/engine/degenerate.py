"""Runs that could learn nothing, or something else than was meant, told before they start."""

import logging

import numpy as np

from cvrl.config import Config
from cvrl.data.manifest import Manifest
from cvrl.task import Task
from cvrl.utils.checks import counted
from cvrl.utils.errors import UserError

logger = logging.getLogger("cvrl")
FEW_VIDEOS = 8


def check_batch(config: Config, videos: Manifest) -> None:
    """Refuse a batch that the videos cannot fill, and warn where they are very few.

    Raises:
        UserError: fewer videos than a batch.
    """
    there = counted(len(videos), "training video")
    few = len(videos) < FEW_VIDEOS
    if len(videos) < config.train.batch_size:
        smaller = f"set train.batch_size={max(2, len(videos) // 2)}"
        reason = f"has {there}, too few for a batch of {config.train.batch_size}"
        remedy = f"{smaller} or add videos"
        if few:
            reason = f"has {there}, too few to learn anything that holds for others"
            remedy = "add videos, hundreds at least"
        if few and len(videos) > 1:
            remedy = f"{remedy}; {smaller} only tries the program out"
        raise UserError(config.data.train, reason, remedy)
    if few:
        logger.warning(
            "%s: %s: this tries the program out; nothing that holds for other videos is learned",
            config.data.train,
            there,
        )


def check_task(config: Config, videos: Manifest, task: Task) -> None:
    """Refuse a method that has nothing to compare; warn where parts of a batch are compared.

    Raises:
        UserError: one video a comparison, or one class.
    """
    train, name = config.train, config.method.name
    compared = train.batch_size // train.accumulate
    if task.needs_negatives and compared < 2:
        raise UserError(
            f"train.batch_size = {train.batch_size}, train.accumulate = {train.accumulate}",
            f"leaves {name} one video at a time, and nothing to compare it with",
            "use a larger train.batch_size, and train.clips_at_once where memory is short",
        )
    if task.needs_negatives and train.accumulate > 1:
        logger.warning(
            "train.accumulate = %d: %s compares %d videos at a time instead of %d, which is "
            "another objective; train.clips_at_once saves memory and keeps it",
            train.accumulate,
            name,
            compared,
            train.batch_size,
        )
    classes = np.unique(videos.label_ids)
    if task.needs_labels and len(classes) < 2:
        known = videos.class_names[classes[0]] if len(classes) else "none"
        reason = f"has one class among its training videos, {known}, so there is nothing to tell"
        raise UserError(config.data.train, reason, "add videos of other classes")
