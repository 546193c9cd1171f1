"""Readers of CT raw data: files written here with another library, read, reconstructed."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import tifffile

from somascope.acquire.ct.cone import ConeScan, HelicalScan
from somascope.acquire.ct.fbp import fbp
from somascope.acquire.ct.normalise import normalise
from somascope.acquire.ct.simulate import simulate
from somascope.core.errors import CorruptFile, ReadError, UnsupportedFormat
from somascope.io import read_all
from somascope.io.raw import ct_pd, nexus, tiff_scan
from somascope.phantoms import shepp_logan


@pytest.fixture(scope="module")
def scanned():
    """A phantom's counts ``(views, 1, bins)``, flat, dark, angles and pixel size."""
    image = shepp_logan((48, 48))
    made = simulate(image, views=60)
    rng = np.random.default_rng(0)
    bins = made.samples.shape[1]
    flat = rng.uniform(30000, 50000, bins)
    dark = rng.uniform(90, 110, bins)
    raw = flat * np.exp(-made.samples) + dark
    fields = (np.round(raw), np.round(flat + dark), np.round(dark))
    counts, white, black = (f.astype(np.uint16) for f in fields)
    return (
        image, made, counts[:, None], np.stack([white, white])[:, None],
        np.stack([black, black, black])[:, None], np.rad2deg(made.operator.angles),
        made.operator.spacing,
    )  # fmt: skip


def same(acquisition, made):
    assert acquisition.operator.kind == "ct.parallel"
    assert acquisition.modality == "CT"
    np.testing.assert_allclose(acquisition.operator.angles, made.operator.angles, atol=1e-9)
    assert acquisition.operator.spacing == pytest.approx(made.operator.spacing, rel=1e-5)
    lines = normalise(acquisition)
    np.testing.assert_allclose(lines.samples, made.samples, atol=5e-3)
    water = {"mu_water": float(made.calibration["mu_water"])}
    ours = fbp(lines, size=48, field_of_view=220.0, **water).data
    truth = fbp(made).data
    assert np.sqrt(np.mean((ours - truth) ** 2)) < 15


def exchange(path, scanned, **change):
    _, _, raw, white, black, degrees, pixel = scanned
    parts = {"data": raw, "data_white": white, "data_dark": black, "theta": degrees, **change}
    with h5py.File(path, "w") as file:
        for name, values in parts.items():
            if values is not None:
                file[f"exchange/{name}"] = values
        if parts["theta"] is not None:
            file["exchange/theta"].attrs["units"] = "deg"
        file["measurement/instrument/detector/pixel_size_x"] = pixel * 1000
        file["measurement/instrument/detector/pixel_size_x"].attrs["units"] = "um"
    return path


def test_data_exchange(tmp_path, scanned):
    path = exchange(tmp_path / "scan.h5", scanned)
    assert nexus.READER.matches(path.read_bytes()[:4096], path)
    (made,) = nexus.READER.read(path)
    same(made, scanned[1])
    assert made.provenance.sources[0].name == "scan.h5"


def nxtomo(path, scanned, keys=None):
    _, _, raw, white, black, degrees, pixel = scanned
    frames = np.concatenate([black, white, raw])
    keys = np.repeat([2, 1, 0], [3, 2, 60]) if keys is None else keys
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry1/tomo_entry")
        detector = entry.create_group("instrument/detector")
        detector["data"], detector["image_key"] = frames, keys
        detector["x_pixel_size"] = pixel / 1000
        detector["x_pixel_size"].attrs["units"] = "m"
        turn = np.concatenate([np.zeros(5), np.deg2rad(degrees)])
        entry["sample/rotation_angle"] = turn
        entry["sample/rotation_angle"].attrs["units"] = "rad"
    return path


def test_nexus(tmp_path, scanned):
    path = nxtomo(tmp_path / "scan.nxs", scanned)
    assert nexus.READER.matches(path.read_bytes()[:4096], path)
    same(nexus.read(path), scanned[1])


