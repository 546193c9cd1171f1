"""Rigid, similarity and affine registration: many coarse starts, then Gauss-Newton.

Correlation where the two images have one contrast, otherwise mutual information: its score
function is a table over the joint histogram and its Fisher information the outer product of the
scores, so that both are Gauss-Newton steps of one kernel (compare Viola and Wells, Int. J.
Comput. Vis. 24 (1997) 137-154; Dowson and Bowden, PAMI 30 (2008) 180-185).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from somascope.analyze.register import affine_kernels as kernels
from somascope.analyze.register import descent
from somascope.analyze.register.levels import centre, pyramid
from somascope.analyze.register.starts import ROUGH, starts
from somascope.core.grid import Array, Float, Grid
from somascope.core.progress import QUIET, Progress
from somascope.core.tensors import is_tensor
from somascope.process.chunks import in_chunks

Kind: TypeAlias = Literal["rigid", "similarity", "affine"]
PARTS = 16
COARSE = 26
"""Voxels along the longest axis at which the starts that are ahead are followed."""
AHEAD = 12
"""Starts that are followed on after the first few steps."""
ALIKE = 0.6
"""Correlation under which the same contrast is doubted."""
BENT = 0.6
"""Share of a line's residual variance under which a curve is taken to be needed."""
DARK = 4
"""Bins that are background where both images are as dark."""
FEW = 60_000
"""Points that one processor is through with before others have begun."""
MOST_POINTS = 300_000
LEAST = 0.25
"""Share of the points that must lie in the moving image for a map to be considered."""

_NONE = np.zeros((kernels.BINS, kernels.BINS))


@dataclass(frozen=True)
class Linear:
    """A linear map (4x4, fixed to moving, LPS mm) and how well it fits."""

    matrix: Float
    score: float
    mutual: bool


def basis(kind: Kind, grid: Grid) -> Float:
    """Directions of the steps ``(12, k)``: shifts and matrix entries in world axes.

    An image of one slice moves in its plane only.
    """
    flat = [a for a in range(3) if grid.shape[a] > 1]
    axes = grid.direction[:, flat]
    columns = [np.concatenate([e, np.zeros(9)]) for e in axes.T]

    def entry(m: Float) -> Float:
        return np.concatenate([np.zeros(3), m.ravel()])

    n = len(flat)
    for i in range(n):
        for j in range(i + 1, n):
            turn = np.outer(axes[:, i], axes[:, j])
            columns.append(entry(turn - turn.T) / np.sqrt(2))
    if kind == "similarity":
        columns.append(entry(axes @ axes.T) / np.sqrt(n))
    if kind == "affine":
        for i in range(n):
            columns.append(entry(np.outer(axes[:, i], axes[:, i])))
            for j in range(i + 1, n):
                turn = np.outer(axes[:, i], axes[:, j])
                columns.append(entry(turn + turn.T) / np.sqrt(2))
    return np.ascontiguousarray(np.stack(columns, axis=1))


@dataclass(eq=False)
class _Stage:
    """Sampled points of one resolution."""

    f: Array
    points: Array
    volume: Array
    moving_grid: Grid
    middle: Float
    radius: float
    least: float
    """Points that must lie in the moving image."""

    def on(self, device: str | None) -> _Stage:
        """The same on a device of torch's; None stays."""
        if device is None:
            return self
        from somascope.analyze.register.sampled.gpu import placed

        some: Any = [placed(v, device) for v in (self.f, self.points, self.volume)]
        return replace(self, f=some[0], points=some[1], volume=some[2])

    def into(self, matrix: Float) -> Float:
        """Points to voxels of the moving volume under a world matrix."""
        shift = np.eye(4)
        shift[:3, 3] = self.middle
        return np.ascontiguousarray((np.linalg.inv(self.moving_grid.affine) @ matrix @ shift)[:3])

    def back(self, b: Float) -> Float:
        """The inverse of `into`."""
        whole = np.eye(4)
        whole[:3] = b
        shift = np.eye(4)
        shift[:3, 3] = -self.middle
        return self.moving_grid.affine @ whole @ shift


def stage(
    fixed: tuple[Array, Grid], moving: tuple[Array, Grid], edge: float, *,
    weight: Array | None = None,
) -> _Stage:  # fmt: skip
    """Both at voxels of ``edge`` mm; every voxel of the fixed one (where weighted) is a point."""
    return stages(fixed, moving, (edge,), weight=weight)[0]


def stages(
    fixed: tuple[Array, Grid], moving: tuple[Array, Grid], edges: tuple[float, ...], *,
    weight: Array | None = None, most: int = MOST_POINTS,
) -> list[_Stage]:  # fmt: skip
    """`stage` at each of the falling ``edges``."""
    ones, twos = (pyramid(*image, edges, blur=0.5) for image in (fixed, moving))
    counted = [None] * len(edges) if weight is None else pyramid(weight, fixed[1], edges)
    out: list[_Stage] = []
    for (f, fg), (m, mg), w in zip(ones, twos, counted, strict=True):
        index = np.argwhere(np.isfinite(f) if w is None else np.isfinite(f) & (w[0] > 0.5))
        if len(index) > most:
            keep = np.random.default_rng(0).permutation(len(index))[:most]
            index = index[np.sort(keep)]
        middle = centre(fg)
        points = fg.to_world(index) - middle
        values = f[index[:, 0], index[:, 1], index[:, 2]]
        radius = float(np.sqrt((points**2).sum(axis=1).mean())) or 1.0
        out.append(_Stage(
            np.ascontiguousarray(values, np.float32), np.ascontiguousarray(points, np.float32),
            np.ascontiguousarray(m, np.float32), mg, middle, radius,
            LEAST * len(index) * float(np.isfinite(m).mean()),
        ))  # fmt: skip
    return out


