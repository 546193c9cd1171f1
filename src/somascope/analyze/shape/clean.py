"""Masks of networks cleaned by what is known of shape.

A shape of the model is drawn to the mask's border. A border that is far from every usual shape
(holes, bites, tongues, islands) pulls with a weight that goes to 0 with its distance (Geman and
McClure), so the parts that are right decide.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from somascope.analyze.measure.regions import tight
from somascope.analyze.shape import kernels
from somascope.analyze.shape.bodies import Field, field_of
from somascope.analyze.shape.correspond import Elastic
from somascope.analyze.shape.frame import Frame
from somascope.analyze.shape.mesh import filled, normals
from somascope.analyze.shape.model import Fitted, ShapeModel
from somascope.analyze.shape.procrustes import Similarity
from somascope.analyze.shape.search import refined
from somascope.core import QUIET, Mask, Progress
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float
from somascope.process.components import fill_holes, label

SAMPLES = 41
"""Along a normal, where the border is looked for."""

STEPS = 40

REACH = 0.12
"""Of the shape's length: how far a border may be off at the start and still count half or so."""

KEPT = 2.5
"""Voxel edges about a point of the shape within which a border that is right is kept."""

TRUST = 150.0
"""Points of a surface that tell something of their own."""


def borders(mask: Mask, numbers: Sequence[int]) -> list[Field]:
    """For each segment a field that is negative inside, mm to the border; probabilities from 0.5.

    Raises
    ------
    ParameterError
        A segment without voxels.
    """
    frame, spacing = Frame.of(mask.grid), mask.grid.spacing
    made: list[Field] = []
    for number in numbers:
        inside = _inside(mask, number)
        box = tight(inside)
        if box is None:
            raise ParameterError(
                f"segment {number} of the mask is empty; a shape cannot be cleaned of which "
                "nothing was found"
            )
        start = [b.start for b in box]
        made.append(field_of(fill_holes(inside[box]), start, frame, spacing))
    return made


def _inside(mask: Mask, number: int) -> Array:
    plane = mask.plane(number)
    return np.asarray(plane >= 0.5 if mask.fractional else plane).astype(bool)


