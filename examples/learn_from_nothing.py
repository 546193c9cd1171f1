"""From nothing to a model that is judged, explained and shipped: docs/tutorials/learn.md.

::

    python examples/learn_from_nothing.py docs/images [STEPS]

The pictures are drawn here: small lumps (nodules) and small rods (vessels) in noise.
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
from somascope.learn.datasets import open_dataset
from somascope.learn.evaluate import evaluate
from somascope.learn.explain import explain, input_of, opened
from somascope.learn.layers import Layer, bars, layers, mosaic
from somascope.learn.make import make, planned
from somascope.learn.pictures import enlarged, heat, plane_of
from somascope.learn.plan import Machine
from somascope.models import Preparation, load
from somascope.models.single import Shown, Single
from somascope.process.chart import Curve, chart

CLASSES = ("nodule", "vessel")


def drawn(kind: int, rng: np.random.Generator, *, size: int = 28) -> Array:
    """A lump (0) or a rod (1) somewhere in noise, ``(size, size)`` uint8."""
    y, x = np.mgrid[:size, :size] - rng.uniform(9, size - 9, 2)[:, None, None]
    angle = rng.uniform(0, np.pi)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    long, wide = (rng.uniform(2.6, 3.6),) * 2 if kind == 0 else (9.0, rng.uniform(1.2, 1.8))
    shape = np.exp(-0.5 * ((along / long) ** 2 + (across / wide) ** 2))
    picture = 60 + 20 * rng.normal(size=(size, size)) + rng.uniform(70, 130) * shape
    return np.clip(picture, 0, 255).astype(np.uint8)


def data_set(folder: Path, *, count: int = 240, seed: int = 0) -> Path:
    """A folder for each class with pictures in train, val and test."""
    rng = np.random.default_rng(seed)
    for split, n in (("train", count), ("val", count // 3), ("test", count // 3)):
        for i in range(n):
            name = CLASSES[i % 2]
            path = folder / split / name / f"{split}_{name}_{i:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Picture.fromarray(drawn(i % 2, rng)).save(path)
    return folder


def curve(history: list[dict[str, float]], *, size: tuple[int, int] = (420, 200)) -> Array:
    """The validation's AUC and the training loss over the steps."""
    steps = np.array([h["step"] for h in history])
    return chart(
        [
            Curve(steps, np.array([h["auc"] for h in history]), "AUC, validation"),
            Curve(steps, np.array([h["training_loss"] for h in history]), "loss, training", ink=1),
        ],
        across="step", up="", size=size,
    )  # fmt: skip


def stacked(rows: list[Array], *, gap: int = 6) -> Array:
    """Pictures under one another on white, gray ones as colours."""
    rows = [np.repeat(r[..., None], 3, axis=2) if r.ndim == 2 else r for r in rows]
    wide = max(r.shape[1] for r in rows)
    padded = [
        np.pad(r, [(0, gap), (0, wide - r.shape[1]), (0, 0)], constant_values=255) for r in rows
    ]
    return np.concatenate(padded)


def views(rng: np.random.Generator) -> Array:
    """What a network of single objects is shown of one: the crop, the whole picture, the mark."""
    y, x = np.mgrid[:96, :96]
    values = rng.normal(60, 8, (96, 96))
    for cy, cx, r in ((30, 62, 9), (70, 24, 13), (66, 74, 6)):
        values = np.where((y - cy) ** 2 + (x - cx) ** 2 <= r**2, values + 100, values)
    image = Image(values[None].astype(np.float32), Grid.from_spacing((1, 96, 96), (1, 1, 1)))
    how = Preparation(size=(1, 64, 64))
    views = Shown(image, how, Single(1.6, 28.0), channels=1).array([21, 53, 39, 71])
    return mosaic(views[:, 0], edge=160)


def walk(found: list[Layer]) -> Array:
    """LeNet's layers as one picture: maps get smaller and mean more, then they are numbers."""
    rows = [mosaic(one.values, most=16, edge=44) if one.values.ndim == 3
            else bars(one.values, height=40) for one in found]  # fmt: skip
    return stacked(rows)


def main(out: Path, *, steps: int = 300, count: int = 240) -> dict[str, float]:
    """Draw, plan, train, judge, explain; the tutorial's pictures go to ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        dataset = open_dataset(data_set(work / "lumps", count=count), "classify")
        plan = planned(dataset, budget_minutes=5, machine=Machine(2, "", 8.0))
        network = {"kind": "lenet", "inputs": 1, "outputs": 2, "size": 28}
        plan = replace(plan, network=network, batch=32, rate=3e-3)
        _, trained = make(dataset, work / "model", chosen=plan, steps=steps)
        model = load(work / "model")
        judged = evaluate(model, dataset, split="test", draws=200)
        card, _, inside = opened(work / "model")
        cases = dataset.of("test")
        some = [mosaic(np.stack([c.image().data[0] for c in cases[k : 8 + k]]), edge=56)
                for k in (0, len(cases) // 2)]  # fmt: skip
        Picture.fromarray(stacked(some)).save(out / "learn-data.png", optimize=True)
        shown = curve([dict(h) for h in trained.history])
        Picture.fromarray(shown).save(out / "learn-curve.png", optimize=True)
        case = cases[len(cases) // 2]
        x, _ = input_of(card, [case.image()])
        single = views(np.random.default_rng(5))
        Picture.fromarray(single).save(out / "learn-single.png", optimize=True)
        Picture.fromarray(walk(layers(inside, x))).save(out / "learn-lenet.png", optimize=True)
        rows: list[Array] = []
        faithful: list[float] = []
        for image in (cases[1].image(), case.image()):
            below, _ = plane_of(image)
            big, factor = enlarged(below, least=168)
            row = [big]
            for method in ("gradcam", "gradients", "occlusion"):
                found = explain(work / "model", image, method=method)
                values = np.maximum(found.map.data[0], 0)
                row.append(heat(values.repeat(factor, 0).repeat(factor, 1), below=big, opacity=0.9))
                faithful.append(found.insertion)
            rows.append(np.concatenate(row, axis=1))
        Picture.fromarray(stacked(rows)).save(out / "learn-explained.png", optimize=True)
        figures = {m.name: m.value for m in judged.metrics}
        figures["insertion"] = float(np.mean(faithful))
        return figures


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/images")
    print(json.dumps(main(target, steps=int(sys.argv[2]) if len(sys.argv) > 2 else 300), indent=1))
