"""What a gamma camera is made of: collimators, crystal, energy windows.

Lengths in mm, energies in keV. The named collimators are generic: dimensions in the middle of what
makers publish for the type, no particular product. Resolution and efficiency of parallel holes
follow Anger 1964 (Cherry, Sorenson and Phelps, *Physics in Nuclear Medicine*, 4th ed., 14.C).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from somascope.core.errors import CorruptFile, ParameterError
from somascope.core.grid import Array, Float

FWHM = 2.0 * float(np.sqrt(2.0 * np.log(2.0)))
"""Full width at half maximum of a Gaussian, in standard deviations."""

_HEXAGONAL = 0.26
"""Shape constant of the efficiency of hexagonal holes in a hexagonal array."""


def _positive(name: str, **lengths: float) -> None:
    for what, value in lengths.items():
        if not (np.isfinite(value) and value > 0):
            raise ParameterError(f"{name}: {what} is {value}; give a positive length in mm")


@dataclass(frozen=True)
class Collimator:
    """Parallel holes.

    Parameters
    ----------
    name
        As it is called: ``LEHR``.
    diameter, length, septa
        Of the holes (face to face), and the lead between two of them, mm.
    penetration
        Attenuation of the septa at the energy it is made for, 1/mm; shortens the holes by
        ``2 / penetration``.
    gap
        From the collimator's back to the plane of detection in the crystal, mm.
    """

    name: str
    diameter: float
    length: float
    septa: float
    penetration: float = 2.7
    gap: float = 0.0

    def __post_init__(self) -> None:
        _positive(self.name, diameter=self.diameter, length=self.length, septa=self.septa,
                  penetration=self.penetration)  # fmt: skip
        if self.effective_length <= 0 or self.gap < 0:
            raise ParameterError(
                f"{self.name}: holes of {self.length} mm are shorter than what their septa let "
                f"through (2 / {self.penetration} mm), or the gap {self.gap} is negative"
            )

    @property
    def effective_length(self) -> float:
        """Length of the holes without what the septa's ends let through."""
        return self.length - 2.0 / self.penetration

    def fwhm(self, distance: Float | float) -> Float:
        """Width of its response to a point ``distance`` mm before its face."""
        d = np.asarray(distance, np.float64)
        return self.diameter * (self.effective_length + d + self.gap) / self.effective_length

    @property
    def efficiency(self) -> float:
        """Share of all photons of a source that pass, at any distance."""
        ratio = self.diameter / self.effective_length
        share = self.diameter / (self.diameter + self.septa)
        return (_HEXAGONAL * ratio * share) ** 2


@dataclass(frozen=True)
class Pinhole:
    """One aperture before the crystal.

    Parameters
    ----------
    name
        As it is called.
    aperture
        Its diameter, mm.
    focal
        From the aperture to the crystal, mm.
    penetration
        Attenuation of its edge, 1/mm (tungsten 3.5 at 140 keV).
    opening
        Full angle of the cone it accepts, degrees.
    """

    name: str
    aperture: float
    focal: float
    penetration: float = 3.5
    opening: float = 90.0

    def __post_init__(self) -> None:
        _positive(self.name, aperture=self.aperture, focal=self.focal,
                  penetration=self.penetration)  # fmt: skip
        if not 0 < self.opening < 180:
            raise ParameterError(
                f"{self.name}: opening is {self.opening} degrees; it lies below 180"
            )

    @property
    def effective_aperture(self) -> float:
        """Diameter with what passes through the edge (Anger 1967)."""
        edge = 2.0 / self.penetration * float(np.tan(np.deg2rad(self.opening / 2)))
        return float(np.sqrt(self.aperture * (self.aperture + edge)))

    def fwhm(self, distance: Float | float) -> Float:
        """Width of its response at the object, ``distance`` mm before the aperture."""
        b = np.asarray(distance, np.float64)
        return self.effective_aperture * (self.focal + b) / self.focal


COLLIMATORS: Mapping[str, Collimator] = {
    c.name: c
    for c in (
        Collimator("LEUHR", 1.16, 35.8, 0.13),
        Collimator("LEHR", 1.11, 24.05, 0.16),
        Collimator("LEGP", 1.45, 24.05, 0.20),
        Collimator("MEGP", 2.94, 40.6, 1.14, penetration=1.2),
        Collimator("HEGP", 4.0, 59.7, 1.8, penetration=0.25),
    )
}
"""Low energy ultra-high resolution, high resolution, general purpose; medium and high energy."""

Collimation: TypeAlias = Literal["LEUHR", "LEHR", "LEGP", "MEGP", "HEGP"]


@dataclass(frozen=True)
class Window:
    """One energy window of the camera, ``low`` to ``high`` keV.

    ``share`` is the part of the nuclide's unscattered detected photons that falls into it: 1 for
    the photopeak, 0 for a window that measures scatter.
    """

    name: str
    low: float
    high: float
    share: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise ParameterError(
                f"energy window {self.name!r} runs from {self.low} to {self.high} keV; give "
                "0 < low < high"
            )
        if not 0 <= self.share <= 1:
            raise ParameterError(f"energy window {self.name!r}: share is {self.share}, not 0 to 1")

    @property
    def width(self) -> float:
        """In keV."""
        return self.high - self.low


PHOTOPEAK = Window("photopeak", 126.45, 154.55)
"""20 % about the 140.5 keV of technetium-99m."""


