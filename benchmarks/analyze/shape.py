"""Shape models on real organs: search and cleaning on patients that were left out.

``shape.hippocampus`` (3-D, two joint bodies) and ``shape.left_ventricle`` (2-D) train on the part
of the development data that the networks' recipes train on, and are judged on the part that these
are judged on, so that the figures stand beside the networks' cards. The peer of the search is the
network where one of that name is installed, else the mean shape at its usual place and size; the
peer of the cleaning keeps the largest piece and fills holes. Settings of search and cleaning were
chosen after a look at ventricles that are held out here: those figures flatter. The heavy damage
was added after the light one had been seen to be mended better by the peer; both are told.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from benchmarks.register.case import shared
from somascope.analyze.shape.clean import cleaned
from somascope.analyze.shape.frame import Frame
from somascope.analyze.shape.mesh import filled
from somascope.analyze.shape.model import ShapeModel
from somascope.analyze.shape.procrustes import Similarity
from somascope.analyze.shape.search import search
from somascope.analyze.shape.texture import Appearance
from somascope.analyze.shape.train import build
from somascope.core import Grid, Image, Mask, Segment
from somascope.learn.datasets import Case, open_dataset, parted
from somascope.learn.metrics.regions import dice, hd95

Array = np.ndarray
FOLDS = 5


@dataclass(frozen=True)
class Known:
    """An image, its labels ``(z, y, x)``, and whose it is."""

    image: Image
    mask: Mask
    patient: str


def known(case: Case, classes: tuple[str, ...]) -> Known | None:
    """A case of a data set; None where a class is absent or has too few voxels for a shape."""
    assert case.mask is not None
    labels = case.mask()
    image = case.image()
    if image.data.ndim > 3:  # a grey picture in three equal channels
        image = Image(image.data[0], image.grid, image.modality)
    segments = tuple(Segment(k, name) for k, name in enumerate(classes, start=1))
    if min(np.count_nonzero(labels == s.number) for s in segments) < 40:
        return None
    labels = labels.astype(np.uint8)
    return Known(image, Mask(data=labels, grid=image.grid, segments=segments), case.patient)


def phantoms(count: int, seed: int) -> list[Known]:
    """Ellipses in noise: the smallest case, without data."""
    rng = np.random.default_rng(seed)
    out: list[Known] = []
    for k in range(count):
        y, x = np.indices((72, 72)) - (36 + 2 * rng.standard_normal(2))[:, None, None]
        a, b = 16 + 2 * rng.standard_normal(), 11 + rng.standard_normal()
        inside = (x / a) ** 2 + (y / b) ** 2 < 1
        values = gaussian_filter(inside.astype(float), 1.0) + 0.1 * rng.standard_normal(x.shape)
        grid = Grid.from_spacing((1, 72, 72), (1, 1, 1))
        mask = Mask(
            data=inside[None].astype(np.uint8), grid=grid, segments=(Segment(1, "ellipse"),)
        )
        out.append(Known(Image(values[None].astype(np.float32), grid, "MR"), mask, str(k)))
    return out


DAMAGE = {"lightly": (1.5, 0.8), "heavily": (2.2, 1.0)}
"""Radius of bites and tongues, and of islands, in sixths of a label's edge were it a cube."""


