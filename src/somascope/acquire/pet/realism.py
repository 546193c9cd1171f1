"""What makes a simulated scan as imperfect as a real one: scatter, uneven crystals, dead time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np

from somascope.acquire.mumap import resample_to
from somascope.acquire.pet import montecarlo
from somascope.acquire.pet.attenuation import covering, mu_on
from somascope.acquire.pet.coarse import nodes, spread
from somascope.acquire.pet.decay import live_fraction
from somascope.acquire.pet.efficiency import Pairs
from somascope.acquire.pet.model import factors, scale
from somascope.acquire.pet.scatter import in_time, single_scatter, thinned_grid
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.core import Acquisition, Image
from somascope.core.errors import GeometryError
from somascope.core.grid import Array

FOLLOWED = 6_000_000
"""Photon pairs followed for a scatter distribution; smoothing does the rest."""


def efficiencies(scan: SinogramScan, spread_of: float, *, seed: int) -> Array:
    """Efficiency of every bin for crystals that differ by ``spread_of`` (standard deviation).

    The crystals at the edges of a block are 15 per cent weaker. Mean 1; float32 ``(plane, angle,
    radial)``.
    """
    s = scan.scanner
    rng = np.random.default_rng([seed, 1])
    values = np.clip(rng.normal(1.0, spread_of, (s.rings, s.crystals)), 0.2, 3.0)
    for count, size, axis in ((s.rings, s.block[0], 0), (s.crystals, s.block[1], 1)):
        place = np.arange(count) % size
        edge = np.where((place == 0) | (place == size - 1), 0.85, 1.0) if size > 2 else 1.0
        values *= np.expand_dims(np.broadcast_to(edge, count), 1 - axis)
    found = Pairs(scan).products(values / values.mean()) / scan.multiplicity
    return np.asarray(found / found.mean(), np.float32)


def scattered(
    scan: SinogramScan,
    activity: Array,
    mu: Image,
    *,
    kind: Literal["single", "photons"],
    seed: int,
) -> Array:
    """Scatter per crystal pair in the unit of ``A x``, float32 ``([tof,] plane, angle, radial)``.

    ``single`` as `scatter.single_scatter` computes it; ``photons`` of every order, from photons
    followed one by one, smoothed, and over TOF bins like single scatter.
    """
    wide = thinned_grid(covering(scan.grid, mu.grid), voxel=6.0)
    spot = resample_to(Image(activity, scan.grid), wide).data
    absorbing = np.asarray(mu_on(wide, mu).data * np.float32(0.1), np.float32)
    at = nodes(scan.scanner)
    timed = scan.scanner.tof_bins > 1
    table = np.zeros(0, np.float32)
    if timed or kind == "single":
        table = single_scatter(spot, absorbing, wide, at, centre=scan.centre)
    if kind == "photons":
        made = montecarlo.follow(
            spot, absorbing, wide, replace(at, scanner=scan.scanner.without_tof()),
            centre=scan.centre, pairs=FOLLOWED, seed=seed,
        )  # fmt: skip
        both = (made.single + made.multiple) / np.float32(made.per_line)
        both = montecarlo.smoothed(both, across=0.35)
        table = in_time(table, both) if timed else both
    return spread(table, at, scan)


def added(
    scan: SinogramScan,
    activity: Array,
    mu: Image | None,
    *,
    calibration: dict[str, Array],
    attributes: dict[str, Any],
    kind: Literal["none", "single", "photons"],
    uneven: float,
    dead: float,
    randoms: float,
    seed: int,
) -> dict[str, Array]:
    """The calibration with efficiencies, scatter (counts) and the share of time lost.

    ``dead`` is the dead time in s of the coincidence processor, not prolonged by what it misses:
    ``calibration["live_time"] = 1 / (1 + rate dead)``, all prompts counted in the rate.
    """
    found = dict(calibration)
    if uneven > 0:
        found["normalisation"] = efficiencies(scan, uneven, seed=seed)
    if kind == "none" and dead == 0:
        return found
    plain = Acquisition(
        np.zeros(scan.range, np.float32), scan, "PT", unit="{counts}", calibration=found,
        attributes=attributes,
    )  # fmt: skip
    if kind != "none":
        if mu is None:
            raise GeometryError("scatter needs a body to scatter in; give a CT or a mu-map")
        per_pair = scattered(scan, activity, mu, kind=kind, seed=seed)
        counts = per_pair * scan.multiplicity * np.float32(scale(plain))
        if uneven > 0:
            counts = counts * found["normalisation"]
        found["scatter"] = np.asarray(counts, np.float32)
    if dead > 0:
        expected = float((scan.forward(activity) * factors(plain)).sum(dtype=np.float64))
        if "scatter" in found:
            expected += float(found["scatter"].sum(dtype=np.float64))
        seconds = float(attributes["ActualFrameDuration"]) / 1000
        rate = expected / (1 - randoms) / seconds
        live = float(live_fraction(np.array(rate), dead))
        found["live_time"] = np.array(live)
        if "scatter" in found:
            found["scatter"] = np.asarray(found["scatter"] * np.float32(live), np.float32)
    return found


def as_measured(acquisition: Acquisition, *, seed: int) -> Acquisition:
    """Only what a scanner knows: a delayed window in place of the expected randoms, no scatter."""
    kept = {k: v for k, v in acquisition.calibration.items() if k not in ("randoms", "scatter")}
    expected = acquisition.calibration.get("randoms")
    if expected is not None:
        rng = np.random.default_rng([seed, 2])
        whole = np.broadcast_to(expected, acquisition.samples.shape)
        kept["delayed"] = rng.poisson(whole).astype(np.float32)
    return replace(acquisition, calibration=kept)