@dataclass(frozen=True)
class Camera:
    """A detector head with its collimator.

    Parameters
    ----------
    collimator
        Parallel holes; a `Pinhole` for ``spect.pinhole``.
    intrinsic
        Resolution of the crystal, FWHM in mm.
    windows
        Energy windows in the order of the samples' first axis.
    sensitivity
        Counts per second and MBq of a source in air that is seen whole, photopeak; None: that of
        the collimator's geometry for ``photons`` per decay.
    photons
        Photons of the photopeak per decay (0.89 for technetium-99m).
    energy_resolution
        FWHM as a share of the photopeak's energy; what it spills into the windows beside the peak
        is no scatter.
    """

    collimator: Collimator | Pinhole = field(default_factory=lambda: COLLIMATORS["LEHR"])
    intrinsic: float = 3.8
    windows: tuple[Window, ...] = (PHOTOPEAK,)
    sensitivity: float | None = None
    photons: float = 0.89
    energy_resolution: float = 0.095

    def __post_init__(self) -> None:
        if not 0 <= self.energy_resolution < 1:
            raise ParameterError(
                f"the camera's energy resolution is {self.energy_resolution}; give the FWHM as a "
                "share of the photopeak, such as 0.095"
            )
        if not (np.isfinite(self.intrinsic) and self.intrinsic >= 0):
            raise ParameterError(
                f"the camera's intrinsic resolution is {self.intrinsic}; give mm, 0 or more"
            )
        if self.sensitivity is not None and not (
            np.isfinite(self.sensitivity) and self.sensitivity > 0
        ):
            raise ParameterError(
                f"the camera's sensitivity is {self.sensitivity}; give counts per second and MBq"
            )
        if not self.windows:
            raise ParameterError("the camera has no energy window; give at least one")

    def sigma(self, distance: Float | float) -> Float:
        """Standard deviation of the response to a point ``distance`` mm before the collimator."""
        wide = np.hypot(self.collimator.fwhm(np.maximum(distance, 0.0)), self.intrinsic)
        return wide / FWHM

    @property
    def cps_per_mbq(self) -> float:
        """The sensitivity given, or that of parallel holes by geometry; of a pinhole, whose
        projector knows which share passes, that of all photons.
        """
        if self.sensitivity is not None:
            return self.sensitivity
        if isinstance(self.collimator, Pinhole):
            return self.photons * 1e6
        return self.collimator.efficiency * self.photons * 1e6

    def spill(self, peak: int) -> Float:
        """Unscattered photons of each window per one in window ``peak``, by energy resolution."""
        from scipy.special import erf

        centre = (self.windows[peak].low + self.windows[peak].high) / 2
        width = max(self.energy_resolution * centre / FWHM * float(np.sqrt(2.0)), 1e-9)
        ends = np.array([(w.low, w.high) for w in self.windows])
        part = np.diff(erf((ends - centre) / width), axis=1)[:, 0]
        return part / part[peak]

    @property
    def shares(self) -> Array:
        """Share of primary photons per window, float32."""
        return np.array([w.share for w in self.windows], np.float32)

    def to_json(self) -> dict[str, Any]:
        """Plain values that `camera_of` makes it again from."""
        return asdict(self)

    def with_changes(
        self, *, windows: tuple[Window, ...] | None = None, sensitivity: float | None = None
    ) -> Camera:
        """The same with other energy windows or another sensitivity."""
        return replace(
            self,
            windows=self.windows if windows is None else windows,
            sensitivity=self.sensitivity if sensitivity is None else sensitivity,
        )


def camera_of(value: Camera | Mapping[str, Any]) -> Camera:
    """A camera, or what `Camera.to_json` made of it; a collimator may be a known name."""
    if isinstance(value, Camera):
        return value
    try:
        parts = dict(value)
        if isinstance(parts["collimator"], str):
            parts["collimator"] = asdict(COLLIMATORS[parts["collimator"]])
        kind = Pinhole if "aperture" in parts["collimator"] else Collimator
        parts["collimator"] = kind(**parts["collimator"])
        parts["windows"] = tuple(Window(**w) for w in parts["windows"])
        return Camera(**parts)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFile(f"the description of a gamma camera does not fit it: {error}") from error


def triple_windows(
    peak: float = 140.5, *, width: float = 0.20, scatter: float = 0.06, upper: bool = True
) -> tuple[Window, ...]:
    """Photopeak and the narrow windows on both sides of it, for TEW (Ogawa et al. 1991).

    ``width`` of the photopeak and ``scatter`` of the others as shares of ``peak`` keV. Without
    ``upper``, the lower one alone.
    """
    low, high = peak * (1 - width / 2), peak * (1 + width / 2)
    windows = (
        Window("photopeak", low, high),
        Window("lower scatter", low - scatter * peak, low, share=0.0),
        Window("upper scatter", high, high + scatter * peak, share=0.0),
    )
    return windows if upper else windows[:2]


def dual_windows(peak: float = 140.5, *, width: float = 0.20) -> tuple[Window, ...]:
    """Photopeak and one wide window below it, for DEW (Jaszczak et al. 1984)."""
    low = peak * (1 - width / 2)
    return (
        Window("photopeak", low, peak * (1 + width / 2)),
        Window("scatter", 0.655 * peak, low - 0.01 * peak, share=0.0),
    )
