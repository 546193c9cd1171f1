"""The non-uniform Fourier transform with its plan kept, and its Toeplitz normal operator.

Points are given in **cycles per field of view** along the axes of the array, in array order: with
``n`` samples per axis the lattice frequencies are the integers ``-n/2 .. n/2``. The array's centre
is index ``n // 2``, as everywhere in Fourier imaging::

    y_j = sum_r x_r exp(-2 pi i k_j . (r - n // 2) / n)

FINUFFT (Barnett, Magland, af Klinteberg 2019) does the work; sorting the points costs about as
much as a transform, so plans are made with the first use and kept.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np

from somascope.acquire.tensors import is_tensor
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array
from somascope.process.chunks import cores

_SMALL = 2**16
"""Points that one thread spreads sooner than two."""


def check_points(points: Array, shape: Sequence[int], *, name: str = "trajectory") -> Array:
    """``points`` as float64 ``(..., d)``, finite and inside ``[-n/2, n/2]`` of every axis.

    Raises
    ------
    GeometryError
        Another number of axes than ``shape``, values that are not finite, or outside the band.
    """
    points = np.asarray(points, np.float64)
    if points.ndim < 2 or points.shape[-1] != len(shape):
        raise GeometryError(
            f"{name} has shape {points.shape} for an image of {tuple(shape)}; give "
            f"(..., {len(shape)}), one coordinate per image axis"
        )
    if not np.isfinite(points).all():
        bad = int((~np.isfinite(points)).any(axis=-1).sum())
        raise GeometryError(
            f"{name} has {bad} points that are not finite; drop them with their samples"
        )
    limit = np.asarray(shape) / 2
    outside = np.abs(points) > limit * (1 + 1e-6)
    if outside.any():
        worst = float(np.abs(points).max())
        raise GeometryError(
            f"{name} reaches {worst:.6g} cycles/FOV and leaves the band of +-{limit.tolist()}; "
            "the unit is cycles per field of view (1/m times the field in m): rescale it, or give "
            "a finer grid"
        )
    return points


class Spreading:
    """Type 1 transform of one set of samples with the same bits every time.

    FINUFFT's threads add their shares in the order in which they come. Here the points are cut into
    a fixed number of runs, each spread by one thread, and added in order.

    Parameters
    ----------
    points
        One array per axis of ``shape``, radians per pixel, ``(n,)``.
    """

    def __init__(
        self, points: Sequence[Array], shape: tuple[int, ...], *, tolerance: float, dtype: str
    ) -> None:
        import finufft

        count = points[0].size
        runs = 2 if count > _SMALL else 1
        real = np.float32 if dtype == "complex64" else np.float64
        edges = [count * k // runs for k in range(runs + 1)]
        self._runs = [slice(a, b) for a, b in pairwise(edges)]
        self._plans: list[Any] = []
        for run in self._runs:
            plan = finufft.Plan(1, shape, eps=tolerance, isign=1, dtype=dtype, nthreads=1)
            plan.setpts(*(np.ascontiguousarray(p[run], real) for p in points))
            self._plans.append(plan)

    def execute(self, samples: Array) -> Array:
        """The image of ``(n,)`` samples."""
        if len(self._plans) == 1:
            return self._plans[0].execute(samples)
        with ThreadPoolExecutor(len(self._plans)) as pool:
            work = [
                pool.submit(plan.execute, np.ascontiguousarray(samples[run]))
                for plan, run in zip(self._plans, self._runs, strict=True)
            ]
            result = work[0].result()
            for more in work[1:]:
                result += more.result()
        return result


class NUFFT:
    """Non-uniform Fourier transform of an image at fixed points.

    Parameters
    ----------
    points
        Cycles per field of view, ``(..., d)`` with d = 2 or 3, axes in the order of ``shape``.
    shape
        Image shape, d numbers.
    tolerance
        Relative accuracy of the transform; 1e-4 is far below the noise of any scan.
    threads
        Of one transform; default all processors.

    Notes
    -----
    ``forward`` maps ``(*batch, *shape)`` to ``(*batch, *points.shape[:-1])``, ``adjoint`` back;
    both keep single or double precision. No normalisation: `adjoint` is the exact adjoint, not an
    inverse. Torch tensors are taken too and given back (complex64 on CUDA: `acquire.gpu`).
    """

    def __init__(
        self,
        points: Array,
        shape: Sequence[int],
        *,
        tolerance: float = 1e-4,
        threads: int | None = None,
    ) -> None:
        self.shape = tuple(int(n) for n in shape)
        if len(self.shape) not in (2, 3):
            raise GeometryError(f"NUFFT of shape {self.shape}; two or three axes are handled")
        if not 1e-14 <= tolerance <= 0.1:
            raise ParameterError(f"NUFFT tolerance is {tolerance}; give 1e-14 to 0.1")
        self.points = check_points(points, self.shape)
        self.tolerance = tolerance
        self.threads = cores() if threads is None else threads
        self._plans: dict[tuple[int, str, int], Any] = {}
        self._devices: dict[str, Any] = {}
        self._lock = threading.Lock()

    @property
    def domain(self) -> tuple[int, ...]:
        """Shape of the image."""
        return self.shape

    @property
    def range(self) -> tuple[int, ...]:
        """Shape of the samples."""
        return self.points.shape[:-1]

    def forward(self, x: Array, *, out: Array | None = None) -> Array:
        """Samples ``(*batch, *range)`` of images ``(*batch, *shape)``."""
        if is_tensor(x):
            return self._tensor(x).forward(x)
        return self._run(2, x, self.shape, self.range, out)

    def adjoint(self, y: Array, *, out: Array | None = None) -> Array:
        """Images ``(*batch, *shape)`` of samples ``(*batch, *range)``."""
        if is_tensor(y):
            return self._tensor(y).adjoint(y)
        return self._run(1, y, self.range, self.shape, out)

    def _tensor(self, x: Any) -> Any:
        """The transform where a tensor lies; made once per device."""
        from somascope.acquire import gpu

        if not gpu.on_device(x):
            return gpu.ThroughNumPy(self)
        key = str(x.device)
        if key not in self._devices:
            self._devices[key] = gpu.NonUniform(
                self.points, self.shape, tolerance=self.tolerance, device=x.device
            )
        return self._devices[key]

    def _run(
        self,
        kind: int,
        given: Array,
        inner: tuple[int, ...],
        outer: tuple[int, ...],
        out: Array | None,
    ) -> Array:
        given = np.asarray(given)
        batch = given.shape[: given.ndim - len(inner)]
        if given.shape[len(batch) :] != inner:
            raise GeometryError(f"NUFFT was given {given.shape}; give (..., {inner})")
        dtype = np.result_type(given.dtype, np.complex64)
        count = math.prod(batch)
        flat = np.ascontiguousarray(given, dtype)
        tail = (math.prod(inner),) if kind == 1 else inner
        flat = flat.reshape((count, *tail) if count > 1 else tail)
        goal = (*batch, *outer)
        result = np.empty(goal, dtype) if out is None else out
        end = (math.prod(outer),) if kind == 2 else outer
        view = result.reshape((count, *end) if count > 1 else end)
        if count:
            with self._lock:  # a plan owns its work arrays
                plan = self._plan(kind, np.dtype(dtype), count)
                if isinstance(plan, Spreading):
                    pairs = zip(flat.reshape(count, -1), view.reshape(count, *outer), strict=True)
                    for samples, image in pairs:
                        image[...] = plan.execute(samples)
                else:
                    plan.execute(flat, out=view)
        return result

    def _plan(self, kind: int, dtype: np.dtype[Any], count: int) -> Any:
        key = (kind, dtype.name, count if kind == 2 else 1)
        if key not in self._plans:
            import finufft

            real = np.float32 if dtype == np.complex64 else np.float64
            # Single precision cannot be asked for more than it holds.
            eps = max(self.tolerance, 5e-7) if dtype == np.complex64 else self.tolerance
            turns = self.points.reshape(-1, len(self.shape)) * (2 * np.pi / np.array(self.shape))
            # Rounding to single precision may step over pi.
            turns = np.clip(turns, -np.pi, np.pi)
            if kind == 1:
                self._plans[key] = Spreading(
                    tuple(turns.T), self.shape, tolerance=eps, dtype=dtype.name
                )
                return self._plans[key]
            plan = finufft.Plan(
                2, self.shape, n_trans=count, eps=eps, isign=-1, dtype=dtype.name,
                nthreads=self.threads,
            )  # fmt: skip
            plan.setpts(*(np.ascontiguousarray(c, real) for c in turns.T))
            self._plans[key] = plan
        return self._plans[key]


class Toeplitz:
    """``A^H W A`` of a `NUFFT` without gridding: a convolution, exact on a doubled lattice.

    The entries of ``A^H W A`` depend on index differences only (Fessler et al. 2005), so one
    non-uniform transform of the weights gives the real transfer function once; each application is
    a Fourier pair of twice the size.

    Parameters
    ----------
    points, shape
        As for `NUFFT`.
    weights
        One non-negative number per point, default 1.
    scale
        Factor on the whole operator.
    """

    def __init__(
        self,
        points: Array,
        shape: Sequence[int],
        *,
        weights: Array | None = None,
        scale: float = 1.0,
        tolerance: float = 1e-6,
        dtype: str = "complex64",
    ) -> None:
        self.shape = tuple(int(n) for n in shape)
        points = check_points(points, self.shape)
        twice = tuple(2 * n for n in self.shape)
        ones = np.ones(points.shape[:-1]) if weights is None else np.asarray(weights, np.float64)
        if ones.shape != points.shape[:-1]:
            raise GeometryError(
                f"Toeplitz weights have shape {ones.shape} for points {points.shape[:-1]}; give "
                "one per point"
            )
        spread = NUFFT(2 * points, twice, tolerance=tolerance)
        kernel = spread.adjoint(ones.astype(np.complex128))
        for axis in range(len(twice)):  # the difference -n never occurs; its twin +n is not there
            kernel[(slice(None),) * axis + (0,)] = 0
        from scipy import fft

        axes = tuple(range(len(twice)))
        shifted: Any = np.fft.ifftshift(kernel)
        spectrum: Any = fft.fftn(shifted, axes=axes, workers=cores())
        transfer = spectrum.real * scale
        real = np.float32 if np.dtype(dtype) == np.complex64 else np.float64
        self.transfer = np.ascontiguousarray(transfer, real)
        self.devices: dict[str, Any] = {}

    @property
    def domain(self) -> tuple[int, ...]:
        """Shape of the image."""
        return self.shape

    @property
    def range(self) -> tuple[int, ...]:
        """Shape of the image."""
        return self.shape

    def forward(self, x: Array) -> Array:
        """``A^H W A x`` for ``(*batch, *shape)``; a torch tensor gives one."""
        if is_tensor(x):
            from somascope.acquire import gpu

            return gpu.toeplitz(self, x)
        from scipy import fft

        workers, d = cores(), len(self.shape)
        parts: Any = x
        # Axis by axis, so that rows that are all zero, or cut away after, are not transformed.
        for axis, n in zip(range(-1, -d - 1, -1), self.shape[::-1], strict=True):
            parts = fft.fft(parts, 2 * n, axis=axis, workers=workers, overwrite_x=axis != -1)
        parts *= self.transfer
        for axis, n in zip(range(-d, 0), self.shape, strict=True):
            parts = fft.ifft(parts, axis=axis, workers=workers, overwrite_x=True)
            parts = parts[(..., slice(0, n), *(slice(None),) * (-axis - 1))]
        return np.ascontiguousarray(parts)

    def adjoint(self, y: Array) -> Array:
        """The operator is its own adjoint."""
        return self.forward(y)
