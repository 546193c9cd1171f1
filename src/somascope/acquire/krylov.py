"""Krylov solvers for least squares: CG, CGLS, LSQR. See `somascope.acquire.solvers`."""

from __future__ import annotations

import numpy as np

from somascope.acquire.iteration import Callback, Solution, Watch, dot, samples, start
from somascope.core import QUIET, Operator, Progress
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array


def cg(
    operator: Operator,
    y: Array,
    *,
    iterations: int = 30,
    x0: Array | None = None,
    tolerance: float = 0.0,
    callback: Callback | None = None,
    progress: Progress = QUIET,
) -> Solution:
    """Conjugate gradients for ``A x = y``, ``A`` Hermitian and positive (Hestenes, Stiefel 1952).

    Residuals and tolerance: ``|y - A x| / |y|``.

    Raises
    ------
    GeometryError
        ``A`` does not map its domain to itself, or ``y`` does not fit.
    ParameterError
        Samples that are not finite; an operator that is not positive.
    """
    if tuple(operator.domain) != tuple(operator.range):
        raise GeometryError(
            f"cg needs an operator of one space; this maps {tuple(operator.domain)} to "
            f"{tuple(operator.range)}: take cgls, or the normal operator and A^H y"
        )
    y = samples(operator, y, "cg")
    watch = Watch(iterations, tolerance, callback, progress, "cg")
    x = start(operator, x0, y)
    r = y.copy() if x0 is None else y - operator.forward(x)
    p, work = r.copy(), np.empty_like(r)
    size = float(np.linalg.norm(y)) or 1.0
    rho = dot(r, r)
    while rho > 0:
        q = operator.forward(p)
        curvature = dot(p, q)
        if curvature <= 0:
            if curvature < -1e-6 * float(np.linalg.norm(p)) * float(np.linalg.norm(q)):
                raise ParameterError(
                    f"cg: <p, A p> = {curvature:.3g} is negative; the operator is not positive"
                )
            break
        alpha = rho / curvature
        x += np.multiply(p, alpha, out=work)
        r -= np.multiply(q, alpha, out=work)
        rho, before = dot(r, r), rho
        if watch.done(x, float(np.sqrt(rho)) / size):
            break
        p *= rho / before
        p += r
    return watch.solution(x)


def cgls(
    operator: Operator,
    y: Array,
    *,
    iterations: int = 30,
    x0: Array | None = None,
    damping: float = 0.0,
    tolerance: float = 0.0,
    callback: Callback | None = None,
    progress: Progress = QUIET,
) -> Solution:
    """Conjugate gradients on ``min |A x - y|^2 + damping |x|^2`` without forming ``A^H A``.

    Björck 1996, 7.4.1. Residuals: ``|A x - y| / |y|``; tolerance is of the gradient,
    ``|A^H (y - A x) - damping x| / |A^H y|``.
    """
    y = samples(operator, y, "cgls")
    watch = Watch(iterations, tolerance, callback, progress, "cgls")
    s = operator.adjoint(y)
    scale = float(np.linalg.norm(s)) or 1.0
    x = start(operator, x0, s)
    if x0 is None:
        r, s = y.astype(np.result_type(y, s), copy=True), np.array(s)
    else:
        r = y - operator.forward(x)
        s = np.array(operator.adjoint(r)) - damping * x
    p, work = s.copy(), np.empty_like(s)
    size = float(np.linalg.norm(y)) or 1.0
    gamma = dot(s, s)
    while gamma > 0:
        q = operator.forward(p)
        curvature = dot(q, q) + damping * dot(p, p)
        if curvature <= 0:
            break
        alpha = gamma / curvature
        x += np.multiply(p, alpha, out=work)
        r -= alpha * q
        s = operator.adjoint(r)
        if damping:
            s = s - damping * x
        gamma, before = dot(s, s), gamma
        if watch.done(x, float(np.linalg.norm(r)) / size, change=float(np.sqrt(gamma)) / scale):
            break
        p *= gamma / before
        p += s
    return watch.solution(x)


def lsqr(
    operator: Operator,
    y: Array,
    *,
    iterations: int = 30,
    x0: Array | None = None,
    damping: float = 0.0,
    tolerance: float = 0.0,
    callback: Callback | None = None,
    progress: Progress = QUIET,
) -> Solution:
    """``min |A x - y|^2 + damping |x - x0|^2`` by bidiagonalisation (Paige and Saunders 1982).

    As `cgls` in exact arithmetic, steadier for ill-conditioned operators. Residuals: the damped
    residual over ``|y|``; tolerance is of ``|A^H r| / (|A| |r|)``, as in the paper.
    """
    y = samples(operator, y, "lsqr")
    watch = Watch(iterations, tolerance, callback, progress, "lsqr")
    size = float(np.linalg.norm(y)) or 1.0
    first = operator.adjoint(y)
    x = start(operator, x0, first)
    u = np.array(y if x0 is None else y - operator.forward(x), np.result_type(y, first))
    beta = float(np.linalg.norm(u))
    if beta == 0:
        return watch.solution(x)
    u /= beta
    v = np.array(operator.adjoint(u))
    alpha = float(np.linalg.norm(v))
    if alpha == 0:
        return watch.solution(x)
    v /= alpha
    w = v.copy()
    phi, rho_bar, frobenius, damp = beta, alpha, 0.0, float(np.sqrt(damping))
    extra = 0.0
    while True:
        u *= -alpha
        u += operator.forward(v)
        beta = float(np.linalg.norm(u))
        if beta > 0:
            u /= beta
        frobenius += alpha**2 + beta**2 + damping
        v *= -beta
        v += operator.adjoint(u)
        alpha = float(np.linalg.norm(v))
        if alpha > 0:
            v /= alpha
        # Two plane rotations: the first removes the damping, the second the subdiagonal beta.
        turned = float(np.hypot(rho_bar, damp))
        extra += (phi * damp / turned) ** 2
        phi *= rho_bar / turned
        rho = float(np.hypot(turned, beta))
        c, s = turned / rho, beta / rho
        theta, rho_bar = s * alpha, -c * alpha
        x += (c * phi / rho) * w
        w *= -theta / rho
        w += v
        phi *= s
        residual = float(np.sqrt(phi**2 + extra))
        gradient = alpha * abs(c) * phi / (np.sqrt(frobenius) * residual) if residual else 0.0
        if watch.done(x, residual / size, change=float(gradient)):
            break
        if alpha == 0 or beta == 0 or residual < 1e-15 * size:
            break
    return watch.solution(x)
