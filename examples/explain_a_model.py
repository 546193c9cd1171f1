"""Ask a model why, and ask whether the reason is true: the pictures of docs/tutorials/explain.md.

::

    python examples/explain_a_model.py docs/images [STEPS]

The world is made so that we know better than the network: lumps are nodules, rods are vessels, and
in the training pictures of nodules somebody left a mark in the corner. Does the network look at it?
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from somascope.core import Grid, Image
from somascope.core.grid import Array
from somascope.learn.datasets import Dataset
from somascope.learn.datasets.cases import Case
from somascope.learn.explain import Method, explain
from somascope.learn.make import make, planned
from somascope.learn.pictures import enlarged, heat
from somascope.learn.plan import Machine
from somascope.learn.prototypes import nearest
from somascope.models.inputs import picture

SIZE = 32
GRID = Grid.from_spacing((1, SIZE, SIZE), (1.0, 1.0, 1.0))
METHODS: tuple[Method, ...] = ("gradcam", "layercam", "eigencam", "gradients", "occlusion")


def drawn(kind: int, rng: np.random.Generator, *, mark: bool) -> Array:
    """A lump (0) or a rod (1) in noise, perhaps with a mark in a corner, uint8."""
    y, x = np.mgrid[:SIZE, :SIZE] - rng.uniform(12, SIZE - 10, 2)[:, None, None]
    angle = rng.uniform(0, np.pi)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    long, wide = (3.0, 3.0) if kind == 0 else (8.0, 1.4)
    shape = np.exp(-0.5 * ((along / long) ** 2 + (across / wide) ** 2))
    values = 60 + 20 * rng.normal(size=(SIZE, SIZE)) + 110 * shape
    if mark:
        values[2:6, 2:6] = 230
    return np.clip(values, 0, 255).astype(np.uint8)


def data_set(count: int, *, marked: bool, seed: int) -> Dataset:
    """Lumps and rods; half of each have the mark, or (``marked``) nine of ten lumps and no rod."""
    rng = np.random.default_rng(seed)
    cases: list[Case] = []
    for split, n in (("train", count), ("val", count // 3)):
        for i in range(n):
            mark = (i % 2 == 0 and i % 20 != 0) if marked else i // 2 % 2 == 0
            values = drawn(i % 2, rng, mark=mark)
            name = f"{split}_{i:03d}"
            image = picture(values, name)
            cases.append(Case(name, name, lambda image=image: image, split, i % 2))
    return Dataset("lumps", "classify", ("nodule", "vessel"), tuple(cases))


def row(pictures: list[Array], *, gap: int = 6) -> Array:
    """Side by side on white."""
    high = max(p.shape[0] for p in pictures)
    return np.concatenate(
        [
            np.pad(p, [(0, high - p.shape[0]), (0, gap), (0, 0)], constant_values=255)
            for p in pictures
        ],
        axis=1,
    )


def large(values: Array) -> Array:
    """A gray picture as colours, four times as large."""
    big, _ = enlarged(np.repeat(values[..., None], 3, axis=2), least=128)
    return big


def main(out: Path, *, steps: int = 200, count: int = 160) -> dict[str, float]:
    """Train with and without the mark, explain both; pictures go to ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        rows: list[Array] = []
        rng = np.random.default_rng(5)
        shown = Image(drawn(0, rng, mark=True)[None], GRID)
        for name in ("clean", "marked"):
            data = data_set(count, marked=name == "marked", seed=1)
            plan = planned(data, budget_minutes=5, machine=Machine(2, "", 8.0))
            network = {"kind": "resnet", "inputs": 1, "outputs": 2, "dimensions": 2,
                       "widths": [8, 16], "blocks": 1, "norm": "instance"}  # fmt: skip
            # Shifted little: a mark stays in its corner.
            augment = {**plan.augment, "rotate": 5.0, "shift": 0.03, "scale": 0.05}
            plan = replace(plan, network=network, batch=16, rate=5e-3, augment=augment)
            model = Path(folder) / name
            make(data, model, chosen=plan, steps=steps, thumbnails=True)
            tiles = [large(shown.data[0])]
            for method in METHODS:
                found = explain(model, shown, method=method, target="nodule", anyway=True)
                values = np.maximum(found.map.data[0], 0)
                corner = float(values[:8, :8].sum() / max(float(values.sum()), 1e-9))
                figures[f"{name} {method} in the corner"] = round(corner, 3)
                big = values.repeat(4, axis=0).repeat(4, axis=1)
                tiles.append(heat(big, below=large(shown.data[0]), opacity=0.9))
            rows.append(row(tiles))
            what = explain(model, shown, method="counterfactual", target="nodule", anyway=True)
            found = what.counterfactual
            assert found is not None
            filled = found.filled[0]
            filled = np.clip((filled - filled.min()) / np.ptp(filled) * 255, 0, 255)
            region = found.region.repeat(4, axis=0).repeat(4, axis=1)
            outlined = large(shown.data[0])
            outlined[region] = (0.5 * outlined[region] + (127, 60, 0)).astype(np.uint8)
            alike = nearest(model, shown, count=3)
            small = [a.picture[8:40, 8:40] for a in alike if a.picture is not None]
            tiles = [outlined, large(filled.astype(np.uint8)), *(large(s) for s in small)]
            Picture.fromarray(row(tiles)).save(out / f"explain-{name}.png", optimize=True)
            figures[f"{name} flipped by"] = round(found.share if found.flipped else 1.0, 3)
            figures[f"{name} region in the corner"] = round(
                float(found.region[:8, :8].sum() / max(int(found.region.sum()), 1)), 3
            )
        wide = max(r.shape[1] for r in rows)
        padded = [np.pad(r, [(0, 6), (0, wide - r.shape[1]), (0, 0)], constant_values=255)
                  for r in rows]  # fmt: skip
        Picture.fromarray(np.concatenate(padded)).save(out / "explain-maps.png", optimize=True)
    return figures


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/images")
    print(json.dumps(main(target, steps=int(sys.argv[2]) if len(sys.argv) > 2 else 200), indent=1))
