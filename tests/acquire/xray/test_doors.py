"""From the archive through a job and back: the doors other than Python."""

from pathlib import Path

import numpy as np
import pytest

from somascope.acquire.xray.present import present
from somascope.acquire.xray.simulate import simulate
from somascope.archive import Archive
from somascope.core.registry import get_operation, operation_names
from somascope.io import read_all, write
from somascope.jobs.run import execute, run_files
from somascope.phantoms import thorax_ct, thorax_grid
from tests.acquire.xray.conftest import SMALL

PUBLISHED = {
    "collimation", "correct", "dual_energy", "exposure_index", "gridlines", "musica",
    "present", "radiograph", "scatter", "simulate", "tomosynthesis", "mtf", "nps", "dqe",
}  # fmt: skip


def test_all_are_published_with_a_form():
    names = {n.removeprefix("acquire.xray.") for n in operation_names() if "xray" in n}
    assert names == PUBLISHED
    for name in PUBLISHED:
        schema = get_operation(f"acquire.xray.{name}").schema()
        assert schema["summary"]
        for parameter in schema["params"]["properties"].values():
            assert parameter["description"]


def tiny():
    return thorax_ct(thorax_grid((24, 48, 48), (12.0, 8.0, 8.0)), noise_hu=0)


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


def test_ct_to_raw_counts_to_dx_through_files(tmp_path):
    write(tiny(), tmp_path / "ct")
    few = {"rows": 48, "columns": 48, "pitch": 8.8, "seed": 3}
    (raw,) = run_files("acquire.xray.simulate", [tmp_path / "ct"], tmp_path / "raw.h5", few)
    (out,) = run_files("acquire.xray.present", [raw], tmp_path / "dx")
    (image,) = read_all([out]).images
    np.testing.assert_array_equal(image.data, present(simulate(tiny(), **few)).data)
    assert image.attributes["ViewPosition"] == "PA"


def test_ct_to_raw_counts_to_dx_in_the_archive(tmp_path):
    """As jobs do it: raw counts are kept as DICOM Raw Data in the CT's study, the DX beside it."""
    write(tiny(), tmp_path / "ct")
    with Archive.open(tmp_path / "archive") as archive:
        archive.import_paths([tmp_path / "ct"])
        study = tiny().attributes["StudyInstanceUID"]
        ct = archive.locate(study=study)[0].series
        few = {"rows": 48, "columns": 48, "pitch": 8.8, "seed": 3}
        (raw,) = execute(archive, "acquire.xray.simulate", [ct], few)
        (dx,) = execute(archive, "acquire.xray.present", [raw], {"enhancement": 0.5})
        (sheet,) = archive.locate(series=dx)
        assert sheet.sop_class == "1.2.840.10008.5.1.4.1.1.1.1"
        assert {i.series for i in archive.locate(study=study)} == {ct, raw, dx}
        (image,) = read_all([Path(sheet.path)]).images
        expected = present(simulate(tiny(), **few), enhancement=0.5)
        np.testing.assert_array_equal(image.data, expected.data)
        assert image.attributes["PatientID"] == tiny().attributes["PatientID"]


def test_raw_counts_survive_their_file(raw, tmp_path):
    acquisition = pytest.importorskip("somascope.io.acquisition")
    path = tmp_path / "raw.h5"
    acquisition.write(raw, path)
    back = acquisition.read(path)
    back = back[0] if isinstance(back, list) else back
    np.testing.assert_array_equal(back.samples, raw.samples)
    np.testing.assert_array_equal(present(back).data, present(raw).data)
