"""C-FIND, C-MOVE and C-GET over a real archive, as DCMTK, pynetdicom and our own user see them."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydicom
import pytest
from pydicom import DataElement, Dataset, config
from pydicom.datadict import dictionary_VR, tag_for_keyword

from somascope.archive import Archive
from somascope.io.dicom.header import scan
from somascope.server.dimse import identifier
from somascope.server.dimse.settings import Peer

NAMES = (
    "CT_small.dcm",
    "MR_small_bigendian.dcm",
    "JPEG2000.dcm",
    "SC_rgb_rle_2frame.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "image_dfl.dcm",
    "rtplan.dcm",
    "reportsi.dcm",
)
CHARSETS = ("chrArab", "chrFren", "chrGerm", "chrGreek", "chrH31", "chrHbrw", "chrRuss", "chrX1")
STUDY_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
PATIENT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.fixture(scope="module")
def hospital(tmp_path_factory, opened, wire) -> Iterator[Any]:
    """An archive with a dozen studies behind a door, and the truth about them."""
    root = tmp_path_factory.mktemp("hospital")
    mode = config.settings.reading_validation_mode
    identifier.trust_keys()  # as the acceptor process does
    charset_folder = wire.FILES.parent / "charset_files"
    files = [wire.FILES / n for n in NAMES] + [charset_folder / f"{n}.dcm" for n in CHARSETS]
    truth: dict[str, Dataset] = {}
    peers = (
        Peer(name="store", host="127.0.0.1", port=_free_port(), aet="STORE"),
        Peer(name="gone", host="127.0.0.1", port=_free_port(), aet="GONE"),
        Peer(name="no", host="127.0.0.1", port=_free_port(), aet="NO", destination=False),
    )
    with Archive.open(root) as archive:
        for file in files:
            if archive.store(file.read_bytes()).outcome == "stored":
                dataset = pydicom.dcmread(file)
                truth[str(dataset.SOPInstanceUID)] = dataset
        # a study of 30 instances in 3 series, with all that a C-FIND may ask
        ct = pydicom.dcmread(wire.FILES / "CT_small.dcm")
        for n in range(30):
            ct.StudyInstanceUID, ct.SeriesInstanceUID = "1.2.9.1", f"1.2.9.1.{n // 10}"
            ct.SOPInstanceUID = ct.file_meta.MediaStorageSOPInstanceUID = f"1.2.9.1.{n // 10}.{n}"
            ct.PatientID, ct.PatientName = "THIRTY", "Thirty^Slices"
            ct.StudyDate, ct.InstanceNumber, ct.SeriesNumber = "20200229", str(n), str(n // 10)
            path = root.parent / f"thirty{n}.dcm"
            ct.save_as(path)
            assert archive.store_file(path).outcome == "stored"
            truth[str(ct.SOPInstanceUID)] = pydicom.dcmread(path)
        with opened(archive, root, peers=peers) as door:
            try:
                yield SimpleNamespace(
                    port=str(door.port), truth=truth, archive=archive, peers=peers
                )
            finally:
                config.settings.reading_validation_mode = mode


def _ae(*classes: str, **kw: Any):
    from pynetdicom import AE

    ae = AE(ae_title="TESTER")
    for uid in classes:
        ae.add_requested_context(uid)
    return ae


def _put(request: Dataset, keyword: str, value: str) -> None:
    """Set a key, pydicom's validation of values (a wild card is no UID) left out."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    vr = dictionary_VR(tag)
    mode = config.settings.writing_validation_mode
    config.settings.writing_validation_mode = config.IGNORE
    try:
        request.add(DataElement(tag, vr, None if value == "" and vr in ("US", "IS") else value))
    finally:
        config.settings.writing_validation_mode = mode


