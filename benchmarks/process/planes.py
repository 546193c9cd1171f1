"""Slice by slice and on torch: OpenCV, kornia and torch itself against the same filters here.

Their borders and windows differ in places; quality is measured inside, against what each defines.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import ndimage

from benchmarks.process.bounds import compared
from benchmarks.process.filters import Array, Lines, apart, body, case, volume


def _each(v: Array, function: Callable[[Array], Any]) -> Array:
    return np.stack([function(plane) for plane in v])


def _tensor(v: Array) -> Any:
    import torch

    return torch.from_numpy(v)[:, None]


def gaussian(*, small: bool = False) -> Lines:
    """Sigma 2 in each slice."""
    import cv2
    import kornia

    from somascope.process.filters import smooth

    for dtype in (np.int16, np.float32):
        v = volume(100, small=small, dtype=dtype)
        truth = ndimage.gaussian_filter(v.astype(np.float64), (0, 2, 2))
        peers: dict[str, Callable[[], Array]] = {
            "opencv-python-headless": lambda v=v: _each(v, lambda p: cv2.GaussianBlur(
                p, (17, 17), 2.0, borderType=cv2.BORDER_REFLECT)),
        }  # fmt: skip
        if dtype is np.float32:
            given = _tensor(v)
            peers["kornia"] = lambda given=given: kornia.filters.gaussian_blur2d(
                given, (17, 17), (2.0, 2.0), "reflect"
            ).numpy()[:, 0]
        for package, peer in peers.items():
            yield compared(
                "process.gaussian", case(v, "sigma 2, slices"), given=v.nbytes,
                ours=lambda v=v: smooth(v, (0.0, 2.0, 2.0)), peer=peer, package=package,
                quality=apart(truth, 9), metric="relative RMS error", rounds=1 if small else 3,
            )  # fmt: skip


def median(*, small: bool = False) -> Lines:
    """Squares of 3 and 5 voxels in each slice."""
    import cv2
    import kornia

    from somascope.process.median import median as filtered

    for dtype in (np.uint16, np.float32):
        v = np.maximum(volume(100, small=small), 0).astype(dtype)
        for edge in (3, 5):
            truth = ndimage.median_filter(v[:4], (1, edge, edge))
            inner = (slice(None), slice(4, -4), slice(4, -4))
            peers: dict[str, Callable[[], Array]] = {
                "opencv-python-headless": lambda v=v, e=edge: _each(
                    v, lambda p: cv2.medianBlur(p, e)
                ),
            }
            if dtype is np.float32 and edge == 3:
                given = _tensor(v)
                peers["kornia"] = lambda g=given: kornia.filters.median_blur(g, 3).numpy()[:, 0]
            for package, peer in peers.items():
                yield compared(
                    "process.median", case(v, f"{edge}^2, slices"), given=v.nbytes,
                    ours=lambda v=v, e=edge: filtered(v, (1, e, e)), peer=peer, package=package,
                    quality=lambda found, t=truth, i=inner: float(
                        np.count_nonzero(found[:4][i] != t[i])
                    ),
                    metric="voxels that differ", rounds=1 if small else 3,
                )  # fmt: skip


def bilateral(*, small: bool = False) -> Lines:
    """Sigma 1.5 in each slice; OpenCV's window is a disc, so it weighs a fifth fewer."""
    import cv2
    import kornia

    from somascope.process.denoise import bilateral as filtered

    v = volume(20, small=small)
    given = _tensor(v)
    clean = ndimage.gaussian_filter(v, (0, 1.5, 1.5))
    for package, peer in (
        ("opencv-python-headless", lambda: _each(v, lambda p: cv2.bilateralFilter(
            p, 9, 100.0, 1.5, borderType=cv2.BORDER_REFLECT))),
        ("kornia", lambda: kornia.filters.bilateral_blur(
            given[:2], (9, 9), 100.0, (1.5, 1.5)).numpy()[:, 0]),
    ):  # fmt: skip
        few = v[:2] if package == "kornia" else v
        yield compared(
            "process.bilateral", case(few, "sigma 1.5 and 100, slices"), given=few.nbytes,
            ours=lambda w=few: filtered(w, space=(0.0, 1.5, 1.5), value=100.0), peer=peer,
            package=package,
            quality=lambda found: float((found[:2] - clean[:2])[:, 8:-8, 8:-8].std()),
            metric="distance from a Gaussian's", rounds=1 if small else 3,
        )  # fmt: skip


