"""Iterative solvers: plain functions of an operator and its samples.

All take ``(operator, y, *, iterations, x0, tolerance, callback, progress, ...)`` and give a
`Solution`. ``callback(i, x)`` is called after iteration ``i`` (from 1) with the current ``x`` (copy
it to keep it: the buffer is used again) and may return True to stop. ``tolerance`` ends
the iteration when the quantity named in each docstring falls below it; 0 never does. The precision
of ``y`` is kept, real or complex as ``operator.adjoint(y)`` is.
"""

from __future__ import annotations

from somascope.acquire.iteration import Callback, Solution, Watch
from somascope.acquire.krylov import cg, cgls, lsqr
from somascope.acquire.likelihood import mlem, osem
from somascope.acquire.proximal import admm, fista, pdhg

__all__ = [
    "Callback",
    "Solution",
    "Watch",
    "admm",
    "cg",
    "cgls",
    "fista",
    "lsqr",
    "mlem",
    "osem",
    "pdhg",
]
