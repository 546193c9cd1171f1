"""Pairs of points: the rigid, similarity or affine map that fits them, and how well."""

from __future__ import annotations

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
