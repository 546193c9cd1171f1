"""List-mode OSEM of a file of events: seconds and peak memory from 10^4 or 10^6 to 10^8 events.

The events are drawn block by block into a file of ours and read back block by block; the file is
never in memory. One iteration of one subset per size, each in a process of its own so that the
peak memory is its own. The ratio is the time per event of the smallest size over this one's: 1 is
linear. ``SOMASCOPE_EVENTS=1e8`` adds that size: 0.9 GB of temporary disk; at a microsecond to make
an event and two of a processor to reconstruct it, some four minutes on two processors.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmarks.acquire.pet_case import BODY, scene
from somascope.acquire.pet.events import crystals_of
from somascope.acquire.pet.listmode import ListModeScan
from somascope.core import Acquisition
from somascope.io import acquisition as files
from somascope.phantoms import draw

_BLOCK = 1 << 20

_CHILD = """
import json, resource, sys, time
from somascope.acquire.pet.listmode_osem import listmode_osem_file
listmode_osem_file(sys.argv[2], iterations=1, subsets=1)
start = time.perf_counter()
image = listmode_osem_file(sys.argv[1], iterations=1, subsets=1)
spent = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([spent, peak, float(image.data.sum())]))
"""


def generate(path: Path, count: int, *, small: bool) -> None:
    """A file of ``count`` events of the body, written block by block."""
    scan = scene(small=small)
    chance = np.cumsum(scan.forward(draw(BODY, scan.grid)).reshape(-1), dtype=np.float64)
    empty = ListModeScan(grid=scan.grid, scanner=scan.scanner, crystals=np.zeros((0, 2), np.int32))
    head = Acquisition(np.zeros(0, np.uint8), empty, "PT", unit="{counts}")
    files.write(head, path)
    rng = np.random.default_rng(1)
    with h5py.File(path, "r+") as file:
        del file["samples"], file["operator/crystals"]
        samples = file.create_dataset("samples", (count,), np.uint8)
        pairs = file.create_dataset("operator/crystals", (count, 2), np.int32)
        for a in range(0, count, _BLOCK):
            b = min(a + _BLOCK, count)
            flat = np.searchsorted(chance, rng.random(b - a) * chance[-1], side="right")
            pairs[a:b] = crystals_of(scan, flat)[0]
            samples[a:b] = 1


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """One line per size."""
    sizes = [10_000, 100_000] if small else [1_000_000, 10_000_000]
    if not small and os.environ.get("SOMASCOPE_EVENTS"):
        sizes.append(int(float(os.environ["SOMASCOPE_EVENTS"])))
    base: float | None = None
    with tempfile.TemporaryDirectory() as folder:
        warm = Path(folder) / "warm.h5"
        generate(warm, 1000, small=small)
        for count in sizes:
            path = Path(folder) / "events.h5"
            generate(path, count, small=small)
            done = subprocess.run([sys.executable, "-c", _CHILD, str(path), str(warm)],
                                  check=True, capture_output=True, text=True)  # fmt: skip
            spent, peak, _ = json.loads(done.stdout)
            path.unlink()
            each = spent / count
            base = each if base is None else base
            time = {"min": 1000 * spent, "median": 1000 * spent}
            yield {
                "name": "pet.listmode",
                "case": f"{count:.0e} events streamed, one iteration: {1e9 * each:.0f} ns an event",
                "ours_ms": time,
                "peer": "the smallest size",
                "peer_version": "time per event",
                "peer_ms": dict.fromkeys(time, 1000 * base * count),
                "ratio": base / each,
                "quality_metric": "peak resident memory of the process, MiB (ours / file size)",
                "quality_ours": round(peak, 1),
                "quality_peer": round(count * 9 / 2**20, 1),
            }
