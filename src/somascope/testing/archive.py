"""The contract of an archive, as a check that anybody can run on theirs."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from somascope.archive.records import Query
from somascope.core.errors import CorruptFile, NotFound, ParameterError, ReadError
from somascope.io.dicom.header_meta import wrap

EXPLICIT = "1.2.840.10008.1.2.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
_WIDE = ("OB", "OW", "SQ", "UN", "UT")
_TAGS: Mapping[str, tuple[int, str]] = {
    "SpecificCharacterSet": (0x00080005, "CS"),
    "SOPClassUID": (0x00080016, "UI"),
    "SOPInstanceUID": (0x00080018, "UI"),
    "StudyDate": (0x00080020, "DA"),
    "StudyTime": (0x00080030, "TM"),
    "AccessionNumber": (0x00080050, "SH"),
    "Modality": (0x00080060, "CS"),
    "ReferringPhysicianName": (0x00080090, "PN"),
    "StudyDescription": (0x00081030, "LO"),
    "SeriesDescription": (0x0008103E, "LO"),
    "PatientName": (0x00100010, "PN"),
    "PatientID": (0x00100020, "LO"),
    "IssuerOfPatientID": (0x00100021, "LO"),
    "PatientBirthDate": (0x00100030, "DA"),
    "PatientSex": (0x00100040, "CS"),
    "KVP": (0x00180060, "DS"),
    "StudyInstanceUID": (0x0020000D, "UI"),
    "SeriesInstanceUID": (0x0020000E, "UI"),
    "StudyID": (0x00200010, "SH"),
    "SeriesNumber": (0x00200011, "IS"),
    "InstanceNumber": (0x00200013, "IS"),
}


def dataset(*, side: int = 4, seed: int = 0, **attributes: str) -> bytes:
    """A CT data set in explicit little endian: ``side x side`` pixels of 16 bits from ``seed``.

    ``attributes`` are texts by keyword; UIDs have defaults. Character set is UTF-8.
    """
    texts = {
        "SpecificCharacterSet": "ISO_IR 192", "SOPClassUID": CT, "SOPInstanceUID": "1.2.3.1.1",
        "StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.1", "Modality": "CT",
        "PatientName": "Doe^Jane", "PatientID": "P1", **attributes,
    }  # fmt: skip
    elements = {_TAGS[k][0]: (_TAGS[k][1], v.encode()) for k, v in texts.items()}
    numbers = {0x00280002: 1, 0x00280010: side, 0x00280011: side, 0x00280100: 16,
               0x00280101: 16, 0x00280102: 15, 0x00280103: 0}  # fmt: skip
    elements |= {tag: ("US", struct.pack("<H", n)) for tag, n in numbers.items()}
    elements[0x00280004] = ("CS", b"MONOCHROME2")
    elements[0x7FE00010] = ("OW", pixels(side=side, seed=seed))
    return b"".join(_element(tag, *elements[tag]) for tag in sorted(elements))


def pixels(*, side: int = 4, seed: int = 0) -> bytes:
    """The pixels of `dataset`."""
    return np.random.default_rng(seed).integers(0, 4096, side * side, dtype="<u2").tobytes()


def part10(*, side: int = 4, seed: int = 0, **attributes: str) -> bytes:
    """`dataset` with File Meta Information."""
    data = dataset(side=side, seed=seed, **attributes)
    sop = attributes.get("SOPInstanceUID", "1.2.3.1.1")
    sop_class = attributes.get("SOPClassUID", CT)
    return wrap(sop_class=sop_class, sop_uid=sop, transfer_syntax=EXPLICIT) + data


def _element(tag: int, vr: str, value: bytes) -> bytes:
    value += (b"\0" if vr in ("UI", "OB") else b" ") * (len(value) % 2)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    if vr in _WIDE:
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def check_archive(archive_factory: Callable[[], Any]) -> None:
    """Check that what ``archive_factory`` makes keeps the contract of `somascope.archive.Archive`.

    Each call must give a new, empty archive. What is checked: nothing is lost, merged, changed or
    invented; refusals keep nothing; queries answer as PS3.4 C.2.2.2 says; frames and metadata are
    those of the instance; changes come in order; a rebuilt index gives the same answers; a flipped
    bit is found and no longer served.
    """
    for check in (
        _empty, _store_and_find, _again, _conflicts, _refusals, _queries, _many_at_once, _upkeep,
    ):  # fmt: skip
        archive = archive_factory()
        try:
            check(archive)
        finally:
            archive.close()


def _value(answer: dict[str, Any], tag: str) -> Any:
    values = answer[tag].get("Value", [None])
    return values[0] if len(values) == 1 else values


def _raises(kind: type[BaseException], call: Callable[[], Any]) -> None:
    message: str | None = None
    try:
        call()
    except kind as error:
        message = str(error)
    assert message is not None, f"{kind.__name__} was not raised"
    assert message, f"{kind.__name__} without a message"


def _empty(archive: Any) -> None:
    for level in ("PATIENT", "STUDY", "SERIES", "INSTANCE"):
        assert archive.search(Query(level=level)) == []
    assert archive.changes() == []
    assert archive.locate(study="1.2.3") == []
    assert archive.stats().instances == 0
    _raises(NotFound, lambda: archive.metadata(study="1.2.3"))
    _raises(NotFound, lambda: archive.frame("1.2.3", 1))
    _raises(ParameterError, archive.locate)


def _store_and_find(archive: Any) -> None:
    for n in (2, 1):
        raw = part10(SOPInstanceUID=f"1.2.3.1.{n}", InstanceNumber=str(n), seed=n, KVP="120")
        stored = archive.store(raw, origin="check")
        assert (stored.outcome, stored.study, stored.series) == ("stored", "1.2.3", "1.2.3.1")
        assert stored.sop_uid == f"1.2.3.1.{n}"
        assert stored.sop_class == CT
    data = dataset(SOPInstanceUID="1.2.3.2.1", SeriesInstanceUID="1.2.3.2", Modality="SR", seed=9)
    stored = archive.store_dataset(
        data, sop_class=CT, sop_uid="1.2.3.2.1", transfer_syntax=EXPLICIT, origin="AE"
    )
    assert stored.outcome == "stored"

    (study,) = archive.search(Query(match={"PatientID": "P1"}))
    assert _value(study, "0020000D") == "1.2.3"
    assert _value(study, "00100010") == {"Alphabetic": "Doe^Jane"}
    assert (_value(study, "00201206"), _value(study, "00201208")) == (2, 3)
    assert sorted(_value(study, "00080061")) == ["CT", "SR"]
    series = archive.search(Query(level="SERIES", match={"StudyInstanceUID": "1.2.3"}))
    assert [_value(s, "00201209") for s in series] == [2, 1]
    found = archive.search(Query(level="INSTANCE", match={"SeriesInstanceUID": "1.2.3.1"}))
    assert [_value(i, "00080018") for i in found] == ["1.2.3.1.1", "1.2.3.1.2"]
    assert _value(found[0], "00280010") == 4
    (patient,) = archive.search(Query(level="PATIENT"))
    assert [_value(patient, t) for t in ("00201200", "00201202", "00201204")] == [1, 2, 3]
    (more,) = archive.search(Query(match={"PatientID": "P1"}, fields=("00180060",)))
    assert _value(more, "00180060") in (120, 120.0, None)

    (where,) = archive.locate(instance="1.2.3.2.1")
    assert where.dataset() == data
    assert where.path.stat().st_size == where.size
    (where,) = archive.locate(instance="1.2.3.1.2")
    raw = part10(SOPInstanceUID="1.2.3.1.2", InstanceNumber="2", seed=2, KVP="120")
    assert where.read() == raw
    assert [i.number for i in archive.locate(series="1.2.3.1")] == [1, 2]

    place = archive.frame("1.2.3.1.2", 1)
    assert place.read() == pixels(seed=2)
    assert where.path.read_bytes()[place.offset : place.offset + place.length] == pixels(seed=2)
    assert place.transfer_syntax == EXPLICIT
    assert archive.frame("1.2.3.2.1", 1).read() == pixels(seed=9)
    _raises(NotFound, lambda: archive.frame("1.2.3.1.2", 2))

    objects = json.loads(archive.metadata(study="1.2.3", series="1.2.3.1"))
    assert [_value(o, "00080018") for o in objects] == ["1.2.3.1.1", "1.2.3.1.2"]
    assert _value(objects[0], "00180060") == 120
    assert "7FE00010" in objects[0]
    assert "InlineBinary" not in objects[0]["7FE00010"]
    assert len(json.loads(archive.metadata(study="1.2.3"))) == 3
    (alone,) = json.loads(archive.metadata(study="1.2.3", series="1.2.3.1", instance="1.2.3.1.2"))
    assert alone == objects[1]
    archive.store(part10(SOPInstanceUID="1.2.3.1.3", InstanceNumber="3"))
    assert len(json.loads(archive.metadata(study="1.2.3", series="1.2.3.1"))) == 3

    changes = archive.changes()
    assert [c.instance for c in changes] == ["1.2.3.1.2", "1.2.3.1.1", "1.2.3.2.1", "1.2.3.1.3"]
    assert [c.seq for c in changes] == sorted({c.seq for c in changes})
    assert [c.instance for c in archive.changes(changes[1].seq, 1)] == ["1.2.3.2.1"]


def _again(archive: Any) -> None:
    raw = part10()
    assert archive.store(raw).outcome == "stored"
    for same in (raw, memoryview(raw), b"MZ" + raw[2:], raw):
        assert archive.store(same).outcome == "duplicate", "the preamble is no content"
    bare = dataset()
    again = archive.store_dataset(bare, sop_class=CT, sop_uid="1.2.3.1.1", transfer_syntax=EXPLICIT)
    assert again.outcome == "duplicate"
    assert archive.stats().instances == 1
    assert len(archive.changes()) == 1
    (where,) = archive.locate(instance="1.2.3.1.1")
    assert where.read() == raw


def _conflicts(archive: Any) -> None:
    archive.store(part10())
    for other, reason in (
        (part10(seed=1), "SOP Instance UID"),
        (part10(SOPInstanceUID="1.9", StudyInstanceUID="1.8"), "Series Instance UID"),
        (part10(SOPInstanceUID="1.9", SeriesInstanceUID="1.7", PatientID="P2"), "patient"),
    ):
        for _ in range(2):
            answer = archive.store(other)
            assert answer.outcome == "conflict"
            assert reason in answer.reason
    assert archive.stats().instances == 1
    assert archive.stats().quarantined == 3
    kept = archive.quarantine()
    assert kept[-1].path.read_bytes() == part10(seed=1)
    assert archive.locate(instance="1.2.3.1.1")[0].read() == part10()
    assert [c.kind for c in archive.changes()] == ["stored"] + ["quarantined"] * 3
    (study,) = archive.search(Query())
    assert _value(study, "00100020") == "P1"
    assert _value(study, "00201208") == 1


def _refusals(archive: Any) -> None:
    good = part10()
    claim = good[:-36] + struct.pack("<I", 0xFFFFFFF0) + good[-32:]
    nameless = part10(StudyInstanceUID="")
    outside = part10(SOPInstanceUID="../../../etc/passwd")
    for bad in (b"", b"no DICOM", good[:-1], good[:200], claim, nameless, outside):
        _raises(ReadError, lambda bad=bad: archive.store(bad))
    for sop_class, sop_uid in ((CT, "1.2.9"), ("1.2.9", "1.2.3.1.1")):
        _raises(
            CorruptFile,
            lambda c=sop_class, u=sop_uid: archive.store_dataset(
                dataset(), sop_class=c, sop_uid=u, transfer_syntax=EXPLICIT
            ),
        )
    assert archive.stats().instances == 0
    assert archive.stats().quarantined == 0


_PEOPLE: tuple[dict[str, Any], ...] = (
    {"PatientName": "Doe^Jane", "PatientID": "P1", "StudyDate": "20200101", "StudyTime": "080000"},
    {"PatientName": "DOE^John", "PatientID": "P_2", "StudyDate": "20200102", "StudyTime": "1015"},
    {"PatientName": "Müller^Ute", "PatientID": "P%3", "StudyDate": "20200103",
     "StudyTime": "101530.5", "ReferringPhysicianName": "House^Gregory"},
    {"PatientName": "Yamada^Tarou=山田^太郎", "PatientID": "p1", "StudyDate": "20210101",
     "AccessionNumber": "A'; DROP TABLE study; --", "StudyTime": "230000"},
)  # fmt: skip

_QUESTIONS: tuple[tuple[dict[str, str], str], ...] = (
    ({}, "0123"),
    ({"PatientName": ""}, "0123"),
    ({"PatientName": "*"}, "0123"),
    ({"PatientName": "doe*"}, "01"),
    ({"PatientName": "DOE^J?NE"}, "0"),
    ({"PatientName": "doe^jane"}, "0"),
    ({"PatientName": "*ute"}, "2"),
    ({"PatientName": "müller*"}, "2"),
    ({"PatientName": "*山田*"}, "3"),
    ({"PatientName": "Doe"}, ""),
    ({"PatientID": "P1"}, "0"),
    ({"PatientID": "p1"}, "3"),
    ({"PatientID": "P_2"}, "1"),
    ({"PatientID": "P_*"}, "1"),
    ({"PatientID": "P%*"}, "2"),
    ({"PatientID": "P?2"}, "1"),
    ({"PatientID": "P*"}, "012"),
    ({"00100020": "P1"}, "0"),
    ({"StudyDate": "20200102"}, "1"),
    ({"StudyDate": "20200102-"}, "123"),
    ({"StudyDate": "-20200102"}, "01"),
    ({"StudyDate": "20200102-20200103"}, "12"),
    ({"StudyDate": "2020-01-02"}, "1"),
    ({"StudyTime": "10-11"}, "12"),
    ({"StudyTime": "1015"}, "12"),
    ({"StudyTime": "-0900"}, "0"),
    ({"StudyTime": "101530-"}, "23"),
    ({"StudyInstanceUID": "1.0"}, "0"),
    ({"StudyInstanceUID": "1.0\\1.2"}, "02"),
    ({"StudyInstanceUID": "1.0,1.3,1.99"}, "03"),
    ({"ModalitiesInStudy": "MR"}, "1"),
    ({"ModalitiesInStudy": "CT"}, "023"),
    ({"AccessionNumber": "A'; DROP TABLE study; --"}, "3"),
    ({"AccessionNumber": "' OR 1=1 --"}, ""),
    ({"ReferringPhysicianName": "house*"}, "2"),
    ({"PatientName": "doe*", "StudyDate": "20200102"}, "1"),
)


def _queries(archive: Any) -> None:
    for n, person in enumerate(_PEOPLE):
        archive.store(
            part10(
                SOPInstanceUID=f"1.{n}.1.1", SeriesInstanceUID=f"1.{n}.1",
                StudyInstanceUID=f"1.{n}", Modality="MR" if n == 1 else "CT", **person,
            )
        )  # fmt: skip

    def ask(**query: Any) -> str:
        found = (str(_value(s, "0020000D")) for s in archive.search(Query(**query)))
        return "".join(sorted(uid.removeprefix("1.") for uid in found))

    for match, expected in _QUESTIONS:
        assert ask(match=match) == expected, match
        found = archive.search(Query(level="INSTANCE", match=match))
        assert len(found) == len(expected), match
    for name, expected in (("muller", "2"), ("jane doe", "01"), ("mueler", "2"), ("do", "01"),
                           ("smith", "")):  # fmt: skip
        assert ask(match={"PatientName": name}, fuzzy=True) == expected, name
    span = {"StudyDate": "20200101-20200103", "StudyTime": "1000-1020"}
    assert ask(match=span) == "12"
    span = {"StudyDate": "20200101-20200102", "StudyTime": "0900-1100"}
    assert ask(match=span, combined_datetime=True) == "1"
    span = {"StudyDate": "20200101-20210101", "StudyTime": "0700-0100"}
    assert ask(match=span, combined_datetime=True) == "012"

    order = [_value(s, "0020000D") for s in archive.search(Query())]
    assert order == ["1.3", "1.2", "1.1", "1.0"], "newest first"
    pages = [archive.search(Query(limit=2, offset=n)) for n in (0, 2, 4)]
    assert [[_value(s, "0020000D") for s in page] for page in pages] == [order[:2], order[2:], []]
    japanese = archive.search(Query(match={"PatientID": "p1"}))[0]
    assert _value(japanese, "00100010") == {
        "Alphabetic": "Yamada^Tarou",
        "Ideographic": "山田^太郎",
    }
    _raises(ParameterError, lambda: archive.search(Query(match={"KVP": "120"})))
    _raises(ParameterError, lambda: archive.search(Query(match={"Modality": "CT"})))
    _raises(ParameterError, lambda: archive.search(Query(limit=-1)))


def _many_at_once(archive: Any) -> None:
    raws = [
        part10(SOPInstanceUID=f"1.2.3.{s}.{n}", SeriesInstanceUID=f"1.2.3.{s}", seed=n)
        for n in range(12)
        for s in (1, 2)
    ]
    with ThreadPoolExecutor(8) as pool:
        outcomes = [s.outcome for s in pool.map(archive.store, raws * 2)]
    assert sorted(outcomes) == ["duplicate"] * 24 + ["stored"] * 24
    (study,) = archive.search(Query())
    assert (_value(study, "00201206"), _value(study, "00201208")) == (2, 24)
    assert [c.seq for c in archive.changes()] == list(range(1, 25))
    assert archive.verify().ok


def _upkeep(archive: Any) -> None:
    for n in range(6):
        archive.store(part10(SOPInstanceUID=f"1.2.3.1.{n}", InstanceNumber=str(n), seed=n))
    archive.store(part10(seed=99, SOPInstanceUID="1.2.3.1.0"))
    levels = ("PATIENT", "STUDY", "SERIES", "INSTANCE")
    before = [archive.search(Query(level=level)) for level in levels]
    last = archive.changes()[-1].seq
    assert archive.rebuild() == 6
    assert [archive.search(Query(level=level)) for level in levels] == before
    assert min(c.seq for c in archive.changes()) > last, "events never take an old number"
    assert archive.verify().ok

    (victim,) = archive.locate(instance="1.2.3.1.3")
    raw = bytearray(victim.path.read_bytes())
    raw[-5] ^= 4
    victim.path.chmod(0o600)
    victim.path.write_bytes(raw)
    found = archive.verify()
    assert found.damaged == ("1.2.3.1.3",)
    assert not found.ok
    _raises(CorruptFile, lambda: archive.frame("1.2.3.1.3", 1))
    _raises(CorruptFile, archive.locate(instance="1.2.3.1.3")[0].read)
    good = part10(SOPInstanceUID="1.2.3.1.3", InstanceNumber="3", seed=3)
    assert archive.store(good).outcome == "duplicate"
    assert archive.locate(instance="1.2.3.1.3")[0].read() == good, "the sender's copy heals it"
    assert archive.frame("1.2.3.1.3", 1).read() == pixels(seed=3)
    assert archive.verify().ok

    (victim,) = archive.locate(instance="1.2.3.1.4")
    raw = bytearray(victim.path.read_bytes())
    raw[-1] ^= 128
    victim.path.write_bytes(raw)
    assert archive.rebuild() == 5, "a rebuilt index does not take damage for content"
    assert archive.locate(instance="1.2.3.1.4") == []
    again = part10(SOPInstanceUID="1.2.3.1.4", InstanceNumber="4", seed=4)
    assert archive.store(again).outcome == "stored"
