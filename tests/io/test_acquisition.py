import h5py
import numpy as np
import pytest

from somascope.core import Acquisition
from somascope.core.errors import (
    CorruptFile,
    GeometryError,
    NotFound,
    ReadError,
    UnsupportedFormat,
    WriteError,
)
from somascope.io import acquisition as hdf5
from somascope.io import read, read_acquisition, read_all, write
from somascope.io.dicom import raw, validate
from tests import scans


@pytest.fixture(autouse=True)
def published(monkeypatch):
    scans.publish(monkeypatch)


def same(a, b):
    assert np.array_equal(a.samples, b.samples)
    assert a.samples.dtype == b.samples.dtype
    assert (a.modality, a.unit) == (b.modality, b.unit)
    assert a.calibration.keys() == b.calibration.keys()
    for name in a.calibration:
        assert a.calibration[name].shape == b.calibration[name].shape
        assert a.calibration[name].dtype == b.calibration[name].dtype
        assert np.array_equal(a.calibration[name], b.calibration[name])
    assert a.operator.kind == b.operator.kind
    assert np.array_equal(a.operator.grid.affine, b.operator.grid.affine)
    assert np.array_equal(a.operator.weights, b.operator.weights)
    assert a.operator.label == b.operator.label


@pytest.mark.parametrize("name", ["scan.h5", "scan.dcm", "folder"])
def test_round_trip(tmp_path, name):
    made = scans.acquisition()
    write(made, tmp_path / name)
    back = read_acquisition(tmp_path / name)
    same(made, back)
    assert back.attributes["PatientName"] == "Raw^Data"
    assert back.attributes["KVP"] == 120.0
    assert not read_all(tmp_path / name).problems


def test_samples_have_the_shape_of_the_operator():
    made = scans.acquisition()
    with pytest.raises(GeometryError, match=r"\(3, 4\).*\(2, 4\)"):
        made.with_samples(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="read-only"):
        made.samples[0] = 1


def test_equal_acquisitions_give_equal_bytes():
    assert hdf5.dump(scans.acquisition(3)) == hdf5.dump(scans.acquisition(3))
    assert raw.instances(scans.acquisition(3)) == raw.instances(scans.acquisition(3))
    assert raw.instances(scans.acquisition(3)) != raw.instances(scans.acquisition(4))


def test_dicom_is_valid_and_says_what_it_is():
    (file,) = raw.instances(scans.acquisition())
    assert not validate.check(file)
    back = raw.read(file)
    assert back.provenance.sources[0].kind == "dicom"
    assert back.attributes["SeriesDescription"] == "[raw test.column_sums 2 x 4]"


def test_an_image_is_not_asked_for_where_there_is_raw_data(tmp_path):
    write(scans.acquisition(), tmp_path / "scan.h5")
    with pytest.raises(ReadError, match="raw acquisition"):
        read(tmp_path / "scan.h5")
    with pytest.raises(WriteError, match=r"\.nii cannot hold Acquisition"):
        write(scans.acquisition(), tmp_path / "scan.nii")


def test_an_operator_that_cannot_be_written():
    class Plain:
        domain = range = (1,)

        def forward(self, x):
            return x

        adjoint = forward

    with pytest.raises(WriteError, match="Plain"):
        hdf5.dump(Acquisition(np.zeros(1), Plain(), "CT"))


def test_a_kind_that_is_not_installed(tmp_path, monkeypatch):
    write(scans.acquisition(), tmp_path / "scan.h5")
    monkeypatch.undo()
    report = read_all(tmp_path / "scan.h5")
    assert "test.column_sums" in report.problems[0][1]
    with pytest.raises(NotFound, match="column_sums"):
        hdf5.read(tmp_path / "scan.h5")


def test_damage_is_named(tmp_path):
    path = tmp_path / "scan.h5"
    good = hdf5.dump(scans.acquisition())
    for length in range(9, len(good), 997):
        with pytest.raises(ReadError):
            hdf5.read(good[:length])
    path.write_bytes(good)
    with h5py.File(path, "r+") as file:
        file.attrs["somascope_acquisition"] = 2
    with pytest.raises(UnsupportedFormat, match="version 2"):
        hdf5.read(path)
    path.write_bytes(good)
    with h5py.File(path, "r+") as file:
        del file["samples"]
        file["samples"] = h5py.ExternalLink("/etc/passwd", "/x")
    with pytest.raises(CorruptFile, match="another place"):
        hdf5.read(path)
    with h5py.File(path, "r+") as file:
        del file["samples"]
        file.create_dataset("samples", (10**6, 10**6), "f4", chunks=(1000, 1000))
    with pytest.raises(CorruptFile, match="claims"):
        hdf5.read(path)
    with h5py.File(path, "r+") as file:
        del file["samples"]
        outside = [(str(tmp_path / "other"), 0, 8 * 4)]
        file.create_dataset("samples", (2, 4), "f4", external=outside)
    with pytest.raises(CorruptFile, match="another file"):
        hdf5.read(path)


def test_raw_data_of_another_vendor(tmp_path):
    (file,) = raw.instances(scans.acquisition())
    foreign = file.replace(b"LO\x0a\x00SOMASCOPE ", b"LO\x0a\x00OTHERMAKER", 1)
    (tmp_path / "x.dcm").write_bytes(foreign)
    report = read_all(tmp_path / "x.dcm")
    assert not report.acquisitions
    assert "private" in report.problems[0][1]


def test_convert_and_import(tmp_path):
    from somascope.archive import Archive
    from somascope.cli.convert_in import store_other_formats
    from somascope.io.convert import convert

    write(scans.acquisition(), tmp_path / "scan.h5")
    convert(tmp_path / "scan.h5", tmp_path / "scan.dcm")
    same(scans.acquisition(), read_acquisition(tmp_path / "scan.dcm"))
    report = convert(tmp_path / "scan.dcm", tmp_path / "out")
    same(scans.acquisition(), read_acquisition(report.written[0]))
    assert report.written[0].suffix == ".h5"
    with Archive.open(tmp_path / "archive") as archive:
        listed = archive.import_paths([tmp_path / "scan.h5"])
        assert store_other_formats(archive, listed).stored == 1
        assert archive.stats().instances == 1
