"""A GPU: is it exact, how fast is a training step in each form, and what does a run wait for.

Without a GPU everything runs in a small form on the CPU, to see that it works.
"""

import logging
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from cvrl.bench.common.networks import PEER_OF, check_names
from cvrl.bench.common.peers import split_by_installed
from cvrl.bench.common.timing import Goal, Report
from cvrl.bench.gpu import runs as whole_runs
from cvrl.bench.gpu.checks import check_augmentation, check_encoders
from cvrl.bench.gpu.clock import matmul_peak, time_on
from cvrl.bench.gpu.steps import FORMS, QUICK, Cell, cells_of, make_step, mode, table
from cvrl.data.loader import usable_cores
from cvrl.models.backbones import build_encoder
from cvrl.models.training_speed.gpu_conv import accelerate_on_gpu
from cvrl.transforms import recipes
from cvrl.utils.errors import UserError
from cvrl.utils.seed import torch_generator

logger = logging.getLogger("cvrl")

PARTS = ("equality", "forms", "augment", "runs", "resume", "extract", "batch", "steps")


def measure(
    *,
    runs: int,
    against: Sequence[str],
    parts: Sequence[str] = PARTS,
    encoders: Sequence[str] = tuple(PEER_OF),
    seconds: float = 480.0,
) -> Report:
    """Check and time a device.

    Args:
        runs: of each candidate, at most; a second of each is enough.
        against: peers.
        parts: some of :data:`PARTS`, in this order.
        encoders: by name.
        seconds: after which no further part or encoder is begun; what is left out is said.

    Raises:
        UserError: an unknown encoder or part, or the device computes something else than the CPU.
    """
    check_names(encoders)
    if strange := [part for part in parts if part not in PARTS]:
        raise UserError(f"parts = {strange[0]}", "is no part", f"known: {', '.join(PARTS)}")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for the deterministic resume
    here, absent = split_by_installed([p for p in dict.fromkeys(PEER_OF.values()) if p in against])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = _Measurement(device, list(encoders), here, time.monotonic() + seconds)
    work: dict[str, Callable[[], None]] = {
        "equality": found.equality,
        "forms": found.forms,
        "augment": found.augment,
        "extract": found.extract,
        "runs": found.runs,
        "resume": found.resume,
        "batch": found.batch,
        "steps": found.steps,
    }
    for part in parts:
        if part in work and not found.is_late(part):
            logger.info("gpu: %s", part)
            found.notes += ["", f"**{part}**", ""]
            work[part]()
    goals = found.goals()
    peaks = {f"{key} peak TFLOP/s": round(value, 2) for key, value in found.peaks.items()}
    return Report("gpu", {}, goals, {"device": device.type, **peaks}, absent, found.notes)


