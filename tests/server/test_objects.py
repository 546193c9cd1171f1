"""What has no pixels is kept like what has: through every door in, and through every door out."""

from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
from contextlib import contextmanager
from pathlib import Path

import httpx
import pydicom
import pytest
from pydicom.uid import UID

from somascope.archive import Archive, Query
from somascope.core.errors import CorruptFile
from somascope.io.dicom.header import scan
from somascope.server.dimse import scu
from somascope.server.dimse.requestor import Remote
from somascope.server.settings import Settings
from tests.server.conftest import running
from tests.server.dimse.conftest import door
from tests.server.objects import (
    EXPLICIT,
    IMPLICIT,
    PDF,
    RAW,
    STORAGE,
    STUDY,
    bare,
    classes,
    kinds,
    part10,
    raw_data,
)

OCTETS = "application/octet-stream"
KINDS = kinds()


def test_every_storage_class_is_taken_and_found(archive):
    for number, sop_class in enumerate(classes(), 1):
        stored = archive.store(part10(bare(sop_class, number)))
        assert stored.outcome == "stored", sop_class
        (found,) = archive.search(Query(level="INSTANCE", match={"SOPClassUID": sop_class}))
        assert found["00080018"]["Value"] == [stored.sop_uid]
        (told,) = json.loads(archive.metadata(study=STUDY, series=stored.series))
        assert told["00080016"]["Value"] == [sop_class]


def test_a_class_of_a_later_standard_is_taken(archive):
    assert archive.store(part10(bare(STORAGE + "9999.1", 1))).outcome == "stored"
    assert archive.store(part10(bare("1.3.12.2.1107.5.9.1", 2))).outcome == "stored"


def test_an_image_without_its_pixels_is_a_truncated_file(archive):
    with pytest.raises(CorruptFile, match="without Pixel Data"):
        archive.store(part10(bare(STORAGE + "2", 1)))


def remote(port: int) -> Remote:
    return Remote(host="127.0.0.1", port=port, aet="SOMASCOPE")


@contextmanager
def serving(root: Path):
    with Archive.open(root) as archive, running(archive, Settings()) as url:
        yield archive, url


def by_stow(archive: Archive, url: str, folder: Path) -> None:
    body = b"".join(
        b"--b\r\nContent-Type: application/dicom\r\n\r\n" + data + b"\r\n"
        for data in KINDS.values()
    )
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    answer = httpx.post(
        f"{url}/dicom-web/studies", content=body + b"--b--", headers={"content-type": kind}
    )
    assert answer.status_code == 200, answer.text


def by_upload(archive: Archive, url: str, folder: Path) -> None:
    files = [("files", (f"{name}.dcm", data)) for name, data in KINDS.items()]
    answer = httpx.post(f"{url}/api/upload", files=files)
    assert answer.status_code == 200, answer.text
    assert {o["outcome"] for o in answer.json()["files"]} == {"stored"}


def by_c_store(archive: Archive, url: str, folder: Path) -> None:
    with door(archive, archive.root) as running_door:
        sent = scu.store(remote(running_door.port), KINDS.values())
    assert {s.status for s in sent} == {0}, sent


def by_import(archive: Archive, url: str, folder: Path) -> None:
    for n, data in enumerate(list(KINDS.values())[1:]):
        (folder / f"{n}.dcm").write_bytes(data)
    with zipfile.ZipFile(folder / "one.zip", "w") as packed:
        packed.writestr("object.dcm", next(iter(KINDS.values())))
    report = archive.import_paths([folder])
    assert (report.stored, report.problems) == (len(KINDS), ())