def _find(hospital, level: str, *, model: str = STUDY_FIND, **keys: str) -> list[Dataset]:
    request = Dataset()
    request.SpecificCharacterSet = "ISO_IR 192"
    request.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        _put(request, keyword, value)
    assoc = _ae(model).associate("127.0.0.1", int(hospital.port))
    assert assoc.is_established
    answers = list(assoc.send_c_find(request, model))
    assoc.release()
    assert answers[-1][0].Status == 0, answers[-1][0]
    assert all(status.Status in (0xFF00, 0xFF01) for status, _ in answers[:-1])
    return [dataset for _, dataset in answers[:-1]]


def _names(hospital) -> set[str]:
    return {str(d.PatientName) for d in hospital.truth.values()}


def test_all_studies_in_all_character_sets(hospital):
    found = _find(hospital, "STUDY", StudyInstanceUID="", PatientName="", StudyDate="")
    studies = {str(d.StudyInstanceUID) for d in hospital.truth.values()}
    assert {str(d.StudyInstanceUID) for d in found} == studies
    assert len(found) == len(studies)
    assert {d.SpecificCharacterSet for d in found} == {"ISO_IR 192"}
    first = {}
    for d in hospital.truth.values():
        first.setdefault(str(d.StudyInstanceUID), str(d.PatientName))
    for d in found:
        assert str(d.PatientName) in _names(hospital)
    russian = next(
        d for d in hospital.truth.values() if d.get("SpecificCharacterSet") == "ISO_IR 144"
    )
    assert any(str(d.PatientName) == str(russian.PatientName) for d in found)


def test_a_name_in_the_requests_own_character_set(hospital):
    russian = next(
        d for d in hospital.truth.values() if d.get("SpecificCharacterSet") == "ISO_IR 144"
    )
    request = Dataset()
    request.SpecificCharacterSet = "ISO_IR 144"
    request.QueryRetrieveLevel = "PATIENT"
    request.PatientName = str(russian.PatientName)
    request.PatientID = ""
    assoc = _ae(PATIENT_FIND).associate("127.0.0.1", int(hospital.port))
    answers = [d for s, d in assoc.send_c_find(request, PATIENT_FIND) if s.Status == 0xFF00]
    assoc.release()
    assert [str(d.PatientName) for d in answers] == [str(russian.PatientName)]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"PatientID": "THIRTY"}, 1),
        ({"PatientName": "thirty*"}, 1),
        ({"PatientName": "THIRTY^SLICE?"}, 1),
        ({"PatientName": "Thirty"}, 0),
        ({"StudyDate": "20200229"}, 1),
        ({"StudyDate": "20200101-20201231", "PatientID": "THIRTY"}, 1),
        ({"StudyDate": "20210101-", "PatientID": "THIRTY"}, 0),
        ({"StudyDate": "-20200229", "PatientID": "THIRTY"}, 1),
        ({"StudyInstanceUID": "1.2.9.1\\1.2.3.404"}, 1),
        ({"ModalitiesInStudy": "CT", "PatientID": "THIRTY"}, 1),
        ({"ModalitiesInStudy": "MR", "PatientID": "THIRTY"}, 0),
        ({"PatientID": "*IRT*"}, 1),
    ],
)
def test_matching(hospital, keys, expected):
    values = {"StudyInstanceUID": "", "NumberOfStudyRelatedInstances": ""} | keys
    found = _find(hospital, "STUDY", **values)
    assert len(found) == expected
    if expected:
        assert found[0].StudyInstanceUID == "1.2.9.1"
        assert found[0].NumberOfStudyRelatedInstances == 30


