"""A sweep brings every bead into focus where it is."""

import numpy as np
import pytest

from somascope.acquire.xray.simulate import simulate
from somascope.acquire.xray.tomosynthesis import sart, shift_and_add, slices_of, tomosynthesis
from somascope.acquire.xray.views import tomosynthesis_views
from somascope.core import Acquisition, Grid
from somascope.core.errors import ParameterError

BEADS = ((-40.0, -50.0, 30.0), (30.0, 0.0, -20.0), (10.0, 60.0, 50.0))


@pytest.fixture(scope="module")
def sweep():
    """Three beads at three depths in a 20 cm box; line integrals of 11 exposures."""
    grid = Grid.from_spacing((80, 80, 80), (2.5, 2.5, 2.5), origin=(-98.75, -98.75, -98.75))
    volume = np.zeros(grid.shape, np.float32)
    for bead in BEADS:
        volume[tuple(np.rint(grid.to_index(bead)).astype(int))] = 0.3
    scan = tomosynthesis_views(grid, count=11, sweep=50.0, shape=(88, 88), pitch=2.9)
    return Acquisition(scan.forward(volume), scan, "DX", "1")


def located(image, bead):
    """Where the brightest voxel within 25 mm of a bead is, and how bright."""
    index = np.stack(np.indices(image.grid.shape), -1)
    world = image.grid.to_world(index)
    near = np.linalg.norm(world - bead, axis=-1) < 25
    at = np.unravel_index(np.argmax(np.where(near, image.data, -np.inf)), image.grid.shape)
    return world[at], float(image.data[at]), at


@pytest.mark.parametrize("method", ["shift_and_add", "sart"])
def test_beads_are_in_focus_at_their_depth(sweep, method):
    image = tomosynthesis(sweep, method=method, slice_distance=5.0, iterations=1)
    assert image.unit == "/mm"
    assert image.grid.spacing[0] == pytest.approx(5.0)
    for bead in BEADS:
        where, peak, at = located(image, bead)
        gap = where - bead
        assert abs(gap[0]) < 3.5  # along L
        assert abs(gap[2]) < 3.5  # along S
        assert abs(gap[1]) < 7.5  # depth: a slice and a half
        # Out of focus, four slices away, little of it is left.
        column = image.data[:, at[1] - 1 : at[1] + 2, at[2] - 1 : at[2] + 2].max(axis=(1, 2))
        away = [column[k] for k in (at[0] - 4, at[0] + 4) if 0 <= k < len(column)]
        assert max(away) < (0.45 if method == "shift_and_add" else 0.4) * peak


def test_sart_explains_the_exposures_better_each_round(sweep):
    scan = sweep.operator
    grid = slices_of(scan, distance=10.0)
    from somascope.acquire.xray.projection import Projection

    here = Projection(**{**scan.describe(), "grid": grid})
    lines = np.asarray(sweep.samples)
    gaps = [
        np.linalg.norm(here.forward(x) - lines)
        for x in (
            shift_and_add(here, lines),
            sart(here, lines, iterations=1),
            sart(here, lines, iterations=2),
        )
    ]
    assert gaps[0] > 1.15 * gaps[1]
    assert gaps[1] > 1.05 * gaps[2]


def test_slices_lie_parallel_to_the_detector_in_the_patients_frame(sweep):
    grid = slices_of(sweep.operator, distance=4.0)
    assert grid.is_orthogonal()
    assert grid.orientation[0] == "A"  # rising towards the tube, which stands in front
    corners = grid.to_world([[-0.5, 0, 0], [grid.shape[0] - 0.5, 0, 0]])
    np.testing.assert_allclose(sorted(corners[:, 1]), [-100, 100], atol=1e-6)
    assert grid.spacing[1] == pytest.approx(2.9 * 1600 / 1800)


def test_from_raw_counts_to_slices(chest):
    raw = simulate(chest, exposures=7, sweep=30.0, mas=3.0, rows=64, columns=64, pitch=6.6, seed=1)
    image = tomosynthesis(raw, slice_distance=20.0, iterations=1)
    assert image.attributes["PatientID"] == chest.attributes["PatientID"]
    assert image.grid.frame_of_reference == chest.grid.frame_of_reference
    inner = image.data[image.data.shape[0] // 2, 20:44, 20:44]
    assert 0.003 < inner.mean() < 0.03  # water at these energies: 0.018 / mm
    said = []
    from somascope.core import Progress

    tomosynthesis(raw, slice_distance=40.0, iterations=1,
                  progress=Progress(lambda f, _: said.append(f)))  # fmt: skip
    assert said == sorted(said)
    assert said[-1] == 1.0


def test_what_is_no_sweep_is_refused(raw, sweep):
    with pytest.raises(ParameterError, match="at least 2 exposures"):
        tomosynthesis(raw)
    hole = np.array(sweep.samples)
    hole[3, 4, 5] = np.nan
    with pytest.raises(ParameterError, match="NaN"):
        tomosynthesis(sweep.with_samples(hole))
