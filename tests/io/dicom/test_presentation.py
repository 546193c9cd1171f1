"""Presentation states and coloured maps: stored, judged, read back, and what they show."""

import shutil
import subprocess
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_windowing

from somascope.archive import Archive
from somascope.core import Axis, Grid, Image
from somascope.core.errors import CorruptFile, ParameterError, UnsupportedFormat, WriteError
from somascope.io import read, write
from somascope.io.dicom import lut, pm, presentation, validate
from somascope.io.dicom.write import instances
from somascope.jobs.run import execute
from somascope.process.palettes import PALETTES, palette
from somascope.process.present import colour_map, presentation_state, shown
from somascope.testing import check_operation

GRID = Grid.from_spacing((3, 20, 24), (3, 1.5, 1.5), origin=(-10, -20, 5))


def pet() -> Image:
    z, y, x = np.mgrid[:3, :20, :24]
    values = (0.25 * x + 0.1 * y + z).astype(np.float32)
    return Image(values, GRID, "PT", "g/ml", attributes={"PatientName": "Colour^Test"})


def ct() -> Image:
    values = np.arange(3 * 20 * 24).reshape(3, 20, 24).astype(np.int16) - 500
    return Image(values, GRID, "CT", "[hnsf'U]", attributes={"PatientName": "Colour^Test"})


@pytest.fixture
def stored(tmp_path):
    write(ct(), tmp_path / "ct")
    return tmp_path, read(tmp_path / "ct")


def verified(path):
    """What dciodvfy calls an error; but for its taking two numbers (FD) for enumerated text."""
    out = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True)
    return [line for line in (out.stdout + out.stderr).splitlines()
            if line.startswith("Error") and "Stored Value Mappe" not in line]  # fmt: skip


def test_a_state_is_written_judged_and_read_back(stored):
    tmp_path, image = stored
    made = presentation_state(image, colours="hot_iron", lower=-100.0, upper=300.0)
    (part,) = instances(made)
    assert validate.check(part) == []
    assert instances(made) == [part]  # no clock
    state = presentation.read(part)
    assert (state.centre, state.width, state.function) == (100.0, 400.0, "LINEAR_EXACT")
    np.testing.assert_array_equal(state.palette, palette("hot_iron").table())
    assert state.identifier == "1.2.840.10008.1.5.1"
    assert state.description == "Hot iron -100..300 [hnsf'U]"
    assert len(state.images) == 3
    own = [dcmread(p) for p in sorted((tmp_path / "ct").glob("*.dcm"))]
    assert {u for _, u in state.images} == {str(d.SOPInstanceUID) for d in own}
    assert state.series == own[0].SeriesInstanceUID
    found = dcmread(BytesIO(part))
    assert found.StudyInstanceUID == own[0].StudyInstanceUID
    assert found.PatientName == own[0].PatientName
    assert found.Modality == "PR"


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
@pytest.mark.parametrize("name", ["hot_iron", "ember", "pet_20_step"])
def test_dciodvfy_agrees(stored, name):
    tmp_path, image = stored
    write(presentation_state(image, colours=name, lower=-100.0, upper=300.0),
          tmp_path / "state.dcm")  # fmt: skip
    assert verified(tmp_path / "state.dcm") == []
    write(colour_map(pet(), colours=name, lower=0.0, upper=5.0), tmp_path / "map.dcm")
    assert verified(tmp_path / "map.dcm") == []


def test_it_shows_what_pydicoms_steps_show(stored):
    """Modality LUT, window and palette by pydicom, on the stored pixels."""
    tmp_path, image = stored
    (part,) = instances(presentation_state(image, colours="ember", lower=-200.0, upper=500.0))
    ds = dcmread(BytesIO(part))
    ours = shown(image, presentation.read(part)).data
    assert ours.shape == (3, 3, 20, 24)
    files = sorted((dcmread(p) for p in (tmp_path / "ct").glob("*.dcm")),
                   key=lambda d: float(d.ImagePositionPatient[2]))  # fmt: skip
    for z, file in enumerate(files):
        values = apply_modality_lut(file.pixel_array, ds).astype(np.float64)
        voi = ds.SoftcopyVOILUTSequence[0]
        voi.PhotometricInterpretation, voi.BitsStored, voi.PixelRepresentation = (
            "MONOCHROME2", 16, 0,
        )  # fmt: skip
        index = np.rint(apply_windowing(values, voi) / 65535 * 255).astype(np.uint8)
        truth = apply_color_lut(index, ds) >> 8
        # pydicom rounds in float64, we in float32: a value on the border may fall either way
        far = np.abs(ours[:, z].astype(int) - np.moveaxis(truth, -1, 0)).max()
        assert far <= 6
        assert (ours[:, z] == np.moveaxis(truth, -1, 0)).mean() > 0.98