def test_every_level_of_both_models(hospital):
    patient = _find(
        hospital,
        "PATIENT",
        model=PATIENT_FIND,
        PatientID="THIRTY",
        NumberOfPatientRelatedStudies="",
    )
    assert [(d.PatientID, d.NumberOfPatientRelatedStudies) for d in patient] == [("THIRTY", 1)]
    for model in (PATIENT_FIND, STUDY_FIND):
        study = _find(hospital, "STUDY", model=model, PatientID="THIRTY", StudyInstanceUID="",
                      NumberOfStudyRelatedSeries="", ModalitiesInStudy="")  # fmt: skip
        assert [(d.NumberOfStudyRelatedSeries, d.ModalitiesInStudy) for d in study] == [(3, "CT")]
        series = _find(hospital, "SERIES", model=model, StudyInstanceUID="1.2.9.1",
                       SeriesInstanceUID="", SeriesNumber="", Modality="",
                       NumberOfSeriesRelatedInstances="")  # fmt: skip
        assert [(int(d.SeriesNumber), d.NumberOfSeriesRelatedInstances) for d in series] == [
            (0, 10), (1, 10), (2, 10),
        ]  # fmt: skip
        images = _find(hospital, "IMAGE", model=model, StudyInstanceUID="1.2.9.1",
                       SeriesInstanceUID="1.2.9.1.1", SOPInstanceUID="", InstanceNumber="",
                       Rows="")  # fmt: skip
        assert [int(d.InstanceNumber) for d in images] == list(range(10, 20))
        assert {d.Rows for d in images} == {128}


def test_what_no_model_has_is_refused(hospital):
    for model, level in ((STUDY_FIND, "PATIENT"), (STUDY_FIND, "NONE"), (PATIENT_FIND, "")):
        request = Dataset()
        request.QueryRetrieveLevel = level
        request.PatientID = "THIRTY"
        assoc = _ae(model).associate("127.0.0.1", int(hospital.port))
        assert [s.Status for s, _ in assoc.send_c_find(request, model)] == [0xA900]
        assoc.release()


def test_a_find_can_be_cancelled(hospital):
    request = Dataset()
    request.QueryRetrieveLevel = "IMAGE"
    request.StudyInstanceUID = "1.2.9.1"
    request.SOPInstanceUID = ""
    assoc = _ae(STUDY_FIND).associate("127.0.0.1", int(hospital.port))
    statuses = []
    for status, _ in assoc.send_c_find(request, STUDY_FIND, msg_id=9):
        if not statuses:
            assoc.send_c_cancel(9, query_model=STUDY_FIND)
        statuses.append(status.Status)
    assoc.release()
    assert statuses[-1] in (0xFE00, 0)  # it may have been too fast
    assert len(statuses) <= 31


# ---------------------------------------------------------------- DCMTK


def _run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(c) for c in command], capture_output=True, text=True, timeout=90, cwd=cwd
    )


