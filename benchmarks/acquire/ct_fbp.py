"""Filtered back projection of 720 views: ours, ASTRA (CPU), scikit-image, algotom.

The exact sinogram of the head without noise (edges count: error everywhere) and with noise and a
Hann window, which all four offer (error in flat parts). Plans and projectors are made beforehand.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.acquire.ct_case import head, noisy, rms_hu, sinogram
from benchmarks.turns import compared
from somascope.acquire.ct.fbp import parallel_fbp
from somascope.acquire.ct.parallel import ParallelScan

Array = np.ndarray


def astra_fbp(lines: Array, angles: Array, n: int, kernel: str) -> Callable[[], Array]:
    """ASTRA's FBP on the CPU; its y runs upwards, so the views turn the other way."""
    import astra

    projections = astra.create_proj_geom("parallel", 1.0, lines.shape[1], -angles)
    volume = astra.create_vol_geom(n, n)
    projector = astra.create_projector("linear", projections, volume)
    data = astra.data2d.create("-sino", projections, lines)
    result = astra.data2d.create("-vol", volume)
    config = astra.astra_dict("FBP")
    config |= {
        "ProjectorId": projector, "ProjectionDataId": data, "ReconstructionDataId": result,
        "option": {"FilterType": kernel},
    }  # fmt: skip
    algorithm = astra.algorithm.create(config)

    def run() -> Array:
        astra.algorithm.run(algorithm)
        return astra.data2d.get(result)

    return run


def skimage_fbp(lines: Array, angles: Array, n: int, kernel: str) -> Callable[[], Array]:
    """scikit-image's iradon; it turns about pixel ``n // 2``, the middle of odd sizes."""
    from skimage.transform import iradon

    assert n % 2 == lines.shape[1] % 2 == 1
    name = {"ram-lak": "ramp", "hann": "hann"}[kernel]
    columns = np.ascontiguousarray(lines.T)
    degrees = -np.rad2deg(angles)

    def run() -> Array:
        return iradon(columns, theta=degrees, output_size=n, filter_name=name, circle=False)

    return run


def algotom_fbp(lines: Array, angles: Array, n: int, kernel: str) -> Callable[[], Array]:
    """algotom's FBP with Numba; its image has as many pixels per side as the detector."""
    from algotom.rec.reconstruction import fbp_reconstruction

    assert lines.shape[1] == n
    name = {"ram-lak": None, "hann": "hann"}[kernel]

    def run() -> Array:
        return fbp_reconstruction(
            lines, (n - 1) / 2, angles=-angles, filter_name=name, apply_log=False, gpu=False,
            ratio=None,
        )  # fmt: skip

    return run


PEERS = {
    "astra-toolbox": ("astra", astra_fbp),
    "scikit-image": ("skimage", skimage_fbp),
    "algotom": ("algotom", algotom_fbp),
}


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Every installed peer, without noise and with."""
    even, views, rounds = (128, 180, 3) if small else (512, 720, 3)
    for package, (module, make) in PEERS.items():
        try:
            __import__(module)
        except ImportError:
            print(f"ct.fbp: {package} is not installed", file=sys.stderr)
            continue
        n = even + (package == "scikit-image")
        truth, grid, shapes = head(n)
        bins = n if package == "algotom" else 2 * round(1.4375 * even / 2) + n % 2
        angles, clean = sinogram(shapes, views, bins)
        scan = ParallelScan(grid=grid, angles=angles, bins=bins, spacing=1.0)
        engine = scan.engine()
        for lines, kernel, flat in ((clean, "ram-lak", False), (noisy(clean), "hann", True)):
            name = "1e5 photons, Hann window" if flat else "no noise, ramp filter"
            yield compared(
                "ct.fbp", f"{n} x {n}, {views} views, {bins} bins; {name}",
                ours=lambda lines=lines, kernel=kernel, engine=engine, angles=angles: parallel_fbp(
                    lines[None], engine, angles, kernel=kernel  # pyright: ignore
                )[0],
                peer=make(lines, angles, n, kernel), package=package,
                quality=lambda a, flat=flat, truth=truth: rms_hu(a, truth, flat=flat),
                metric="RMS error in flat parts, HU" if flat else "RMS error, HU", rounds=rounds,
            )  # fmt: skip
