"""Units against UCUM's own definitions, and what must not be converted."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somascope.analyze.rules.ucum import convert, parse
from somascope.core.errors import UnitError


@pytest.mark.parametrize(
    ("value", "unit", "wanted", "truth"),
    [
        (0.6, "cm", "mm", 6.0), (1, "[in_i]", "mm", 25.4), (1, "ml", "mm3", 1000.0),
        (1, "cm3", "ml", 1.0), (1, "dm3", "L", 1.0), (30, "%", "1", 0.3), (1, "h", "min", 60.0),
        (1, "mo", "d", 30.4375), (1, "mm[Hg]", "Pa", 133.322387), (1, "[lb_av]", "kg", 0.45359237),
        (1, "mm2/s", "um2/ms", 1000.0), (1, "/cm", "/mm", 0.1),
        (1, "ml/(100.g)/min", "ml/g/min", 0.01),
        (1, "kBq/ml", "Bq/ml", 1000.0), (180, "deg", "rad", 3.141592653589793),
        (2, "10*3/ul", "/ml", 2e6),
        (2.5, "g/ml{SUVbw}", "g/ml", 2.5), (1, "Gy", "J/kg", 1.0), (1, "T", "V.s/m2", 1.0),
    ],
)  # fmt: skip
def test_conversions(value, unit, wanted, truth):
    assert convert(value, unit, wanted) == pytest.approx(truth, rel=1e-15)


@pytest.mark.parametrize(
    ("unit", "wanted"),
    [
        ("mm", "mm2"), ("mm", "s"), ("g/ml{SUVlbm(Janma)}", "g/ml"), ("[hnsf'U]", "1"),
        ("{counts}", "1"), ("Bq", "g"), ("rad", "1"),
    ],
)  # fmt: skip
def test_what_measures_something_else_is_refused(unit, wanted):
    with pytest.raises(UnitError, match="different things"):
        convert(1.0, unit, wanted)


def test_a_number_that_no_double_holds_is_refused():
    assert convert(1e305, "m", "mm") == pytest.approx(1e308)
    with pytest.raises(UnitError, match="too large a number in 'mm'"):
        convert(1e307, "m", "mm")


@pytest.mark.parametrize(
    "text",
    ["", "mm mm", "bananas", "m//s", "m.", "(m", "m)", "m" * 65, "Cel", "m99", "__import__", "0",
     "/", "m$", "{a}{", "(" * 60],
)  # fmt: skip
def test_no_unit(text):
    with pytest.raises(UnitError):
        parse(text)


@settings(deadline=None)
@given(st.text(max_size=20))
def test_no_text_does_more_than_be_refused(text):
    with suppress(UnitError):
        parse(text)


@settings(deadline=None)
@given(st.floats(-1e6, 1e6), st.sampled_from([("cm", "mm"), ("l", "mm3"), ("%", "1"), ("wk", "s")]))
def test_there_and_back(value, pair):
    there = convert(value, *pair)
    assert convert(there, *pair[::-1]) == pytest.approx(value, rel=1e-12, abs=1e-300)
