"""Folders: one per class; images beside label maps; nnU-Net's and the Decathlon's layouts."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from somascope.core import Image
from somascope.core.errors import CorruptFile, NotFound, UnsupportedFormat
from somascope.core.grid import Array
from somascope.learn.datasets.cases import Case, Dataset, patients
from somascope.models.inputs import one as load

IMAGES = ("imagestr", "images", "image", "imgs", "img")
LABELS = (
    "labelstr",
    "labels",
    "label",
    "masks",
    "annotations",
    "1st_manual",
    "manual",
    "gt",
    "mask",
)
REGIONS = ("mask", "masks", "fov", "region")
MASK = re.compile(r"_mask(_\d+)?$")
"""Ends the name of a mask that lies beside its picture."""
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val",
          "validation": "val", "test": "test", "testing": "test"}  # fmt: skip
SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".png", ".jpg", ".jpeg", ".tif", ".tiff",
            ".gif", ".bmp", ".dcm")  # fmt: skip


def stem(path: Path) -> str:
    """The name without its suffix, ``.nii.gz`` in one, and without ``.dcm.png``'s both."""
    name = path.name
    lower = name.lower()
    suffix = next((s for s in sorted(SUFFIXES, key=len, reverse=True) if lower.endswith(s)), "")
    name = name[: len(name) - len(suffix)]
    return name[:-4] if name.lower().endswith(".dcm") else name


def files(folder: Path) -> list[Path]:
    """Image files below a folder, sorted, hidden ones left out."""
    return sorted(
        p for p in folder.rglob("*")
        if p.is_file() and p.name.lower().endswith(SUFFIXES) and not p.name.startswith(".")
    )  # fmt: skip


def load_mask(path: Path, *, levels: tuple[int, ...]) -> Array:
    """Class numbers ``(z, y, x)``; ``levels`` are the values in the file, background first."""
    values = flat(load(path))
    result = np.zeros(values.shape, np.uint8)
    for k, level in enumerate(levels[1:], start=1):
        result[values == level] = k
    return result


def flat(image: Image) -> Array:
    """Whole numbers ``(z, y, x)``: colours become one number each (R 65536 + G 256 + B)."""
    data = image.data
    if data.ndim == 4 and data.shape[0] == 3:
        r, g, b = (data[i].astype(np.int64) for i in range(3))
        return np.where((r == g) & (g == b), r, (r << 16) + (g << 8) + b)
    return np.rint(data.reshape(image.grid.shape)).astype(np.int64)


def per_class(root: Path, *, objects: bool = False) -> Dataset:
    """One folder per class; ``train``, ``val``, ``test`` above them (or ``training``,
    ``validation``...) are splits. With ``objects`` the case is what the masks of a picture mark
    (``NAME_mask.png``, ``NAME_mask_1.png``...), one box around all; pictures without are left out.
    """
    below = sorted(d for d in root.iterdir() if d.is_dir())
    tops = [(SPLITS[d.name.lower()], d) for d in below if d.name.lower() in SPLITS]
    tops = tops or [("", root)]
    names = sorted({d.name for _, top in tops for d in top.iterdir() if d.is_dir() and files(d)})
    found: list[tuple[Path, str, int]] = []
    for split, top in tops:
        for k, name in enumerate(names):
            here = [p for p in files(top / name) if not MASK.search(stem(p))]
            found += [(p, split, k) for p in here]
    if len(names) < 2 or not found:
        raise NotFound(
            f"{root} has {len(names)} folders of images ({', '.join(names) or 'none'}); a class is "
            "a folder, and there must be two or more, perhaps below train, val and test"
        )
    ids = [str(p.relative_to(root)) for p, _, _ in found]
    whose = patients([stem(p) for p, _, _ in found])
    # "benign (1)" and "malignant (1)" are two patients.
    cases = tuple(
        Case(i, f"{names[k]} {w}", partial(load, p), split, k)
        for i, w, (p, split, k) in zip(ids, whose, found, strict=True)
    )
    if objects:
        cases, names = _within(cases, [p for p, _, _ in found], names)
    return Dataset(root.name, "classify", tuple(names), cases)


def masked(root: Path) -> bool:
    """Whether there are masks beside pictures below a folder, as `per_class` knows them."""
    return any(MASK.search(stem(p)) for p in files(root))


