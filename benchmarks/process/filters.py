"""Filters on 512 x 512 x 100 voxels against the programs that have them; quality in the same run.

Peers that need minutes run on fewer slices, and so do we there: the case says how many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy import ndimage

from benchmarks.process.bounds import compared

Array = np.ndarray
Lines = Iterator[dict[str, Any]]


def volume(slices: int, *, small: bool, dtype: type = np.float32, seed: int = 0) -> Array:
    """Bright rods and blobs in noise, ``(slices, 512, 512)``; a sixteenth of it when small."""
    nz, n = (min(slices, 24), 64) if small else (slices, 512)
    z, y, x = np.ogrid[:nz, :n, :n]
    waves = 200 * np.sin(x / 9.0 + y / 31.0) * np.cos(y / 13.0) * np.cos(z / 7.0)
    noise = np.random.default_rng(seed).normal(0, 40, (nz, n, n))
    return (300 + waves + noise).astype(dtype)


def case(of: Array, text: str) -> str:
    nz, ny, nx = of.shape
    return f"{nx} x {ny} x {nz} {of.dtype}, {text}"


def apart(truth: Array, border: int = 0) -> Callable[[Array], float]:
    """Root mean square difference from ``truth``, as a share of its spread."""
    inner = tuple(slice(border, n - border or None) if n > 2 * border else slice(None)
                  for n in truth.shape)  # fmt: skip
    spread = float(truth[inner].std()) or 1.0

    def measure(found: Array) -> float:
        difference = found[inner].astype(np.float64) - truth[inner]
        return float(np.sqrt((difference**2).mean())) / spread

    return measure


def gaussian(*, small: bool = False) -> Lines:
    """Against the sampled Gaussian in double precision."""
    import SimpleITK

    from benchmarks.process import planes
    from somascope.process.filters import smooth

    for dtype in (np.int16, np.float32):
        v = volume(100, small=small, dtype=dtype)
        truth = ndimage.gaussian_filter(v.astype(np.float64), 2.0)
        given = SimpleITK.GetImageFromArray(v.astype(np.float32))
        peers: dict[str, Callable[[], Array]] = {
            "scipy": lambda v=v: ndimage.gaussian_filter(v, 2.0, output=np.float32),
            "SimpleITK": lambda given=given: SimpleITK.GetArrayFromImage(
                SimpleITK.SmoothingRecursiveGaussian(given, 2.0)
            ),
        }
        for package, peer in peers.items():
            yield compared(
                "process.gaussian", case(v, "sigma 2"),
                ours=lambda v=v: smooth(v, (2.0, 2.0, 2.0)), given=v.nbytes,
                peer=peer, package=package, quality=apart(truth), metric="relative RMS error",
                rounds=1 if small else 5,
            )  # fmt: skip
    yield from planes.gaussian(small=small)


def bilateral(*, small: bool = False) -> Lines:
    """Of SimpleITK's reach; theirs is a box and ours a ball, both held to a part done by hand."""
    import SimpleITK

    from benchmarks.process import planes
    from somascope.process.denoise import bilateral as filtered

    v = volume(10, small=small)
    v = v[:, :64, :64] if small else v
    given = SimpleITK.GetImageFromArray(v)
    z, y, x = (n // 2 for n in v.shape)
    exact = [_by_hand(v, (z, y, x), 1.5, 100.0, ball=b) for b in (False, True)]
    yield compared(
        "process.bilateral", case(v, "sigma 1.5 and 100"),
        given=v.nbytes, ours=lambda: filtered(v, space=(1.5, 1.5, 1.5), value=100.0),
        peer=lambda: SimpleITK.GetArrayFromImage(SimpleITK.Bilateral(given, 1.5, 100.0, 200)),
        package="SimpleITK",
        quality=lambda found: min(abs(float(found[z, y, x]) - e) for e in exact),
        metric="error of the middle voxel, of 300", rounds=1,
    )  # fmt: skip
    yield from planes.bilateral(small=small)


def _by_hand(
    v: Array, at: tuple[int, int, int], space: float, value: float, *, ball: bool
) -> float:
    r = int(np.ceil(2.5 * space))
    padded = np.pad(v.astype(np.float64), r, mode="symmetric")
    part = padded[tuple(slice(i, i + 2 * r + 1) for i in at)]
    g = np.exp(-0.5 * (np.arange(-r, r + 1) / space) ** 2)
    w = g[:, None, None] * g[:, None] * g * np.exp(-0.5 * ((part - v[at]) / value) ** 2)
    if ball:
        steps = np.arange(-r, r + 1) ** 2
        w[steps[:, None, None] + steps[:, None] + steps > r * r] = 0
    return float((w * part).sum() / w.sum())


def clahe(*, small: bool = False) -> Lines:
    """In three dimensions; quality is how evenly the brightness is spread, 0 is even.

    SimpleITK's has no tiles but a window of 11^3 about each voxel, and takes minutes.
    """
    import SimpleITK
    from skimage.exposure import equalize_adapthist

    from benchmarks.process import planes
    from somascope.process.equalise import equalise

    v = volume(100, small=small)
    v = (v - v.min()) / (v.max() - v.min())
    tile = tuple(max(n // 8, 1) for n in v.shape)

    def uneven(found: Array) -> float:
        counts = np.histogram(found, 32, (float(found.min()), float(found.max())))[0]
        return float(counts.std() / counts.mean())

    few = np.ascontiguousarray(v[: 6 if small else 10])
    given = SimpleITK.GetImageFromArray(few)
    yield compared(
        "process.clahe", case(few, "8 x 8 x 1 tiles"), given=few.nbytes,
        ours=lambda: equalise(
            few, (float(few.shape[0]), float(tile[1]), float(tile[2])), limit=2.5, low=0.0,
            high=1.0, bins=256,
        ),
        peer=lambda: SimpleITK.GetArrayFromImage(
            SimpleITK.AdaptiveHistogramEqualization(given, [5, 5, 5], 0.3, 0.3)
        ),
        package="SimpleITK", quality=uneven, metric="unevenness of brightness", rounds=1,
    )  # fmt: skip
    yield compared(
        "process.clahe", case(v, "8 x 8 x 8 tiles"), given=v.nbytes,
        ours=lambda: equalise(
            v, (float(tile[0]), float(tile[1]), float(tile[2])), limit=2.5, low=0.0, high=1.0,
            bins=256,
        ),
        peer=lambda: equalize_adapthist(v, kernel_size=tile, clip_limit=0.01, nbins=256),
        package="scikit-image", quality=uneven, metric="unevenness of brightness",
        rounds=1 if small else 3,
    )  # fmt: skip
    whole = np.rint(1000 * v).astype(np.int16)
    yield compared(
        "process.clahe", case(whole, "8 x 8 x 8 tiles"), given=whole.nbytes,
        ours=lambda: equalise(
            whole, (float(tile[0]), float(tile[1]), float(tile[2])), limit=2.5, low=0.0,
            high=1000.0, bins=256,
        ),
        peer=lambda: equalize_adapthist(whole, kernel_size=tile, clip_limit=0.01, nbins=256),
        package="scikit-image", quality=uneven, metric="unevenness of brightness",
        rounds=1 if small else 3,
    )  # fmt: skip
    yield from planes.clahe(small=small)


def nlm(*, small: bool = False) -> Lines:
    """Quality is the noise left (40 before), against the volume without noise."""
    from skimage.restoration import denoise_nl_means

    from benchmarks.process import planes
    from somascope.process.denoise import nonlocal_means

    v = volume(20, small=small)
    rng_free = volume(20, small=small, seed=0) - np.random.default_rng(0).normal(
        0, 40, v.shape
    ).astype(np.float32)
    settings: dict[str, Any] = {"h": 32.0, "sigma": 40.0}
    for blocks in (False, True):
        yield compared(
            "process.nlm", case(v, f"search 5^3, patch 3^3{', blocks' * blocks}"), given=v.nbytes,
            ours=lambda blocks=blocks: nonlocal_means(
                v, search=(2, 2, 2), patch=(1, 1, 1), blocks=blocks, **settings
            ),
            peer=lambda: denoise_nl_means(
                v, patch_size=3, patch_distance=2, fast_mode=True, preserve_range=True, **settings
            ),
            package="scikit-image", quality=lambda found: float((found - rng_free)[3:-3].std()),
            metric="noise left, of 40", rounds=1,
        )  # fmt: skip
    yield from planes.nlm(small=small)


def frangi(*, small: bool = False) -> Lines:
    """Quality is the correlation with scikit-image's in double precision."""
    from skimage.filters import frangi as peers

    from somascope.process.vessels import tubes

    v = volume(24, small=small)
    truth = peers(v.astype(np.float64), sigmas=[1.0, 2.0], black_ridges=False)

    def alike(found: Array) -> float:
        inner = (slice(8, -8),) * 3
        return float(np.corrcoef(found[inner].ravel(), truth[inner].ravel())[0, 1])

    yield compared(
        "process.frangi", case(v, "scales 1 and 2"), given=v.nbytes,
        ours=lambda: tubes(v, (1.0, 1.0, 1.0), scales=(1.0, 2.0), measure="frangi"),
        peer=lambda: peers(v, sigmas=[1.0, 2.0], black_ridges=False),
        package="scikit-image", quality=alike, metric="correlation with double precision",
        rounds=1,
    )  # fmt: skip


def body(*, small: bool) -> Array:
    v = ndimage.gaussian_filter(volume(100, small=small), 1.0)
    return v > 330


def distance(*, small: bool = False) -> Lines:
    """Quality is the greatest error in mm against SciPy's double precision."""
    import SimpleITK

    from benchmarks.process import planes
    from somascope.process.distance import distance as measured

    # Of SimpleITK's maps the signed Maurer one alone is exact, minds the spacing and runs on all
    # cores; Danielsson's approximates and is slower.
    spacing = (2.0, 0.7, 0.7)
    z, y, x = (np.linspace(-1, 1, n) for n in body(small=small).shape)
    solid = (x / 0.8) ** 2 + ((y / 0.9) ** 2)[:, None] + (z**2 / 1.5)[:, None, None] < 1
    for text, mask in (("thin parts", body(small=small)), ("one large body", solid)):
        truth = ndimage.distance_transform_edt(mask, spacing)
        given = SimpleITK.GetImageFromArray((~mask).astype(np.uint8))
        given.SetSpacing(spacing[::-1])

        def itk(given: Any = given) -> Array:
            # To the nearest voxel outside: the map of the outside, beyond its border.
            found = SimpleITK.SignedMaurerDistanceMap(
                given, insideIsPositive=False, squaredDistance=False, useImageSpacing=True
            )
            return np.maximum(SimpleITK.GetArrayFromImage(found), 0)

        for package, peer in (
            ("scipy", lambda mask=mask: ndimage.distance_transform_edt(mask, spacing)),
            ("SimpleITK", itk),
        ):
            yield compared(
                "process.distance", case(mask, f"2 x 0.7 x 0.7 mm, {text}"), given=mask.nbytes,
                ours=lambda mask=mask: measured(mask, spacing), peer=peer, package=package,
                quality=lambda found, truth=truth: float(np.abs(found - truth).max()),
                metric="greatest error, mm", rounds=1 if small else 2,
            )  # fmt: skip
    yield from planes.distance(small=small)


def components(*, small: bool = False) -> Lines:
    """Quality is the difference in the number of components."""
    import SimpleITK

    from benchmarks.process import planes
    from somascope.process.components import label

    mask = body(small=small) ^ (volume(100, small=small, seed=3) > 580)
    count = int(ndimage.label(mask, np.ones((3, 3, 3)))[1])
    given = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
    for package, peer in (
        ("scipy", lambda: ndimage.label(mask, np.ones((3, 3, 3)))[0]),
        ("SimpleITK", lambda: SimpleITK.GetArrayFromImage(
            SimpleITK.ConnectedComponent(given, True))),
    ):  # fmt: skip
        yield compared(
            "process.components", case(mask, "26 neighbours"), given=mask.nbytes,
            ours=lambda: label(mask)[0], peer=peer, package=package,
            quality=lambda found: abs(float(found.max()) - count),
            metric="components too many or few", rounds=1 if small else 3,
        )  # fmt: skip
    yield from planes.components(small=small)


def histogram(*, small: bool = False) -> Lines:
    """Quality is the number of values counted in another bin than by NumPy."""
    from benchmarks.process import planes
    from somascope.process.histogram import of_values

    for dtype in (np.int16, np.float32):
        v = volume(100, small=small, dtype=dtype)
        flat = v.reshape(-1)
        low, high = float(v.min()), float(v.max())
        for bins in (256, 4096):
            truth = np.histogram(flat.astype(np.float64), bins, (low, high))[0]
            for package, peer in (
                ("scipy", lambda v=v, b=bins, lo=low, hi=high: ndimage.histogram(v, lo, hi, b)),
                ("numpy", lambda v=flat, b=bins, lo=low, hi=high: np.histogram(v, b, (lo, hi))[0]),
            ):
                yield compared(
                    "process.histogram", case(v, f"{bins} bins"), given=v.nbytes,
                    ours=lambda v=flat, b=bins, lo=low, hi=high: of_values(
                        v, bins=b, lower=lo, upper=hi
                    ).counts,
                    peer=peer, package=package,
                    quality=lambda found, t=truth: float(np.abs(found - t).sum() / 2),
                    metric="values in another bin", rounds=1 if small else 5,
                )  # fmt: skip
    yield from planes.histogram(small=small)


def resample(*, small: bool = False) -> Lines:
    """Voxels of 1 to 1.5, without smoothing; quality against the peer in double precision."""
    import SimpleITK

    from benchmarks.process import planes
    from somascope.core import Grid, Image
    from somascope.process.resample import resample as changed

    v = volume(100, small=small)
    grid = Grid.from_spacing(v.shape, (1.0, 1.0, 1.0))
    image = Image(v, grid)
    made = changed(image, spacing=(1.5,), order="linear", antialias=False)
    given = SimpleITK.GetImageFromArray(v)
    x0, y0, z0 = made.grid.origin

    def itk(interpolator: int = SimpleITK.sitkLinear) -> Array:
        size = made.grid.shape[::-1]
        found = SimpleITK.Resample(
            given, size, SimpleITK.Transform(), interpolator, (x0, y0, z0), (1.5, 1.5, 1.5)
        )
        return SimpleITK.GetArrayFromImage(found)

    first = np.array([z0, y0, x0])

    def scipy_() -> Array:
        return ndimage.affine_transform(
            v, np.full(3, 1.5), first, made.grid.shape, order=1, mode="nearest"
        )

    truth = ndimage.affine_transform(
        v.astype(np.float64), np.full(3, 1.5), first, made.grid.shape, order=1, mode="nearest"
    )
    for package, peer in (("scipy", scipy_), ("SimpleITK", itk)):
        yield compared(
            "process.resample", case(v, "linear, 1.5 voxels"), given=v.nbytes,
            ours=lambda: changed(image, spacing=(1.5,), order="linear", antialias=False).data,
            peer=peer, package=package, quality=apart(truth, 2), metric="relative RMS error",
            rounds=1 if small else 5,
        )  # fmt: skip
    yield from planes.resample(small=small)


def n4(*, small: bool = False) -> Lines:
    """On a simulated head; quality is what is left of the shading (12 % before)."""
    import SimpleITK

    from somascope.core import Image
    from somascope.phantoms import brain_grid, brain_mr
    from somascope.process.bias import n4 as corrected

    grid = brain_grid(*(
        ((12, 48, 48), (12.0, 4.8, 4.8)) if small else ((48, 128, 128), (3.0, 1.8, 1.8))
    ))  # fmt: skip
    clean = np.abs(brain_mr("T1", grid).data).reshape(grid.shape).astype(np.float32)
    z, y, x = (np.linspace(-1, 1, n) for n in grid.shape)
    field = np.exp(0.3 * x + 0.25 * np.cos(2 * y)[:, None] + 0.2 * z[:, None, None] * x)
    shaded = (clean * field).astype(np.float32)
    image = Image(shaded, grid, "MR")
    tissue = clean > 0.15 * clean.max()
    shrink = [max(round(4.0 / s), 1) for s in grid.spacing[::-1]]

    def itk() -> Array:
        given = SimpleITK.GetImageFromArray(shaded)
        given.SetSpacing(grid.spacing[::-1])
        mask = SimpleITK.OtsuThreshold(given, 0, 1, 200)
        peer = SimpleITK.N4BiasFieldCorrectionImageFilter()
        peer.Execute(SimpleITK.Shrink(given, shrink), SimpleITK.Shrink(mask, shrink))
        logs = SimpleITK.GetArrayFromImage(peer.GetLogBiasFieldAsImage(given))
        return shaded / np.exp(logs)

    def uneven(found: Array) -> float:
        left = found[tissue] / clean[tissue]
        return float(left.std() / left.mean())

    yield compared(
        "process.n4", case(shaded, "found at 4 mm"), given=shaded.nbytes,
        ours=lambda: corrected(image).data, peer=itk, package="SimpleITK", quality=uneven,
        metric="shading left", rounds=1,
    )  # fmt: skip
