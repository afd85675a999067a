"""The networks that compete, and their features of the clips that a protocol takes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from cvrl.data.dataset import EvalDataset, VideoReader
from cvrl.data.manifest import Manifest
from cvrl.evaluation.contest import Contest, Contestant, Options
from cvrl.evaluation.features import Features, extract_together, project, transform_of
from cvrl.evaluation.missing import Account, account_for
from cvrl.evaluation.parts import Parts
from cvrl.evaluation.retrieval import MaxPooledMap
from cvrl.models.backbones import Encoder


@dataclass(frozen=True)
class Intake:
    """What a protocol takes of each video; protocols with equal intakes share one decode.

    Attributes:
        clips: clips spread over the video; None where they lie densely.
        every_seconds: from one dense clip to the next.
        half_overlap: dense clips overlap by half.
        max_pooled: the feature is the last map, max-pooled, in place of its mean.
        project: the trained network also competes behind its projection head.
    """

    clips: int | None
    every_seconds: float | None = None
    half_overlap: bool = False
    max_pooled: bool = False
    project: bool = False


@dataclass(frozen=True)
class Entry:
    """A contest over the videos that could be read, and where the others went."""

    contest: Contest
    test: Account
    train: Account | None


class Entrants:
    """The trained encoder and its untrained twins.

    Args:
        encoder: as ``load_encoder`` gives it.
        twins: untrained networks by how their batch norm is set.
        parts: the videos.
        options: how they are read.
        reader: how files are opened.
    """

    def __init__(
        self,
        encoder: Encoder,
        twins: Mapping[str, nn.Module],
        parts: Parts,
        options: Options,
        reader: VideoReader,
    ) -> None:
        self.encoder = encoder
        self.networks = [encoder, *twins.values()]
        self.names = [("trained", ""), *(("untrained", norm) for norm in twins)]
        self.parts = parts
        self.options = options
        self.reader = reader

    def enter(self, intake: Intake, *, train: bool) -> Entry:
        """Decode the videos once and encode them with every network.

        Args:
            intake: the clips and the feature.
            train: the training part too.

        Raises:
            CorruptVideoError: a video cannot be decoded, and the options do not allow that.
        """
        tests, test = self._features(self.parts.test, intake, "test part")
        trains: list[Features | None] = [None] * len(self.networks)
        account, kept = None, self.parts.train
        if train and self.parts.train is not None:
            read, account = self._features(self.parts.train, intake, "training part")
            trains, kept = [*read], account.manifest
        rows = zip(self.names, tests, trains, strict=True)
        contestants = [Contestant(*name, mine, learned) for name, mine, learned in rows]
        if intake.project and self.encoder.projector is not None:
            contestants.insert(
                1, Contestant("projected", "", project(self.encoder, tests[0]), None)
            )
        parts = replace(self.parts, test=test.manifest, train=kept)
        return Entry(Contest(parts, self.options, contestants), test, account)

    def _features(
        self, manifest: Manifest, intake: Intake, description: str
    ) -> tuple[list[Features], Account]:
        """Features of the videos that could be read, numbered among themselves."""
        dataset = clips_of(manifest, self.encoder, intake, self.options, self.reader)
        networks = [MaxPooledMap(n) for n in self.networks] if intake.max_pooled else self.networks
        read = extract_together(
            networks,
            dataset,
            batch_videos=1 if intake.clips is None else self.options.batch_videos,
            workers=self.options.workers,
            description=description,
        )
        account = account_for(manifest, read[0].index_N, read[0].bad)
        index_N, n_videos = account.renumber(read[0].index_N), len(account.manifest)
        return [replace(f, index_N=index_N, n_listed=n_videos, bad=()) for f in read], account


def clips_of(
    manifest: Manifest, encoder: Encoder, intake: Intake, options: Options, reader: VideoReader
) -> EvalDataset:
    """The clips of a list as a protocol takes them.

    Raises:
        UserError: the encoder has no evaluation transform.
    """
    how: dict[str, Any] = {"reader": reader, "still": options.still}
    how |= {"every_seconds": intake.every_seconds, "half_overlap": intake.half_overlap}
    how |= {"name_bad": options.allow_missing}
    return EvalDataset(manifest, encoder.clip, intake.clips or 1, transform_of(encoder), **how)
