"""MedMNIST archives: ``train_images``, ``train_labels``, ``val_images``... in one npz file.

Source: Yang et al., MedMNIST v2, Scientific Data 10:41, 2023. Images ``(n, y, x)``,
``(n, y, x, 3)`` or ``(n, z, y, x)``; labels ``(n, 1)``. Without splits ``images``, ``labels``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

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
    parts = [(s, f"{s}_") for s in ("train", "val", "test") if f"{s}_images" in found]
    for split, start in parts or [("", "")] * ("images" in found):
        images, labels = found[f"{start}images"], found.get(f"{start}labels")
        if labels is None:
            raise CorruptFile(f"{path.name} has {start}images and no {start}labels")
        if len(labels) != len(images) or labels.size != len(images):
            raise CorruptFile(
                f"{path.name}: {start}labels have shape {labels.shape} for {len(images)} images; "
                "give one class number for each (several labels at a time are not learned here)"
            )
        if labels.dtype.kind not in "iub" and (labels != np.rint(labels)).any():
            raise CorruptFile(f"{path.name}: {start}labels hold values that are no class numbers")
        if labels.size and labels.min() < 0:
            raise CorruptFile(f"{path.name}: {start}labels hold {labels.min()}; classes count "
                              "from 0")  # fmt: skip
        for i, label in enumerate(labels.reshape(-1)):
            name = f"{split or 'case'}_{i:06d}"
            load = partial(picture, images[i], name)
            cases.append(Case(name, name, load, split, int(label)))
            largest = max(largest, int(label))
    if not cases:
        raise CorruptFile(
            f"{path.name} has {', '.join(found) or 'no arrays'}; give train_images and "
            "train_labels (val_, test_), or images and labels"
        )
    numbers = tuple(str(k) for k in range(largest + 1))
    names = known[1] if known and largest < len(known[1]) else numbers
    modality = known[0] if known else "OT"
    return Dataset(path.stem, "classify", names, tuple(cases), modality)
