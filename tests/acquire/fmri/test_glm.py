"""The linear model against nilearn on the same numbers, and against what was put in."""

from dataclasses import replace

import numpy as np
import pytest

from somascope.acquire.fmri import design, model, statistics
from somascope.acquire.fmri.glm import fit_run, glm, residuals
from somascope.acquire.fmri.simulate import SPHERES, activation, blocks, spheres
from somascope.core import Image
from somascope.core.errors import ParameterError
from somascope.testing import check_operation

PLACES = SPHERES


def case(scans=90, voxels=700, columns=2):
    rng = np.random.default_rng(3)
    events = design.events_from_arrays(
        list(np.arange(8, 170, 20.0)), [9.0], [1 + i % 2 for i in range(9)]
    )
    more = {f"m{i}": rng.normal(size=scans).cumsum() for i in range(columns)}
    made = design.design(events, scans=scans, repetition=2.0, confounds=more)
    y = rng.standard_normal((scans, voxels)).astype(np.float32) * 8
    rho = rng.uniform(-0.3, 0.7, voxels).astype(np.float32)
    for t in range(1, scans):
        y[t] += rho * y[t - 1]
    y += 900 + 300 * rng.random(voxels, np.float32)
    y[:, :200] += (made.matrix[:, :1] * 15).astype(np.float32)
    return y, made


@pytest.mark.parametrize("noise", ["ols", "ar1_plain"])
def test_t_f_and_z_are_those_of_nilearn(noise):
    run_glm = pytest.importorskip("nilearn.glm.first_level").run_glm
    compute_contrast = pytest.importorskip("nilearn.glm.contrasts").compute_contrast
    y, made = case()
    labels, results = run_glm(y.astype(np.float64), made.matrix, noise_model=noise[:3])
    ours = model.fit(y, made, mask=np.ones(y.shape[1], bool), noise=noise)
    one = np.zeros(made.matrix.shape[1])
    one[:2] = 1, -1
    theirs = compute_contrast(labels, results, one, stat_type="t")
    mine = statistics.evaluate(ours, one)
    assert np.abs(mine.statistic - theirs.stat()).max() < 1e-3
    assert np.abs(mine.effect - theirs.effect_size().ravel()).max() < 1e-3
    assert np.abs(mine.z - theirs.z_score()).max() < 1e-3
    two = np.eye(2, len(one))
    theirs = compute_contrast(labels, results, two, stat_type="F")
    mine = statistics.evaluate(ours, two)
    assert np.abs(mine.statistic / theirs.stat() - 1).max() < 1e-3
    assert np.abs(mine.z - theirs.z_score()).max() < 2e-3


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.5])
def test_noise_alone_passes_as_often_as_it_should(rho):
    scans, voxels = 120, 20000
    rng = np.random.default_rng(1)
    y = rng.standard_normal((scans, voxels), np.float32)
    for t in range(1, scans):
        y[t] = rho * y[t - 1] + np.sqrt(1 - rho**2) * y[t]
    made = design.design(blocks(2, length=20, rest=20, total=240), scans=scans, repetition=2.0)
    fitted = model.fit(y + 500, made, mask=np.ones(voxels, bool), noise="ar1")
    z = statistics.evaluate(fitted, np.eye(1, made.matrix.shape[1])).z
    # Binomial errors: 0.0015 and 0.0007.
    assert (np.abs(z) > 1.96).mean() == pytest.approx(0.05, abs=0.008)
    assert (np.abs(z) > 2.576).mean() == pytest.approx(0.01, abs=0.003)
    assert fitted.rho[fitted.bins].mean() == pytest.approx(rho, abs=0.015)


def test_z_reaches_far_into_the_tails():
    from scipy import stats

    t = np.array([-60.0, -8, -1.3, 0, 1e-4, 2.5, 12, 35], np.float32)
    for dof in (5, 40, 300):
        z = statistics.t_to_z(t, dof)
        exact = np.sign(t) * stats.norm.isf(stats.t.sf(np.abs(t).astype(float), dof))
        known = np.abs(exact) < 8
        assert np.abs(z - exact)[known].max() < 1e-5
        upper = stats.norm.isf(stats.t.sf(12.0, dof))
        assert z[6] == pytest.approx(upper, abs=1e-4)
        assert (np.diff(z) > 0).all()
    assert statistics.t_to_z(np.array([1e6], np.float32), 400)[0] == statistics.LARGEST_Z


