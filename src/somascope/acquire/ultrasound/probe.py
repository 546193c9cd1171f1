"""`Probe`: where the elements of a transducer are and what they can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from somascope.core.errors import GeometryError, NotFound, ParameterError
from somascope.core.grid import Array, Float

Kind = Literal["linear", "convex", "phased", "matrix"]


@dataclass(frozen=True, eq=False)
class Probe:
    """Elements of a transducer in the frame of the image: x lateral, y depth, z elevation, mm.

    The face's middle is the origin; linear and phased arrays lie on the x axis and look along +y.
    Element 0 is at the least x (the probe's marker): it stays on the left of the picture.

    Parameters
    ----------
    positions
        Centres ``(elements, 3)`` as ``(x, y, z)`` mm.
    normals
        Unit vectors ``(elements, 3)`` out of the face.
    pitch, width, height
        mm: distance between neighbours, size of an element along the array and across it.
    centre_frequency
        Hz.
    bandwidth
        Pulse-echo bandwidth at -6 dB as a share of the centre frequency, 0 to 2.
    radius
        mm, of a convex face; 0 for flat ones.
    """

    kind: Kind
    positions: Float
    normals: Float
    pitch: float
    width: float
    height: float
    centre_frequency: float
    bandwidth: float
    radius: float = 0.0
    name: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ParameterError(f"no kind of probe {self.kind!r}; choose {get_args(Kind)}")
        for what in ("positions", "normals"):
            array = np.array(getattr(self, what), np.float64)
            if array.ndim != 2 or array.shape[1:] != (3,) or not len(array):
                raise GeometryError(
                    f"the probe's {what} have shape {array.shape}; give (elements, 3) as x, y, z"
                )
            if not np.isfinite(array).all():
                raise GeometryError(f"the probe's {what} hold values that are not finite")
            array.setflags(write=False)
            object.__setattr__(self, what, array)
        if self.positions.shape != self.normals.shape:
            raise GeometryError(
                f"{len(self.positions)} element positions and {len(self.normals)} normals; give "
                "one normal per element"
            )
        for what in ("pitch", "width", "height", "centre_frequency"):
            value = float(getattr(self, what))
            if not (value > 0 and np.isfinite(value)):
                raise ParameterError(f"the probe's {what} is {value}; give a positive number")
            object.__setattr__(self, what, value)
        if not 0 < self.bandwidth <= 2:
            raise ParameterError(
                f"the probe's bandwidth is {self.bandwidth}; give a share of the centre "
                "frequency above 0 and up to 2, such as 0.7"
            )

    @property
    def elements(self) -> int:
        """Number of elements."""
        return len(self.positions)

    @property
    def aperture(self) -> float:
        """Distance between the outermost element centres along x, mm."""
        return float(np.ptp(self.positions[:, 0]))

    def wavelength(self, speed_of_sound: float = 1540.0) -> float:
        """Length of a wave at the centre frequency, mm."""
        return speed_of_sound * 1e3 / self.centre_frequency

    def moved(self, offset: Sequence[float]) -> Probe:
        """The probe set down elsewhere: ``offset`` (x, y, z) in mm added to all elements."""
        return replace(self, positions=self.positions + np.asarray(offset, np.float64))

    def describe(self) -> dict[str, Any]:
        """Facts as JSON; positions and normals are kept apart (`from_facts` takes both)."""
        names = ("kind", "pitch", "width", "height", "centre_frequency", "bandwidth", "radius")
        return {**{n: getattr(self, n) for n in names}, "name": self.name}


def from_facts(facts: Mapping[str, Any], *, positions: Array, normals: Array) -> Probe:
    """The probe that `Probe.describe` wrote down."""
    known = {"kind", "pitch", "width", "height", "centre_frequency", "bandwidth", "radius", "name"}
    if set(facts) - known:
        raise ParameterError(f"a probe has no {sorted(set(facts) - known)}; it has {sorted(known)}")
    return Probe(positions=positions, normals=normals, **dict(facts))


def linear(
    elements: int = 128,
    *,
    pitch: float = 0.3,
    width: float | None = None,
    height: float = 5.0,
    centre_frequency: float = 5.2e6,
    bandwidth: float = 0.67,
    kind: Literal["linear", "phased"] = "linear",
    name: str = "",
) -> Probe:
    """A flat row of elements on the x axis (mm, Hz); also a phased array."""
    _count(elements)
    positions = np.zeros((elements, 3))
    positions[:, 0] = (np.arange(elements) - (elements - 1) / 2) * pitch
    normals = np.tile([0.0, 1.0, 0.0], (elements, 1))
    return Probe(kind, positions, normals, pitch, 0.9 * pitch if width is None else width, height,
                 centre_frequency, bandwidth, name=name)  # fmt: skip


def convex(
    elements: int = 128,
    *,
    radius: float = 60.0,
    pitch: float = 0.48,
    width: float | None = None,
    height: float = 13.0,
    centre_frequency: float = 3.5e6,
    bandwidth: float = 0.7,
    name: str = "",
) -> Probe:
    """Elements on an arc of ``radius`` mm; the arc's foremost point is the origin."""
    _count(elements)
    if not radius > 0:
        raise ParameterError(f"the radius of a convex probe is {radius} mm; give a positive number")
    angle = (np.arange(elements) - (elements - 1) / 2) * (2 * np.arcsin(pitch / (2 * radius)))
    normals = np.stack([np.sin(angle), np.cos(angle), np.zeros(elements)], axis=1)
    positions: Float = radius * normals - np.array([0.0, radius, 0.0])
    return Probe("convex", positions, normals, pitch, 0.9 * pitch if width is None else width,
                 height, centre_frequency, bandwidth, radius, name)  # fmt: skip


def matrix(
    columns: int = 32,
    rows: int = 32,
    *,
    pitch: float = 0.3,
    width: float | None = None,
    centre_frequency: float = 3.5e6,
    bandwidth: float = 0.7,
    name: str = "",
) -> Probe:
    """A flat lattice in x and z, element index ``row * columns + column`` (x runs fastest)."""
    _count(columns * rows)
    x = (np.arange(columns) - (columns - 1) / 2) * pitch
    z = (np.arange(rows) - (rows - 1) / 2) * pitch
    zz, xx = np.meshgrid(z, x, indexing="ij")
    positions = np.zeros((xx.size, 3))
    positions[:, 0], positions[:, 2] = xx.ravel(), zz.ravel()
    normals = np.tile([0.0, 1.0, 0.0], (xx.size, 1))
    side = 0.9 * pitch if width is None else width
    return Probe("matrix", positions, normals, pitch, side, side, centre_frequency, bandwidth,
                 name=name)  # fmt: skip


Name = Literal["linear 5 MHz", "linear 7.6 MHz", "convex 3.5 MHz", "phased 2.7 MHz", "matrix 3 MHz"]


def named(name: str) -> Probe:
    """A generic probe by name: the usual sizes of each class, no manufacturer's.

    Raises
    ------
    NotFound
        Another name than those of `Name`.
    """
    if name == "linear 5 MHz":
        return linear(128, pitch=0.3, width=0.27, centre_frequency=5.2e6, name=name)
    if name == "linear 7.6 MHz":
        return linear(128, pitch=0.3, width=0.25, height=4.5, centre_frequency=7.6e6,
                      bandwidth=0.77, name=name)  # fmt: skip
    if name == "convex 3.5 MHz":
        return convex(name=name)
    if name == "phased 2.7 MHz":
        return linear(64, pitch=0.3, width=0.25, height=14.0, centre_frequency=2.7e6,
                      bandwidth=0.74, kind="phased", name=name)  # fmt: skip
    if name == "matrix 3 MHz":
        return matrix(32, 32, centre_frequency=3.0e6, name=name)
    raise NotFound(f"no probe {name!r}; there is {', '.join(get_args(Name))}")


def _count(elements: int) -> None:
    if elements < 1:
        raise GeometryError(f"a probe of {elements} elements; give at least one")
