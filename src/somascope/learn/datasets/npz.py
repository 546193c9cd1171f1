"""MedMNIST archives: ``train_images``, ``train_labels``, ``val_images``... in one npz file.

Source: Yang et al., MedMNIST v2, Scientific Data 10:41, 2023. Images ``(n, y, x)``,
``(n, y, x, 3)`` or ``(n, z, y, x)``; labels ``(n, 1)``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from somascope.core.errors import CorruptFile
from somascope.learn.datasets.cases import Case, Dataset
from somascope.models.inputs import arrays, picture

KNOWN = {
    "pneumonia": ("DX", ("normal", "pneumonia")),
    "adrenal": ("CT", ("normal", "hyperplasia")),
    "breast": ("US", ("malignant", "normal or benign")),
}
"""Modality and class names of some MedMNIST sets, by the start of the file's name."""


def read(path: Path) -> Dataset:
    """A classification data set with its official splits."""
    found = arrays(path)
    known = next((v for k, v in KNOWN.items() if path.name.lower().startswith(k)), None)
    cases: list[Case] = []
    largest = 0
    for split in ("train", "val", "test"):
        if f"{split}_images" not in found:
            continue
        images, labels = found[f"{split}_images"], found.get(f"{split}_labels")
        if labels is None or labels.reshape(len(labels), -1).shape != (len(images), 1):
            raise CorruptFile(f"{path.name}: {split}_labels do not fit {split}_images")
        for i, label in enumerate(labels.reshape(-1)):
            name = f"{split}_{i:06d}"
            load = partial(picture, images[i], name)
            cases.append(Case(name, name, load, split, int(label)))
            largest = max(largest, int(label))
    if not cases:
        raise CorruptFile(f"{path.name} has no train_images, val_images or test_images")
    names = known[1] if known else tuple(str(k) for k in range(largest + 1))
    modality = known[0] if known else "OT"
    return Dataset(path.stem, "classify", names, tuple(cases), modality)
