"""From the archive through a job and back: the doors other than Python."""

from pathlib import Path

import numpy as np
import pytest

from somascope.acquire.xray.present import present
from somascope.acquire.xray.simulate import simulate
from somascope.core.registry import get_operation, operation_names
from somascope.io import read_all, write
from somascope.jobs.run import run_files
from tests.acquire.xray.conftest import SMALL

PUBLISHED = {
    "collimation", "correct", "dual_energy", "exposure_index", "gridlines", "gsdf", "musica",
    "present", "radiograph", "scatter", "simulate", "tomosynthesis",
}  # fmt: skip


def test_all_are_published_with_a_form():
    names = {n.removeprefix("acquire.xray.") for n in operation_names() if "xray" in n}
    assert names == PUBLISHED
    for name in PUBLISHED:
        schema = get_operation(f"acquire.xray.{name}").schema()
        assert schema["summary"]
        for parameter in schema["params"]["properties"].values():
            assert parameter["description"]


@pytest.fixture(scope="module")
def radiograph_file(raw, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dx") / "chest"
    write(present(raw), folder)
    return folder


def test_dx_in_dx_out(radiograph_file, tmp_path):
    """A DX from files through the contrast and back to files: patient and place stay."""
    (out,) = run_files(
        "acquire.xray.present", [radiograph_file], tmp_path / "again", {"enhancement": 0.3}
    )
    (before,) = read_all([radiograph_file]).images
    (after,) = read_all([out]).images
    assert after.modality == "DX"
    assert after.grid.allclose(before.grid)
    for word in ("PatientID", "StudyInstanceUID", "ViewPosition", "KVP"):
        assert after.attributes[word] == before.attributes[word]
    assert not np.array_equal(after.data, before.data)


def test_collimation_becomes_a_segmentation(chest, tmp_path):
    image = present(simulate(chest, blades=(40.0, 40.0, 40.0, 40.0), **SMALL), shutter=False,
                    enhancement=0.0)  # fmt: skip
    write(image, tmp_path / "dx")
    (out,) = run_files("acquire.xray.collimation", [tmp_path / "dx"], tmp_path / "field")
    (mask,) = read_all([out]).masks
    inside = mask.data > 0
    assert inside.mean() == pytest.approx(((422.4 - 80) / 422.4) ** 2, rel=0.05)
    assert mask.segments[0].label == "Exposed field"


def test_raw_counts_survive_their_file(raw, tmp_path):
    acquisition = pytest.importorskip("somascope.io.acquisition")
    path = tmp_path / "raw.h5"
    acquisition.write(raw, path)
    back = acquisition.read(path)
    back = back[0] if isinstance(back, list) else back
    np.testing.assert_array_equal(back.samples, raw.samples)
    np.testing.assert_array_equal(present(back).data, present(raw).data)
