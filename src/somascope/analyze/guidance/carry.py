"""From the planning image to the frame the patient lies in: points, masks, and how sure.

Planning is the moving image, what is seen in the theatre the fixed one: a map leads from the
theatre to the plan, and its inverse carries the plan.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from somascope.acquire.rigid import centre_of, matrix, parameters
from somascope.analyze.guidance.paths import Path
from somascope.analyze.register import apply, register
from somascope.analyze.register.engine import about, judged
from somascope.analyze.register.evidence import home
from somascope.analyze.register.landmarks import Accuracy, accuracy
from somascope.analyze.register.landscape import residual
from somascope.analyze.register.levels import at, scaled
from somascope.analyze.register.verdict import Registered
from somascope.analyze.register.views import located
from somascope.core import QUIET, Acquisition, Grid, Image, Mask, Progress, Warp
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Float

By: TypeAlias = Literal["fiducials", "rigid", "bends"]
AROUND = 20.0
"""mm about the target within which the images are held against each other."""
REACH = 10.0
"""mm to each side that are looked at there, and at least `STEPS` voxels."""
STEPS = 3
LEAST = 2.0
"""mm, and more than a voxel, by which the images have to ask for another place at the target before
a registration is held to be wrong there. Not tuned: an error that matters beside an instrument."""


@dataclass(frozen=True, eq=False)
class Carried:
    """A map from the theatre to the plan, with what it makes of points and how sure it is.

    ``warp``: theatre to planning; ``fiducials``: what pairs of points tell, where given;
    ``pose``: covariance of the pose of X-ray views (`register.views.located`), and the point about
    which it turns; ``instrument``: mm, root mean square error of the instrument, added to every
    target.
    """

    warp: Registered
    by: str
    fiducials: Accuracy | None = None
    pose: tuple[Float, Float] | None = None
    instrument: float = 0.0

    def points(self, planned: ArrayLike) -> Float:
        """Points ``(..., 3)`` of the plan in the theatre, LPS mm."""
        given = np.asarray(planned, np.float64)
        return home(self.warp, given.reshape(-1, 3)).reshape(given.shape)

    def path(self, planned: Path) -> Path:
        """A planned path where it lies now; bent where the map bends."""
        return replace(planned, way=self.points(planned.way))

    def shift(self, planned: ArrayLike) -> float:
        """Mm between where a point is carried, and where the linear part alone takes it."""
        stiff = replace(self.warp, grid=None, displacement=None, backward=None)
        given = np.asarray(planned, np.float64).reshape(1, 3)
        return float(np.linalg.norm(home(self.warp, given) - home(stiff, given)))

    def mask(self, planned: Mask, like: Grid | None) -> Mask:
        """A mask of the plan in the theatre: on that grid, or turned as it is (X-ray views)."""
        if like is not None:
            return apply(planned, _free(self.warp), like, order="nearest")
        affine = np.linalg.inv(self.warp.matrix) @ planned.grid.affine
        affine[3] = (0, 0, 0, 1)
        return replace(planned, grid=Grid(planned.grid.shape, affine, self.warp.fixed_frame))

    def covariance(self, place: Float, misfit: Float | None = None) -> Float:
        """``(3, 3)`` mm2 of a carried point at ``place`` in the theatre.

        Of the fiducials where the map is theirs; of the pose of X-ray views; where images were
        matched, the misfit found there (``(3, 3)``, from `misfit`). The instrument's is added.
        """
        total = np.eye(3) * self.instrument**2 / 3
        if self.by == "fiducials" and self.fiducials is not None:
            total = total + self.fiducials.covariance(place)
        if self.pose is not None:
            total = total + _of_pose(self.warp, self.pose, place)
        return total if misfit is None else total + misfit


def carried(
    theatre: Image,
    planning: Image,
    *,
    by: By = "rigid",
    fiducials: tuple[ArrayLike, ArrayLike] | None = None,
    fle: float | None = None,
    instrument: float = 0.0,
    accept: bool = False,
    progress: Progress = QUIET,
) -> Carried:
    """The map between an image of the theatre (CT, MR, ultrasound) and the planning image.

    Parameters
    ----------
    by
        ``fiducials``: by the pairs of points alone; ``rigid``: by the images, from the pairs where
        given (bone); ``bends``: a smooth map on top of that (brain, soft tissue).
    fiducials
        The same points ``(n, 3)`` in the theatre and in the plan, LPS mm.
    fle
        Localisation error of a pair, mm, where it is known.

    Raises
    ------
    ParameterError
        Fiducials are asked for and not given, or do not determine a map.
    """
    known = None if fiducials is None else accuracy(*fiducials, fle=fle)
    if by == "fiducials":
        if known is None:
            raise ParameterError("by='fiducials' needs the points in the theatre and in the plan")
        made = Registered(matrix=known.warp.matrix, preset="fiducials", **about(theatre, planning))
        made = judged(theatre, planning, made, landmarks=fiducials)
    else:
        preset = "rigid" if by == "rigid" else "followup"
        begin = None if known is None else known.warp
        made = register(theatre, planning, preset, start=begin, accept=accept, progress=progress)
    return Carried(made, by, known, instrument=instrument)


def carried_by_views(
    views: Acquisition,
    planning: Image,
    *,
    turn: float = 12.0,
    fiducials: tuple[ArrayLike, ArrayLike] | None = None,
    instrument: float = 0.0,
    progress: Progress = QUIET,
) -> Carried:
    """The map between an X-ray room and a planning CT, by computed radiographs.

    ``fiducials`` (room, plan) are where the search begins.
    """
    known = None if fiducials is None else accuracy(*fiducials)
    start = None if known is None else known.warp
    made, spread = located(views, planning, turn=turn, start=start, progress=progress)
    pose = _proper(spread), centre_of(planning.grid)
    return Carried(made, "views", known, pose, instrument)


@dataclass(frozen=True, eq=False)
class Misfit:
    """What the images say about a map at one place.

    ``shift`` mm by which they agree better, ``covariance`` ``(3, 3)`` mm2 of that shift and the
    resolution of the comparison; ``voxel`` mm, the longest edge of what was compared.
    """

    shift: float
    covariance: Float
    voxel: float

    def told(self, warp: Registered) -> Registered:
        """The map, not to be trusted where the images ask for another place."""
        if self.shift <= max(LEAST, self.voxel):
            return warp
        reason = f"at the target the images agree better when shifted by {self.shift:.1f} mm"
        known = warp.verdict
        verdict = replace(known, trusted=False, reasons=(*known.reasons, reason))
        return replace(warp, verdict=verdict, confidence=verdict.confidence)


def misfit(theatre: Image, planning: Image, warp: Registered, place: Float) -> Misfit:
    """What the images say about the map at one place.

    Within `AROUND` mm the carried image is held against shifts of itself up to `REACH`; the shift
    at which it agrees best is taken for an error, with the resolution of the comparison.

    Raises
    ------
    GeometryError
        The place lies outside the image of the theatre.
    """
    grid = theatre.grid
    spacing, shape = np.asarray(grid.spacing), np.asarray(grid.shape)
    index = grid.to_index(place)
    if (index < -0.5).any() or (index > shape - 0.5).any():
        raise GeometryError(
            f"the target lies at {np.round(place, 1).tolist()} mm, outside the image of the theatre"
        )
    start = np.clip(np.floor(index - AROUND / spacing), 0, shape - 1).astype(int)
    stop = np.clip(np.ceil(index + AROUND / spacing) + 1, start + 1, shape).astype(int)
    volume = scaled(theatre.data.reshape(theatre.grid.shape))
    cut = np.ascontiguousarray(volume[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))])
    edge = float(max(spacing[shape > 1].min(), 1.0))
    one, here = at(cut, grid.moved(start=start.tolist(), shape=cut.shape, step=(1, 1, 1)), edge)
    two, there = at(scaled(planning.data.reshape(planning.grid.shape)), planning.grid, edge)
    moved = apply(Image(two, there), _free(warp), Grid(here.shape, here.affine), fill=np.nan)
    size = np.where(np.asarray(here.shape) > 1, here.spacing, 0.0)
    far = [max(STEPS, int(np.ceil(REACH / s))) for s in here.spacing]
    steps, _ = residual(one, np.asarray(moved.data), reach=far)
    world = here.direction @ (np.asarray(steps) * size)
    resolution = here.direction * (size**2 / 12) @ here.direction.T
    shift = float(np.linalg.norm(world))
    return Misfit(shift, resolution + np.outer(world, world), float(size.max()))


def _free(warp: Warp) -> Warp:
    """The map without its frames of reference."""
    return Warp(matrix=warp.matrix, grid=warp.grid, displacement=warp.displacement)


def _proper(spread: Float) -> Float:
    """The covariance as told, symmetric and without negative spreads."""
    values, axes = np.linalg.eigh((spread + spread.T) / 2)
    return axes * np.maximum(values, 0) @ axes.T


def _of_pose(warp: Warp, pose: tuple[Float, Float], place: Float) -> Float:
    """Covariance of a point of the room from that of the pose, to first order."""
    spread, middle = pose
    planned = warp.matrix[:3, :3] @ place + warp.matrix[:3, 3]
    six = parameters(warp.matrix, middle)
    slopes = np.empty((3, 6))
    for k, step in enumerate(1e-3 * np.eye(6)):
        ends = [
            np.linalg.solve(matrix(six + s, middle), np.append(planned, 1.0))[:3]
            for s in (step, -step)
        ]
        slopes[:, k] = (ends[0] - ends[1]) / 2e-3
    return slopes @ spread @ slopes.T
