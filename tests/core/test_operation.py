import json
from typing import Annotated, Literal

import numpy as np
import pytest

from somascope.core import (
    QUIET,
    Grid,
    Image,
    Mask,
    Param,
    Progress,
    Provenance,
    Segment,
    Source,
    Step,
    operation,
)
from somascope.core.errors import Cancelled, NotFound, ParameterError
from somascope.core.registry import get_operation, operation_names


@operation("test.everything")
def everything(
    image: Image,
    *others: Image,
    needed: Annotated[int, Param("Count", minimum=1, maximum=5)],
    sigma: Annotated[float, Param("Width", unit="mm", minimum=0.0, step=0.5)] = 1.0,
    maybe: Annotated[float | None, Param("Or nothing")] = None,
    on: bool = True,
    name: Annotated[str, Param("Name", advanced=True)] = "a",
    way: Literal["up", "down"] = "up",
    number: Literal[4, 8] = 4,
    size: Annotated[tuple[float, float, float], Param("Size", minimum=0.0)] = (1.0, 1.0, 1.0),
    many: tuple[float, ...] = (1.0,),
    progress: Progress = QUIET,
) -> Image:
    """Do everything.

    More words.
    """
    progress(0.5, "half")
    return image.with_data(image.data * sigma)


@pytest.fixture
def image():
    return Image(
        np.ones((1, 2, 3)), Grid.from_spacing((1, 2, 3), (1, 1, 1)),
        provenance=Provenance((Source("dicom", "1.2.3", ("1.2.3.1",)),), (Step("earlier.one"),)),
    )  # fmt: skip


def test_the_schema_is_json_schema():
    found = everything.operation
    schema = found.schema()
    assert json.loads(json.dumps(schema)) == schema
    assert schema["name"] == "test.everything"
    assert schema["summary"] == "Do everything."
    assert schema["inputs"] == [
        {"name": "image", "type": "Image"},
        {"name": "others", "type": "Image[]"},
    ]
    assert schema["output"] == "Image"
    params = schema["params"]
    assert params["required"] == ["needed"]
    assert params["additionalProperties"] is False
    p = params["properties"]
    assert p["needed"] == {"type": "integer", "description": "Count", "minimum": 1, "maximum": 5}
    assert p["sigma"]["unit"] == "mm"
    assert (p["sigma"]["default"], p["sigma"]["step"]) == (1.0, 0.5)
    assert p["maybe"]["type"] == ["number", "null"]
    assert p["on"] == {"type": "boolean", "description": "", "default": True}
    assert p["name"]["advanced"] is True
    assert p["way"]["enum"] == ["up", "down"]
    assert (p["number"]["type"], p["number"]["enum"]) == ("integer", [4, 8])
    assert (p["size"]["minItems"], p["size"]["maxItems"]) == (3, 3)
    assert p["size"]["items"] == {"type": "number", "minimum": 0.0}
    assert p["many"]["default"] == [1.0]
    assert "progress" not in p


def test_validation_fills_in_and_converts():
    given = {"needed": np.int64(3), "size": [1, 2, 3], "sigma": 2, "many": np.asarray([4, 5])}
    got = everything.operation.validate(given)
    assert got == {
        "needed": 3, "sigma": 2.0, "maybe": None, "on": True, "name": "a", "way": "up",
        "number": 4, "size": (1.0, 2.0, 3.0), "many": (4.0, 5.0),
    }  # fmt: skip
    assert type(got["needed"]) is int
    assert type(got["sigma"]) is float


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, "needs 'needed'"),
        ({"needed": 0}, "from 1 to 5"),
        ({"needed": 6}, "from 1 to 5"),
        ({"needed": 2.5}, "whole number"),
        ({"needed": True}, "give a number"),
        ({"needed": "2"}, "give a number"),
        ({"needed": None}, "give a integer"),
        ({"needed": 1, "sigma": -0.1}, "at least 0 mm"),
        ({"needed": 1, "sigma": float("nan")}, "finite"),
        ({"needed": 1, "on": 1}, "true or false"),
        ({"needed": 1, "way": "left"}, "up, down"),
        ({"needed": 1, "number": 6}, "4, 8"),
        ({"needed": 1, "size": [1, 2]}, "exactly 3"),
        ({"needed": 1, "size": "123"}, "3 numbers"),
        ({"needed": 1, "size": [1, 2, -1]}, "at least 0"),
        ({"needed": 1, "name": 4}, "give text"),
        ({"needed": 1, "sigmoid": 4}, "no parameter 'sigmoid'"),
    ],
)
def test_validation_names_the_thing_and_the_remedy(params, words):
    with pytest.raises(ParameterError, match=words):
        everything.operation.validate(params)


