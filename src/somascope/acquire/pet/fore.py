"""Fourier rebinning: oblique planes to direct ones, with the axial shift that frequency tells."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np

from somascope.acquire.pet.fbp import uniform
from somascope.acquire.pet.model import sinogram_of
from somascope.acquire.pet.rebin import line_integrals, obliqueness
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.core import QUIET, Acquisition, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float


def full_turn(first: Array, mirrored: Array) -> Array:
    """Angles of a whole turn: those of a plane, then those of its mirror image, ``s`` reversed."""
    return np.concatenate([first, mirrored[..., ::-1]], axis=-2)


def rebinned_spectrum(
    scan: SinogramScan, planes: Array, spacing: float, *, radius: float, progress: Progress
) -> tuple[Array, Array]:
    """Sum of spectra moved along S, and how many were added, each ``(2 rings - 1, k, w)``.

    ``planes`` ``(plane, angle, s)`` are at equal distances; ``radius`` is the largest distance from
    the axis at which there is activity, mm.
    """
    scanner, planes_of = scan.scanner, scan.michelogram.planes_of
    angles, bins = 2 * planes.shape[1], planes.shape[2]
    length = 2 * bins
    k = np.fft.fftfreq(angles, 1 / angles)[:, None]
    w = 2 * np.pi * np.fft.rfftfreq(length, spacing)[None]
    count = 2 * scanner.rings - 1
    total = np.zeros((count, angles, w.shape[1]), np.complex128)
    weight = np.zeros((count, angles, w.shape[1]))
    rings = scan.michelogram.mean_rings
    # Low frequencies along s have no defined shift there: they come from the least oblique.
    low = 2 * np.pi * 3 / (length * spacing)
    segments = [s for s in scan.michelogram.segments if s >= 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        where = np.where(w > 0, -k / w, 0.0)  # mm from the middle of the line
    for n, segment in enumerate(segments):
        progress(0.1 + 0.7 * n / len(segments), "rebinning")
        own, other = planes_of(segment), planes_of(-segment)
        twin = {tuple(rings[p][::-1]): p for p in other}
        for p in own:
            mirror = twin[tuple(rings[p])]
            spectrum = np.fft.rfft(full_turn(planes[p], planes[mirror]), length, axis=-1)
            spectrum = np.fft.fft(spectrum, axis=0)
            difference = (rings[p, 1] - rings[p, 0]) / 2  # rings per half line
            shift = 2 * difference * where / scanner.effective_radius
            usable = (np.abs(k) <= w * radius + 2) & (w > low)
            if segment <= 1:  # every second plane has no ring of its own
                shift = np.where(usable, shift, 0.0)
                usable = np.ones_like(shift, bool)
            at = rings[p].sum() + shift  # twice the mean ring
            base = np.floor(at).astype(int)
            share = at - base
            for offset, part in ((0, 1 - share), (1, share)):
                slot = base + offset
                inside = usable & (slot >= 0) & (slot < count) & (part > 0)
                rows, columns = np.nonzero(inside)
                places = (slot[rows, columns], rows, columns)
                np.add.at(total, places, (part * spectrum)[rows, columns])
                np.add.at(weight, places, part[rows, columns])
    return total, weight


def direct_sinogram(total: Array, weight: Array, bins: int) -> Array:
    """``(2 rings - 1, angle, s)`` over half a turn; frequencies nobody measured stay zero."""
    length = 2 * bins
    mean = np.divide(total, weight, out=np.zeros_like(total), where=weight > 1e-3)
    found = np.fft.irfft(np.fft.ifft(mean, axis=1), length, axis=2)[..., :bins]
    half = found.shape[1] // 2
    return 0.5 * (found[:, :half] + found[:, half:, ::-1]).astype(np.float32)


def on_bins(scan: SinogramScan, sinogram: Array, spacing: float) -> Array:
    """Equal distances and one angle per row, back to the scan's interleaved bins."""
    t = np.arange(scan.radial_bins) - scan.radial_bins // 2
    wanted = scan.scanner.effective_radius * np.sin(np.pi * t / scan.scanner.crystals) / spacing
    place = np.clip(wanted + (sinogram.shape[-1] - 1) / 2, 0, sinogram.shape[-1] - 1.001)
    low = place.astype(int)
    share = (place - low).astype(np.float32)
    even = sinogram[..., low] * (1 - share) + sinogram[..., low + 1] * share
    last = even[:, -1:, :][..., np.clip(2 * (scan.radial_bins // 2) - np.arange(len(t)), 0,
                                        len(t) - 1)]  # fmt: skip
    before = np.concatenate([last, even[:, :-1]], axis=1)
    odd = 0.5 * (even + before)
    return np.where(t % 2 == 0, even, odd) if scan.mashing == 1 else even


@operation("acquire.pet.fore")
def fore(
    acquisition: Acquisition,
    *,
    max_ring_difference: Annotated[
        int | None, Param("Of the ring pairs used; all if not given", minimum=0, maximum=1000)
    ] = None,
    radius: Annotated[
        float | None,
        Param(
            "Of the body about the axis; that of the bins if not given",
            unit="mm",
            minimum=1.0,
            maximum=1000.0,
            advanced=True,
        ),
    ] = None,
    progress: Progress = QUIET,
) -> Acquisition:
    """Sort oblique PET planes into direct ones by Fourier rebinning (FORE).

    Defrise, Kinahan, Townsend et al. (1997): a frequency of an oblique sinogram stands for activity
    at a known place on its lines, and goes to the plane there. Sharper along the axis than SSRB;
    the result is corrected line integrals (of both signs), to be reconstructed by
    acquire.pet.fbp2d.
    """
    scan = sinogram_of(acquisition, operation_name="acquire.pet.fore")
    most = scan.michelogram.max_ring_difference
    assert most is not None
    wanted = most if max_ring_difference is None else min(max_ring_difference, most)
    if scan.michelogram.span != 1 or scan.mashing != 1:
        raise ParameterError(
            f"span {scan.michelogram.span}, mashing {scan.mashing}: Fourier rebinning takes "
            "sinograms of span 1 without mashing; use acquire.pet.ssrb"
        )
    progress(0.0, "correcting")
    flat, lines = line_integrals(acquisition, operation_name="acquire.pet.fore")
    if wanted < most:
        kept = [p for p, pairs in enumerate(scan.michelogram.pairs)
                if abs(pairs[0][1] - pairs[0][0]) <= wanted]  # fmt: skip
        flat, lines = flat.with_changes(max_ring_difference=wanted), lines[kept]
    lines = lines / obliqueness(flat)
    sinogram, _, spacing = uniform(flat, lines)
    reach = float((sinogram.shape[-1] - 1) / 2 * spacing) if radius is None else radius
    total, weight = rebinned_spectrum(flat, sinogram, spacing, radius=reach, progress=progress)
    direct = direct_sinogram(total, weight, sinogram.shape[-1])
    target = flat.with_changes(span=2 * (flat.scanner.rings - 1) + 1,
                               max_ring_difference=flat.scanner.rings - 1)  # fmt: skip
    progress(1.0, "rebinned")
    return lines_as_acquisition(acquisition, target, on_bins(flat, direct, spacing))


def lines_as_acquisition(
    acquisition: Acquisition, target: SinogramScan, lines: Array
) -> Acquisition:
    """Corrected line integrals as an acquisition whose model is ``expected = A x - offset``.

    Counts may not be negative: the least value is added to all and noted as ``randoms``, which
    every reconstruction takes off again.
    """
    offset: Float = np.maximum(-np.min(lines, initial=0.0), 0.0).astype(np.float32)
    kept = {k: v for k, v in acquisition.calibration.items()
            if k in ("sensitivity", "decay", "live_time")}  # fmt: skip
    from somascope.acquire.pet.model import scale

    factor = np.float32(scale(acquisition))
    kept["normalisation"] = (1 / target.multiplicity).astype(np.float32)
    kept["randoms"] = np.full((1, 1, 1), offset * factor, np.float32)
    samples = ((lines + offset) * factor).astype(np.float32)
    return replace(acquisition, samples=samples, operator=target, calibration=kept)
