"""A real server on a free loopback port, over an archive with made and packaged instances."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest

CT = "1.2.840.10008.5.1.4.1.1.2"
STUDY = "1.2.826.0.1.3680043.10.1743.7"
SERIES = f"{STUDY}.1"


def ct_slice(
    number: int,
    *,
    study: str = STUDY,
    series: str | None = None,
    side: int = 32,
    patient: str = "PHANTOM1",
    name: str = "Phantom^Web",
    seed: int = 0,
) -> bytes:
    """Slice ``number`` (from 1) of a made CT series: a Part 10 file, explicit little endian."""
    from pydicom.dataset import Dataset, FileMetaDataset

    series = series or f"{study}.1"
    rng = np.random.default_rng((seed, number))
    y, x = np.mgrid[:side, :side] - side / 2
    values = np.where(x**2 + y**2 < (0.4 * side) ** 2, 1040, 24)
    values = values + rng.integers(0, 40, (side, side)) + number
    meta, d = FileMetaDataset(), Dataset()
    d.SOPClassUID = meta.MediaStorageSOPClassUID = CT
    d.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = f"{series}.{number}"
    meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    d.StudyInstanceUID, d.SeriesInstanceUID, d.FrameOfReferenceUID = study, series, f"{study}.9"
    d.PatientID, d.PatientName, d.PatientSex, d.PatientBirthDate = patient, name, "O", "19700101"
    d.StudyDate, d.StudyTime, d.AccessionNumber, d.StudyID = "20260102", "120000", "ACC7", "1"
    d.ReferringPhysicianName, d.StudyDescription, d.SeriesDescription = "", "Web test", "Axial"
    d.Modality, d.Manufacturer, d.SeriesNumber, d.InstanceNumber = "CT", "Somascope", 1, number
    d.ImagePositionPatient, d.ImageOrientationPatient = [0, 0, 2.0 * number], [1, 0, 0, 0, 1, 0]
    d.PixelSpacing, d.SliceThickness = [1, 1], 2
    d.RescaleSlope, d.RescaleIntercept, d.RescaleType = 1, -1024, "HU"
    d.WindowCenter, d.WindowWidth = 40, 400
    d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
    d.Rows = d.Columns = side
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 16, 15, 0
    d.PixelData = values.astype("<u2").tobytes()
    d.file_meta = meta
    out = io.BytesIO()
    d.save_as(out, enforce_file_format=True)
    return out.getvalue()


PACKAGED = (
    "CT_small.dcm",
    "MR_small_bigendian.dcm",
    "JPEG2000.dcm",
    "examples_ybr_color.dcm",
    "examples_palette.dcm",
    "SC_rgb_rle_2frame.dcm",
    "SC_rgb_small_odd.dcm",
    "rtdose.dcm",
    "image_dfl.dcm",
    "liver_1frame.dcm",
    "waveform_ecg.dcm",
    "rtplan.dcm",
)
"""pydicom's files that are in the archive: transfer syntaxes, colours, one bit, no pixels."""


@dataclass(frozen=True)
class Web:
    """A running server: its address, its archive folder, and the bytes that were stored."""

    url: str
    root: Path
    files: dict[str, bytes]
    """Part 10 files by SOP Instance UID."""
    study: str = STUDY
    series: str = SERIES

    @property
    def ct(self) -> str:
        """Path of the made CT series."""
        return f"/dicom-web/studies/{STUDY}/series/{SERIES}"

    def path(self, sop_uid: str) -> str:
        """Path of an instance."""
        import pydicom

        d = pydicom.dcmread(io.BytesIO(self.files[sop_uid]), stop_before_pixels=True)
        return (
            f"/dicom-web/studies/{d.StudyInstanceUID}/series/{d.SeriesInstanceUID}"
            f"/instances/{sop_uid}"
        )

    @property
    def dicomweb(self) -> str:
        return f"{self.url}/dicom-web"

    def client(self, **headers: str) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=headers, timeout=30)


@contextmanager
def running(archive, settings, *, host: str = "127.0.0.1", decoders=None) -> Iterator[str]:
    """The server in a thread of this process; yields its URL."""
    from somascope.server.app import web_server

    server = web_server(archive, settings=settings, host=host, decoders=decoders)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started:
        assert thread.is_alive(), "the server ended while starting"
        assert time.monotonic() < until, "the server did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(15)
        assert not thread.is_alive(), "the server did not stop"


@pytest.fixture(scope="session")
def web(tmp_path_factory, pydicom_files: Path) -> Iterator[Web]:
    """Six CT slices and pydicom's packaged instances, served; for tests that change nothing."""
    from somascope.archive import Archive
    from somascope.io.dicom.header import scan
    from somascope.server.settings import Settings

    root = tmp_path_factory.mktemp("web")
    files: dict[str, bytes] = {}
    with Archive.open(root) as archive:
        made = [ct_slice(n) for n in range(1, 7)]
        made += [(pydicom_files / name).read_bytes() for name in PACKAGED]
        for data in made:
            stored = archive.store(data)
            assert stored.outcome == "stored"
            files[scan(data).sop_uid] = data
        with running(archive, Settings()) as url:
            yield Web(url, root, files)


@pytest.fixture(scope="session")
def make_slice() -> Callable[..., bytes]:
    return ct_slice


@pytest.fixture(scope="session")
def uid_of(pydicom_files: Path) -> Callable[[str], str]:
    """SOP Instance UID of one of pydicom's files."""
    import pydicom

    def uid(name: str) -> str:
        found = pydicom.dcmread(pydicom_files / name, stop_before_pixels=True)
        return str(found.SOPInstanceUID)

    return uid


@pytest.fixture
def fresh_web(tmp_path: Path) -> Iterator[Callable[..., Web]]:
    """Make servers over new, empty archives; ``settings`` by keyword."""
    from contextlib import ExitStack

    from somascope.archive import Archive
    from somascope.server.settings import Settings

    with ExitStack() as stack:

        def make(**settings: object) -> Web:
            root = tmp_path / f"archive{len(list(tmp_path.iterdir()))}"
            archive = stack.enter_context(Archive.open(root))
            url = stack.enter_context(running(archive, Settings(**settings)))
            return Web(url, root, {})

        yield make


@pytest.fixture
def archive(tmp_path: Path):
    """An empty archive."""
    from somascope.archive import Archive

    with Archive.open(tmp_path / "empty") as opened:
        yield opened
