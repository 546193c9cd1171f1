"""Pairs of points: the rigid, similarity or affine map that fits them, and what it is worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from somascope.analyze.register.affine import Kind
from somascope.core.errors import ParameterError
from somascope.core.finding import Warp
from somascope.core.grid import Float


def pairs(fixed: ArrayLike, moving: ArrayLike) -> tuple[Float, Float]:
    """Two arrays ``(n, 3)`` of as many points, or `ParameterError`."""
    a, b = np.asarray(fixed, np.float64), np.asarray(moving, np.float64)
    if a.ndim != 2 or a.shape != b.shape or a.shape[1] != 3:
        raise ParameterError(
            f"landmarks have shapes {a.shape} and {b.shape}; give as many points (n, 3) in the "
            "fixed as in the moving frame, LPS mm"
        )
    if len(a) < 3:
        raise ParameterError(f"{len(a)} pairs of landmarks are given; at least 3 are needed")
    return a, b


def fit(fixed: ArrayLike, moving: ArrayLike, *, kind: Kind = "rigid") -> Warp:
    """The least-squares map of points ``(n, 3)`` (Umeyama, PAMI 13 (1991) 376-380)."""
    a, b = pairs(fixed, moving)
    ca, cb = a.mean(axis=0), b.mean(axis=0)
    p, q = a - ca, b - cb
    if kind == "affine":
        if np.linalg.matrix_rank(p, tol=1e-6 * np.abs(p).max(initial=1.0)) < 3:
            raise ParameterError(
                "the landmarks lie in a plane, which leaves an affine map open; add one outside "
                "it, or fit a rigid map"
            )
        linear = np.linalg.lstsq(p, q, rcond=None)[0].T
    else:
        u, s, vt = np.linalg.svd(q.T @ p)
        if s[1] < 1e-9 * max(s[0], 1e-30):
            raise ParameterError("the landmarks lie on a line, which leaves a turn about it open")
        sign = np.diag([1.0, 1.0, float(np.sign(np.linalg.det(u @ vt)))])
        linear = u @ sign @ vt
        if kind == "similarity":
            linear *= float((s * np.diag(sign)).sum() / (p**2).sum())
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = cb - linear @ ca
    return Warp(matrix=matrix)


@dataclass(frozen=True, eq=False)
class Accuracy:
    """How well pairs of points tell a rigid map, and how far off a target must be expected.

    Parameters
    ----------
    warp
        The least-squares rigid map from the fixed to the moving frame.
    places
        The points ``(n, 3)`` in the fixed frame, LPS mm.
    left
        mm that are left at each pair, ``(n,)``.
    fre
        Fiducial registration error: root of their mean square, mm.
    fle
        Fiducial localisation error, mm: root mean square of the distance by which a pair is off,
        as given, or estimated by ``fre^2 = (1 - 2 / n) fle^2`` (Sibson 1979).
    fle_spread
        Standard uncertainty of ``fle``: an estimate from few pairs is itself uncertain; 0 where it
        was given.
    seen
        The points in the moving frame.

    Notes
    -----
    The residuals do not tell how good *this* registration is: to first order FRE and TRE are
    uncorrelated (Fitzpatrick, SPIE 7261 (2009) 726102). What they tell is the localisation error,
    and from it the expected target error follows.
    """

    warp: Warp
    places: Float
    left: Float
    fre: float
    fle: float
    fle_spread: float
    seen: Float

    @property
    def left_out(self) -> float | None:
        """Root mean square mm by which a pair is missed by the map of all others.

        None with fewer than four pairs, or when the others lie on a line.
        """
        a, b = self.places, self.seen
        squares: list[float] = []
        for k in range(len(a) if len(a) > 3 else 0):
            rest = np.arange(len(a)) != k
            try:
                other = fit(a[rest], b[rest])
            except ParameterError:
                return None
            squares.append(float(((_taken(other, a[k]) - b[k]) ** 2).sum()))
        return float(np.sqrt(np.mean(squares))) if squares else None

    def covariance(self, at: ArrayLike) -> Float:
        """``(3, 3)`` in mm2: of where a point of the fixed frame is taken, told in that frame.

        First order, equal and isotropic localisation errors: that of the shift, ``s^2 / n``, and
        that of the turn, ``s^2 J^-1`` with the fiducials' inertia ``J`` about their centroid
        (Fitzpatrick and West, IEEE TMI 20 (2001) 917-927; Danilchenko and Fitzpatrick, IEEE TMI 30
        (2011) 679-693).
        """
        centroid = self.places.mean(axis=0)
        p = self.places - centroid
        inertia = np.eye(3) * float((p**2).sum()) - p.T @ p
        x, y, z = np.asarray(at, np.float64) - centroid
        cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        turn = cross @ np.linalg.inv(inertia) @ cross.T
        return self.fle**2 / 3 * (np.eye(3) / len(p) + turn)

    def tre(self, at: ArrayLike) -> float:
        """Expected target registration error at a point, root mean square mm.

        ``tre^2 = fle^2 / n (1 + 1/3 sum_k d_k^2 / f_k^2)``, with the distances of target and
        fiducials from the fiducials' principal axes (Fitzpatrick, West and Maurer, IEEE TMI 17
        (1998) 694-702): the trace of `covariance`.
        """
        return float(np.sqrt(np.trace(self.covariance(at))))


def accuracy(fixed: ArrayLike, moving: ArrayLike, *, fle: float | None = None) -> Accuracy:
    """The rigid map of points ``(n, 3)`` and its expected errors.

    ``fle``: localisation error of a pair in mm (root mean square over both frames), where it is
    known from elsewhere.

    Raises
    ------
    ParameterError
        Fewer than three pairs, or pairs on a line.
    """
    a, b = pairs(fixed, moving)
    n = len(a)
    warp = fit(a, b)
    left = np.linalg.norm(_taken(warp, a) - b, axis=1)
    fre = float(np.sqrt((left**2).mean()))
    estimate = fre / np.sqrt(1 - 2 / n)
    # n fre^2 / (fle^2 / 3) is chi-squared of 3 n - 6 degrees of freedom.
    spread = 0.0 if fle is not None else estimate / np.sqrt(2 * (3 * n - 6))
    known = float(estimate if fle is None else fle)
    return Accuracy(warp, a, left, fre, known, float(spread), b)


def _taken(warp: Warp, at: Float) -> Float:
    return at @ warp.matrix[:3, :3].T + warp.matrix[:3, 3]
