import contextlib
from dataclasses import replace
from typing import Annotated

import numpy as np
import pytest

from somascope.analyze.threshold import threshold
from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.process.enhance import clahe
from somascope.process.filters import gaussian
from somascope.process.mapping import window
from somascope.process.resample import resample
from somascope.testing import check_operation

Gain = Annotated[float, Param("Factor", minimum=0.0)]


@pytest.mark.parametrize(
    ("function", "params"),
    [
        (gaussian, {}),
        (window, {}),
        (window, {"preset": "lung", "output": "byte", "function": "sigmoid"}),
        (clahe, {"dimensions": "volume"}),
        (resample, {"spacing": [1.5, 1.0, 1.0], "order": "cubic"}),
        (threshold, {"lower": 300.0, "separate": True, "fill_holes": True}),
        (threshold, {"method": "otsu"}),
    ],
)
def test_our_operations_keep_the_contract(function, params):
    check_operation(function, params=params)


def test_by_name():
    check_operation("process.gaussian")


@operation("test.good")
def good(image: Image, *, gain: Gain = 2.0, progress: Progress = QUIET) -> Image:
    """Multiply."""
    progress(0.0)
    return image.with_data(image.data * gain)


def test_a_good_one():
    check_operation(good)


def bad(function, name="test.bad"):
    return operation(name)(function)


def no_doc(image: Image, *, gain: Gain = 2.0) -> Image:
    return image.with_data(image.data * gain)


def no_help(image: Image, *, gain: float = 2.0) -> Image:
    """Multiply."""
    return image.with_data(image.data * gain)


def wrong_default(
    image: Image, *, gain: Annotated[float, Param("Gain", maximum=1.0)] = 2.0
) -> Image:
    """Multiply."""
    return image.with_data(image.data * gain)


def random_(image: Image, *, gain: Gain = 1.0) -> Image:
    """Add noise."""
    return image.with_data(image.data + np.random.default_rng().normal(size=image.shape) * gain)


def forgets(image: Image, *, gain: Gain = 2.0) -> Image:
    """Multiply."""
    return Image(image.data * gain, image.grid)


def loses_frame(image: Image, *, gain: Gain = 2.0) -> Image:
    """Multiply."""
    return replace(image, grid=replace(image.grid, frame_of_reference=""))


def bare_array(image: Image, *, gain: Gain = 2.0) -> Image:
    """Multiply."""
    return image.data * gain  # pyright: ignore


def silent(image: Image, *, gain: Gain = 2.0, progress: Progress = QUIET) -> Image:
    """Multiply."""
    return image.with_data(image.data * gain)


def stubborn(image: Image, *, gain: Gain = 2.0, progress: Progress = QUIET) -> Image:
    """Multiply."""
    with contextlib.suppress(Exception):
        progress(0.5)
    return image.with_data(image.data * gain)


def backwards(image: Image, *, gain: Gain = 2.0, progress: Progress = QUIET) -> Image:
    """Multiply."""
    progress(0.5)
    progress(0.1)
    return image.with_data(image.data * gain)


def twice(image: Image, *, gain: Gain = 2.0) -> Image:
    """Multiply, by way of another operation."""
    return gaussian(image.with_data(image.data * gain))


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (no_doc, "no docstring"),
        (no_help, "no help"),
        (wrong_default, "default of 'gain' is refused"),
        (random_, "other values"),
        (forgets, "frame of reference|loses the sources"),
        (loses_frame, "frame of reference"),
        (bare_array, "ndarray"),
        (silent, "never calls it"),
        (stubborn, "swallows the cancel"),
        (backwards, "backwards"),
        (twice, "provenance steps"),
    ],
)
def test_broken_operations_are_caught(function, words):
    with pytest.raises(AssertionError, match=words):
        check_operation(bad(function))


def test_changed_inputs_are_caught():
    held = {}

    def spoil(image: Image, *, gain: Gain = 2.0) -> Image:
        """Multiply."""
        held["data"][0, 0, 0] += 1
        return image.with_data(image.data * gain)

    from somascope.core import Grid

    held["data"] = np.ones((2, 3, 4))
    image = Image(held["data"], Grid.from_spacing((2, 3, 4), (1, 1, 1)))
    with pytest.raises(AssertionError, match="changes its input"):
        check_operation(bad(spoil), inputs=(image,))


def test_names_and_bare_functions():
    with pytest.raises(AssertionError, match="verb first"):
        check_operation(bad(no_help, "Gaussian"))
    with pytest.raises(AssertionError, match="not decorated"):
        check_operation(no_help)


def test_required_parameters_are_asked_for():
    def needs(image: Image, *, gain: Gain) -> Image:
        """Multiply."""
        return image.with_data(image.data * gain)

    with pytest.raises(AssertionError, match="needs 'gain'"):
        check_operation(bad(needs))
    check_operation(bad(needs), params={"gain": 2})


def test_acquisitions_in_and_out(monkeypatch):
    from tests import scans

    scans.publish(monkeypatch)
    check_operation("acquire.test.scan")
    check_operation("acquire.test.spread", inputs=(scans.acquisition(),))
