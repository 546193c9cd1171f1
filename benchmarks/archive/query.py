"""QIDO latency as the archive grows: p95 at 10^5 instances against p95 at 10^3, same questions.

The peer of this benchmark is our own archive when it was small: the promise is that growth does
not show (ratio of the 95th percentiles, large over small, below 1.3).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np

from somascope import __version__
from somascope.archive import Archive, Query
from somascope.core import Grid, Image
from somascope.io.dicom.write import instances

SERIES, SLICES = 2, 25
"""Per study; a study has 50 instances."""


def _template() -> tuple[bytes, dict[str, bytes]]:
    """One tiny CT instance, and the fixed-length words in it that are replaced in each copy."""
    words = {
        "study": b"2.25.1" + b"1" * 33, "series": b"2.25.1" + b"2" * 33,
        "name": b"Patient^A00000", "id": b"ID00000000",
    }  # fmt: skip
    image = Image(
        np.zeros((1, 8, 8), np.int16), Grid.from_spacing((1, 8, 8), (1, 1, 1)), "CT", "[hnsf'U]",
        attributes={
            "StudyInstanceUID": words["study"].decode(), "PatientName": words["name"].decode(),
            "PatientID": words["id"].decode(), "StudyDate": "20200101", "StudyTime": "101010",
        },
    )  # fmt: skip
    (raw,) = instances(image)
    from somascope.io.dicom import header

    found = header.scan(raw).attributes
    words["series"] = str(found["SeriesInstanceUID"]).encode()
    words["sop"] = str(found["SOPInstanceUID"]).encode()
    words["study"] = str(found["StudyInstanceUID"]).encode()
    return raw, words


def _fill(
    archive: Archive, template: tuple[bytes, dict[str, bytes]], first: int, studies: int
) -> None:
    raw, words = template

    def uid(kind: str, number: int) -> bytes:
        length = len(words[kind])
        return b"2.25." + str(10 ** (length - 6) + number).encode()

    for study in range(first, first + studies):
        of_study = raw.replace(words["study"], uid("study", study * 1000))
        of_study = of_study.replace(words["name"], b"Patient^A%05d" % study)
        of_study = of_study.replace(words["id"], b"ID%08d" % study)
        for series in range(SERIES):
            number = study * 1000 + 100 * (series + 1)
            of_series = of_study.replace(words["series"], uid("series", number))
            for k in range(SLICES):
                archive.store(of_series.replace(words["sop"], uid("sop", number + k)))


def _questions(studies: int) -> list[tuple[str, Query]]:
    rng = np.random.default_rng(5)
    picks = rng.integers(0, studies, 60)
    return [
        ("PatientID", Query("STUDY", {"PatientID": f"ID{p:08d}"})) for p in picks
    ] + [
        ("PatientName prefix", Query("STUDY", {"PatientName": f"Patient^A{p:05d}*"})) for p in picks
    ] + [
        ("newest 10", Query("STUDY", {}, limit=10)) for _ in picks
    ]  # fmt: skip


def _p95(archive: Archive, studies: int) -> dict[str, tuple[float, float, float, int]]:
    times: dict[str, list[float]] = {}
    hits: dict[str, int] = {}
    for name, query in _questions(studies) * 3:
        start = time.perf_counter()
        found = archive.search(query)
        times.setdefault(name, []).append((time.perf_counter() - start) * 1e3)
        hits[name] = len(found)
    return {
        name: (min(t), median(t), quantiles(t, n=20)[-1], hits[name]) for name, t in times.items()
    }


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """One line per question; ``peer`` is the archive of the smaller size."""
    sizes = (1_000, 2_000) if small else (1_000, 100_000)
    per_study = SERIES * SLICES
    template = _template()
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive.open(Path(folder))
        try:
            have, measured = 0, []
            for size in sizes:
                _fill(archive, template, have, size // per_study - have)
                have = size // per_study
                measured.append(_p95(archive, have))
        finally:
            archive.close()
    before, after = measured
    for name, (low, middle, p95, _) in after.items():
        was = before[name]
        yield {
            "name": "query",
            "case": f"{name}, p95 {p95:.2f} ms at {sizes[1]} against {was[2]:.2f} ms at {sizes[0]}",
            "ours_ms": {"min": low, "median": middle},
            "peer": f"somascope at {sizes[0]} instances",
            "peer_version": __version__,
            "peer_ms": {"min": was[0], "median": was[1]},
            "ratio": was[1] / middle,
            "quality_metric": "p95 ms",
            "quality_ours": round(p95, 3),
            "quality_peer": round(was[2], 3),
        }
