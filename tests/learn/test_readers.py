"""Films and follow-ups: what only the order tells, learned by a memory over an encoder."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from somascope.core import Axis, Grid, Image
from somascope.core.errors import CorruptFile, GeometryError, NotFound, ParameterError, Refused
from somascope.io import write
from somascope.learn.datasets import Dataset, open_dataset
from somascope.learn.datasets.cases import Case
from somascope.learn.datasets.sequences import in_slices
from somascope.learn.fingerprint import fingerprint
from somascope.learn.make import make, planned
from somascope.learn.plan import Machine
from somascope.learn.readers import reading
from somascope.models import load
from somascope.models.frames import as_slices, stacked

STEPS = 6


def film(rng, *, growing, size=16):
    """A disc that grows or shrinks from frame to frame: each frame alone tells nothing."""
    y, x = np.mgrid[:size, :size] - rng.uniform(6, 9, 2)[:, None, None]
    radii = np.linspace(1.5, 5.0, STEPS)
    radii = radii if growing else radii[::-1]
    frames = np.stack([(y**2 + x**2 <= r**2) * 120.0 + 60 for r in radii])
    return np.clip(frames + rng.normal(0, 8, frames.shape), 0, 255).astype(np.uint8)


def films(count, *, seed=0):
    """A data set of films ``(t, 1, y, x)`` as a cine series is read."""
    rng = np.random.default_rng(seed)
    grid = Grid.from_spacing((1, 16, 16), (8.0, 1.0, 1.0))
    axis = (Axis("t", tuple(0.04 * i for i in range(STEPS)), "s"),)
    cases = []
    for i in range(count):
        values = film(rng, growing=bool(i % 2))[:, None]
        image = Image(values, grid, "US", axes=axis)
        split = "train" if i < count // 2 else "val" if i < 3 * count // 4 else "test"
        cases.append(Case(f"f{i}", f"f{i}", lambda image=image: image, split, i % 2))
    return Dataset("films", "classify", ("shrinks", "grows"), tuple(cases), "US")


def test_a_film_is_a_volume_and_a_picture_stays():
    image = films(1).cases[0].image()
    volume = as_slices(image)
    assert volume.grid.shape == (STEPS, 16, 16)
    assert np.array_equal(volume.data, image.data[:, 0])
    assert volume.grid.spacing == pytest.approx((1.0, 1.0, 1.0))
    assert np.allclose(volume.grid.to_world((0, 3, 5)), image.grid.to_world((0, 3, 5)))
    flat = replace(image, data=image.data[0], axes=())
    assert as_slices(flat) is flat
    colour = replace(image, data=image.data[:3], axes=(Axis("channel"),))
    assert as_slices(colour) is colour
    again = stacked([replace(image, data=f, axes=()) for f in image.data])
    assert np.array_equal(again.data, volume.data)
    with pytest.raises(GeometryError, match="of one shape"):
        stacked([flat, replace(flat, data=flat.data[:, :8], grid=flat.grid.moved(
            start=(0, 0, 0), shape=(1, 8, 16), step=(1, 1, 1)))])  # fmt: skip


def test_a_memory_learns_what_grows_and_what_shrinks(tmp_path):
    data = films(40)
    facts = in_slices(data)[0]
    plan = planned(facts, budget_minutes=1, machine=Machine(1, "", 8.0))
    augment = {"shift": 0.05, "noise": 0.02}
    plan = replace(plan, augment=augment, batch=8, rate=1e-2, average=0.9,
                   network={**plan.network, "widths": [4, 8]})  # fmt: skip
    card, trained = make(data, tmp_path / "model", chosen=plan, memory="gru", steps=30)
    assert trained.history[-1]["auc"] > 0.95
    assert card.frames
    model = load(tmp_path / "model")
    held = data.of("test")
    said = [model(c.image(), anyway=True)[0].concept for c in held]
    truth = [card.classes[c.label].code for c in held]
    assert np.mean([a == b for a, b in zip(said, truth, strict=True)]) > 0.8
    backwards = replace(held[0].image(), data=held[0].image().data[::-1])
    assert model(backwards, anyway=True)[0].concept != said[0]  # the order is what counts


def test_a_card_without_frames_refuses_a_film(tmp_path):
    data = films(8)
    volumes, _ = in_slices(data)
    plan = planned(volumes, budget_minutes=1, machine=Machine(1, "", 8.0))
    plan = replace(plan, network={**plan.network, "widths": [4, 8]}, batch=4)
    make(volumes, tmp_path / "model", chosen=plan, steps=1)
    with pytest.raises(Refused, match="2-D"):
        load(tmp_path / "model")(data.cases[0].image())


def test_examinations_in_order_from_a_table(tmp_path):
    rng = np.random.default_rng(1)
    grid = Grid.from_spacing((1, 16, 16), (1, 1, 1))
    rows = []
    for i in range(4):
        names = []
        for t, frame in enumerate(film(rng, growing=bool(i % 2))[:3]):
            write(Image(frame[None], grid), tmp_path / f"p{i}_{t}.png")
            names.append(f"p{i}_{t}.png")
        rows.append({"label": "grows" if i % 2 else "shrinks", "files": ";".join(names),
                     "patient": f"p{i}", "split": "train"})  # fmt: skip
    path = tmp_path / "follow-ups.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    data = open_dataset(path, "classify")
    assert data.classes == ("grows", "shrinks")
    assert [c.patient for c in data.cases] == ["p0", "p1", "p2", "p3"]
    sizes = [(c.image().data > 120).sum(axis=(1, 2)) for c in data.cases]
    assert all((s[2] > s[0]) == (c.label == 0) for s, c in zip(sizes, data.cases, strict=True))
    path.write_text("label,files\ngrows,none.png\nshrinks,none.png\n")
    with pytest.raises(NotFound, match=r"none\.png"):
        open_dataset(path, "classify")
    path.write_text("kind,files\n")
    with pytest.raises(CorruptFile, match="columns label and files"):
        open_dataset(path, "classify")


def test_thick_slices_are_read_one_by_one_and_thin_ones_are_not():
    rng = np.random.default_rng(0)

    def volumes(apart):
        cases = []
        for i in range(10):
            values = rng.normal(100, 10, (8, 20, 20)).astype(np.float32)
            image = Image(values, Grid.from_spacing(values.shape, (apart, 1.0, 1.0)), "MR")
            cases.append(Case(f"c{i}", f"c{i}", lambda image=image: image, "", i % 2))
        return Dataset("stacks", "classify", ("a", "b"), tuple(cases), "MR")

    kinds = {}
    for apart in (1.2, 5.0):
        made = planned(volumes(apart), budget_minutes=1, machine=Machine(1, "", 8.0))
        kinds[apart] = made.network["kind"]
        assert ("memory" in made.reasons) == (apart == 5.0)
    assert kinds[5.0] == "reader"
    assert kinds[1.2] != "reader"
    assert fingerprint(volumes(5.0)).spacing_median[0] == 5.0
    with pytest.raises(ParameterError, match="choose one of"):
        reading(made, memory="paper")
    with pytest.raises(ParameterError, match="to classify volumes"):
        reading(replace(made, dimensions=2))
