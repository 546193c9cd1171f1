"""All features of one and of many lesions; peer pyradiomics, in a process of its own."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from somascope.analyze.radiomics.operation import radiomics
from somascope.core import Grid, Image, Mask, Segment

VARIABLE = "SOMASCOPE_PYRADIOMICS"
FAMILIES = "shape,firstorder,glcm,glrlm,glszm,gldm,ngtdm"
"""What both have."""
SPACING = (2.5, 0.8, 0.8)


def python() -> str | None:
    """The Python that has pyradiomics, or None where `VARIABLE` names none."""
    found = os.environ.get(VARIABLE, "")
    return found if found and Path(found).is_file() else None


def lesions(count: int, edge: int) -> tuple[Image, Mask]:
    """``count`` smooth bodies in boxes of ``edge`` pixels, in noise that is no finer than tissue.

    Values are those of a CT, some 60 grey levels 25 HU wide.
    """
    random = np.random.default_rng(count)
    side = int(np.ceil(np.sqrt(count)))
    deep = max(edge // 2, 6)
    shape = (deep, side * edge, side * edge)
    noise = gaussian_filter(random.normal(size=shape), 1.0).astype(np.float32)
    values = np.rint(40 + noise / noise.std() * 150).astype(np.int16)
    labels = np.zeros(shape, np.uint8)
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in (deep, edge, edge)], indexing="ij")
    for k in range(count):
        bumps = zoom(random.normal(size=(4, 4, 4)), (deep / 4, edge / 4, edge / 4), order=3)
        body = x**2 + y**2 + z**2 < 0.6 + 0.12 * bumps
        row, column = k // side * edge, k % side * edge
        labels[:, row : row + edge, column : column + edge][body] = k + 1
    grid = Grid.from_spacing(shape, SPACING)
    segments = tuple(Segment(k + 1, f"Lesion {k + 1}") for k in range(count))
    return Image(values, grid, "CT", "[hnsf'U]"), Mask(data=labels, grid=grid, segments=segments)


def ours(image: Image, mask: Mask, settings: dict[str, Any]) -> dict[str, float]:
    """Features by ``label family name``."""
    numbers = {s.label: s.number for s in mask.segments}
    return {
        f"{numbers[m.tracking.name]} {m.concept.meaning}": m.value
        for m in radiomics(
            image, mask, families=FAMILIES, bin_width=settings.get("binWidth"),
            bin_count=settings.get("binCount"),
        )
        if m.tracking
    }  # fmt: skip


def difference(found: dict[str, float], peer: dict[str, float]) -> float:
    """The largest of the relative differences of features that both have."""
    common = found.keys() & peer.keys()
    return max(abs(found[k] - peer[k]) / max(abs(peer[k]), 1e-9) for k in common)


def run(*, small: bool = False) -> Iterator[dict[str, Any]]:
    """One line per case; nothing where `VARIABLE` names no Python that has pyradiomics."""
    other = python()
    if other is None:
        print(f"radiomics is skipped: set {VARIABLE} to a Python with pyradiomics", file=sys.stderr)
        return
    cases = [("one lesion of 12 k voxels", 1, 40, {"binWidth": 25})]
    if not small:
        cases += [
            ("one lesion of 210 k voxels", 1, 104, {"binWidth": 25}),
            ("30 lesions of 1.5 k voxels", 30, 20, {"binWidth": 25}),
            ("one lesion of 12 k voxels, 32 levels", 1, 40, {"binCount": 32}),
        ]
    script = Path(__file__).with_name("pyradiomics.py")
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [other, "-P", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        ) as process,
    ):  # fmt: skip
        assert process.stdin
        assert process.stdout
        version = json.loads(process.stdout.readline())["version"]
        for name, count, edge, settings in cases:
            image, mask = lesions(count, edge)
            path = Path(folder) / "case.npz"
            numbers = [s.number for s in mask.segments]
            np.savez(path, values=image.data, labels=mask.data, spacing=SPACING, numbers=numbers)
            asked = json.dumps({"case": str(path), "settings": settings}) + "\n"
            spent: dict[str, list[float]] = {"ours": [], "peer": []}
            found: dict[str, float] = {}
            answer: dict[str, Any] = {}
            for turn in range(2 if small else 6):
                process.stdin.write(asked)
                process.stdin.flush()
                answer = json.loads(process.stdout.readline())
                start = time.perf_counter()
                found = ours(image, mask, settings)
                if turn:  # the first compiles
                    spent["ours"].append((time.perf_counter() - start) * 1000)
                    spent["peer"].append(answer["seconds"] * 1000)
            times = {k: {"min": min(v), "median": statistics.median(v)} for k, v in spent.items()}
            yield {
                "name": "radiomics",
                "case": name,
                "ours_ms": times["ours"],
                "peer": "pyradiomics",
                "peer_version": version,
                "peer_ms": times["peer"],
                "ratio": times["peer"]["median"] / times["ours"]["median"],
                "quality_metric": "largest relative difference of a feature, of "
                f"{len(found.keys() & answer['features'].keys())}",
                "quality_ours": float(f"{difference(found, answer['features']):.3g}"),
                "quality_peer": 0.0,
            }
        process.stdin.close()
