"""Enhancement on 512 x 512 x 100 voxels against the programs that have it; quality in the same run.

Peers that need minutes run on fewer slices, and so do we there: the case says how many.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import ndimage

from benchmarks.process.filters import Array, Lines, apart, case, volume
from benchmarks.turns import compared

ONE = (1.0, 1.0, 1.0)


def _clean(v: Array) -> Array:
    """What `volume` adds noise to."""
    return v - np.random.default_rng(0).normal(0, 40, v.shape).astype(np.float32)


def _left(v: Array) -> Callable[[Array], float]:
    """Noise left, of 40."""
    clean = _clean(v)

    def measure(found: Array) -> float:
        return float((np.asarray(found, np.float64) - clean)[2:-2].std())

    return measure


def gradient(*, small: bool = False) -> Lines:
    """Size of the gradient at sigma 2, against derivatives in double precision."""
    import SimpleITK

    from somascope.process.edges import gradient_size

    v = volume(100, small=small)
    truth = ndimage.gaussian_gradient_magnitude(v.astype(np.float64), 2.0)
    given = SimpleITK.GetImageFromArray(v)
    for package, peer in (
        ("scipy", lambda: ndimage.gaussian_gradient_magnitude(v, 2.0)),
        ("SimpleITK", lambda: SimpleITK.GetArrayFromImage(
            SimpleITK.GradientMagnitudeRecursiveGaussian(given, 2.0))),
    ):  # fmt: skip
        yield compared(
            "process.gradient", case(v, "sigma 2"),
            ours=lambda: gradient_size(v, ONE, (2.0, 2.0, 2.0)), peer=peer, package=package,
            quality=apart(truth), metric="relative RMS error", rounds=1 if small else 3,
        )  # fmt: skip


def canny(*, small: bool = False) -> Lines:
    """In three dimensions; quality is the share of voxels marked, which should be alike."""
    import SimpleITK

    from somascope.core import Grid, Image
    from somascope.process.edges import canny as marked

    v = volume(100, small=small)
    given = SimpleITK.GetImageFromArray(v)
    image = Image(v, Grid.from_spacing(v.shape, ONE))
    yield compared(
        "process.canny", case(v, "sigma 2"),
        ours=lambda: marked(image, sigma=2.0, low=6.0, high=12.0).data,
        peer=lambda: SimpleITK.GetArrayFromImage(
            SimpleITK.CannyEdgeDetection(given, 6.0, 12.0, variance=[4.0] * 3)
        ),
        package="SimpleITK", quality=lambda found: float((found > 0).mean()),
        metric="share of voxels marked", rounds=1,
    )  # fmt: skip


def unsharp(*, small: bool = False) -> Lines:
    """Against its definition in double precision, away from the borders that peers repeat."""
    import SimpleITK
    from skimage.filters import unsharp_mask

    from somascope.process.sharpen import unsharp_

    v = volume(100, small=small)
    wide = v.astype(np.float64)
    truth = wide + 1.5 * (wide - ndimage.gaussian_filter(wide, 2.0))
    given = SimpleITK.GetImageFromArray(v)
    for package, peer in (
        ("scikit-image", lambda: unsharp_mask(v, 2.0, 1.5, preserve_range=True)),
        ("SimpleITK", lambda: SimpleITK.GetArrayFromImage(
            SimpleITK.UnsharpMask(given, [2.0] * 3, 1.5, 0.0))),
    ):  # fmt: skip
        yield compared(
            "process.unsharp", case(v, "sigma 2"),
            ours=lambda: unsharp_(v, (2.0, 2.0, 2.0), amount=1.5), peer=peer, package=package,
            quality=apart(truth, 8), metric="relative RMS error", rounds=1 if small else 3,
        )  # fmt: skip


def diffusion(*, small: bool = False) -> Lines:
    """Five steps of the same scheme; quality is the noise left, of 40."""
    import SimpleITK

    from somascope.process.diffusion import diffused

    v = volume(40, small=small)
    given = SimpleITK.GetImageFromArray(v)
    yield compared(
        "process.diffusion", case(v, "5 steps, conductance 2"),
        ours=lambda: diffused(v, ONE, iterations=5, time=0.06, conductance=2.0),
        peer=lambda: SimpleITK.GetArrayFromImage(
            SimpleITK.GradientAnisotropicDiffusion(given, 0.06, 2.0, 1, 5)
        ),
        package="SimpleITK", quality=_left(v), metric="noise left, of 40", rounds=1,
    )  # fmt: skip


def tv(*, small: bool = False) -> Lines:
    """Twenty iterations each; quality is what they minimise, per voxel."""
    from skimage.restoration import denoise_tv_chambolle

    from somascope.process.smoothness import rof
    from somascope.process.variation import variation

    v = volume(100, small=small)

    def objective(found: Array) -> float:
        change = float(np.mean((found.astype(np.float64) - v) ** 2))
        rough = variation(np.ascontiguousarray(found[..., None], np.float32), np.ones(3))
        return 0.5 * change + 30.0 * rough / v.size

    yield compared(
        "process.tv", case(v, "20 iterations"),
        ours=lambda: rof(v, ONE, weight=30.0, iterations=20, tolerance=0.0),
        peer=lambda: denoise_tv_chambolle(v, weight=30.0, eps=0.0, max_num_iter=20),
        package="scikit-image", quality=objective, metric="objective per voxel", rounds=1,
    )  # fmt: skip


def wavelet(*, small: bool = False) -> Lines:
    """BayesShrink, ours over two shifts; quality is the noise left, of 40."""
    from skimage.restoration import denoise_wavelet

    from somascope.process.wavelets import shrunk

    v = volume(100, small=small)
    settings: dict[str, Any] = {"wavelet": "sym4", "sigma": 40.0}
    yield compared(
        "process.wavelet", case(v, "BayesShrink, sym4, 3 levels"),
        ours=lambda: shrunk(v, levels=3, shifts=2, **settings),
        peer=lambda: denoise_wavelet(
            v, method="BayesShrink", mode="soft", wavelet_levels=3, rescale_sigma=False, **settings
        ),
        package="scikit-image", quality=_left(v), metric="noise left, of 40", rounds=1,
    )  # fmt: skip


def _blurred(slices: int, *, small: bool) -> tuple[Array, Array]:
    clean = _clean(volume(slices, small=small)) + 100
    rng = np.random.default_rng(1)
    blurred = ndimage.gaussian_filter(clean, 1.5) + rng.normal(0, 2, clean.shape)
    return clean, np.maximum(blurred, 0).astype(np.float32)


def _kernel(sigma: float, radius: int) -> Array:
    g = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    k = g[:, None, None] * g[:, None] * g
    return (k / k.sum()).astype(np.float32)


def lucy(*, small: bool = False) -> Lines:
    """Ten iterations with a Gaussian; quality is the RMS error inside, of 100 or so."""
    from skimage.restoration import richardson_lucy

    from somascope.process.deblur import GaussianBlur
    from somascope.process.deblur import lucy as ours

    clean, v = _blurred(20, small=small)
    yield compared(
        "process.richardson_lucy", case(v, "sigma 1.5, 10 iterations"),
        ours=lambda: ours(v, GaussianBlur((1.5, 1.5, 1.5)), iterations=10),
        peer=lambda: richardson_lucy(v, _kernel(1.5, 6), num_iter=10, clip=False),
        package="scikit-image", quality=apart(clean, 8), metric="relative RMS error", rounds=1,
    )  # fmt: skip


def wiener(*, small: bool = False) -> Lines:
    """With a price on the Laplacian; quality is the RMS error inside."""
    from skimage.restoration import wiener as peers

    from somascope.process.deblur import wiener_

    clean, v = _blurred(40, small=small)
    yield compared(
        "process.wiener", case(v, "sigma 1.5"),
        ours=lambda: wiener_(v, (1.5, 1.5, 1.5), ONE, balance=0.01),
        peer=lambda: peers(v, _kernel(1.5, 6), 0.01, clip=False),
        package="scikit-image", quality=apart(clean, 8), metric="relative RMS error", rounds=1,
    )  # fmt: skip


def watershed(*, small: bool = False) -> Lines:
    """From 500 markers; quality is the share of voxels that differ from scikit-image's."""
    from skimage.segmentation import watershed as peers

    from somascope.process.watershed import basins

    v = volume(20, small=small)
    v = ndimage.gaussian_filter(v, 1.5)
    seeds = np.zeros(v.shape, np.int32)
    places = np.random.default_rng(0).choice(v.size, 500, replace=False)
    seeds.reshape(-1)[places] = np.arange(1, 501)
    truth = peers(v, seeds)
    yield compared(
        "process.watershed", case(v, "500 markers"),
        ours=lambda: basins(v, seeds), peer=lambda: peers(v, seeds), package="scikit-image",
        quality=lambda found: float((found != truth).mean()),
        metric="share of voxels that differ", rounds=1,
    )  # fmt: skip


def thin_slices(*, small: bool = False) -> Lines:
    """Slices of 4 parted again, against cubic interpolation; quality is the relative RMS error."""
    from somascope.process.thin import averaging, thinned

    fine = _clean(volume(100, small=small))
    fine = fine[: fine.shape[0] // 4 * 4]
    thick = fine.reshape(-1, 4, *fine.shape[1:]).mean(axis=1)
    n = thick.shape[0]
    average = averaging(n, 4 * n, spacing=4, step=1, thickness=4, profile="box")

    def cubic() -> Array:
        return ndimage.zoom(thick, (4, 1, 1), order=3, mode="nearest", grid_mode=True)

    yield compared(
        "process.thin_slices", case(thick, "to a quarter"),
        ours=lambda: thinned(thick, average, ONE), peer=cubic, package="scipy",
        quality=apart(fine, 4), metric="relative RMS error", rounds=1 if small else 3,
    )  # fmt: skip