def linear(
    fixed: tuple[Array, Grid],
    moving: tuple[Array, Grid],
    *,
    kind: Kind = "affine",
    mutual: bool | None = False,
    reach: float = 30.0,
    start: Float | None = None,
    weight: Array | None = None,
    fine: float = 2.0,
    device: str | None = None,
    progress: Progress = QUIET,
) -> Linear:
    """The best linear map from points of ``fixed`` to points of ``moving``.

    Volumes are scaled to about 0..1 (`levels.scaled`). ``reach``: starting turns in degrees; with
    ``start`` (4x4) the search begins there alone. ``fine``: the smallest voxel edge used, mm.
    ``mutual``: compare by information instead of correlation; ``None``: as the values tell.
    ``device``: torch's for the steps after the search among the starts, whose volumes of 26 voxels
    a GPU would wait for.
    """
    extent = float(np.max(np.asarray(fixed[1].shape) * fixed[1].spacing))
    rough, coarse = max(extent / ROUGH, fine), max(extent / COARSE, fine)
    edges = [e for e in (coarse / 2, coarse / 4, coarse / 8) if e > fine * 1.3]
    every = stages(fixed, moving, (rough, coarse, *edges, fine), weight=weight)
    candidates = starts(fixed, moving, reach) if start is None else [np.asarray(start, np.float64)]
    # A slice in a volume moves in all directions of the volume.
    room = fixed[1] if 1 in moving[1].shape else moving[1]
    best, score = _searched(every, candidates, kind, room, mutual=bool(mutual))
    progress(0.3, "coarse search")
    if mutual is None and (score < ALIKE or unlike(every[1], best)):
        other, _ = _searched(every, candidates, kind, room, mutual=True)
        had, got = (measured(every[1], every[1].into(m))[0] for m in (best, other))
        mutual = got > 1.02 * had or unlike(every[1], other)
        best = other if mutual else best
    mutual = bool(mutual)
    for k, here in enumerate(every[2:]):
        progress(0.5 + 0.5 * k / len(edges or "."), f"level {k + 1}")
        best, score = _refine(
            here.on(device), best, basis(kind, room), mutual=mutual, rigid=kind != "affine",
            steps=8 if k < len(edges) else 12,
        )  # fmt: skip
    return Linear(best, score, mutual)


def _searched(
    every: list[_Stage], candidates: list[Float], kind: Kind, grid: Grid, *, mutual: bool
) -> tuple[Float, float]:
    """The best of all starts: a few steps of each, then more of those that are ahead."""
    rigid = basis("rigid", grid)
    ranked = [(0.0, m) for m in candidates]
    if len(candidates) > AHEAD:
        ranked = _many(every[0], candidates, rigid, mutual=mutual, rigid=True, steps=5)[:AHEAD]
    ranked = _many(every[1], [m for _, m in ranked], rigid, mutual=mutual, rigid=True, steps=12)
    if kind != "rigid":
        ranked = _many(
            every[1], [m for _, m in ranked[:3]], basis(kind, grid), mutual=mutual,
            rigid=kind != "affine", steps=12,
        )  # fmt: skip
    return ranked[0][1], ranked[0][0]


def unlike(here: _Stage, matrix: Float) -> bool:
    """Whether a curve explains the one image by the other much better than a line does.

    Correlation ratio (Roche et al., MICCAI 1998) against the square of the correlation, either way
    round: brightness of T1 tells that of FLAIR by a curve, that of FLAIR leaves two tissues open.
    """
    table = np.zeros((kernels.BINS, kernels.BINS))
    kernels.joint(here.f, here.points, here.volume, here.into(matrix), 0, len(here.f), table)
    if table.sum() < here.least:
        return False
    # What is dark in both is background, on which they agree in any case.
    table[:DARK, :DARK] = 0
    total = max(float(table.sum()), 1e-9)
    p, at_ = table / total, np.arange(kernels.BINS) / (kernels.BINS - 1)
    pf, pm = p.sum(axis=1), p.sum(axis=0)
    f, m = at_ - pf @ at_, at_ - pm @ at_
    line = float(f @ p @ m) ** 2 / max(float((pf @ f**2) * (pm @ m**2)), 1e-12)
    there = float(((p @ m) ** 2 / np.maximum(pf, 1e-12)).sum()) / max(float(pm @ m**2), 1e-12)
    back = float(((f @ p) ** 2 / np.maximum(pm, 1e-12)).sum()) / max(float(pf @ f**2), 1e-12)
    return 1 - max(there, back) < BENT * (1 - line)


