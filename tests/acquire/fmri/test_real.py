"""Real runs: the whole chain goes through, and activation put into them is found at its rate."""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from somascope.acquire import rigid
from somascope.acquire.fmri import design, model, statistics
from somascope.acquire.fmri.activation import activation
from somascope.acquire.fmri.glm import glm
from somascope.acquire.fmri.realign import estimate
from somascope.acquire.fmri.simulate import head_motion, simulate
from somascope.acquire.fmri.threshold import threshold
from somascope.core import Axis, Image
from somascope.io import read
from somascope.testing import check_operation

DATA = Path(
    os.environ.get("SOMASCOPE_SHARED_DATA")
    or Path(__file__).resolve().parents[3].parent / "shared" / "data"
)
FUNCTIONAL = DATA / "nipy_data/nipy/testing/functional.nii.gz"


@pytest.fixture(scope="module")
def real():
    if not FUNCTIONAL.exists():
        pytest.skip(f"no shared data at {FUNCTIONAL}")
    image = read(FUNCTIONAL)
    assert isinstance(image, Image)
    assert image.axis_names == ("t", "z", "y", "x")
    return image


@pytest.mark.data
def test_the_whole_chain_runs_on_a_real_run(real):
    maps = activation(
        real, onsets=(4.0, 20.0), durations=(8.0,), timing="ascending", motion="none",
        fwhm=6.0, high_pass=None, noise="ols",
    )  # fmt: skip
    assert [m.unit for m in maps] == ["%", "1", "1"]
    assert all(np.isfinite(m.data).all() for m in maps)
    assert (maps[2].data != 0).mean() > 0.5
    moved = estimate(real)
    assert moved.parameters.shape == (20, 6)
    assert np.abs(moved.parameters[:, :3]).max() < 8  # it is a head in a scanner


@pytest.mark.data
def test_activation_put_into_a_real_run_is_found_at_its_rate(real):
    """The run is short: its noise is repeated, its sign changing, which keeps its correlations."""
    y = np.asarray(real.data, np.float64)
    y = y - y.mean(axis=0)
    t = np.linspace(-1, 1, 20)[:, None, None, None]
    y = y - t * (t * y).sum(axis=0) / (t**2).sum()
    level = real.data.mean(axis=0)
    rng = np.random.default_rng(0)
    events = design.events_from_arrays(list(np.arange(15.0, 230, 30)), [12.0], [])
    made = design.design(events, scans=120, repetition=2.0)
    inside = np.ones(y[0].size, bool)
    rates = []
    for _ in range(60):
        signs, turned = rng.choice([-1, 1], 6), rng.integers(0, 2, 6)
        parts = [s * (y[::-1] if f else y) for s, f in zip(signs, turned, strict=True)]
        noise = np.concatenate(parts)
        quiet = (level + noise).astype(np.float32)
        fitted = model.fit(quiet.reshape(120, -1), made, mask=inside)
        z = statistics.evaluate(fitted, np.eye(1, made.matrix.shape[1])).z
        rates.append((np.abs(z) > 1.96).mean())
    # All voxels share the signs of a draw, so single rates scatter widely; their mean does not.
    error = np.std(rates) / np.sqrt(len(rates))
    assert error < 0.015
    assert np.mean(rates) == pytest.approx(0.05, abs=0.02 + 2 * error)
    active = np.zeros(level.shape, bool)
    active[1, 8:12, 6:10] = True
    spread = noise.std(axis=0)
    loud = quiet + (made.matrix[:, 0][:, None, None, None] * active * 2 * spread).astype(np.float32)
    axis = Axis("t", tuple(2.0 * np.arange(120)), "s")
    run = Image(loud, real.grid, "MR", axes=(axis,))
    _, _, found = glm(run, onsets=tuple(np.arange(15.0, 230, 30)), durations=(12.0,), where="all")
    kept = threshold(found, method="fdr", alpha=0.05).data != 0
    assert kept[active].mean() > 0.9
    assert (kept & ~active).sum() <= max(0.25 * kept.sum(), 3)


@pytest.mark.data
def test_motion_of_a_real_head_is_found():
    """A real anatomy, scanned in voxels of 3.5 mm with noise while it moves."""
    path = DATA / "nilearn_data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
    if not path.exists():
        pytest.skip(f"no shared data at {path}")
    whole = read(path)
    assert isinstance(whole, Image)
    head = whole.crop(start=(0, 0, 0), stop=whole.shape, step=(2, 2, 2))
    truth = head_motion(8, translation=2.0, rotation=2.0, seed=11)
    run = simulate(
        head, scans=8, voxel=(3.5, 3.5, 3.5), translation=2.0, rotation=2.0, noise=1.0, seed=11
    )
    assert np.abs(truth).max(axis=0).min() > 0.3
    found = estimate(run)
    assert np.abs(found.parameters - truth)[:, :3].max() < 0.05
    assert np.abs(found.parameters - truth)[:, 3:].max() < 0.05


@pytest.mark.data
def test_motion_put_into_a_real_scan_is_found():
    """One echo-planar volume of a scanner, moved by another package's splines."""
    from scipy.ndimage import affine_transform

    path = DATA / "niftireader_data/little.nii.gz"
    if not path.exists():
        pytest.skip(f"no shared data at {path}")
    scan = read(path)
    assert isinstance(scan, Image)
    # Slices of 6 mm hold more than their spacing can carry: what lies between them is not known.
    still = gaussian_filter(scan.data.astype(np.float64), (0.8, 0.8, 0.8))
    truth = np.array([[0] * 6, [0.6, -0.4, 0.5, 0.4, -0.7, 0.6], [-1, 1.5, -0.8, -1.2, 0.8, 1.5]])
    centre = rigid.centre_of(scan.grid)
    moved = []
    for motion in truth:
        back = np.linalg.inv(rigid.matrix(motion, centre))
        inner = rigid.between(scan.grid, back, scan.grid)
        moved.append(affine_transform(still, inner[:3, :3], inner[:3, 3], order=5, mode="mirror"))
    rng = np.random.default_rng(2)
    level = still[still > still.mean()].mean()
    data = np.stack(moved) + 0.01 * level * rng.standard_normal((3, *still.shape))
    run = Image(data.astype(np.float32), scan.grid, "MR", axes=(Axis("t", (0.0, 2.0, 4.0), "s"),))
    found = estimate(run)
    assert np.abs(found.parameters - truth)[:, :3].max() < 0.05
    assert np.abs(found.parameters - truth)[:, 3:].max() < 0.05


@pytest.mark.data
def test_it_keeps_the_promises_of_an_operation(real):
    check_operation(
        "acquire.fmri.activation", inputs=(real,),
        params={"onsets": [4.0, 20.0], "durations": [8.0], "motion": "none", "high_pass": None},
    )  # fmt: skip
