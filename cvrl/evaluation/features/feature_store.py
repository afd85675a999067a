"""Features of a whole library of videos in one file, made in sittings.

Finished videos are kept in shards in a ``.partial`` folder beside the output, each written whole or
not at all. A killed extraction that is started again skips them. At the end the shards become one
file, and a report names every video that could not be decoded.
"""

import dataclasses
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cvrl.data.loader import stream_loader
from cvrl.data.manifest import Manifest
from cvrl.evaluation.features.clip_stream import (
    ClipChoice,
    ClipStream,
    Piece,
    WholeVideo,
    whole_videos,
)
from cvrl.evaluation.features.extraction import (
    Stage,
    encode,
    encode_shared,
    evaluating,
    module_device,
    transform_of,
)
from cvrl.evaluation.features.feature_files import (
    VideoFeatures,
    check_format,
    join_shards,
    read_bad,
    write_shard,
)
from cvrl.evaluation.features.inference_form import Precision, for_inference
from cvrl.evaluation.random_init import weights_sha256
from cvrl.models.backbones import Encoder
from cvrl.models.inference.overlapping import gather_clips, still_stages
from cvrl.utils import remote
from cvrl.utils.errors import CorruptVideoError, UserError
from cvrl.utils.io import atomic_path
from cvrl.utils.lock import locked
from cvrl.utils.log import SECONDS_BETWEEN_LINES, bar, console
from cvrl.utils.remote_folder import local_copy

logger = logging.getLogger("cvrl")


@dataclass(frozen=True)
class StoreReport:
    """What an extraction made.

    Attributes:
        output: the file.
        n_listed: videos in the list.
        n_clips: rows of the file.
        bad: (path, reason) of each video that could not be decoded and has no row.
    """

    output: Path
    n_listed: int
    n_clips: int
    bad: list[tuple[str, str]]


@dataclass(frozen=True)
class Extraction:
    """What to make of each video; decides every value of the file.

    Attributes:
        encoder: as ``load_encoder`` gives it, with ``preprocess``, ``clip``, ``size`` and
            ``projector``.
        choice: which clips of a video.
        stage: of the encoder; projected takes its projection head.
        precision: plain, fp32 or int8, see
            :func:`cvrl.evaluation.features.inference_form.for_inference`.
        share_frames: run what looks at one frame at a time once a frame where clips overlap; the
            same features up to rounding, see :mod:`cvrl.models.inference.overlapping`.
    """

    encoder: Encoder
    choice: ClipChoice
    stage: Stage = "pooled"
    precision: Precision = "fp32"
    share_frames: bool = True

    def settings(self, manifest: Manifest) -> dict[str, Any]:
        """Say in plain values what the extraction of a list depends on."""
        paths = "\n".join(manifest.paths)
        return {
            "weights": weights_sha256(self.encoder),
            "stage": self.stage,
            "precision": self.precision,
            "clips": self.choice.clips,
            "every": self.choice.every,
            "overlap": self.choice.overlap,
            "clip": dataclasses.asdict(self.encoder.clip),
            "size": self.encoder.size,
            "videos": len(manifest),
            "list": hashlib.sha256(paths.encode()).hexdigest(),
        }


def extract_to_file(
    extraction: Extraction,
    manifest: Manifest,
    output: str | PathLike[str],
    *,
    batch_clips: int = 16,
    workers: int = 0,
    shard_videos: int = 64,
    strict: bool = False,
    checkpoint: str | PathLike[str] | None = None,
) -> StoreReport:
    """Write one vector a clip for every video of a list; go on where a killed run stopped.

    Args:
        extraction: the encoder, the clips and the stage.
        manifest: the videos.
        output: a ``.parquet`` file with columns video, start, end (seconds) and vector, or a
            ``.npy`` file of vectors with the other columns in a ``.csv`` beside it, or a
            ``.faiss`` index with the other columns in a ``.names.parquet`` beside it. A
            ``.report.json`` beside it holds the settings and the bad videos.
        batch_clips: clips encoded at a time, about.
        workers: loader processes; 0 decodes in this one.
        shard_videos: videos a shard; a killed run loses no more than it has in hand.
        strict: a bad video is an error; otherwise it is reported and left out.
        checkpoint: where the encoder lies, for the report.

    Raises:
        UserError: an output of another kind, settings other than those of the extraction that was
            begun there, no such stage, no video that can be decoded, or another process that
            writes the output.
        CorruptVideoError: with ``strict``, a bad video.

    Example:
        >>> from cvrl import load_encoder
        >>> extraction = Extraction(load_encoder("runs/x"), ClipChoice(clips=2))  # doctest: +SKIP
        >>> extract_to_file(extraction, read_manifest("videos"), "x.parquet")  # doctest: +SKIP
    """
    check_format(Path(output))
    if remote.is_remote(output):
        how = (batch_clips, workers, shard_videos, strict, checkpoint)
        return _extract_to_store(extraction, manifest, output, *how)
    output = Path(output)
    with locked(output):
        return _extract_to_file(
            extraction,
            manifest,
            output,
            batch_clips=batch_clips,
            workers=workers,
            shard_videos=shard_videos,
            strict=strict,
            checkpoint=checkpoint,
        )


