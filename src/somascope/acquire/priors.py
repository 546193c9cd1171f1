"""What is known about an image before it is measured.

A `Prior` is a function ``g`` with ``value(x)`` and ``prox(x, step) = argmin_z 1/2 |z - x|^2 +
step g(z)``. Its weight is part of it: ``TV(0.01)`` is ``0.01 TV(x)``. All take real and complex
arrays of float32 or float64 precision and give back the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol, runtime_checkable

import numpy as np

from somascope.acquire.transforms import Wavelet
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array


@runtime_checkable
class Prior(Protocol):
    """A convex function (or a denoiser standing for one) with its proximal map."""

    def value(self, x: Array) -> float:
        """``g(x)``; infinite outside its domain."""
        ...

    def prox(self, x: Array, step: float) -> Array:
        """``argmin_z 1/2 |z - x|^2 + step g(z)``; leaves ``x`` alone."""
        ...


def _weight(value: float, name: str) -> None:
    if not (np.isfinite(value) and value >= 0):
        raise ParameterError(f"{name}: weight is {value}; give 0 or a positive number")


def soft(x: Array, threshold: float, *, axis: int | None = None) -> Array:
    """Shrink magnitudes by ``threshold``; with ``axis``, the norms along it (group shrinkage)."""
    kind = np.finfo(x.dtype).dtype.type
    if axis is None and x.dtype.kind != "c":
        return x - np.clip(x, kind(-threshold), kind(threshold))
    if axis is None:
        size = np.abs(x)
    else:
        size = np.sqrt(np.sum(np.real(x * np.conj(x)), axis=axis, keepdims=True))
    np.maximum(size, np.finfo(size.dtype).tiny, out=size)
    return x * np.maximum(1 - kind(threshold) / size, 0)


@dataclass(frozen=True)
class L1:
    """``weight sum |x|``; with ``axis``, ``weight`` times the sum of the norms along that axis.

    Over the first axis of a `Gradient` that is isotropic total variation.
    """

    weight: float
    axis: int | None = None

    def __post_init__(self) -> None:
        _weight(self.weight, "L1")

    def value(self, x: Array) -> float:
        """The weighted norm."""
        size = np.abs(x) if self.axis is None else np.linalg.norm(x, axis=self.axis)
        return self.weight * float(np.sum(size, dtype=np.float64))

    def prox(self, x: Array, step: float) -> Array:
        """Soft threshold at ``step * weight``."""
        return soft(x, step * self.weight, axis=self.axis)


@dataclass(frozen=True)
class NonNegative:
    """Values between ``lower`` and ``upper``; of complex arrays the real part, imaginary zero."""

    lower: float = 0.0
    upper: float = np.inf

    def __post_init__(self) -> None:
        if not self.lower < self.upper:
            raise ParameterError(f"NonNegative: lower {self.lower} is not below {self.upper}")

    def value(self, x: Array) -> float:
        """0 inside, infinite outside."""
        inside = (np.real(x) >= self.lower) & (np.real(x) <= self.upper) & (np.imag(x) == 0)
        return 0.0 if bool(np.all(inside)) else float("inf")

    def prox(self, x: Array, step: float) -> Array:  # noqa: ARG002  (a projection has no step)
        """The nearest allowed values."""
        kind = np.finfo(x.dtype).dtype.type
        return np.clip(np.real(x), kind(self.lower), kind(self.upper)).astype(x.dtype, copy=False)


@dataclass(frozen=True)
class TV:
    """Isotropic total variation over the last ``ndim`` axes (2 or 3), each other index by itself.

    Parameters
    ----------
    weight
        Of the variation; in units of the values.
    spacing
        Voxel sizes along those axes: differences are divided by them, relative to the smallest.
        Default: equal.
    iterations, tolerance
        Of the inner fast gradient projection.
    nonnegative
        Also require ``x >= 0`` (exact, in the same iteration); real arrays only.
    warm
        Start from the dual of the last call with this shape: few inner iterations then do, but
        a call depends on the one before. For use inside one solver run.
    """

    weight: float
    ndim: int = 2
    spacing: tuple[float, ...] | None = None
    iterations: int = 100
    tolerance: float = 1e-5
    nonnegative: bool = False
    warm: bool = False
    _duals: dict[tuple[int, ...], Array] = field(
        default_factory=dict[tuple[int, ...], Array], repr=False, compare=False
    )

    def __post_init__(self) -> None:
        _weight(self.weight, "TV")
        if self.ndim not in (2, 3):
            raise ParameterError(f"TV.ndim is {self.ndim}; give 2 or 3")
        if self.spacing is not None and (len(self.spacing) != self.ndim or min(self.spacing) <= 0):
            raise ParameterError(f"TV.spacing is {self.spacing}; give {self.ndim} positive numbers")

    @property
    def _scale(self) -> Array:
        steps = np.asarray(self.spacing or (1.0,) * self.ndim, np.float64)
        scale = np.zeros(3)
        scale[3 - self.ndim :] = steps.min() / steps
        return scale

    def _volumes(self, x: Array) -> Array:
        """``(n, nz, ny, nx, c)``, a copy that is contiguous."""
        if x.ndim < self.ndim:
            raise GeometryError(f"TV over {self.ndim} axes was given shape {x.shape}")
        flat = np.ascontiguousarray(x)
        c = 2 if x.dtype.kind == "c" else 1
        space = x.shape[x.ndim - self.ndim :]
        if self.ndim == 2:
            space = (1, *space)
        return flat.view(np.finfo(x.dtype).dtype).reshape(-1, *space, c)

    def value(self, x: Array) -> float:
        """``weight`` times the total variation."""
        from somascope.process.variation import variation

        return self.weight * sum(variation(v, self._scale) for v in self._volumes(x))

    def prox(self, x: Array, step: float) -> Array:
        """The image of Rudin, Osher and Fatemi (1992) for ``x``."""
        from somascope.process.variation import denoise

        if self.nonnegative and x.dtype.kind == "c":
            raise ParameterError("TV(nonnegative=True) was given complex values; leave it out")
        low = 0.0 if self.nonnegative else -np.inf
        volumes = self._volumes(x)
        out = np.empty_like(volumes)
        held = self._duals.get(volumes.shape) if self.warm else None
        kept: list[Array] = []
        for i, volume in enumerate(volumes):
            out[i], dual = denoise(
                volume,
                step * self.weight,
                scale=self._scale,
                iterations=self.iterations,
                tolerance=self.tolerance,
                low=low,
                held=None if held is None else held[i],
            )
            if self.warm:
                kept.append(dual)
        if self.warm:
            self._duals.clear()
            self._duals[volumes.shape] = np.stack(kept)
        return out.reshape(-1).view(x.dtype).reshape(x.shape)


@dataclass(frozen=True)
class WaveletL1:
    """``weight |W x|_1`` with an orthogonal wavelet over the last ``ndim`` axes.

    ``averages``: shrink the coarsest averages too. The map is exact where the sizes are multiples
    of ``2**levels``; otherwise it is that of the padded image, cut.
    """

    weight: float
    wavelet: str = "db4"
    levels: int = 4
    ndim: int = 2
    averages: bool = True
    _transforms: dict[tuple[int, ...], Wavelet] = field(
        default_factory=dict[tuple[int, ...], Wavelet], repr=False, compare=False
    )

    def __post_init__(self) -> None:
        _weight(self.weight, "WaveletL1")

    def _transform(self, shape: tuple[int, ...]) -> Wavelet:
        if shape not in self._transforms:
            self._transforms[shape] = Wavelet(
                shape, wavelet=self.wavelet, levels=self.levels, ndim=self.ndim
            )
        return self._transforms[shape]

    def value(self, x: Array) -> float:
        """The weighted sum of magnitudes."""
        w = self._transform(x.shape)
        c = np.abs(w.forward(x))
        if not self.averages:
            c[w.averages] = 0
        return self.weight * float(np.sum(c, dtype=np.float64))

    def prox(self, x: Array, step: float) -> Array:
        """Transform, shrink, transform back."""
        w = self._transform(x.shape)
        c = w.forward(x)
        shrunk = soft(c, step * self.weight)
        if not self.averages:
            shrunk[w.averages] = c[w.averages]
        return w.adjoint(shrunk)


@dataclass(frozen=True)
class LocallyLowRank:
    """``weight`` times the sum of singular values of every block's (voxel, frame) matrix.

    ``x`` is ``(frames, *rest)``; the last ``ndim`` axes are cut into blocks of ``block`` voxels,
    those at the border smaller (Trzasko and Manduca 2011). ``shift`` moves the lattice: a solver
    that alternates shifts removes the seams.
    """

    weight: float
    block: int = 8
    ndim: int = 2
    shift: int = 0

    def __post_init__(self) -> None:
        _weight(self.weight, "LocallyLowRank")
        if self.block < 1:
            raise ParameterError(f"LocallyLowRank.block is {self.block}; give at least 1")

    def _blocks(self, shape: tuple[int, ...]) -> list[tuple[slice, ...]]:
        if len(shape) < self.ndim + 1:
            raise GeometryError(
                f"LocallyLowRank over {self.ndim} axes was given shape {shape}; frames come first"
            )
        cuts: list[list[slice]] = []
        for n in shape[-self.ndim :]:
            edges = sorted({0, n, *range(self.shift % self.block, n, self.block)})
            cuts.append([slice(a, b) for a, b in pairwise(edges)])
        grids = np.meshgrid(*[np.arange(len(c)) for c in cuts], indexing="ij")
        return [
            tuple(cuts[a][int(i)] for a, i in enumerate(index))
            for index in zip(*[g.ravel() for g in grids], strict=True)
        ]

    def value(self, x: Array) -> float:
        """The weighted nuclear norms, summed."""
        total = 0.0
        for key in self._blocks(x.shape):
            matrix = x[(..., *key)].reshape(x.shape[0], -1)
            total += float(np.linalg.svd(matrix, compute_uv=False).sum())
        return self.weight * total

    def prox(self, x: Array, step: float) -> Array:
        """Soft threshold of the singular values, through the small Gram matrices."""
        out = np.empty_like(x)
        groups: dict[tuple[int, ...], list[tuple[slice, ...]]] = {}
        for key in self._blocks(x.shape):
            groups.setdefault(tuple(s.stop - s.start for s in key), []).append(key)
        double = np.complex128 if x.dtype.kind == "c" else np.float64
        for keys in groups.values():
            parts = np.stack([x[(..., *k)].reshape(x.shape[0], -1) for k in keys])
            gram = (parts @ parts.conj().swapaxes(1, 2)).astype(double)
            values, vectors = np.linalg.eigh(gram)
            s = np.sqrt(np.maximum(values, np.finfo(np.float64).tiny))
            keep = np.maximum(1 - step * self.weight / s, 0)
            shrink = (vectors * keep[:, None, :]) @ vectors.conj().swapaxes(1, 2)
            new = shrink.astype(x.dtype) @ parts
            for k, part in zip(keys, new, strict=True):
                out[(..., *k)] = part.reshape(out[(..., *k)].shape)
        return out


@dataclass(frozen=True)
class PlugAndPlay:
    """A denoiser in the place of a proximal map (Venkatakrishnan et al. 2013).

    ``denoiser(x, sigma)`` removes noise of standard deviation ``sigma = sqrt(step * weight)``.
    There is no function behind it, so ``value`` is 0.
    """

    denoiser: Callable[[Array, float], Array]
    weight: float = 1.0

    def __post_init__(self) -> None:
        _weight(self.weight, "PlugAndPlay")

    def value(self, x: Array) -> float:  # noqa: ARG002
        """0: unknown."""
        return 0.0

    def prox(self, x: Array, step: float) -> Array:
        """The denoised array."""
        out = np.asarray(self.denoiser(x, float(np.sqrt(step * self.weight))))
        if out.shape != x.shape:
            raise GeometryError(f"the denoiser made shape {out.shape} of {x.shape}")
        return out.astype(x.dtype, copy=False)
