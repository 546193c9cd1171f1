import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from somascope.core.errors import WriteError
from somascope.io.dicom.quantise import Rules, quantise

ANY = Rules()
PET = Rules(zero_intercept=True)
UNSIGNED = Rules(signed=False, bytes=True)


def real(stored):
    return stored.values.astype(np.float64) * stored.slope + stored.intercept


@settings(max_examples=60, deadline=None)
@given(
    arrays(
        st.sampled_from(["i2", "u2", "i1", "u1", "?"]),
        (2, 3, 4),
    ),
    st.sampled_from([ANY, UNSIGNED]),
)
def test_integers_are_exact(data, rules):
    stored = quantise(data, rules=rules)
    assert stored.exact
    assert stored.slope == 1
    assert np.array_equal(real(stored), data.astype(float))
    assert rules.signed or not stored.signed


@settings(max_examples=80, deadline=None)
@given(
    arrays(
        np.float32,
        (2, 3, 4),
        elements=st.floats(-(2.0**60), 2.0**60, width=32, allow_subnormal=False),
    ),
    st.sampled_from([ANY, PET]),
)
def test_numbers_are_within_half_a_step(data, rules):
    stored = quantise(data, rules=rules)
    error = np.abs(real(stored) - data.astype(np.float64)).max()
    # the last term: slope and intercept themselves have 16 characters
    assert error <= stored.slope * 0.5 * (1 + 1e-6) + 1e-9 * np.abs(data).max()
    if not rules.zero_intercept and not stored.exact:
        spread = float(data.max()) - float(data.min())
        assert stored.slope == pytest.approx(spread / 65535, rel=1e-8)
    if rules.zero_intercept:
        assert stored.intercept == 0


def test_whole_floats_are_exact():
    data = np.array([[[-1024.0, 3071.0], [0.0, 40.0]]], np.float32)
    stored = quantise(data, rules=ANY)
    assert stored.exact
    assert stored.values.dtype == np.int16


def test_wide_integers_are_shifted_or_refused():
    shifted = quantise(np.array([[[100_000, 165_535]]]), rules=ANY)
    assert shifted.intercept == 100_000
    assert np.array_equal(real(shifted), [[[100_000, 165_535]]])
    with pytest.raises(WriteError, match="float32"):
        quantise(np.array([[[0, 65_536]]]), rules=ANY)


def test_negative_integers_in_an_unsigned_kind():
    stored = quantise(np.array([[[-5, 250]]], np.int16), rules=UNSIGNED)
    assert not stored.signed
    assert np.array_equal(real(stored), [[[-5, 250]]])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    with pytest.raises(WriteError, match="nan_to_num"):
        quantise(np.array([[[0.5, bad]]]), rules=ANY)


def test_complex_is_refused():
    with pytest.raises(WriteError, match="magnitude"):
        quantise(np.array([[[1j]]]), rules=ANY)


def test_constant_image():
    stored = quantise(np.full((1, 2, 2), 0.3), rules=ANY)
    assert real(stored) == pytest.approx(np.full((1, 2, 2), 0.3))
    pet = quantise(np.full((1, 2, 2), -0.3), rules=PET)
    assert np.abs(real(pet) + 0.3).max() <= pet.slope / 2
