"""The digital phantom of the image biomarker standardisation initiative."""

from __future__ import annotations

import pytest

from somascope.analyze.radiomics.names import CODES, concept
from somascope.analyze.radiomics.operation import radiomics
from tests.analyze.radiomics import phantom


def found(**more) -> dict[str, dict[str, float]]:
    made: dict[str, dict[str, float]] = {}
    for one in radiomics(phantom.image(), phantom.mask(), bin_width=1.0, **more):
        family, name = one.concept.meaning.split()
        assert one.concept == concept(family, name)
        made.setdefault(family, {})[name] = one.value
    return made


def disagreeing(made: dict[str, float], said: dict[str, float]) -> dict[str, tuple[float, float]]:
    """What is another number when it is rounded to three digits, as the manual's are."""
    close = 0.5000001
    return {
        name: (made[name], value)
        for name, value in said.items()
        if abs(made[name] - value) > close * 10 ** digit(value)
    }


def digit(value: float) -> int:
    """The power of ten of the third digit of ``value``."""
    return int(f"{value:e}".split("e")[1]) - 2


@pytest.fixture(scope="module")
def solid() -> dict[str, dict[str, float]]:
    return found(directions="merged")


@pytest.mark.parametrize("family", phantom.SOLID)
def test_the_volume(solid: dict[str, dict[str, float]], family: str):
    assert not disagreeing(solid[family], phantom.SOLID[family])


@pytest.mark.parametrize("family", phantom.SLICES)
def test_slice_by_slice(family: str):
    made = found(families=family, dimensions="2D")
    assert not disagreeing(made[family], phantom.SLICES[family])


def test_every_feature_has_a_value(solid: dict[str, dict[str, float]]):
    assert {f: set(n) for f, n in solid.items()} == {
        f: set(n) for f, n in CODES.items() if f != "shape2D"
    }


def test_six_bins_are_the_levels_themselves(solid: dict[str, dict[str, float]]):
    counted = {
        tuple(m.concept.meaning.split()): m.value
        for m in radiomics(phantom.image(), phantom.mask(), bin_count=6, directions="merged")
    }
    for family, features in solid.items():
        for name, value in features.items():
            assert counted[family, name] == pytest.approx(value, rel=1e-12), (family, name)


def test_codes_are_single():
    codes = [concept(f, n) for f, names in CODES.items() for n in names]
    assert len({(c.scheme, c.value) for c in codes}) == len(codes)
    assert all(len(c.value) <= 16 and len(c.meaning) <= 64 for c in codes)
