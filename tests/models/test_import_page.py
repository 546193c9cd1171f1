"""The page on models of others: its commands are run as they stand."""

import re
import shlex
from pathlib import Path

from typer.testing import CliRunner

from somascope.cli.app import app
from somascope.io import read
from somascope.models import load
from tests.learn import worlds
from tests.models import foreign, graphs

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "models-import.md"


def bright():
    """What is brighter than 175, of any size."""
    w = graphs.weight("w", [[[[[0.0]]]], [[[[0.2]]]]])
    node = graphs.onnx.helper.make_node("Conv", ["x", "w", "b"], ["y"])
    edges = [1, 1, "a", "b", "c"]
    return graphs.model([node], inputs={"x": edges}, outputs={"y": [1, 2, "a", "b", "c"]},
                        weights=[w, graphs.weight("b", [0, -35.0])])  # fmt: skip


def test_every_command_of_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOMASCOPE_MODELS", str(tmp_path / "own"))
    worlds.decathlon(tmp_path / "cases", count=4)
    scan = next((tmp_path / "cases" / "imagesTr").glob("*.nii.gz"))
    (tmp_path / "scan.nii.gz").write_bytes(scan.read_bytes())
    (tmp_path / "bright.onnx").write_bytes(bright().SerializeToString())
    settings = dict(foreign.INFERENCE)
    settings["preprocessing"] = {"_target_": "Compose", "transforms": [
        {"_target_": "Orientationd", "axcodes": "RAS"},
        {"_target_": "ScaleIntensityRanged", "a_min": 0, "a_max": 500, "b_min": 0, "b_max": 500},
    ]}  # fmt: skip
    foreign.bundle(tmp_path / "bundle", bright(), inference=settings)
    foreign.nnunet(tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres", foreign.sided())
    commands = [
        line for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
        for line in block.splitlines()
    ]  # fmt: skip
    assert len(commands) >= 10
    for command in commands:
        name, *call = shlex.split(command)
        assert name == "somascope"
        run = CliRunner().invoke(app, call)
        assert run.exit_code == 0, (command, run.output, run.exception)
    assert load("segment.bright").card.licence == "CC0-1.0"
    truth = read(scan).data > 175
    for folder in ("one", "together", "within"):
        assert ((read(tmp_path / folder / "scan.nii.gz").data > 0) == truth).mean() > 0.98
    assert (tmp_path / "together" / "scan_quarrel.nii.gz").is_file()
    assert load(tmp_path / "light.zip").card.limits[-1].startswith("weights stored as int8")