def crossings(field: Field, points: Float, out: Float, reach: float) -> tuple[Float, Array]:
    """How far along each normal the field rises through 0 next, mm, and whether it does."""
    step = 2 * reach / (SAMPLES - 1)
    values = np.empty((len(points), SAMPLES), np.float32)
    kernels.lines(field.values, field.frame.index(points), field.frame.steps(out * step), values)
    a, b = values[:, :-1].astype(np.float64), values[:, 1:].astype(np.float64)
    rises = (a < 0) & (b >= 0)
    at = (np.arange(SAMPLES - 1) - SAMPLES // 2 + a / np.where(rises, a - b, -1.0)) * step
    at = np.where(rises, at, np.inf)
    nearest = np.abs(at).argmin(axis=1)
    found = at[np.arange(len(at)), nearest]
    return np.where(np.isfinite(found), found, 0.0), np.isfinite(found)


def drawn(
    model: ShapeModel,
    fields: Sequence[Field],
    begin: Fitted,
    *,
    limit: float,
    noise: float,
    reach: float,
) -> tuple[Fitted, Float, Float]:
    """The shape drawn to the borders; at the end the offsets (mm) and weights (0 to 1) ``(n,)``."""
    now = begin
    share = min(1.0, TRUST / len(model.mean))
    offset, weight = np.zeros(len(model.mean)), np.ones(len(model.mean))
    for step in range(STEPS):
        # First what is far counts too, at last what is within a few deviations.
        scale = max(3 * noise, reach * 0.85**step)
        offset, weight = _pull(model, fields, now.points, scale, max(2.5 * scale, 4 * noise))
        new = refined(model, now, offset, weight * share / noise**2, limit=limit)
        moved = float(np.abs(new.points - now.points).max())
        now = new
        if scale <= 3 * noise and moved < 0.02 * noise:
            break
    offset, weight = _pull(model, fields, now.points, 3 * noise, 8 * noise)
    return now, offset, weight


def _pull(
    model: ShapeModel, fields: Sequence[Field], points: Float, scale: float, reach: float
) -> tuple[Float, Float]:
    out = normals(points, model.faces)
    offset, weight = np.zeros(len(points)), np.zeros(len(points))
    for part, field in enumerate(fields):
        mine = model.parts == part
        far, there = crossings(field, points[mine], out[mine], reach)
        offset[mine] = far
        weight[mine] = np.where(there, 1 / (1 + (far / scale) ** 2) ** 2, 0.0)
    return offset, weight


def cleaned(
    model: ShapeModel,
    mask: Mask,
    numbers: Sequence[int],
    *,
    limit: float = 2.5,
    detail: bool = True,
    progress: Progress = QUIET,
) -> tuple[Fitted, Array]:
    """The shape that a mask shows, and its voxels: 1 + part inside, ``(nz, ny, nx)`` uint8.

    ``detail``: where the mask's border is near the shape, the border is kept as it is.
    """
    model.demand(mask.grid, "the mask")
    if len(numbers) != len(model.card.segments):
        raise ParameterError(
            f"the shape model {model.card.name!r} is of {len(model.card.segments)} segments "
            f"({', '.join(s.label for s in model.card.segments)}) and {len(numbers)} are given; "
            "name as many, in that order"
        )
    frame, fields = Frame.of(mask.grid), borders(mask, numbers)
    edge = float(np.linalg.norm(frame.back, axis=0)[np.array(mask.grid.shape) > 1].max())
    noise = max(0.5 * edge, float(np.sqrt(model.card.rest)))
    bodies = [_inside(mask, n) for n in numbers]
    best: tuple[float, Fitted, Float, Float] | None = None
    begun = _beginnings(model, bodies, frame)
    for begin in progress.over(begun, "fitting"):
        reach = REACH * begin.pose.scale * float(np.ptp(model.mean, axis=0).max())
        now, offset, weight = drawn(model, fields, begin, limit=limit, noise=noise, reach=reach)
        missed = 1.0 - float(weight.mean()) + 0.02 * float((now.b**2 / model.variances).mean())
        if best is None or missed < best[0]:
            best = missed, now, offset, weight
    assert best is not None
    _, now, offset, weight = best
    points = now.points
    if detail:
        mesh = model.mesh(points)
        elastic = Elastic(mesh)
        # A weight that comes and goes from point to point would leave spikes.
        share = np.clip(elastic.evened(np.where(weight > 0.25, 1.0, 0.0), -3) * 2 - 1, 0, 1)
        points = points + (share * offset)[:, None] * normals(points, model.faces)
        found = filled(model.mesh(points), frame, mask.grid.shape)
        found = _kept(found, bodies, model.parts, points, share > 0.5, frame, KEPT * edge)
    else:
        found = filled(model.mesh(points), frame, mask.grid.shape)
    return model.posed(now.pose, now.b), found


def _kept(
    found: Array, bodies: Sequence[Array], parts: Array, points: Float, right: Array, frame: Frame,
    reach: float,
) -> Array:  # fmt: skip
    """``found`` with the mask's own voxels within ``reach`` of points where its border is right.

    A surface of some hundred points rounds what the voxels say. Of each body the largest piece
    counts, without holes.
    """
    from scipy.spatial import KDTree

    own = np.zeros_like(found)
    near = np.zeros(found.shape, bool)
    for part, inside in enumerate(bodies):
        pieces, _ = label(inside)
        own[fill_holes(pieces == 1)] = part + 1
    for part in range(len(bodies)):
        mine = parts == part
        there = np.argwhere((found != own) & ((found == part + 1) | (own == part + 1)))
        if not len(there):
            continue
        far, at = KDTree(points[mine]).query(frame.place(there.astype(np.float64)))
        near[tuple(there[(far <= reach) & right[mine][at]].T)] = True
    return np.where(near, own, found)


def _beginnings(model: ShapeModel, bodies: Sequence[Array], frame: Frame) -> list[Fitted]:
    """The mean at the mask's middle, in the size usual and in that of the mask; and beside it."""
    every = np.zeros(bodies[0].shape, bool)
    for inside in bodies:
        labels, _ = label(inside)
        every |= labels == 1
    places = frame.place(np.argwhere(every).astype(np.float64))
    centre = (places.min(axis=0) + places.max(axis=0)) / 2
    middle = places.mean(axis=0)
    usual = float(np.exp(model.card.log_size[0]))
    across = np.ptp(model.mean, axis=0)
    own = float(np.median(np.ptp(places, axis=0) / across))
    none = np.zeros(len(model.variances))
    turn = np.eye(model.d)
    found = [
        model.posed(Similarity(s, turn, c), none) for s in (usual, own) for c in (centre, middle)
    ]
    # Where half is missing the middle is off by a quarter: along the longest way as well.
    away = np.zeros(model.d)
    away[int(across.argmax())] = 0.2 * usual * float(across.max())
    return [
        *found,
        *(model.posed(Similarity(usual, turn, middle + s * away), none) for s in (1, -1)),
    ]
