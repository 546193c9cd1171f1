"""2-D/3-D registration: where a volume lay when its radiographs were taken.

Radiographs of the volume are computed (`acquire.xray.projection`) and held against the measured
ones in a local normalisation, whose squared differences are the local correlation; Gauss-Newton
over the six numbers of the pose with central differences. The start is the best of a grid of turns,
each shifted by what the views' cross-correlation tells (compare Penney et al., IEEE TMI 17 (1998)
586-595; Markelj et al., Med. Image Anal. 16 (2012) 642-661).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Annotated

import numpy as np

from somascope.acquire.rigid import centre_of, matrix, parameters
from somascope.acquire.xray.correct import corrected
from somascope.acquire.xray.projection import Projection
from somascope.analyze.register.levels import at
from somascope.analyze.register.verdict import Registered, Verdict
from somascope.core import QUIET, Acquisition, Image, Param, Progress, Warp, operation
from somascope.core.errors import GeometryError
from somascope.core.grid import Array, Float, Grid
from somascope.process.filters import smooth

PIXELS = (48, 96, 192)
"""Detector pixels along the longer edge of each level."""
STEP = np.array([0.5, 0.5, 0.5, 0.4, 0.4, 0.4])
"""Half-width of the differences, mm and degrees, at the coarsest level."""
LEAST = 0.55
"""Local correlation under which a pose is not believed."""
WINDOW = 10.0
"""Pixels that err together, roughly, for the standard error."""
LOOSE = 5.0
"""Standard error in mm beyond which a direction is called undetermined."""


@operation("analyze.register_views")
def register_views_(
    acquisition: Acquisition,
    volume: Image,
    *,
    turn: Annotated[
        float, Param("Starting turns searched each way", unit="deg", minimum=0.0, maximum=60.0)
    ] = 12.0,
    progress: Progress = QUIET,
) -> Warp:
    """Register a volume to its radiographs: the rigid map from the X-ray room to the volume.

    The radiographs ``(views, rows, columns)`` are raw counts with their calibration, or line
    integrals; the volume is a CT in Hounsfield units, or attenuation of any scale.
    """
    return register_views(acquisition, volume, turn=turn, progress=progress)


def register_views(
    acquisition: Acquisition,
    volume: Image,
    *,
    turn: float = 12.0,
    start: Warp | None = None,
    progress: Progress = QUIET,
) -> Registered:
    """The rigid map from points of the X-ray room (LPS mm) to points of ``volume``.

    See `located`, which also gives its covariance.
    """
    return located(acquisition, volume, turn=turn, start=start, progress=progress)[0]


def located(
    acquisition: Acquisition,
    volume: Image,
    *,
    turn: float = 12.0,
    start: Warp | None = None,
    progress: Progress = QUIET,
) -> tuple[Registered, Float]:
    """The map of `register_views`, and the covariance ``(6, 6)`` of its pose.

    The pose is that of `acquire.rigid` about the middle of the volume: mm and degrees about L, P,
    S; the covariance is what the residual of the views tells.

    Parameters
    ----------
    acquisition
        Its operator is an `xray.projection` of one or several views, best some 90 degrees apart:
        one view alone leaves the depth open, which the verdict's notes tell in mm.
    turn
        Degrees about each axis within which the search begins.
    start
        A rigid warp to begin at, instead of the search.

    Raises
    ------
    GeometryError
        The acquisition is not one of X-ray views, or the volume is a slice or has several volumes.
    """
    scan = acquisition.operator
    if not isinstance(scan, Projection):
        raise GeometryError(
            f"register_views: the acquisition's operator is {getattr(scan, 'kind', scan)!r}; X-ray "
            "views (xray.projection) are registered"
        )
    if volume.data.ndim != 3 or 1 in volume.grid.shape:
        raise GeometryError(
            f"register_views: the volume has shape {volume.data.shape}; give one volume (z, y, x)"
        )
    raw = acquisition.unit == "{counts}"
    lines = corrected(acquisition) if raw else np.asarray(acquisition.samples, np.float32)
    matter = np.asarray(volume.data, np.float32)
    if volume.unit == "[hnsf'U]":
        matter = np.maximum(1 + matter / 1000, 0)
    middle = centre_of(volume.grid)
    stages = [_stage(lines, scan, matter, volume.grid, middle, n) for n in PIXELS]
    pose = np.zeros(6)
    if start is None:
        poses = _searched(stages[0], turn)
    else:
        poses = [parameters(start.matrix, middle)]
    progress(0.3, "starts")
    ranked = sorted(
        (_descended(stages[0], p, steps=8)[:2] for p in poses), key=lambda found: -found[1]
    )
    pose, score = ranked[0]
    spread = np.eye(6)
    for k, stage in enumerate(stages[1:]):
        progress(0.5 + 0.25 * k, f"level {k + 2} of {len(stages)}")
        pose, score, spread = _descended(stage, pose, steps=8)
    before = stages[-1].score(np.zeros(6))
    sure = np.sqrt(np.maximum(np.diag(spread), 0))
    reasons = () if score >= LEAST else (
        f"local correlation of the radiographs is {score:.2f}, under {LEAST:g}",
    )  # fmt: skip
    notes = [f"standard error of the shift {', '.join(f'{s:.2f}' for s in sure[:3])} mm (L, P, S)"]
    if sure[:3].max() > LOOSE:
        notes.append("one direction is not determined by these views; add one from the side")
    verdict = Verdict(
        trusted=not reasons, reasons=reasons, notes=tuple(notes),
        before={"local_correlation": before}, after={"local_correlation": score},
    )  # fmt: skip
    progress(1.0, "trusted" if verdict.trusted else "do not trust")
    made = Registered(
        matrix=matrix(pose, middle), fixed_frame=scan.grid.frame_of_reference,
        moving_frame=volume.grid.frame_of_reference, provenance=volume.provenance,
        attributes=dict(volume.attributes), preset="views", verdict=verdict,
    )  # fmt: skip
    return replace(made, confidence=verdict.confidence), spread


@dataclass(frozen=True, eq=False)
class _Stage:
    """Views and volume at one resolution."""

    seen: Array
    matter: Array
    scan: Projection
    middle: Float

    def drawn(self, pose: Float) -> Array:
        """The normalised radiographs of the volume under a pose: the room moves, not the body."""
        m = matrix(pose, self.middle)
        turn = m[:3, :3].T

        def moved(points: Float) -> Float:
            return points @ turn + m[:3, 3]

        s = self.scan
        scan = Projection(
            grid=s.grid, sources=moved(s.sources), origins=moved(s.origins), rows=s.rows @ turn,
            columns=s.columns @ turn, shape=s.shape,
        )  # fmt: skip
        return normalised(scan.forward(self.matter))

    def score(self, pose: Float) -> float:
        """Mean local correlation of measured and computed views."""
        return _correlation(self.seen, self.drawn(pose))


def normalised(views: Array) -> Array:
    """Each view less its local mean, over its local deviation (with a floor for flat parts)."""
    out = np.empty(views.shape, np.float32)
    for k, view in enumerate(np.asarray(views, np.float32)):
        width = (0.0, max(view.shape) / 24, max(view.shape) / 24)
        mean = smooth(view[None], width)[0]
        away = view - mean
        power = smooth((away * away)[None], width)[0]
        out[k] = away / np.sqrt(power + np.float32(0.05 * float(power.mean()) + 1e-12))
    return out


def _correlation(a: Array, b: Array) -> float:
    return float((a * b).sum() / np.sqrt(max(float((a * a).sum() * (b * b).sum()), 1e-20)))


def _stage(
    lines: Array, scan: Projection, matter: Array, grid: Grid, middle: Float, pixels: int
) -> _Stage:
    """The views binned to about ``pixels`` along their longer edge, the volume to match."""
    bin_ = max(max(scan.shape) // pixels, 1)
    ny, nx = (n // bin_ for n in scan.shape)
    cut = lines[:, : ny * bin_, : nx * bin_].reshape(len(lines), ny, bin_, nx, bin_)
    shift = (bin_ - 1) / 2 * (scan.rows + scan.columns)
    far, near = scan.distances(0)
    edge = float(np.linalg.norm(scan.rows[0])) * bin_ * near / far
    small, coarse = at(matter, grid, edge)
    binned = Projection(
        grid=coarse, sources=scan.sources, origins=scan.origins + shift, rows=scan.rows * bin_,
        columns=scan.columns * bin_, shape=(ny, nx),
    )  # fmt: skip
    return _Stage(normalised(cut.mean(axis=(2, 4))), small, binned, middle)


def _searched(stage: _Stage, turn: float, *, keep: int = 3) -> list[Float]:
    """Poses to begin at: turns about the middle, each shifted as the views say."""
    some = (-turn, 0.0, turn) if turn > 0 else (0.0,)
    found: list[tuple[float, Float]] = []
    for angles in product(some, repeat=3):
        pose = np.concatenate([np.zeros(3), angles])
        for _ in range(2):
            pose = pose + _shift(stage, pose)
        found.append((stage.score(pose), pose))
    return [pose for _, pose in sorted(found, key=lambda f: -f[0])[:keep]]


def _shift(stage: _Stage, pose: Float) -> Float:
    """The change of the pose that the peak of each view's cross-correlation asks for."""
    drawn = stage.drawn(pose)
    scan = stage.scan
    rows: list[Float] = []
    wanted: list[float] = []
    for k, (a, b) in enumerate(zip(stage.seen, drawn, strict=True)):
        size = [2 * n for n in a.shape]
        peak = np.fft.irfft2(np.fft.rfft2(a, size) * np.conj(np.fft.rfft2(b, size)), size)
        y, x = np.unravel_index(int(peak.argmax()), peak.shape)
        dy, dx = (int(d) - n if d > n // 2 else int(d) for d, n in zip((y, x), size, strict=True))
        far, near = scan.distances(k)
        for step, pixels in ((scan.rows[k], dy), (scan.columns[k], dx)):
            # A body that moves by t is drawn t near / far further on; the room moves the other way.
            rows.append(step / np.linalg.norm(step))
            wanted.append(-pixels * float(np.linalg.norm(step)) * near / far)
    shift = np.asarray(np.linalg.pinv(np.stack(rows)) @ np.asarray(wanted), np.float64)
    return np.concatenate([shift, np.zeros(3)])


def _descended(stage: _Stage, pose: Float, *, steps: int) -> tuple[Float, float, Float]:
    """Levenberg-Marquardt: the pose, its score, and its covariance as the residual tells."""
    drawn = stage.drawn(pose)
    score, damping = _correlation(stage.seen, drawn), 1e-3
    # Differences as wide as a pixel of this level sees.
    size = STEP * min(48 / max(stage.scan.shape), 1.0)
    spread = np.eye(6)
    for _ in range(steps):
        slopes = np.stack([
            (stage.drawn(pose + d) - stage.drawn(pose - d)).ravel() / (2 * d[k])
            for k, d in enumerate(np.diag(size))
        ])  # fmt: skip
        left = (stage.seen - drawn).ravel()
        h = (slopes @ slopes.T).astype(np.float64)
        spread = np.linalg.pinv(h) * float(left @ left) / left.size * WINDOW
        for _ in range(4):
            step = np.linalg.solve(
                h + damping * np.diag(np.diag(h)) + 1e-9 * np.eye(6), slopes @ left
            )
            moved = stage.drawn(pose + step)
            got = _correlation(stage.seen, moved)
            if got > score:
                break
            damping = max(damping * 10, 1e-3)
        else:
            break
        pose, drawn, gain, score = pose + step, moved, got - score, got
        damping *= 0.3
        if gain < 1e-6:
            break
    return pose, score, spread
