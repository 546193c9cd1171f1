"""SPECT projections as DICOM: the same scan comes back, left stays left, bad ones are refused."""

import shutil
import subprocess
from io import BytesIO

import numpy as np
import pydicom
import pytest

from somascope.acquire.spect.camera import COLLIMATORS
from somascope.acquire.spect.orbit import circular
from somascope.acquire.spect.osem import osem
from somascope.acquire.spect.parallel import ParallelScan
from somascope.acquire.spect.projections import projections
from somascope.acquire.spect.simulate import simulate
from somascope.archive import Archive
from somascope.core import Acquisition, Grid, Image
from somascope.core.errors import CorruptFile, ParameterError, UnsupportedFormat
from somascope.io import read, read_all
from somascope.io.dicom.validate import demand
from somascope.io.raw import nm
from somascope.io.read import read_acquisition
from somascope.jobs.run import encode, execute
from somascope.phantoms.ellipsoid import Ellipsoid, draw
from somascope.testing import check_operation

HOT = (36.0, -24.0, 12.0)
"""Left, in front, towards the head."""


@pytest.fixture(scope="module")
def scan() -> Acquisition:
    grid = Grid.from_spacing(
        (12, 32, 32), (6, 6, 6), origin=(-93 + 5, -93 - 3, -33 + 40), frame_of_reference="1.2.3"
    )
    shapes = [
        Ellipsoid(1e4, (5, -3, 47), (70, 60, 900)),
        Ellipsoid(3e5, (HOT[0] + 5, HOT[1] - 3, HOT[2] + 40), (9, 9, 9)),
    ]
    facts = {
        "PatientName": "Left^Right", "PatientID": "S1", "StudyDate": "20260102",
        "StudyTime": "100000", "AcquisitionDate": "20260102", "AcquisitionTime": "101500",
    }  # fmt: skip
    body = Image(draw(shapes, grid), grid, "NM", "Bq/ml", attributes=facts)
    return simulate(
        body, views=24, windows="triple", orbit="body contour", seconds=60.0, heads=1, seed=2
    )


@pytest.fixture(scope="module")
def part10(scan) -> bytes:
    (file,) = encode(projections(scan))
    return file


def changed(part10: bytes, change) -> bytes:
    found = pydicom.dcmread(BytesIO(part10))
    change(found)
    out = BytesIO()
    found.save_as(out)
    return out.getvalue()


def test_the_same_scan_comes_back(scan, part10):
    (found,) = nm.read(part10)
    assert np.array_equal(found.samples, scan.samples)
    assert (found.modality, found.unit) == ("NM", "{counts}")
    ours, theirs = scan.operator, found.operator
    assert np.allclose(np.exp(1j * theirs.angles), np.exp(1j * ours.angles), atol=1e-6)
    assert np.allclose(theirs.radius, ours.radius, atol=1e-3)
    assert np.allclose(theirs.seconds, ours.seconds, rtol=1e-6)
    assert theirs.grid.allclose(ours.grid, tolerance_mm=1e-2)
    assert theirs.grid.frame_of_reference == "1.2.3"
    assert theirs.camera.collimator == ours.camera.collimator
    for a, b in zip(theirs.camera.windows, ours.camera.windows, strict=True):
        assert (a.name, a.share) == (b.name, b.share)
        assert (a.low, a.high) == pytest.approx((b.low, b.high), abs=1e-2)
    assert found.attributes["PatientName"] == "Left^Right"
    assert found.attributes["AcquisitionTime"] == "101500"
    assert "sensitivity" not in found.calibration


def test_the_hot_spot_is_where_it_was(scan, part10, tmp_path):
    (tmp_path / "tomo.dcm").write_bytes(part10)
    image = osem(read_acquisition(tmp_path / "tomo.dcm"), iterations=3, subsets=6)
    assert image.unit == "{counts}/s/ml"
    top = image.grid.to_world(np.unravel_index(np.argmax(image.data), image.shape))
    assert np.abs(top - np.array(HOT) - np.array([5, -3, 40])).max() < 6.1
    truth = osem(scan, iterations=3, subsets=6)
    scale = truth.data.sum() / image.data.sum()
    assert np.abs(image.data * scale - truth.data).max() < 0.05 * truth.data.max()


