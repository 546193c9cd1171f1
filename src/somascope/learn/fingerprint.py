"""What a data set is like: sizes, voxels, values, classes; and cases that leak between splits."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from somascope.core import QUIET, Progress
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.learn.datasets import Case, Dataset
from somascope.models.prepare import oriented

LOOKED_AT = 64
"""Cases that are opened for sizes and values; spread over the data set."""
OUTLINED = 12
"""Cases whose label maps are opened."""


@dataclass(frozen=True)
class Fingerprint:
    """Facts a plan is made from; every list has one number per axis ``(z, y, x)``.

    ``box_small`` and ``box_median`` are the 5th and 50th percentile of boxes' least sides, in
    pixels of pictures, in mm of volumes (of the cases that were opened).
    ``single`` is the median of the longest sides of objects that are classified one by one, in mm
    (pixels of pictures), 0 where whole images are.
    ``thin`` is how thick the things to segment are, in voxels, 0 where nothing is segmented.
    """

    task: str
    cases: int
    patients: int
    dimensions: int
    channels: int
    shape_median: tuple[float, ...]
    shape_large: tuple[float, ...]
    same_shape: bool
    spacing_median: tuple[float, ...]
    spacing_low: float
    spacing_high: float
    pictures: bool
    value_low: float
    value_high: float
    value_spread: float
    class_counts: tuple[int, ...]
    levels: int = 256
    box_small: float = 0.0
    box_median: float = 0.0
    thin: float = 0.0
    single: float = 0.0


def fingerprint(dataset: Dataset, *, progress: Progress = QUIET) -> Fingerprint:
    """Open some cases and describe all.

    ``shape_large`` is the 95th percentile; ``value_low`` and ``value_high`` are the extremes of the
    cases' 1st and 99th percentiles, ``value_spread`` how many times larger the 99th percentile of
    the brightest case is than that of the darkest; ``levels`` the most different values of a case.
    """
    cases = dataset.cases
    if not cases:
        raise ParameterError(f"{dataset.name} has no cases")
    some = [cases[i] for i in np.linspace(0, len(cases) - 1, min(len(cases), LOOKED_AT), dtype=int)]
    shapes: list[tuple[int, ...]] = []
    spacings: list[tuple[float, ...]] = []
    values: list[tuple[float, float]] = []
    channels, levels = 1, 0
    kinds: set[int] = set()
    pictures = True
    sides: list[Array] = []
    longest: list[float] = []
    for case in progress.over(some, "looking at the cases"):
        image = case.image()
        kinds.add(2 if image.grid.shape[0] == 1 else 3)
        if case.boxes is not None and image.grid.shape[0] > 1:
            sides.append((case.boxes[:, 3:6] - case.boxes[:, :3]) * np.asarray(image.grid.spacing))
        if case.box is not None:
            d = len(case.box) // 2
            longest.append(float(((case.box[d:] - case.box[:d]) * image.grid.spacing[-d:]).max()))
        image = oriented(image) if image.grid.shape[0] > 1 else image
        shapes.append(image.grid.shape)
        spacings.append(image.grid.spacing)
        low, high = np.percentile(image.data, (1, 99))
        values.append((float(low), float(high)))
        levels = max(levels, len(np.unique(image.data)))
        if [a.name for a in image.axes] == ["channel"] and not _gray(image.data):
            channels = 3
        pictures &= image.grid.shape[0] == 1 and image.grid.spacing == (1.0, 1.0, 1.0)
    if len(kinds) > 1:
        raise ParameterError(f"{dataset.name} mixes pictures and volumes; train one kind at a time")
    dimensions = kinds.pop()
    shape, spacing = np.asarray(shapes, float), np.asarray(spacings)
    counts = Counter(c.label for c in cases) if dataset.task == "classify" else Counter()
    if not sides:  # pictures: their boxes need no millimetres, so all count
        sides = [c.boxes[:, 2:4] - c.boxes[:, :2] for c in cases if c.boxes is not None]
    small = middle = 0.0
    edges = np.concatenate(sides) if sides else np.zeros((0, dimensions))
    if len(edges):
        small, middle = (float(v) for v in np.percentile(edges.min(axis=1), (5, 50)))
        tally = Counter(int(k) for c in cases if c.boxes is not None for k in c.boxes[:, -1])
        counts = tally
    depths = [thickness(c.mask()) for c in some[:: max(len(some) // OUTLINED, 1)] if c.mask]
    depths = [d for d in depths if d > 0]
    tops = [v[1] for v in values if v[1] > 0]
    return Fingerprint(
        task=dataset.task, cases=len(cases), patients=len({c.patient for c in cases}),
        dimensions=dimensions, channels=channels,
        shape_median=tuple(np.median(shape, axis=0).tolist()),
        shape_large=tuple(np.percentile(shape, 95, axis=0).tolist()),
        same_shape=len(set(shapes)) == 1,
        spacing_median=tuple(np.median(spacing, axis=0).tolist()),
        spacing_low=float(spacing.min()), spacing_high=float(spacing.max()), pictures=pictures,
        value_low=min(v[0] for v in values), value_high=max(v[1] for v in values),
        value_spread=max(tops) / min(tops) if tops else 1.0,
        class_counts=tuple(counts.get(k, 0) for k in range(len(dataset.classes)))
        if counts else (),
        levels=levels,
        box_small=small, box_median=middle,
        thin=round(float(np.median(depths)), 2) if depths else 0.0,
        single=round(float(np.median(longest)), 2) if longest else 0.0,
    )  # fmt: skip


def thickness(labels: Array) -> float:
    """Four times the mean depth below the surface: of a plate its thickness, in voxels."""
    from scipy.ndimage import distance_transform_edt

    inside = labels[0] > 0 if labels.shape[0] == 1 else labels > 0
    depth: Array = np.asarray(distance_transform_edt(np.pad(inside, 1, mode="edge")))
    return 4.0 * float(depth[depth > 0].mean()) - 2.0 if inside.any() else 0.0


def _gray(data: Array) -> bool:
    return bool((data[0] == data[1]).all() and (data[1] == data[2]).all())


@dataclass(frozen=True)
class Leak:
    """Two cases that show the same thing; ``exact`` to the bit, else alike at 9 x 8 pixels."""

    first: str
    second: str
    exact: bool
    across: bool
    """Whether the two lie in different splits or belong to different patients."""


def duplicates(
    cases: Sequence[Case], *, distance: int = 0, progress: Progress = QUIET
) -> list[Leak]:
    """Pairs of cases with equal pixels, or equal difference hashes (64 bits, ``distance`` apart).

    Cost: every image is opened once. Near duplicates at ``distance`` 0 only: cropped, rescaled or
    re-encoded copies; small pictures of one organ are alike further away.
    """
    seen = {id(c.image): c for c in reversed(cases)}  # objects of one image are no copies
    cases = [c for c in cases if seen[id(c.image)] is c] if len(seen) < len(cases) else cases
    exact: dict[str, list[Case]] = defaultdict(list)
    alike: dict[int, list[Case]] = defaultdict(list)
    for case in progress.over(list(cases), "looking for duplicates"):
        data = case.image().data
        digest = hashlib.sha256(np.ascontiguousarray(data).tobytes() + str(data.shape).encode())
        exact[digest.hexdigest()].append(case)
        alike[difference_hash(data)].append(case)
    found: dict[tuple[str, str], Leak] = {}
    for same, groups in ((True, exact.values()), (False, alike.values())):
        for group in groups:
            for other in group[1:]:
                pair = (group[0].id, other.id)
                found.setdefault(pair, _leak(group[0], other, same))
    if distance:
        keys = list(alike)
        for i, a in enumerate(keys):
            for b in keys[i + 1 :]:
                if (a ^ b).bit_count() <= distance:
                    pair = (alike[a][0].id, alike[b][0].id)
                    found.setdefault(pair, _leak(alike[a][0], alike[b][0], False))
    return list(found.values())


def _leak(a: Case, b: Case, exact: bool) -> Leak:  # noqa: FBT001
    return Leak(a.id, b.id, exact, a.split != b.split or a.patient != b.patient)


def difference_hash(data: Array) -> int:
    """Which of neighbouring cells is brighter, 8 rows of 8 bits; of a volume its middle slices."""
    values = np.asarray(data, np.float32)
    while values.ndim > 3:
        values = values.mean(axis=0)
    planes = values if values.shape[0] < 4 else values[values.shape[0] // 4 :: values.shape[0] // 4]
    plane = planes.mean(axis=0)
    plane = np.pad(plane, [(0, max(m - n, 0)) for n, m in zip(plane.shape, (8, 9), strict=True)])
    rows, columns = (np.linspace(0, n, m + 1).astype(int) for n, m in zip(plane.shape, (8, 9),
                                                                          strict=True))  # fmt: skip
    cells = np.add.reduceat(np.add.reduceat(plane, rows[:-1], axis=0), columns[:-1], axis=1)
    cells = cells / (np.diff(rows)[:, None] * np.diff(columns)[None, :])
    bits = (cells[:, 1:] > cells[:, :-1]).reshape(-1)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
