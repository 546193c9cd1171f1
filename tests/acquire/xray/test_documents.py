"""The tutorial and the example run."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from somascope.io import read

ROOT = Path(__file__).resolve().parents[3]


def test_every_block_of_the_tutorial_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/tutorials/xray.md").read_text()
    space = {"__name__": "tutorial"}
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 9
    for block in blocks:
        exec(compile(block, "xray.md", "exec"), space)
    said = capsys.readouterr().out
    assert "uint16 (1, 192, 192)" in said
    assert "cd/m2" in said
    written = read(tmp_path / "chest-dx")
    assert written.modality == "DX"
    np.testing.assert_array_equal(written.data, space["chest"].data)
    for picture in re.findall(r"\]\(\.\./images/(.*?)\)", page):
        with Picture.open(ROOT / "docs/images" / picture) as image:
            assert image.width > 300


@pytest.mark.slow
def test_the_example_writes_its_pictures(tmp_path):
    spec = importlib.util.spec_from_file_location("example", ROOT / "examples/xray_radiograph.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.main(tmp_path, 128)
    names = {p.name for p in tmp_path.glob("*.png")}
    assert names == {"xray-chest.png", "xray-clean.png", "xray-dual-energy.png",
                     "xray-tomosynthesis.png"}  # fmt: skip
    assert read(tmp_path / "chest").attributes["ViewPosition"] == "PA"