def test_voxels_outside_the_mask_are_nought_and_change_nothing():
    y, made = case(voxels=150)
    mask = np.arange(150) % 3 > 0
    some = model.fit(y, made, mask=mask, noise="ar1_plain")
    whole = model.fit(y, made, mask=np.ones(150, bool), noise="ar1_plain")
    assert not some.beta[:, ~mask].any()
    assert np.allclose(some.beta[:, mask], whole.beta[:, mask], rtol=1e-5, atol=1e-3)
    answer = statistics.evaluate(some, np.eye(1, made.matrix.shape[1]))
    assert not answer.z[~mask].any()
    assert (some.bins[~mask] == -1).all()


def test_a_run_gives_back_its_activation(still):
    events = blocks(2, length=20, rest=20, total=160).tsv()
    effect, t, z = glm(still, events=events, contrast="taska")
    assert (effect.unit, t.unit, z.unit) == ("%", "1", "1")
    truth = activation(still.grid, spheres(PLACES))
    core = truth[0] > 0.019
    inner = core & (np.abs(still.data[0] / still.data[0][core].mean() - 1) < 0.6)
    own = (blocks_of(still)[:, 0]).max()
    assert effect.data[inner].mean() * own == pytest.approx(2.0 * own, abs=0.7)
    assert z.data[inner].mean() > 4
    far = (truth.max(axis=0) == 0) & (z.data != 0)
    assert z.data[far].std() == pytest.approx(1.0, abs=0.15)
    assert (np.abs(z.data[far]) > 1.96).mean() == pytest.approx(0.05, abs=0.03)
    world = z.grid.to_world(np.array(np.unravel_index(z.data.argmax(), z.data.shape)))
    assert np.linalg.norm(world - [36, 12, 40]) < 16  # the patient's left, not his right


def blocks_of(run):
    events = blocks(2, length=20, rest=20, total=160)
    return design.regressors(events, np.arange(run.shape[0]) * 2.0)[0]


def test_residuals_are_orthogonal_to_the_design(still):
    events = blocks(2, length=20, rest=20, total=160)
    made = design.design(events, scans=80, repetition=2.0)
    fitted = fit_run(still, made, noise="ols")
    left = residuals(still, fitted).reshape(80, -1)
    size = np.linalg.norm(left, axis=0)
    seen = size > 0
    share = np.abs(made.matrix.T @ left[:, seen]) / size[seen]
    assert (share / np.linalg.norm(made.matrix, axis=0)[:, None]).max() < 1e-2


def test_what_cannot_be_fitted_is_refused(still):
    untold = {k: v for k, v in still.attributes.items() if k != "Events"}
    with pytest.raises(ParameterError, match="either as events"):
        glm(replace(still, attributes=untold))
    with pytest.raises(ParameterError, match="taskx"):
        glm(still, events=blocks(2, length=20, rest=20, total=160).tsv(), contrast="taskx")
    with pytest.raises(ParameterError, match="leading axis 't'"):
        glm(still.at(t=0), onsets=(1.0,))
    bare = Image(still.data, still.grid, axes=(type(still.axes[0])("t"),))
    with pytest.raises(ParameterError, match="no times"):
        glm(bare, onsets=(1.0,))
    times = (type(still.axes[0])("t"),)
    short = Image(still.data[:6], still.grid, axes=times)
    with pytest.raises(ParameterError, match="too few"):
        glm(short, onsets=(1.0, 5.0), conditions=(1, 2), repetition=2.0, response="dispersion")
    y, made = case(voxels=10)
    with pytest.raises(ParameterError, match="90 rows"):
        model.fit(y[:-1], made, mask=np.ones(10, bool))


def test_it_keeps_the_promises_of_an_operation(still):
    check_operation(
        "acquire.fmri.glm", inputs=(still,),
        params={"onsets": [20.0, 60.0, 100.0], "durations": [20.0], "contrast": "c1"},
    )  # fmt: skip