class _Measurement:
    """What the parts need and what they found."""

    def __init__(
        self, device: torch.device, encoders: list[str], peers: list[str], deadline: float
    ) -> None:
        self.device, self.encoders, self.peers, self.deadline = device, encoders, peers, deadline
        self.is_gpu = device.type == "cuda"
        self.peaks: dict[str, float] = {}
        self.cells: list[Cell] = []
        self.found: dict[str, float] = {}
        self.notes: list[str] = []

    def is_late(self, what: str) -> bool:
        """Whether there is no time left for a part, which is said."""
        late = time.monotonic() > self.deadline
        if late:
            self.notes.append(f"{what}: left out, the time was up")
        return late

    def equality(self) -> None:
        names = self.encoders if self.is_gpu else ["r3d_small"]
        for name in names:
            if not self.is_late(f"equality of {name}"):
                rows = check_encoders(self.device, [name], QUICK)
                self.notes += rows if name == names[0] else rows[2:]

    def forms(self) -> None:
        """Every form of one large and one small encoder, in the precision people train in."""
        cells = []
        forms = [form for form in FORMS if self.is_gpu or "graph" not in form]
        todo = [("r3d50", 224, 16), ("r3d_small", 112, 32)] if self.is_gpu else []
        for name, size, clips in todo or [("r3d_small", 32, 2)]:
            for form in forms:
                if not self.is_late(f"{form} of {name}"):
                    cells += self._cells(name, size, clips, "bf16", [form], form == forms[-1])
        self.notes += table(cells, self.cells)

    def steps(self) -> None:
        """Each encoder at each size and precision; what :meth:`forms` measured is not repeated."""
        cells = []
        sizes = ((224, 16), (112, 32)) if self.is_gpu else ((32, 2),)
        for precision in ("bf16", "tf32", "fp32"):
            for name in self.encoders if self.is_gpu else ["r3d_small"]:
                for size, clips in sizes:
                    if not self.is_late(f"{name} at {size}, {precision}"):
                        cells += self._cells(name, size, clips, precision, QUICK, True)
        self.notes += table(cells, self.cells)

    def _cells(
        self, name: str, size: int, clips: int, precision: str, forms: Sequence[str], peer: bool
    ) -> list[Cell]:
        key = (name, size, precision)
        alike = [c for c in self.cells if (c.encoder, c.size, c.precision) == key]
        known = {cell.form for cell in alike}
        if precision not in self.peaks:
            self.peaks[precision] = matmul_peak(self.device, precision)
        found = cells_of(
            self.device,
            name,
            size=size,
            clips=clips,
            frames=16,
            precision=precision,
            forms=[form for form in forms if form not in known],
            peak=self.peaks[precision],
            peer=peer and PEER_OF[name] in self.peers and PEER_OF[name] not in known,
        )
        self.cells += found
        return found

    def augment(self) -> None:
        clips, size = (32, 224) if self.is_gpu else (2, 32)
        rest = recipes.cvrl(size).split()[1]
        generator = torch_generator(0)
        clips_BVCTHW = torch.randint(0, 256, (clips, 2, 3, 16, size, size), dtype=torch.uint8)
        self.notes.append(check_augmentation(self.device, rest, clips_BVCTHW[:8]))
        params = [rest.draw(clips.shape, generator) for clips in clips_BVCTHW]
        there = clips_BVCTHW.to(self.device)
        taken = time_on(self.device, lambda: rest.apply_batch(there, params))
        self.found["augment ms a clip"] = 1000 * taken.seconds / (2 * clips)
        self.notes.append(f"{self.found['augment ms a clip']:.3f} ms a clip of 16 x {size}²")

    def extract(self) -> None:
        self.notes += ["| encoder | type | clips/s |", "|---|---|---|"]
        size, clips = (224, 32) if self.is_gpu else (32, 2)
        for name in ("r3d50", "r3d_small") if self.is_gpu else ("r3d_small",):
            x = torch.rand(clips, 3, 16, size, size, device=self.device)
            x = x.contiguous(memory_format=torch.channels_last_3d)
            for dtype in (torch.float32, torch.float16, torch.bfloat16):
                for compiled in (False, True) if name == "r3d50" else (False,):
                    if self.is_late(f"extraction of {name}"):
                        return
                    network = accelerate_on_gpu(build_encoder(name).to(self.device)).eval()
                    if compiled:
                        network.compile()
                    speed = self._features_a_second(network.to(dtype), x.to(dtype))
                    kind = str(dtype).removeprefix("torch.") + (", compiled" if compiled else "")
                    self.notes.append(f"| {name} | {kind} | {speed:.0f} |")

    @torch.inference_mode()
    def _features_a_second(self, network: torch.nn.Module, x: torch.Tensor) -> float:
        return len(x) / time_on(self.device, lambda: network(x)).seconds

    def runs(self) -> None:
        small = whole_runs.on_device(self.device)
        with tempfile.TemporaryDirectory() as place:
            videos = self._films(Path(place))
            cache = [f"data.cache_dir={place}/cache", "data.cache_short_side=256"]
            r3d50 = ["encoder={name: r3d50}", "clip.size=224"] if self.is_gpu else []
            todo = {
                "r3d50 224, files": r3d50,
                "r3d50 224, cache, first visits": [*r3d50, *cache],
                "r3d50 224, cache": [*r3d50, *cache],
            }
            for name, how in whole_runs.METHODS.items():
                todo[f"r3d18 112, {name}, cache"] = [*how, *cache]
            self.notes += whole_runs.HEAD
            for index, (name, how) in enumerate(todo.items()):
                if self.is_late(name):
                    continue
                folder = Path(place) / f"run{index}"
                length = 24 if self.is_gpu else 2
                speed = whole_runs.speed_of(folder, videos, [*how, *small], steps=length)
                self.notes.append(speed.row(name))
                self.found[name] = speed.waiting

    def resume(self) -> None:
        small = whole_runs.on_device(self.device)
        with tempfile.TemporaryDirectory() as place:
            videos = self._films(Path(place), count=32 if self.is_gpu else 8)
            exact = whole_runs.resumes_exactly(Path(place), videos, small)
        torch.use_deterministic_algorithms(False)
        self.found["resume"] = float(exact)
        said = "bit-identical to" if exact else "NOT the bits of"
        self.notes.append(f"r3d18, bf16: a run resumed at step 3 of 6 is {said} an unbroken one")

    def batch(self) -> None:
        """CVRL's batch of 1,024 x 2 clips, some of them encoded at a time."""
        name, size, clips = ("r3d50", 224, 2048) if self.is_gpu else ("r3d_small", 32, 4)
        encoder = build_encoder(name).to(self.device).train()
        encoder.clips_at_once = 64 if self.is_gpu else 2
        accelerate_on_gpu(encoder)
        x = torch.rand(clips, 3, 16, size, size, dtype=torch.bfloat16, device=self.device)
        with mode(self.device, "bf16", benchmark=False):
            step = make_step(encoder, x)
            step()
            taken = time_on(self.device, step, seconds=1, most=3)
        self.notes.append(
            f"{name}: {clips} clips a step, {encoder.clips_at_once} at once: "
            f"{clips / taken.seconds:.0f} clips/s, {taken.memory_gb:.1f} GB"
        )

    def _films(self, place: Path, *, count: int | None = None) -> Path:
        count = count or (64 if self.is_gpu else 8)
        length = 8.0 if self.is_gpu else 1.5
        workers = usable_cores() if self.is_gpu else 0
        return whole_runs.write_films(place / "videos", count, seconds=length, workers=workers)

    def goals(self) -> list[Goal]:
        best = max(
            (c for c in self.cells if self._is_ours(c)),
            key=lambda c: c.clips_per_second,
            default=None,
        )
        peer = next((c for c in self.cells if self._is(c) and c.form == "pytorchvideo"), None)
        ratio = best.clips_per_second / peer.clips_per_second if best and peer else None
        of_step = None
        if best is not None and "augment ms a clip" in self.found:
            of_step = self.found["augment ms a clip"] / 1000 * best.clips_per_second
        said = f"by {best.form}" if best else "needs a GPU"
        what = "r3d50, bf16, 16 x 224²"
        waiting = self.found.get("r3d50 224, cache") if self.is_gpu else None
        share = best.share if best else None
        return [
            Goal(f"{what}: cvrl / pytorchvideo", ratio, 1.3, "at least", "wall", said),
            Goal(f"{what}: share of the matrix product", share, 0.45, "at least", "wall", said),
            Goal("waiting for data, from the cache", waiting, 0.05, "at most", "wall"),
            Goal("augmentation / step", of_step, 0.05, "at most", "wall"),
        ]

    def _is(self, cell: Cell) -> bool:
        return (cell.encoder, cell.precision, cell.size) == ("r3d50", "bf16", 224)

    def _is_ours(self, cell: Cell) -> bool:
        return self._is(cell) and cell.form.startswith("cvrl")
