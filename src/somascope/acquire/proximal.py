"""Solvers for ``1/2 |A x - y|^2 + prior(x)``: FISTA, PDHG, ADMM."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from somascope.acquire.iteration import (
    Callback,
    Solution,
    Watch,
    dot,
    largest,
    normal_of,
    samples,
    start,
)
from somascope.acquire.krylov import cg
from somascope.acquire.operators import norm
from somascope.acquire.priors import Prior
from somascope.core import QUIET, Operator, Progress
from somascope.core.errors import ParameterError
from somascope.core.grid import Array


def fista(
    operator: Operator,
    y: Array,
    *,
    prior: Prior | None = None,
    iterations: int = 50,
    x0: Array | None = None,
    step: float | None = None,
    normal: Operator | None = None,
    restart: bool = True,
    tolerance: float = 0.0,
    callback: Callback | None = None,
    progress: Progress = QUIET,
) -> Solution:
    """Accelerated proximal gradient for ``1/2 |A x - y|^2 + prior(x)`` (Beck and Teboulle 2009).

    Parameters
    ----------
    step
        At most ``1 / |A|^2``; by default from the power method.
    normal
        ``A^H A`` in a faster form (a Toeplitz operator); then ``A`` itself is used once.
    restart
        Drop the momentum when it points uphill (O'Donoghue and Candès 2015).

    Residuals: ``|A x - y| / |y|`` at the point of the gradient. Tolerance: of ``|x' - x| / |x'|``.
    """
    y = samples(operator, y, "fista")
    watch = Watch(iterations, tolerance, callback, progress, "fista")
    back = np.array(operator.adjoint(y))
    x = start(operator, x0, back)
    gram = normal_of(operator, normal)
    length = 1.0 / _lipschitz(gram, back) if step is None else float(step)
    if length <= 0:
        raise ParameterError(f"fista: step is {step}; give a positive number")
    energy = dot(y, y)
    z, t, work = x.copy(), 1.0, np.empty_like(x)
    while True:
        gradient = gram.forward(z)
        misfit = max(dot(z, gradient) - 2 * dot(z, back) + energy, 0.0)
        np.subtract(gradient, back, out=work)
        work *= -length
        work += z
        new = work.copy() if prior is None else np.asarray(prior.prox(work, length))
        np.subtract(new, x, out=work)
        change = float(np.linalg.norm(work)) / (float(np.linalg.norm(new)) or 1.0)
        uphill = restart and dot(z - new, work) > 0
        ahead = 1.0 if uphill else (1 + float(np.sqrt(1 + 4 * t * t))) / 2
        work *= 0.0 if uphill else (t - 1) / ahead
        np.add(new, work, out=z)
        x, t = new, ahead
        size = float(np.sqrt(energy)) or 1.0
        if watch.done(x, float(np.sqrt(misfit)) / size, change=change):
            return watch.solution(x)


def _lipschitz(gram: Operator, like: Array) -> float:
    # For a positive operator |A^H A| is itself the largest singular value.
    value = 1.05 * norm(gram, iterations=15, dtype=str(np.dtype(like.dtype)))
    if value == 0:
        raise ParameterError("the operator is zero: nothing can be reconstructed")
    return value


def pdhg(
    operator: Operator,
    y: Array,
    *,
    prior: Prior | None = None,
    terms: Sequence[tuple[Operator, Prior]] = (),
    weights: Array | None = None,
    iterations: int = 100,
    x0: Array | None = None,
    balance: float = 1.0,
    tolerance: float = 0.0,
    callback: Callback | None = None,
    progress: Progress = QUIET,
) -> Solution:
    """Primal-dual hybrid gradient (Chambolle and Pock 2011).

    Minimises ``1/2 |A x - y|_W^2 + sum g_i(K_i x) + prior(x)``: ``terms`` are the pairs
    ``(K_i, g_i)`` (total variation is ``(Gradient(shape), L1(weight, axis=0))``), ``weights`` the
    diagonal of ``W``. Each block is scaled by its own norm, so that millimetres and counts may
    meet. ``balance`` is the ratio of primal to dual step.

    Residuals: ``|A x - y| / |y|`` at the extrapolated point. Tolerance: of ``|x' - x| / |x'|``.
    """
    y = samples(operator, y, "pdhg")
    watch = Watch(iterations, tolerance, callback, progress, "pdhg")
    back = operator.adjoint(y)
    x = start(operator, x0, back)
    if balance <= 0:
        raise ParameterError(f"pdhg: balance is {balance}; give a positive number")
    # sigma_i = 1 / (balance |K_i|), tau = balance / sum |K_i|: tau sum_i sigma_i |K_i|^2 = 1.
    sizes = [float(np.sqrt(largest(operator, x)))]
    sizes += [float(np.sqrt(largest(k, x))) for k, _ in terms]
    tau = balance / sum(sizes)
    sigma = [1.0 / (balance * s) for s in sizes]
    q: Array = np.zeros(y.shape, np.result_type(y, x))
    duals: list[Array | None] = [None for _ in terms]
    energy = float(np.linalg.norm(y)) or 1.0
    bar = x.copy()
    while True:
        gap = operator.forward(bar) - y
        residual = float(np.linalg.norm(gap)) / energy
        # prox of the conjugate of 1/2 |. - y|_W^2
        q += sigma[0] * gap
        q /= 1 + sigma[0] if weights is None else 1 + sigma[0] / np.maximum(weights, 1e-12)
        slope = np.array(operator.adjoint(q))
        for i, (k, g) in enumerate(terms):
            v = k.forward(bar)
            held = duals[i]
            v = sigma[i + 1] * v if held is None else held + sigma[i + 1] * v
            # Moreau: prox of the conjugate is what prox of g leaves.
            v = v - sigma[i + 1] * g.prox(v / sigma[i + 1], 1.0 / sigma[i + 1])
            duals[i] = v
            slope += k.adjoint(v)
        slope *= -tau
        slope += x
        new = slope if prior is None else np.asarray(prior.prox(slope, tau))
        np.subtract(new, x, out=bar)
        change = float(np.linalg.norm(bar)) / (float(np.linalg.norm(new)) or 1.0)
        bar += new
        x = new
        if watch.done(x, residual, change=change):
            return watch.solution(x)


def admm(
    operator: Operator,
    y: Array,
    *,
    prior: Prior,
    transform: Operator | None = None,
    rho: float | None = None,
    inner: int = 8,
    normal: Operator | None = None,
    iterations: int = 30,
    x0: Array | None = None,
    tolerance: float = 0.0,
    callback: Callback | None = None,
    progress: Progress = QUIET,
) -> Solution:
    """Alternating directions for ``1/2 |A x - y|^2 + prior(K x)`` (Boyd et al. 2011, 6.4).

    ``transform`` is ``K`` (default identity). The quadratic step is ``inner`` iterations of `cg`,
    started from the last ``x``. ``rho`` (default ``0.1 |A|^2 / |K|^2``) weighs the coupling.

    Residuals: ``|K x - z| / |K x|``; tolerance is of the larger of that and ``|x' - x| / |x'|``.
    """
    y = samples(operator, y, "admm")
    watch = Watch(iterations, tolerance, callback, progress, "admm")
    back = np.array(operator.adjoint(y))
    x = start(operator, x0, back)
    gram = normal_of(operator, normal)
    split = 1.0 if transform is None else largest(transform, x)
    rho = 0.1 * _lipschitz(gram, x) / split if rho is None else float(rho)
    if rho <= 0:
        raise ParameterError(f"admm: rho is {rho}; give a positive number")
    system = _Shifted(gram, rho, transform)
    kx = np.array(x if transform is None else transform.forward(x))
    z, u = kx.copy(), np.zeros_like(kx)
    while True:
        held = z - u
        right = back + rho * (held if transform is None else transform.adjoint(held))
        new = cg(system, right.astype(x.dtype, copy=False), iterations=inner, x0=x).x
        change = float(np.linalg.norm(new - x)) / (float(np.linalg.norm(new)) or 1.0)
        x = new
        kx = x if transform is None else transform.forward(x)
        z = np.asarray(prior.prox(kx + u, 1.0 / rho))
        u += kx
        u -= z
        gap = float(np.linalg.norm(kx - z)) / (float(np.linalg.norm(kx)) or 1.0)
        if watch.done(x, gap, change=max(gap, change)):
            return watch.solution(x)


class _Shifted:
    """``N + rho K^H K``."""

    def __init__(self, gram: Operator, rho: float, transform: Operator | None) -> None:
        self.gram, self.rho, self.transform = gram, rho, transform
        self.domain = self.range = tuple(gram.domain)

    def forward(self, x: Array) -> Array:
        k = self.transform
        extra = x if k is None else k.adjoint(k.forward(x))
        return self.gram.forward(x) + self.rho * extra

    def adjoint(self, y: Array) -> Array:
        return self.forward(y)
