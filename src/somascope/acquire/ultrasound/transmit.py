"""`Transmits`: the waves that a probe sends, and when each of them reaches a point.

A wave is described by its front, so that its arrival anywhere has a closed form (times in s,
positions in mm, ``c`` the speed of sound):

=============  ===========================  ====================================================
kind           ``vectors``                  arrival at ``r``
=============  ===========================  ====================================================
``plane``      unit direction ``n``         ``t0 + n . r / c``
``diverging``  source ``v`` behind the      ``t0 + |r - v| / c``
               face, or an element
``focused``    focus ``v``                  ``t0 -/+ |r - v| / c`` before/beyond the focus
``delays``     (unused)                     ``min over e of delays_e + |r - p_e| / c``
=============  ===========================  ====================================================

Element ``e`` fires at ``t0 + n . p_e / c``, ``t0 + |p_e - v| / c``, ``t0 - |p_e - v| / c`` or at
its given delay. `plane`, `diverging`, `focused` and `synthetic` choose ``t0`` such that the first
active element fires at time 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from somascope.acquire.ultrasound.probe import Probe
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float

Wave = Literal["plane", "diverging", "focused", "delays"]


@dataclass(frozen=True, eq=False)
class Transmits:
    """Waves sent one after the other.

    Parameters
    ----------
    kind
        ``plane``, ``diverging``, ``focused`` or ``delays``; see the module.
    vectors
        ``(transmits, 3)``: unit directions or sources in mm.
    t0
        ``(transmits,)`` s.
    apodisation
        ``(transmits, elements)``, weight of each element; 0 is silent.
    delays
        ``(transmits, elements)`` s, of kind ``delays`` only.
    """

    kind: Wave
    vectors: Float
    t0: Float
    apodisation: Float
    delays: Float | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Wave):
            raise ParameterError(f"no kind of transmit {self.kind!r}; choose {get_args(Wave)}")
        given = {"vectors": self.vectors, "t0": self.t0, "apodisation": self.apodisation}
        if self.kind == "delays":
            if self.delays is None:
                raise GeometryError("transmits of kind 'delays' need delays (transmits, elements)")
            given["delays"] = self.delays
        for name, value in given.items():
            array: Float = np.array(value, np.float64)
            if not np.isfinite(array).all():
                raise GeometryError(f"the transmits' {name} hold values that are not finite")
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        n = self.t0.size
        if self.t0.shape != (n,) or n == 0 or self.vectors.shape != (n, 3):
            raise GeometryError(
                f"transmits with vectors {self.vectors.shape} and t0 {self.t0.shape}; give "
                "(transmits, 3) and (transmits,)"
            )
        if self.apodisation.ndim != 2 or len(self.apodisation) != n:
            raise GeometryError(
                f"the transmit apodisation has shape {self.apodisation.shape} for {n} transmits; "
                "give (transmits, elements)"
            )
        if (self.apodisation < 0).any() or not self.apodisation.any(axis=1).all():
            raise GeometryError("a transmit without active elements, or with negative weights")
        if self.delays is not None and self.delays.shape != self.apodisation.shape:
            raise GeometryError(
                f"transmit delays of shape {self.delays.shape} for an apodisation of "
                f"{self.apodisation.shape}; give one delay per transmit and element"
            )
        if self.kind == "plane":
            length = np.linalg.norm(self.vectors, axis=1)
            if np.abs(length - 1).max() > 1e-6:
                raise GeometryError(
                    f"directions of plane waves have lengths {length.min():g} to "
                    f"{length.max():g}; give unit vectors"
                )

    @property
    def count(self) -> int:
        """Number of transmits."""
        return self.t0.size

    def fire_times(self, probe: Probe, speed_of_sound: float) -> Float:
        """When each element fires, s, ``(transmits, elements)``; also for silent ones."""
        if self.apodisation.shape[1] != probe.elements:
            raise GeometryError(
                f"transmits for {self.apodisation.shape[1]} elements; the probe has "
                f"{probe.elements}"
            )
        if self.delays is not None:
            return self.delays
        c = speed_of_sound * 1e3
        if self.kind == "plane":
            return self.t0[:, None] + self.vectors @ probe.positions.T / c
        away = np.linalg.norm(probe.positions[None] - self.vectors[:, None], axis=-1) / c
        return self.t0[:, None] + (away if self.kind == "diverging" else -away)

    def arrivals(self, points: Array, probe: Probe, speed_of_sound: float) -> Float:
        """When each wave reaches ``points`` (n, 3) in mm: s, ``(transmits, n)``."""
        r = np.asarray(points, np.float64)
        c = speed_of_sound * 1e3
        if self.kind == "plane":
            return self.t0[:, None] + self.vectors @ r.T / c
        if self.kind == "delays":
            return _first(r, probe, self, c)
        gap = r[None] - self.vectors[:, None]
        away = np.linalg.norm(gap, axis=-1) / c
        if self.kind == "focused":
            # Beyond the focus: on the far side of the plane through it across the beam's axis.
            middle = _middles(probe, self.apodisation)
            axis = self.vectors - middle
            away = np.where(np.einsum("tnk,tk->tn", gap, axis) < 0, -away, away)
        return self.t0[:, None] + away

    def subset(self, which: ArrayLike) -> Transmits:
        """Some of the transmits, by index or mask."""
        at = np.asarray(which)
        delays = None if self.delays is None else self.delays[at]
        return Transmits(self.kind, self.vectors[at], self.t0[at], self.apodisation[at], delays)


def plane(probe: Probe, angles: ArrayLike, *, speed_of_sound: float = 1540.0) -> Transmits:
    """Plane waves in the x-y plane; ``angles`` in degrees from the depth axis, + towards +x."""
    a = np.radians(np.atleast_1d(np.asarray(angles, np.float64)))
    if a.size == 0 or not (np.abs(a) < np.pi / 2).all():
        raise ParameterError(f"steering angles {angles} deg; give some between -90 and 90")
    n = np.stack([np.sin(a), np.cos(a), np.zeros_like(a)], axis=1)
    return _started(Transmits("plane", n, np.zeros(a.size), np.ones((a.size, probe.elements))),
                    probe, speed_of_sound)  # fmt: skip


def diverging(
    probe: Probe,
    sources: ArrayLike,
    *,
    apodisation: ArrayLike | None = None,
    speed_of_sound: float = 1540.0,
) -> Transmits:
    """Waves that seem to come from virtual ``sources`` (transmits, 3) mm behind the face."""
    v = _vectors(sources)
    weights = np.ones((len(v), probe.elements)) if apodisation is None else apodisation
    waves = Transmits("diverging", v, np.zeros(len(v)), np.asarray(weights, np.float64))
    return _started(waves, probe, speed_of_sound)


def focused(
    probe: Probe,
    foci: ArrayLike,
    *,
    f_number: float | None = None,
    apodisation: ArrayLike | None = None,
    speed_of_sound: float = 1540.0,
) -> Transmits:
    """Waves that meet at ``foci`` (transmits, 3) mm before the face.

    With ``f_number`` only elements fire from which the focus lies within that aperture.
    """
    v = _vectors(foci)
    weights: Float = np.ones((len(v), probe.elements))
    if apodisation is not None:
        weights = np.asarray(apodisation, np.float64)
    if f_number is not None:
        if not f_number > 0:
            raise ParameterError(f"transmit f-number {f_number}; give a positive number")
        gap = v[:, None] - probe.positions
        deep = np.einsum("tek,ek->te", gap, probe.normals)
        side = np.linalg.norm(gap - deep[..., None] * probe.normals, axis=-1)
        half = np.maximum(deep / (2 * f_number), probe.pitch)
        weights = weights * ((side <= half) & (deep > 0))
    return _started(Transmits("focused", v, np.zeros(len(v)), weights), probe, speed_of_sound)


def synthetic(probe: Probe, elements: ArrayLike | None = None) -> Transmits:
    """Synthetic aperture: one element after the other fires (all of them, or ``elements``)."""
    which = np.arange(probe.elements) if elements is None else np.atleast_1d(np.asarray(elements))
    if which.min() < 0 or which.max() >= probe.elements:
        raise GeometryError(f"elements {which.min()}..{which.max()} of {probe.elements}")
    weights = np.zeros((which.size, probe.elements))
    weights[np.arange(which.size), which] = 1.0
    return Transmits("diverging", probe.positions[which], np.zeros(which.size), weights)


def fired(delays: ArrayLike, *, apodisation: ArrayLike | None = None) -> Transmits:
    """Waves known by their elements' delays (transmits, elements) in s; NaN is silent."""
    d = np.atleast_2d(np.asarray(delays, np.float64))
    silent = np.isnan(d)
    weights = np.ones(d.shape) if apodisation is None else np.asarray(apodisation, np.float64)
    weights = np.where(silent, 0.0, weights)
    n = len(d)
    return Transmits("delays", np.zeros((n, 3)), np.zeros(n), weights, np.where(silent, 0.0, d))


