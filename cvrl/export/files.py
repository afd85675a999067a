"""Write a model as an ONNX or a ``torch.export`` file, checked on real clips."""

import json
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import torch

from cvrl.data.manifest import Manifest
from cvrl.export import onnx_file
from cvrl.export.parity import Parity, answers_of, check, compare, input_of, real_clips
from cvrl.export.portable import Input, Model, Portable, clip_shape, describe, trace
from cvrl.utils.errors import UserError
from cvrl.utils.io import atomic_path

Format = Literal["onnx", "torch"]
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torch": ".pt2"}
FACTS_FILE = "cvrl.json"  # inside a .pt2


def export_file(
    model: Model,
    path: str | PathLike[str],
    videos: Manifest,
    *,
    format: Format = "onnx",
    takes: Input = "uint8",
    int8: bool = False,
    clips: int = 16,
) -> dict[Path, Parity]:
    """Write a model as a file that runs without this package.

    The file is run on clips of the videos before it is written, and holds the result beside what
    :func:`cvrl.export.portable.describe` says of it: an ONNX file in its metadata under ``cvrl``, a
    ``.pt2`` in its extra file ``cvrl.json``.

    Args:
        model: an encoder or a classifier on the CPU, as ``load_encoder`` and ``load_classifier``
            give it.
        path: the file, ending in ``.onnx`` or ``.pt2``.
        videos: real videos for the check, and for the scales of ``int8``.
        format: ``onnx``, or ``torch`` for ``torch.export``.
        takes: what the graph is fed, see :class:`cvrl.export.portable.Portable`.
        int8: write a second ONNX file in 8 bits, ``NAME.int8.onnx``; half of the clips measure its
            scales, the other half its cosine.
        clips: real clips that are used.

    Returns:
        The result of the check of each file.

    Raises:
        UserError: a wrong suffix, int8 of another format, no video that can be decoded, answers
            that differ by more than 1e-4, or a package that is not installed.
    """
    path = Path(path)
    if path.suffix != SUFFIXES[format]:
        raise UserError(f"--output {path}", f"does not end in {SUFFIXES[format]}", "rename it")
    if int8 and format != "onnx":
        raise UserError("--int8", f"does not go with --format {format}", "use --format onnx")
    if int8 and clips < 2:
        raise UserError(f"--clips {clips}", "is too few for --int8", "give 2 or more")
    clip_shape(model)  # refuses an encoder that does not know its clips
    portable = Portable(model, takes).eval()
    with torch.inference_mode():
        frames_NTSSC = real_clips(model, videos, clips)
        expected_ND, given = answers_of(model, frames_NTSSC), input_of(portable, frames_NTSSC)
    given, facts = given.clone(), describe(portable)
    if format == "torch":
        parity = _write_torch(path, portable, given, expected_ND, facts)
        return {path: parity}
    return _write_onnx(path, portable, given, expected_ND, facts, int8)


def read_facts(path: str | PathLike[str]) -> dict[str, Any]:
    """What an exported file says of itself, with ``parity``, the result of its check."""
    path = Path(path)
    if path.suffix == ".onnx":
        return onnx_file.read_facts(path)
    extra = {FACTS_FILE: ""}
    torch.export.load(path, extra_files=extra)
    facts: dict[str, Any] = json.loads(extra[FACTS_FILE])
    return facts


def _write_torch(
    path: Path, portable: Portable, given: torch.Tensor, expected_ND: Any, facts: dict[str, Any]
) -> Parity:
    program = trace(portable)
    with atomic_path(path) as temporary:
        torch.export.save(program, temporary)
        with torch.inference_mode():
            answers = torch.export.load(temporary).module()(given)
        parity = compare(expected_ND, answers.numpy(), f"torch {torch.__version__}")
        check(parity)
        extra = {FACTS_FILE: json.dumps({**facts, "parity": asdict(parity)})}
        torch.export.save(program, temporary, extra_files=extra)
    return parity


def _write_onnx(
    path: Path,
    portable: Portable,
    given: torch.Tensor,
    expected_ND: Any,
    facts: dict[str, Any],
    int8: bool,
) -> dict[Path, Parity]:
    given_N = given.numpy()
    model = onnx_file.to_onnx(trace(portable), facts["input"]["name"], facts["output"])
    parity = compare(expected_ND, onnx_file.run_onnx(model, given_N), onnx_file.runtime())
    check(parity)
    onnx_file.write_onnx(path, model, {**facts, "parity": asdict(parity)})
    if not int8:
        return {path: parity}
    rounded = onnx_file.round_to_int8(model, given_N[::2])
    answers = onnx_file.run_onnx(rounded, given_N[1::2])
    small = compare(expected_ND[1::2], answers, onnx_file.runtime())
    small_path = path.with_suffix(".int8.onnx")
    onnx_file.write_onnx(small_path, rounded, {**facts, "int8": True, "parity": asdict(small)})
    return {path: parity, small_path: small}