def clahe(*, small: bool = False) -> Lines:
    """8 x 8 tiles in each slice; OpenCV on bytes, and on 16 bits, where it has 65536 bins."""
    import cv2
    import kornia

    from somascope.process.equalise import equalise

    wide = volume(100, small=small)
    v = (wide - wide.min()) / (wide.max() - wide.min())
    whole, deep = (v * 255).astype(np.uint8), (v * 65535).astype(np.uint16)
    given = _tensor(v)
    tile = (1.0, v.shape[1] / 8, v.shape[2] / 8)

    def uneven(found: Array) -> float:
        counts = np.histogram(found, 32, (float(found.min()), float(found.max())))[0]
        return float(counts.std() / counts.mean())

    theirs = cv2.createCLAHE(2.5, (8, 8))
    cases = [
        ("peer on bytes", "opencv-python-headless", lambda: _each(whole, theirs.apply)),
        ("peer on 16 bits", "opencv-python-headless", lambda: _each(deep, theirs.apply)),
        ("", "kornia", lambda: kornia.enhance.equalize_clahe(given, 2.5, (8, 8)).numpy()[:, 0]),
    ]
    if small:  # tiles of 64 pixels say nothing of 65536 bins: their clip limit is one count
        del cases[1]
    for what, package, peer in cases:
        yield compared(
            "process.clahe", case(v, f"8 x 8 tiles, slices{', ' * bool(what)}{what}"),
            given=v.nbytes,
            ours=lambda: equalise(v, tile, limit=2.5, low=0.0, high=1.0, bins=256), peer=peer,
            package=package, quality=uneven, metric="unevenness of brightness",
            rounds=1 if small else 3,
        )  # fmt: skip


def nlm(*, small: bool = False) -> Lines:
    """Search 7^2, patch 3^2 in each slice; OpenCV on bytes, whose noise it leaves rounded."""
    import cv2

    from somascope.process.denoise import nonlocal_means

    v = volume(10, small=small)
    clean = v - np.random.default_rng(0).normal(0, 40, v.shape).astype(np.float32)
    low, scale = float(v.min()), 255 / float(np.ptp(v))
    whole = ((v - low) * scale).astype(np.uint8)
    yield compared(
        "process.nlm", case(v, "search 7^2, patch 3^2, slices"), given=v.nbytes,
        ours=lambda: nonlocal_means(
            v, search=(0, 3, 3), patch=(0, 1, 1), h=32.0, sigma=40.0),
        peer=lambda: _each(whole, lambda p: cv2.fastNlMeansDenoising(
            p, None, 40.0 * scale, 3, 7)).astype(np.float32) / scale + low,
        package="opencv-python-headless",
        quality=lambda found: float((found - clean)[:, 4:-4, 4:-4].std()),
        metric="noise left, of 40", rounds=1 if small else 3,
    )  # fmt: skip


