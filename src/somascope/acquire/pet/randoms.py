"""Random coincidences: from singles rates, or from a delayed window made less noisy."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from somascope.acquire.pet.efficiency import Pairs, fit
from somascope.acquire.pet.listmode import ListModeScan
from somascope.acquire.pet.model import PetScan, calibration, scan_of
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.core import Acquisition, Param, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array

_ITERATIONS = 12


def from_singles(scan: PetScan, singles: Array, *, seconds: float) -> Array:
    """Expected randoms ``2 tau s_i s_j T`` of every bin or event, float32.

    ``singles`` (rings, crystals) per second, as they arrive within the energy window; ``2 tau`` is
    the scanner's coincidence window. TOF bins share the window evenly: ``(tof, plane, angle,
    radial)``.

    Raises
    ------
    GeometryError
        Another number of crystals.
    ParameterError
        Rates that are negative or not finite.
    """
    s = scan.scanner
    singles = np.asarray(singles, np.float64)
    if singles.shape != (s.rings, s.crystals):
        raise GeometryError(
            f"singles have shape {singles.shape}; scanner {s.name!r} has {s.rings} rings of "
            f"{s.crystals} crystals"
        )
    if not np.isfinite(singles).all() or singles.min() < 0:
        raise ParameterError("singles rates are negative or not finite somewhere; give counts/s")
    window = s.window_ns * 1e-9 if s.tof_bins == 1 else s.tof_bin_ps * 1e-12
    if isinstance(scan, SinogramScan):
        found = Pairs(scan).products(singles * np.sqrt(window * seconds))
        return found if s.tof_bins == 1 else np.broadcast_to(found, scan.range).copy()
    flat = singles.ravel()
    one, two = flat[scan.crystals[:, 0]], flat[scan.crystals[:, 1]]
    return (window * seconds * one * two).astype(np.float32)


def from_delayed(scan: SinogramScan, delayed: Array) -> Array:
    """Expected randoms behind a delayed sinogram, float32: its noise spread over fans of lines.

    Randoms are products of two singles rates. There are far fewer crystals than bins, so their most
    likely rates are known well (Casey and Hoffman, J Comput Assist Tomogr 10:845, 1986; Panin,
    Chen and Michel, IEEE NSS MIC 2007). TOF bins are joined and share the result.
    """
    total = delayed if scan.scanner.tof_bins == 1 else delayed.sum(axis=0)
    pairs = Pairs(scan)
    values = fit(pairs, total, np.ones(1, np.float32), iterations=_ITERATIONS)
    found = pairs.products(values)
    bins = scan.scanner.tof_bins
    return found if bins == 1 else np.broadcast_to(found / np.float32(bins), scan.range).copy()


@operation("acquire.pet.randoms")
def randoms(
    acquisition: Acquisition,
    *,
    method: Annotated[
        Literal["delayed", "measured", "singles"],
        Param("Delayed window with its noise reduced, as it was measured, or singles rates"),
    ] = "delayed",
) -> Acquisition:
    """Expected random coincidences from the delayed window or the singles rates of the scan.

    ``calibration["delayed"]`` holds counts of a delayed window, in the shape of the samples, or
    ``calibration["singles"]`` rates per s, ``(rings, crystals)``. The counts stay as measured; the
    result goes into ``calibration["randoms"]`` and replaces what was there.

    Raises
    ------
    ParameterError
        What the method needs was not measured.
    """
    name = "acquire.pet.randoms"
    scan = scan_of(acquisition, operation_name=name)
    wanted = "singles" if method == "singles" else "delayed"
    if wanted not in acquisition.calibration:
        known = ", ".join(acquisition.calibration) or "nothing"
        raise ParameterError(
            f"{name}: the acquisition has no {wanted!r} in its calibration ({known}); choose the "
            "method that fits what was measured"
        )
    if method == "singles":
        facts = acquisition.attributes.get("ActualFrameDuration")
        if not facts or not float(facts) > 0:
            raise ParameterError(
                f"{name}: ActualFrameDuration is {facts!r}; randoms from rates need the time in ms"
            )
        found = from_singles(scan, acquisition.calibration["singles"], seconds=float(facts) * 1e-3)
    else:
        counts = calibration(acquisition, "delayed")
        assert counts is not None  # seen above
        if isinstance(scan, ListModeScan):
            raise GeometryError(f"{name}: a delayed window belongs to a sinogram; use singles")
        counts = np.broadcast_to(counts, scan.range)
        found = from_delayed(scan, counts) if method == "delayed" else np.array(counts)
    said = {"delayed": "DLYD", "measured": "DLYD", "singles": "SING"}[method]
    return replace(
        acquisition,
        calibration={**acquisition.calibration, "randoms": np.asarray(found, np.float32)},
        attributes={**acquisition.attributes, "RandomsCorrectionMethod": said},
    )
