"""OSEM of a SPECT scan with attenuation and collimator response against PyTomography (torch, CPU).

Same projections, angles, radii, mu-map, linear width of the response, subsets and iterations. The
projections are made on a grid twice as fine as that of the reconstructions, with Poisson noise.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.turns import compared
from somascope.acquire.spect.osem import osem
from somascope.acquire.spect.parallel import ParallelScan
from somascope.acquire.spect.simulate import expected, noisy
from somascope.core import Acquisition, Grid
from somascope.phantoms.ellipsoid import Ellipsoid, draw

Array = np.ndarray


def shapes(size: float, height: float) -> list[Ellipsoid]:
    """A warm body with hot and cold spheres, ``size`` mm wide; values in Bq/ml."""
    r = size / 2
    found = [Ellipsoid(1e4, (0, 0, 0), (0.72 * r, 0.6 * r, 0.45 * height))]
    for k, (value, radius) in enumerate(
        ((6e4, 0.06), (6e4, 0.09), (6e4, 0.13), (0, 0.13), (0, 0.09), (3e4, 0.11))
    ):
        a = k * np.pi / 3
        centre = (0.38 * r * float(np.cos(a)), 0.34 * r * float(np.sin(a)), 0.0)
        found.append(Ellipsoid(value, centre, (radius * r,) * 3))
    return found


def grid(n: int, nz: int, pixel: float) -> Grid:
    half = (n - 1) / 2 * pixel
    return Grid.from_spacing((nz, n, n), (pixel,) * 3, origin=(-half, -half, -(nz - 1) / 2 * pixel))


def scene(n: int, nz: int, views: int, *, seconds: float = 20.0) -> tuple[Array, Acquisition]:
    """The truth in Bq/ml, and a noisy scan of it made on a grid twice as fine."""
    pixel = 512.0 / n
    body = shapes(512.0, nz * pixel)
    fine, coarse = grid(2 * n, 2 * nz, pixel / 2), grid(n, nz, pixel)
    angles = np.arange(views) * 2 * np.pi / views

    def scan(g: Grid, columns: int) -> ParallelScan:
        water = draw(body[:1], g) > 0
        return ParallelScan(
            grid=g, angles=angles, radius=240.0, columns=columns, seconds=seconds,
            mu=np.where(water, 0.0153, 0.0),
        )  # fmt: skip

    counts = expected(scan(fine, 2 * n), draw(body, fine))
    counts = counts.reshape(views, nz, 2, n, 2).sum(axis=(2, 4))
    operator = scan(coarse, n)
    truth = draw(body, fine).reshape(nz, 2, n, 2, n, 2).mean(axis=(1, 3, 5))
    return truth, Acquisition(
        noisy(counts, seed=0), operator, "NM", "{counts}",
        calibration={"sensitivity": np.array(operator.camera.cps_per_mbq)},
    )  # fmt: skip


def pytomography_osem(
    acquisition: Acquisition, *, iterations: int, subsets: int
) -> Callable[[], Array]:
    """PyTomography's OSEM; its z is our z, its angles are ours half a turn later."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        from pytomography.algorithms import OSEM
        from pytomography.likelihoods import PoissonLogLikelihood
        from pytomography.metadata.SPECT import SPECTObjectMeta, SPECTProjMeta, SPECTPSFMeta
        from pytomography.projectors.SPECT import SPECTSystemMatrix
        from pytomography.transforms.SPECT import SPECTAttenuationTransform, SPECTPSFTransform
    scan: Any = acquisition.operator
    nz, _, n = scan.domain
    pixel = scan.grid.spacing[0] / 10
    distance = np.linspace(0, 400, 50)
    slope, width = np.polyfit(distance, scan.camera.sigma(distance), 1)
    mu = torch.tensor(np.ascontiguousarray(scan.mu.transpose(2, 1, 0)) * 10)
    counts = np.ascontiguousarray(acquisition.samples[:, ::-1].transpose(0, 2, 1))
    gain = pixel**3 * scan.camera.cps_per_mbq * 1e-6 * float(scan.seconds[0])

    def run() -> Array:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            matrix = SPECTSystemMatrix(
                [
                    SPECTAttenuationTransform(mu),
                    SPECTPSFTransform(SPECTPSFMeta((slope, width / 10))),
                ],
                [],
                SPECTObjectMeta([pixel] * 3, [n, n, nz]),
                SPECTProjMeta(
                    (n, nz), [pixel] * 2, (np.degrees(scan.angles) + 180) % 360,
                    radii=scan.radius / 10,
                ),
            )  # fmt: skip
            likelihood = PoissonLogLikelihood(matrix, torch.tensor(counts))
            found = OSEM(likelihood)(n_iters=iterations, n_subsets=subsets)
        return np.ascontiguousarray(found.numpy().transpose(2, 1, 0)) / gain

    return run


def error_in_the_body(truth: Array) -> Callable[[Array], float]:
    """RMS error where there is activity or a cold sphere, over the warm value."""
    inside = truth > 100
    inside |= np.roll(inside, 3, axis=2) & np.roll(inside, -3, axis=2)

    def error(found: Array) -> float:
        return float(np.sqrt(np.mean((found[inside] - truth[inside]) ** 2)) / 1e4)

    return error


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    cases = [(24, 6, 8, 1)] if small else [(64, 64, 60, 2), (128, 64, 60, 1)]
    iterations, subsets = 2, 2 if small else 10
    for n, nz, views, rounds in cases:
        truth, acquisition = scene(n, nz, views)
        try:
            peer = pytomography_osem(acquisition, iterations=iterations, subsets=subsets)
        except ImportError:
            print("spect.osem: pytomography is not installed", file=sys.stderr)
            return
        yield compared(
            "spect.osem",
            f"{nz} slices of {n} x {n}, {views} views, {iterations} iterations x {subsets} subsets",
            ours=lambda a=acquisition: osem(a, iterations=iterations, subsets=subsets).data,
            peer=peer, package="pytomography", quality=error_in_the_body(truth),
            metric="RMS error in the body over its activity", rounds=rounds,
        )  # fmt: skip
