"""The networks that compete, and their features of the clips that a protocol takes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

from torch import nn

from cvrl.data.dataset import EvalDataset, VideoReader
from cvrl.data.manifest import Manifest
from cvrl.data.perturbations import Perturbation
from cvrl.data.splits import Parts
from cvrl.evaluation.diagnostics.perturbation_table import by_perturbation, pairings
from cvrl.evaluation.features.extraction import Features, Stage, project, transform_of
from cvrl.evaluation.features.feature_cache import extract_with_cache
from cvrl.evaluation.features.joined import join_features, only_rows
from cvrl.evaluation.features.stages import POOLED, SideBySide
from cvrl.evaluation.missing import Account, account_for
from cvrl.evaluation.protocols.base import EncoderFeatures, Options, ProtocolInputs
from cvrl.evaluation.protocols.retrieval import MaxPooledMap
from cvrl.models.backbones import Encoder
from cvrl.models.heads import ClassHead
from cvrl.models.hog_mbh import HogMbh
from cvrl.transforms import published
from cvrl.transforms.recipe import Recipe
from cvrl.utils.errors import UserError

BASELINES: dict[str, Callable[[], nn.Module]] = {"hog_mbh": HogMbh}
PIXELS: dict[str, Callable[..., Recipe]] = {"vcop": published.vcop, "coclr": published.coclr}
View = tuple[Stage, Perturbation]
"""Which stage of a network looks at clips that show what."""


@dataclass(frozen=True)
class ClipRequest:
    """What a protocol takes of each video; protocols with equal requests share one decode.

    Attributes:
        clips: clips spread over the video; None where they lie densely.
        every_seconds: from one dense clip to the next.
        half_overlap: dense clips overlap by half.
        max_pooled: the feature is the last map, max-pooled, in place of its mean.
        project: the trained network also competes behind its projection head.
        pixels: whose evaluation transform: the encoder's own (None), or VCOP's or CoCLR's.
    """

    clips: int | None
    every_seconds: float | None = None
    half_overlap: bool = False
    max_pooled: bool = False
    project: bool = False
    pixels: Literal["vcop", "coclr"] | None = None


@dataclass(frozen=True)
class Entry:
    """The inputs over the videos that could be read, and where the others went.

    Attributes:
        inputs: by the stage that gave the features, what the test clips show, and the training
            clips with them; None for protocols that learn from none.
        test: the account of the test part.
        train: of the training part, where that was read.
    """

    inputs: dict[tuple[Stage, Perturbation, Perturbation | None], ProtocolInputs]
    test: Account
    train: Account | None


@dataclass(frozen=True)
class Member:
    """An encoder that is scored, alone or joined with others, and its random-init networks.

    Attributes:
        encoder: as ``load_encoder`` gives it.
        random_init: networks by how their batch norm is set.
    """

    encoder: Encoder
    random_init: Mapping[str, nn.Module]

    def networks(self, kinds: Sequence[str]) -> list[nn.Module]:
        """The encoder, and the random-init network of each kind; of a lone one that one."""
        found = self.random_init
        return [self.encoder, *(found.get(kind, next(iter(found.values()))) for kind in kinds)]


class EncodersUnderTest:
    """The trained encoder, or several whose features are joined, and random-init networks.

    Args:
        members: the encoders; the clips of the first are also those of the baselines.
        parts: the videos.
        options: how they are read, and what their clips show.
        reader: how files are opened.
        head: the classifier that was trained with the encoder.

    Raises:
        UserError: the options name an unknown baseline.
    """

    def __init__(
        self,
        members: Sequence[Member],
        parts: Parts,
        options: Options,
        reader: VideoReader,
        head: ClassHead | None = None,
    ) -> None:
        self.encoder = members[0].encoder
        self.kinds = max((list(member.random_init) for member in members), key=len)
        self.members = members
        self.names = [("trained", ""), *(("untrained", kind) for kind in self.kinds)]
        self.baselines = {name: _baseline(name) for name in options.baselines}
        self.parts = parts
        self.options = options
        self.reader = reader
        self.head = head

    def enter(self, request: ClipRequest, *, train: bool) -> Entry:
        """Decode the videos once and encode them with every network.

        Args:
            request: the clips and the feature.
            train: the training part too.

        Raises:
            CorruptVideoError: a video cannot be decoded, and the options do not allow that.
        """
        tests, test = self._features(self.parts.test, request, "test part")
        trains: list[dict[View, Features]] = [{} for _ in tests]
        names, account, kept = list(self.names), None, self.parts.train
        names += [(name, name) for name in self._baselines_of(request)]
        pairs = pairings(self.options.perturbations, learns=False)
        if train and self.parts.train is not None:
            if self.options.leave_one_out is not None:  # the same videos: encoded once
                trains, account = tests, test
            else:
                trains, account = self._features(self.parts.train, request, "training part")
            kept = account.manifest
            pairs += pairings(self.options.perturbations, learns=True)
        stages = self.options.stages
        if request.project and stages == POOLED and self.encoder.projector is not None:
            names.insert(1, ("projected", ""))
            tests.insert(1, {s: project(self.encoder, one) for s, one in tests[0].items()})
            trains.insert(1, {})
        parts = replace(self.parts, test=test.manifest, train=kept)
        rows = list(zip(names, tests, trains, strict=True))
        inputs: dict[tuple[Stage, Perturbation, Perturbation | None], ProtocolInputs] = {}
        for stage, (perturbation, taught) in product(stages, pairs):
            candidates = [
                EncoderFeatures(
                    *name,
                    test=mine[stage, perturbation],
                    train=None if taught is None else learned.get((stage, taught)),
                )
                for name, mine, learned in rows
            ]
            key = (stage, perturbation, taught)
            inputs[key] = ProtocolInputs(parts, self.options, candidates, self.head)
        return Entry(inputs, test, account)

    def _baselines_of(self, request: ClipRequest) -> dict[str, nn.Module]:
        """The baselines that take these clips: those spread over a video, of the pooled feature."""
        return {} if request.clips is None or request.max_pooled else self.baselines

    def _features(
        self, manifest: Manifest, request: ClipRequest, description: str
    ) -> tuple[list[dict[View, Features]], Account]:
        """Each network's features of the videos that could be read, numbered among themselves."""
        networks = [
            [self._network(one, request) for one in member.networks(self.kinds)]
            for member in self.members
        ]
        baselines = self._baselines_of(request)
        how: dict[str, Any] = {"workers": self.options.workers, "description": description}
        how["batch_videos"] = 1 if request.clips is None else self.options.batch_videos
        found = []
        for number, member in enumerate(self.members):
            dataset = clips_of(manifest, member.encoder, request, self.options, self.reader)
            constant = {} if number else baselines
            cache = self.options.feature_cache
            found.append(extract_with_cache(networks[number], constant, dataset, cache, **how))
        read = _joined(found) if len(found) > 1 else found[0]
        account = account_for(manifest, read[0].index_N, read[0].bad)
        index_N, n_videos = account.renumber(read[0].index_N), len(account.manifest)
        kept = [replace(f, index_N=index_N, n_listed=n_videos, bad=()) for f in read]
        every = [*networks[0], *baselines.values()]
        return [self._views(*one) for one in zip(every, kept, strict=True)], account

    def _network(self, network: nn.Module, request: ClipRequest) -> nn.Module:
        """What gives the feature of a clip that is asked for."""
        if request.max_pooled:
            return MaxPooledMap(network)
        stages = self.options.stages
        return network if stages == POOLED else SideBySide(network, stages)

    def _views(self, network: nn.Module, features: Features) -> dict[View, Features]:
        """Features of one network by stage and perturbation; baselines have one for all stages."""
        apart = dict.fromkeys(self.options.stages, features)
        if isinstance(network, SideBySide):
            apart = network.apart(features)
        return {
            (stage, perturbation): found
            for stage, one in apart.items()
            for perturbation, found in by_perturbation(one, self.options.perturbations).items()
        }


