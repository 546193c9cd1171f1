"""Confounds, seeds, parcels and components against what was mixed in."""

import numpy as np
import pytest

from somascope.acquire.fmri import confounds, connectivity
from somascope.acquire.fmri.ica import fastica
from somascope.acquire.fmri.realign import Motion
from somascope.core import Axis, Grid, Image, Mask, Segment
from somascope.core.errors import GeometryError, ParameterError
from somascope.testing import check_operation

SHAPE = (6, 16, 18)


@pytest.fixture(scope="module")
def networks():
    """Two networks with their own slow courses, noise, and their maps."""
    rng = np.random.default_rng(4)
    scans = 150
    courses = np.stack([np.convolve(rng.normal(size=scans + 8), np.ones(9) / 3, "valid")
                        for _ in range(2)])  # fmt: skip
    maps = np.zeros((2, *SHAPE), np.float32)
    maps[0, 1:4, 2:6, 2:6] = 1
    maps[0, 1:4, 2:6, 12:16] = 1
    maps[1, 2:5, 10:14, 6:12] = 1
    data = 500 + 4 * np.einsum("kt,kzyx->tzyx", courses, maps)
    data += 3 * rng.normal(size=data.shape)
    grid = Grid.from_spacing(SHAPE, (4, 4, 4), frame_of_reference="1.2.3")
    axis = Axis("t", tuple(np.arange(scans) * 2.0), "s")
    run = Image(data.astype(np.float32), grid, "MR", axes=(axis,), attributes={"PatientID": "N1"})
    return run, courses, maps


def test_a_seed_finds_its_partner(networks):
    run, _, maps = networks
    r = connectivity.seed(run, position=(16.0, 16.0, 8.0), radius=7.0)
    other = r.data[1:4, 2:6, 12:16]
    assert other.mean() > 0.5
    assert np.abs(r.data[maps.sum(axis=0) == 0]).mean() < 0.12
    assert np.abs(r.data[maps[1] == 1].mean()) < 0.3
    assert r.data.max() <= 1 + 1e-5
    check_operation("acquire.fmri.seed", inputs=(run,), params={"position": [16.0, 16.0, 8.0]})
    with pytest.raises(ParameterError, match="from the nearest"):
        connectivity.seed(run, position=(900.0, 0, 0))


def test_what_is_taken_off_is_gone(networks):
    run, courses, _ = networks
    data = run.data.reshape(150, -1)
    left = connectivity.cleaned(
        data, repetition=2.0, high_pass=100.0, low_pass=10.0, confounds=courses.T[:, :1]
    )
    assert np.abs(courses[0] - courses[0].mean()) @ np.abs(left).max(axis=1) > 0
    assert np.abs((courses[0] - courses[0].mean()) @ left).max() < 1e-2 * np.linalg.norm(left)
    power = np.abs(np.fft.rfft(left, axis=0)) ** 2
    f = np.fft.rfftfreq(150, 2.0)
    assert power[f > 0.12].sum() < 0.05 * power.sum()
    assert power[f < 0.004].sum() < 0.02 * power.sum()
    with pytest.raises(ParameterError, match="leave nothing"):
        connectivity.cleaned(data, repetition=2.0, high_pass=4.0)


def test_parcels_and_their_matrix(networks):
    run, courses, _ = networks
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:4, 2:6, 2:6] = 1
    labels[1:4, 2:6, 12:16] = 2
    labels[2:5, 10:14, 6:12] = 3
    segments = tuple(Segment(i, n) for i, n in ((1, "left"), (2, "right"), (3, "middle")))
    atlas = Mask(data=labels, grid=run.grid, segments=segments)
    means, names = connectivity.regions(run, atlas)
    assert names == ("left", "right", "middle")
    r = connectivity.matrix(means)
    truth = np.corrcoef(courses)[0, 1]
    assert r[0, 1] > 0.9
    assert r[0, 2] == pytest.approx(truth, abs=0.1)
    assert np.allclose(r, np.corrcoef(means.T))
    # Left and right alone are tied once the other is known.
    partial = connectivity.matrix(means, partial=True)
    assert partial[0, 1] > 0.85
    assert abs(partial[0, 2]) < abs(r[0, 2]) + 0.1
    shifted = Grid(run.grid.shape, run.grid.affine + np.eye(4, k=3))
    with pytest.raises(GeometryError, match="resample"):
        connectivity.regions(run, Mask(data=labels, grid=shifted, segments=segments))


def test_partial_correlations_have_their_closed_form():
    rng = np.random.default_rng(0)
    a = rng.normal(size=60000)
    b = a + rng.normal(size=60000)
    c = b + rng.normal(size=60000)
    p = connectivity.matrix(np.stack([a, b, c], axis=1), partial=True)
    assert p[0, 2] == pytest.approx(0, abs=0.02)
    assert p[0, 1] == pytest.approx(0.5, abs=0.02)
    assert p[1, 2] == pytest.approx(1 / np.sqrt(2), abs=0.02)


def test_components_are_the_networks(networks):
    run, _, maps = networks
    from somascope.acquire.fmri.ica import ica

    found = ica(run, components=4, high_pass=None)
    match = np.abs(
        np.corrcoef(np.stack([f.data.ravel() for f in found] + [m.ravel() for m in maps]))
    )
    best = match[:4, 4:].max(axis=0)
    assert (best > 0.75).all()
    two = ica(run, run, components=4, high_pass=None)
    assert len(two) == 4
    check_operation("acquire.fmri.ica", inputs=(run,), params={"components": 3})
    with pytest.raises(ParameterError, match="rank"):
        fastica(np.ones((5, 1)) @ run.data[:1].reshape(1, -1), 3)


def test_mixed_sources_are_separated_exactly():
    rng = np.random.default_rng(2)
    sources = rng.laplace(size=(3, 8000))
    mixed = rng.normal(size=(20, 3)) @ sources
    found = fastica(mixed, 3)
    match = np.abs(np.corrcoef(np.concatenate([found.maps, sources])))[:3, 3:]
    assert found.settled
    assert match.max(axis=0).min() > 0.995
    assert np.allclose(
        found.courses @ found.maps, mixed - mixed.mean(axis=1, keepdims=True), atol=1e-8
    )


def test_motion_columns_are_six_twelve_or_twenty_four():
    p = np.random.default_rng(0).normal(size=(30, 6))
    motion = Motion(p, np.zeros(30, int))
    for count in ("6", "12", "24"):
        columns = confounds.motion_columns(motion, count)
        assert len(columns) == int(count)
    assert np.allclose(columns["trans_l_change_squared"][1:], np.diff(p[:, 0]) ** 2)
    still = Motion(np.zeros((30, 6)), np.zeros(30, int))
    assert confounds.motion_columns(still, "24") == {}
    assert set(confounds.spikes(np.array([0, 0.1, 2.0, 0.3]), 0.5)) == {"scan_2"}


def test_noise_components_find_the_common_course(networks):
    run, courses, maps = networks
    mask = maps[0] == 1
    found = confounds.components(run.data, mask, 2, repetition=2.0, high_pass=None)
    assert abs(np.corrcoef(found["comp_1"], courses[0])[0, 1]) > 0.95
    noisy = confounds.noisy_voxels(run.data, np.ones(SHAPE, bool), 0.1)
    assert (maps.sum(axis=0)[noisy] == 1).mean() > 0.9
    with pytest.raises(ParameterError, match="components"):
        confounds.components(run.data, mask, 149, repetition=2.0)
