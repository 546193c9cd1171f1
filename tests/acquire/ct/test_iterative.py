"""Iterative CT: dense matrices, the phantom's truth, and agreement among the methods."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from somascope.acquire.ct.cone import ConeScan
from somascope.acquire.ct.fan import FanScan
from somascope.acquire.ct.fbp import fbp
from somascope.acquire.ct.normal import SliceNormal, sees_all
from somascope.acquire.ct.parallel import ParallelScan
from somascope.acquire.ct.sart import (
    Subsets,
    asd_pocs,
    os_sart,
    sart,
    variation_slope,
    visiting_order,
)
from somascope.acquire.ct.simulate import simulate
from somascope.acquire.ct.sirt import cgls, reciprocal, simultaneous, sirt
from somascope.acquire.ct.statistical import pwls, total_variation, transmission, tv
from somascope.acquire.ct.system import prepare
from somascope.acquire.ct.views import ViewsScan
from somascope.core import Acquisition, Grid
from somascope.core.errors import Cancelled, GeometryError, ParameterError, UnitError
from somascope.core.progress import Progress
from somascope.phantoms import shepp_logan
from somascope.testing import check_operation, check_operator

PHANTOM = shepp_logan((64, 64))
TRUTH = PHANTOM.data * 1000 - 1000


class DenseScan:
    """A matrix as a scan of ``(views, bins)``."""

    kind = "ct.dense"

    def __init__(self, *, grid, matrix):
        self.grid, self.matrix = grid, np.asarray(matrix, np.float32)
        self.domain, self.range = grid.shape, self.matrix.shape[:2]

    def forward(self, x):
        return (self.matrix @ x.ravel()).astype(np.float32)

    def adjoint(self, y):
        return np.einsum("vbp,vb->p", self.matrix, y).reshape(self.domain).astype(np.float32)

    def describe(self):
        return {"grid": self.grid, "matrix": self.matrix}


def rmse(image, truth=TRUTH):
    return float(np.sqrt(np.mean((image.data - truth) ** 2)))


@pytest.fixture(scope="module")
def full():
    return simulate(PHANTOM, views=100, photons=2e5, seed=1)


@pytest.fixture(scope="module")
def few():
    return simulate(PHANTOM, views=20)


def dense(seed=0, views=6, bins=5):
    rng = np.random.default_rng(seed)
    grid = Grid.from_spacing((1, 3, 4), (1, 1, 1))
    scan = DenseScan(grid=grid, matrix=rng.uniform(0.1, 1, (views, bins, 12)))
    truth = rng.uniform(0.5, 2, (1, 3, 4)).astype(np.float32)
    return Acquisition(scan.forward(truth), scan, "CT"), truth


def test_sirt_is_its_formula():
    acquisition, _ = dense()
    a = acquisition.operator.matrix.reshape(30, 12)
    y = acquisition.samples.ravel()
    x = np.zeros(12)
    for _ in range(7):
        x = x + 1.3 * (a.T @ ((y - a @ x) / a.sum(1))) / a.sum(0)
    made = sirt(acquisition, iterations=7, relaxation=1.3, nonnegative=False, unit="1/mm")
    np.testing.assert_allclose(made.data.ravel(), x, rtol=1e-4)


def test_sart_is_its_formula():
    acquisition, _ = dense()
    a, y = acquisition.operator.matrix, acquisition.samples
    x = np.zeros(12)
    for _ in range(2):
        for v in visiting_order(6):
            x = x + 0.5 * (a[v].T @ ((y[v] - a[v] @ x) / a[v].sum(1))) / a[v].sum(0)
    made = sart(acquisition, iterations=2, relaxation=0.5, nonnegative=False, unit="1/mm")
    np.testing.assert_allclose(made.data.ravel(), x, rtol=1e-4)
    same = os_sart(acquisition, subsets=6, iterations=2, relaxation=0.5, nonnegative=False,
                   unit="1/mm")  # fmt: skip
    np.testing.assert_array_equal(same.data, made.data)


def test_all_find_the_solution_of_consistent_equations():
    acquisition, truth = dense(seed=3)
    for made, tolerance in (
        (cgls(acquisition, iterations=40, unit="1/mm"), 1e-2),
        (sart(acquisition, iterations=500, relaxation=1.0, unit="1/mm"), 5e-2),
        (os_sart(acquisition, iterations=500, subsets=3, unit="1/mm"), 5e-2),
        (pwls(acquisition, iterations=2000, strength=0, unit="1/mm"), 5e-2),
    ):
        np.testing.assert_allclose(made.data, truth, rtol=tolerance, atol=tolerance)


def test_transmission_likelihood_does_not_fall():
    acquisition, truth = dense(seed=3)
    system = prepare(acquisition, operation_name="test")
    found = transmission(system, 1e4 * np.exp(-acquisition.samples), iterations=400)
    assert all(np.diff(found.residuals) < 1e-6)
    assert np.linalg.norm(found.x - truth) < 0.1 * np.linalg.norm(truth)


def test_normal_operator_is_adjoint_of_forward(full):
    scan = full.operator
    normal = SliceNormal(scan)
    check_operator(normal)
    x = (PHANTOM.data * 0.02).astype(np.float32)
    pair = scan.adjoint(scan.forward(x))
    gap = np.linalg.norm(normal.forward(x) - pair) / np.linalg.norm(pair)
    assert gap < 1e-3
    other = ParallelScan(
        grid=Grid.from_spacing((2, 20, 25), (2, 1.5, 1.0), origin=(3, -4, 5)),
        angles=np.linspace(0, 3, 40), bins=32, spacing=1.2, offset=0.4, isocentre=(16, 10, 0),
    )  # fmt: skip
    y, x = np.mgrid[:20, :25]
    blob = np.exp(-((y - 9) ** 2 + (x - 13) ** 2) / 8).astype(np.float32)
    x = np.stack([blob, 2 * blob])
    pair = other.adjoint(other.forward(x))
    assert np.linalg.norm(SliceNormal(other).forward(x) - pair) < 2e-3 * np.linalg.norm(pair)


def test_toeplitz_only_where_the_detector_sees_all(full):
    assert sees_all(full.operator, full.samples)
    cut = full.operator.with_changes(bins=40)
    short = full.samples[:, 26:66]
    assert not sees_all(cut, short)
    assert prepare(Acquisition(short, cut, "CT"), operation_name="test").normal is None
    assert prepare(full, operation_name="test").normal is not None
    # A detector shorter than the grid's diagonal, but longer than the object.
    wide = full.operator.with_changes(bins=66)
    assert sees_all(wide, full.samples[:, 13:79])


def test_sirt_agrees_with_and_without_fourier(full):
    system = prepare(full, operation_name="test")
    fast = simultaneous(system, iterations=60)
    slow = simultaneous(replace(system, normal=None), iterations=60)
    assert np.linalg.norm(fast.x - slow.x) < 0.1 * np.linalg.norm(slow.x)
    direct = np.zeros_like(fast.x)
    from somascope.acquire.ct.sirt import largest_eigenvalue

    step = 1 / largest_eigenvalue(system.normal)
    for _ in range(60):
        gap = system.samples - system.scan.forward(direct)
        direct = np.maximum(direct + np.float32(step) * system.scan.adjoint(gap), 0)
    assert np.linalg.norm(fast.x - direct) < 0.02 * np.linalg.norm(direct)


def test_full_scan_comes_near_the_truth(full):
    plain = rmse(fbp(full, kernel="hann"))
    assert rmse(sirt(full, iterations=150)) < plain
    assert rmse(cgls(full)) < plain
    assert rmse(os_sart(full, iterations=4, subsets=10)) < plain
    assert rmse(tv(full, strength=0.3)) < plain
    assert rmse(pwls(full, strength=0.2, iterations=60)) < plain


def test_few_views_need_total_variation(few):
    plain = rmse(fbp(few))
    best = rmse(cgls(few, iterations=20))
    assert rmse(tv(few, strength=0.1, iterations=200)) < 0.85 * best
    assert rmse(asd_pocs(few, iterations=20, subsets=5)) < 0.85 * best
    assert best < plain


def test_tv_by_both_ways():
    small = shepp_logan((32, 32))
    system = prepare(simulate(small, views=40, photons=1e5), operation_name="test")
    fast = total_variation(system, strength=0.5, iterations=100).x
    slow = total_variation(replace(system, normal=None), strength=0.5, iterations=200).x
    assert np.linalg.norm(fast - slow) < 0.1 * np.linalg.norm(slow)


def test_weights_spare_the_rays_that_saw_nothing(full):
    rng = np.random.default_rng(0)
    samples, weights = np.array(full.samples), np.exp(-full.samples)
    broken = rng.random(samples.shape) < 0.03
    samples[broken] += rng.normal(0, 1.5, int(broken.sum())).astype(np.float32)
    weights[broken] = 1e-4
    given = Acquisition(samples, full.operator, "CT", calibration={"weights": weights})
    blind = Acquisition(samples, full.operator, "CT")
    knowing = rmse(pwls(given, strength=0.2))
    assert knowing < 0.5 * rmse(pwls(blind, strength=0.2))
    assert knowing < 0.5 * rmse(fbp(blind))


def test_fan_and_stack():
    grid = PHANTOM.grid
    scan = FanScan(
        grid=grid, angles=np.arange(60) * 2 * np.pi / 60, bins=80, spacing=6.0, source=500.0,
        detector=1000.0,
    )  # fmt: skip
    mu = PHANTOM.data * np.float32(0.02)
    fan = Acquisition(scan.forward(mu), scan, "CT", calibration={"mu_water": np.array(0.02)})
    assert rmse(os_sart(fan, iterations=5, subsets=6)) < 125
    assert rmse(sirt(fan, iterations=40)) < 150
    two = shepp_logan((2, 48, 48))
    stack = simulate(two, views=60)
    made = cgls(stack, iterations=12)
    assert made.grid == two.grid
    for k in range(2):
        one = rmse(made.crop(start=(k, 0, 0), stop=(k + 1, 48, 48)), two.data[k] * 1000 - 1000)
        assert one < 110


def test_cone_and_general_views():
    image = shepp_logan((8, 24, 24))
    mu = image.data * np.float32(0.02)
    cone = ConeScan(
        grid=image.grid, angles=np.arange(24) * np.pi / 12, rows=12, columns=34,
        spacing=(50.0, 16.0), source=500.0, detector=900.0,
    )  # fmt: skip
    views = cone.views()
    free = ViewsScan(
        grid=image.grid, source=views.source, centre=views.centre, u=views.u, v=views.v, rows=12,
        columns=34,
    )  # fmt: skip
    error = {}
    for scan in (cone, free):
        given = Acquisition(scan.forward(mu), scan, "CT", calibration={"mu_water": np.array(0.02)})
        start = float(np.sqrt(np.mean((image.data * 1000) ** 2)))
        error[scan.kind] = rmse(os_sart(given, iterations=4, subsets=6), image.data * 1000 - 1000)
        assert error[scan.kind] < 0.5 * start
        assert rmse(cgls(given, iterations=12), image.data * 1000 - 1000) < 0.5 * start
        assert rmse(sirt(given, iterations=10), image.data * 1000 - 1000) < 0.6 * start
    assert error["ct.views"] == pytest.approx(error["ct.cone"], rel=0.02)


def test_smaller_field_and_facts(full):
    made = sirt(full, iterations=3, size=32, field_of_view=110.0)
    assert made.shape == (1, 32, 32)
    assert made.grid.spacing[1] == pytest.approx(110 / 32)
    assert made.unit == "[hnsf'U]"
    assert made.attributes["PatientName"] == PHANTOM.attributes["PatientName"]
    assert made.provenance.steps[-1].operation == "acquire.ct.sirt"
    assert made.grid.frame_of_reference == PHANTOM.grid.frame_of_reference


def test_a_small_field_is_a_part_of_the_whole(full):
    whole = sirt(full, iterations=30)
    part = sirt(full, iterations=30, size=24, field_of_view=24 * 220 / 64)
    np.testing.assert_allclose(part.data, whole.data[:, 20:44, 20:44], atol=1)
    assert part.grid.allclose(whole.crop(start=(0, 20, 20), stop=(1, 44, 44)).grid)


def test_variation_slope_is_the_derivative():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 6, 7))
    d = rng.normal(size=x.shape)

    def value(u):
        g = np.zeros((2, 6, 7))
        g[0, :-1], g[1, :, :-1] = np.diff(u[0], axis=0), np.diff(u[0], axis=1)
        small = 1e-4 * np.abs(x).max()
        return np.sqrt((g**2).sum(0) + small**2).sum()

    numeric = (value(x + 1e-5 * d) - value(x - 1e-5 * d)) / 2e-5
    assert float(np.vdot(variation_slope(x, ndim=2), d)) == pytest.approx(numeric, rel=1e-3)


def test_operations_keep_their_contract():
    small = simulate(shepp_logan((16, 16)), views=6)
    for one in (sirt, cgls, sart, os_sart, asd_pocs, pwls, tv):
        check_operation(one.operation, inputs=(small,), params={"iterations": 2})


def test_bad_input(full):
    nan = np.array(full.samples)
    nan[3, 4] = np.nan
    with pytest.raises(UnitError, match="1 samples are not finite"):
        sirt(full.with_samples(nan))
    with pytest.raises(UnitError, match="counts"):
        cgls(full.with_samples(full.samples, unit="{counts}"))
    with pytest.raises(GeometryError, match="measures"):
        full.with_samples(full.samples[:-1])
    from somascope.acquire.operators import Identity

    with pytest.raises(GeometryError, match="reconstructs CT scans"):
        tv(Acquisition(np.ones((3, 3), np.float32), Identity((3, 3)), "CT"))
    with pytest.raises(ParameterError, match="subsets"):
        Subsets(full.operator, full.samples, 0)
    bad = Acquisition(full.samples, full.operator, "CT",
                      calibration={"weights": -np.ones_like(full.samples)})  # fmt: skip
    with pytest.raises(ParameterError, match="negative"):
        pwls(bad)
    with pytest.raises(ParameterError, match="shape"):
        pwls(Acquisition(full.samples, full.operator, "CT",
                         calibration={"weights": np.ones(3)}))  # fmt: skip
    with pytest.raises(Cancelled):
        sirt(full, progress=Progress(cancelled=lambda: True))


def test_subset_order_and_reciprocals():
    assert sorted(visiting_order(11)) == list(range(11))
    assert visiting_order(8) == [0, 4, 2, 6, 1, 5, 3, 7]
    np.testing.assert_array_equal(reciprocal(np.array([4.0, 0.0, 1e-4])), [0.25, 0, 0])