def test_it_is_an_image_too_and_passes_the_validators(scan, part10, tmp_path):
    demand(part10, "projections")
    path = tmp_path / "tomo.dcm"
    path.write_bytes(part10)
    image = read(path)
    assert image.axis_names == ("energy", "view", "z", "y", "x")
    assert np.array_equal(image.data[:, :, 0], scan.samples)
    report = read_all(path)
    assert (len(report.images), len(report.acquisitions), report.problems) == (1, 1, [])
    (recon,) = encode(osem(scan, iterations=1))
    demand(recon, "reconstruction")
    (tmp_path / "recon.dcm").write_bytes(recon)
    back = read(tmp_path / "recon.dcm")
    assert back.unit == "Bq/ml"
    assert back.grid.allclose(scan.operator.grid, tolerance_mm=1e-2)
    assert read_all(tmp_path / "recon.dcm").acquisitions == []
    if shutil.which("dciodvfy"):
        for name in ("tomo", "recon"):
            done = subprocess.run(
                ["dciodvfy", str(tmp_path / f"{name}.dcm")], capture_output=True, text=True,
                timeout=60,
            )  # fmt: skip
            assert "Error" not in done.stderr


def test_the_archive_keeps_projections_and_reconstructs_them(part10, tmp_path):
    archive = Archive.open(tmp_path / "archive")
    try:
        stored = archive.store(part10)
        (series,) = execute(
            archive, "acquire.spect.osem", [stored.series], {"iterations": 1, "subsets": 4}
        )
        (instance,) = archive.locate(series=series)
        image = read(instance.path)
        assert image.attributes["PatientName"] == "Left^Right"
        assert image.grid.shape == (12, 32, 32)
    finally:
        archive.close()


def mirrored(found):
    """Seen from behind: columns run the other way, and the detector says so."""
    pixels = found.pixel_array[..., ::-1]
    item = found.DetectorInformationSequence[0]
    row = np.array(item.ImageOrientationPatient[:3], float)
    place = np.array(item.ImagePositionPatient, float)
    place += row * (found.Columns - 1) * float(found.PixelSpacing[1])
    item.ImagePositionPatient = [f"{v:.6g}" for v in place]
    item.ImageOrientationPatient = [*(f"{-v:.6g}" for v in row), "0", "0", "-1"]
    found.PixelData = np.ascontiguousarray(pixels).tobytes()


def turned(found):
    """Feet up."""
    pixels = found.pixel_array[..., ::-1, :]
    item = found.DetectorInformationSequence[0]
    place = np.array(item.ImagePositionPatient, float)
    place[2] -= (found.Rows - 1) * float(found.PixelSpacing[0])
    item.ImagePositionPatient = [f"{v:.6g}" for v in place]
    row = item.ImageOrientationPatient[:3]
    item.ImageOrientationPatient = [*row, "0", "0", "1"]
    found.PixelData = np.ascontiguousarray(pixels).tobytes()


@pytest.mark.parametrize("change", [mirrored, turned])
def test_frames_the_other_way_round_are_turned(scan, part10, change):
    (found,) = nm.read(changed(part10, change))
    assert np.array_equal(found.samples, scan.samples)
    assert found.operator.grid.allclose(scan.operator.grid, tolerance_mm=1e-2)


def test_a_detector_that_does_not_fit_is_not_believed(scan, part10):
    def constant(found):
        item = found.DetectorInformationSequence[0]
        item.ImageOrientationPatient = ["-1", "0", "0", "0", "0", "-1"]
        item.ImagePositionPatient = ["-300", "-300", "73"]

    (found,) = nm.read(changed(part10, constant))
    assert np.array_equal(found.samples, scan.samples)
    assert found.operator.isocentre[:2] == (0, 0)
    assert found.operator.grid.origin[2] == pytest.approx(73 - 11 * 6, abs=1e-3)


def test_clockwise_is_the_other_way(part10):
    def other(found):
        found.RotationInformationSequence[0].RotationDirection = "CW"

    (a,), (b,) = nm.read(part10), nm.read(changed(part10, other))
    assert b.operator.angles[1] - b.operator.angles[0] == pytest.approx(
        a.operator.angles[0] - a.operator.angles[1]
    )


