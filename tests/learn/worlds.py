"""Tiny data sets with a known truth: bright discs, where a child sees the answer."""

import csv

import numpy as np

from somascope.core import Grid, Image, Mask, Segment
from somascope.io import write


def discs(rng, *, size=32, objects=1, bright=200.0):
    """A noisy picture, its label map and its boxes (y0, x0, y1, x1, edges)."""
    picture = rng.normal(60, 8, (size, size))
    labels = np.zeros((size, size), np.uint8)
    boxes = []
    y, x = np.mgrid[:size, :size]
    for i in range(objects):
        r = rng.uniform(4, 6)
        column = (i + 0.5) * size / objects
        cy, cx = rng.uniform(r + 1, size - r - 1), column + rng.uniform(-1, 1)
        inside = (y - cy) ** 2 + (x - cx) ** 2 <= r**2
        picture[inside] = rng.normal(bright, 8, inside.sum())
        labels[inside] = 1
        rows, columns = np.nonzero(inside.any(axis=1))[0], np.nonzero(inside.any(axis=0))[0]
        boxes.append((rows[0], columns[0], rows[-1] + 1, columns[-1] + 1))
    return np.clip(picture, 0, 255).astype(np.uint8), labels, boxes


def npz(path, *, count=48, seed=0):
    """MedMNIST's form: class 1 has a disc, class 0 none."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for split, n in (("train", count), ("val", count // 2), ("test", count // 2)):
        labels = np.arange(n) % 2
        images = [discs(rng, size=28, objects=int(k))[0] for k in labels]
        arrays |= {f"{split}_images": np.stack(images), f"{split}_labels": labels[:, None]}
    np.savez(path, **arrays)
    return arrays


def pairs(root, *, count=12, seed=0):
    """Folders images and labels of PNG files."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        picture, labels, _ = discs(rng, size=48)
        grid = Grid.from_spacing((1, 48, 48), (1, 1, 1))
        write(Image(picture[None], grid), root / "images" / f"case_{i:02d}.png")
        mask = Mask(data=labels[None], grid=grid, segments=(Segment(1, "disc"),))
        write(mask, root / "labels" / f"case_{i:02d}.png")
    return root


def ball(rng, *, shape=(12, 16, 14), spacing=(2.0, 1.0, 1.0)):
    """A volume with a bright ball, oblique on purpose, and its label map."""
    centre = np.asarray(shape) / 2 + rng.uniform(-1.5, 1.5, 3)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    distance = np.linalg.norm((index - centre) * spacing, axis=-1)
    labels = (distance < 5).astype(np.uint8)
    values = rng.normal(100, 10, shape) + 150.0 * labels
    a = 0.3
    direction = [[0, np.sin(a), np.cos(a)], [0, np.cos(a), -np.sin(a)], [1, 0, 0]]
    grid = Grid.from_spacing(shape, spacing, origin=(5, -20, 30), direction=direction)
    return Image(values.astype(np.float32), grid, "MR"), labels


def decathlon(root, *, count=8, seed=0):
    """Task folders of NIfTI volumes with a dataset.json."""
    import json

    rng = np.random.default_rng(seed)
    training = []
    for i in range(count):
        image, labels = ball(rng)
        write(image, root / "imagesTr" / f"ball_{i:03d}.nii.gz")
        mask = Mask(data=labels, grid=image.grid, segments=(Segment(1, "ball"),))
        write(mask, root / "labelsTr" / f"ball_{i:03d}.nii.gz")
        training.append({"image": f"./imagesTr/ball_{i:03d}.nii.gz",
                         "label": f"./labelsTr/ball_{i:03d}.nii.gz"})  # fmt: skip
    described = {"name": "Balls", "modality": {"0": "MRI"}, "training": training,
                 "labels": {"0": "background", "1": "ball"}}  # fmt: skip
    (root / "dataset.json").write_text(json.dumps(described))
    return root


def voc(root, *, count=12, seed=0):
    """Pascal VOC: corners count from 1 and include the last pixel."""
    rng = np.random.default_rng(seed)
    (root / "Annotations").mkdir(parents=True)
    (root / "ImageSets" / "Main").mkdir(parents=True)
    names = []
    for i in range(count):
        picture, _, boxes = discs(rng, size=64, objects=2)
        name = f"cells_{i:03d}"
        names.append(name)
        grid = Grid.from_spacing((1, 64, 64), (1, 1, 1))
        write(Image(picture[None], grid), root / "JPEGImages" / f"{name}.png")
        objects = "".join(
            f"<object><name>disc</name><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin>"
            f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
            for y0, x0, y1, x1 in boxes
        )
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>")
    cut = count * 3 // 4
    (root / "ImageSets" / "Main" / "train.txt").write_text("\n".join(names[:cut]))
    (root / "ImageSets" / "Main" / "val.txt").write_text("\n".join(names[cut:]))
    return root


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
