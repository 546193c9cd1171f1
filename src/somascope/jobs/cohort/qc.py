"""Quality of a data set, series by series: of an archive by query, or of a folder."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from somascope.analyze.cohort import facts, quality
from somascope.analyze.cohort.outliers import Oddity, inconsistent, outlying
from somascope.analyze.cohort.table import Column, Table, table_of
from somascope.core import QUIET, Image, Progress
from somascope.core.errors import Cancelled, NotFound, SomascopeError
from somascope.io import read_all
from somascope.learn.fingerprint import difference_hash
from somascope.learn.pictures import plain

if TYPE_CHECKING:
    from somascope.archive import Archive
    from somascope.jobs.cohort.select import Case

JUDGED = (
    "noise", "snr", "cnr", "efc", "sharpness", "ghosting", "slice_jumps", "odd_even", "foreground",
    "clipped", "spacing_z", "spacing_y", "spacing_x", "slices",
)  # fmt: skip
"""Columns whose outliers are told."""
AGREED = (
    "orientation", "spacing_z", "spacing_y", "spacing_x", "rows", "columns", "RepetitionTime",
    "EchoTime", "InversionTime", "FlipAngle", "KVP", "SliceThickness", "MagneticFieldStrength",
    "ConvolutionKernel", "scanner",
)  # fmt: skip
"""Columns that are the same in all series of a protocol."""
ACQUIRED = {
    "RepetitionTime": "ms", "EchoTime": "ms", "InversionTime": "ms", "FlipAngle": "deg",
    "KVP": "kV", "SliceThickness": "mm", "MagneticFieldStrength": "T", "ConvolutionKernel": "",
}  # fmt: skip
TEXTS = ("ConvolutionKernel",)
JUMP = 12.0
"""Robust deviations by which a change from slice to slice is told of one image alone."""
COLUMNS = (
    Column("name", "text", "", "Series, or file"),
    *facts.COLUMNS,
    *quality.COLUMNS,
    *(Column(n, "text" if n in TEXTS else "number", u) for n, u in ACQUIRED.items()),
    Column("sha256", "text", "", "Of values, shape and voxel size"),
    Column("looks", "text", "", "Difference hash of 64 bits"),
    Column("problems", "text", "", "What reading told"),
)


@dataclass(frozen=True)
class Report:
    """``table`` has a row for each image; ``flags`` say what is wrong by row number; ``pictures``
    are PNG files of the rows; ``unread`` names what could not be read, and why.
    """

    table: Table
    flags: dict[int, list[str]]
    oddities: tuple[Oddity, ...]
    duplicates: tuple[tuple[int, int, bool], ...]
    """Row numbers, and whether they are equal to the bit."""
    pictures: tuple[bytes, ...]
    unread: tuple[tuple[str, str], ...] = field(default=())


def of_archive(archive: Archive, cases: Sequence[Case], *, progress: Progress = QUIET) -> Report:
    """Quality of the series of a cohort."""

    def given() -> Iterator[tuple[str, list[Path]]]:
        for case in cases:
            yield case.series, [i.path for i in archive.locate(series=case.series)]

    return _report(given(), len(cases), progress)


def of_folder(root: str | Path, *, progress: Progress = QUIET) -> Report:
    """Quality of all images in a folder, DICOM by series and other files one by one.

    Raises
    ------
    NotFound
        There is no such folder, or no image in it.
    """
    from somascope.io.dicom.header import scan
    from somascope.io.dicom_files import HEAD
    from somascope.io.read import is_dicom
    from somascope.models.inputs import stem

    root = Path(root)
    if not root.exists():
        raise NotFound(f"there is no file or folder {str(root)!r}")
    files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
    series: dict[str, list[Path]] = defaultdict(list)
    others: list[tuple[str, list[Path]]] = []
    for path in progress.over(files, "headers"):
        if any(part.startswith(".") for part in path.relative_to(root.parent).parts):
            continue
        with path.open("rb") as file:
            head = file.read(HEAD)
        if is_dicom(head):
            try:
                series[scan(path).series or path.name].append(path)
            except SomascopeError:
                others.append((path.name, [path]))  # its reason comes with reading it
        else:
            others.append((stem(path), [path]))
    listed = [*series.items(), *others]
    report = _report(iter(listed), len(listed), progress)
    if not len(report.table):
        reasons = "; ".join(f"{n}: {r}" for n, r in report.unread[:3])
        raise NotFound(f"{root} holds no image that is read here ({reasons or 'no files'})")
    return report


def _report(given: Iterator[tuple[str, list[Path]]], total: int, progress: Progress) -> Report:
    records: list[dict[str, Any]] = []
    pictures: list[bytes] = []
    unread: list[tuple[str, str]] = []
    for name, paths in progress.over(given, "looking", total=total):
        try:
            found = read_all(paths)
        except Cancelled:
            raise
        except (SomascopeError, OSError) as error:
            unread.append((name, str(error)))
            continue
        if not found.images:
            unread += found.problems or []
            continue
        said = "; ".join(r for _, r in found.problems)
        for number, image in enumerate(found.images):
            called = name if len(found.images) == 1 else f"{name}#{number + 1}"
            try:
                records.append({"name": called, **_record(image), "problems": said or None})
                pictures.append(plain(_still(image)))
            except SomascopeError as error:
                unread.append((called, str(error)))
        del found
    table = table_of(records, COLUMNS)
    twins = _twins(table)
    odd = (*outlying(table, JUDGED, by=("modality", "protocol"), floors=quality.FLOORS),
           *inconsistent(table, AGREED))  # fmt: skip
    return Report(table, _flags(table, odd, twins), odd, twins, tuple(pictures), tuple(unread))


def _record(image: Image) -> dict[str, Any]:
    attributes = dict(image.attributes)
    attributes.setdefault("Modality", image.modality)
    acquired: dict[str, Any] = {}
    for name in ACQUIRED:
        value = attributes.get(name)
        value = value[0] if isinstance(value, (list, tuple)) and value else value
        if name in TEXTS:
            acquired[name] = None if value is None else str(value)
        elif isinstance(value, (int, float)):
            acquired[name] = float(value)
    digest = hashlib.sha256(repr((image.data.dtype.str, image.shape)).encode())
    digest.update(repr([round(s, 4) for s in image.grid.spacing]).encode())
    digest.update(np.ascontiguousarray(image.data).tobytes())
    real = image if image.data.dtype.kind != "c" else image.with_data(np.abs(image.data))
    looks = difference_hash(np.nan_to_num(real.data.astype(np.float32)))
    return {
        **facts.facts(attributes), **quality.examined(image), **acquired,
        "sha256": digest.hexdigest(), "looks": f"{looks:016x}",
    }  # fmt: skip


def _still(image: Image) -> Image:
    """One volume of several: a thumbnail shows the first."""
    if [a.name for a in image.axes] == ["channel"]:
        return image
    return image.at(**{a.name: 0 for a in image.axes})


def _twins(table: Table) -> tuple[tuple[int, int, bool], ...]:
    found: dict[tuple[int, int], bool] = {}
    for name in ("sha256", "looks"):
        groups: dict[str, list[int]] = defaultdict(list)
        for i, text in enumerate(table.texts(name)):
            # A hash of one half only is of a picture without structure.
            if text and (name == "sha256" or text not in ("0" * 16, "f" * 16)):
                groups[text].append(i)
        for rows in groups.values():
            for other in rows[1:]:
                found.setdefault((rows[0], other), name == "sha256")
    return tuple((a, b, same) for (a, b), same in sorted(found.items()))


def called(table: Table) -> list[str]:
    """Patient and protocol of each row, or the file's name where it says neither."""
    made: list[str] = []
    for row in table.records():
        said = [str(row[n]) for n in ("patient", "date", "protocol") if row[n] is not None]
        made.append(" ".join(said) if row["patient"] is not None else str(row["name"]))
    return made


