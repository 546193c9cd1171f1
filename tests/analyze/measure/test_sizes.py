"""Volume, surface and diameters of spheres and ellipsoids, oblique and of uneven spacing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from skimage.measure import marching_cubes, mesh_surface_area

from somascope.analyze.measure.lesions import measure_lesions
from somascope.analyze.measure.outline import hull, in_plane_axes, planar_diameter
from somascope.analyze.measure.regions import regions
from somascope.analyze.measure.surface import area, mesh, volume_uncertainty
from somascope.core import Grid, Image
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.finding import Measurement
from somascope.io import read_all, write
from somascope.testing import check_operation
from tests.analyze.measure import bodies


@pytest.mark.parametrize("spacing", bodies.SPACINGS)
def test_an_ellipsoid(spacing):
    at = bodies.grid(36.0, spacing)
    radii = (15.0, 11.0, 9.0)
    found = bodies.told(measure_lesions(bodies.mask(at, bodies.ellipsoid(at, radii))))
    volume, spread = found["Volume"]
    assert spread is not None
    assert abs(volume - 4 / 3 * np.pi * np.prod(radii) / 1000) < 3 * spread
    # Knud Thomsen's surface of an ellipsoid, right to 1.1 %.
    p = 1.6075
    a, b, c = np.array(radii) ** p
    surface = 4 * np.pi * ((a * b + a * c + b * c) / 3) ** (1 / p) / 100
    assert found["Surface area"][0] == pytest.approx(surface, rel=0.03)
    largest, spread = found["Maximum 3D Diameter of a Mesh"]
    assert spread is not None
    assert abs(largest - 30) < 3 * spread
    assert found["Short axis"][0] <= found["Long axis"][0] <= largest


@pytest.mark.parametrize("spacing", bodies.SPACINGS)
def test_axes_in_the_slice_are_those_of_the_ellipse(spacing):
    at = bodies.grid(36.0, spacing, seed=0)
    inside = bodies.ellipsoid(at, (14.0, 8.0, 12.0))
    axes = in_plane_axes(inside, at)
    assert abs(axes.long - 28) < 3 * spacing[1]
    assert abs(axes.short - 16) < 3 * spacing[1]
    for ends, length in ((axes.long_ends, axes.long), (axes.short_ends, axes.short)):
        assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(length)
    along, across = axes.long_ends[1] - axes.long_ends[0], axes.short_ends[1] - axes.short_ends[0]
    assert abs(along @ across) < 1e-6 * axes.long * axes.short
    assert at.to_index(axes.long_ends)[:, 0] == pytest.approx([axes.slice] * 2)


@pytest.mark.parametrize("seed", range(4))
def test_diameters_are_those_of_all_pairs(seed):
    random = np.random.default_rng(seed)
    inside = random.random((5, 7, 8)) < 0.15
    inside[2, 3, 4] = True
    at = Grid.from_spacing(
        inside.shape, (2.0, 0.7, 1.1), direction=bodies.grid(9, (1, 1, 1)).direction
    )
    points, _, _, _ = marching_cubes(np.pad(inside, 1).astype(np.float32), 0.5)
    points = points - 1.0
    placed = at.to_world(points)
    assert hull(inside, at).diameter == pytest.approx(pdist(placed).max(), rel=1e-6)
    for axis in range(3):
        planes = np.unique(np.round(points[:, axis], 3))
        truth = max(
            pdist(placed[np.abs(points[:, axis] - p) < 0.01]).max(initial=0) for p in planes
        )
        assert planar_diameter(inside, at, axis=axis) == pytest.approx(truth, rel=1e-6), axis


def test_the_mesh_is_marching_cubes():
    z, y, x = np.indices((9, 10, 11))
    # Nothing in it touches along an edge alone, which marching cubes leaves open.
    inside = ((z - 4) / 3.9) ** 2 + ((y - 4.3) / 4.1) ** 2 + ((x - 5) / 4.6) ** 2 < 1
    inside[3:5, 4:6, 4:7] = False
    spacing = (2.0, 0.7, 1.1)
    volume, surface = mesh(inside, Grid.from_spacing(inside.shape, spacing))
    points, faces, _, _ = marching_cubes(
        np.pad(inside, 1).astype(np.float32), 0.5, spacing=spacing, method="lorensen"
    )
    assert surface == pytest.approx(mesh_surface_area(points, faces), rel=1e-5)
    a, b, c = (points[faces[:, k]].astype(np.float64) for k in range(3))
    assert volume == pytest.approx(abs((a * np.cross(b, c)).sum() / 6), rel=1e-5)


def test_the_surface_of_balls_has_no_bias():
    errors = []
    for r in (6.0, 9.3, 14.0):
        at = bodies.grid(2 * r + 4, (1.3, 0.9, 0.9))
        errors.append(area(bodies.ellipsoid(at, (r, r, r)), at) / (4 * np.pi * r * r) - 1)
    assert np.abs(errors).max() < 0.03, errors


def test_the_uncertainty_of_a_volume_covers_what_placing_does():
    at = bodies.grid(20.0, (1.0, 1.0, 1.0))
    r, errors, said = 8.0, [], []
    for shift in np.random.default_rng(2).uniform(-0.5, 0.5, (40, 3)):
        inside = bodies.ellipsoid(at, (r, r, r), centre=shift)
        errors.append(np.count_nonzero(inside) - 4 / 3 * np.pi * r**3)
        said.append(volume_uncertainty(inside, at))
    # Voxels of a smooth body are less random than the bound takes them for, not more.
    assert 0.1 * np.mean(said) < np.std(errors) < np.mean(said)
    assert np.mean(np.abs(errors) < 2 * np.array(said)) > 0.9


def test_a_single_voxel_and_a_line():
    at = Grid.from_spacing((3, 5, 7), (3.0, 2.0, 1.0))
    one = np.zeros(at.shape, bool)
    one[1, 2, 3] = True
    found = bodies.told(measure_lesions(bodies.mask(at, one)))
    assert found["Volume"][0] == pytest.approx(0.006)
    assert found["Long axis"][0] == pytest.approx(2.0)
    assert found["Short axis"][0] == pytest.approx(1.0)
    assert found["Maximum 3D Diameter of a Mesh"][0] == pytest.approx(3.0)
    line = np.zeros(at.shape, bool)
    line[1, 2, 1:6] = True
    found = bodies.told(measure_lesions(bodies.mask(at, line)))
    assert found["Long axis"][0] == pytest.approx(5.0)
    assert found["Short axis"][0] == pytest.approx(2.0)


def test_density_and_who_is_who(tmp_path):
    at = bodies.grid(30.0, (1.5, 1.0, 1.0))
    first = bodies.ellipsoid(at, (4.0, 4.0, 4.0), centre=(-7.0, 0.0, 0.0))
    second = bodies.ellipsoid(at, (5.0, 3.0, 4.0), centre=(6.0, 0.0, 0.0))
    values = np.where(first, 40, np.where(second, 90, -100)).astype(np.int16)
    values[tuple(np.argwhere(first)[0])] = 60
    made = measure_lesions(bodies.mask(at, first, second), Image(values, at, "CT", "[hnsf'U]"))
    path = tmp_path / "lesions.dcm"
    write(made, path)
    back = [m for m in read_all(path).findings if isinstance(m, Measurement)]
    assert [(m.concept, m.value, m.unit, m.uncertainty) for m in back] == [
        (m.concept, m.value, m.unit, m.uncertainty) for m in made
    ]
    by = {(m.tracking.name, m.concept.meaning): m.value for m in back if m.tracking}
    assert by["Part 1", "Mean"] == pytest.approx(values[first].mean())
    assert by["Part 1", "Maximum"] == 60
    assert by["Part 2", "Standard deviation"] == 0


def test_an_outline_with_holes_and_planes():
    at = bodies.grid(20.0, (1.0, 1.0, 1.0))
    ball = bodies.ellipsoid(at, (7.0, 7.0, 7.0))
    hollow = ball & ~bodies.ellipsoid(at, (4.0, 4.0, 4.0))
    (whole,), (shell,) = (regions(bodies.mask(at, m)) for m in (ball, hollow))
    assert hull(shell.inside, shell.grid).diameter == hull(whole.inside, whole.grid).diameter
    assert area(shell.inside, at) > 1.2 * area(whole.inside, at)


def test_bodies_of_one_segment_by_themselves():
    at = bodies.grid(30.0, (1.5, 1.0, 1.0))
    small = bodies.ellipsoid(at, (4.0, 4.0, 4.0), centre=(-8.0, 0.0, 0.0))
    large = bodies.ellipsoid(at, (5.0, 5.0, 5.0), centre=(7.0, 0.0, 0.0))
    made = measure_lesions(bodies.mask(at, small | large), separate=True)
    volumes = [
        (m.tracking.name, m.value) for m in made if m.tracking and m.concept.meaning == "Volume"
    ]
    assert volumes == [
        ("Part 1 1", pytest.approx(large.sum() * 1.5 / 1000)),
        ("Part 1 2", pytest.approx(small.sum() * 1.5 / 1000)),
    ]
    assert len({m.tracking.uid for m in made if m.tracking}) == 2
    one = measure_lesions(bodies.mask(at, small), separate=True)
    assert {m.tracking.name for m in one if m.tracking} == {"Part 1"}


def test_what_is_refused():
    at = bodies.grid(12.0, (1.0, 1.0, 1.0))
    mask = bodies.mask(at, bodies.ellipsoid(at, (4.0, 4.0, 4.0)))
    elsewhere = Image(np.zeros(at.shape, np.int16), bodies.grid(12.0, (1.0, 1.0, 1.0), seed=9))
    with pytest.raises(GeometryError, match="another place"):
        measure_lesions(mask, elsewhere)
    here = Image(np.zeros(at.shape, np.int16), at)
    with pytest.raises(ParameterError, match="one image"):
        measure_lesions(mask, here, here)
    with pytest.raises(ParameterError, match="no segment 5"):
        measure_lesions(mask, segment=5)
    with pytest.raises(ParameterError, match="finite"):
        measure_lesions(mask, Image(np.full(at.shape, np.nan, np.float32), at))


def test_five_doors():
    check_operation("analyze.measure_lesions")