def _extract_to_file(
    extraction: Extraction,
    manifest: Manifest,
    output: Path,
    *,
    batch_clips: int,
    workers: int,
    shard_videos: int,
    strict: bool,
    checkpoint: str | PathLike[str] | None,
) -> StoreReport:
    settings = extraction.settings(manifest)
    report_file = output.with_name(output.name + ".report.json")
    if output.exists() and report_file.exists():
        done = json.loads(report_file.read_text("utf-8"))
        if done["settings"] == settings:
            logger.info("%s is complete already; delete it to extract again", output)
            return _report(output, done, strict)
    work = _Work(output.with_name(output.name + ".partial"), len(manifest), shard_videos)
    work.open(settings)
    _fill(work, extraction, manifest, batch_clips=batch_clips, workers=workers, strict=strict)
    bad = [entry for shard in work.shards() for entry in read_bad(shard)]
    n_clips = join_shards(work.shards(), output)
    if n_clips == 0:
        shutil.rmtree(work.folder)
        path, reason = bad[0]
        raise UserError(path, reason, f"none of the {len(bad)} videos can be decoded")
    done = {"settings": settings, "n_listed": len(manifest), "n_clips": n_clips, "bad": bad}
    if checkpoint is not None:
        done["checkpoint"] = str(Path(checkpoint).resolve())
    with atomic_path(report_file) as temporary:
        temporary.write_text(json.dumps(done, indent=1) + "\n", "utf-8")
    shutil.rmtree(work.folder)
    return _report(output, done, strict)


def _extract_to_store(
    extraction: Extraction, manifest: Manifest, output: str | PathLike[str], *how: Any
) -> StoreReport:
    """Extract to the local copy of a remote file, with which a killed run goes on; store it."""
    batch_clips, workers, shard_videos, strict, checkpoint = how
    local = local_copy(output)
    report = extract_to_file(
        extraction,
        manifest,
        local,
        batch_clips=batch_clips,
        workers=workers,
        shard_videos=shard_videos,
        strict=strict,
        checkpoint=checkpoint,
    )
    for file in sorted(local.parent.glob("[!.]*")):
        remote.upload(file, f"{remote.to_url(output).rpartition('/')[0]}/{file.name}")
    return dataclasses.replace(report, output=Path(output))


def _report(output: Path, done: dict[str, Any], strict: bool) -> StoreReport:
    bad = [(path, reason) for path, reason in done["bad"]]
    if strict and bad:
        raise CorruptVideoError(*bad[0])
    return StoreReport(output, done["n_listed"], done["n_clips"], bad)


