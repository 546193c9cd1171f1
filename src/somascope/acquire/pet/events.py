"""Between sinograms and lists of events."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import numpy as np

from somascope.acquire.pet.listmode import ListModeScan
from somascope.acquire.pet.model import calibration, scan_of, sinogram_of
from somascope.acquire.pet.scanner import Scanner
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.core import Acquisition, Param, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array

PER_EVENT = ("normalisation", "attenuation", "randoms", "scatter")


def bins_of(scan: SinogramScan, crystals: Array, tof: Array | None) -> Array:
    """Flat number of each event's bin in ``scan.range``; -1 outside its planes and radial bins."""
    n = scan.scanner.crystals
    ring, number = np.divmod(np.asarray(crystals, np.int64), n)
    t = (number[:, 0] - number[:, 1] + n // 2 + n // 2) % n - n // 2
    angle = (number[:, 0] - (t >> 1)) % n
    swapped = angle >= n // 2
    angle -= np.where(swapped, n // 2, 0)
    t = np.where(swapped, -t, t)
    first = np.where(swapped, ring[:, 1], ring[:, 0])
    second = np.where(swapped, ring[:, 0], ring[:, 1])
    plane = scan.michelogram.table[first, second].astype(np.int64)
    radial = t + scan.radial_bins // 2
    where = np.full(scan.angle_count, -1, np.int64)
    where[scan.views] = np.arange(len(scan.views))
    view = where[angle // scan.mashing]
    flat = (plane * len(scan.views) + view) * scan.radial_bins + radial
    bins = scan.scanner.tof_bins
    if bins > 1:
        assert tof is not None
        along = np.asarray(tof, np.int64)
        along = np.where(swapped, bins - 1 - along, along)
        flat += along * int(np.prod(scan.range[1:]))
    outside = (plane < 0) | (radial < 0) | (radial >= scan.radial_bins) | (view < 0)
    return np.where(outside, -1, flat)


def crystals_of(scan: SinogramScan, flat: Array) -> tuple[Array, Array | None]:
    """Crystal pairs int32 ``(n, 2)`` and TOF bins of flat bin numbers; span 1, no mashing."""
    if scan.michelogram.span != 1 or scan.mashing != 1:
        raise GeometryError(
            f"bins of span {scan.michelogram.span} and mashing {scan.mashing} hold several crystal "
            "pairs; events need span 1 and mashing 1"
        )
    where = np.unravel_index(flat, scan.range)
    tof = where[0].astype(np.int16) if len(where) == 4 else None
    plane, view, radial = where[-3:]
    rings = scan.michelogram.mean_rings[plane].astype(np.int32)
    around = np.stack([c[view, radial] for c in scan.crystals()], axis=1).astype(np.int32)
    return rings * np.int32(scan.scanner.crystals) + around, tof


def drawn(acquisition: Acquisition, *, seed: int) -> Acquisition:
    """The list of events behind a sinogram of span 1, in random order over the frame.

    Each event takes its bin's calibration along; ``sensitivity_image`` is made from the whole
    sinogram's.
    """
    scan = sinogram_of(acquisition, operation_name="listing events")
    rng = np.random.default_rng(seed)
    counts = np.asarray(acquisition.samples).reshape(-1)
    whole = counts.astype(np.int64)
    if not np.array_equal(whole, counts):
        raise ParameterError("the samples are no whole counts; draw them with noise first")
    flat = rng.permutation(np.repeat(np.arange(len(whole)), whole))
    crystals, tof = crystals_of(scan, flat)
    duration = float(acquisition.attributes.get("ActualFrameDuration") or 0.0)
    times = np.sort(rng.uniform(0.0, duration, len(flat))).astype(np.float32)
    listed = ListModeScan(
        grid=scan.grid, scanner=scan.scanner, crystals=crystals, tof=tof, times=times,
        centre=scan.centre, psf=scan.psf,
    )  # fmt: skip
    kept = dict(acquisition.calibration)
    for name in PER_EVENT:
        array = calibration(acquisition, name)
        if array is not None:
            kept[name] = np.broadcast_to(array, scan.range).reshape(-1)[flat]
    kept["sensitivity_image"] = sensitivity_image(scan, acquisition)
    return replace(acquisition, samples=np.ones(len(flat), np.uint8), operator=listed,
                   calibration=kept)  # fmt: skip


def sensitivity_image(scan: SinogramScan, acquisition: Acquisition | None = None) -> Array:
    """``A^T (normalisation attenuation)`` over all lines of a sinogram; ideal where None is given.

    TOF bins are joined first: together they see what a scanner without TOF sees.
    """
    weights: Any = scan.multiplicity
    if acquisition is not None:
        for name in ("normalisation", "attenuation"):
            array = calibration(acquisition, name)
            if array is not None:
                if array.ndim > 3 and len(array) > 1:
                    return scan.adjoint(np.broadcast_to(weights * array, scan.range))
                weights = weights * (array[0] if array.ndim > 3 else array)
    flat = scan.with_changes(scanner=scan.scanner.without_tof())
    return flat.adjoint(np.broadcast_to(weights, flat.range))


@operation("acquire.pet.list_events")
def list_events(
    acquisition: Acquisition,
    *,
    seed: Annotated[int, Param("Of the order of events", minimum=0, maximum=2**31 - 1)] = 0,
) -> Acquisition:
    """Write a PET sinogram as a list of single events, in random order over the frame."""
    return drawn(acquisition, seed=seed)


@operation("acquire.pet.histogram")
def histogram(
    acquisition: Acquisition,
    *,
    span: Annotated[
        int, Param("Ring differences joined in one segment, odd", minimum=1, maximum=99)
    ] = 1,
    tof: Annotated[bool, Param("Keep time-of-flight bins, where the scanner has them")] = True,
) -> Acquisition:
    """Sort PET events into a sinogram.

    Events beyond the sinogram's planes and radial bins are left out. Calibration per event cannot
    be carried over (most bins have no event); scalars are kept.
    """
    scan = scan_of(acquisition, operation_name="acquire.pet.histogram")
    if not isinstance(scan, ListModeScan):
        raise GeometryError(f"acquire.pet.histogram sorts events; this is a {scan.kind} already")
    scanner: Scanner = scan.scanner if tof else scan.scanner.without_tof()
    if scan.positions is not None:
        raise GeometryError(
            "these crystals do not lie on a cylinder, so there is no sinogram of their lines; use "
            "acquire.pet.listmode_osem"
        )
    target = SinogramScan(
        grid=scan.grid, scanner=scanner, centre=scan.centre, span=span, psf=scan.psf
    )
    flat = bins_of(target, scan.crystals, scan.tof if scanner.tof_bins > 1 else None)
    inside = flat >= 0
    weights = np.asarray(acquisition.samples, np.float64)[inside]
    counts = np.bincount(flat[inside], weights, minlength=int(np.prod(target.range)))
    kept = {
        name: a for name, a in acquisition.calibration.items()
        if name not in (*PER_EVENT, "sensitivity_image")
    }  # fmt: skip
    return replace(acquisition, samples=counts.reshape(target.range).astype(np.float32),
                   operator=target, calibration=kept)  # fmt: skip
