"""`spect.parallel`: a camera with parallel holes that turns about the patient.

Rotation is bilinear: its transpose is the same four weights, its cost is flat, and along the axis
it is a sum of whole lines, so that every weight serves all slices. Its own blur (a sixth of a pixel
squared) is what the projection of a square voxel onto a square pixel has anyway. Three shears would
pass over the volume three times, and overshoot at edges where activity must not be negative.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from somascope.acquire.imagespace import OnGrid
from somascope.acquire.spect.camera import Camera, Collimator, camera_of
from somascope.acquire.spect.orbit import effective_seconds, per_view, plane, toward
from somascope.acquire.spect.response import Walk, walk
from somascope.acquire.tensors import is_tensor
from somascope.core.errors import GeometryError
from somascope.core.grid import Array, Float, Grid
from somascope.process.chunks import in_chunks

Point = tuple[float, float, float]
_CHUNKS = 16
_MOST = 2**29


class ParallelScan(OnGrid):
    """Expected counts of a rotating camera with a parallel-hole collimator.

    ``domain`` is ``grid.shape``, Bq/ml at the scan's start; ``range`` is ``(views, rows, columns)``
    counts, or ``(windows, views, rows, columns)`` for several energy windows. Row 0 is towards the
    head, column 0 to the viewer's left who looks from the camera at the patient: frames are as
    DICOM shows them.

    Parameters
    ----------
    grid
        Slices perpendicular to S, square pixels. The detector has the same pixels: one row per
        slice, columns of the slices' pixel size.
    angles
        Radians, ``(views,)``: 0 with the camera at the patient's back, growing towards the
        patient's left (PS3.3 C.8.4.10, Start Angle).
    radius
        From the axis of rotation to the collimator's face in mm, one or one per view (body
        contour).
    columns
        Of the detector.
    camera
        Collimator, crystal, windows, sensitivity.
    seconds
        How long each view counts, one or one per view.
    half_life
        Of the nuclide in s: the activity is that at the start of the scan, and later views count
        less. None for no decay.
    begins
        Start of each view in s after the start of the scan; one after the other if not given.
    mu
        Attenuation in 1/mm on the grid, or None for none.
    offset
        mm by which the detector's centre lies off the axis of rotation along the columns.
    isocentre
        A point of the axis of rotation, LPS mm.
    resolution
        Whether the camera blurs.
    """

    kind = "spect.parallel"

    def __init__(
        self,
        *,
        grid: Grid,
        angles: ArrayLike,
        radius: ArrayLike,
        columns: int,
        camera: Camera | Mapping[str, Any] | None = None,
        seconds: ArrayLike = 1.0,
        half_life: float | None = None,
        begins: ArrayLike | None = None,
        mu: Array | None = None,
        offset: ArrayLike = 0.0,
        isocentre: Point = (0.0, 0.0, 0.0),
        resolution: bool = True,
    ) -> None:
        self._grid = grid
        self.angles = per_view(angles, None, "angles")
        views = len(self.angles)
        self.radius = per_view(radius, views, "radius of rotation", positive=True)
        self.duration = per_view(seconds, views, "seconds per view", positive=True)
        self.half_life = None if half_life is None else float(half_life)
        if begins is None:
            begins = np.cumsum(self.duration) - self.duration
        self.begins = per_view(begins, views, "begin of views")
        self.seconds = effective_seconds(self.duration, self.half_life, begins=self.begins)
        self.offset = per_view(offset, views, "offset")
        self.columns = int(columns)
        if self.columns < 1:
            raise GeometryError(f"the detector has {columns} columns; give at least one")
        self.camera = Camera() if camera is None else camera_of(camera)
        if not isinstance(self.camera.collimator, Collimator):
            raise GeometryError(
                f"{self.kind} has parallel holes; the collimator {self.camera.collimator.name!r} "
                "is a pinhole: use spect.pinhole"
            )
        self.mu = attenuation_on(grid, mu)
        self.isocentre = (float(isocentre[0]), float(isocentre[1]), float(isocentre[2]))
        self.resolution = bool(resolution)
        self.plane = plane(grid, self.kind)
        self._tables: dict[str, _Tables] = {}
        self._layers: dict[Any, Any] = {}

    @property
    def views(self) -> int:
        """How many."""
        return len(self.angles)

    @property
    def range(self) -> tuple[int, ...]:
        """``(views, rows, columns)``, windows first where there are several."""
        one = (self.views, self._grid.shape[0], self.columns)
        windows = len(self.camera.windows)
        return one if windows == 1 else (windows, *one)

    def describe(self) -> dict[str, Any]:
        """The keyword arguments that make it again."""
        described: dict[str, Any] = {
            "grid": self._grid, "angles": self.angles, "radius": self.radius,
            "columns": self.columns, "camera": self.camera.to_json(), "seconds": self.duration,
            "half_life": self.half_life, "begins": self.begins,
            "offset": self.offset, "isocentre": self.isocentre, "resolution": self.resolution,
        }  # fmt: skip
        return described if self.mu is None else {**described, "mu": self.mu}

    def with_changes(
        self,
        *,
        views: Array | None = None,
        camera: Camera | None = None,
        resolution: bool | None = None,
    ) -> ParallelScan:
        """The same scan with some of its views, another camera, blur on or off."""
        new = self.describe()
        if views is not None:
            for name in ("angles", "radius", "seconds", "begins", "offset"):
                new[name] = per_view(new[name], self.views, name)[views]
        if camera is not None:
            new["camera"] = camera
        if resolution is not None:
            new["resolution"] = resolution
        return ParallelScan(**new)

    def with_attenuation(self, mu: Array | None) -> ParallelScan:
        """The same scan through a body of attenuation ``mu`` in 1/mm, or without any."""
        return ParallelScan(**{**self.describe(), "mu": mu})

    def forward(self, x: Array) -> Array:
        """Expected counts ``range`` of ``x`` ``(nz, ny, nx)`` in Bq/ml, an array or a tensor."""
        if is_tensor(x):
            return self._tensor(x).forward(x)
        x = floating(x, self.domain, what="the image")
        t = self._prepared(x.dtype)
        out = np.empty((self.views, self.columns, self._grid.shape[0]), x.dtype)
        in_chunks(t.project, self.views, self.lines(x), *t.arguments, out)
        rows = np.ascontiguousarray(out.swapaxes(1, 2))
        if len(self.camera.windows) == 1:
            return rows * self.camera.shares[0]
        return self.camera.shares[:, None, None, None].astype(x.dtype) * rows

    def adjoint(self, y: Array) -> Array:
        """The transpose of `forward`."""
        if is_tensor(y):
            return self._tensor(y).adjoint(y)
        y = floating(y, self.range, what="the projections")
        if len(self.camera.windows) == 1:
            y = y * self.camera.shares[0]
        else:
            y = np.tensordot(self.camera.shares.astype(y.dtype), y, axes=1)
        t = self._prepared(y.dtype)
        nz, ny, nx = self.domain
        volume = (ny + 4, nx + 4, nz)
        # How the sums are shared must not depend on the machine, or its bits would.
        most = max(2, _MOST // (int(np.prod(volume)) * y.itemsize))
        chunks = max(1, min(self.views // 3, _CHUNKS, most))
        shares = np.linspace(0, self.views, chunks + 1).astype(np.int64)
        out = np.zeros((chunks, *volume), y.dtype)
        rows = np.ascontiguousarray(y.swapaxes(1, 2))
        in_chunks(t.spread, chunks, rows, *t.arguments, shares, out)
        total = out[0] if chunks == 1 else out.sum(axis=0)
        image = total[2:-2, 2:-2].transpose(2, 0, 1)
        return np.ascontiguousarray(image[::-1] if self.plane.upward else image)

    def lines(self, volume: Array) -> Array:
        """``(nz, ny, nx)`` as lines from the head down, ``(ny + 4, nx + 4, nz)``, zeros around."""
        nz, ny, nx = self.domain
        out = np.zeros((ny + 4, nx + 4, nz), volume.dtype)
        ordered = volume[::-1] if self.plane.upward else volume
        out[2:-2, 2:-2] = ordered.transpose(1, 2, 0)
        return out

    def tables(self, dtype: Any) -> tuple[Any, ...]:
        """What the kernels take beside image and rows: see `kernels.project`."""
        return self._prepared(dtype).arguments

    def _tensor(self, x: Any) -> Any:
        from somascope.acquire import gpu

        if x.device.type == "cpu":
            return gpu.ThroughNumPy(self)
        from somascope.acquire.spect.gpu import Layers

        if x.device not in self._layers:
            self._layers[x.device] = Layers(self, x.device)
        return self._layers[x.device]

    def _prepared(self, dtype: Any) -> _Tables:
        name = np.dtype(dtype).name
        if name not in self._tables:
            self._tables[name] = _tables(self, np.dtype(dtype))
        return self._tables[name]


class _Tables:
    """What the kernels take, in one precision."""

    def __init__(self, arguments: tuple[Any, ...]) -> None:
        from somascope.acquire.spect.kernels import project, spread

        self.arguments = arguments
        self.project, self.spread = project, spread


def layers_of(scan: ParallelScan) -> tuple[Float, Array, Float]:
    """Where each view's layers are.

    Returns
    -------
    first
        ``(views,)`` mm from the axis towards the camera, of the farthest layer (negative).
    count
        ``(views,)`` how many, one pixel apart; none lies behind the collimator.
    distance
        ``(views, layers)`` of each to the collimator, mm; beyond ``count`` that of the last.
    """
    h = scan.grid.spacing[2]
    size, direction = scan.grid.shape[1], toward(scan.angles)
    corners = scan.plane.corners() - np.asarray(scan.isocentre[:2])
    along = corners @ direction.T
    parity = 0.5 * h * ((size + 1) % 2)
    far = np.ceil((along.min(axis=0) - parity) / h - 1e-6) * h + parity
    end = np.minimum(along.max(axis=0), scan.radius)
    count = np.floor((end - far) / h + 1e-6).astype(np.int64) + 1
    if (count < 1).any():
        worst = int(np.argmin(count))
        raise GeometryError(
            f"view {worst} has a radius of rotation of {scan.radius[worst]:.0f} mm, which leaves "
            "the whole image behind the collimator; check radius and isocentre (mm)"
        )
    steps = np.minimum(np.arange(int(count.max()))[None], count[:, None] - 1)
    distance = scan.radius[:, None] - (far[:, None] + steps * h)
    return far, count, np.maximum(distance, 0.0)


def _tables(scan: ParallelScan, dtype: Any) -> _Tables:
    from somascope.acquire.spect.kernels import survival

    far, count, distance = layers_of(scan)
    dz, _, h = scan.grid.spacing
    where, along = scan.plane, toward(scan.angles)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    first = scan.offset - (scan.columns - 1) / 2 * h
    start = np.asarray(scan.isocentre[:2]) + along * far[:, None] + across * first[:, None]
    place = np.concatenate(
        [where.index(start) + 2, where.turn(across) * h, where.turn(along) * h], axis=1
    )
    how: Walk = walk(scan.camera if scan.resolution else None, distance, count, pixel=(dz, h))
    volume = h * h * dz / 1000
    scale = volume * scan.camera.cps_per_mbq * 1e-6 * scan.seconds
    held = np.zeros((0, 0, 0), dtype)
    through = np.zeros((0, 0, 0), dtype)
    if scan.mu is not None:
        held = scan.lines(np.expm1(0.5 * h * scan.mu.astype(dtype)))
        through = np.empty((scan.views, scan.columns, scan.grid.shape[0]), dtype)
        in_chunks(survival, scan.views, held, place, count, through)
    return _Tables(
        (
            held, through, place, count, how.steps.astype(dtype), how.passes,
            how.last.astype(dtype), scale.astype(dtype),
        )
    )  # fmt: skip


def attenuation_on(grid: Grid, mu: Array | None) -> Array | None:
    """``mu`` as float32 on the grid, checked; None stays None."""
    if mu is None:
        return None
    mu = np.asarray(mu)
    if mu.shape != grid.shape:
        raise GeometryError(
            f"the attenuation map has shape {mu.shape} but the scan's image is {grid.shape}; "
            "resample it onto the scan's grid (acquire.spect.attenuation does)"
        )
    if mu.dtype.kind not in "fiu" or not np.isfinite(mu).all() or float(mu.min()) < 0:
        raise GeometryError(
            "the attenuation map holds values that are negative or not finite; give 1/mm, 0 for air"
        )
    return np.ascontiguousarray(mu, np.float32)


def floating(values: Array, shape: tuple[int, ...], *, what: str) -> Array:
    """``values`` as contiguous float32, or float64 where they are; of ``shape``, or an error."""
    values = np.asarray(values)
    if values.shape != tuple(shape):
        raise GeometryError(f"{what} has shape {values.shape}; this scan needs {tuple(shape)}")
    kind = np.float64 if values.dtype == np.float64 else np.float32
    return np.ascontiguousarray(values, kind)
