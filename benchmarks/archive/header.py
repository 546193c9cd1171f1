"""Header pass and DICOM JSON of one 526-kB CT slice against pydicom's, interleaved."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np
import pydicom

from somascope.core import Grid, Image
from somascope.io.dicom import header
from somascope.io.dicom.write import instances


def _slice() -> bytes:
    """A 512 x 512 CT slice as our writer makes it."""
    pixels = np.random.default_rng(1).integers(-1000, 2000, (1, 512, 512), dtype=np.int16)
    grid = Grid.from_spacing((1, 512, 512), (1.0, 0.7, 0.7))
    attributes = {"PatientName": "Doe^Jane", "PatientID": "1", "StudyDate": "20200101"}
    (raw,) = instances(Image(pixels, grid, "CT", "[hnsf'U]", attributes=attributes))
    return raw


def _read(raw: bytes) -> pydicom.Dataset:
    dataset = pydicom.dcmread(io.BytesIO(raw), stop_before_pixels=True)
    for keyword, _ in header.INDEX.values():
        dataset.get(keyword)
    return dataset


def _interleaved(
    ours: Callable[[], Any], peer: Callable[[], Any], rounds: int
) -> tuple[list[float], list[float]]:
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for kept, function in zip(times, (ours, peer), strict=True):
            start = time.perf_counter()
            function()
            kept.append((time.perf_counter() - start) * 1e3)
    return times


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Two lines: the index's attributes, and the whole data set as JSON."""
    raw = _slice()
    found, peer = header.scan(raw), _read(raw)
    same = sum(
        str(peer.get(k, "")) == str(v) for k, v in found.attributes.items() if isinstance(v, int)
    )
    numbers = sum(isinstance(v, int) for v in found.attributes.values())
    json_tags = len(header.metadata(raw)), len(_read(raw).to_json_dict()) + 1
    cases = (
        ("header pass", lambda: header.scan(raw), lambda: _read(raw),
         "numbers equal", same, numbers),
        ("metadata JSON", lambda: header.metadata(raw), lambda: _read(raw).to_json_dict(),
         "attributes", *json_tags),
    )  # fmt: skip
    for case, ours, other, metric, quality, reference in cases:
        mine, theirs = _interleaved(ours, other, 20 if small else 300)
        yield {
            "name": "header",
            "case": f"{case}, CT slice of {len(raw)} bytes",
            "ours_ms": {"min": min(mine), "median": median(mine)},
            "peer": "pydicom",
            "peer_version": pydicom.__version__,
            "peer_ms": {"min": min(theirs), "median": median(theirs)},
            "ratio": median(theirs) / median(mine),
            "quality_metric": metric,
            "quality_ours": quality,
            "quality_peer": reference,
        }