def _flags(
    table: Table, odd: Sequence[Oddity], twins: Sequence[tuple[int, int, bool]]
) -> dict[int, list[str]]:  # fmt: skip
    flags: dict[int, list[str]] = defaultdict(list)
    for i, row in enumerate(table.records()):
        problem = str(row["problems"] or "")
        if problem:
            flags[i].append(problem)
        if row["invalid"]:
            flags[i].append(f"{float(row['invalid']):.2g} % of the voxels are not finite")
        if row["minimum"] is not None and row["minimum"] == row["maximum"]:
            flags[i].append("all values are one")
        jump = row["slice_jumps"]
        if isinstance(jump, float) and jump > JUMP:
            flags[i].append(f"one change from slice to slice stands out ({jump:.0f} deviations)")
    for one in odd:
        said = f"{one.column} {one.said}, usual {one.usual}"
        if np.isfinite(one.z):
            said += f" ({one.z:+.1f} robust deviations)"
        if not any(re.match(rf"{one.column} ", f) for f in flags[one.row]):
            flags[one.row].append(said)
    names = called(table)
    for a, b, same in twins:
        what = "the same values as" if same else "looks like"
        flags[a].append(f"{what} {names[b]}")
        flags[b].append(f"{what} {names[a]}")
    return {i: f for i, f in sorted(flags.items()) if f}
