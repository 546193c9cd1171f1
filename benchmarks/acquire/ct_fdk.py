"""FDK of a cone-beam scan against itk-rtk on the CPU, and its cost per voxel and view by size.

Both reconstruct the exact line integrals of the head on a cubic grid. The second half has no peer:
it shows that ours costs the same per voxel and view from 128 to 1024 (a slab of 1024).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.turns import compared
from somascope.acquire.ct.cone import ConeScan
from somascope.acquire.ct.fdk import Feldkamp
from somascope.core import Grid
from somascope.phantoms import draw, line_integrals, shepp_logan_shapes
from somascope.phantoms.ellipsoid import Ellipsoid

Array = np.ndarray


def scene(n: int, views: int) -> tuple[Array, ConeScan, list[Ellipsoid]]:
    """The head in ``n`` cubed voxels of 1 mm, its cone-beam scan, and its shapes."""
    scale = n / 220
    shapes = [
        Ellipsoid(
            s.value, tuple(c * scale for c in s.centre), tuple(r * scale for r in s.radii),  # pyright: ignore
            s.angles,
        )
        for s in shepp_logan_shapes("modified")
    ]  # fmt: skip
    grid = Grid.from_spacing((n, n, n), (1, 1, 1), origin=[-(n - 1) / 2] * 3)
    scan = ConeScan(
        grid=grid, angles=np.arange(views) * 2 * np.pi / views, rows=round(1.25 * n),
        columns=round(1.25 * n), spacing=(2.0, 2.0), source=4.0 * n, detector=8.0 * n,
    )  # fmt: skip
    return draw(shapes, grid, summed=True), scan, shapes


def rtk_fdk(data: Array, scan: ConeScan) -> Callable[[], Array]:
    """itk-rtk's FDK; its x is our L, its y our S, its z towards the source at angle 0."""
    import itk
    from itk import RTK as rtk  # noqa: N811

    geometry = rtk.ThreeDCircularProjectionGeometry.New()
    for angle in np.rad2deg(scan.angles):
        geometry.AddProjection(scan.source, scan.detector, float(angle))
    image = itk.Image[itk.F, 3]
    stack = itk.image_from_array(np.ascontiguousarray(data))
    columns, rows = scan.columns, scan.rows
    stack.SetSpacing([scan.spacing[1], scan.spacing[0], 1.0])
    stack.SetOrigin([-(columns - 1) / 2 * scan.spacing[1], -(rows - 1) / 2 * scan.spacing[0], 0.0])
    n = scan.grid.shape[0]

    def run() -> Array:
        blank = rtk.ConstantImageSource[image].New()
        blank.SetOrigin([-(n - 1) / 2] * 3)
        blank.SetSpacing([1.0] * 3)
        blank.SetSize([n] * 3)
        blank.SetConstant(0.0)
        fdk = rtk.FDKConeBeamReconstructionFilter[image].New()
        fdk.SetInput(0, blank.GetOutput())
        fdk.SetInput(1, stack)
        fdk.SetGeometry(geometry)
        fdk.GetRampFilter().SetTruncationCorrection(0.0)
        fdk.Update()
        return itk.array_from_image(fdk.GetOutput())

    return run


def error_by_middle(truth: Array) -> Callable[[Array], float]:
    """RMS error of the middle tenth of slices, where FDK is nearly exact."""
    n = len(truth)
    middle = slice(n // 2 - n // 20, n // 2 + n // 20)

    def error(found: Array) -> float:
        if found.shape != truth.shape:
            return float("nan")
        return float(np.sqrt(np.mean((found[middle] - truth[middle]) ** 2)))

    return error


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """The peer at two sizes, then ours alone at four."""
    cases = [(48, 40, 2)] if small else [(128, 90, 3), (256, 180, 1)]
    for n, views, rounds in cases:
        truth, scan, shapes = scene(n, views)
        data = line_integrals(shapes, *scan.views().rays(), summed=True).astype(np.float32)
        engine = Feldkamp(scan)
        try:
            peer = rtk_fdk(data, scan)
        except ImportError:
            print("ct.fdk: itk-rtk is not installed", file=sys.stderr)
            break
        # (y, z, x) of theirs, with the source on +z, is our (z, y, x) with y turned round.
        yield compared(
            "ct.fdk", f"{n}^3, {views} views of {scan.rows} x {scan.columns}, ramp filter",
            ours=lambda engine=engine, data=data, scan=scan: engine.slab(data, scan.grid),
            peer=lambda peer=peer: peer().transpose(1, 0, 2)[:, ::-1],
            package="itk-rtk", quality=error_by_middle(truth), metric="RMS error, middle slices",
            rounds=rounds,
        )  # fmt: skip
    yield from _by_size(small=small)


def _by_size(*, small: bool) -> Iterator[dict[str, Any]]:
    """Milliseconds per 10^9 voxel-views; the smallest size stands for the peer."""
    sizes = [(32, 32), (48, 48)] if small else [(128, 128), (256, 256), (512, 64), (1024, 32)]
    views = 16
    per: dict[int, dict[str, float]] = {}
    for n, thick in sizes:
        _, scan, _ = scene(8, views)
        grid = Grid.from_spacing((n, n, n), (1, 1, 1), origin=[-(n - 1) / 2] * 3)
        scan = ConeScan(
            **{**scan.describe(), "grid": grid, "rows": round(1.25 * n),
               "columns": round(1.25 * n), "source": 4.0 * n, "detector": 8.0 * n}
        )  # fmt: skip
        data = np.ones(scan.range, np.float32)
        engine = Feldkamp(scan)
        slab = grid.moved(start=((n - thick) // 2, 0, 0), shape=(thick, n, n), step=(1, 1, 1))
        line = compared(
            "ct.fdk", f"{thick} slices of {n} x {n}, {views} views",
            ours=lambda engine=engine, data=data, slab=slab: engine.slab(data, slab), peer=None,
            package="somascope", quality=lambda _: 0.0, metric="-", rounds=3,
        )  # fmt: skip
        scale = 1e9 / (thick * n * n * views)
        per[n] = {k: v * scale for k, v in line["ours_ms"].items()}
        first = per[sizes[0][0]]
        yield {
            **line,
            "case": line["case"] + "; ms per 10^9 voxel-views, against the smallest size",
            "ours_ms": per[n], "peer": f"ours at {sizes[0][0]}", "peer_ms": first,
            "ratio": first["median"] / per[n]["median"],
        }  # fmt: skip