def test_hdf5_refusals(tmp_path, scanned):
    _, _, raw, white, _, degrees, _ = scanned
    with pytest.raises(CorruptFile, match="60 projections but 59 angles"):
        nexus.read(exchange(tmp_path / "a.h5", scanned, theta=degrees[1:]))
    with pytest.raises(CorruptFile, match="no rotation angles"):
        nexus.read(exchange(tmp_path / "b.h5", scanned, theta=None))
    with pytest.raises(CorruptFile, match="flat fields have shape"):
        nexus.read(exchange(tmp_path / "c.h5", scanned, data_white=white[..., 1:]))
    with pytest.raises(CorruptFile, match="one each"):
        nexus.read(nxtomo(tmp_path / "d.h5", scanned, keys=np.zeros(4, int)))
    with pytest.raises(CorruptFile, match="no frame is marked"):
        nexus.read(nxtomo(tmp_path / "e.h5", scanned, keys=np.ones(65, int)))
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["other"] = raw
    assert not nexus.READER.matches(b"\x89HDF\r\n\x1a\n", tmp_path / "f.h5")
    with pytest.raises(UnsupportedFormat, match="NXtomo"):
        nexus.read(tmp_path / "f.h5")
    whole = exchange(tmp_path / "g.h5", scanned).read_bytes()
    (tmp_path / "h.h5").write_bytes(whole[: len(whole) // 3])
    with pytest.raises(ReadError):
        nexus.read(tmp_path / "h.h5")
    # Without a flat field the values are line integrals.
    plain = exchange(tmp_path / "i.h5", scanned, data_white=None, data_dark=None)
    assert nexus.read(plain).unit == "1"


def pictures(folder, scanned, **change):
    _, _, raw, white, black, degrees, pixel = scanned
    for k, plane in enumerate(raw):
        tifffile.imwrite(
            folder / f"proj_{k}.tif", np.repeat(plane, 2, axis=0), photometric="minisblack"
        )
    tifffile.imwrite(folder / "flat.tif", np.repeat(white, 2, axis=1), photometric="minisblack")
    tifffile.imwrite(folder / "dark.tif", np.repeat(black, 2, axis=1), photometric="minisblack")
    text = {
        "somascope": "ct.parallel", "projections": "proj_*.tif", "flats": "flat.tif",
        "darks": "dark.tif", "first_angle_deg": 0, "step_deg": float(degrees[1]),
        "pixel_mm": pixel, **change,
    }  # fmt: skip
    (folder / "scan.json").write_text(json.dumps(text))
    return folder / "scan.json"


def flips(whole, path, read, *, count, seed=3):
    """Damaged copies are read, or refused with a reason; nothing else happens."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        bytes_ = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(0, min(len(bytes_), 3000)))
            bytes_[at : at + 4] = bytes([int(rng.choice([0, 1, 127, 128, 255]))] * 4)
        path.write_bytes(bytes_)
        try:
            read(path)
        except ReadError as error:
            assert str(error)  # noqa: PT017


def test_damaged_files_are_refused(tmp_path, scanned):
    flips(
        exchange(tmp_path / "a.h5", scanned).read_bytes(), tmp_path / "b.h5", nexus.read, count=40
    )
    flips(nxtomo(tmp_path / "c.h5", scanned).read_bytes(), tmp_path / "d.h5", nexus.read, count=40)
    scan = ConeScan(grid=shepp_logan((2, 8, 8)).grid, angles=[0.0], rows=3, columns=8,
                    spacing=(6.0, 40.0), source=500.0, detector=900.0)  # fmt: skip
    view = projection(tmp_path, 0, np.ones((3, 8), np.float32), phi=0.0, z=0.0, scan=scan)
    flips(view.read_bytes(), tmp_path / "e.dcm", lambda p: ct_pd.read([p], size=16), count=60)
    text = pictures(tmp_path, scanned).read_bytes()
    flips(text, tmp_path / "scan2.json", tiff_scan.read, count=10)


def test_tiff_folder(tmp_path, scanned):
    path = pictures(tmp_path, scanned)
    assert tiff_scan.READER.matches(path.read_bytes(), path)
    (made,) = tiff_scan.READER.read(path)
    assert made.samples.shape == (60, 2, scanned[2].shape[2])
    assert made.calibration["flat"].shape == (2, 2, scanned[2].shape[2])
    lines = normalise(made)
    for row in range(2):  # files in the order of their numbers, not of their names
        np.testing.assert_allclose(lines.samples[:, row], scanned[1].samples, atol=5e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"projections": "none_*.tif"}, "no picture is named"),
        ({"projections": "../*.tif"}, "same folder"),
        ({"projections": "/etc/*"}, "same folder"),
        ({"projections": None}, "names no projections"),
        ({"pixel_mm": 0}, "positive length"),
        ({"pixel_mm": "1"}, "give a number"),
        ({"step_deg": None}, "give a number"),
        ({"angles_deg": [0, 1, 2]}, "60 projections but 3 angles"),
        ({"angles_deg": ["a"]}, "no list of numbers"),
        ({"flats": "proj_1*.tif", "projections": "dark.tif", "step_deg": 1}, None),
    ],
)
def test_tiff_refusals(tmp_path, scanned, change, message):
    path = pictures(tmp_path, scanned, **change)
    if message is None:
        assert tiff_scan.read(path).samples.shape[0] == 3
        return
    with pytest.raises(CorruptFile, match=message):
        tiff_scan.read(path)


def test_mixed_detector_sizes(tmp_path, scanned):
    path = pictures(tmp_path, scanned)
    tifffile.imwrite(tmp_path / "proj_7.tif", np.zeros((2, 9), np.uint16), photometric="minisblack")
    with pytest.raises(CorruptFile, match="unlike sizes"):
        tiff_scan.read(path)
    (tmp_path / "proj_7.tif").write_bytes(b"II*\0nothing")
    with pytest.raises(CorruptFile, match=r"proj_7\.tif"):
        tiff_scan.read(path)


# DICOM-CT-PD


def projection(folder, k, values, *, phi, z, scan, order="C", change=None):
    """One view as a scanner writes it: private elements, unsigned pixels with a slope."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["pd", str(k)])
    d = Dataset()
    d.file_meta = meta
    d.SOPClassUID, d.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    d.StudyInstanceUID = generate_uid(entropy_srcs=["pd", "study"])
    d.SeriesInstanceUID = generate_uid(entropy_srcs=["pd", "series"])
    d.PatientName, d.PatientID, d.Modality, d.KVP = "Raw^Data", "PD1", "CT", 100
    d.InstanceNumber = k + 1
    rows, columns = values.shape
    stored = np.round(values / 1e-4).astype(np.uint16)
    stored = stored.T if order == "F" else stored
    d.Rows, d.Columns = stored.shape
    d.BitsAllocated = d.BitsStored = 16
    d.HighBit, d.PixelRepresentation, d.SamplesPerPixel = 15, 0, 1
    d.PhotometricInterpretation = "MONOCHROME2"
    d.RescaleSlope, d.RescaleIntercept = 1e-4, 0
    d.PixelData = stored.tobytes()
    facts = {
        0x70291002: ("FL", scan.spacing[1]), 0x70291006: ("FL", scan.spacing[0]),
        0x7029100B: ("CS", "CYLINDRICAL"), 0x70291010: ("US", rows), 0x70291011: ("US", columns),
        0x70311001: ("FL", phi), 0x70311002: ("FL", z), 0x70311003: ("FL", scan.source),
        0x70311031: ("FL", scan.detector),
        0x70311033: ("FL", [(columns - 1) / 2 + 1, (rows - 1) / 2 + 1]),
        0x70411001: ("SH", "0.02"),
    }  # fmt: skip
    for tag, (vr, value) in {**facts, **(change or {})}.items():
        if value is not None:
            d.add_new(tag, vr, value)
    path = folder / f"{997 * k % 1000:03d}.dcm"  # names do not follow the order
    d.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("pitch", [0.0, 6.0])
def test_ct_pd(tmp_path, pitch, order):
    image = shepp_logan((4, 24, 24))
    angles = np.arange(20) * 0.7
    made = {
        "grid": image.grid, "angles": angles, "rows": 3, "columns": 40, "spacing": (6.0, 12.0),
        "source": 500.0, "detector": 900.0, "curved": True,
    }  # fmt: skip
    scan = HelicalScan(**made, pitch=pitch, start=-5.0) if pitch else ConeScan(**made)
    values = scan.forward(image.data * np.float32(0.02))
    heights = -5 + pitch * angles / (2 * np.pi) if pitch else np.full(20, 7.0)
    for k in range(20):
        phi = -np.mod(angles[k] + np.pi, 2 * np.pi) + np.pi
        projection(tmp_path, k, values[k], phi=phi, z=heights[k], scan=scan, order=order)
    report = read_all(tmp_path)
    assert not report.images
    assert not report.problems
    (found,) = report.acquisitions
    assert found.operator.kind == ("ct.helical" if pitch else "ct.cone")
    assert found.attributes["PatientName"] == "Raw^Data"
    assert found.attributes["KVP"] == 100
    assert float(found.calibration["mu_water"]) == pytest.approx(0.02)
    np.testing.assert_allclose(found.samples, values, atol=1e-4)
    back = found.operator
    gap = np.mod(back.angles - angles + np.pi, 2 * np.pi) - np.pi
    np.testing.assert_allclose(gap, 0, atol=1e-5)
    assert back.offset == pytest.approx(0, abs=1e-4)
    if pitch:
        np.testing.assert_allclose(back.heights(), heights, atol=1e-3)
        # The rays are those that were scanned.
        ours, truth = back.views(), scan.views()
        np.testing.assert_allclose(ours.source, truth.source, atol=1e-2)
        np.testing.assert_allclose(ours.centre, truth.centre, atol=1e-2)
    assert back.grid.shape[1:] == (512, 512)


def test_ct_pd_refusals(tmp_path):
    grid = shepp_logan((2, 8, 8)).grid
    scan = ConeScan(grid=grid, angles=[0.0, 1.0], rows=3, columns=8, spacing=(6.0, 40.0),
                    source=500.0, detector=900.0)  # fmt: skip
    values = np.ones((3, 8), np.float32)

    def files(name, change=None):
        folder = tmp_path / name
        folder.mkdir()
        return [projection(folder, 0, values, phi=0.0, z=0.0, scan=scan, change=change)]

    wide = projection(tmp_path, 5, np.ones((3, 9), np.float32), phi=0.0, z=0.0, scan=scan)
    with pytest.raises(CorruptFile, match="unlike detectors"):
        ct_pd.read([*files("a"), wide])
    with pytest.raises(CorruptFile, match="7031,1031"):
        ct_pd.read(files("b", {0x70311031: ("FL", None)}))
    with pytest.raises(UnsupportedFormat, match="flies"):
        ct_pd.read(files("c", {0x7033100B: ("FL", 0.05)}))
    with pytest.raises(UnsupportedFormat, match="spherical"):
        ct_pd.read(files("d", {0x7029100B: ("CS", "SPHERICAL")}))
    with pytest.raises(CorruptFile, match="no projection"):
        ct_pd.read([])
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(files("e")[0].read_bytes()[:500])
    with pytest.raises(ReadError):
        ct_pd.read([broken])