def _within(
    cases: tuple[Case, ...], paths: list[Path], names: list[str]
) -> tuple[tuple[Case, ...], list[str]]:
    """The cases whose masks mark something, with the box around it, and the classes they have."""
    found: list[Case] = []
    for case, path in zip(cases, paths, strict=True):
        beside = [p for p in files(path.parent) if p.parent == path.parent
                  and MASK.sub("", stem(p)) == stem(path) and p != path]  # fmt: skip
        marked = [flat(load(p)) > 0 for p in beside]
        if not marked or not any(m.any() for m in marked):
            continue
        if len({m.shape for m in marked}) > 1:
            raise CorruptFile(f"the masks of {path.name} have different sizes")
        inside = np.logical_or.reduce(marked)
        ends = [(int(i.min()), int(i.max()) + 1) for i in np.nonzero(inside)]
        ends = ends if inside.shape[0] > 1 else ends[1:]
        box = np.array([*(a for a, _ in ends), *(b for _, b in ends)], np.float64)
        found.append(replace(case, box=box))
    kept = sorted({c.label for c in found})
    if len(kept) < 2:
        raise NotFound(f"masks mark something in {len(kept)} classes; there must be two or more")
    number = {k: i for i, k in enumerate(kept)}
    return tuple(replace(c, label=number[c.label]) for c in found), [names[k] for k in kept]


def pairs(root: Path) -> Dataset:
    """Images beside label maps: by ``dataset.json`` (Decathlon, nnU-Net raw), or by names."""
    described = root / "dataset.json"
    if described.is_file():
        try:
            record = json.loads(described.read_text(encoding="utf-8"))
        except ValueError as error:
            raise CorruptFile(f"{described} is not JSON ({error})") from error
        if not isinstance(record, dict):
            raise CorruptFile(f"{described} holds no JSON object")
        return _described(root, record)
    found: list[tuple[Path, Path, Path | None, str]] = []
    for images in sorted(p for p in root.rglob("*") if p.is_dir() and p.name.lower() in IMAGES):
        found += _beside(images, root)
    if not found:
        raise NotFound(f"{root} has no folder 'images' with a folder 'labels' beside it")
    return _dataset(root.name, found, {}, "OT")


def _beside(images: Path, root: Path) -> list[tuple[Path, Path, Path | None, str]]:
    others = {p.name.lower(): p for p in images.parent.iterdir() if p.is_dir() and p != images}
    labels = next((others[n] for n in LABELS if n in others), None)
    if labels is None:
        return []
    regions = next((others[n] for n in REGIONS if n in others and others[n] != labels), None)
    split = SPLITS.get(images.parent.name.lower(), "")
    if images.parent == root:
        split = ""
    truth = _index(labels)
    region = _index(regions) if regions else {}
    result: list[tuple[Path, Path, Path | None, str]] = []
    for path in files(images):
        key = _match(path, truth)
        if key is not None:
            result.append((path, truth[key], region.get(_match(path, region) or ""), split))
    return result


def _index(folder: Path) -> dict[str, Path]:
    return {stem(p): p for p in files(folder)}


def _match(path: Path, there: dict[str, Path]) -> str | None:
    """The key of the same stem; or of ``stem_mask``; or the only one with the same number."""
    name = stem(path)
    for key in (name, f"{name}_mask", f"{name}_label", f"{name}_seg", re.sub(r"_0000$", "", name)):
        if key in there:
            return key
    number = re.search(r"\d+", name)
    alike = [k for k in there if number and re.search(r"\d+", k)
             and int(re.search(r"\d+", k)[0]) == int(number[0])]  # fmt: skip # pyright: ignore
    return alike[0] if len(alike) == 1 else None