def damaged(labels: Array, rng: np.random.Generator, degree: str) -> Array:
    """What networks do when they fail: a bite, a tongue, an island, holes; each on one label."""
    large, small = DAMAGE[degree]
    out = labels.copy()
    flat = labels.shape[0] == 1
    index = np.moveaxis(np.indices(labels.shape), 0, -1).astype(float)
    for number in np.unique(labels[labels > 0]):
        inside = np.argwhere(labels == number)
        size = len(inside) ** (1 / (2 if flat else 3)) / 6
        middle = inside.mean(axis=0)
        far = inside[np.argsort(-np.linalg.norm(inside - middle, axis=1))[: len(inside) // 3]]
        for kind in ("bite", "tongue", "island"):
            at = far[rng.integers(len(far))].astype(float)
            if kind == "island":
                at += 4 * size * (at - middle) / max(np.linalg.norm(at - middle), 1)
            radius = size * (small if kind == "island" else large)
            ball = ((index - at) ** 2).sum(axis=-1) < radius**2
            if kind == "bite":
                out[ball & (out == number)] = 0
            else:
                out[ball & (out == 0)] = number
        out[(rng.random(out.shape) < 0.03) & (out == number)] = 0
    return out


def scores(found: Array, truth: Array, numbers: list[int]) -> list[float]:
    """Dice of each label."""
    return [dice(found == n, truth == n) for n in numbers]


def voxels(model: ShapeModel, points: Array, grid: Grid) -> Array:
    """The labels of a shape's points; segments are numbered from 1 here, as parts are."""
    return filled(model.mesh(points), Frame.of(grid), grid.shape)


def usual(model: ShapeModel, image: Image) -> Array:
    """The mean shape at its usual place: what is known without looking."""
    index = np.array(model.card.centre) * (np.array(image.grid.shape) - 1)
    place = Frame.of(image.grid).place(index[None])[0]
    scale = float(np.exp(model.card.log_size[0]))
    now = model.posed(Similarity(scale, np.eye(model.d), place), np.zeros(len(model.variances)))
    return voxels(model, now.points, image.grid)


def network(name: str) -> Callable[[Image], Array] | None:
    """The installed network's labels of an image."""
    from somascope.models import installed, load

    path = installed.models().get(name)
    if path is None:
        print(f"{name} is not installed (SOMASCOPE_MODELS); the peer is the mean", file=sys.stderr)
        return None
    model = load(path)

    def run(image: Image) -> Array:
        (found,) = model(image, anyway=True)
        assert isinstance(found, Mask)
        return np.asarray(found.data)

    return run


def judged(
    name: str, case: str, train: list[Known], held: list[Known], *, points: int, peer: str,
    appearance: bool,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Lines of every method of search, and of the cleaning."""
    start = time.perf_counter()
    model = build(
        [k.mask for k in train], [k.image for k in train], name=name, points=points,
        appearance=appearance,
    )  # fmt: skip
    spent = time.perf_counter() - start
    print(
        f"{name}: {len(train)} shapes, {len(model.mean)} points, {len(model.variances)} modes, "
        f"{spent:.0f} s; generalisation {model.card.generalisation[-1]:.2f} mm, specificity "
        f"{model.card.specificity[-1]:.2f} mm", file=sys.stderr,
    )  # fmt: skip
    numbers = [s.number for s in model.card.segments]
    other = network(peer) if peer else None
    beside = other or (lambda image: usual(model, image))
    fit = Appearance(model) if appearance else None

    def asm(kind: str) -> Callable[[Image], Array]:
        def run(image: Image) -> Array:
            found = search(model, image, kind="profile" if kind == "appearance" else kind)
            if kind == "appearance":
                assert fit is not None
                found, _ = fit.fit(image, found)
            return voxels(model, found.points, image.grid)

        return run

    kinds = ["profile", "boundary", "both", *(["appearance"] if appearance else [])]
    for kind in kinds:
        run, ours, peers = asm(kind), [], []
        run(held[0].image)
        beside(held[0].image)
        times: dict[str, list[float]] = {"ours": [], "peer": []}
        for one in held:
            for side, do, into in (("peer", beside, peers), ("ours", run, ours)):
                begin = time.perf_counter()
                found = do(one.image)
                times[side].append(1000 * (time.perf_counter() - begin))
                into.append(scores(found, one.mask.data, numbers))
        for k, segment in enumerate(model.card.segments):
            yield line(
                name, f"{case}, {kind}, {segment.label}", times, peer if other else "mean shape",
                "mean Dice of cases left out", np.mean([s[k] for s in ours]),
                np.mean([s[k] for s in peers]),
            )  # fmt: skip
    for degree in DAMAGE:
        yield from cleaning(name, case, model, held, numbers, degree)


def cleaning(
    name: str, case: str, model: ShapeModel, held: list[Known], numbers: list[int], degree: str
) -> Iterator[dict[str, Any]]:
    """HD95 of damaged masks before and after; the peer keeps the largest piece and fills holes."""
    from somascope.process.components import fill_holes, label

    def simple(mask: Mask) -> Array:
        out = np.zeros(mask.data.shape, np.uint8)
        for n in numbers:
            pieces, _ = label(mask.data == n)
            out[fill_holes(pieces == 1)] = n
        return out

    def ours(mask: Mask) -> Array:
        return cleaned(model, mask, numbers)[1]

    rng = np.random.default_rng(7)
    far: dict[str, list[float]] = {"before": [], "ours": [], "peer": []}
    times: dict[str, list[float]] = {"ours": [], "peer": []}
    for one in held:
        broken = Mask(
            data=damaged(one.mask.data, rng, degree), grid=one.mask.grid,
            segments=one.mask.segments,
        )  # fmt: skip
        found: dict[str, Array] = {"before": broken.data}
        for side, do in (("peer", simple), ("ours", ours)):
            begin = time.perf_counter()
            found[side] = do(broken)
            times[side].append(1000 * (time.perf_counter() - begin))
        for side, labels in found.items():
            each = [hd95(labels == n, one.mask.data == n, one.mask.grid.spacing) for n in numbers]
            far[side].append(float(np.nanmean(each)))
    before = np.mean(far["before"])
    yield line(
        name, f"{case}, masks {degree} damaged, cleaned, HD95 {before:.2f} before", times,
        "largest piece, holes filled", "mean HD95, mm", np.mean(far["ours"]), np.mean(far["peer"]),
    )  # fmt: skip


def line(
    name: str, case: str, times: dict[str, list[float]], peer: str, metric: str, ours: Any,
    theirs: Any,
) -> dict[str, Any]:  # fmt: skip
    both = {k: {"min": min(v), "median": statistics.median(v)} for k, v in times.items()}
    return {
        "name": name, "case": case, "ours_ms": both["ours"], "peer": peer, "peer_version": "",
        "peer_ms": both["peer"], "ratio": both["peer"]["median"] / both["ours"]["median"],
        "quality_metric": metric, "quality_ours": float(f"{float(ours):.4g}"),
        "quality_peer": float(f"{float(theirs):.4g}"),
    }  # fmt: skip


def _parts(place: str, classes: tuple[str, ...]) -> tuple[list[Known], list[Known], Any] | None:
    folder = shared(place)
    if folder is None:
        return None
    dataset = open_dataset(folder, "segment")
    train, held = parted(dataset.cases, folds=FOLDS)
    made = [[k for c in part if (k := known(c, classes))] for part in (train, held)]
    return made[0], made[1], dataset


def hippocampus(*, small: bool = False) -> Iterator[dict[str, Any]]:
    """Anterior and posterior hippocampus in one model."""
    if small:
        yield from judged(
            "shape.hippocampus", "phantoms", phantoms(10, 0), phantoms(3, 99), points=40, peer="",
            appearance=False,
        )  # fmt: skip
        return
    parts = _parts("msd_hippocampus", ("anterior", "posterior"))
    if parts is not None:
        train, held, _ = parts
        yield from judged(
            "shape.hippocampus", f"{len(train)} cases, {len(held)} left out", train, held,
            points=700, peer="segment.hippocampus", appearance=False,
        )  # fmt: skip


def ventricle(*, small: bool = False) -> Iterator[dict[str, Any]]:
    """The left ventricle in short-axis slices, parted by patient."""
    if small:
        yield from judged(
            "shape.left_ventricle", "phantoms", phantoms(10, 0), phantoms(3, 99), points=40,
            peer="", appearance=True,
        )  # fmt: skip
        return
    parts = _parts("sunnybrook_cmr_lv", ("left ventricle",))
    if parts is not None:
        train, held, _ = parts
        people = len({k.patient for k in train}), len({k.patient for k in held})
        yield from judged(
            "shape.left_ventricle",
            f"{len(train)} slices of {people[0]} patients, {len(held)} of {people[1]} left out",
            train, held, points=64, peer="segment.left-ventricle", appearance=True,
        )  # fmt: skip
