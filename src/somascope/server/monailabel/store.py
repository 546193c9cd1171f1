"""What MONAI Label calls a data store: the archive's series, and the last outline of each."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from somascope.archive import Archive, Query
from somascope.core.errors import NotFound, SomascopeError
from somascope.io.dicom.header import metadata
from somascope.learn.datasets.stored import Order, Outlined

_NO_IMAGES = ("SR", "REG", "PR", "KO", "RTSTRUCT", "RTPLAN", "DOC", "RAW")


def segmenters() -> dict[str, dict[str, Any]]:
    """Models to segment, as clients list them."""
    from somascope.models import installed

    found: dict[str, dict[str, Any]] = {}
    for name, path in installed.models().items():
        told = _card(path, _file(path).stat().st_mtime_ns)
        if told is not None:
            found[name] = told
    return found


def changed(model: str) -> float:
    """When an installed model was written or put there, in seconds since 1970."""
    from somascope.models import installed

    known = _file(installed.place(model)).stat()
    return max(known.st_mtime, known.st_ctime)  # a copy may keep the older time


def _file(path: Path) -> Path:
    return path / "card.json" if path.is_dir() else path


@lru_cache(maxsize=256)
def _card(path: Path, stamp: int) -> dict[str, Any] | None:
    from somascope.models import package

    del stamp  # another file of the same name is read again
    try:
        card = package.read(path).card
    except SomascopeError:
        return None
    if card.task != "segment":
        return None
    return {
        "type": "segmentation", "labels": {c.name: k + 1 for k, c in enumerate(card.classes)},
        "dimension": card.dimensions, "description": card.summary, "config": {"anyway": False},
        "version": card.version,
    }  # fmt: skip


def outlines(archive: Archive) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Image series with what is known of them, and the last Segmentation of each that has one.

    What installed models answered does not count: their answers are kept, too, and are no labels.
    """
    from somascope.models import installed

    rows = archive.search(Query(level="SERIES", match={}, limit=100_000))
    images: dict[str, dict[str, Any]] = {}
    masks: list[str] = []
    for row in rows:
        told = {k: _first(row, tag) for k, tag in _TAGS.items()}
        uid = told["SeriesInstanceUID"]
        if told["Modality"] == "SEG":
            masks.append(uid)
        elif told["Modality"] not in _NO_IMAGES:
            images[uid] = {**told, "name": told["SeriesDescription"] or uid}
    outlined: dict[str, str] = {}
    order = _order(str(archive.root)).of(archive) if masks else {}
    for uid in sorted(masks, key=lambda m: order.get(m, 0)):
        for file in archive.locate(series=uid)[:1]:
            made_on, drawn_by = _told(str(file.path))
            if not installed.drew(drawn_by):
                outlined |= {s: uid for s in made_on if archive.locate(series=s)}
    return images, outlined


def pairs(archive: Archive) -> list[Outlined]:
    """The files of every outlined series and of its outline, to train on.

    Raises
    ------
    NotFound
        Nothing is outlined.
    """
    images, outlined = outlines(archive)
    found = [
        Outlined(
            uid, tuple(str(i.path) for i in archive.locate(series=uid)),
            tuple(str(i.path) for i in archive.locate(series=outlined[uid])),
        )
        for uid in images
        if uid in outlined
    ]  # fmt: skip
    if not found:
        raise NotFound(
            "no series of this archive is outlined (what installed models drew does not count); "
            "outline some and save them first"
        )
    return found


@lru_cache(maxsize=16)
def _order(root: str) -> Order:
    """The order of an archive's changes, kept between questions: the log is long."""
    del root
    return Order()


_TAGS = {
    "SeriesInstanceUID": "0020000E", "StudyInstanceUID": "0020000D", "Modality": "00080060",
    "SeriesDescription": "0008103E", "PatientID": "00100020",
}  # fmt: skip


def _first(row: dict[str, Any], tag: str) -> str:
    values = row.get(tag, {}).get("Value") or [""]
    return str(values[0])


@lru_cache(maxsize=10_000)
def _told(path: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Series that a Segmentation refers to, and its segments' algorithms, from its header alone."""
    try:
        head = metadata(Path(path))
        series, segments = (head.get(t, {}).get("Value", ()) for t in ("00081115", "00620002"))
        return (
            tuple(str(item["0020000E"]["Value"][0]) for item in series),
            tuple(_first(item, "00620009") for item in segments),
        )
    except (SomascopeError, OSError, LookupError, TypeError, AttributeError):
        return (), ()  # it is of no series


def stats(archive: Archive) -> dict[str, Any]:
    """How many series there are, and how many are outlined."""
    images, outlined = outlines(archive)
    done = sum(i in outlined for i in images)
    return {"total": len(images), "completed": done, "label_tags": {"final": done}, "train": [],
            "label_counts": {}}  # fmt: skip


def files_of(archive: Archive, uid: str) -> list[Path]:
    """The files of a series; `NotFound` where there is none."""
    found = archive.locate(series=uid)
    if not found:
        raise NotFound(f"no series {uid!r} in this archive")
    return [Path(i.path) for i in found]
