"""CT at size: the cost per voxel and view from 128 to 1024, and volumes larger than their memory.

No peer: the smallest size stands for it, so a ratio of 1 is a flat cost, and more is a cost that
falls. The sizes take turns. The last line reconstructs a volume in slabs within a bound on memory,
in a process of its own whose peak of resident memory is measured; the peer there is the same volume
in one piece.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmarks.acquire.ct_case import head, sinogram
from somascope.acquire.ct.cone import ConeScan
from somascope.acquire.ct.fbp import fbp
from somascope.acquire.ct.fdk import Feldkamp
from somascope.acquire.ct.parallel import ParallelScan
from somascope.core import Acquisition, Grid

Run = Callable[[], Any]
VIEWS = 16

_CHILD = """
import json, sys, time
from pathlib import Path
import h5py, numpy as np
from benchmarks.acquire.ct_scale import cone
from somascope.acquire.ct.slabs import fdk_file
from somascope.core import Acquisition

def run(n, views, samples, memory, out):
    scan = cone(n, views)
    given = Acquisition(np.broadcast_to(np.float32(0), scan.range), scan, "CT")  # not read
    fdk_file(given, out, memory=memory, samples=samples)

def resident(name):
    # Of this process alone: getrusage hands on the peak of the parent.
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(l for l in lines if l.startswith(name)).split()[1])

n, views, memory, path, out = json.loads(sys.argv[1])
run(16, 8, np.ones(cone(16, 8).range, np.float32), 1e9, out)
before = resident("VmRSS")
with h5py.File(path) as file:
    start = time.perf_counter()
    run(n, views, file["samples"], memory, out)
    spent = time.perf_counter() - start
print(json.dumps([spent, (resident("VmHWM") - before) / 1024]))
"""


def cone(n: int, views: int) -> ConeScan:
    """A flat panel around ``n`` cubed voxels of 1 mm."""
    grid = Grid.from_spacing((n, n, n), (1, 1, 1), origin=[-(n - 1) / 2] * 3)
    side = round(1.25 * n)
    return ConeScan(
        grid=grid, angles=np.arange(views) * 2 * np.pi / views, rows=side, columns=side,
        spacing=(2.0, 2.0), source=4.0 * n, detector=8.0 * n,
    )  # fmt: skip


def planes(n: int, views: int) -> dict[str, Run]:
    """Two dimensions: back projection by rays, and a whole filtered back projection."""
    truth, grid, shapes = head(n)
    angles, lines = sinogram(shapes, views, round(1.4375 * n))
    scan = ParallelScan(
        grid=grid, angles=angles, bins=lines.shape[1], spacing=1.0, projector="joseph"
    )
    given = Acquisition(lines, ParallelScan(**{**scan.describe(), "projector": "fourier"}), "CT")
    return {
        "2-D forward (Joseph)": lambda: scan.forward(truth[None]),
        "2-D adjoint (Joseph)": lambda: scan.adjoint(lines),
        "2-D FBP": lambda: fbp(given),
    }


def volumes(n: int, thick: int) -> dict[str, Run]:
    """A slab in the middle of a cone: projected, its transpose, and Feldkamp."""
    whole = cone(n, VIEWS)
    grid = whole.grid.moved(start=((n - thick) // 2, 0, 0), shape=(thick, n, n), step=(1, 1, 1))
    rows = round(1.25 * thick)
    scan = ConeScan(**{**whole.describe(), "grid": grid, "rows": rows})
    x, y = np.ones(scan.domain, np.float32), np.ones(scan.range, np.float32)
    engine = Feldkamp(scan)
    return {
        "3-D forward (Joseph)": lambda: scan.forward(x),
        "3-D adjoint (Joseph)": lambda: scan.adjoint(y),
        "3-D FDK": lambda: engine.slab(y, grid),
    }


def flat(cases: dict[int, tuple[dict[str, Run], float]], *, rounds: int) -> Iterator[dict]:
    """One line per kind and size: ms per 10^6 voxel-views, against the smallest size."""
    smallest = min(cases)
    for kind in cases[smallest][0]:
        spent: dict[int, list[float]] = {n: [] for n in cases}
        for k in range(rounds + 1):
            for n, (runs, voxel_views) in cases.items():
                start = time.perf_counter()
                runs[kind]()
                if k:  # the first round compiles and plans
                    spent[n].append((time.perf_counter() - start) * 1e9 / voxel_views)  # ns each
        per = {n: {"min": min(v), "median": statistics.median(v)} for n, v in spent.items()}
        for n in cases:
            yield {
                "name": "ct.scale", "case": f"{kind}, side {n}; ms per 10^6 voxel-views",
                "ours_ms": per[n], "peer": f"ours at {smallest}", "peer_version": "-",
                "peer_ms": per[smallest], "ratio": per[smallest]["median"] / per[n]["median"],
                "quality_metric": "-", "quality_ours": 0.0, "quality_peer": 0.0,
            }  # fmt: skip


def bounded(n: int, views: int, bound: float) -> dict[str, Any]:
    """One volume from an HDF5 file: within ``bound`` bytes, and in one piece."""
    scan = cone(n, views)
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "samples.h5", Path(folder) / "volume.npy"
        rng = np.random.default_rng(0)
        with h5py.File(source, "w") as file:
            samples = file.create_dataset("samples", scan.range, np.float32)
            for v in range(views):
                samples[v] = rng.random(scan.range[1:], np.float32)
        found: dict[str, list[float]] = {}
        for name, memory in (("bounded", bound), ("whole", 1e15)):
            task = json.dumps([n, views, memory, str(source), str(out)])
            done = subprocess.run(
                [sys.executable, "-c", _CHILD, task], capture_output=True, text=True, check=True
            )
            found[name] = json.loads(done.stdout)
    ours, whole = ({"min": v[0] * 1000, "median": v[0] * 1000} for v in found.values())
    volume = 4 * n**3 / 2**20
    return {
        "name": "ct.scale",
        "case": f"FDK of {n}^3 ({volume:.0f} MiB), {views} views, within {bound / 2**20:.0f} MiB",
        "ours_ms": ours, "peer": "ours in one piece", "peer_version": "-", "peer_ms": whole,
        "ratio": whole["median"] / ours["median"],
        "quality_metric": "peak of resident memory above the start, MiB",
        "quality_ours": round(found["bounded"][1], 1), "quality_peer": round(found["whole"][1], 1),
    }  # fmt: skip


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Planes, volumes, then the bound."""
    sides, views, rounds = ((32, 64), 32, 1) if small else ((128, 256, 512, 1024), 180, 3)
    yield from flat({n: (planes(n, views), n * n * views) for n in sides}, rounds=rounds)
    slabs = ((24, 24), (48, 24)) if small else ((128, 64), (256, 64), (512, 64))
    yield from flat({n: (volumes(n, t), t * n * n * VIEWS) for n, t in slabs}, rounds=rounds)
    if not Path("/proc/self/status").exists():
        sys.stderr.write("benchmark ct.scale: peak of memory skipped: no /proc/self/status\n")
        return
    yield bounded(*((192, 8, 8e6) if small else (384, 32, 70e6)))