@pytest.mark.parametrize("enter", [by_stow, by_upload, by_c_store, by_import])
def test_every_door_in_leads_to_every_door_out(tmp_path, enter):
    folder = tmp_path / "in"
    folder.mkdir()
    with serving(tmp_path / "archive") as (archive, url):
        enter(archive, url, folder)
        with httpx.Client(base_url=f"{url}/dicom-web", timeout=30) as client:
            series = client.get(f"/studies/{STUDY}/series").json()
            assert len(series) == len(KINDS)
            assert client.get("/studies", params={"ModalitiesInStudy": "KO"}).json()
            listed = client.get(f"/studies/{STUDY}/instances").json()
            assert len(listed) == len(KINDS)
            everything = {
                m["00080018"]["Value"][0]: m
                for m in client.get(f"/studies/{STUDY}/metadata").json()
            }
            for name, data in KINDS.items():
                d = pydicom.dcmread(io.BytesIO(data))
                place = f"/studies/{STUDY}/series/{d.SeriesInstanceUID}"
                path = f"{place}/instances/{d.SOPInstanceUID}"
                asked = {"accept": "application/dicom; transfer-syntax=*"}
                whole = client.get(path, headers=asked).content
                assert whole[scan(whole).dataset_offset :] == data[scan(data).dataset_offset :], (
                    name
                )
                plain = client.get(path, headers={"accept": "application/dicom"})
                back = pydicom.dcmread(io.BytesIO(plain.content))
                assert back.file_meta.TransferSyntaxUID == EXPLICIT
                assert back.SOPClassUID == d.SOPClassUID
                assert client.get(f"{path}/metadata").json() == [everything[d.SOPInstanceUID]]
                for tail in ("/frames/1", "/rendered", "/thumbnail", "/bulkdata/7FE00010"):
                    assert client.get(path + tail).status_code in (404, 406), (name, tail)
                _bulk_is_served(client, everything[d.SOPInstanceUID], d, url)
        with door(archive, archive.root) as running_door:
            got: dict[str, bytes] = {}

            def keep(one: scu.Arrived) -> int:
                got[one.sop_uid] = bytes(one.dataset)
                return 0

            wanted = sorted({pydicom.dcmread(io.BytesIO(k)).SOPClassUID for k in KINDS.values()})
            report = scu.get(
                remote(running_door.port),
                {"StudyInstanceUID": STUDY},
                arrived=keep,
                sop_classes=wanted,
            )
            assert (report.completed, report.failed) == (len(KINDS), 0)
            assert len(got) == len(KINDS)


def _bulk_is_served(client: httpx.Client, meta: dict, d: pydicom.Dataset, url: str) -> None:
    """Every BulkDataURI of the metadata gives the bytes of its element, whole and by range."""
    for tag, element in meta.items():
        if "BulkDataURI" in element:
            value = d[int(tag, 16)].value
            assert element["BulkDataURI"].startswith(f"{url}/dicom-web/")
            whole = client.get(element["BulkDataURI"], headers={"accept": OCTETS})
            assert (whole.status_code, whole.content) == (200, value)
            assert whole.headers["accept-ranges"] == "bytes"
            part = client.get(
                element["BulkDataURI"], headers={"accept": OCTETS, "range": "bytes=100-163"}
            )
            assert (part.status_code, part.content) == (206, value[100:164])
            assert part.headers["content-range"] == f"bytes 100-163/{len(value)}"
        for n, item in enumerate(element.get("Value", ()) if element["vr"] == "SQ" else ()):
            _bulk_is_served(client, item, d[int(tag, 16)].value[n], url)


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=4000-", 206, 4000, None),
        ("bytes=-7", 206, -7, None),
        ("bytes=0-99999999", 206, 0, None),
        ("bytes=-99999999", 206, 0, None),
        ("bytes=5-2", 200, 0, None),
        ("bytes=0-1,4-5", 200, 0, None),
        ("bytes=", 200, 0, None),
        ("bytes=-", 200, 0, None),
        ("lines=0-4", 200, 0, None),
        ("bytes=99999999-", 416, 0, 0),
        ("bytes=-0", 416, 0, 0),
    ],
)
def test_ranges_of_bulk_data(objects, asked, status, start, end):
    uri = f"{objects}/series/{STUDY}.104/instances/{STUDY}.104.1/bulkdata/00420011"
    value = PDF + b"\0" * (len(PDF) % 2)
    answer = httpx.get(uri, headers={"accept": OCTETS, "range": asked})
    assert answer.status_code == status
    if status != 416:
        assert answer.content == value[start:end]
    else:
        assert answer.headers["content-range"] == f"bytes */{len(value)}"


def test_bulk_data_in_parts(objects):
    uri = f"{objects}/series/{STUDY}.104/instances/{STUDY}.104.1/bulkdata/00420011"
    accept = f'multipart/related; type="{OCTETS}"'
    answer = httpx.get(uri, headers={"accept": accept, "range": "bytes=0-3"})
    boundary = answer.headers["content-type"].rpartition("boundary=")[2].encode()
    head, _, rest = answer.content.partition(b"\r\n\r\n")
    assert head.startswith(b"--" + boundary + b"\r\nContent-Type: application/octet-stream")
    assert rest == PDF + b"\0" * (len(PDF) % 2) + b"\r\n--" + boundary + b"--\r\n"
    assert int(answer.headers["content-length"]) == len(answer.content)


@pytest.mark.parametrize(
    "path",
    ["00420013", "0042001", "00420011/0", "00420011/0/00420011", "x", "/", "-1", "00400/0/1"],
)
def test_bulk_data_that_is_not_there(objects, path):
    uri = f"{objects}/series/{STUDY}.104/instances/{STUDY}.104.1/bulkdata/{path}"
    assert httpx.get(uri, headers={"accept": OCTETS}).status_code == 404


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """The URL of a served study that holds one object of each kind."""
    with serving(tmp_path_factory.mktemp("objects")) as (archive, url):
        for data in KINDS.values():
            archive.store(data)
        yield f"{url}/dicom-web/studies/{STUDY}"


