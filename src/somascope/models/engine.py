"""Run a graph: ONNX Runtime, or OpenVINO where it is installed and asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from somascope.core.errors import MissingExtra, Refused
from somascope.core.grid import Array
from somascope.models.winograd import quicker
from somascope.process.chunks import cores

Kind: TypeAlias = Literal["auto", "onnxruntime", "openvino"]


class Engine(Protocol):
    """Arrays in by name, arrays out in the order of the graph's outputs."""

    name: str

    def __call__(self, inputs: Mapping[str, Array]) -> list[Array]:
        """Run the graph once on float32 arrays."""
        ...


def start(
    graph: bytes, *, kind: Kind = "auto", threads: int | None = None, heavy: bool = False
) -> Engine:
    """Get a graph ready to run.

    ``kind`` ``auto`` takes OpenVINO for ``heavy`` graphs (3-D, many tiles) where it is installed:
    2.2 times as fast there, but slower to start. ``threads`` default: the cores this process has.

    Raises
    ------
    Refused
        The engine does not accept the graph.
    MissingExtra
        OpenVINO was asked for and is not installed.
    """
    count = threads or cores()
    there = find_spec("openvino") is not None
    if kind == "openvino" and not there:
        raise MissingExtra("OpenVINO is not installed; pip install somascope[openvino]")
    if kind == "openvino" or (kind == "auto" and heavy and there):
        return _OpenVino(graph, count)
    return Runtime(graph, count)


class Runtime:
    """ONNX Runtime (an `Engine`)."""

    name = "onnxruntime"

    def __init__(self, graph: bytes, threads: int) -> None:
        import onnxruntime

        options: Any = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        # Waiting threads would take the cores from whatever prepares the next input.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session: Any = onnxruntime.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise Refused(f"ONNX Runtime does not accept the graph: {_first(error)}") from error

    def optional(self) -> dict[str, tuple[int, ...]]:
        """Inputs with a default, by name, and their shapes; those of unknown size are left out."""
        found = {i.name: tuple(i.shape) for i in self._session.get_overridable_initializers()}
        return {n: s for n, s in found.items() if all(isinstance(k, int) for k in s)}

    def __call__(self, inputs: Mapping[str, Array]) -> list[Array]:
        """Run the graph once; inputs that may be left out can be given too."""
        try:
            return self._session.run(None, dict(inputs))
        except Exception as error:
            raise Refused(f"the graph does not run on this input: {_first(error)}") from error


class _OpenVino:
    name = "openvino"

    def __init__(self, graph: bytes, threads: int) -> None:
        import openvino

        core: Any = openvino.Core()
        settings = {
            "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }  # fmt: skip
        try:
            model = core.read_model(graph)
            quicker(model)
            self._model: Any = core.compile_model(model, "CPU", settings)
        except Exception as error:
            raise Refused(f"OpenVINO does not accept the graph: {_first(error)}") from error

    def __call__(self, inputs: Mapping[str, Array]) -> list[Array]:
        try:
            result: Any = self._model(dict(inputs), share_inputs=True, share_outputs=True)
        except Exception as error:
            raise Refused(f"the graph does not run on this input: {_first(error)}") from error
        # One copy: what is given away must outlive the next run.
        return [np.array(result[i]) for i in range(len(self._model.outputs))]


def _first(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
