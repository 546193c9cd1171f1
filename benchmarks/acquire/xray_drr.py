"""A radiograph through a volume: our Joseph projector and RTK's, and both against the closed form.

256^3 voxels, 512 x 512 pixels, one cone-beam view, float32; `SimpleITK`'s cousin ITK-RTK computes
the same ray sums (its `JosephForwardProjectionImageFilter`) on the same cores. The quality is the
root mean square gap to the exact integrals of the ellipsoids, relative to their largest.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import numpy as np

from somascope.acquire.xray.projection import Projection
from somascope.core import Grid
from somascope.phantoms import Ellipsoid, draw, line_integrals

SHAPES = [
    Ellipsoid(0.02, (0, 0, 0), (110, 80, 115)),
    Ellipsoid(-0.015, (-45, 5, 10), (35, 45, 70), (10, 0)),
    Ellipsoid(-0.015, (45, 5, 10), (35, 45, 70), (-10, 0)),
    Ellipsoid(0.03, (5, 50, 0), (15, 12, 100)),
]


def scene(size: int, pixels: int) -> tuple[Grid, np.ndarray, Projection]:
    """A volume of 256 mm and a detector of 512 mm; the beam runs down S, rows along L."""
    step, pitch = 256.0 / size, 512.0 / pixels
    origin = [-(size - 1) / 2 * step] * 3
    grid = Grid.from_spacing((size,) * 3, (step,) * 3, origin=origin)
    first = -(pixels - 1) / 2 * pitch
    scan = Projection(
        grid=grid, sources=np.array([[0.0, 0.0, 1000.0]]),
        origins=np.array([[first, first, -500.0]]), rows=np.array([[0.0, pitch, 0.0]]),
        columns=np.array([[pitch, 0.0, 0.0]]), shape=(pixels, pixels),
    )  # fmt: skip
    return grid, draw(SHAPES, grid, summed=True), scan


class RTK:
    """The same geometry for RTK's Joseph filter; its source stands on +z at angle 0."""

    def __init__(self, grid: Grid, volume: np.ndarray, scan: Projection) -> None:
        import itk
        from itk import RTK as rtk  # noqa: N811

        self.rtk = rtk
        kind = itk.Image[itk.F, 3]
        self.image = itk.image_from_array(np.ascontiguousarray(volume, np.float32))
        self.image.SetSpacing([float(s) for s in grid.spacing[::-1]])
        self.image.SetOrigin([float(v) for v in grid.origin])
        self.geometry = rtk.ThreeDCircularProjectionGeometry.New()
        self.geometry.AddProjection(1000.0, 1500.0, 0.0)
        ny, nx = scan.shape
        pitch = float(scan.columns[0, 0])
        self.stack = rtk.ConstantImageSource[kind].New()
        self.stack.SetSize([nx, ny, 1])
        self.stack.SetSpacing([pitch, pitch, 1.0])
        self.stack.SetOrigin([-(nx - 1) / 2 * pitch, -(ny - 1) / 2 * pitch, 0.0])
        self.stack.SetConstant(0.0)
        self.stack.Update()
        self.kind = kind

    def __call__(self) -> np.ndarray:
        import itk

        projector = self.rtk.JosephForwardProjectionImageFilter[self.kind, self.kind].New()
        projector.SetInput(self.stack.GetOutput())
        projector.SetInput(1, self.image)
        projector.SetGeometry(self.geometry)
        projector.Update()
        return itk.array_from_image(projector.GetOutput())


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """One line: one view, forward."""
    size, pixels, rounds = (64, 128, 3) if small else (256, 512, 7)
    grid, volume, scan = scene(size, pixels)
    peer = RTK(grid, volume, scan)
    truth = line_integrals(SHAPES, scan.sources[0], scan.pixels(0), summed=True)

    def gap(image: np.ndarray) -> float:
        return float(np.sqrt(np.mean((image[0] - truth) ** 2)) / truth.max())

    ours_gap, peer_gap = gap(scan.forward(volume)), gap(peer())  # warms both
    ours, theirs = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        peer()
        middle = time.perf_counter()
        scan.forward(volume)
        theirs.append(1000 * (middle - start))
        ours.append(1000 * (time.perf_counter() - middle))
    yield {
        "name": "xray.drr",
        "case": f"{pixels}^2 pixels through {size}^3 voxels, one cone-beam view",
        "ours_ms": {"min": min(ours), "median": statistics.median(ours)},
        "peer": "itk-rtk",
        "peer_version": version("itk-rtk"),
        "peer_ms": {"min": min(theirs), "median": statistics.median(theirs)},
        "ratio": statistics.median(theirs) / statistics.median(ours),
        "quality_metric": "RMS gap to the closed form, relative to the largest integral",
        "quality_ours": ours_gap,
        "quality_peer": peer_gap,
    }