def _described(root: Path, record: dict[str, Any]) -> Dataset:
    labels: dict[str, Any] = {str(k): v for k, v in (record.get("labels") or {}).items()}
    overlapping = [k for k, v in labels.items() if isinstance(v, list)]
    if overlapping:
        raise UnsupportedFormat(
            f"{root / 'dataset.json'}: {', '.join(overlapping[:3])} are regions that overlap; "
            "models with one class for each voxel are trained here: name each label by one number"
        )
    if labels and all(k.isdigit() for k in labels):  # the Decathlon: number to name
        names = {int(k): str(v) for k, v in labels.items()}
    else:  # nnU-Net: name to number
        names = {int(v): k for k, v in labels.items() if isinstance(v, int)}
    ignored = next((v for v, k in names.items() if k.lower() == "ignore"), None)
    names = {v: k for v, k in names.items() if v != ignored}
    kinds = {str(k): str(v) for k, v in (record.get("modality") or record.get("channel_names")
                                         or {}).items()}  # fmt: skip
    if len(kinds) > 1:
        raise UnsupportedFormat(
            f"{root / 'dataset.json'} has {len(kinds)} channels ({', '.join(kinds.values())}); "
            "models read one image (or one colour picture) here: make a data set of one of them"
        )
    found: list[tuple[Path, Path, Path | None, str]] = []
    found += [
        (root / str(e["image"]), root / str(e["label"]), None, "")
        for e in record.get("training") or []
        if isinstance(e, dict) and {"image", "label"} <= set(e)
    ]
    if not found and (root / "labelsTr").is_dir():
        truth = _index(root / "labelsTr")
        for path in files(root / "imagesTr"):
            if re.sub(r"_000[1-9]$", "", stem(path)) in truth and stem(path) not in truth:
                raise UnsupportedFormat(
                    f"{path.name} is a second channel of its case; models read one image here: "
                    "make a data set of one channel"
                )
            key = _match(path, truth)
            if key is not None:
                found.append((path, truth[key], None, ""))
    there = [f for f in found if f[0].is_file() and f[1].is_file()]
    if not there:
        raise NotFound(
            f"{root / 'dataset.json'} names {len(found)} training cases, none of which is there "
            "with its label map (imagesTr, labelsTr)"
        )
    modality = _modality(next(iter(kinds.values()), ""))
    return _dataset(record.get("name") or root.name, there, names, modality, ignored=ignored)


def _modality(channel: str) -> str:
    """DICOM's code of what the Decathlon and nnU-Net call a channel."""
    words = set(re.findall(r"[A-Z0-9]+", channel.upper()))
    for code, said in (("CT", {"CT"}), ("PT", {"PET", "PT"}), ("US", {"US", "ULTRASOUND"})):
        if words & said:
            return code
    mr = {"MR", "MRI", "T1", "T1W", "T1CE", "T1GD", "T2", "T2W", "FLAIR", "ADC", "DWI", "BOLD"}
    return "MR" if words & mr else "OT"


def _dataset(
    name: str,
    found: list[tuple[Path, Path, Path | None, str]],
    names: dict[int, str],
    modality: str,
    *,
    ignored: int | None = None,
) -> Dataset:
    levels = sorted(names) if names else levels_of([f[1] for f in found])
    if len(levels) < 2:
        raise CorruptFile(f"{name}: the label maps hold one value only, {levels}")
    classes = tuple(names.get(v, f"label {k}") for k, v in enumerate(levels) if k)
    ids = [stem(f[0]) for f in found]
    if len(set(ids)) < len(ids):
        ids = [f"{f[0].parent.name}/{i}" for f, i in zip(found, ids, strict=True)]
    whose = patients([stem(f[0]) for f in found])
    cases = tuple(
        Case(
            i, w, partial(load, image), split,
            mask=partial(load_mask, label, levels=tuple(levels)),
            region=partial(_inside, region) if region
            else partial(_counted, label, ignored) if ignored is not None else None,
        )
        for i, w, (image, label, region, split) in zip(ids, whose, found, strict=True)
    )  # fmt: skip
    return Dataset(name, "segment", classes, cases, modality)


def _inside(path: Path) -> Array:
    return flat(load(path)) > 0


def _counted(path: Path, ignored: int) -> Array:
    return flat(load(path)) != ignored


def levels_of(paths: list[Path]) -> list[int]:
    """Values of the label maps, the most frequent first as background, then by value."""
    counts: dict[int, int] = {}
    for path in paths[:20]:
        values, n = np.unique(flat(load(path)), return_counts=True)
        for v, c in zip(values.tolist(), n.tolist(), strict=True):
            counts[v] = counts.get(v, 0) + c
    if len(counts) > 64:
        raise CorruptFile(f"{paths[0].name} and others hold {len(counts)} values; no label maps")
    background = 0 if 0 in counts else max(counts, key=lambda v: counts[v])
    return [background, *sorted(v for v in counts if v != background)]
