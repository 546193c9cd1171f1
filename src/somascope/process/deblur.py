"""Blur taken back: Wiener's filter, and Richardson and Lucy's iteration with total variation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Protocol, TypeAlias

import numba
import numpy as np

from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float
from somascope.process.choices import Dimensions, Triple, one_volume, single_values, widths
from somascope.process.entries import each_volume, working
from somascope.process.filters import smooth
from somascope.process.missing import filled, restored
from somascope.process.separable import TRUNCATE

Width: TypeAlias = Annotated[
    float,
    Param("Width of the blur: full width at half maximum", unit="mm", minimum=0.01, maximum=50.0,
          step=0.1),
]  # fmt: skip
Balance: TypeAlias = Annotated[
    float,
    Param("Price of roughness: more for more noise", minimum=1e-8, maximum=1e4),
]

TO_SIGMA = 1 / 2.3548200450309493
"""Standard deviation over full width at half maximum."""


class Blur(Protocol):
    """A linear blur and its adjoint, both on ``(nz, ny, nx)`` float32."""

    def __call__(self, volume: Array) -> Array:
        """Blur."""
        ...

    def adjoint(self, volume: Array) -> Array:
        """The adjoint of the blur."""
        ...


@dataclass(frozen=True)
class GaussianBlur:
    """Of ``sigma`` voxels along (z, y, x), mirrored at the outer voxel edges; its own adjoint."""

    sigma: Triple

    def __call__(self, volume: Array) -> Array:
        """Blur."""
        return smooth(volume, self.sigma)

    adjoint = __call__


@dataclass(frozen=True)
class KernelBlur:
    """By a given kernel of odd size ``(kz, ky, kx)``, borders mirrored, its sum made one."""

    kernel: Array

    def _folded(self, volume: Array, kernel: Array) -> Array:
        from scipy.signal import oaconvolve

        pad = [(k // 2, k // 2) for k in kernel.shape]
        return np.asarray(
            oaconvolve(np.pad(volume, pad, mode="symmetric"), kernel, mode="valid"), np.float32
        )

    def __call__(self, volume: Array) -> Array:
        """Convolve."""
        return self._folded(volume, self._normal())

    def adjoint(self, volume: Array) -> Array:
        """Correlate: the adjoint but for the mirrored border."""
        return self._folded(volume, self._normal()[::-1, ::-1, ::-1])

    def _normal(self) -> Array:
        return (self.kernel / self.kernel.sum(dtype=np.float64)).astype(np.float32)


def transfer(size: int, sigma: float) -> Float:
    """What `smooth` does to each cosine of an axis: ``(size,)``, 1 for the first."""
    if sigma <= 0 or size == 1:
        return np.ones(size)
    radius = max(int(TRUNCATE * sigma + 0.5), 1)
    g = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    g /= g.sum()
    angle = np.pi * np.arange(size) / size
    return g[radius] + 2 * (g[radius + 1 :] * np.cos(np.outer(angle, range(1, radius + 1)))).sum(1)


def wiener_(volume: Array, sigma: Triple, spacing: Triple, *, balance: float) -> Array:
    """``argmin |G x - v|^2 + balance |L x|^2`` with a Gaussian G and the Laplacian L.

    In cosines, which mirrored borders turn into products (Hunt, IEEE Trans Comput 22, 1973).

    Parameters
    ----------
    volume
        ``(nz, ny, nx)``; computed in float32. Missing voxels are stood in for and stay missing.
    sigma
        Of the Gaussian in voxels (z, y, x); 0 leaves an axis alone.
    spacing
        mm: the Laplacian is that of millimetres, in steps of the finest blurred axis.
    """
    from scipy.fft import dctn, idctn

    values, known = filled(volume)
    axes = [a for a in range(3) if sigma[a] > 0 and volume.shape[a] > 1]
    if not axes:
        return np.array(volume, np.float32)
    finest = min(spacing[a] for a in axes)
    gain: Array = np.ones((1, 1, 1))
    rough: Array = np.zeros((1, 1, 1))
    for a in axes:
        n = volume.shape[a]
        turn = tuple(n if k == a else 1 for k in range(3))
        gain = gain * transfer(n, sigma[a]).reshape(turn)
        curve = (2 - 2 * np.cos(np.pi * np.arange(n) / n)) * (finest / spacing[a]) ** 2
        rough = rough + curve.reshape(turn)
    filter_ = (gain / (gain**2 + balance * rough**2)).astype(np.float32)
    spectrum: Array = np.asarray(dctn(values, type=2, axes=axes, norm="ortho", workers=-1))
    spectrum *= filter_
    found = idctn(spectrum, type=2, axes=axes, norm="ortho", workers=-1, overwrite_x=True)
    return restored(np.asarray(found, np.float32), volume, known)


@numba.njit(parallel=True, fastmath={"contract", "nsz"}, cache=True)
def _raised(x: Array, ratio: Array, weights: Array, price: float, least: float, out: Array) -> None:
    """``out <- x ratio / (1 - price div(grad x / |grad x|))``, nothing through the border.

    ``least`` is the squared slope below which a slope counts as none.
    """
    nz, ny, nx = x.shape
    wz, wy, wx = weights[0], weights[1], weights[2]
    one, half = np.float32(1), np.float32(0.5)
    for j in numba.prange(nz * ny):
        z, y = j // ny, j % ny
        if price == 0:
            for i in range(nx):
                out[z, y, i] = x[z, y, i] * ratio[z, y, i]
            continue
        for i in range(nx):
            total = np.float32(0)
            # Unit slopes at this voxel (forward) and at the three before it.
            for k in range(4):
                p = z - 1 if k == 1 else z
                q = y - 1 if k == 2 else y
                r = i - 1 if k == 3 else i
                if p < 0 or q < 0 or r < 0:
                    continue
                v = x[p, q, r]
                a = wz * (x[min(p + 1, nz - 1), q, r] - v)
                b = wy * (x[p, min(q + 1, ny - 1), r] - v)
                c = wx * (x[p, q, min(r + 1, nx - 1)] - v)
                share = one / np.sqrt(a * a + b * b + c * c + least)
                if k == 0:
                    total += (wz * a + wy * b + wx * c) * share
                elif k == 1:
                    total -= wz * a * share
                elif k == 2:
                    total -= wy * b * share
                else:
                    total -= wx * c * share
            out[z, y, i] = x[z, y, i] * ratio[z, y, i] / max(one - price * total, half)


def lucy(
    volume: Array,
    blur: Blur,
    *,
    iterations: int,
    variation: float = 0.0,
    spacing: Triple = (1.0, 1.0, 1.0),
    start: Array | None = None,
    progress: Progress = QUIET,
) -> Array:
    """Richardson and Lucy's iteration (JOSA 62, 1972; AJ 79, 1974) with the prior of Dey et al.

    ``x <- x / (1 - variation div(grad x / |grad x|)) B^T(v / B x)`` (Microsc Res Tech 69, 2006).

    Parameters
    ----------
    volume
        ``(nz, ny, nx)`` of 0 and more; no missing values.
    variation
        Its price; slopes below 6 times that share of the greatest value are taken as ever flatter.
    start
        First ``x``, positive; none: ``volume``.
    """
    v = np.ascontiguousarray(volume, np.float32)
    tiny = np.float32(max(float(v.max(initial=0.0)), 1e-9) * 1e-6)
    # Slopes that one step could turn round count as flat: the iteration would swing about them.
    least = np.float32((1e6 * float(tiny) * max(6 * variation, 1e-4)) ** 2)
    x = np.maximum(v if start is None else start, tiny).astype(np.float32)
    fine = min(s for s, n in zip(spacing, v.shape, strict=True) if n > 1 or max(v.shape) == 1)
    weights = (fine / np.asarray(spacing)).astype(np.float32)
    for _ in progress.over(range(iterations), "sharpening"):
        ratio = v / np.maximum(blur(x), tiny)
        out = np.empty_like(x)
        _raised(x, blur.adjoint(ratio), weights, np.float32(variation), least, out)  # pyright: ignore[reportArgumentType]
        x = out
    return x


def _above(volume: Array, background: float | None) -> tuple[Array, float]:
    """Values over the background, at least 0; and the background: the least value if negative."""
    low = min(float(volume.min(initial=0.0)), 0.0) if background is None else background
    return np.maximum(volume - np.float32(low), 0), low


def _lucy(
    blur: Blur, *, iterations: int, variation: float, background: float | None, spacing: Triple,
    progress: Progress,
) -> Callable[[Array], Array]:  # fmt: skip
    def run(volume: Array) -> Array:
        values, known = filled(volume)
        above, low = _above(values, background)
        found = lucy(
            above, blur, iterations=iterations, variation=variation, spacing=spacing,
            progress=progress,
        )  # fmt: skip
        found += np.float32(low)
        return restored(found, volume, known)

    return run


@operation("process.wiener")
def wiener(
    image: Image,
    *,
    fwhm: Width = 2.0,
    balance: Balance = 0.01,
    dimensions: Dimensions = "volume",
    progress: Progress = QUIET,
) -> Image:
    """Take back a Gaussian blur in one go (Wiener's filter with a price on roughness).

    Shape ``(*leading, nz, ny, nx)``, float32, the image's unit; missing values stay missing.
    """
    single_values(image, "process.wiener")
    sigma = widths(image, fwhm * TO_SIGMA, dimensions, operation="process.wiener")
    spacing = image.grid.spacing
    data = each_volume(
        image, lambda v: wiener_(v, sigma, spacing, balance=balance),
        progress=progress, message="sharpening",
    )  # fmt: skip
    return image.with_data(data)


@operation("process.richardson_lucy")
def richardson_lucy(
    image: Image,
    *,
    fwhm: Width = 2.0,
    iterations: Annotated[int, Param("More is sharper and noisier", minimum=1, maximum=500)] = 10,
    variation: Annotated[
        float, Param("Price of variation, against noise", minimum=0.0, maximum=0.2, step=0.001)
    ] = 0.002,
    background: Annotated[
        float | None,
        Param("Value that stands for nothing; none: 0, or the smallest if that is negative"),
    ] = None,
    dimensions: Dimensions = "volume",
    progress: Progress = QUIET,
) -> Image:
    """Take back a Gaussian blur step by step; nothing falls below the background.

    Richardson and Lucy's iteration with a price on total variation. Shape
    ``(*leading, nz, ny, nx)``, float32, the image's unit; missing values stay missing.
    """
    single_values(image, "process.richardson_lucy")
    sigma = widths(image, fwhm * TO_SIGMA, dimensions, operation="process.richardson_lucy")
    alone = int(np.prod(image.data.shape[:-3])) == 1
    run = _lucy(
        GaussianBlur(sigma), iterations=iterations, variation=variation, background=background,
        spacing=image.grid.spacing, progress=progress if alone else QUIET,
    )  # fmt: skip
    data = each_volume(image, run, progress=QUIET if alone else progress, message="sharpening")
    return image.with_data(data)


@operation("process.deconvolve")
def deconvolve(
    image: Image,
    psf: Image,
    *,
    iterations: Annotated[int, Param("More is sharper and noisier", minimum=1, maximum=500)] = 10,
    variation: Annotated[
        float, Param("Price of variation, against noise", minimum=0.0, maximum=0.2, step=0.001)
    ] = 0.002,
    background: Annotated[
        float | None,
        Param("Value that stands for nothing; none: 0, or the smallest if that is negative"),
    ] = None,
    progress: Progress = QUIET,
) -> Image:
    """Take back a measured blur, given as the image of a point (Richardson and Lucy).

    ``psf`` has the image's voxel size and an odd number of voxels along each axis, the point in
    the middle one. Shape ``(*leading, nz, ny, nx)``, float32; missing values stay missing.
    """
    single_values(image, "process.deconvolve")
    kernel = working(one_volume(psf, "process.deconvolve"))
    if any(k % 2 == 0 for k in kernel.shape) or not kernel.sum() > 0 or not kernel.min() >= 0:
        raise ParameterError(
            f"process.deconvolve: the blur has shape {kernel.shape}; give odd sizes, values of 0 "
            "and more, and a positive sum"
        )
    edges = zip(psf.grid.spacing, image.grid.spacing, kernel.shape, strict=True)
    off = [abs(a / b - 1) for a, b, k in edges if k > 1]
    if max(off, default=0.0) > 0.01:
        raise ParameterError(
            f"process.deconvolve: the blur is given at {psf.grid.spacing} mm and the image at "
            f"{image.grid.spacing}; resample it with process.resample"
        )
    run = _lucy(
        KernelBlur(kernel), iterations=iterations, variation=variation, background=background,
        spacing=image.grid.spacing, progress=QUIET,
    )  # fmt: skip
    return image.with_data(each_volume(image, run, progress=progress, message="sharpening"))
