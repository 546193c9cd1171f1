"""A CT series from disk to an image: Somascope, SimpleITK's series reader, a pydicom loop."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

Voxels = np.ndarray


def synthesise(folder: Path, *, slices: int, size: int) -> list[Path]:
    """Write a CT series of a noisy cylinder, 12 bits stored in 16, explicit VR little endian."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    rng = np.random.default_rng(7)
    y, x = np.mgrid[:size, :size] / size - 0.5
    body = np.where(x**2 + y**2 < 0.18, 1060, 24).astype(np.int16)
    noise = rng.normal(0, 12, (4, size, size)).astype(np.int16)
    study, series, frame = (generate_uid(entropy_srcs=["load", k]) for k in "abc")
    paths: list[Path] = []
    for k in range(slices):
        uid = generate_uid(entropy_srcs=["load", str(k)])
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = uid
        d = Dataset()
        d.file_meta = meta
        d.SOPClassUID, d.SOPInstanceUID = CTImageStorage, uid
        d.StudyInstanceUID, d.SeriesInstanceUID, d.FrameOfReferenceUID = study, series, frame
        d.ImageType, d.Modality = ["ORIGINAL", "PRIMARY", "AXIAL"], "CT"
        d.PatientName, d.PatientID, d.PatientPosition = "Bench^Mark", "BENCH", "HFS"
        d.StudyDate, d.SeriesDate, d.StudyTime = "20260101", "20260101", "120000"
        d.SeriesNumber, d.InstanceNumber, d.AcquisitionNumber = 1, k + 1, 1
        d.SliceThickness, d.KVP, d.ConvolutionKernel = 1.25, 120, "STANDARD"
        d.ImagePositionPatient = [-125.0, -125.0, -100.0 + 1.25 * k]
        d.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        d.PixelSpacing = [250.0 / size, 250.0 / size]
        d.Rows = d.Columns = size
        d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
        d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 12, 11, 0
        d.RescaleSlope, d.RescaleIntercept, d.RescaleType = 1, -1024, "HU"
        d.WindowCenter, d.WindowWidth = 40, 400
        pixels = np.clip(body + noise[k % 4] + k % 7, 0, 4095).astype("<u2")
        d.PixelData = pixels.tobytes()
        path = folder / f"{(k * 37) % slices:04d}.dcm"  # names do not follow geometry
        d.save_as(path, enforce_file_format=True)
        paths.append(path)
    return sorted(paths)


def _ours(paths: list[Path]) -> Voxels:
    from somascope.io.dicom.series import volumes

    images, problems = volumes(paths)
    assert len(images) == 1, problems
    return images[0].data


def _simpleitk(paths: list[Path]) -> Any:
    import SimpleITK as sitk  # noqa: N813

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(paths[0].parent)))
    return reader.Execute()


def _pydicom(paths: list[Path]) -> Voxels:
    import pydicom

    datasets = [pydicom.dcmread(p) for p in paths]
    datasets.sort(key=lambda d: float(d.ImagePositionPatient[2]))
    volume = np.empty((len(datasets), datasets[0].Rows, datasets[0].Columns), np.int16)
    for k, d in enumerate(datasets):
        volume[k] = d.pixel_array * d.RescaleSlope + d.RescaleIntercept
    return volume


def _array(result: Any) -> Voxels:
    if isinstance(result, np.ndarray):
        return result
    import SimpleITK as sitk  # noqa: N813

    return sitk.GetArrayFromImage(result)


PEERS: dict[str, Callable[[list[Path]], Any]] = {"SimpleITK": _simpleitk, "pydicom": _pydicom}


def _timed(function: Callable[[list[Path]], Any], paths: list[Path]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = function(paths)
    return (time.perf_counter() - start) * 1000, result


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Yield one result per peer; runs alternate, so that both meet the same machine."""
    slices, size, rounds = (40, 256, 3) if small else (200, 512, 7)
    with tempfile.TemporaryDirectory(prefix="somascope-load-") as folder:
        paths = synthesise(Path(folder), slices=slices, size=size)
        for name, peer in PEERS.items():
            truth = _timed(_ours, paths)[1]  # warms imports and the page cache for both
            same = np.array_equal(_array(_timed(peer, paths)[1]), truth)
            theirs, ours = [], []
            for _ in range(rounds):
                theirs.append(_timed(peer, paths)[0])
                ours.append(_timed(_ours, paths)[0])
            yield {
                "name": "load",
                "case": f"CT series {slices} x {size} x {size}, folder to volume in HU",
                "ours_ms": {"min": min(ours), "median": statistics.median(ours)},
                "peer": name,
                "peer_version": version(name),
                "peer_ms": {"min": min(theirs), "median": statistics.median(theirs)},
                "ratio": statistics.median(theirs) / statistics.median(ours),
                "quality_metric": "voxels equal to the peer's",
                "quality_ours": float(same),
                "quality_peer": 1.0,
            }
