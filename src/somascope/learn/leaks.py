"""Cases that show the same thing: equal, resized, re-encoded, mirrored or turned.

Every image becomes a small one of fixed size, its mean taken away and its length made one. Two are
alike where the distance of these, over all mirror images and quarter turns, is far below what
different cases of this very data set have: radiographs of one view resemble each other, and how
much differs from set to set. Candidates and proof are one, as all pairs are compared.
"""

from __future__ import annotations

import hashlib
import html
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from somascope.core import QUIET, Image, Progress
from somascope.core.errors import SomascopeError
from somascope.core.grid import Array, Float
from somascope.learn import pictures
from somascope.learn.datasets import Case, Dataset
from somascope.models.prepare import oriented

EDGES = {2: (24, 24), 3: (12, 12, 12)}
"""Size of the small images, of pictures and of volumes."""
PART = 0.15
"""Of the distance that few different cases undercut: copies are nearer than that."""
USUAL = 10.0
"""Per cent of different pairs that are nearer than the distance which counts as usual."""
MOST, FEW = 0.03, 200
"""The largest squared distance of copies; and pairs, below which it is a tenth of nothing known."""
PAIRS = 4000
BLOCK = 1024


@dataclass(frozen=True)
class Copy:
    """Two cases of one thing; ``how``: equal, alike, mirrored...; ``across``: what it leaks over.

    ``distance`` is that of the small images, 0 for equal ones; ``across`` is empty for two cases of
    one patient in one part.
    """

    first: str
    second: str
    how: str
    distance: float
    across: str


@dataclass(frozen=True)
class Checked:
    """What was found in a data set.

    Parameters
    ----------
    parts
        Cases by split (``""`` where the data set has none).
    shared
        Patients that are in several parts, with these.
    problems
        Cases that cannot be read, and why.
    """

    name: str
    parts: Mapping[str, int]
    patients: int
    copies: tuple[Copy, ...]
    shared: tuple[tuple[str, tuple[str, ...]], ...]
    problems: tuple[tuple[str, str], ...]

    @property
    def leaks(self) -> tuple[Copy, ...]:
        """The copies that lie in two parts, or belong to two patients."""
        return tuple(c for c in self.copies if c.across)


def checked(dataset: Dataset, *, progress: Progress = QUIET) -> Checked:
    """Look for copies, for patients in several parts, and for cases that cannot be read.

    Every image is opened once, one at a time; ``n`` cases cost ``n`` times ``n`` products of some
    hundred numbers.
    """
    exact: dict[str, list[int]] = defaultdict(list)
    small: dict[int, list[tuple[int, Float]]] = {2: [], 3: []}
    problems: list[tuple[str, str]] = []
    cases = dataset.cases
    for i, case in enumerate(progress.over(list(cases), "looking at the cases")):
        try:
            image = case.image()
        except (SomascopeError, OSError) as error:
            problems.append((case.id, str(error)))
            continue
        data = np.ascontiguousarray(image.data)
        exact[hashlib.sha256(data.tobytes() + str(data.shape).encode()).hexdigest()].append(i)
        one = small_of(image)
        if one is not None:
            small[one.ndim].append((i, one))
    found: dict[tuple[int, int], tuple[str, float]] = {}
    for same in exact.values():
        found |= {(same[0], j): ("equal", 0.0) for j in same[1:]}
    for dimensions, each in small.items():
        if len(each) > 1:
            where = [i for i, _ in each]
            whose = np.unique([cases[i].patient for i in where], return_inverse=True)[1]
            images = np.stack([v for _, v in each]).astype(np.float32)
            for (a, b), what in alike(images, whose, dimensions, progress=progress).items():
                found.setdefault((where[a], where[b]), what)
    copies = [
        Copy(cases[a].id, cases[b].id, how, round(d, 5), _across(cases[a], cases[b]))
        for (a, b), (how, d) in found.items()
    ]
    return Checked(
        dataset.name, {s: len(dataset.of(s)) for s in sorted({c.split for c in cases})},
        len({c.patient for c in cases}),
        tuple(sorted(copies, key=lambda c: (not c.across, c.distance, c.first))),
        shared(cases), tuple(problems),
    )  # fmt: skip


