"""BIDS: images under ``sub-*``, label maps of them in ``derivatives``, people in a table.

Source: Brain Imaging Data Structure 1.10, "Imaging derivatives: segmentations" (suffixes ``dseg``
and ``mask``, entities ``space``, ``desc``, ``label``) and "participants file".
"""

from __future__ import annotations

import csv
import re
from functools import partial
from pathlib import Path

from somascope.core.errors import CorruptFile, NotFound
from somascope.learn.datasets.cases import Case, Dataset
from somascope.learn.datasets.folders import load, load_mask

DESCRIPTION = "dataset_description.json"
_OURS = ("space", "desc", "label", "seg", "atlas", "hemi", "res", "den")
"""Entities that a derivative has and its source has not."""
_MODALITIES = {"ct": "CT", "pet": "PT"}


def segmentations(root: Path, *, suffix: str = "") -> Dataset:
    """Cases with a discrete segmentation (``dseg``, else a binary ``mask``).

    Parameters
    ----------
    suffix
        Of the images, as ``T1w``; default the one that most label maps belong to.

    Raises
    ------
    NotFound
        No label map in ``derivatives`` (or beside the images) of any image.
    CorruptFile
        Two label maps of one image, or class tables that disagree.
    """
    maps: dict[tuple[str, ...], list[Path]] = {}
    for kind in ("dseg", "mask"):
        if not maps:
            for path in sorted(root.rglob(f"sub-*_{kind}.nii*")):
                maps.setdefault(_entities(path), []).append(path)
    images: dict[str, list[tuple[Path, Path]]] = {}
    for path in sorted(root.rglob("sub-*.nii*")):
        kind = _suffix(path)
        if "derivatives" in path.relative_to(root).parts or kind in ("dseg", "mask"):
            continue
        truths = maps.get(_entities(path), [])
        if len(truths) > 1:
            names = ", ".join(t.name for t in truths[:3])
            raise CorruptFile(f"{path.name} has {len(truths)} label maps: {names}; keep one")
        if truths:
            images.setdefault(kind, []).append((path, truths[0]))
    if suffix:
        images = {k: v for k, v in images.items() if k == suffix}
    if not images:
        raise NotFound(f"{root} has no sub-*_dseg.nii or sub-*_mask.nii of its images"
                       f"{f' {suffix}' if suffix else ''}")  # fmt: skip
    kind = max(images, key=lambda k: len(images[k]))
    classes, levels = _classes(root, [t for _, t in images[kind]])
    people = participants(root)
    cases = tuple(
        Case(
            re.sub(r"\.nii(\.gz)?$", "", image.name), _subject(image), partial(load, image),
            mask=partial(load_mask, truth, levels=levels), groups=people.get(_subject(image), {}),
        )
        for image, truth in images[kind]
    )  # fmt: skip
    return Dataset(root.name, "segment", classes, cases, _MODALITIES.get(kind.lower(), "MR"))


def participants(root: Path) -> dict[str, dict[str, str]]:
    """``participants.tsv``: columns of few different values by subject; ages by twenty years."""
    path = root / "participants.tsv"
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    if rows and "participant_id" not in rows[0]:
        raise CorruptFile("participants.tsv has no column participant_id")
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        # A tab too many at the end of a line gives a column without a name.
        said = {k: v for k, v in row.items() if k and v not in (None, "", "n/a")}
        who = said.pop("participant_id", "")
        age = said.get("age", "")
        if re.fullmatch(r"\d+(\.\d+)?", age):
            low = int(float(age)) // 20 * 20
            said["age"] = f"{low} to {low + 19}"
        found[who] = said
    return found


def _suffix(path: Path) -> str:
    return re.sub(r"\.nii(\.gz)?$", "", path.name).rsplit("_", 1)[-1]


def _subject(path: Path) -> str:
    return path.name.split("_")[0]


def _entities(path: Path) -> tuple[str, ...]:
    """What an image and its label map have in common: ``sub-01``, ``ses-2``, ``run-1``."""
    parts = re.sub(r"\.nii(\.gz)?$", "", path.name).split("_")[:-1]
    return tuple(p for p in parts if p.split("-")[0] not in _OURS)


def _classes(root: Path, truths: list[Path]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names and numbers by the ``*_dseg.tsv`` (``index``, ``name``), else what the maps hold."""
    tables = sorted(root.rglob("*dseg.tsv"))
    named: dict[int, str] = {}
    for path in tables:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                try:
                    number, name = int(row["index"]), row["name"]
                except (KeyError, ValueError, TypeError) as error:
                    raise CorruptFile(f"{path.name} needs the columns index and name") from error
                if named.setdefault(number, name) != name:
                    raise CorruptFile(f"{path.name} calls {number} {name!r}; another table says "
                                      f"{named[number]!r}")  # fmt: skip
    named.pop(0, None)
    if named:
        numbers = sorted(named)
        return tuple(named[n] for n in numbers), (0, *numbers)
    from somascope.learn.datasets.folders import levels_of

    levels = levels_of(truths)
    return tuple(f"label {k}" for k in range(1, len(levels))), tuple(levels)
