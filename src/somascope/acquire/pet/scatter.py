"""Scattered coincidences: single-scatter simulation, scaled to what is counted beside the body.

Watson, Newport and Casey (1996) and Watson (IEEE Trans Nucl Sci 47:1587, 2000): photon pairs of
which one is scattered once, from every point of the body towards every pair of a thinned set of
detectors, with Klein and Nishina's angles, the energy window and both photons' attenuation. What
is scattered more often is broader: its share and shape come from a million photon pairs followed
one by one, smoothed. The scale of the tails then corrects little.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from somascope.acquire.likelihood import osem
from somascope.acquire.mumap import resample_to
from somascope.acquire.pet import compton, montecarlo, scatter_kernels, tof
from somascope.acquire.pet.attenuation import covering, mu_on, survival
from somascope.acquire.pet.coarse import Nodes, at_events, nodes, spread
from somascope.acquire.pet.events import bins_of
from somascope.acquire.pet.listmode import ListModeScan
from somascope.acquire.pet.model import calibration, scale, scan_of, sinogram_of
from somascope.acquire.pet.randoms import from_singles
from somascope.acquire.pet.scanner import Scanner
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.acquire.pet.system import prepare
from somascope.core import QUIET, Acquisition, Grid, Image, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float
from somascope.process.chunks import in_chunks

POINTS_MM = 26.0
"""Distance of scatter points."""
_LEAST_MU = 0.002
_CLEAR = 0.985
_FEW = 2000.0
_FOLLOWED = 1_000_000


def thinned_grid(grid: Grid, *, voxel: float) -> Grid:
    """The same region in voxels of at least ``voxel`` mm, slices square and centred as before."""
    spacing = np.array(grid.spacing)
    ratio = np.maximum(voxel / spacing, 1.0)
    ratio[1:] = ratio[1:].min()
    shape = np.maximum(np.ceil(np.array(grid.shape) / ratio - 1e-6), 2).astype(int)
    affine = grid.affine.copy()
    affine[:3, :3] *= ratio
    middle = grid.to_world((np.array(grid.shape) - 1) / 2)
    affine[:3, 3] = middle - affine[:3, :3] @ ((shape - 1) / 2)
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine, grid.frame_of_reference)


def scatter_points(mu: Array, grid: Grid, *, spacing: float = POINTS_MM) -> tuple[Float, Float]:
    """Points ``(n, 3)`` in (z, y, x) indices, and the attenuation each stands for, mm2.

    One per cell of ``spacing`` mm, at its centre of attenuation; ``mu`` in 1/mm. The weights add up
    to the integral of ``mu`` over the volume.
    """
    size = np.maximum(np.rint(spacing / np.array(grid.spacing)), 1).astype(int)
    index = [np.arange(n) // s for n, s in zip(mu.shape, size, strict=True)]
    count = [int(i[-1]) + 1 for i in index]
    cell = ((index[0][:, None, None] * count[1] + index[1][:, None]) * count[2] + index[2]).ravel()
    values = np.where(mu > _LEAST_MU, mu, 0.0).ravel().astype(np.float64)
    total = np.bincount(cell, values, minlength=int(np.prod(count)))
    kept = total > 1e-6 * max(float(total.max()), 1e-30)
    where = np.meshgrid(*(np.arange(n, dtype=np.float64) for n in mu.shape), indexing="ij")
    centres = [np.bincount(cell, values * w.ravel(), minlength=len(total)) for w in where]
    points = np.stack([c[kept] / total[kept] for c in centres], axis=1)
    return points, np.asarray(total[kept] * grid.voxel_volume, np.float64)


def single_scatter(
    activity: Array,
    mu: Array,
    grid: Grid,
    at: Nodes,
    *,
    centre: tuple[float, float, float],
    spacing: float = POINTS_MM,
) -> Array:
    """Scatter per crystal pair between the nodes, float32 of ``at.shape``.

    In the unit of line integrals: (unit of ``activity``) times mm, so that the factors of the model
    make counts of it as they do of ``A x``, attenuation excepted. ``activity`` and ``mu`` (1/mm)
    are ``(nz, ny, nx)`` on ``grid``. For nodes of a scanner with TOF: ``(tof, *at.shape)``, the
    bins as the first detector of a pair sees them (Werner, Surti and Karp, IEEE NSS MIC 2006).
    """
    points, weights = scatter_points(mu, grid, spacing=spacing)
    scanner = at.scanner
    shape = at.shape if scanner.tof_bins == 1 else (scanner.tof_bins, *at.shape)
    if not len(points) or not np.any(activity):
        return np.zeros(shape, np.float32)
    places, normals = at.positions()
    places = places + np.asarray(centre)
    ends = grid.to_index(places)
    pitch = np.array(grid.spacing, np.float32)
    step = float(pitch.min())
    absorbed = np.zeros((len(places), len(points)), np.float32)
    rays = (
        points.astype(np.float32), ends.astype(np.float32), np.ascontiguousarray(mu, np.float32),
        np.ascontiguousarray(activity, np.float32), pitch, step,
    )  # fmt: skip
    lines = (
        grid.to_world(points).astype(np.float32), weights.astype(np.float32),
        places.astype(np.float32), normals.astype(np.float32), absorbed,
    )  # fmt: skip
    worth, least = compton.table(scanner), np.float32(compton.least_cosine(scanner))
    if scanner.tof_bins == 1:
        emitted = np.zeros_like(absorbed)
        out = np.zeros((len(places), len(places)), np.float32)
        in_chunks(scatter_kernels.rays, len(places), *rays, absorbed, emitted)
        in_chunks(scatter_kernels.pairs, len(places), *lines, emitted, worth, least, out)
    else:
        width, kernel = _pieces(scanner, step)
        reach = float(np.linalg.norm(np.array(grid.shape) * pitch))
        emitted = np.zeros((*absorbed.shape, int(reach / width) + 1), np.float32)
        lengths = np.zeros(absorbed.shape, np.int32)
        out = np.zeros((scanner.tof_bins, len(places), len(places)), np.float32)
        in_chunks(scatter_kernels.profiles, len(places), *rays, width, absorbed, emitted, lengths)
        in_chunks(
            scatter_kernels.pairs_in_time, len(places), *lines, emitted, lengths, width, worth,
            least, kernel, out,
        )  # fmt: skip
    # A pair facing each other across the ring is worth 1 per mm: F^2 / (2 pi (2r)^2) is taken out.
    out *= np.float32((2 * scanner.effective_radius) ** 2)
    return out.reshape(shape)


def _pieces(scanner: Scanner, step: float) -> tuple[float, Array]:
    """Length of the pieces in which offsets are counted, and what each gives to each TOF bin."""
    width = max(step, tof.sigma(scanner) / 3)
    most = float(tof.centres(scanner).max()) + tof.reach(scanner)
    half = int(np.ceil(max(most, 2 * scanner.effective_radius) / width))
    offsets = np.arange(-half, half + 1) * width
    away = np.abs(offsets - tof.centres(scanner)[:, None]) / tof.reach(scanner)
    known = tof.table(scanner)
    kernel = np.interp(away * (len(known) - 2), np.arange(len(known)), known, right=0.0)
    return width, kernel.astype(np.float32)


def multiple_scatter(
    activity: Array, mu: Array, grid: Grid, at: Nodes, *, centre: tuple[float, float, float]
) -> Array:
    """What is scattered more than once, as `single_scatter` gives what is scattered once."""
    made = montecarlo.follow(
        np.maximum(activity, 0), mu, grid, at, centre=centre, pairs=_FOLLOWED, seed=1
    )
    return montecarlo.smoothed(made.multiple, across=1.2) / np.float32(made.per_line)


def in_time(single: Array, table: Array) -> Array:
    """``table`` of all scatter, `Nodes.shape`, shared out over TOF bins as ``single`` is.

    What is scattered more often arrives a little later than what is scattered once.
    """
    total = single.sum(axis=0)
    share = np.divide(single, total, out=np.full_like(single, 1 / len(single)), where=total > 0)
    return share * table


def tail_scale(acquisition: Acquisition, modelled: Array, survived: Array) -> float:
    """Counts beside the body over those modelled there; 1 where too few to tell.

    ``modelled`` scatter counts and ``survived`` (share that is not absorbed) broadcast to the
    samples.
    """
    shape = acquisition.samples.shape
    beside = np.broadcast_to(survived > _CLEAR, shape)
    net = np.asarray(acquisition.samples, np.float64)
    randoms = calibration(acquisition, "randoms")
    if randoms is not None:
        net = net - randoms
    counted = float(net[beside].sum())
    expected = float(np.broadcast_to(modelled, shape)[beside].sum(dtype=np.float64))
    if expected < 1e-12 or float(acquisition.samples[beside].sum(dtype=np.float64)) < _FEW:
        return 1.0
    return float(np.clip(counted / expected, 0.2, 5.0))


def thinned(acquisition: Acquisition) -> Acquisition:
    """The nearly direct planes alone: enough for a coarse image."""
    scan = sinogram_of(acquisition, operation_name="acquire.pet.scatter")
    span = scan.michelogram.span
    most = scan.michelogram.max_ring_difference or 0
    few = min(most, max(span // 2, 1))
    part = scan.with_changes(max_ring_difference=few)
    planes = np.array([scan.michelogram.table[p[0]] for p in part.michelogram.pairs])
    whole = {p: k for k, p in enumerate(scan.michelogram.pairs)}
    same = all(pairs in whole for pairs in part.michelogram.pairs)
    if not same:  # segment 0 is cut short: its planes hold fewer ring pairs than before
        return acquisition

    def taken(array: Array) -> Array:
        return array[..., planes, :, :] if array.ndim >= 3 and array.shape[-3] > 1 else array

    kept = {
        name: taken(np.asarray(a))
        for name, a in acquisition.calibration.items()
        if name != "sensitivity_image"
    }
    return replace(acquisition, samples=taken(acquisition.samples), operator=part, calibration=kept)


def joined(acquisition: Acquisition) -> Acquisition:
    """A sinogram with its TOF bins added up."""
    scan = sinogram_of(acquisition, operation_name="acquire.pet.scatter")
    if scan.scanner.tof_bins == 1:
        return acquisition
    kept = dict(acquisition.calibration)
    for name in ("normalisation", "attenuation", "randoms"):
        array = calibration(acquisition, name)
        if array is not None and name == "randoms":
            kept[name] = np.broadcast_to(array, scan.range).sum(axis=0)
        elif array is not None and array.ndim == 4:
            kept[name] = array.mean(axis=0)
    return replace(
        acquisition, samples=np.asarray(acquisition.samples, np.float32).sum(axis=0),
        operator=scan.with_changes(scanner=scan.scanner.without_tof()), calibration=kept,
    )  # fmt: skip


def sorted_events(acquisition: Acquisition) -> Acquisition:
    """The events of nearly direct lines as a sinogram, its crystals all alike.

    Events come from a line in proportion to its efficiency, so the mean over all lines is the
    harmonic mean over events; it takes the place of the efficiencies of lines without an event.

    Raises
    ------
    GeometryError
        Crystals that lie on no cylinder.
    ParameterError
        Randoms of the events alone: what is expected in the other lines is not known.
    """
    scan = acquisition.operator
    assert isinstance(scan, ListModeScan)
    if scan.positions is not None:
        raise GeometryError(
            "acquire.pet.scatter: these crystals do not lie on a cylinder, for which alone "
            "scatter is estimated"
        )
    scanner, timed = scan.scanner.without_tof(), scan.scanner
    if timed.tof_bins > 1:  # their bins are the window
        scanner = replace(scanner, window_ns=timed.tof_bins * timed.tof_bin_ps * 1e-3)
    target = SinogramScan(
        grid=scan.grid, scanner=scanner, centre=scan.centre,
        max_ring_difference=min(1, scanner.rings - 1),
    )  # fmt: skip
    flat = bins_of(target, scan.crystals, None)
    weights = np.asarray(acquisition.samples, np.float64)
    inside = flat >= 0
    counts = np.bincount(flat[inside], weights[inside], minlength=int(np.prod(target.range)))
    kept = {
        k: v for k, v in acquisition.calibration.items()
        if k in ("sensitivity", "decay", "live_time")
    }  # fmt: skip
    efficiency = calibration(acquisition, "normalisation")
    if efficiency is not None and (efficiency > 0).any():
        mean = 1 / float((1 / efficiency[efficiency > 0]).mean(dtype=np.float64))
        kept["normalisation"] = np.full((1, 1, 1), mean, np.float32)
    if "singles" in acquisition.calibration:
        seconds = float(acquisition.attributes.get("ActualFrameDuration") or 0) * 1e-3
        kept["randoms"] = from_singles(target, acquisition.calibration["singles"], seconds=seconds)
    elif "randoms" in acquisition.calibration:
        raise ParameterError(
            "acquire.pet.scatter: the events have randoms, but not the singles rates they come "
            "from; add calibration['singles'] (acquire.pet.randoms uses them too)"
        )
    return replace(
        acquisition, samples=counts.reshape(target.range).astype(np.float32), operator=target,
        calibration=kept,
    )  # fmt: skip


@operation("acquire.pet.scatter")
def scatter(
    acquisition: Acquisition,
    ct: Image,
    *,
    passes: Annotated[
        int, Param("Rounds of coarse image and scatter", minimum=1, maximum=10)
    ] = 2,
    level: Annotated[
        Literal["tails", "absolute"],
        Param("Scale to the counts beside the body, or take single scatter as computed"),
    ] = "tails",
    multiple: Annotated[
        bool, Param("Add what is scattered more than once, from photons followed; else the scale "
                    "has to take it in")
    ] = True,
    points: Annotated[
        float, Param("Distance of scatter points", unit="mm", minimum=4.0, maximum=80.0,
                     advanced=True)
    ] = POINTS_MM,
    progress: Progress = QUIET,
) -> Acquisition:  # fmt: skip
    """Estimate scattered coincidences of a sinogram by single-scatter simulation.

    Watson (2000): a coarse image is reconstructed, photons are scattered once in the CT (or
    mu-map) towards all pairs of a thinned scanner, the result is interpolated to all lines and
    scaled to the counts beside the body; then again with the image corrected for it. Attenuation is
    taken from the acquisition, or from the CT where it has none. The counts stay as measured; the
    estimate goes into ``calibration["scatter"]`` and replaces what was there. Time of flight: of
    every bin, by the ways of both photons. Events of a list are sorted for the estimate; each gets
    what is expected in its line and bin (its randoms have to come from singles rates).
    """
    name = "acquire.pet.scatter"
    scan = scan_of(acquisition, operation_name=name)
    before = {k: v for k, v in acquisition.calibration.items() if k != "scatter"}
    bare = replace(acquisition, calibration=before)
    listed = isinstance(scan, ListModeScan)
    whole = sorted_events(bare) if listed else joined(bare)
    flat = sinogram_of(whole, operation_name=name)
    survived = calibration(whole, "attenuation")
    if survived is None:
        survived = survival(flat, ct)
    whole = replace(whole, calibration={**whole.calibration, "attenuation": survived})
    voxel = max(8.0, flat.scanner.effective_radius / 40)
    grid = thinned_grid(flat.grid, voxel=voxel)
    wide = thinned_grid(covering(flat.grid, ct.grid), voxel=voxel)
    mu = mu_on(wide, ct).data * np.float32(0.1)
    part = thinned(whole)
    at = nodes(flat.scanner)
    found, factor = np.zeros(1, np.float32), 1.0
    table = np.zeros(at.shape, np.float32)
    activity = np.zeros(wide.shape, np.float32)
    for k in range(passes):
        progress(k / (passes + 1), f"scatter, pass {k + 1}")
        image = _coarse_image(part, grid, found * np.float32(factor))
        activity = resample_to(Image(image, grid), wide).data if wide != grid else image
        table = single_scatter(activity, mu, wide, at, centre=flat.centre, spacing=points)
        if multiple and table.any():
            table = table + multiple_scatter(activity, mu, wide, at, centre=flat.centre)
        found = _counts(table, at, part)
        if level == "tails":
            factor = tail_scale(part, found, np.asarray(part.calibration["attenuation"]))
    progress(passes / (passes + 1), "scatter in all lines")
    if level == "tails" and not listed:
        factor = tail_scale(whole, _counts(table, at, whole), survived)
    if scan.scanner.tof_bins > 1:
        timed = replace(at, scanner=scan.scanner)
        single = single_scatter(activity, mu, wide, timed, centre=flat.centre, spacing=points)
        table = in_time(single, table)
    final = _counts(table, at, bare) * np.float32(factor)
    progress(1.0, "scattered")
    seen, scattered = (part, found * np.float32(factor)) if listed else (acquisition, final)
    chance = calibration(seen, "randoms")
    trues = float(seen.samples.sum(dtype=np.float64))
    trues -= 0.0 if chance is None else _total(chance, seen.samples.shape)
    share = _total(scattered, seen.samples.shape) / max(trues, 1e-30)
    return replace(
        acquisition,
        calibration={**acquisition.calibration, "scatter": final},
        attributes={
            **acquisition.attributes,
            "ScatterCorrectionMethod": f"Single scatter simulation, scale {factor:.3f}",
            "ScatterFractionFactor": round(float(np.clip(share, 0, 1)), 4),
        },
    )


def _total(array: Array, shape: tuple[int, ...]) -> float:
    return float(np.broadcast_to(array, shape).sum(dtype=np.float64))


def _counts(table: Array, at: Nodes, acquisition: Acquisition) -> Array:
    """Expected scatter counts in the bins of a sinogram, or in those of events."""
    scan = acquisition.operator
    if isinstance(scan, ListModeScan):
        bins = scan.tof if table.ndim == 5 else None
        found = at_events(table, at, scan.crystals, bins) * np.float32(scale(acquisition))
    else:
        assert isinstance(scan, SinogramScan)  # `scan_of` has seen it
        found = spread(table, at, scan) * np.float32(scale(acquisition)) * scan.multiplicity
    efficiency = calibration(acquisition, "normalisation")
    return found if efficiency is None else found * efficiency


def _coarse_image(acquisition: Acquisition, grid: Grid, scattered: Array) -> Array:
    """A smooth image on ``grid``, (nz, ny, nx): two passes of few subsets."""
    scan = acquisition.operator
    assert isinstance(scan, SinogramScan)
    known = {**acquisition.calibration, "scatter": scattered}
    coarse = replace(acquisition, operator=scan.with_changes(grid=grid), calibration=known)
    most = max(1, min(8, scan.angle_count // 16))
    system = prepare(coarse, operation_name="acquire.pet.scatter", subsets=most)
    return osem(
        system.operators, system.counts, iterations=max(2, 16 // most),
        background=system.backgrounds,
    ).x  # fmt: skip
