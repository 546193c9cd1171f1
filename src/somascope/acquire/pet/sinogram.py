"""`pet.sinogram`: coincidences sorted by line into ``([tof,] plane, angle, radial)``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from somascope.acquire.imagespace import OnGrid
from somascope.acquire.operators import demand
from somascope.acquire.pet.joseph import Lines
from somascope.acquire.pet.lanes import Lanes, suits
from somascope.acquire.pet.michelogram import Michelogram
from somascope.acquire.pet.psf import Blur
from somascope.acquire.pet.scanner import Scanner
from somascope.acquire.tensors import is_tensor
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float, Grid

Point = Sequence[float]
_LEAST_FILL = 0.3
_AT_ONCE = 1 << 20


class SinogramScan(OnGrid):
    """Line integrals of a volume along the lines of a cylindrical PET scanner.

    ``domain`` is ``grid.shape``; ``range`` is ``(plane, angle, radial)``, or ``(tof, plane, angle,
    radial)`` for a scanner with TOF. See the room's docstring for the order of crystals and planes.

    Parameters
    ----------
    grid
        Where the image is.
    scanner
        Or its description.
    centre
        Of the scanner, LPS mm.
    span, max_ring_difference
        Of the planes; see `Michelogram`. The scanner's largest difference where None.
    radial_bins
        Of the sinogram; the scanner's where None.
    mashing
        Neighbouring angles added up; divides the number of angles.
    views
        Numbers of the (mashed) angles kept, for subsets; all where None.
    psf
        FWHM in mm of a Gaussian in image space applied before projecting; 0 for none.
    """

    kind = "pet.sinogram"

    def __init__(
        self,
        *,
        grid: Grid,
        scanner: Scanner | Mapping[str, Any],
        centre: Point = (0.0, 0.0, 0.0),
        span: int = 1,
        max_ring_difference: int | None = None,
        radial_bins: int | None = None,
        mashing: int = 1,
        views: ArrayLike | None = None,
        psf: float = 0.0,
    ) -> None:
        self._grid = grid
        self.scanner = (
            scanner if isinstance(scanner, Scanner) else Scanner.from_description(scanner)
        )
        self.centre = (float(centre[0]), float(centre[1]), float(centre[2]))
        most = (
            self.scanner.max_ring_difference if max_ring_difference is None else max_ring_difference
        )
        self.michelogram = Michelogram(self.scanner.rings, int(span), most)
        self.radial_bins = int(self.scanner.radial_bins if radial_bins is None else radial_bins)
        if not 1 <= self.radial_bins < self.scanner.crystals:
            raise GeometryError(
                f"{self.radial_bins} radial bins; {self.scanner.crystals} crystals give 1 to "
                f"{self.scanner.crystals - 1}"
            )
        self.mashing = int(mashing)
        if self.mashing < 1 or self.scanner.angles % self.mashing:
            raise GeometryError(
                f"mashing {mashing} does not divide the {self.scanner.angles} angles"
            )
        count = self.scanner.angles // self.mashing
        self.views = np.arange(count) if views is None else np.asarray(views, np.int64)
        if self.views.ndim != 1 or self.views.size == 0 or not (
            0 <= self.views.min() <= self.views.max() < count
        ):  # fmt: skip
            raise GeometryError(f"views are numbers of angles, 0 to {count - 1}; got {views!r}")
        if not (np.isfinite(psf) and psf >= 0):
            raise ParameterError(f"psf is {psf}; give its FWHM in mm, 0 for none")
        self.psf = float(psf)
        self._blur = Blur(grid, self.psf) if psf > 0 else None
        self._devices: dict[str, Any] = {}
        self._lanes: Lanes | None = None
        self._parts: list[tuple[slice, Lines]] | None = None

    @property
    def range(self) -> tuple[int, ...]:
        """``([tof,] plane, angle, radial)``."""
        own = (len(self.michelogram), len(self.views), self.radial_bins)
        return own if self.scanner.tof_bins == 1 else (self.scanner.tof_bins, *own)

    @property
    def angle_count(self) -> int:
        """Angles of the whole sinogram, kept or not."""
        return self.scanner.angles // self.mashing

    @property
    def multiplicity(self) -> Array:
        """Crystal pairs in each bin, float32 ``(planes, 1, 1)``."""
        return self.michelogram.multiplicity[:, None, None] * np.float32(self.mashing)

    def describe(self) -> dict[str, Any]:
        """The keyword arguments that make it again."""
        return {
            "grid": self._grid, "scanner": self.scanner.describe(), "centre": list(self.centre),
            "span": self.michelogram.span,
            "max_ring_difference": self.michelogram.max_ring_difference,
            "radial_bins": self.radial_bins, "mashing": self.mashing, "views": self.views,
            "psf": self.psf,
        }  # fmt: skip

    def with_changes(
        self,
        *,
        grid: Grid | None = None,
        scanner: Scanner | None = None,
        views: ArrayLike | None = None,
        psf: float | None = None,
        span: int | None = None,
        max_ring_difference: int | None = None,
    ) -> SinogramScan:
        """The same scan on another grid, with some of its angles, another PSF, span, or scanner."""
        new = {"grid": grid, "scanner": scanner, "views": views, "psf": psf, "span": span,
               "max_ring_difference": max_ring_difference}  # fmt: skip
        kept = {k: v for k, v in new.items() if v is not None}
        return SinogramScan(**{**self.describe(), **kept})

    def crystals(self) -> tuple[Float, Float]:
        """First and second (fractional, where mashed) crystal of each ``(angle, radial)``."""
        t = np.arange(self.radial_bins) - self.radial_bins // 2
        first = self.views[:, None] * self.mashing + (t >> 1) + (self.mashing - 1) / 2
        second = first - t + self.scanner.crystals // 2
        n = self.scanner.crystals
        return np.asarray(first % n, np.float64), np.asarray(second % n, np.float64)

    def ring_positions(self) -> Float:
        """S of both ends of every plane, ``(planes, 2)``, LPS mm."""
        return self.scanner.ring_position(self.michelogram.mean_rings) + self.centre[2]

    def transaxial(self) -> tuple[Float, Float]:
        """``(L, P)`` of both ends of every ``(angle, radial)``, each ``(angle, radial, 2)``, mm."""
        a, b = (self.scanner.crystal_position(c) for c in self.crystals())
        shift = np.asarray(self.centre[:2])
        return a + shift, b + shift

    def endpoints(self) -> tuple[Float, Float]:
        """Both ends of all lines, LPS mm, each ``(plane, angle, radial, 3)``."""
        flat, z = self.transaxial(), self.ring_positions()
        found = []
        for side in (0, 1):
            ends = np.empty((len(z), *flat[0].shape[:2], 3))
            ends[..., :2] = flat[side]
            ends[..., 2] = z[:, side, None, None]
            found.append(ends)
        return found[0], found[1]

    def forward(self, x: Array) -> Array:
        """Line integrals ``range``, float32: (unit of x) times mm; tensors give tensors."""
        if is_tensor(x):
            return self._tensor(x).forward(x)
        x = np.asarray(demand(x, self.domain, "SinogramScan"), np.float32)
        if self._blur is not None:
            x = self._blur.forward(x)
        lanes = self._fast()
        if lanes is not None:
            return lanes.forward(x).reshape(self.range)
        out = np.empty(self._flat, np.float32)
        for t, part, lines in self._slow():
            out[t, part] = lines.forward(x)
        return out.reshape(self.range)

    def _tensor(self, x: Any) -> Any:
        """The same projector for tensors like ``x``."""
        from somascope.acquire import gpu

        if not gpu.on_device(x):
            return gpu.ThroughNumPy(self)
        from somascope.acquire.pet.gpu import Joseph

        if str(x.device) not in self._devices:
            self._devices[str(x.device)] = Joseph(self, x.device)
        return self._devices[str(x.device)]

    def adjoint(self, y: Array) -> Array:
        """The transpose of `forward`: ``(nz, ny, nx)``, float32."""
        if is_tensor(y):
            return self._tensor(y).adjoint(y)
        y = np.asarray(demand(y, self.range, "SinogramScan.adjoint"), np.float32)
        lanes = self._fast()
        if lanes is not None:
            x = lanes.adjoint(y.reshape(lanes.bins, lanes.planes, lanes.lines))
        else:
            x = np.zeros(self.domain, np.float32)
            flat = y.reshape(self._flat)
            for t, part, lines in self._slow():
                x += lines.adjoint(flat[t, part])
        return x if self._blur is None else self._blur.adjoint(x)

    @property
    def _flat(self) -> tuple[int, int]:
        bins = self.scanner.tof_bins
        return bins, int(np.prod(self.range)) // bins

    def _fast(self) -> Lanes | None:
        """The engine for grids that share the scanner's symmetries."""
        if self._lanes is None and suits(self._grid, np.asarray(self.centre)):
            first, second = (e.reshape(-1, 2) for e in self.transaxial())
            rings = self.ring_positions()
            away = float(np.abs(rings[:, 1] - rings[:, 0]).max())
            across = np.abs(second - first).max(axis=1).min()
            if away < across:  # every line advances most within the slice
                self._lanes = Lanes(self._grid, first, second, rings, scanner=self.scanner)
        if self._lanes is not None and self._lanes.fill < _LEAST_FILL:
            return None
        return self._lanes

    def _slow(self) -> Iterator[tuple[int, slice, Lines]]:
        """Lines of any grid, a part at a time: TOF bin, which lines, and themselves."""
        bins, count = self._flat
        if self._parts is None and count <= _AT_ONCE:
            self._parts = list(self._cut(count))
        for part, lines in self._parts or self._cut(count):  # too many are not kept
            for t in range(bins):
                yield t, part, lines.resolved(self.scanner, np.full(len(lines), t))

    def _cut(self, count: int) -> Iterator[tuple[slice, Lines]]:
        first, second = (e.reshape(-1, 3) for e in self.endpoints())
        for a in range(0, count, _AT_ONCE):
            part = slice(a, min(a + _AT_ONCE, count))
            n = part.stop - part.start
            pairs = np.stack([np.arange(n), np.arange(n) + n], axis=1)
            yield part, Lines(self._grid, np.concatenate([first[part], second[part]]), pairs)
