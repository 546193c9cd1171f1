"""A volume through a 3-D U-Net of 4 M weights, from its values to its labels: Somascope and MONAI.

Both cut the same tiles (half overlapping, blended by the same Gaussian) and use two threads;
MONAI's SlidingWindowInferer runs the network in PyTorch, Somascope the same network as ONNX.
The peak of memory is told by a process of its own for each:
``python -m benchmarks.learn.infer3d ours|peer SIDE TILE WIDTH``.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.turns import compared

Array = np.ndarray
CLASSES = 3
THREADS = 2


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Labels that agree, and memory."""
    side, tile, width, rounds = (24, 16, 4, 2) if small else (192, 96, 32, 2)
    image = volume(side)
    ours, peer = labels_by_us(tile, width), labels_by_monai(tile, width)
    wanted = peer(image)
    line = compared(
        "learn.infer3d", f"{side}^3, tiles of {tile}^3, width {width}", package="monai",
        rounds=rounds, ours=lambda: ours(image), peer=lambda: peer(image),
        quality=lambda a: dice(a, wanted), metric="least Dice of a class with the peer's labels",
    )  # fmt: skip
    yield line
    sides = {s: in_process(s, side, tile, width) for s in ("peer", "ours")}
    yield {
        "name": "learn.infer3d", "case": f"{side}^3, peak of memory, once, with the start",
        "ours_ms": sides["ours"][0], "peer": "monai", "peer_version": version("monai"),
        "peer_ms": sides["peer"][0],
        "ratio": sides["peer"][0]["median"] / sides["ours"][0]["median"],
        "quality_metric": "peak of resident memory over that after the imports, MB",
        "quality_ours": sides["ours"][1], "quality_peer": sides["peer"][1],
    }  # fmt: skip


def volume(side: int) -> Array:
    """Waves and noise, so that a network of chance has something to tell apart."""
    z, y, x = np.meshgrid(*[np.arange(side) / 9.0] * 3, indexing="ij")
    noise = np.random.default_rng(0).normal(0, 0.3, (side, side, side))
    return (100 * (np.sin(x) * np.cos(y) + np.sin(z) + noise)).astype(np.float32)


def network(width: int) -> Any:
    """The same weights every time; 4.2 million at width 32."""
    import torch

    from somascope.learn.networks import build

    torch.manual_seed(0)
    widths = [width, 2 * width, 4 * width, 11 * width // 2]
    described = {"kind": "unet", "inputs": 1, "outputs": CLASSES, "widths": widths}
    return build(described).eval()


def labels_by_us(tile: int, width: int) -> Callable[[Array], Array]:
    """Our whole pipeline on the exported network."""
    import torch

    from somascope.learn.export import graph_of

    example = torch.randn(1, 1, tile, tile, tile, generator=torch.Generator().manual_seed(0))
    return by_graph(graph_of(network(width), [{"image": example}], output="logits"), tile)


def by_graph(graph: bytes, tile: int) -> Callable[[Array], Array]:
    """Our whole pipeline on a graph."""
    from somascope.core import Grid, Image
    from somascope.models import ClassName, Network, NetworkCard, Package, Preparation

    card = NetworkCard(
        name="infer3d", version="1", task="segment", summary="chance", licence="none",
        classes=tuple(ClassName.named(str(k)) for k in range(1, CLASSES)),
        preparation=Preparation(scaling="zscore"), patch=(tile,) * 3, overlap=0.5,
    )  # fmt: skip
    model = Network(Package(card, graph), threads=THREADS)

    def labels(values: Array) -> Array:
        image = Image(values, Grid.from_spacing(values.shape, (1.0, 1.0, 1.0)), "MR")
        (mask,) = model(image)
        return mask.data  # pyright: ignore

    return labels


def labels_by_monai(tile: int, width: int) -> Callable[[Array], Array]:
    """MONAI's transform, inferer and argmax."""
    import torch
    from monai.inferers.inferer import SlidingWindowInferer
    from monai.transforms.intensity.array import NormalizeIntensity

    torch.set_num_threads(THREADS)
    net = network(width)
    inferer = SlidingWindowInferer((tile,) * 3, sw_batch_size=1, overlap=0.5, mode="gaussian")
    normalise = NormalizeIntensity()

    def labels(values: Array) -> Array:
        with torch.inference_mode():
            x = torch.as_tensor(normalise(values[None]))[None]
            return inferer(x, net).argmax(dim=1)[0].numpy().astype(np.uint8)  # pyright: ignore

    return labels


def dice(found: Array, wanted: Array) -> float:
    """The least over the classes."""
    return min(
        2.0 * int(((found == k) & (wanted == k)).sum())
        / max(int((found == k).sum()) + int((wanted == k).sum()), 1)
        for k in range(CLASSES) if (wanted == k).any()
    )  # fmt: skip


def in_process(side: str, *sizes: int) -> tuple[dict[str, float], float]:
    """Milliseconds and MB of one run in a new process."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.learn.infer3d", side, *map(str, sizes)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    spent, peak = (float(v) for v in done.stdout.split()[-2:])
    return {"min": spent, "median": spent}, peak


def memory(field: str) -> float:
    """Of this process in MB: ``VmRSS`` now, ``VmHWM`` at most."""
    text = Path("/proc/self/status").read_text()
    return float(text.split(f"{field}:")[1].split()[0]) / 1024


def _once(which: str, side: int, tile: int, width: int) -> None:
    import tempfile

    image = volume(side)
    if which == "ours":  # the export is no part of it, and PyTorch need not be there
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "graph.onnx"
            code = (
                "import sys, pathlib, torch; from benchmarks.learn import infer3d as b;"
                "from somascope.learn.export import graph_of; t, w = map(int, sys.argv[2:]);"
                "g = graph_of(b.network(w), [{'image': torch.randn(1, 1, t, t, t)}], "
                "output='logits'); pathlib.Path(sys.argv[1]).write_bytes(g)"
            )
            subprocess.run([sys.executable, "-c", code, str(path), str(tile), str(width)],
                           check=True, cwd=Path(__file__).parents[2])  # fmt: skip
            graph = path.read_bytes()
        import openvino

        from somascope.models import Network

        assert openvino.__version__
        assert Network

        def make() -> Callable[[Array], Array]:
            return by_graph(graph, tile)
    else:
        import monai.inferers
        import torch

        assert monai.inferers
        assert torch

        def make() -> Callable[[Array], Array]:
            return labels_by_monai(tile, width)

    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    start = time.perf_counter()
    make()(image)
    spent = (time.perf_counter() - start) * 1000
    print(f"{spent:.1f} {memory('VmHWM') - before:.1f}")


if __name__ == "__main__":
    _once(sys.argv[1], *(int(v) for v in sys.argv[2:]))
