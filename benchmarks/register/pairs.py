"""``register.pairs``: real pairs without a truth, by how well their tissues then overlap.

Slices of different brains (OASIS, r16 and r64): the brightness of each image is parted in three by
Otsu's thresholds before, and the classes' overlap is measured after. Where the pair has labels,
theirs is: a prostate in MR and ultrasound, a head's mask in two contrasts (elastix' example).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.register.beside import beside
from benchmarks.register.case import Array, Mapping, folding, shared
from benchmarks.register.hippocampus import carried, dice
from benchmarks.register.peers import installed
from somascope.core import Image

SLICES = 10


def classes(image: Image) -> Array:
    """Background 0 and three classes of brightness, by Otsu's thresholds."""
    from skimage.filters import threshold_multiotsu

    data = np.asarray(image.data, np.float32)
    return np.digitize(data, threshold_multiotsu(data, classes=4)).astype(np.uint8)


def _read(path: Path) -> Image:
    from somascope.io import read

    image = read(path)
    assert isinstance(image, Image)
    if image.axis_names[:1] == ("channel",):
        image = replace(image, data=image.data.mean(axis=0), axes=image.axes[1:])
    while image.axes:  # of several labels the first: the organ
        image = image.at(**{image.axes[0].name: 0})
    data = np.asarray(image.data, np.float32).reshape(image.grid.shape)
    return replace(image, data=data, axes=(), modality=image.modality or "OT")


def _sets() -> Iterator[tuple[str, bool, list[tuple[Image, Image]], list[tuple[Array, Array]]]]:
    folder = shared("oasis2d_registration", "oasis_2d")
    if folder is not None:
        files = sorted(folder.glob("*.nrrd"))[: SLICES + 1]
        images = [_read(f) for f in files]
        made = list(pairwise(images))
        yield f"{len(made)} pairs of OASIS slices", False, made, []
    folder = shared("antspy_data")
    if folder is not None:
        r16, r64 = (_read(folder / f"r{n}slice.jpg") for n in (16, 64))
        yield "r16 and r64", False, [(r16, r64)], []
    folder = shared("itkelastix_reg", "examples", "data")
    if folder is not None:
        head = [_read(folder / f"CT_2D_head_{n}.mha") for n in ("fixed", "moving")]
        masks = [_read(folder / f"CT_2D_head_{n}_mask.mha").data > 0 for n in ("fixed", "moving")]
        one, two = (m.astype(np.uint8) for m in masks)
        yield "a slice of a head, two contrasts", True, [(head[0], head[1])], [(one, two)]
    folder = shared("deepreg_data", "nifti", "paired", "train")
    if folder is not None:
        names = sorted(p.name for p in (folder / "fixed_images").iterdir())
        whole = [
            [_read(folder / f"{side}_{what}" / n) for side in ("fixed", "moving")]
            for what in ("images", "labels")
            for n in names
        ]
        images, labels = whole[: len(names)], whole[len(names) :]
        yield (
            f"{len(names)} prostates, ultrasound and MR", True,
            [(f, m) for f, m in images],
            [((f.data > 0).astype(np.uint8), (m.data > 0).astype(np.uint8)) for f, m in labels],
        )  # fmt: skip


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Overlap and folding of every set that is there; none is small."""
    if small:
        return
    for case, other, pairs, labels in _sets():
        parted = labels or [(classes(f), classes(m)) for f, m in pairs]
        values = (1,) if labels else (1, 2, 3)

        def overlap(
            maps: list[Mapping],
            pairs: list[tuple[Image, Image]] = pairs,
            parted: list[tuple[Array, Array]] = parted,
            values: tuple[int, ...] = values,
        ) -> float:
            return float(np.mean([
                dice(a, carried(b, m.grid, mapping, f.grid), values)
                for (f, m), (a, b), mapping in zip(pairs, parted, maps, strict=True)
            ]))  # fmt: skip

        def folds(maps: list[Mapping], pairs: list[tuple[Image, Image]] = pairs) -> float:
            return float(np.mean([
                folding(mapping, f.grid, step=1)
                for (f, _), mapping in zip(pairs, maps, strict=True)
            ]))  # fmt: skip

        before = overlap([lambda x: x] * len(pairs))
        yield from beside(
            "register.pairs", f"{case}, Dice {before:.2f} before", pairs,
            installed(metric="NCC"), other=other,
            quality=overlap, also=(("folding, %", folds),),
            metric="Dice of labels" if labels else "mean Dice of three tissue classes", rounds=1,
        )  # fmt: skip
