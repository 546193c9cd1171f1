"""Attenuation of gamma rays against xraylib's cross sections; Carney's table, transcribed twice."""

import numpy as np
import pytest

from somascope.acquire import mumap
from somascope.acquire.matter import MATERIALS


@pytest.mark.parametrize("material", ["water", "bone"])
@pytest.mark.parametrize("kev", [71.0, 140.5, 208.4, 245.4, 364.5, 511.0, 700.0])
def test_coefficients_are_those_of_xraylib(material, kev):
    xraylib = pytest.importorskip("xraylib")
    density, parts = MATERIALS[material]
    each = (
        share * xraylib.CS_Total(xraylib.SymbolToAtomicNumber(name), kev)
        for name, share in parts.items()
    )
    assert mumap.coefficient(material, kev) == pytest.approx(sum(each) * density, rel=0.003)


@pytest.mark.parametrize(
    ("kvp", "slope", "intercept", "turn"),
    [
        (80, 3.64e-5, 6.261e-2, 50), (100, 4.43e-5, 5.44e-2, 52), (110, 4.92e-5, 4.88e-2, 43),
        (120, 5.10e-5, 4.71e-2, 47), (130, 5.51e-5, 4.24e-2, 37), (140, 5.64e-5, 4.08e-2, 30),
    ],
)  # fmt: skip
def test_every_row_of_the_table(kvp, slope, intercept, turn):
    """As other programs have it (Carney et al. 2006, table I; per cm, break in HU)."""
    low, high, at_zero, above = mumap.bilinear(511.0, kvp)
    assert (low, high, above) == pytest.approx((9.6e-5, slope, turn + 1000))
    assert at_zero == pytest.approx(intercept, rel=1e-3)
    # At the break both lines give nearly the same.
    np.testing.assert_allclose(low * above, high * above + at_zero, rtol=0.004)
