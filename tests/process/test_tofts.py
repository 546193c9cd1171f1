"""Leakage maps of digital reference objects, and the model against an integrator of its own."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from somascope.core import Axis, Image
from somascope.core.errors import GeometryError, ParameterError
from somascope.phantoms.perfusion import leakage_phantom
from somascope.process.tofts import (
    concentration,
    decaying,
    exact_fit,
    linear_fit,
    population,
    tofts,
)
from somascope.testing import check_operation


def test_decaying_is_the_differential_equation():
    t = np.arange(0, 120, 2.0)
    plasma = np.interp(t, [0, 20, 26, 40, 120], [0, 0, 5, 1.5, 0.8])
    for rate in (1e-7, 0.003, 0.05, 0.4):
        # dC/dt = Cp - k C
        truth = solve_ivp(lambda x, c, k=rate: np.interp(x, t, plasma) - k * c, (0, 118), [0.0],
                          t_eval=t, rtol=1e-9, atol=1e-10, max_step=0.5)  # fmt: skip
        np.testing.assert_allclose(decaying(plasma, np.array([rate]), 2.0)[0], truth.y[0],
                                   rtol=2e-6, atol=1e-6)  # fmt: skip


@pytest.mark.parametrize("fit", [linear_fit, exact_fit])
@pytest.mark.parametrize("extended", [False, True])
def test_fits_find_what_made_the_curves(fit, extended):
    t = np.arange(0, 300, 2.5)
    plasma = population(t, 20.0) / 0.58
    transfer = np.array([0.01, 0.05, 0.1, 0.3])
    ve = np.array([0.15, 0.2, 0.3, 0.5])
    vp = np.array([0.02, 0.0, 0.05, 0.08]) * extended
    curves = (transfer / 60)[:, None] * decaying(plasma, transfer / ve / 60, 2.5)
    curves += vp[:, None] * plasma
    found = fit(curves, plasma, 2.5, extended=extended)
    # the integral form takes the curve for straight lines between samples
    rtol, atol = (0.03, 2e-3) if fit is linear_fit else (2e-3, 1e-4)
    np.testing.assert_allclose(found[0], transfer, rtol=rtol)
    np.testing.assert_allclose(found[1], ve, rtol=2 * rtol)
    np.testing.assert_allclose(found[2], vp, atol=atol)


def test_concentration_turns_the_signal_equation_round():
    c = np.linspace(0, 8, 30)
    for t1, flip in ((1.4, 20), (0.6, 12)):
        e1 = np.exp(-0.005 * (1 / t1 + 4.5 * c))
        a = np.deg2rad(flip)
        signal = 730 * np.sin(a) * (1 - e1) / (1 - e1 * np.cos(a))
        found = concentration(signal[None], signal[:1], t1=np.array([t1]), repetition=0.005,
                              flip=a, relaxivity=4.5)  # fmt: skip
        np.testing.assert_allclose(found[0], c, atol=1e-8)


def test_the_population_curve_is_parkers():
    """Peak and tail as in figure 1 of the paper: about 6 mM, and 0.9 mM after a minute."""
    t = np.arange(0, 360, 0.5)
    c = population(t, 0.0)
    assert c.max() == pytest.approx(6.0, abs=0.2)
    assert 8 < t[np.argmax(c)] < 13
    assert np.interp(60, t, c) == pytest.approx(0.95, abs=0.1)
    assert (population(t, 100.0)[t < 100] == 0).all()


@pytest.mark.parametrize("method", ["linear", "exact"])
def test_maps_are_those_of_the_object(method):
    ref = leakage_phantom()
    maps = tofts(ref.image, ref.mask, method=method)
    assert [m.unit for m in maps] == ["/min", "1", "1"]
    inside = ref.truth["ve"] > 0
    for image, word, atol in zip(maps, ("Ktrans", "ve", "vp"), (4e-3, 4e-3, 1e-3), strict=True):
        np.testing.assert_allclose(image.data[inside], ref.truth[word][inside], atol=atol)


def test_noise_shifts_the_mean_little():
    ref = leakage_phantom(noise=0.01, seed=2)
    rate = tofts(ref.image, ref.mask)[0].data
    for value in (0.05, 0.1, 0.25):
        chosen = ref.truth["Ktrans"] == value
        assert rate[chosen].mean() == pytest.approx(value, rel=0.04)


def test_a_t1_map_and_a_found_artery():
    ref = leakage_phantom()
    flat = Image(np.full(ref.image.grid.shape, 1400.0, np.float32), ref.image.grid, "MR", "ms")
    inside = ref.truth["ve"] > 0
    plain = tofts(ref.image, ref.mask)[0].data
    np.testing.assert_allclose(
        tofts(ref.image, flat, ref.mask)[0].data, plain, rtol=1e-5, atol=1e-9
    )
    found = tofts(ref.image, arterial="automatic")[0].data
    np.testing.assert_allclose(found[inside], plain[inside], rtol=0.02, atol=1e-3)
    wrong = tofts(ref.image, ref.mask, flat.with_data(flat.data * 2))[0].data
    assert np.abs(wrong[inside] - plain[inside]).max() > 0.01
    assert len(tofts(ref.image, model="standard")) == 2


def test_contract():
    ref = leakage_phantom(patch=2)
    check_operation(tofts, inputs=(ref.image, ref.mask))
    check_operation(tofts, inputs=(ref.image, ref.mask), params={"method": "exact"})


def test_bad_input_is_refused():
    ref = leakage_phantom(patch=2)
    image = ref.image
    with pytest.raises(ParameterError, match="no RepetitionTime"):
        tofts(replace(image, attributes={"FlipAngle": 20.0}))
    with pytest.raises(ParameterError, match="no voxel has"):
        tofts(image.with_data(image.data * 0))
    with pytest.raises(ParameterError, match="axis 't'"):
        tofts(replace(image, axes=(Axis("b", image.axes[0].values),)))
    with pytest.raises(ParameterError, match="one T1 map and one mask"):
        tofts(image, ref.mask, ref.mask)
    with pytest.raises(GeometryError, match="T1 map is not one volume"):
        tofts(image, image)
    bad = image.at(t=0)
    with pytest.raises(ParameterError, match="T1 map is in"):
        tofts(image, bad.with_data(bad.data, unit="mm"))