def distance(*, small: bool = False) -> Lines:
    """Each slice by itself."""
    import cv2

    from somascope.process.distance import distance as measured

    mask = body(small=small)
    whole = mask.astype(np.uint8)
    truth = np.stack([ndimage.distance_transform_edt(m) for m in mask[:4]])
    yield compared(
        "process.distance", case(mask, "slices"), given=mask.nbytes,
        ours=lambda: np.concatenate([measured(m[None], (1.0, 1.0, 1.0)) for m in mask]),
        peer=lambda: _each(
            whole, lambda m: cv2.distanceTransform(m, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        ),
        package="opencv-python-headless",
        quality=lambda found: float(np.abs(found[:4] - truth).max()),
        metric="greatest error, voxels", rounds=1 if small else 3,
    )  # fmt: skip


def components(*, small: bool = False) -> Lines:
    """Each slice by itself, 8 neighbours."""
    import cv2

    from somascope.process.components import label

    mask = body(small=small)
    whole = mask.astype(np.uint8)
    count = sum(int(ndimage.label(m, np.ones((3, 3)))[1]) for m in mask)
    yield compared(
        "process.components", case(mask, "8 neighbours, slices"), given=mask.nbytes,
        ours=lambda: np.concatenate([label(m[None])[0] for m in mask]),
        peer=lambda: _each(whole, lambda m: cv2.connectedComponents(m, connectivity=8)[1]),
        package="opencv-python-headless",
        quality=lambda found: abs(float(sum(int(m.max()) for m in found)) - count),
        metric="components too many or few", rounds=1 if small else 3,
    )  # fmt: skip


def histogram(*, small: bool = False) -> Lines:
    """256 bins of the whole volume."""
    import cv2
    import torch

    from somascope.process.histogram import of_values

    for dtype in (np.uint16, np.float32):
        v = np.maximum(volume(100, small=small), 0).astype(dtype).reshape(-1)
        high = float(v.max()) + 1.0
        truth = np.histogram(v.astype(np.float64), 256, (0, high))[0]
        flat = v.reshape(-1, 512 if v.size % 512 == 0 else 64)
        peers: dict[str, Callable[[], Array]] = {
            "opencv-python-headless": lambda f=flat, h=high: cv2.calcHist(
                [f], [0], None, [256], [0.0, h]).reshape(-1),
        }  # fmt: skip
        if dtype is np.float32:
            given = torch.from_numpy(v)
            peers["torch"] = lambda g=given, h=high: torch.histc(g, 256, 0.0, h).numpy()
        for package, peer in peers.items():
            yield compared(
                "process.histogram", f"{v.size} {v.dtype}, 256 bins", given=v.nbytes,
                ours=lambda v=v, h=high: of_values(v, bins=256, lower=0.0, upper=h).counts,
                peer=peer, package=package,
                quality=lambda found, t=truth: float(np.abs(found - t).sum() / 2),
                metric="values in another bin", rounds=1 if small else 5,
            )  # fmt: skip


def resample(*, small: bool = False) -> Lines:
    """Two thirds of the voxels along each axis, as torch (and so MONAI) does it."""
    import torch

    from somascope.core import Grid, Image
    from somascope.process.resample import resample as changed

    v = volume(99, small=small)[:, 1:-1, 1:-1]
    v = np.ascontiguousarray(v[: v.shape[0] // 3 * 3, : v.shape[1] // 3 * 3, : v.shape[2] // 3 * 3])
    image = Image(v, Grid.from_spacing(v.shape, (1.0, 1.0, 1.0)))
    size = tuple(n * 2 // 3 for n in v.shape)
    given = torch.from_numpy(v)[None, None]
    place = [(np.arange(n) + 0.5) * 1.5 - 0.5 for n in size]
    mesh = np.meshgrid(*place, indexing="ij")
    truth = ndimage.map_coordinates(v.astype(np.float64), mesh, order=1, mode="nearest")
    yield compared(
        "process.resample", case(v, "linear, 1.5 voxels"), given=v.nbytes,
        ours=lambda: changed(image, spacing=(1.5,), order="linear", antialias=False).data,
        peer=lambda: torch.nn.functional.interpolate(
            given, size=size, mode="trilinear", align_corners=False
        ).numpy()[0, 0],
        package="torch", quality=apart(truth, 2), metric="relative RMS error",
        rounds=1 if small else 3,
    )  # fmt: skip