class _Work:
    """The shards of an extraction: which are on disk, and the videos at hand for the others."""

    def __init__(self, folder: Path, n_videos: int, shard_videos: int) -> None:
        self.folder = folder
        self.n_videos = n_videos
        self.shard_videos = shard_videos
        self.at_hand: dict[int, dict[int, VideoFeatures]] = {}  # shard -> row -> video

    def open(self, settings: dict[str, Any]) -> None:
        """Begin, or go on with an extraction of the same settings."""
        settings = {**settings, "shard_videos": self.shard_videos}
        path = self.folder / "settings.json"
        has_shards = any(self.folder.glob("shard_*.parquet"))
        begun = json.loads(path.read_text("utf-8")) if has_shards else settings
        for key, value in settings.items():
            if begun.get(key) != value:
                raise UserError(
                    self.folder,
                    f"holds an unfinished extraction with {key} {begun.get(key)}, not {value}",
                    "repeat its settings, choose another output, or delete the folder",
                )
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(settings, indent=1), "utf-8")

    def shards(self) -> list[Path]:
        """Where each shard is or will be, in order."""
        count = -(-self.n_videos // self.shard_videos)
        return [self.folder / f"shard_{number:06d}.parquet" for number in range(count)]

    def missing_rows(self) -> list[int]:
        """Videos whose shard is not on disk."""
        here = [path.exists() for path in self.shards()]
        return [row for row in range(self.n_videos) if not here[row // self.shard_videos]]

    def add(self, row: int, video: VideoFeatures) -> None:
        """Take a finished video; write its shard when that is whole."""
        number = row // self.shard_videos
        shard = self.at_hand.setdefault(number, {})
        shard[row] = video
        if len(shard) == min(self.shard_videos, self.n_videos - number * self.shard_videos):
            videos = [shard[row] for row in sorted(shard)]
            write_shard(videos, self.shards()[number])
            del self.at_hand[number]


def _fill(
    work: _Work,
    extraction: Extraction,
    manifest: Manifest,
    *,
    batch_clips: int,
    workers: int,
    strict: bool,
) -> None:
    """Decode and encode the videos that no shard on disk holds."""
    rows = work.missing_rows()
    if len(rows) < len(manifest):
        logger.info("going on: %d of %d videos are there", len(manifest) - len(rows), len(manifest))
    if not rows:
        return
    encoder = for_inference(extraction.encoder, extraction.precision, manifest)
    extraction = dataclasses.replace(extraction, encoder=encoder)
    transform = transform_of(encoder)
    stream = ClipStream(manifest, rows, encoder.clip, extraction.choice, transform)
    with evaluating(encoder), torch.inference_mode(), torch.random.fork_rng(devices=[]):
        pieces = _encoded(stream_loader(stream, workers), extraction, batch_clips)
        for video in _shown(whole_videos(pieces), len(rows)):
            path = manifest.path(video.row)
            if strict and video.bad is not None:
                raise CorruptVideoError(path, video.bad)
            times = (video.start_N.numpy(), video.end_N.numpy())
            work.add(video.row, VideoFeatures(path, *times, video.vectors_ND.numpy(), video.bad))


def _encoded(
    pieces: Iterable[Piece], extraction: Extraction, batch_clips: int
) -> Iterator[tuple[Piece, Tensor]]:
    """Encode pieces some at a time; a bad one passes through with no vectors."""
    batch: list[Piece] = []
    for piece in pieces:
        batch.append(piece)
        if sum(len(p.start_N) for p in batch) >= batch_clips:
            yield from _encode_batch(batch, extraction, batch_clips)
            batch = []
    yield from _encode_batch(batch, extraction, batch_clips)


def _encode_batch(
    batch: list[Piece], extraction: Extraction, batch_clips: int
) -> Iterator[tuple[Piece, Tensor]]:
    vectors_MD = torch.zeros(0, 1)
    good = [piece for piece in batch if piece.bad is None]
    if good:
        device = module_device(extraction.encoder)
        frames_FCHW = torch.cat([piece.frames_FCHW for piece in good]).to(device)
        before = accumulate((len(piece.frames_FCHW) for piece in good), initial=0)
        places = [piece.place_NT + first for piece, first in zip(good, before, strict=False)]
        vectors_MD = _vectors(extraction, frames_FCHW, torch.cat(places), batch_clips).cpu()
    parts = torch.split(vectors_MD, [len(piece.start_N) for piece in batch])
    yield from zip(batch, parts, strict=True)


def _vectors(extraction: Extraction, frames_FCHW: Tensor, place_MT: Tensor, at_once: int) -> Tensor:
    """Encode the clips (M, T) of some frames; frames in several clips once, where that is asked."""
    encoder, stage, head = extraction.encoder, extraction.stage, extraction.encoder.projector
    if extraction.share_frames and len(frames_FCHW) < place_MT.numel() and still_stages(encoder):
        return encode_shared(encoder, frames_FCHW, place_MT, stage, head, at_once)
    parts = torch.split(place_MT, at_once)
    return torch.cat(
        [encode(encoder, gather_clips(frames_FCHW, part), stage, head) for part in parts]
    )


def _shown(videos: Iterable[WholeVideo], total: int) -> Iterator[WholeVideo]:
    """Pass videos on while showing how many are done, the clips a second and the time left."""
    began = said = time.monotonic()
    clips = 0
    live = bar("rate") if console().is_terminal else None
    try:
        task = live.add_task("extracting", total=total, rate="") if live else None
        if live:
            live.start()
        for done, video in enumerate(videos, start=1):
            yield video
            clips += len(video.start_N)
            now = time.monotonic()
            rate = f"{done} of {total} videos, {clips / max(now - began, 1e-9):.1f} clips/s"
            if live and task is not None:
                live.update(task, completed=done, rate=rate)
            elif now - said >= SECONDS_BETWEEN_LINES:
                said, left = now, (now - began) / done * (total - done)
                logger.info("extracting: %s, %.0f s left", rate, left)
    finally:
        if live:
            live.stop()
