"""Growth: a million clips in a list, in a gallery and in a bank, and batches larger than memory."""

import copy
import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import torch
from torch import Tensor, nn

from cvrl.bench.common.subprocess_cost import Needs, needs
from cvrl.bench.common.timing import Goal, Report, Timing, interleave, ratio
from cvrl.data.loader import stream_loader
from cvrl.data.manifest import Manifest, read_manifest
from cvrl.data.sources.shard_index import write_index
from cvrl.evaluation.protocols.knn import neighbours
from cvrl.losses.contrastive import info_nce
from cvrl.models.backbones import build_encoder
from cvrl.models.batchnorm import freeze_batchnorm
from cvrl.models.memory import Bank

ROWS_READ = 1000  # by each loader worker


def measure(
    *,
    runs: int,
    against: Sequence[str] = (),
    rows: int = 1_000_000,
    queries: int = 10_000,
    dim: int = 512,
    encoder: str = "r3d50",
    clips: int = 16,
    size: int = 112,
    frames: int = 16,
) -> Report:
    """Measure what grows with the data.

    Args:
        runs: of the bank's update; all else runs once, in a process of its own.
        against: no peer does the same work, so none is measured.
        rows: clips in the list, rows of the gallery, videos in the bank.
        queries: rows that search the gallery.
        dim: of the gallery's features; the bank's are 128.
        encoder: what makes a training step.
        clips: of the step.
        size: their height and width.
        frames: their length.

    Returns:
        Goals and figures; memory in MB is what the process added to what it held at its start.
    """
    with tempfile.TemporaryDirectory() as folder:
        listed, gallery = Path(folder) / "list.csv", Path(folder) / "gallery.npy"
        _write_list(listed, rows)
        _write_gallery(gallery, rows, dim)
        _write_shard_index(Path(folder) / "shards", listed)
        packed = needs(open_list, str(Path(folder) / "shards"))
        opened, shared = needs(open_list, str(listed)), needs(share_list, str(listed))
        found = needs(search, str(gallery), queries, dim)
    step = functools.partial(needs, train_step, encoder, clips=clips, size=size, frames=frames)
    plain, recomputed, cached = step(), step(recompute=True), step(clips_at_once=max(2, clips // 4))
    timings, goals = _bank(rows, runs)
    goals = [
        *_list_goals(opened, shared, packed),
        _knn_goal(found),
        *goals,
        *_step_goals(plain, recomputed, cached),
    ]
    facts = {"rows": rows, "queries": queries, "dim": dim, "encoder": encoder, "clips": clips}
    facts |= {"size": size, "frames": frames, "gradient caching, clips at once": max(2, clips // 4)}
    facts |= {"list CPU s": round(opened.cpu_s, 2), "index CPU s": round(packed.cpu_s, 2)}
    facts |= {"list MB": round(opened.added_mb), "search CPU s": round(found.cpu_s, 1)}
    facts |= _step_facts(plain, recomputed, cached)
    return Report("scale", timings, goals, facts)


def open_list(path: str) -> int:
    """Open a list; how many clips are in it."""
    return len(read_manifest(path, check_files=False))


def share_list(path: str) -> float:
    """Open a list and read it in two loader workers; the MB that a worker adds for itself alone."""
    manifest = read_manifest(path, check_files=False)
    return max(float(mb) for mb in stream_loader(_Paths(manifest), workers=2))


def search(path: str, queries: int, dim: int) -> float:
    """Find 20 neighbours of random queries in a gallery on disk; the mean similarity."""
    gallery_ND = torch.from_numpy(np.load(path, mmap_mode="c"))
    query_MD = torch.randn(queries, dim, generator=torch.Generator().manual_seed(1))
    return float(neighbours(query_MD, gallery_ND, k=20)[0].mean())


def train_step(
    encoder: str,
    *,
    clips: int,
    size: int,
    frames: int,
    recompute: bool = False,
    clips_at_once: int | None = None,
) -> None:
    """One contrastive step of an encoder, forward and backward."""
    torch.manual_seed(0)
    network = build_encoder(encoder)
    network.recompute_blocks, network.clips_at_once = recompute, clips_at_once
    torch.autograd.backward(_compare(network(torch.rand(clips, 3, frames, size, size))))


class _Paths(torch.utils.data.IterableDataset[float]):
    """What a worker holds alone after it has looked at rows of the list all over."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest

    def __iter__(self) -> Any:
        process = psutil.Process()
        before = process.memory_full_info().uss
        for row in np.linspace(0, len(self.manifest) - 1, ROWS_READ).astype(int):
            self.manifest.path(int(row))
            int(self.manifest.label_ids[row]), int(self.manifest.group_ids[row])
        yield (process.memory_full_info().uss - before) / 2**20


def _compare(h_ND: Tensor) -> Tensor:
    return info_nce(h_ND[0::2], h_ND[1::2], 0.1, torch.arange(len(h_ND) // 2))


def _write_list(path: Path, rows: int) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write("path,label,group,split\n")
        for row in range(rows):
            split = "test" if row % 10 == 0 else "train"
            name = f"class{row % 400}/video_{row:07}_000010_000020.mp4"
            file.write(f"{name},class{row % 400},film{row // 4},{split}\n")


def _write_shard_index(folder: Path, listed: Path) -> None:
    """The index that the shards of a list have, without the shards."""
    table = read_manifest(listed, check_files=False).table
    row = np.arange(len(table))
    shard = pa.array([f"{number:06d}.tar" for number in range(len(table) // 1000 + 1)])
    places = {"shard_offset": row % 1000 * 300_000 + 2560, "shard_bytes": row % 7 + 200_000}
    columns = {name: table[name] for name in table.column_names}
    write_index(folder, pa.table(columns | {"shard": shard.take(row // 1000)} | places), {})


def _write_gallery(path: Path, rows: int, dim: int) -> None:
    shape, rng = (rows, dim), np.random.default_rng(0)
    gallery = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    for first in range(0, rows, 65_536):
        part = gallery[first : first + 65_536]
        part[:] = rng.standard_normal(part.shape, dtype=np.float32)
    gallery.flush()


def _bank(rows: int, runs: int) -> tuple[dict[str, Timing], list[Goal]]:
    """A batch of 256 enters a bank of all rows, and one of a hundredth."""
    z_BD = nn.functional.normalize(torch.randn(256, 128))
    names = {f"bank of {videos}": videos for videos in (max(256, rows // 100), rows)}

    def update(bank: Bank, videos: int) -> None:
        for _ in range(20):
            bank.update(torch.randint(videos, (256,)), z_BD, torch.arange(256), momentum=0.5)

    candidates = {
        name: functools.partial(update, Bank(videos, 128), videos) for name, videos in names.items()
    }
    timings = interleave(candidates, runs=runs)
    small, large = names
    what = "an update of the memory bank / one of a hundredth of the videos"
    note = "cache misses; no term in the number of videos"
    return timings, [Goal(what, ratio(timings, large, small), 2.0, "at most", note=note)]


def _list_goals(opened: Needs, shared: Needs, packed: Needs) -> list[Goal]:
    index = packed.cpu_s / opened.cpu_s
    return [
        Goal("open the list, seconds", opened.cpu_s, 2.0, "at most"),
        Goal("open the list, MB a process", opened.added_mb, 300.0, "at most", note="at its peak"),
        Goal("open the index of shards / the list, seconds", index, 1.0, "at most"),
        Goal("open the list, MB a worker holds alone", shared.result, 30.0, "at most"),
    ]


def _knn_goal(found: Needs) -> Goal:
    note = "without pages of the gallery's file"
    return Goal("search the gallery, MB", found.added_mb, 2048.0, "at most", note=note)


def _step_goals(plain: Needs, recomputed: Needs, cached: Needs) -> list[Goal]:
    what = "peak of a step, recomputing / keeping activations"
    return [
        Goal(what, recomputed.peak_mb / plain.peak_mb, 0.6, "at most", note="of whole processes"),
        Goal("error of cached gradients", _error_of_cached(), 1e-5, "at most", note="frozen norms"),
    ]


def _step_facts(plain: Needs, recomputed: Needs, cached: Needs) -> dict[str, Any]:
    steps = {"plain": plain, "recomputed": recomputed, "cached": cached}
    facts = {f"step {name} MB": round(step.peak_mb) for name, step in steps.items()}
    facts |= {f"step {name} over its start": round(s.added_mb) for name, s in steps.items()}
    return facts | {f"step {name} CPU s": round(s.cpu_s, 1) for name, s in steps.items()}


def _error_of_cached() -> float:
    """The largest difference between gradients, as a share of the largest gradient."""
    torch.manual_seed(0)
    plain = build_encoder("r3d_small", width=4)
    freeze_batchnorm(plain)
    cached = copy.deepcopy(plain)
    cached.clips_at_once = 2
    clips = torch.rand(8, 3, 8, 32, 32)
    for network in (plain, cached):
        torch.autograd.backward(_compare(network(clips)))
    pairs = zip(plain.parameters(), cached.parameters(), strict=True)
    grads = [(a.grad, b.grad) for a, b in pairs if a.grad is not None and b.grad is not None]
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in grads)