def _many(
    here: _Stage,
    starts: list[Float],
    directions: Float,
    *,
    mutual: bool,
    rigid: bool,
    steps: int,
) -> list[tuple[float, Float]]:
    """Descend from every start; scores and world matrices, the best first."""
    found: list[tuple[float, Float] | None] = [None] * len(starts)

    def some(start: int, stop: int) -> None:
        for k in range(start, stop):
            b = here.into(starts[k])
            if mutual:
                b, score = _descend(
                    here, b, directions, mutual=True, rigid=rigid, steps=steps, parts=1, still=0.05
                )
            else:
                b, score = _compiled(here, b, directions, rigid=rigid, steps=steps, still=0.05)
            found[k] = score, here.back(b)

    in_chunks(some, len(starts))
    return sorted((f for f in found if f is not None), key=lambda f: -f[0])


def _refine(
    here: _Stage, matrix: Float, directions: Float, *, mutual: bool, rigid: bool, steps: int
) -> tuple[Float, float]:
    b = here.into(matrix)
    if mutual or len(here.f) > FEW or is_tensor(here.f):
        b, score = _descend(
            here, b, directions, mutual=mutual, rigid=rigid, steps=steps, parts=PARTS, still=1e-3
        )
    else:
        b, score = _compiled(here, b, directions, rigid=rigid, steps=steps, still=1e-3)
    return here.back(b), score


def _compiled(
    here: _Stage, b: Float, directions: Float, *, rigid: bool, steps: int, still: float
) -> tuple[Float, float]:
    """`_descend` by correlation on one processor, without a way back to Python."""
    best = np.empty((3, 4))
    score = descent.descend(
        here.f, here.points, here.volume, b, here.radius, directions, rigid, steps, still,
        here.least, best,
    )  # fmt: skip
    return best, float(score)


def _descend(
    here: _Stage, b: Float, directions: Float, *, mutual: bool, rigid: bool, steps: int,
    parts: int, still: float,
) -> tuple[Float, float]:  # fmt: skip
    """Levenberg-Marquardt from ``b``; the best map and its score (greater is better)."""
    best, best_score, damping = b, -np.inf, 1e-2
    kept: Float | None = None
    scores = _NONE
    for _ in range(steps):
        if mutual:
            score, scores = measured(here, b, parts=parts)
            sums = kept if score <= best_score else _equations(here, b, scores, True, parts)
        else:
            sums = _equations(here, b, scores, False, parts)
            score = kernels.correlation(sums)
            if sums[13, 13] < here.least:
                score = -np.inf
        if score > best_score:
            gain = score - best_score
            best, best_score, kept = b, score, sums
            damping = max(damping * 0.3, 1e-4)
            if gain < 1e-6:
                break
        else:
            damping = max(damping * 10, 0.1)
        if kept is None or damping > 1e3:
            break
        step = kernels.solve(kept, directions, mutual=mutual, damping=damping)
        size = float(np.sqrt((step**2).sum()))
        if not size > still:
            break
        b = kernels.advanced(best, step, here.radius, rigid=rigid, scale=min(1.0, 15.0 / size))
    return best, best_score


def _tensors(here: _Stage) -> tuple[Any, Any, Any]:
    """What of a stage lies on a device."""
    return here.f, here.points, here.volume


def _equations(here: _Stage, b: Float, scores: Float, mutual: bool, parts: int) -> Float:  # noqa: FBT001
    """The normal equations, summed in a fixed order."""
    if is_tensor(here.f):
        from somascope.analyze.register.sampled import gpu

        f, points, volume = _tensors(here)
        return gpu.equations(f, points, volume, b, here.radius, scores, mutual=mutual)
    sums = np.zeros((parts, 15, 15))
    n = len(here.f)

    def some(start: int, stop: int) -> None:
        for k in range(start, stop):
            kernels.equations(
                here.f, here.points, here.volume, b, here.radius, scores, mutual,
                n * k // parts, n * (k + 1) // parts, sums[k],
            )  # fmt: skip

    some(0, 1) if parts == 1 else in_chunks(some, parts)
    return sums.sum(axis=0)


def measured(here: _Stage, b: Float, *, parts: int = PARTS) -> tuple[float, Float]:
    """Normalised mutual information (0: none), and the table of scores."""
    tables = np.zeros((parts, kernels.BINS, kernels.BINS))
    inside = np.zeros(parts)
    n = len(here.f)

    def some(start: int, stop: int) -> None:
        for k in range(start, stop):
            inside[k] = kernels.joint(
                here.f, here.points, here.volume, b, n * k // parts, n * (k + 1) // parts,
                tables[k],
            )  # fmt: skip

    if is_tensor(here.f):
        from somascope.analyze.register.sampled import gpu

        f, points, values = _tensors(here)
        tables[0], inside[0] = gpu.joint(f, points, values, b)
    else:
        some(0, 1) if parts == 1 else in_chunks(some, parts)
    if inside.sum() < here.least:
        return -np.inf, _NONE
    p = kernels.density(tables.sum(axis=0))
    return kernels.information(p)[1], kernels.score_table(p)
