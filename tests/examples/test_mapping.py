"""The pictures of the tutorial on mapping are made anew, its code runs, its figures hold."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from somascope.core.registry import operation_names
from somascope.io import read

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs/tutorials/mapping.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mapping", ROOT / "examples/mapping.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_draws_its_pictures_and_says_what_is_true(example: ModuleType, tmp_path: Path):
    found = example.main(tmp_path, size=48)
    made = {p.name for p in tmp_path.glob("*.png")}
    assert made == {p.name for p in (ROOT / "docs/images").glob("mapping-*.png")}
    assert made == set(re.findall(r"images/(mapping-[a-z]+\.png)", PAGE))
    assert found["order"]["ember"]
    assert not found["order"]["rainbow"]
    before, after = found["white"]
    assert after < 0.05 * before
    before, after = found["sites"]
    assert after < 0.05 * before
    assert found["bone"] < 0.6
    assert np.median(found["Ktrans"].data[found["Ktrans"].data > 0]) == pytest.approx(
        0.07, abs=0.03
    )
    assert read(tmp_path / "mapping-pet-map.dcm").unit == "Bq/ml"


@pytest.mark.parametrize("number", range(PAGE.count("```python")))
def test_the_code_of_the_page_runs(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    code = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)[number]
    exec(compile(code, "mapping.md", "exec"), {"__name__": "page"})


def test_every_operation_that_the_page_names_is_there():
    named = set(re.findall(r"`((?:process|acquire)\.[a-z_.]+)`", PAGE))
    assert named <= set(operation_names())