def test_two_heads_each_have_their_start(scan, part10):
    def heads(found):
        found.NumberOfDetectors = 2
        one = found.DetectorInformationSequence[0]
        two = pydicom.dcmread(BytesIO(part10)).DetectorInformationSequence[0]
        two.StartAngle = 0
        found.DetectorInformationSequence = [one, two]
        found.DetectorVector = ([1] * 12 + [2] * 12) * 3
        found.AngularViewVector = list(range(1, 13)) * 6

    (found,) = nm.read(changed(part10, heads))
    assert np.allclose(
        np.exp(1j * found.operator.angles), np.exp(1j * scan.operator.angles), atol=1e-6
    )
    assert np.array_equal(found.samples, scan.samples)
    assert found.operator.begins[12] == 0, "both heads begin at once"


def test_a_gated_scan_is_one_scan_per_slot(scan, part10):
    def gated(found):
        found.ImageType = ["ORIGINAL", "PRIMARY", "GATED TOMO", "EMISSION"]
        found.RRIntervalVector = [1] * 72
        found.TimeSlotVector = [1] * 24 + [2] * 24 + [3] * 24
        found.EnergyWindowVector = [1] * 72

    slots = nm.read(changed(part10, gated))
    assert len(slots) == 3
    for one, window in zip(slots, scan.samples, strict=True):
        assert np.array_equal(one.samples, window)
    assert slots[2].attributes["SeriesDescription"].endswith("slot 3")


def without(word, *, everywhere=True):
    def change(found):
        for item in found.RotationInformationSequence:
            if word in item:
                del item[word]
        for item in found.DetectorInformationSequence:
            if everywhere and word in item:
                del item[word]

    return change


def spoilt(word, value):
    def change(found):
        setattr(found, word, value)

    return change


def pinhole(found):
    found.DetectorInformationSequence[0].CollimatorType = "PINH"


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (without("RadialPosition"), CorruptFile, "radius="),
        (without("StartAngle"), CorruptFile, "Start Angle"),
        (without("AngularStep"), None, ""),
        (spoilt("AngularViewVector", [1, 2, 3]), CorruptFile, "3 values for 72 frames"),
        (spoilt("AngularViewVector", [1] * 72), CorruptFile, "same view"),
        (spoilt("EnergyWindowVector", [1] * 24 + [2] * 40 + [3] * 8), CorruptFile, "frames"),
        (spoilt("ImageType", ["ORIGINAL", "PRIMARY", "STATIC", "EMISSION"]), UnsupportedFormat,
         "no NM projections"),
        (pinhole, UnsupportedFormat, "PINH"),
        (spoilt("PixelSpacing", None), CorruptFile, "cannot be read"),
    ],
)  # fmt: skip
def test_what_lacks_geometry_is_refused(part10, tmp_path, change, kind, message):
    file = changed(part10, change)
    if kind is None:
        assert len(nm.read(file)) == 1, "the arc and the count of views say the step"
        return
    with pytest.raises(kind, match=message):
        nm.read(file)
    if message == "radius=":
        (found,) = nm.read(file, radius=150.0)
        assert (found.operator.radius == 150).all()
        (tmp_path / "bad.dcm").write_bytes(file)
        report = read_all(tmp_path / "bad.dcm")
        assert len(report.images) == 1, "its pictures are still there"
        assert "radius=" in str(report.problems)


def test_a_truncated_file_is_corrupt(part10):
    for size in (len(part10) // 2, 3000, 200):
        with pytest.raises((CorruptFile, UnsupportedFormat)):
            nm.read(part10[:size])


def test_an_unknown_collimator_is_not_modelled(part10):
    def unknown(found):
        found.DetectorInformationSequence[0].CollimatorGridName = "SUPER 7"

    (found,) = nm.read(changed(part10, unknown))
    assert not found.operator.resolution

    def known(found):
        found.DetectorInformationSequence[0].CollimatorGridName = "LOW ENERGY ME"

    (found,) = nm.read(changed(part10, known))
    assert found.operator.camera.collimator == COLLIMATORS["MEGP"]


def test_uneven_views_stay_raw_data(scan):
    angles = circular(24)
    angles[5] += 0.05
    uneven = ParallelScan(**{**scan.operator.describe(), "angles": angles})
    with pytest.raises(ParameterError, match="one step apart"):
        projections(scan.with_samples(scan.samples, operator=uneven))


def test_projections_keep_the_contract(scan):
    check_operation("acquire.spect.projections", inputs=(scan,))
