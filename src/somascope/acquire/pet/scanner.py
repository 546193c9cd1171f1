"""`Scanner`: a cylinder of rings of crystals, and what its coincidence electronics resolve."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from somascope.core.errors import GeometryError, NotFound
from somascope.core.grid import Array, Float

MM_PER_PS = 0.299792458 / 2
"""Distance along a line per picosecond of difference in arrival: half the speed of light."""


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """A cylindrical PET scanner.

    Parameters
    ----------
    name
        Of the model.
    rings, crystals
        Rings, and crystals in each; ``crystals`` is even.
    radius
        Of the inner faces, mm.
    ring_spacing
        Between ring centres, mm.
    depth
        Mean depth of interaction below the inner face, mm.
    block
        Crystals of one block ``(axial, transaxial)``; ``(1, 1)`` where unknown.
    radial_bins
        Of a sinogram that covers the field of view.
    max_ring_difference
        Of accepted coincidences; all where None.
    tof_bins, tof_bin_ps, tof_resolution_ps
        Number and width of time-of-flight bins and the resolution (FWHM) in ps; ``tof_bins = 1``
        for a scanner without TOF.
    window_ns
        Coincidence window (2 tau), ns.
    energy_window, energy_resolution
        Accepted energies in keV, and FWHM at 511 keV as a share of it.
    """

    name: str
    rings: int
    crystals: int
    radius: float
    ring_spacing: float
    depth: float = 0.0
    block: tuple[int, int] = (1, 1)
    radial_bins: int = 0
    max_ring_difference: int | None = None
    tof_bins: int = 1
    tof_bin_ps: float = 0.0
    tof_resolution_ps: float = 0.0
    window_ns: float = 4.5
    energy_window: tuple[float, float] = (425.0, 650.0)
    energy_resolution: float = 0.15

    def __post_init__(self) -> None:
        if self.rings < 1 or self.crystals < 4 or self.crystals % 2:
            raise GeometryError(
                f"scanner {self.name!r} has {self.rings} rings of {self.crystals} crystals; give "
                "at least one ring and an even number of crystals"
            )
        lengths = {"radius": self.radius, "ring_spacing": self.ring_spacing}
        for what, value in lengths.items():
            if not (math.isfinite(value) and value > 0):
                raise GeometryError(f"scanner {self.name!r}: {what} is {value}; give mm above 0")
        if not (math.isfinite(self.depth) and self.depth >= 0):
            raise GeometryError(f"scanner {self.name!r}: depth is {self.depth}; give mm, 0 or more")
        if self.tof_bins > 1 and not (self.tof_bin_ps > 0 and self.tof_resolution_ps > 0):
            raise GeometryError(
                f"scanner {self.name!r} has {self.tof_bins} TOF bins of {self.tof_bin_ps} ps at "
                f"{self.tof_resolution_ps} ps FWHM; both must be above 0"
            )
        widest = self.crystals - 1
        bins = self.radial_bins or min(widest, self.crystals // 2 + 1)
        if not 1 <= bins <= widest:
            raise GeometryError(
                f"scanner {self.name!r} has {bins} radial bins; {self.crystals} crystals give at "
                f"most {widest}"
            )
        most = self.rings - 1 if self.max_ring_difference is None else self.max_ring_difference
        if not 0 <= most < self.rings:
            raise GeometryError(
                f"scanner {self.name!r}: a ring difference of {most} among {self.rings} rings; "
                f"give 0 to {self.rings - 1}"
            )
        object.__setattr__(self, "radial_bins", int(bins))
        object.__setattr__(self, "max_ring_difference", int(most))
        for pair in ("block", "energy_window"):  # JSON gives lists back
            object.__setattr__(self, pair, tuple(getattr(self, pair)))

    @property
    def effective_radius(self) -> float:
        """Radius at which photons interact, mm."""
        return self.radius + self.depth

    @property
    def angles(self) -> int:
        """Angles of a full sinogram."""
        return self.crystals // 2

    @property
    def tof_bin_mm(self) -> float:
        """Width of a TOF bin along the line, mm."""
        return self.tof_bin_ps * MM_PER_PS

    @property
    def tof_fwhm_mm(self) -> float:
        """TOF resolution along the line, FWHM in mm."""
        return self.tof_resolution_ps * MM_PER_PS

    @property
    def axial_length(self) -> float:
        """From the first to the last ring's outer edge, mm."""
        return self.rings * self.ring_spacing

    @property
    def sensitivity(self) -> float:
        """Counts per second per (Bq/ml mm) of one ideal crystal pair facing each other.

        Isotropic pairs from a concentration ``C`` per mm3 cross two faces of area ``F`` at distance
        ``D`` at the rate ``C F^2 / (2 pi D^2)`` per mm of line; 1 Bq/ml is 1e-3 per mm3.
        """
        r = self.effective_radius
        face = self.ring_spacing * 2 * math.pi * r / self.crystals
        return 1e-3 * face**2 / (2 * math.pi * (2 * r) ** 2)

    def ring_position(self, ring: Array | float) -> Float:
        """S of (fractional) ring numbers relative to the scanner's centre, mm."""
        return (np.asarray(ring, np.float64) - (self.rings - 1) / 2) * self.ring_spacing

    def crystal_position(self, crystal: Array | float) -> Float:
        """``(L, P)`` of (fractional) crystal numbers in a ring, shape ``(..., 2)``, mm."""
        psi = np.asarray(crystal, np.float64) * (2 * math.pi / self.crystals)
        return self.effective_radius * np.stack([np.sin(psi), -np.cos(psi)], axis=-1)

    def positions(self) -> Float:
        """LPS mm of all crystals, ``(rings * crystals, 3)``, ring by ring."""
        around = self.crystal_position(np.arange(self.crystals))
        along = self.ring_position(np.arange(self.rings))
        out = np.empty((self.rings, self.crystals, 3))
        out[..., :2] = around
        out[..., 2] = along[:, None]
        return out.reshape(-1, 3)

    def without_tof(self) -> Scanner:
        """The same scanner with its TOF bins joined."""
        return replace(self, tof_bins=1, tof_bin_ps=0.0, tof_resolution_ps=0.0)

    def describe(self) -> dict[str, Any]:
        """All its fields as JSON values; `from_description` makes it again."""
        return asdict(self)

    @classmethod
    def from_description(cls, values: Mapping[str, Any]) -> Scanner:
        """Read what `describe` gave, or a file header gave by the same names.

        Raises
        ------
        GeometryError
            Unknown or missing names, or impossible values.
        """
        known = {f.name for f in fields(cls)}
        if odd := set(values) - known:
            raise GeometryError(f"a scanner has no {', '.join(sorted(odd))}; it has {known}")
        try:
            return cls(**values)
        except TypeError as error:
            raise GeometryError(f"the description of the scanner is incomplete: {error}") from error