def _vectors(values: ArrayLike) -> Float:
    v = np.atleast_2d(np.asarray(values, np.float64))
    if v.ndim != 2 or v.shape[1] != 3:
        raise GeometryError(f"sources of shape {v.shape}; give (transmits, 3) as x, y, z in mm")
    return v


def _started(waves: Transmits, probe: Probe, c: float) -> Transmits:
    if waves.apodisation.shape[1] != probe.elements:
        raise GeometryError(
            f"a transmit apodisation for {waves.apodisation.shape[1]} elements; the probe has "
            f"{probe.elements}"
        )
    times = np.where(waves.apodisation > 0, waves.fire_times(probe, c), np.inf)
    return Transmits(waves.kind, waves.vectors, -times.min(axis=1), waves.apodisation)


def _middles(probe: Probe, apodisation: Float) -> Float:
    """Centre of the active aperture of each transmit."""
    return apodisation @ probe.positions / apodisation.sum(axis=1, keepdims=True)


def _first(r: Float, probe: Probe, waves: Transmits, c: float) -> Float:
    assert waves.delays is not None
    out = np.full((waves.count, len(r)), np.inf)
    for e, position in enumerate(probe.positions):
        away = np.linalg.norm(r - position, axis=1) / c
        for t in np.flatnonzero(waves.apodisation[:, e] > 0):
            np.minimum(out[t], away + waves.delays[t, e], out=out[t])
    return out
