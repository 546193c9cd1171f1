"""A small archive, the real server as a process of its own, and real Chromium."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from tests.screen import Screen, chromium, open_browser

FILES = (
    "CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "examples_palette.dcm",
    "examples_rgb_color.dcm", "examples_ybr_color.dcm", "SC_rgb_rle_2frame.dcm", "JPGExtended.dcm",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.timeout(280))


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def changed(part10: bytes, change: Callable[[Any], None]) -> bytes:
    import pydicom

    ds = pydicom.dcmread(BytesIO(part10))
    change(ds)
    out = BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def thorax(shape: tuple[int, int, int], *, noise: float = 0.0) -> Any:
    from somascope import phantoms

    nz, ny, nx = shape
    grid = phantoms.thorax_grid(shape, (384 / nz, 384 / ny, 384 / nx))
    return phantoms.thorax_ct(grid, noise_hu=noise)


def study_of_its_own(instances: list[bytes], name: str) -> list[bytes]:
    from pydicom.uid import generate_uid

    study, series = (generate_uid(entropy_srcs=[name, k]) for k in ("study", "series"))

    def change(ds: Any) -> None:
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
        ds.SOPInstanceUID = generate_uid(entropy_srcs=[name, ds.SOPInstanceUID])
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.PatientName, ds.PatientID = f"Broken^{name}", name.upper()
        ds.StudyDescription = ds.SeriesDescription = name

    return [changed(i, change) for i in instances]


def damage(ds: Any) -> None:
    """Pixel data that claims to be JPEG 2000 and is not."""
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEG2000Lossless

    ds.PixelData = encapsulate([bytes(range(200))])
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = JPEG2000Lossless


def fill(root: Path, files: Path) -> None:
    from somascope import phantoms
    from somascope.archive import Archive
    from somascope.io.dicom import seg, write

    archive = Archive.open(root)
    try:
        ct = thorax((48, 128, 128))
        slices = write.instances(ct)
        pet = phantoms.thorax_pet(phantoms.thorax_grid((40, 48, 48), (8.0, 8.0, 8.0)))
        made = [
            *slices,
            *write.instances(pet),
            *seg.instances(phantoms.thorax_mask(ct.grid), slices, series_number=9),
            *write.instances(phantoms.heart_us(frames=12, size=128), multiframe=True),
            *write.instances(phantoms.thorax_dx((256, 256))),
        ]
        few = slices[20:28]
        made += study_of_its_own([s for i, s in enumerate(few) if i != 3], "gap")
        broken = study_of_its_own(few, "undecodable")
        made += [changed(s, damage) if i == 5 else s for i, s in enumerate(broken)]
        for part10 in made:
            archive.store(part10)
        for name in FILES:
            archive.store((files / name).read_bytes())
    finally:
        archive.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, pydicom_files: Path) -> Iterator[str]:
    """Address of a running server over a small archive."""
    import somascope.server

    if not (Path(somascope.server.__file__).parent / "static" / "index.html").is_file():
        pytest.skip("the viewer is not built: python build_viewer.py")
    chromium()
    root = tmp_path_factory.mktemp("viewer") / "archive"
    fill(root, pydicom_files)
    port = free_port()
    log = (root.parent / "server.log").open("wb")
    process = subprocess.Popen(
        [
            sys.executable, "-m", "somascope.cli", "serve", str(root), "--port", str(port),
            "--dicom-port", str(free_port()), "--acceptors", "1",
        ],
        stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            assert process.poll() is None, (root.parent / "server.log").read_text()
            try:
                with urllib.request.urlopen(f"{url}/api/system", timeout=2) as answer:
                    answer.read()
                break
            except OSError:
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(30)
        log.close()


@pytest.fixture(scope="session")
def ct() -> Any:
    """The CT of the archive's thorax study, as it was written: no noise."""
    return thorax((48, 128, 128))


# Playwright keeps an event loop running while it is open: other rooms' tests need it closed.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as found:
        yield found


@pytest.fixture
def screen(server: str, browser: Any) -> Iterator[Screen]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    made = Screen(context.new_page(), server)
    yield made
    context.close()
    assert made.errors == []