def _joined(found: Sequence[list[Features]]) -> list[Features]:
    """The features of all members side by side; behind them the baselines, which the first has."""
    joined = [join_features(parts) for parts in zip(*found, strict=False)]
    rows = set(joined[0].index_N.tolist())
    alone = found[0][len(joined) :]
    return [*joined, *(replace(only_rows(one, rows), bad=joined[0].bad) for one in alone)]


def _baseline(name: str) -> nn.Module:
    if name not in BASELINES:
        raise UserError(f"baseline {name}", "is not known", f"use {', '.join(BASELINES)} or none")
    return BASELINES[name]()


def clips_of(
    manifest: Manifest,
    encoder: Encoder,
    request: ClipRequest,
    options: Options,
    reader: VideoReader,
) -> EvalDataset:
    """The clips of a list as a protocol takes them.

    Raises:
        UserError: the encoder has no evaluation transform.
    """
    how: dict[str, Any] = {"reader": reader, "seed": options.seed}
    how["perturbations"] = options.perturbations
    how |= {"every_seconds": request.every_seconds, "half_overlap": request.half_overlap}
    how |= {"name_bad": options.allow_missing}
    transform = transform_of(encoder)
    if request.pixels is not None:
        normalised = isinstance(transform, Recipe) and transform.normalised
        transform = PIXELS[request.pixels](encoder.size or 0, normalise=normalised)
    return EvalDataset(manifest, encoder.clip, request.clips or 1, transform, **how)
