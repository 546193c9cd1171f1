"""Soft tissue and bone come apart, quantitatively."""

import numpy as np
import pytest

from somascope.acquire.tube import tungsten
from somascope.acquire.xray.correct import correct
from somascope.acquire.xray.dual_energy import decomposed, dual_energy, line_integral
from somascope.acquire.xray.expose import paths
from somascope.acquire.xray.radiograph import radiograph
from somascope.acquire.xray.simulate import simulate
from somascope.core.errors import GeometryError, ParameterError
from somascope.testing import check_operation
from tests.acquire.xray.conftest import SMALL

LOW = {**SMALL, "kvp": 60.0, "mas": 8.0, "copper": 0.0}
HIGH = {**SMALL, "kvp": 120.0, "mas": 4.0, "copper": 1.0}


def test_densities_come_back_through_the_closed_form():
    rng = np.random.default_rng(0)
    water, bone = 25 * rng.random((30, 40)), 4 * rng.random((30, 40))
    beams = tungsten(60), tungsten(120).filtered("copper", 1.0)
    low, high = (line_integral(b, water, bone) for b in beams)
    got_water, got_bone = decomposed(low, high, beams=beams)
    np.testing.assert_allclose(got_water, water, atol=2e-3)
    np.testing.assert_allclose(got_bone, bone, atol=2e-3)


def test_a_chest_without_noise(chest):
    quiet = {"noise": False, "blur": 0.0, "gain_variation": 0.0, "defects": 0.0}
    low, high = (simulate(chest, seed=1, **{**e, **quiet}) for e in (LOW, HIGH))
    soft, bone = dual_energy(low, high)
    assert soft.unit == bone.unit == "g/cm2"
    water, mineral = (p[0] for p in paths(chest.data, low.operator))
    # Where the raw counts neither saturate nor drown in their rounding.
    good = (low.samples[0] < 60000) & (low.samples[0] > 250)
    assert good.mean() > 0.3
    assert np.abs(soft.data[0] - water)[good].mean() < 0.05
    assert np.abs(bone.data[0] - mineral)[good].mean() < 0.02
    ribs = good & (mineral > 0.5)
    assert ribs.sum() > 100
    # The ribs are gone from the soft tissue: what is left of their contrast.
    assert abs(np.mean((soft.data[0] - water)[ribs])) < 0.02 * mineral[ribs].mean() * 2


def test_smoothing_calms_the_soft_tissue(chest):
    low, high = simulate(chest, seed=1, **LOW), simulate(chest, seed=2, **HIGH)
    liver = np.s_[0, 130:150, 60:80]
    plain = dual_energy(low, high)[0].data[liver]
    calm = dual_energy(low, high, smoothing=6.0)[0].data[liver]
    assert calm.mean() == pytest.approx(plain.mean(), rel=0.05)

    def rough(p):
        return np.diff(p, axis=0).std()

    assert rough(calm) < 0.4 * rough(plain)


def test_pairs_that_do_not_fit_are_refused(chest, raw):
    low, high = (radiograph(simulate(chest, seed=1, **e)) for e in (LOW, HIGH))
    with pytest.raises(GeometryError, match="same detector"):
        dual_energy(low, radiograph(simulate(chest, **{**HIGH, "rows": 96})))
    with pytest.raises(GeometryError, match="same detector"):
        dual_energy(low, radiograph(simulate(chest, **{**HIGH, "view": "LL"})))
    with pytest.raises(ParameterError, match="lower tube voltage first"):
        dual_energy(high, low)
    with pytest.raises(ParameterError, match="lower tube voltage first"):
        dual_energy(low, low)
    from dataclasses import replace

    unknown = replace(high, attributes={})
    with pytest.raises(ParameterError, match="KVP"):
        dual_energy(low, unknown)
    with pytest.raises(ParameterError, match="NaN"):
        dual_energy(low, high.with_data(np.full_like(high.data, np.nan)))


def test_the_operation_keeps_its_contract(chest):
    few = {"rows": 48, "columns": 48, "pitch": 8.8}
    pair = tuple(radiograph(correct(simulate(chest, seed=1, **{**e, **few}))) for e in (LOW, HIGH))
    check_operation("acquire.xray.dual_energy", inputs=pair)