def test_a_state_by_a_job_in_the_archive(tmp_path):
    with_archive = Archive.open(tmp_path / "archive")
    try:
        for part in instances(pet()):
            with_archive.store(part)
        study = dcmread(BytesIO(instances(pet())[0])).StudyInstanceUID
        (first,) = {i.series for i in with_archive.locate(study=study)}
        (uid,) = execute(with_archive, "process.presentation_state", [first],
                         {"colours": "pet", "lower": 0.0, "upper": 8.0})  # fmt: skip
        (kept,) = with_archive.locate(series=uid)
        state = presentation.read(kept.path)
        assert state.series == first
        assert {u for _, u in state.images} == {
            i.sop_uid for i in with_archive.locate(series=first)
        }
        (uid,) = execute(with_archive, "process.colour_map", [first], {"upper": 8.0})
        (kept,) = with_archive.locate(series=uid)
        back = pm.read(kept.path)
        assert back.unit == "g/ml"
        np.testing.assert_allclose(back.data, pet().data, atol=1e-3)
    finally:
        with_archive.close()


def test_a_map_keeps_numbers_and_carries_colours(tmp_path):
    made = colour_map(pet(), colours="viridis", lower=1.0, upper=6.0)
    (part,) = instances(made)
    assert validate.check(part) == []
    ds = dcmread(BytesIO(part))
    assert ds.PixelPresentation == "COLOR_RANGE"
    (shared,) = ds.SharedFunctionalGroupsSequence
    (item,) = shared.StoredValueColorRangeSequence
    assert (item.MinimumStoredValueMapped, item.MaximumStoredValueMapped) == (1.0, 6.0)
    np.testing.assert_array_equal(lut.read_table(ds), palette("viridis").table())
    back = pm.read(part)
    np.testing.assert_array_equal(back.data, pet().data)
    assert back.unit == "g/ml"


@pytest.mark.parametrize("name", list(PALETTES))
def test_every_palette_survives_the_file(name):
    from pydicom.dataset import Dataset

    for bits in (8, 16):
        ds = Dataset()
        for item in lut.elements(palette(name).table(), bits=bits):
            ds.add(item)
        np.testing.assert_array_equal(lut.read_table(ds), palette(name).table())


def test_operations_keep_their_contract():
    check_operation(presentation_state)
    check_operation(colour_map)


def test_refusals(stored):
    _, image = stored
    with pytest.raises(WriteError, match="not read from any"):
        instances(presentation_state(ct()))
    with pytest.raises(WriteError, match="says no palette"):
        instances(replace(image, modality="PR"))
    uneven = {k: v for k, v in image.attributes.items() if k != "RescaleSlope"}
    with pytest.raises(WriteError, match="scales of their own"):
        instances(presentation_state(replace(image, attributes=uneven)))
    with pytest.raises(ParameterError, match="below"):
        presentation_state(image, lower=5.0, upper=5.0)
    with pytest.raises(UnsupportedFormat, match="no Pseudo-Color"):
        presentation.read(instances(image)[0])
    with pytest.raises(CorruptFile, match="cannot be parsed"):
        presentation.read(b"nonsense")
    rgb = Image(np.zeros((3, 1, 4, 4), np.uint8), Grid.from_spacing((1, 4, 4), (1, 1, 1)),
                axes=(Axis("channel"),))  # fmt: skip
    with pytest.raises(ParameterError, match="colour"):
        presentation_state(rgb)
    assert lut.srgb() == lut.srgb()
    assert lut.srgb()[36:40] == b"acsp"
