"""QIDO-RS: parameters by keyword and tag, fields, paging, and the answers' form."""

from __future__ import annotations

import pytest

STUDY = "1.2.826.0.1.3680043.10.1743.7"
SERIES = f"{STUDY}.1"


def ask(web, path, params=()):
    with web.client(accept="application/dicom+json") as client:
        answer = client.get(f"/dicom-web{path}", params=params)
        if answer.status_code == 204:
            assert answer.content == b""
            return []
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/dicom+json"
        return answer.json()


def patients(found):
    return {d["00100020"]["Value"][0] for d in found if d["00100020"].get("Value")}


@pytest.mark.parametrize(
    "params",
    [
        {"PatientID": "PHANTOM1"},
        {"00100020": "PHANTOM1"},
        {"00100020": "PHANT?M*"},
        {"PatientName": "Phantom*"},
        {"PatientName": "phantom^web"},
        {"PatientName": "phanton", "fuzzymatching": "true"},
        {"StudyInstanceUID": STUDY},
        {"0020000d": STUDY},
        {"StudyInstanceUID": f"1.2.3,{STUDY}"},
        {"StudyDate": "20260102"},
        {"StudyDate": "20260101-20260103"},
        {"StudyDate": "20260102-"},
        {"AccessionNumber": "ACC7", "ModalitiesInStudy": "CT"},
    ],
    ids=str,
)
def test_ways_to_find_one_study(web, params):
    found = ask(web, "/studies", params)
    assert patients(found) == {"PHANTOM1"}
    assert found[0]["0020000D"]["Value"] == [STUDY]


@pytest.mark.parametrize(
    "params",
    [
        {"PatientID": "phantom1x"},
        {"PatientName": "phanton"},
        {"StudyDate": "-19000101"},
        {"PatientID": "PHANTOM1", "StudyDate": "20250101"},
        {"PatientID": "PHANTOM_"},
        {"PatientID": "PHANTOM%"},
    ],
    ids=str,
)
def test_what_must_not_be_found(web, params):
    assert ask(web, "/studies", params) == []


def test_the_required_attributes_are_there(web):
    (study,) = ask(web, "/studies", {"PatientID": "PHANTOM1"})
    wanted = (
        "00080020 00080030 00080050 00080056 00080061 00080090 00081190 00100010 00100020 "
        "00100030 00100040 0020000D 00200010 00201206 00201208"
    )  # PS3.18 table 10.6.3-3
    assert [t for t in wanted.split() if t not in study] == []
    assert study["00080061"]["Value"] == ["CT"]
    assert study["00080056"]["Value"] == ["ONLINE"]
    (series,) = ask(web, f"/studies/{STUDY}/series")
    wanted = "00080060 0008103E 0020000E 00200011 00201209 00081190"
    assert [t for t in wanted.split() if t not in series] == []
    instance = ask(web, f"/studies/{STUDY}/series/{SERIES}/instances")[0]
    wanted = "00080016 00080018 00200013 00280010 00280011 00280100 00081190"
    assert [t for t in wanted.split() if t not in instance] == []
    assert instance["00081190"]["Value"] == [
        f"{web.dicomweb}/studies/{STUDY}/series/{SERIES}/instances/{SERIES}.1"
    ]


def test_fields_beyond_the_required(web):
    plain = ask(web, f"/studies/{STUDY}/instances", {"limit": "1"})[0]
    assert "00280030" not in plain
    for fields in (
        [("includefield", "PixelSpacing"), ("includefield", "00180050")],
        [("includefield", "PixelSpacing,SliceThickness")],
        [("includefield", "all")],
    ):
        found = ask(web, f"/studies/{STUDY}/instances", [("limit", "1"), *fields])[0]
        assert found["00280030"]["Value"] == [1, 1]
        assert found["00180050"]["Value"] == [2]


def test_paging(web):
    uids = [d["00080018"]["Value"][0] for d in ask(web, f"/studies/{STUDY}/instances")]
    assert uids == [f"{SERIES}.{n}" for n in range(1, 7)]
    paged = []
    for offset in range(0, 8, 2):
        page = ask(web, f"/studies/{STUDY}/instances", {"limit": 2, "offset": offset})
        paged += [d["00080018"]["Value"][0] for d in page]
    assert paged == uids


def test_a_page_that_is_not_all_says_so(fresh_web, make_slice):
    web = fresh_web(page=3)
    with web.client() as client:
        for n in range(1, 6):
            client.post(
                "/dicom-web/studies",
                content=make_slice(n, side=4),
                headers={"content-type": "application/dicom"},
            )
        answer = client.get("/dicom-web/instances")
        assert len(answer.json()) == 3
        assert answer.headers["warning"].startswith("299 ")
        assert "warning" not in client.get("/dicom-web/instances?limit=2").headers
        rest = client.get("/dicom-web/instances?offset=3")
        assert len(rest.json()) == 2
        assert "warning" not in rest.headers


@pytest.mark.parametrize("prefix", ["/dicom-web", "/dicomweb"])
def test_all_levels_under_both_names(web, prefix):
    with web.client() as client:
        for path in ("/studies", "/series", "/instances"):
            answer = client.get(f"{prefix}{path}?PatientID=PHANTOM1")
            assert answer.status_code == 200
            assert prefix in answer.json()[0]["00081190"]["Value"][0]
        assert client.head(f"{prefix}/studies").status_code == 200


def test_wrong_parameters_are_named(web):
    with web.client() as client:
        for query, name in (
            ("PatientsName=x", "PatientsName"),
            ("limit=ten", "limit"),
            ("includefield=Foo", "Foo"),
            ("StudyDate=2026-01-02", "StudyDate"),
            ("fuzzymatching=1", "fuzzymatching"),
        ):
            answer = client.get(f"/dicom-web/studies?{query}")
            assert answer.status_code == 400
            assert name in answer.json()["detail"]
        xml = client.get("/dicom-web/studies", headers={"accept": "application/dicom+xml"})
        assert xml.status_code == 406