def shared(cases: Sequence[Case]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Patients in several parts, with these."""
    parts: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        if case.split:
            parts[case.patient].add(case.split)
    return tuple((p, tuple(sorted(s))) for p, s in sorted(parts.items()) if len(s) > 1)


def _across(a: Case, b: Case) -> str:
    if a.split != b.split:
        return f"{a.split or 'no part'} and {b.split or 'no part'}"
    return "two patients" if a.patient != b.patient else ""


def small_of(image: Image) -> Float | None:
    """The image at `EDGES`, mean 0 and length 1; None where every value is one.

    Cells are exact means over their part of the image, so that a copy of another size has the same.
    """
    image = image if image.grid.shape[0] == 1 else oriented(image)
    values = np.nan_to_num(np.asarray(image.data, np.float64)).reshape(-1, *image.grid.shape)
    values = values.mean(axis=0)
    values = values[0] if values.shape[0] == 1 else values
    for axis, edge in enumerate(EDGES[values.ndim]):
        values = np.moveaxis(np.tensordot(_shares(values.shape[axis], edge), values, (1, axis)),
                             0, axis)  # fmt: skip
    values = values - values.mean()
    length = float(np.linalg.norm(values))
    return values / length if length > 1e-9 else None


def _shares(count: int, cells: int) -> Float:
    """How much of each of ``cells`` equal parts every one of ``count`` pixels is."""
    edges = np.linspace(0, count, cells + 1)
    pixels = np.arange(count)
    over = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    shares: Float = np.clip(over, 0, None) * (cells / count)
    return shares


def alike(
    images: Array, whose: Array, dimensions: int, *, progress: Progress = QUIET
) -> dict[tuple[int, int], tuple[str, float]]:
    """Pairs of `small_of` images ``(n, ...)`` that are copies: how, and their squared distance."""
    flat = images.reshape(len(images), -1)
    views = [(name, turned(images).reshape(len(images), -1)) for name, turned in turns(dimensions)]
    limit = _limit(flat, [v for _, v in views], whose)
    found: dict[tuple[int, int], tuple[str, float]] = {}
    starts = range(0, len(flat), BLOCK)
    for start in progress.over(starts, "comparing the cases"):
        rows = flat[start : start + BLOCK]
        for name, view in views:
            distance = 2.0 - 2.0 * (rows @ view[start:].T)
            for i, j in np.argwhere(distance < limit).tolist():
                pair, d = (start + i, start + j), max(float(distance[i, j]), 0.0)
                if i < j and d < found.get(pair, ("", np.inf))[1]:
                    found[pair] = (name or "alike", d)
    return found


def turns(dimensions: int) -> list[tuple[str, Callable[[Array], Array]]]:
    """All mirror images (and of pictures quarter turns) of images ``(n, ...)``, by name."""
    if dimensions == 3:
        made: list[tuple[str, Callable[[Array], Array]]] = []
        for axes in product((False, True), repeat=3):
            along = tuple(a + 1 for a, f in enumerate(axes) if f)
            name = "mirrored along " + ", ".join("zyx"[a - 1] for a in along) if along else ""
            made.append((name, lambda x, along=along: np.flip(x, along)))
        return made
    return [
        ("", lambda x: x),
        ("mirrored left to right", lambda x: x[:, :, ::-1]),
        ("mirrored top to bottom", lambda x: x[:, ::-1]),
        ("turned by 180 degrees", lambda x: x[:, ::-1, ::-1]),
        ("turned by 90 degrees", lambda x: np.rot90(x, 1, (1, 2))),
        ("turned by 270 degrees", lambda x: np.rot90(x, 3, (1, 2))),
        ("mirrored and turned", lambda x: x.swapaxes(1, 2)),
        ("mirrored and turned", lambda x: np.rot90(x, 2, (1, 2)).swapaxes(1, 2)),
    ]


def _limit(flat: Array, views: Sequence[Array], whose: Array) -> float:
    """The squared distance below which two images are copies."""
    rng = np.random.default_rng(0)
    pairs = rng.integers(len(flat), size=(PAIRS, 2))
    pairs = pairs[whose[pairs[:, 0]] != whose[pairs[:, 1]]]
    if len(flat) * (len(flat) - 1) // 2 < FEW or len(pairs) < FEW:
        return PART * 0.1
    a, b = pairs.T
    nearest = np.min([2.0 - 2.0 * np.einsum("ij,ij->i", flat[a], v[b]) for v in views], axis=0)
    return min(PART * float(np.percentile(nearest, USUAL)), MOST)


def page(result: Checked, dataset: Dataset, *, most: int = 40) -> str:
    """The findings as one HTML page, the first ``most`` pairs in pictures."""
    from somascope.learn.report import STYLE, image_tag

    text = html.escape
    there = {c.id: c for c in dataset.cases}
    parts = ", ".join(f"{n} {s or 'cases'}" for s, n in result.parts.items())
    said = (
        f"{len(result.copies)} pairs show the same thing, {len(result.leaks)} of them across parts "
        "or patients"
    )
    body = [
        f"<h1>Copies in {text(result.name)}</h1>",
        f"<p>{text(parts)}; {result.patients} patients. {said}.</p>",
    ]
    if result.shared:
        rows = "".join(f"<li>{text(p)}: {text(', '.join(s))}</li>" for p, s in result.shared[:100])
        body.append(f"<h2>Patients in several parts: {len(result.shared)}</h2><ul>{rows}</ul>")
    if result.copies:
        body.append("<h2>Pairs</h2>")
    for copy in result.copies[:most]:
        shown = "".join(
            f"<figure>{image_tag(pictures.plain(there[n].image()), n)}"
            f"<figcaption>{text(n)}</figcaption></figure>"
            for n in (copy.first, copy.second)
        )
        over = f"; across {copy.across}" if copy.across else "; one patient, one part"
        body.append(f"<p>{shown}<br>{text(copy.how)}{text(over)} (distance {copy.distance:g})</p>")
    if len(result.copies) > most:
        rows = "".join(
            f"<tr><td>{text(c.first)}</td><td>{text(c.second)}</td><td>{text(c.how)}</td>"
            f"<td>{text(c.across)}</td></tr>"
            for c in result.copies[most:]
        )
        body.append(f"<table>{rows}</table>")
    if result.problems:
        rows = "".join(f"<li>{text(n)}: {text(r)}</li>" for n, r in result.problems[:100])
        body.append(f"<h2>Not read: {len(result.problems)}</h2><ul>{rows}</ul>")
    title = text(f"Copies in {result.name}")
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
        f"<style>{STYLE}</style>{''.join(body)}</html>\n"
    )
