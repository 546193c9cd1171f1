"""Raw data goes through the doors like any image: scanned, stored, reconstructed, replayed."""

import numpy as np
import pytest

from somascope import phantoms
from somascope.archive import Archive
from somascope.io import read, read_acquisition, write
from somascope.io.dicom.write import instances
from somascope.jobs.replay import replay
from somascope.jobs.run import execute, run_files
from tests import scans


@pytest.fixture(autouse=True)
def published(monkeypatch):
    scans.publish(monkeypatch)


def test_scan_archive_reconstruct_replay(tmp_path):
    image = phantoms.thorax_ct(phantoms.thorax_grid((8, 32, 32)))
    with Archive.open(tmp_path / "archive") as archive:
        series = {archive.store(f).series for f in instances(image)}.pop()
        (raw,) = execute(archive, "acquire.test.scan", [series])
        (made,) = execute(archive, "acquire.test.spread", [raw])
        studies = {i.study for s in (series, raw, made) for i in archive.locate(series=s)}
        assert len(studies) == 1
        report = replay(archive, raw)
        assert report.identical
        assert report.same_bytes
        assert replay(archive, made).identical


def test_files(tmp_path):
    acquisition = scans.acquisition()
    write(acquisition, tmp_path / "scan.h5")
    run_files("acquire.test.spread", [tmp_path / "scan.h5"], tmp_path / "out.nii")
    image = read(tmp_path / "out.nii")
    expected = acquisition.operator.adjoint(acquisition.samples)
    assert np.allclose(image.data, expected, atol=1e-6)
    run_files("acquire.test.scan", [tmp_path / "out.nii"], tmp_path / "again.h5")
    assert read_acquisition(tmp_path / "again.h5").samples.shape == (2, 4)
