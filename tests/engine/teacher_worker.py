"""One rank that asks a teacher: ``teacher_worker.py RANK WORLD STORE VIDEOS TEACHER FOLDER``.

The first rank alone can load the teacher; every rank writes the features it was given.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as torch_dist

from cvrl.data.clips import ClipSpec
from cvrl.data.dataset import VideoReader
from cvrl.data.manifest import read_manifest
from cvrl.engine import teacher
from cvrl.engine.teacher import Teach


def refuse(path: str) -> None:
    raise AssertionError(f"{path} is loaded by a rank that is to wait")


def main() -> None:
    rank, world = int(sys.argv[1]), int(sys.argv[2])
    store = Path(sys.argv[3]).as_uri()
    torch_dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    if rank:
        teacher.load_encoder = refuse
    folder = Path(sys.argv[6])
    teach = Teach(read_manifest(sys.argv[4]), VideoReader(), folder, ClipSpec(8, 1))
    torch.save(teach(sys.argv[5], 1), folder / f"rank_{rank}.pt")
    torch_dist.destroy_process_group()


if __name__ == "__main__":
    main()
