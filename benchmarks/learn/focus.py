"""A large volume outlined whole, and within what a coarse look finds: time, memory, labels.

The peer is the second model alone. The peak of memory is told by a process of its own for each:
``python -m benchmarks.learn.focus alone|within SLICES SIDE``.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.turns import compared

Array = np.ndarray
THREADS = 2
MARGIN = 12.0


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Labels that agree, time and memory."""
    slices, side, rounds = (16, 48, 2) if small else (160, 320, 3)
    image = volume(slices, side)
    alone, within = by_one(), by_two()
    wanted = alone(image)
    case = f"{slices}x{side}x{side}, an organ of a tenth of each edge"
    yield compared(
        "learn.focus", case, package="somascope", rounds=rounds, ours=lambda: within(image),
        peer=lambda: alone(image), quality=lambda a: dice(a, wanted),
        metric="Dice with the labels of the second model alone",
    )  # fmt: skip
    sides = {s: in_process(s, slices, side) for s in ("alone", "within")}
    yield {
        "name": "learn.focus", "case": f"{case}; peak of memory, once, with the start",
        "ours_ms": sides["within"][0], "peer": "somascope", "peer_version": "the second alone",
        "peer_ms": sides["alone"][0],
        "ratio": sides["alone"][0]["median"] / sides["within"][0]["median"],
        "quality_metric": "peak of resident memory over that after the imports, MB",
        "quality_ours": sides["within"][1], "quality_peer": sides["alone"][1],
    }  # fmt: skip


def volume(slices: int, side: int) -> Array:
    """A bright ball in noise, a tenth of each edge in radius."""
    z, y, x = np.ogrid[:slices, :side, :side]
    far = ((z - 0.4 * slices) / slices) ** 2 + ((y - 0.6 * side) / side) ** 2
    far = far + ((x - 0.3 * side) / side) ** 2
    noise = np.random.default_rng(0).normal(0, 15, (slices, side, side))
    return (100.0 * (far < 0.01) + noise).astype(np.int16)


def smoother(width: int = 16) -> bytes:
    """Logits 0 and (the mean of 3^3 voxels - 50) / 5, by ``width`` channels that say the same."""
    import onnx

    mean = np.full((width, 1, 3, 3, 3), 1 / 27, np.float32)
    last = np.zeros((2, width, 1, 1, 1), np.float32)
    last[1] = 0.2 / width
    helper, packed = onnx.helper, onnx.numpy_helper.from_array
    nodes = [
        helper.make_node("Conv", ["image", "mean"], ["wide"], pads=[1] * 6),
        helper.make_node("Conv", ["wide", "last", "shift"], ["logits"]),
    ]
    edges = [1, 1, "a", "b", "c"], [1, 2, "a", "b", "c"]
    kinds = [helper.make_tensor_value_info(n, 1, e) for n, e in zip(("image", "logits"), edges,
                                                                    strict=True)]  # fmt: skip
    shift = np.array([0, -10], np.float32)
    graph = helper.make_graph(
        nodes, "smoother", [kinds[0]], [kinds[1]],
        initializer=[packed(mean, "mean"), packed(last, "last"), packed(shift, "shift")],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def model(name: str, *, spacing: tuple[float, ...] = (), tile: int = 48) -> Any:
    """The graph as a model, at its own voxels or at larger ones."""
    from somascope.models import ClassName, Network, NetworkCard, Package, Preparation

    card = NetworkCard(
        name=name, version="1", task="segment", summary="means", licence="none",
        classes=(ClassName.named("bright"),), patch=(16, tile, tile), overlap=0.5,
        preparation=Preparation(orient=True, spacing=spacing, scaling="none"),
    )  # fmt: skip
    return Network(Package(card, smoother()), threads=THREADS)


def by_one() -> Callable[[Array], Array]:
    """The second model on everything."""
    fine = model("fine")
    return lambda values: fine(_image(values))[0].data


def by_two() -> Callable[[Array], Array]:
    """The second model within what the first finds at 4 mm."""
    from somascope.models.within import Within

    pair = Within(model("coarse", spacing=(4.0, 4.0, 4.0)), model("fine"), margin_mm=MARGIN)
    return lambda values: pair(_image(values))[0].data  # pyright: ignore


def _image(values: Array) -> Any:
    from somascope.core import Grid, Image

    return Image(values, Grid.from_spacing(values.shape, (1.0, 1.0, 1.0)), "CT")


def dice(found: Array, wanted: Array) -> float:
    """Of the one class."""
    both = int(((found > 0) & (wanted > 0)).sum())
    return 2.0 * both / max(int((found > 0).sum()) + int((wanted > 0).sum()), 1)


def in_process(which: str, slices: int, side: int) -> tuple[dict[str, float], float]:
    """Milliseconds and MB of one run in a new process."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.learn.focus", which, str(slices), str(side)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    spent, peak = (float(v) for v in done.stdout.split()[-2:])
    return {"min": spent, "median": spent}, peak


def _once(which: str, slices: int, side: int) -> None:
    import importlib

    from benchmarks.learn.infer3d import memory

    image = volume(slices, side)
    for name in ("onnx", "openvino", "somascope.models.within", "somascope.process.resample"):
        importlib.import_module(name)
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    start = time.perf_counter()
    (by_one() if which == "alone" else by_two())(image)
    spent = (time.perf_counter() - start) * 1000
    print(f"{spent:.1f} {memory('VmHWM') - before:.1f}")


if __name__ == "__main__":
    _once(sys.argv[1], *(int(v) for v in sys.argv[2:]))