def test_big_endian_words_go_out_little_endian(archive, tmp_path, pydicom_files):
    d = pydicom.dcmread(pydicom_files / "MR_small_bigendian.dcm")
    d.add_new(0x00230010, "LO", "SOMASCOPE TEST")
    d.add_new(0x00231010, "OW", bytes(range(200)) * 10)
    out = io.BytesIO()
    d.save_as(out)
    with serving(tmp_path / "archive") as (opened, url):
        opened.store(out.getvalue())
        at = f"/studies/{d.StudyInstanceUID}/series/{d.SeriesInstanceUID}"
        uri = f"{url}/dicom-web{at}/instances/{d.SOPInstanceUID}/bulkdata/00231010"
        answer = httpx.get(uri, headers={"accept": OCTETS, "range": "bytes=0-3"})
    stored = bytes(range(200)) * 10
    assert answer.status_code == 200
    swapped = bytearray(len(stored))
    swapped[::2], swapped[1::2] = stored[1::2], stored[::2]
    assert answer.content == bytes(swapped)


LARGE = 96 << 20
"""More than any budget of memory in these tests, less than the disk of a small machine."""


def _raw_file(path: Path, *, syntax: str) -> int:
    """A Raw Data file with `LARGE` bytes in a private OB element, as a file with a hole."""
    small = raw_data(b"0123456789abcdef" * 128, syntax=syntax)
    at = small.index(b"0123456789abcdef")
    head = bytearray(small[:at])
    head[-4:] = LARGE.to_bytes(4, "little")
    with path.open("wb") as file:
        file.write(head)
        file.truncate(at + LARGE)
        file.seek(at + (60 << 20))
        file.write(b"needle in a haystack")
    return at


@contextmanager
def memory(limit: int):
    """What Python allocates within the block stays below ``limit`` bytes."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_large_raw_data_is_never_in_memory(tmp_path, syntax):
    source = tmp_path / "raw.dcm"
    at = _raw_file(source, syntax=syntax)

    def body():
        yield b"--b\r\nContent-Type: application/dicom\r\n\r\n"
        with source.open("rb") as file:
            while piece := file.read(1 << 20):
                yield piece
        yield b"\r\n--b--"

    kind = 'multipart/related; type="application/dicom"; boundary=b'
    with serving(tmp_path / "archive") as (archive, url), httpx.Client(base_url=url) as client:
        path = f"/dicom-web/studies/{STUDY}/series/{STUDY}.66/instances/{STUDY}.66.1"
        client.get("/dicom-web/studies")  # what is loaded once is not counted
        with memory(32 << 20):
            if syntax == EXPLICIT:
                answer = client.post(
                    "/dicom-web/studies", content=body(), headers={"content-type": kind},
                    timeout=120,
                )  # fmt: skip
                assert answer.status_code == 200, answer.text
            else:
                assert archive.import_paths([source]).stored == 1
            meta = client.get(f"{path}/metadata").json()[0]
            assert meta["00231010"]["BulkDataURI"].endswith("/bulkdata/00231010")
            needle = 60 << 20
            part = client.get(
                meta["00231010"]["BulkDataURI"],
                headers={"accept": OCTETS, "range": f"bytes={needle}-{needle + 19}"},
            )
            assert (part.status_code, part.content) == (206, b"needle in a haystack")
            total = 0
            with client.stream(
                "GET", path, headers={"accept": "application/dicom;transfer-syntax=*"}
            ) as all_of_it:
                for piece in all_of_it.iter_raw():
                    total += len(piece)
            assert total == at + LARGE
            (again,) = archive.locate(instance=f"{STUDY}.66.1")
            assert (again.sop_class, again.frames) == (RAW, 0)
            if syntax == EXPLICIT:
                source.unlink()


def test_large_raw_data_by_c_store(tmp_path):
    source = tmp_path / "raw.dcm"
    _raw_file(source, syntax=EXPLICIT)
    with Archive.open(tmp_path / "archive") as archive, door(archive, archive.root) as running_door:
        with memory(64 << 20):  # a buffer of at most 16 MiB that doubles, and those of PDUs
            sent = scu.store(remote(running_door.port), [source])
        assert [s.status for s in sent] == [0], sent
        (found,) = archive.locate(instance=f"{STUDY}.66.1")
        assert found.size > LARGE
        assert UID(found.sop_class).name == "Raw Data Storage"
