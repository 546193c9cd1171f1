"""Several runs: nilearn's fixed effects, a t that grows as it should, and groups of subjects."""

from dataclasses import replace

import numpy as np
import pytest

from somascope.acquire.fmri import design, model, statistics
from somascope.acquire.fmri.fixed import fixed, fixed_effects
from somascope.acquire.fmri.group import group
from somascope.core import Axis, Grid, Image
from somascope.core.errors import GeometryError, ParameterError
from somascope.testing import check_operation

GRID = Grid.from_spacing((3, 8, 9), (4, 4, 4))
ACTIVE = np.zeros(GRID.shape, bool)
ACTIVE[1, 2:5, 3:6] = True


def run_of(seed, *, scans=60, noise=10.0, percent=2.0, late=0.0):
    """A run around 1000 with a task every 30 s; its events among the attributes."""
    rng = np.random.default_rng(seed)
    task = design.events_from_arrays(list(np.arange(5.0 + late, scans * 2 - 20, 30)), [12.0], [])
    made = design.design(task, scans=scans, repetition=2.0)
    data = 1000 + noise * rng.standard_normal((scans, *GRID.shape))
    data += made.matrix[:, 0][:, None, None, None] * ACTIVE * 10 * percent
    return Image(
        data.astype(np.float32), GRID, "MR", axes=(Axis("t", tuple(2.0 * np.arange(scans)), "s"),),
        attributes={"Events": task.tsv()},
    )  # fmt: skip


@pytest.mark.parametrize("weighting", ["precision", "equal"])
def test_they_are_nilearns(weighting):
    from nibabel import Nifti1Image

    compute = pytest.importorskip("nilearn.glm").compute_fixed_effects
    effects, variances, dof = [], [], []
    for seed, scans, noise in ((1, 60, 10.0), (2, 50, 20.0), (3, 40, 5.0)):
        run = run_of(seed, scans=scans, noise=noise)
        made = design.design(
            design.read_events(run.attributes["Events"]), scans=scans, repetition=2.0
        )
        fitted = model.fit(run.data.reshape(scans, -1), made, mask=np.ones(ACTIVE.size, bool))
        answer = statistics.evaluate(fitted, np.eye(1, made.matrix.shape[1]))
        effects.append(answer.effect)
        variances.append(answer.error**2)
        dof.append(fitted.dof)
    ours = fixed_effects(np.stack(effects), np.stack(variances), dof, weighting=weighting)

    def nifti(values):
        return Nifti1Image(values.reshape(GRID.shape).astype(np.float64), np.eye(4))

    whole = Nifti1Image(np.ones(GRID.shape, np.uint8), np.eye(4))
    theirs = compute(
        [nifti(e) for e in effects], [nifti(v) for v in variances], mask=whole, dofs=dof,
        precision_weighted=weighting == "precision",
    )  # fmt: skip
    for mine, other, name in zip(
        (ours.effect, ours.variance, ours.t, ours.z), theirs, ("b", "var", "t", "z"), strict=True
    ):
        values = np.asarray(other.dataobj).ravel()
        assert np.abs(mine - values).max() < 1e-3 * np.abs(values).max(), name


def test_runs_with_tasks_of_their_own_are_one_answer():
    """Four runs halve the error of one; a loud run hardly counts; noise alone keeps its rate."""
    runs = [run_of(k, late=3.0 * k) for k in range(4)]
    effect, t, z = fixed(*runs, where="all", noise="ols")
    alone = fixed(runs[0], runs[0], where="all", noise="ols")  # its error is too small by sqrt 2
    assert effect.unit == "%"
    assert effect.data[ACTIVE].mean() == pytest.approx(2.0, rel=0.05)
    assert t.data[ACTIVE].mean() == pytest.approx(
        2 * alone[1].data[ACTIVE].mean() / np.sqrt(2), rel=0.15
    )
    assert (np.abs(z.data[~ACTIVE]) > 1.96).mean() == pytest.approx(0.05, abs=0.04)
    loud = run_of(9, noise=200.0)
    weighted = fixed(*runs, loud, where="all")[1].data[ACTIVE].mean()
    equal = fixed(*runs, loud, where="all", weighting="equal")[1].data[ACTIVE].mean()
    assert weighted > 0.9 * t.data[ACTIVE].mean() > 2 * equal


def test_subjects_from_runs():
    """Six subjects of two runs each: fixed effects within, random effects between."""
    rng = np.random.default_rng(4)
    effects = []
    for subject in range(6):
        strength = 2.0 + 0.5 * rng.standard_normal()
        runs = [run_of([subject, k], scans=40, percent=strength) for k in range(2)]
        effects += fixed(*runs, where="all", noise="ols", output="effect")
    average, _, z = group(*effects)
    assert average.data[ACTIVE].mean() == pytest.approx(2.0, abs=0.6)
    assert z.data[ACTIVE].min() > 2.3
    assert (np.abs(z.data[~ACTIVE]) > 1.96).mean() == pytest.approx(0.05, abs=0.05)


def test_what_does_not_belong_together_is_refused():
    one = run_of(1)
    with pytest.raises(ParameterError, match="at least 2 runs"):
        fixed(one)
    aside = Grid.from_spacing(GRID.shape, (4, 4, 4), origin=(9, 0, 0))
    with pytest.raises(GeometryError, match="run 2 is on"):
        fixed(one, replace(one, grid=aside))
    with pytest.raises(ParameterError, match="states none"):
        fixed(one, replace(one, attributes={}))
    with pytest.raises(ParameterError, match="2 rows"):
        fixed(one, one, contrast="c1; constant")
    with pytest.raises(ParameterError, match="do not belong together"):
        fixed_effects(np.ones((2, 3)), np.ones((2, 3)), [10.0])


def test_it_keeps_the_promises_of_an_operation():
    check_operation("acquire.fmri.fixed", inputs=(run_of(1), run_of(2)), params={"where": "all"})