@pytest.mark.dcmtk
def test_findscu(dcmtk, hospital, tmp_path):
    for model, level in (("-P", "PATIENT"), ("-P", "STUDY"), ("-S", "STUDY"), ("-S", "SERIES")):
        done = _run(
            "findscu", model, "-X", "127.0.0.1", hospital.port, "-k", f"QueryRetrieveLevel={level}",
            "-k", "PatientID=THIRTY", "-k", "StudyInstanceUID", cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found = sorted(tmp_path.glob("rsp*.dcm"))
        assert len(found) == {"SERIES": 3}.get(level, 1)
        for file in found:
            assert pydicom.dcmread(file, force=True).PatientID == "THIRTY"
            file.unlink()


def _same(received: Path, truth: dict[str, Dataset]) -> set[str]:
    """UIDs of the received files, after comparing them with what was stored."""
    found = set()
    for file in received.iterdir():
        got = pydicom.dcmread(file)
        want = truth[str(got.SOPInstanceUID)]
        found.add(str(got.SOPInstanceUID))
        assert str(got.get("PatientName", "")) == str(want.get("PatientName", ""))
        if "PixelData" in want and got.file_meta.TransferSyntaxUID.is_encapsulated:
            assert got.file_meta.TransferSyntaxUID == want.file_meta.TransferSyntaxUID
            assert got.PixelData == want.PixelData
    return found


@pytest.mark.dcmtk
@pytest.mark.parametrize("level", ["STUDY", "SERIES", "IMAGE"])
def test_getscu(dcmtk, hospital, tmp_path, level):
    keys = ["-k", f"QueryRetrieveLevel={level}", "-k", "StudyInstanceUID=1.2.9.1"]
    if level != "STUDY":
        keys += ["-k", "SeriesInstanceUID=1.2.9.1.1"]
    if level == "IMAGE":
        keys += ["-k", "SOPInstanceUID=1.2.9.1.1.12\\1.2.9.1.1.13"]
    done = _run("getscu", "-S", "127.0.0.1", hospital.port, *keys, "-od", tmp_path)
    assert done.returncode == 0, done.stderr
    expected = {"STUDY": 30, "SERIES": 10, "IMAGE": 2}[level]
    assert len(_same(tmp_path, hospital.truth)) == expected


@pytest.mark.dcmtk
def test_getscu_of_what_is_compressed_arrives_decoded(dcmtk, hospital, tmp_path, wire):
    """DCMTK's getscu proposes plain transfer syntaxes: RLE must be decoded, big endian turned."""
    for name in ("SC_rgb_rle_2frame.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm"):
        want = pydicom.dcmread(wire.FILES / name)
        done = _run(
            "getscu", "-S", "127.0.0.1", hospital.port, "-k", "QueryRetrieveLevel=STUDY",
            "-k", f"StudyInstanceUID={want.StudyInstanceUID}", "-od", tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        files = [f for f in tmp_path.iterdir() if str(want.SOPInstanceUID) in f.name]
        assert len(files) == 1
        got = pydicom.dcmread(files[0])
        assert not got.file_meta.TransferSyntaxUID.is_encapsulated
        assert (got.pixel_array == want.pixel_array).all()


@pytest.fixture
def storescp(hospital, tmp_path, dcmtk) -> Iterator[Path]:
    """DCMTK's storescp as the destination STORE, taking every transfer syntax."""
    folder = tmp_path / "received"
    folder.mkdir()
    port = str(hospital.peers[0].port)
    process = subprocess.Popen(["storescp", "+xa", "-od", str(folder), "-aet", "STORE", port])
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", int(port)), timeout=1).close()
                break
            except OSError:
                threading.Event().wait(0.05)
        yield folder
    finally:
        process.terminate()
        process.wait()


@pytest.mark.dcmtk
def test_movescu_of_everything_in_its_stored_encoding(hospital, storescp):
    studies = {str(d.StudyInstanceUID) for d in hospital.truth.values()}
    for study in studies:
        done = _run(
            "movescu", "-S", "-aem", "STORE", "127.0.0.1", hospital.port,
            "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert _same(storescp, hospital.truth) == set(hospital.truth)
    for file in storescp.iterdir():
        header = scan(file)
        want = str(hospital.truth[header.sop_uid].file_meta.TransferSyntaxUID)
        assert header.transfer_syntax == want


def _move(hospital, destination: str, **keys: str) -> list[tuple[Dataset, Dataset | None]]:
    request = Dataset()
    request.QueryRetrieveLevel = "STUDY"
    for keyword, value in keys.items():
        _put(request, keyword, value)
    model = "1.2.840.10008.5.1.4.1.2.2.2"
    assoc = _ae(model).associate("127.0.0.1", int(hospital.port))
    answers = list(assoc.send_c_move(request, destination, model))
    assoc.release()
    return answers


@pytest.mark.dcmtk
def test_move_counts(hospital, storescp):
    answers = _move(hospital, "STORE", StudyInstanceUID="1.2.9.1")
    assert {s.Status for s, _ in answers[:-1]} <= {0xFF00}
    assert len(answers) >= 2
    assert answers[0][0].NumberOfRemainingSuboperations == 29
    last = answers[-1][0]
    assert last.Status == 0
    assert last.NumberOfCompletedSuboperations == 30
    assert last.NumberOfFailedSuboperations == 0


@pytest.mark.parametrize("destination", ["NOBODY", "NO"])
def test_a_move_goes_to_configured_destinations_only(hospital, destination):
    answers = _move(hospital, destination, StudyInstanceUID="1.2.9.1")
    assert [s.Status for s, _ in answers] == [0xA801]


def test_a_move_to_a_peer_that_is_down_lists_what_failed(hospital):
    answers = _move(hospital, "GONE", StudyInstanceUID="1.2.9.1")
    status, identifier = answers[-1]
    assert status.Status == 0xA702
    assert status.NumberOfFailedSuboperations == 30
    assert identifier is not None
    assert len(identifier.FailedSOPInstanceUIDList) == 30


def test_a_move_of_nothing_succeeds_with_zero(hospital):
    answers = _move(hospital, "STORE", StudyInstanceUID="1.2.3.404")
    assert [(s.Status, s.NumberOfCompletedSuboperations) for s, _ in answers] == [(0, 0)]


def test_a_move_without_its_key_or_with_wild_cards_is_refused(hospital):
    assert [s.Status for s, _ in _move(hospital, "STORE", PatientID="THIRTY")] == [0xA900]
    assert [s.Status for s, _ in _move(hospital, "STORE", StudyInstanceUID="*")] == [0xA900]


# ---------------------------------------------------------------- pynetdicom C-GET


def _get(hospital, on_store: Any, contexts: list[tuple[str, Any]], **keys: str):
    from pynetdicom import build_role, evt

    model = "1.2.840.10008.5.1.4.1.2.2.3"
    ae = _ae(model)
    for uid, transfer in contexts:
        ae.add_requested_context(uid, transfer)
    roles = [build_role(uid, scp_role=True) for uid, _ in contexts]
    assoc = ae.associate(
        "127.0.0.1",
        int(hospital.port),
        ext_neg=roles,
        evt_handlers=[(evt.EVT_C_STORE, on_store)],
    )
    request = Dataset()
    request.QueryRetrieveLevel = "STUDY"
    for keyword, value in keys.items():
        _put(request, keyword, value)
    answers = list(assoc.send_c_get(request, model))
    assoc.release()
    return answers


def test_get_counts_warnings_and_failures(hospital, wire):
    seen: list[str] = []

    def on_store(event: Any) -> int:
        seen.append(str(event.request.AffectedSOPInstanceUID))
        return {0: 0xA700, 1: 0xB000}.get(len(seen) - 1, 0)

    answers = _get(hospital, on_store, [(wire.CT, wire.EXPLICIT)], StudyInstanceUID="1.2.9.1")
    status, identifier = answers[-1]
    assert status.Status == 0xB000
    assert status.NumberOfFailedSuboperations == 1
    assert status.NumberOfWarningSuboperations == 1
    assert status.NumberOfCompletedSuboperations == 28
    assert identifier is not None
    assert identifier.FailedSOPInstanceUIDList == seen[0]
    assert len(seen) == 30


def test_get_without_a_context_for_the_class_fails_honestly(hospital):
    mr = "1.2.840.10008.5.1.4.1.1.4"
    answers = _get(hospital, lambda _: 0, [(mr, "1.2.840.10008.1.2")], StudyInstanceUID="1.2.9.1")
    status, identifier = answers[-1]
    assert status.Status == 0xA702
    assert status.NumberOfFailedSuboperations == 30
    assert identifier is not None
    assert len(identifier.FailedSOPInstanceUIDList) == 30


def test_get_as_stored_where_the_peer_takes_it_and_implicit_where_not(hospital, wire):
    want = pydicom.dcmread(wire.FILES / "JPEG2000.dcm")
    got: list[Dataset] = []

    def on_store(event: Any) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        got.append(dataset)
        return 0

    uid = str(want.SOPClassUID)
    for transfer in ("1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2"):
        answers = _get(
            hospital, on_store, [(uid, transfer)], StudyInstanceUID=str(want.StudyInstanceUID)
        )
        assert answers[-1][0].Status == 0
    mine = [d for d in got if d.SOPInstanceUID == want.SOPInstanceUID]
    assert mine[0].PixelData == want.PixelData
    assert len(mine[1].PixelData) >= want.Rows * want.Columns
    assert mine[1].PatientName == want.PatientName
