"""ONNX files: written from the graph of a model, run by onnxruntime, rounded to 8 bits.

The only module that imports onnx and onnxruntime; ``pip install cvrl[export]`` brings them.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cvrl.utils.errors import UserError
from cvrl.utils.io import atomic_path

Array = npt.NDArray[Any]
OPSET = 23  # the newest that torch exports and onnxruntime 1.22 and later run on a CPU
KEY = "cvrl"  # of the metadata
ROUNDED = ["Conv", "MatMul", "Gemm", "Add", "MaxPool"]  # the arithmetic of the input stays exact


def to_onnx(program: torch.export.ExportedProgram, takes: str, gives: str) -> bytes:
    """The ONNX model of a graph.

    Args:
        program: with one input and one output.
        takes: name of the input.
        gives: name of the output.

    Raises:
        UserError: onnx or onnxscript is not installed.
    """
    _need("onnx", "onnxscript", "onnxruntime")
    batch = torch.export.Dim("batch", min=1)
    names: dict[str, Any] = {"input_names": [takes], "output_names": [gives]}
    written = torch.onnx.export(
        program, opset_version=OPSET, dynamic_shapes=({0: batch},), verbose=False, **names
    )
    assert written is not None
    content: bytes = written.model_proto.SerializeToString()
    return content


def run_onnx(model: bytes | Path, given: Array) -> Array:
    """What onnxruntime answers on the CPU, clip by clip and then all clips in one batch.

    Raises:
        UserError: the batch changes the answer to a clip.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    content = model if isinstance(model, bytes) else str(model)
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    alone = np.concatenate(
        [session.run(None, {name: given[n : n + 1]})[0] for n in range(len(given))]
    )
    together: Array = session.run(None, {name: given})[0]
    if not np.allclose(alone, together, atol=1e-4):
        raise UserError("the ONNX model", "answers a batch unlike its clips", "please report it")
    return together


def round_to_int8(model: bytes, calibration: Array) -> bytes:
    """The model with convolutions and products in 8 bits, as QDQ nodes.

    Weights are signed, with a scale a channel, and maps unsigned, with a scale a layer that is
    measured on clips.

    Args:
        model: in floats.
        calibration: inputs (N, ...) to measure on.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, rounded = (
            Path(folder) / f"{n}.onnx" for n in ("plain", "prepared", "int8")
        )
        plain.write_bytes(model)
        quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(rounded),
            _calibration(prepared, calibration)(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=ROUNDED,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        return rounded.read_bytes()


def write_onnx(path: Path, model: bytes, facts: dict[str, Any]) -> None:
    """Write a model with its metadata: JSON under the key ``cvrl``."""
    import onnx

    proto = onnx.load_from_string(model)
    del proto.metadata_props[:]
    proto.metadata_props.add(key=KEY, value=json.dumps(facts))
    proto.producer_name = "cvrl"
    with atomic_path(path) as temporary:
        temporary.write_bytes(proto.SerializeToString())


def read_facts(path: Path) -> dict[str, Any]:
    """The metadata that :func:`write_onnx` wrote."""
    import onnx

    props = onnx.load(str(path), load_external_data=False).metadata_props
    facts: dict[str, Any] = json.loads({prop.key: prop.value for prop in props}[KEY])
    return facts


def runtime() -> str:
    """Name and version of what runs the files."""
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__}"


def _calibration(model: Path, given: Array) -> Any:
    """The reader class of the inputs that the scales are measured on."""
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader

    name = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    name = name.get_inputs()[0].name
    inputs: Iterator[dict[str, Array]] = ({name: given[n : n + 1]} for n in range(len(given)))

    class Clips(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, Array] | None:
            return next(inputs, None)

    return Clips


def _need(*packages: str) -> None:
    import importlib.util

    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise UserError("--format onnx", f"needs {package}", "pip install 'cvrl[export]'")