def test_the_plain_call_validates_and_records(image):
    out = everything(image, needed=2, sigma=3)
    assert out.data.sum() == 18
    assert [s.operation for s in out.provenance.steps] == ["earlier.one", "test.everything"]
    step = out.provenance.steps[-1]
    assert step.inputs == ("1.2.3",)
    assert step.params["sigma"] == 3.0
    assert step.params["maybe"] is None
    assert step.version
    with pytest.raises(ParameterError, match="from 1 to 5"):
        everything(image, needed=9)
    assert everything.__name__ == "everything"


def test_progress_passes_through_and_stops(image):
    said = []
    everything.operation(image, needed=1, progress=Progress(lambda f, m: said.append((f, m))))
    assert said == [(0.5, "half")]
    with pytest.raises(Cancelled, match="stopped at 50% half"):
        everything.operation(image, needed=1, progress=Progress(None, lambda: True))

    @operation("test.quiet")
    def quiet(image: Image) -> Image:
        """Nothing."""
        return image

    assert quiet.operation(image, progress=Progress(None, lambda: True)) is not None


def test_several_results_are_all_recorded(image):
    @operation("test.split")
    def split(image: Image) -> tuple[Image, Mask]:
        """Split."""
        mask = Mask(data=np.ones((1, 2, 3), np.uint8), grid=image.grid, segments=(Segment(1, "a"),))
        return image, mask

    a, b = split(image)
    assert split.operation.output == "Image[]"
    assert a.provenance.steps[-1] == b.provenance.steps[-1]
    assert b.provenance.steps[-1].operation == "test.split"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("needed", "3", 3), ("sigma", "2.5", 2.5), ("maybe", "none", None), ("maybe", "4", 4.0),
        ("on", "yes", True), ("on", "off", False), ("way", "down", "down"), ("number", "8", 8),
        ("size", "1,2,3", (1.0, 2.0, 3.0)), ("many", "7", (7.0,)), ("name", "b c", "b c"),
    ],
)  # fmt: skip
def test_from_a_command_line(name, text, value):
    parameter = next(p for p in everything.operation.parameters if p.name == name)
    assert parameter.parse("test.everything", text) == value


@pytest.mark.parametrize(
    ("name", "text"), [("needed", "x"), ("on", "perhaps"), ("size", "1,a"), ("needed", "9")]
)
def test_bad_words_on_a_command_line(name, text):
    parameter = next(p for p in everything.operation.parameters if p.name == name)
    with pytest.raises(ParameterError):
        parameter.parse("test.everything", text)


def test_types_that_have_no_form_are_refused_when_declared():
    with pytest.raises(TypeError, match="use float, int"):

        @operation("test.bad")
        def bad(image: Image, *, table: dict = {}) -> Image:  # noqa: B006
            """Bad."""
            return image


def test_the_registry_lists_without_importing_and_says_what_is_near():
    assert "process.gaussian" in operation_names()
    assert get_operation("process.gaussian").name == "process.gaussian"
    with pytest.raises(NotFound, match=r"process\.gaussian"):
        get_operation("filter.gaussian")
