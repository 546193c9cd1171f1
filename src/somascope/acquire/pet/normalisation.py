"""Normalisation: how sensitive each line really is, from a scan of a source that is known.

Component-based (Badawi and Marsden, Phys Med Biol 44:571, 1999): efficiencies of crystals,
geometry by radial position and plane, interference of the crystals of a block. Far fewer numbers
than lines, so that a short scan is enough.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from somascope.acquire.mumap import resample_to
from somascope.acquire.pet.decay import Model, live_fraction
from somascope.acquire.pet.efficiency import Pairs, fit
from somascope.acquire.pet.model import background, factors, sinogram_of
from somascope.acquire.pet.scanner import Scanner
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.core import QUIET, Acquisition, Image, Progress, operation
from somascope.core.errors import GeometryError, ParameterError, UnitError
from somascope.core.grid import Array

_ROUNDS = 3
_SEEN = 0.05
"""Bins with less than this share of the mean expected counts are not used."""


@dataclass(frozen=True, eq=False)
class Components:
    """What a normalisation is made of.

    ``crystals`` (rings, crystals); ``geometry`` (planes, radial bins); ``block`` (crystals of a
    block, radial bins), by the first crystal's place in its block, mean 1 over places.
    """

    crystals: Array
    geometry: Array
    block: Array

    def efficiency(self, scan: SinogramScan) -> Array:
        """The product for every bin, float32 ``(plane, angle, radial)``."""
        pairs = Pairs(scan)
        own = pairs.products(self.crystals) / scan.multiplicity
        return (own * self.geometry[:, None, :] * self.block[_places(scan)]).astype(np.float32)


def _places(scan: SinogramScan) -> tuple[Array, Array]:
    """Indices of `Components.block` for every (angle, radial)."""
    first, _ = scan.crystals()
    place = np.floor(first).astype(int) % scan.scanner.block[1]
    return place, np.broadcast_to(np.arange(scan.radial_bins), place.shape)


def components(scan: SinogramScan, counts: Array, expected: Array) -> Components:
    """Components behind ``counts`` where an ideal scanner would have ``expected``.

    Both ``(plane, angle, radial)``; bins with few expected counts (beside the source) only get the
    components found elsewhere.

    Raises
    ------
    ParameterError
        No counts, or a source that most crystals do not see.
    """
    counts = np.asarray(counts, np.float32)
    expected = np.asarray(np.broadcast_to(expected, counts.shape), np.float32)
    seen = expected > _SEEN * float(expected.mean(dtype=np.float64))
    counts, expected = counts * seen, expected * seen
    pairs = Pairs(scan)
    per_pair = expected / scan.multiplicity
    touched = pairs.fans(np.ones(pairs.crystals), per_pair) > 0
    if touched.mean() < 0.9:
        raise ParameterError(
            f"the source is seen by {touched.mean():.0%} of the crystals; use one that fills the "
            "field along the axis, such as a long cylinder"
        )
    geometry = np.ones((counts.shape[0], counts.shape[2]))
    block = np.ones((scan.scanner.block[1], counts.shape[2]))
    places = _places(scan)
    values = np.ones(pairs.crystals)
    for _ in range(_ROUNDS):
        rest = geometry[:, None, :] * block[places]
        values = fit(pairs, counts, per_pair * rest)
        values[~touched] = values[touched].mean()
        own = per_pair * pairs.products(values)
        geometry = _ratio(counts.sum(axis=1), (own * block[places]).sum(axis=1))
        geometry = _smooth(geometry)
        if len(block) > 1:
            with_geometry = own * geometry[:, None, :]
            measured, modelled = (_by_place(a, places, len(block)) for a in (counts, with_geometry))
            block = _ratio(measured, modelled)
            block /= np.maximum(block.mean(axis=0), 1e-6)
    return Components(values, geometry, block)


def _ratio(measured: Array, modelled: Array) -> Array:
    few = modelled <= 1e-6 * max(float(modelled.max()), 1e-30)
    return np.where(few, 1.0, measured / np.where(few, 1.0, modelled)).astype(np.float64)


def _by_place(array: Array, places: tuple[Array, Array], count: int) -> Array:
    total = array.sum(axis=0)
    out = np.zeros((count, array.shape[2]))
    np.add.at(out, places, total)
    return out


def _smooth(geometry: Array) -> Array:
    """Radial profile times plane factors: the part that has few numbers, noise left out."""
    radial = geometry.mean(axis=0, keepdims=True)
    plane = (geometry / np.maximum(radial, 1e-9)).mean(axis=1, keepdims=True)
    return radial * plane


def dead_time(singles: Array, scanner: Scanner, *, dead: float, model: Model) -> Array:
    """Share of its events that each crystal registers: its block is dead for ``dead`` s after each.

    ``singles`` true rates (rings, crystals) per s; float64 of the same shape. Multiply the crystal
    efficiencies with it.
    """
    axial, transaxial = scanner.block
    rings, crystals = singles.shape
    if rings % axial or crystals % transaxial:
        raise GeometryError(
            f"{rings} rings of {crystals} crystals are no whole blocks of {axial} by {transaxial}"
        )
    blocks = singles.reshape(rings // axial, axial, crystals // transaxial, transaxial)
    rate = blocks.sum(axis=(1, 3))
    return np.kron(live_fraction(rate, dead, model=model), np.ones((axial, transaxial)))


@operation("acquire.pet.normalise")
def normalise(
    acquisition: Acquisition,
    source: Acquisition,
    activity: Image,
    *,
    progress: Progress = QUIET,
) -> Acquisition:
    """Normalisation from a second scan, of a source whose activity is known.

    ``source`` is a scan by the same scanner of ``activity`` (Bq/ml), such as a uniform cylinder,
    with its attenuation in its calibration. Crystal efficiencies (maximum likelihood), geometry by
    radial bin and plane, and block interference are fitted, and multiplied into
    ``calibration["normalisation"]``, which also carries the calibration of the whole scanner. The
    counts stay as measured.

    Raises
    ------
    GeometryError
        The two scans are not made of the same lines.
    UnitError
        The source's activity is not in Bq/ml.
    """
    name = "acquire.pet.normalise"
    scan = sinogram_of(acquisition, operation_name=name)
    other = sinogram_of(source, operation_name=name)
    if scan.range[-3:] != other.range[-3:] or scan.scanner.crystals != other.scanner.crystals:
        raise GeometryError(
            f"{name}: the source was scanned with {other.range} bins and the body with "
            f"{scan.range}; use scans of one scanner, sorted alike"
        )
    if activity.unit != "Bq/ml":
        raise UnitError(f"{name}: the source's activity is in {activity.unit!r}; give Bq/ml")
    plain = replace(
        source,
        calibration={k: v for k, v in source.calibration.items() if k != "normalisation"},
    )
    progress(0.1, "expected counts")
    joined = other.with_changes(scanner=other.scanner.without_tof())
    placed = resample_to(activity, other.grid).data
    lines = joined.forward(np.asarray(placed, np.float32))
    factor = np.asarray(factors(plain))
    expected = lines * (factor if factor.ndim == 3 else factor.mean(axis=0))
    counts = np.asarray(source.samples, np.float32)
    added = background(plain)
    if added is not None:
        counts = counts - added
    counts = counts if counts.ndim == 3 else counts.sum(axis=0)
    progress(0.4, "fitting")
    found = components(joined, np.maximum(counts, 0), expected).efficiency(joined)
    progress(1.0, "fitted")
    return replace(acquisition, calibration={**acquisition.calibration, "normalisation": found})
