"""QIDO latency as the archive grows: p95 at 10^5 instances against p95 at 10^3, same questions.

The peer of this benchmark is our own archive when it was small: the promise is that growth does
not show (ratio of the 95th percentiles, large over small, below 1.3). Both are asked in turn. The
95th percentile by the clock also has what other programs took from a busy machine, so that of the
processor's time is given beside it. Text in the middle of a name has no index: *PatientName
contains* reads the names of all patients, and grows with their number.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
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


def _questions(studies: int, each: int) -> list[tuple[str, Query]]:
    rng = np.random.default_rng(5)
    asked: list[tuple[str, Query]] = []
    for p in rng.integers(0, studies, each):
        asked += [
            ("PatientID", Query("STUDY", {"PatientID": f"ID{p:08d}"})),
            ("PatientName prefix", Query("STUDY", {"PatientName": f"Patient^A{p:05d}*"})),
            ("newest 10", Query("STUDY", {}, limit=10)),
            ("ModalitiesInStudy, newest 10", Query("STUDY", {"ModalitiesInStudy": "CT"}, limit=10)),
            ("PatientName contains", Query("STUDY", {"PatientName": f"*A{p:05d}*"})),
        ]
    return asked


class _Times:
    """Milliseconds of one question on one archive: by the clock, and of the processor."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def ask(self, archive: Archive, query: Query) -> None:
        wall, cpu = time.perf_counter(), time.thread_time()
        archive.search(query)
        self.cpu.append((time.thread_time() - cpu) * 1e3)
        self.wall.append((time.perf_counter() - wall) * 1e3)

    @staticmethod
    def p95(times: list[float]) -> float:
        return quantiles(times, n=20)[-1]


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """One line per question; ``peer`` is the archive of the smaller size, asked in turn."""
    sizes, each = ((200, 400), 20) if small else ((1_000, 100_000), 180)
    per_study = SERIES * SLICES
    template = _template()
    times: dict[str, tuple[_Times, _Times]] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        archives = [stack.enter_context(Archive.open(Path(folder) / str(n))) for n in sizes]
        for archive, size in zip(archives, sizes, strict=True):
            _fill(archive, template, 0, size // per_study)
        asked = [_questions(size // per_study, each) for size in sizes]
        for (name, few), (_, many) in zip(*asked, strict=True):
            before, after = times.setdefault(name, (_Times(), _Times()))
            before.ask(archives[0], few)
            after.ask(archives[1], many)
    for name, (before, after) in times.items():
        was, now = before.p95(before.wall), after.p95(after.wall)
        yield {
            "name": "query",
            "case": f"{name}, p95 {now:.2f} ms at {sizes[1]} against {was:.2f} ms at {sizes[0]}",
            "ours_ms": {"min": min(after.wall), "median": median(after.wall)},
            "peer": f"somascope at {sizes[0]} instances",
            "peer_version": __version__,
            "peer_ms": {"min": min(before.wall), "median": median(before.wall)},
            "ratio": median(before.wall) / median(after.wall),
            "quality_metric": "p95 of processor ms",
            "quality_ours": round(after.p95(after.cpu), 3),
            "quality_peer": round(before.p95(before.cpu), 3),
        }
