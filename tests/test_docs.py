"""The documents are executed: their code runs, and every command has its line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from somascope.core import Grid, Image, Label
from somascope.core.errors import ParameterError, Refused
from somascope.testing import check_model, check_operation, check_reader

ROOT = Path(__file__).resolve().parent.parent


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)


def run_block(code: str, space: dict[str, Any] | None = None) -> dict[str, Any]:
    space = {"__name__": "recipe"} if space is None else space
    exec(compile(code, "recipe", "exec"), space)
    return space


@pytest.fixture
def ct() -> Image:
    return Image(np.full((4, 5, 6), 3, np.int16), Grid.from_spacing((4, 5, 6), (1, 1, 1)), "CT")


def test_the_operation_recipe_works_and_is_checked(ct: Image):
    gain = run_block(blocks("CONTRIBUTING.md")[0])["gain"]
    out = gain(ct, factor=4.0)
    assert (out.data == 12).all()
    assert out.provenance.steps[-1].params == {"factor": 4.0}
    with pytest.raises(ParameterError, match="from 0 to 100"):
        gain(ct, factor=-1.0)
    check_operation(gain)


def test_the_page_on_acquisition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("docs/explanation/acquisition.md")
    image = run_block(code)["image"]
    assert image.unit == "[hnsf'U]"
    assert image.provenance.steps[-1].operation == "acquire.ct.fbp"


def test_the_reader_recipe_reads_a_file(tmp_path: Path):
    reader = run_block(blocks("CONTRIBUTING.md")[1])["Plain16"]()
    path = tmp_path / "x.pln"
    values = np.arange(24, dtype="<u2")
    path.write_bytes(b"PLN1" + np.array([2, 3, 4], "<u2").tobytes() + values.tobytes())
    assert reader.matches(path.read_bytes()[:16], path)
    assert not reader.matches(b"DICM", path)
    (image,) = reader.read(path)
    assert image.shape == (2, 3, 4)
    assert np.array_equal(image.data.ravel(), values)
    check_reader(reader, [path])


def test_the_model_recipe_answers_and_refuses(ct: Image):
    model = run_block(blocks("CONTRIBUTING.md")[2])["BrightOrDark"]()
    (finding,) = model(ct)
    assert isinstance(finding, Label)
    assert finding.concept.meaning == "Bright"
    with pytest.raises(Refused, match="reads CT"):
        model(Image(ct.data, ct.grid, "MR"))
    check_model(model, ct)


def test_every_command_is_in_the_readme():
    from somascope.cli.app import app

    readme = (ROOT / "README.md").read_text()
    for command in app.registered_commands:
        assert f"somascope {command.name}" in readme, command.name


def test_every_operation_is_in_the_reference():
    from somascope.core.registry import operation_names

    page = (ROOT / "docs" / "operations.md").read_text()
    for name in operation_names():
        assert f"`{name}`" in page, name


def test_the_reference_page_is_up_to_date():
    space: dict[str, Any] = {"__name__": "reference", "__file__": str(ROOT / "docs" / "x.py")}
    exec((ROOT / "docs" / "build_reference.py").read_text(), space)
    assert (ROOT / "docs" / "operations.md").read_text() == space["page"]()


@pytest.mark.parametrize(
    "page",
    ["README.md", *sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "docs").rglob("*.md"))],
)
def test_python_in_the_docs_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {"__name__": "recipe"}
    for code in blocks(page):  # a page is read from its top: later blocks use earlier names
        run_block(code, space)


@pytest.mark.parametrize(
    "page",
    [
        *("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"),
        *sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "docs").rglob("*.md")),
    ],
)
def test_links_and_pictures_exist(page: str):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"
