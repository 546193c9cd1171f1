"""Chains: the text that says one, what is refused, and that one step records all."""

from __future__ import annotations

import numpy as np
import pytest

from somascope.core import Grid, Image
from somascope.core.errors import NotFound, ParameterError
from somascope.core.registry import get_operation
from somascope.process import chain
from somascope.testing import check_operation


@pytest.fixture
def picture() -> Image:
    values = np.random.default_rng(2).normal(100, 20, (3, 24, 28)).astype(np.float32)
    return Image(values, Grid.from_spacing((3, 24, 28), (2.0, 1.0, 1.0)), "MR")


def test_contract() -> None:
    check_operation("process.chain", params={"steps": "gaussian sigma=1.5 | gamma"})
    check_operation("process.chain")


def test_a_chain_is_what_its_operations_give(picture: Image) -> None:
    once = get_operation("process.gaussian")(picture, sigma=1.5)
    both = get_operation("process.clahe")(once, clip_limit=3.0, dimensions="volume")
    found = chain.chain(
        picture, steps="gaussian sigma=1.5 | process.clahe clip_limit=3 dimensions=volume"
    )
    np.testing.assert_array_equal(found.data, both.data)
    assert [s.operation for s in found.provenance.steps] == ["process.chain"]
    same = chain.chain(picture, steps=" | ")
    np.testing.assert_array_equal(same.data, picture.data)


def test_the_text_of_a_chain_reads_as_itself() -> None:
    items = [
        {"operation": "process.frangi", "params": {"scales": [1.0, 2.5], "ridges": "dark"}},
        {"operation": "process.clahe", "params": {"tile": 12.5, "lower": None}},
        {"operation": "process.gaussian", "params": {"sigma": 1e-3}},
    ]
    steps = chain.parse(items)
    text = chain.say(steps)
    assert text == "frangi scales=1.0,2.5 ridges=dark | clahe tile=12.5 | gaussian sigma=0.001"
    assert [dict(s.params) for s in chain.read(text)] == [dict(s.params) for s in steps]


@pytest.mark.parametrize(
    ("text", "error", "word"),
    [
        ("nothing", NotFound, "process.nothing"),
        ("gaussian wide=3", ParameterError, "wide=3"),
        ("gaussian sigma=-3", ParameterError, "sigma"),
        ("gaussian sigma", ParameterError, "NAME=VALUE"),
        ("chain steps=gaussian", ParameterError, "process.chain"),
        ("fuse", ParameterError, "one image of one image"),
        ("gaussian 'sigma=1", ParameterError, "cannot be read"),
        ("|".join(["gaussian"] * 9), ParameterError, "at most 8"),
    ],
)
def test_what_is_no_chain_is_refused(
    text: str, error: type[Exception], word: str, picture: Image
) -> None:
    with pytest.raises(error, match=word):
        chain.chain(picture, steps=text)
