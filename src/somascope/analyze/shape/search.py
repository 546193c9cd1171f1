"""Active shape models: a shape of the model drawn to the border it finds along its normals.

Coarse to fine. At every step each point says where along its normal the border is and how sure it
is of it; pose and modes are then solved for together (Gauss-Newton, only the way along the normal
counts), with what is usual of modes and size as prior.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from somascope.analyze.shape.evidence import REACH, blurred, costs, told, volume_of
from somascope.analyze.shape.frame import Frame
from somascope.analyze.shape.mesh import normals
from somascope.analyze.shape.model import Fitted, ShapeModel
from somascope.analyze.shape.procrustes import Similarity
from somascope.core import QUIET, Image, Progress
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float

STEPS = 15
"""At each level at most."""

TRUST = 150.0
"""Points of a surface that tell something of their own; neighbours tell the same."""

TURN = 0.15
"""Radians that one step turns at most, about."""

STARTS = 7
"""Places along an axis that a search begins at, at most."""

KEPT = 5
"""Beginnings that are followed through the two coarsest levels."""


def refined(
    model: ShapeModel, now: Fitted, offset: Float, weight: Float, *, limit: float
) -> Fitted:
    """One Gauss-Newton step: ``offset`` mm along each normal ``(n,)``, ``weight`` in 1/mm2."""
    d, k = model.d, len(model.variances)
    out = normals(now.points, model.faces)
    away = now.points - now.pose.shift
    turns = (
        (out[:, 1] * away[:, 0] - out[:, 0] * away[:, 1])[:, None]
        if d == 2 else np.cross(away, out)
    )  # fmt: skip
    local = out @ now.pose.rotation
    ways = now.pose.scale * np.einsum("knd,nd->nk", model.modes, local)
    grown = (away * out).sum(axis=1)[:, None]
    j = np.concatenate([out, turns, grown, ways], axis=1)
    wide = j * weight[:, None]
    normal, right = wide.T @ j, wide.T @ offset
    r = turns.shape[1]
    prior = np.zeros(j.shape[1])
    prior[:d] = 1e-6
    prior[d : d + r] = 1 / TURN**2
    mean, spread = model.card.log_size
    spread = max(spread, 0.02)
    prior[d + r] = 1 / spread**2
    right[d + r] -= (np.log(now.pose.scale) - mean) / spread**2
    prior[d + r + 1 :] = 1 / model.variances
    right[d + r + 1 :] -= now.b / model.variances
    step = np.linalg.solve(normal + np.diag(prior), right)
    assert len(step) == d + r + 1 + k
    turn = step[d : d + r]
    if d == 2:
        a = float(turn[0])
        spun = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    else:
        spun = Rotation.from_rotvec(turn).as_matrix()
    scale = now.pose.scale * float(np.exp(np.clip(step[d + r], -0.2, 0.2)))
    scale = float(np.exp(np.clip(np.log(scale), mean - 4 * spread, mean + 4 * spread)))
    pose = Similarity(scale, spun @ now.pose.rotation, now.pose.shift + step[:d])
    return model.posed(pose, model.bounded(now.b + step[d + r + 1 :], limit))


def search(
    model: ShapeModel,
    image: Image,
    *,
    kind: str = "profile",
    centre: Sequence[float] = (),
    limit: float = 3.0,
    progress: Progress = QUIET,
) -> Fitted:
    """The model's shape in an image.

    Parameters
    ----------
    kind
        ``profile`` (Mahalanobis), ``boundary`` (learned), or ``both`` added.
    centre
        About where the body is, LPS mm; by default it is looked for where it lay in training.
    limit
        Standard deviations that no mode goes beyond.

    Raises
    ------
    GeometryError
        An image of other dimensions, or a centre outside of it.
    ParameterError
        The model was made without images.
    """
    model.demand(image.grid, "the image")
    if not model.card.levels:
        raise ParameterError(
            f"the shape model {model.card.name!r} was made of masks alone and knows no image; "
            "train it with images (analyze.train_shape IMAGE MASK IMAGE MASK ...)"
        )
    frame = Frame.of(image.grid)
    volumes = blurred(
        volume_of(image), image.grid.spacing, model.card.step, levels=model.card.levels
    )
    look = _Look(model, kind, volumes, frame, limit)
    progress(0.1, "levels made")
    begun = _beginnings(look, image, centre)
    progress(0.3, f"{len(begun)} beginnings")
    top = model.card.levels - 1
    judge = max(top - 1, 0)
    for level in range(top, judge - 1, -1):
        begun = [look.run(level, b) for b in begun]
    now = min(begun, key=lambda f: look.missed(judge, f))
    progress(0.7, "begun")
    for level in range(judge - 1, -1, -1):
        now = look.run(level, now)
        progress(0.7 + 0.3 * (judge - level) / judge, f"level {level}")
    return now


class _Look:
    """One image, looked at with one model."""

    def __init__(
        self, model: ShapeModel, kind: str, volumes: list[Array], frame: Frame, limit: float
    ) -> None:
        self.model, self.kind, self.volumes = model, kind, volumes
        self.frame, self.limit = frame, limit

    def costs(self, level: int, points: Float) -> Array:
        along = normals(points, self.model.faces) * self.model.card.step * 2**level
        return costs(self.kind, self.model.evidence, level, self.volumes, self.frame, points, along)

    def run(self, level: int, now: Fitted) -> Fitted:
        step = self.model.card.step * 2**level
        share = min(1.0, TRUST / len(now.points)) / step**2
        for _ in range(STEPS):
            offset, sure = told(self.costs(level, now.points))
            new = refined(self.model, now, offset * step, sure * share, limit=self.limit)
            moved = float(np.sqrt(((new.points - now.points) ** 2).sum(axis=1).mean()))
            now = new
            if moved < 0.03 * step:
                break
        return now

    def missed(self, level: int, now: Fitted) -> float:
        """Cost where the shape is now, over the points; what is unusual of it costs too."""
        cost = self.costs(level, now.points)
        here = cost[:, REACH - 1 : REACH + 2].min(axis=1).mean()
        unusual = 0.5 * float((now.b**2 / self.model.variances).sum()) / len(cost)
        return float(here) + unusual


def _beginnings(look: _Look, image: Image, centre: Sequence[float]) -> list[Fitted]:
    """The mean shape where it looks best, at several places and sizes."""
    model, grid, card = look.model, image.grid, look.model.card
    extent = np.asarray(grid.shape, np.float64) - 1
    wide = extent > 0
    if centre:
        if len(centre) != 3:
            raise ParameterError(f"centre is {list(centre)}; give three numbers L, P, S in mm")
        index = grid.to_index(np.asarray(centre, np.float64))
        if (index[wide] < -0.5).any() or (index[wide] > extent[wide] + 0.5).any():
            raise GeometryError(
                f"centre {list(centre)} lies at voxel {np.round(index, 1).tolist()}, outside of "
                f"the image {grid.shape}; give L, P, S in mm"
            )
        places = np.where(wide, index, 0.0)[None]
    else:
        places = _lattice(look, extent, np.asarray(grid.spacing))
    mean, spread = card.log_size
    sizes = np.exp(mean + spread * np.array([-1.5, -0.75, 0.0, 0.75, 1.5]))
    begun = [
        model.posed(Similarity(s, np.eye(model.d), c), np.zeros(len(model.variances)))
        for c in look.frame.place(places) for s in sizes
    ]  # fmt: skip
    begun.sort(key=lambda f: look.missed(card.levels - 1, f))
    apart = card.step * 2 ** (card.levels - 1)
    chosen: list[Fitted] = []
    for one in begun:
        if all(np.abs(one.points - c.points).max() > apart for c in chosen):
            chosen.append(one)
        if len(chosen) == KEPT:
            break
    return chosen


def _lattice(look: _Look, extent: Float, spacing: Float) -> Float:
    """Voxel indices ``(m, 3)`` over where bodies lay in training, two coarse steps apart."""
    card = look.model.card
    gap = 2 * card.step * 2 ** (card.levels - 1) / spacing
    axes: list[Float] = []
    for a in range(3):
        if extent[a] == 0:
            axes.append(np.zeros(1))
            continue
        low, high = (
            np.clip(card.centre[a] + side * 2.0 * card.around[a], 0, 1) * extent[a]
            for side in (-1, 1)
        )
        count = int(np.clip(round((high - low) / gap[a]) + 1, 1, STARTS))
        axes.append(np.linspace(low, high, count) if count > 1 else np.array([(low + high) / 2]))
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
