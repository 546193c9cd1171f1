"""Density compensation and gridding of a head whose k-space is known everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from somascope.acquire.mri.gridding import density, gridding, pipe_menon, ramp, voronoi
from somascope.acquire.mri.noncartesian import NonCartesianScan
from somascope.acquire.mri.sense import sense
from somascope.core import Acquisition
from somascope.core.errors import ParameterError
from tests.acquire.mri.head import coil_maps, error, head, lattice, scanned, true_kspace

N = 64
TURNS = np.pi * np.arange(110) / 110
R = np.arange(-N, N) / 2
SPOKES = np.stack([np.outer(np.sin(TURNS), R), np.outer(np.cos(TURNS), R)], -1)


@pytest.mark.parametrize("method", ["pipe", "ramp", "voronoi"])
def test_gridding_gives_the_brightness_of_the_head(method: str):
    x, grid = head(N)
    scan = NonCartesianScan(grid, trajectory=SPOKES)
    y = true_kspace(grid, SPOKES)[None].astype(np.complex64)
    image = gridding(Acquisition(y, scan, "MR"), compensation=method)
    # What a disc of k-space knows of the head, from the lattice.
    k = lattice(N, N)
    inside = np.linalg.norm(k, axis=-1) <= N / 2
    from somascope.acquire.mri.fourier import to_image

    disc = to_image(true_kspace(grid, k) * inside, axes=(-2, -1))
    assert error(image.data[0], np.abs(disc)) < 0.08
    flat = np.abs(x[0]) > 0.15
    assert abs(image.data[0][flat].mean() / np.abs(disc)[flat].mean() - 1) < 0.03


def test_weights_of_a_lattice_are_equal():
    for weights in (pipe_menon(lattice(16, 16), (16, 16)), voronoi(lattice(16, 16), (16, 16))):
        core = weights[4:12, 4:12]
        assert np.ptp(core) < 0.02 * core.mean()


def test_radial_weights_agree():
    """Areas of cells: the ramp in closed form, Voronoi by construction, Pipe and Menon found."""
    inner = slice(N // 4, 3 * N // 4)
    scan = NonCartesianScan(head(N)[1], trajectory=SPOKES)
    a, b, c = (density(scan, method=m)[:, inner].mean(axis=0) for m in ("ramp", "voronoi", "pipe"))
    away = np.abs(R[inner]) > 2
    assert np.abs(b / a - 1)[away].max() < 0.05
    assert np.abs(c / a - 1)[away].max() < 0.1
    assert ramp(SPOKES).shape == SPOKES.shape[:-1]


def test_coils_are_combined():
    x, grid = head(N)
    maps = coil_maps(4, grid)
    scan = NonCartesianScan(grid, trajectory=SPOKES, sensitivities=maps)
    acquisition = Acquisition(scan.forward(x).astype(np.complex64), scan, "MR")
    by_squares = gridding(acquisition, compensation="ramp").data
    by_maps = gridding(acquisition, compensation="ramp", combine="maps", part="complex").data
    assert error(np.abs(by_maps), by_squares) < 0.12
    assert error(by_maps, x) < 0.15
    iterated = sense(acquisition, part="complex", iterations=40).data
    assert error(iterated, x) < error(by_maps, x)


def test_lattices_have_no_gridding():
    acquisition, _, _ = scanned(16, 2)
    with pytest.raises(ParameterError, match=r"use acquire\.mri\.rss"):
        gridding(acquisition)
    with pytest.raises(ParameterError, match="three different"):
        voronoi(np.zeros((4, 2)), (16, 16))
