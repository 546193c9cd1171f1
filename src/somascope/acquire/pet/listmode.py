"""`pet.listmode`: one line per coincidence, in the order of arrival."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from somascope.acquire.imagespace import OnGrid
from somascope.acquire.operators import demand
from somascope.acquire.pet.joseph import Lines
from somascope.acquire.pet.psf import Blur
from somascope.acquire.pet.scanner import Scanner
from somascope.acquire.tensors import is_tensor
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Grid

Point = Sequence[float]
CHUNK = 1 << 20
"""Events whose lines are held at a time."""


class ListModeScan(OnGrid):
    """Line integrals of a volume along the lines of single coincidences.

    ``domain`` is ``grid.shape``; ``range`` is ``(events,)``.

    Parameters
    ----------
    grid, scanner, centre, psf
        As for `SinogramScan`.
    crystals
        Crystal pair of each event, ``(events, 2)``: ``ring * crystals_per_ring + crystal``.
    tof
        TOF bin of each event, ``(events,)``; needed where the scanner has TOF.
    times
        ms since the start of the frame, ``(events,)``, where known.
    positions
        Of all crystals, ``(n, 3)`` in LPS mm from the centre, where they do not lie on the
        scanner's cylinder (flat blocks, several layers, open rings); events then number these.
    """

    kind = "pet.listmode"

    def __init__(
        self,
        *,
        grid: Grid,
        scanner: Scanner | Mapping[str, Any],
        crystals: ArrayLike,
        tof: ArrayLike | None = None,
        times: ArrayLike | None = None,
        centre: Point = (0.0, 0.0, 0.0),
        psf: float = 0.0,
        positions: ArrayLike | None = None,
    ) -> None:
        self._grid = grid
        self.scanner = (
            scanner if isinstance(scanner, Scanner) else Scanner.from_description(scanner)
        )
        self.centre = (float(centre[0]), float(centre[1]), float(centre[2]))
        self.positions = None if positions is None else np.asarray(positions, np.float64)
        if self.positions is not None and (
            self.positions.ndim != 2
            or self.positions.shape[1] != 3
            or not np.isfinite(self.positions).all()
        ):
            raise GeometryError(
                f"positions have shape {self.positions.shape} or are not finite; give LPS mm (n, 3)"
            )
        count = None if self.positions is None else len(self.positions)
        self.crystals, self.tof = checked_events(self.scanner, crystals, tof, count=count)
        self.times = None if times is None else np.asarray(times)
        if self.times is not None and self.times.shape != self.crystals.shape[:1]:
            raise GeometryError(
                f"times has shape {self.times.shape} for {len(self.crystals)} events; give one each"
            )
        if not (np.isfinite(psf) and psf >= 0):
            raise ParameterError(f"psf is {psf}; give its FWHM in mm, 0 for none")
        self.psf = float(psf)
        self._blur = Blur(grid, self.psf) if psf > 0 else None
        self._devices: dict[str, Any] = {}

    @property
    def range(self) -> tuple[int, ...]:
        """``(events,)``."""
        return (len(self.crystals),)

    @property
    def multiplicity(self) -> Array:
        """1: an event is one crystal pair."""
        return np.ones(1, np.float32)

    def describe(self) -> dict[str, Any]:
        """The keyword arguments that make it again."""
        own: dict[str, Any] = {
            "grid": self._grid, "scanner": self.scanner.describe(), "centre": list(self.centre),
            "crystals": self.crystals, "psf": self.psf,
        }  # fmt: skip
        if self.tof is not None:
            own["tof"] = self.tof
        if self.times is not None:
            own["times"] = self.times
        if self.positions is not None:
            own["positions"] = self.positions
        return own

    def of_events(self, which: slice | Array) -> ListModeScan:
        """The scan with some of its events."""
        new: dict[str, Any] = {}
        for name in ("crystals", "tof", "times"):
            kept = getattr(self, name)
            new[name] = None if kept is None else kept[which]
        return ListModeScan(**{**self.describe(), **new})

    def on_grid(self, grid: Grid) -> ListModeScan:
        """The scan with its image on another grid; the events are shared."""
        other = copy(self)
        other._grid = grid  # noqa: SLF001
        other._devices = {}  # noqa: SLF001
        other._blur = Blur(grid, self.psf) if self.psf > 0 else None  # noqa: SLF001
        return other

    def lines(self) -> Iterator[tuple[slice, Lines]]:
        """The lines of all events, a part at a time."""
        own = self.scanner.positions() if self.positions is None else self.positions
        points = own + np.asarray(self.centre)
        for a in range(0, len(self.crystals), CHUNK):
            part = slice(a, min(a + CHUNK, len(self.crystals)))
            bins = None if self.tof is None else self.tof[part]
            yield part, Lines(self._grid, points, self.crystals[part], scanner=self.scanner,
                              bins=bins)  # fmt: skip

    def forward(self, x: Array) -> Array:
        """Line integrals ``(events,)``, float32: (unit of x) times mm; tensors give tensors."""
        if is_tensor(x):
            return self._tensor(x).forward(x)
        x = np.asarray(demand(x, self.domain, "ListModeScan"), np.float32)
        if self._blur is not None:
            x = self._blur.forward(x)
        out = np.empty(self.range, np.float32)
        for part, lines in self.lines():
            out[part] = lines.forward(x)
        return out

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
        y = np.asarray(demand(y, self.range, "ListModeScan.adjoint"), np.float32)
        x = np.zeros(self.domain, np.float32)
        for part, lines in self.lines():
            x += lines.adjoint(y[part])
        return x if self._blur is None else self._blur.adjoint(x)


def checked_events(
    scanner: Scanner, crystals: ArrayLike, tof: ArrayLike | None, *, count: int | None = None
) -> tuple[Array, Array | None]:
    """Crystal pairs as int32 ``(n, 2)`` and TOF bins as int16, all inside the scanner.

    Raises
    ------
    GeometryError
        Events outside the scanner, of a crystal with itself, or without a TOF bin.
    """
    pairs = np.asarray(crystals)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
        raise GeometryError(
            f"events are {pairs.dtype} of shape {pairs.shape}; give crystal numbers, integers "
            "of shape (events, 2)"
        )
    total = scanner.rings * scanner.crystals if count is None else count
    if pairs.size and not (pairs.min() >= 0 and pairs.max() < total):
        bad = int(np.any((pairs < 0) | (pairs >= total), axis=1).sum())
        raise GeometryError(
            f"{bad} of {len(pairs)} events lie outside the scanner {scanner.name!r} of {total} "
            f"crystals (numbers {pairs.min()} to {pairs.max()}); check the scanner"
        )
    if np.any(pairs[:, 0] == pairs[:, 1]):
        bad = int((pairs[:, 0] == pairs[:, 1]).sum())
        raise GeometryError(f"{bad} events join a crystal with itself; remove them")
    if scanner.tof_bins == 1:
        return np.ascontiguousarray(pairs, np.int32), None
    if tof is None:
        raise GeometryError(
            f"the scanner {scanner.name!r} has {scanner.tof_bins} TOF bins; give the bin of each "
            "event, or use scanner.without_tof()"
        )
    bins = np.asarray(tof)
    if bins.shape != pairs.shape[:1] or bins.dtype.kind not in "iu":
        raise GeometryError(
            f"tof is {bins.dtype} of shape {bins.shape} for {len(pairs)} events; give one integer "
            "each"
        )
    if bins.size and not (bins.min() >= 0 and bins.max() < scanner.tof_bins):
        raise GeometryError(
            f"TOF bins {bins.min()} to {bins.max()} in a scanner of {scanner.tof_bins}; give 0 to "
            f"{scanner.tof_bins - 1}"
        )
    return np.ascontiguousarray(pairs, np.int32), np.ascontiguousarray(bins, np.int16)
