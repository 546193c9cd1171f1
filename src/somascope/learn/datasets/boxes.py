"""Boxes of objects in pictures: Pascal VOC folders and COCO's JSON."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from somascope.core.errors import CorruptFile, NotFound
from somascope.learn.datasets.cases import Case, Dataset, patients
from somascope.learn.datasets.folders import load, stem


def voc(root: Path) -> Dataset:
    """``Annotations/*.xml``, ``JPEGImages`` and, where they are, the splits of ``ImageSets/Main``.

    Corners of VOC count from 1 and include the last pixel; here they are pixel edges.
    """
    root = root if (root / "Annotations").is_dir() else next(
        (p.parent for p in sorted(root.rglob("Annotations")) if p.is_dir()), root
    )  # fmt: skip
    papers = sorted((root / "Annotations").glob("*.xml"))
    pictures = {stem(p): p for p in sorted((root / "JPEGImages").glob("*")) if p.is_file()}
    if not papers or not pictures:
        raise NotFound(f"{root} has no Annotations/*.xml with a JPEGImages folder beside it")
    splits: dict[str, str] = {}
    for split in ("train", "val", "test"):
        listed = root / "ImageSets" / "Main" / f"{split}.txt"
        if listed.is_file():
            splits |= dict.fromkeys(listed.read_text(encoding="utf-8").split(), split)
    raw = {p.stem: _objects(p) for p in papers}
    names = sorted({name for objects in raw.values() for name, _ in objects})
    known = [n for n in raw if n in pictures]
    whose = patients(known)
    cases = tuple(
        Case(n, w, partial(load, pictures[n]), splits.get(n, ""), boxes=_boxes(raw[n], names))
        for n, w in zip(known, whose, strict=True)
    )
    return Dataset(root.name, "detect", tuple(names), cases)


def _objects(path: Path) -> list[tuple[str, tuple[float, ...]]]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise CorruptFile(f"{path.name} declares entities; annotations have none")
        tree = ET.fromstring(text)  # noqa: S314  entities are refused above
    except ET.ParseError as error:
        raise CorruptFile(f"{path.name} is not XML ({error})") from error
    found: list[tuple[str, tuple[float, ...]]] = []
    for thing in tree.iter("object"):
        name, box = thing.findtext("name"), thing.find("bndbox")
        if name is None or box is None:
            raise CorruptFile(f"{path.name} has an object without a name or a box")
        x0, y0, x1, y1 = (float(box.findtext(k) or 0) for k in ("xmin", "ymin", "xmax", "ymax"))
        if x1 > x0 and y1 > y0:  # a box of no area, as some annotators leave behind, is none
            found.append((name, (max(y0 - 1, 0.0), max(x0 - 1, 0.0), y1, x1)))
    return found


def _boxes(objects: list[tuple[str, tuple[float, ...]]], names: list[str]) -> Any:
    rows = [(*corners, float(names.index(name))) for name, corners in objects]
    return np.asarray(rows, np.float64).reshape(-1, 5)


def coco(path: Path) -> Dataset:
    """A COCO annotation file; images lie beside it, below it, or in ``images`` beside it.

    Boxes of volumes have six numbers: see `somascope.learn.datasets.objects.listed`.
    """
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        solid = any("center_mm" in a or len(a["bbox"]) == 6 for a in record["annotations"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptFile(f"{path.name} is no COCO annotation file ({error!r})") from error
    if solid:
        from somascope.learn.datasets import objects

        return objects.listed(path, record)
    try:
        categories = sorted(record["categories"], key=lambda c: c["id"])
        number = {c["id"]: k for k, c in enumerate(categories)}
        rows: dict[int, list[tuple[float, ...]]] = {}
        for a in record["annotations"]:
            x, y, w, h = (float(v) for v in a["bbox"])
            rows.setdefault(a["image_id"], []).append(
                (y, x, y + h, x + w, float(number[a["category_id"]]))
            )
        images = [(i["id"], str(i["file_name"])) for i in record["images"]]
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptFile(f"{path.name} is no COCO annotation file ({error!r})") from error
    split = next((s for s in ("train", "val", "test") if s in path.stem), "")
    whose = patients([Path(n).stem for _, n in images])
    cases: list[Case] = []
    for (key, name), patient in zip(images, whose, strict=True):
        place = found_at(path, name)
        if place is not None:
            boxes = np.asarray(rows.get(key, []), np.float64).reshape(-1, 5)
            cases.append(Case(place.stem, patient, partial(load, place), split, boxes=boxes))
    if not cases:
        raise NotFound(f"{path.name}: none of its {len(images)} pictures is beside it")
    return Dataset(path.stem, "detect", tuple(str(c["name"]) for c in categories), tuple(cases))


def found_at(path: Path, name: str) -> Path | None:
    """Where an image lies that a list names: beside the list, below it, or in ``images``."""
    base = Path(name).name
    split = next((s for s in ("train", "val", "test") if s in path.stem), "")
    places = [path.parent / base, path.parent / "images" / base,
              path.parent.parent / "images" / base, path.parent / split / base]  # fmt: skip
    return next((p for p in places if p.is_file()), None)


def is_coco(path: Path) -> bool:
    """Whether a JSON file lists annotations of images."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return False
    return isinstance(record, dict) and {"images", "annotations"} <= set(record)
