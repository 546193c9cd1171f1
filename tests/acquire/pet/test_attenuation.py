"""Attenuation from a CT: chords through a cylinder in closed form, other grids, refusals."""

from dataclasses import replace

import numpy as np
import pytest

from somascope.acquire.pet.attenuation import attenuation, covering, survival
from somascope.acquire.pet.listmode import ListModeScan
from somascope.acquire.pet.scanner import TINY, Scanner
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.core import Acquisition, Grid, Image
from somascope.core.errors import GeometryError, UnitError
from somascope.testing import check_operation

FLAT = TINY.without_tof()
GRID = Grid.from_spacing((9, 40, 40), (4.0, 4.0, 4.0), origin=(-78, -78, -16),
                         frame_of_reference="1.2.3.6")  # fmt: skip
RADIUS = 60.0


def cylinder(grid, inside=0.0, outside=-1000.0, unit="[hnsf'U]", **facts):
    _, ny, nx = grid.shape
    fine = 4
    offset = (np.arange(fine) + 0.5) / fine - 0.5
    y, x = (
        (np.arange(n)[:, None] + offset).ravel() * d + o
        for n, d, o in zip(
            (ny, nx), grid.spacing[1:], (grid.origin[1], grid.origin[0]), strict=True
        )
    )
    disk = (x[None, :] ** 2 + y[:, None] ** 2 < RADIUS**2).reshape(ny, fine, nx, fine)
    share = disk.mean(axis=(1, 3)).astype(np.float32)
    data = np.broadcast_to(outside + share * (inside - outside), grid.shape).astype(np.float32)
    return Image(np.ascontiguousarray(data), grid, "CT", unit, attributes=facts)


def chords(scan):
    a, b = scan.endpoints()
    direction = b - a
    length = np.linalg.norm(direction, axis=-1)
    flat = direction[..., :2] / np.linalg.norm(direction[..., :2], axis=-1, keepdims=True)
    distance = np.abs(a[..., 0] * flat[..., 1] - a[..., 1] * flat[..., 0])
    slant = length / np.linalg.norm(direction[..., :2], axis=-1)
    return 2 * np.sqrt(np.maximum(RADIUS**2 - distance**2, 0)) * slant, distance


def counts(scan):
    return Acquisition(np.ones(scan.range, np.float32), scan, "PT", unit="{counts}")


@pytest.mark.parametrize("kvp", [None, 80.0, 140.0])
def test_water_cylinder_in_closed_form(kvp):
    scan = SinogramScan(grid=GRID, scanner=FLAT, max_ring_difference=1)
    done = attenuation(counts(scan), cylinder(GRID), kvp=kvp)
    found = done.calibration["attenuation"]
    length, distance = chords(scan)
    clear = np.abs(distance - RADIUS) > 6
    np.testing.assert_allclose(found[clear], np.exp(-0.0096 * length)[clear], rtol=0.02)
    assert found.min() == pytest.approx(np.exp(-0.0096 * 2 * RADIUS), rel=0.02)
    assert done.attributes["AttenuationCorrectionMethod"].startswith("CT, bilinear")


def test_ct_on_its_own_finer_grid_and_its_own_voltage():
    fine = Grid.from_spacing((5, 100, 100), (9.0, 1.7, 1.7), origin=(-84, -84, -18),
                             frame_of_reference="1.2.3.6")  # fmt: skip
    scan = SinogramScan(grid=GRID, scanner=FLAT, max_ring_difference=0)
    own = survival(scan, cylinder(GRID))
    np.testing.assert_allclose(survival(scan, cylinder(fine)), own, rtol=0.05)
    bone = {kvp: survival(scan, cylinder(GRID, inside=1000.0, KVP=kvp)).min() for kvp in (80, 140)}
    expected = {80: 3.64e-6 * 2000 + 6.26e-3, 140: 5.64e-6 * 2000 + 4.08e-3}
    for kvp, mu in expected.items():
        assert -np.log(bone[kvp]) == pytest.approx(mu * 2 * RADIUS, rel=0.02)


def test_what_lies_beyond_the_image_absorbs():
    small = Grid.from_spacing((9, 10, 10), (4, 4, 4), origin=(-18, -18, -16),
                              frame_of_reference="1.2.3.6")  # fmt: skip
    large = covering(small, GRID)
    assert large.shape == (9, 40, 40)
    assert large.allclose(GRID)
    scan = SinogramScan(grid=small, scanner=FLAT, max_ring_difference=0)
    whole = SinogramScan(grid=GRID, scanner=FLAT, max_ring_difference=0)
    np.testing.assert_array_equal(survival(scan, cylinder(GRID)), survival(whole, cylinder(GRID)))


def test_lines_with_tof_share_it_and_events_have_their_own():
    scan = SinogramScan(grid=GRID, scanner=TINY, max_ring_difference=0)
    image = cylinder(GRID)
    lines = survival(scan, image)
    assert lines.shape == scan.range[1:]
    n = TINY.crystals
    events = [[2 * n + 3, 2 * n + 3 + n // 2], [2 * n + 5, 2 * n + n // 2]]
    listed = ListModeScan(grid=GRID, scanner=TINY, crystals=events, tof=[0, 3])
    first, second = listed.scanner.positions()[np.array(events).T]
    direction = second - first
    across = first[:, 0] * direction[:, 1] - first[:, 1] * direction[:, 0]
    distance = np.abs(across) / np.linalg.norm(direction, axis=1)
    expected = np.exp(-0.0096 * 2 * np.sqrt(RADIUS**2 - distance**2))
    np.testing.assert_allclose(survival(listed, image), expected, rtol=0.02)


def test_a_mu_map_is_taken_as_it_is():
    scan = SinogramScan(grid=GRID, scanner=FLAT, max_ring_difference=0)
    mu = cylinder(GRID, inside=0.0096, outside=0.0, unit="/mm")
    np.testing.assert_allclose(survival(scan, mu), survival(scan, cylinder(GRID)), rtol=1e-4)


def test_refusals():
    scan = SinogramScan(grid=GRID, scanner=FLAT, max_ring_difference=0)
    with pytest.raises(UnitError, match="Bq/ml"):
        attenuation(counts(scan), cylinder(GRID, unit="Bq/ml"))
    other = replace(cylinder(GRID), grid=replace(GRID, frame_of_reference="1.2.3.7"))
    with pytest.raises(GeometryError, match="register"):
        attenuation(counts(scan), other)
    wrong = Acquisition(np.ones(5, np.float32), _Line(), "CT")
    with pytest.raises(GeometryError, match="PET"):
        attenuation(wrong, cylinder(GRID))
    far = Grid.from_spacing((2, 2, 2), (4, 4, 4), origin=(1e6, 0, 0), frame_of_reference="1.2.3.6")
    with pytest.raises(GeometryError, match="crop"):
        covering(GRID, far)


class _Line:
    kind, grid, domain, range = "test", GRID, GRID.shape, (5,)

    def forward(self, x):
        return x

    adjoint = forward


def test_keeps_the_promises_of_an_operation():
    small = Scanner(name="s", rings=2, crystals=16, radius=120.0, ring_spacing=8.0)
    scan = SinogramScan(grid=GRID, scanner=small)
    check_operation(attenuation, inputs=(counts(scan), cylinder(GRID)))