TINY = Scanner(
    name="Tiny", rings=5, crystals=64, radius=120.0, ring_spacing=8.0, depth=5.0, block=(1, 8),
    radial_bins=41, tof_bins=9, tof_bin_ps=250.0, tof_resolution_ps=500.0,
)  # fmt: skip
"""For tests: 5 rings of 64 crystals."""

BRAIN = Scanner(
    name="Brain", rings=16, crystals=256, radius=160.0, ring_spacing=4.0, depth=7.0, block=(8, 8),
    radial_bins=161, energy_window=(425.0, 650.0),
)  # fmt: skip
"""A head scanner without TOF."""

CLINICAL = Scanner(
    name="Clinical", rings=36, crystals=544, radius=380.0, ring_spacing=5.3, depth=9.0,
    block=(9, 4), radial_bins=375, tof_bins=29, tof_bin_ps=180.0, tof_resolution_ps=385.0,
)  # fmt: skip
"""A whole-body scanner with TOF; no vendor's."""

BODY = Scanner(
    name="Body", rings=12, crystals=256, radius=380.0, ring_spacing=14.0, depth=9.0, block=(4, 8),
    radial_bins=129,
)  # fmt: skip
"""A whole-body scanner of coarse crystals without TOF, for quick studies."""

SCANNERS = {s.name.lower(): s for s in (TINY, BRAIN, BODY, CLINICAL)}


def named(name: str) -> Scanner:
    """One of the generic scanners by name: ``tiny``, ``brain``, ``body``, ``clinical``."""
    try:
        return SCANNERS[name.lower()]
    except KeyError as error:
        raise NotFound(f"no scanner {name!r}; there is {', '.join(SCANNERS)}") from error
