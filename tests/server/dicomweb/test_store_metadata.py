"""STOW-RS with DICOM JSON and bulk data; what it does not take it says."""

from __future__ import annotations

import io
import json

import numpy as np
import pydicom
import pytest

from somascope.server.dicomweb import assemble, stow

EXPLICIT = "1.2.840.10008.1.2.1"
OCTETS = "application/octet-stream"
KIND = 'multipart/related; type="application/dicom+json"; boundary=b'


def apart(dataset: pydicom.Dataset) -> tuple[dict, dict[str, bytes]]:
    """A data set as metadata and bulk data, by pydicom."""
    bulk: dict[str, bytes] = {}

    def keep(element) -> str:
        uri = f"bulk/{dataset.SOPInstanceUID}/{len(bulk)}"
        bulk[uri] = bytes(element.value)
        return uri

    return dataset.to_json_dict(64, keep), bulk


def body(metadata, bulk, *, kind: str = OCTETS) -> bytes:
    text = metadata if isinstance(metadata, bytes) else json.dumps(metadata).encode()
    out = b"--b\r\nContent-Type: application/dicom+json\r\n\r\n" + text + b"\r\n"
    for uri, data in bulk.items():
        out += f"--b\r\nContent-Type: {kind}\r\nContent-Location: {uri}\r\n\r\n".encode()
        out += data + b"\r\n"
    return out + b"--b--\r\n"


def post(web, content: bytes, *, kind: str = KIND, path: str = "/dicom-web/studies"):
    with web.client() as client:
        return client.post(path, content=content, headers={"content-type": kind})


def fetch(web, d) -> pydicom.Dataset:
    path = (
        f"/dicom-web/studies/{d.StudyInstanceUID}/series/{d.SeriesInstanceUID}"
        f"/instances/{d.SOPInstanceUID}"
    )
    with web.client() as client:
        answer = client.get(path, headers={"accept": "application/dicom; transfer-syntax=*"})
    assert answer.status_code == 200
    return pydicom.dcmread(io.BytesIO(answer.content))


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small.dcm", "waveform_ecg.dcm", "test-SR.dcm", "rtstruct.dcm"]
)
def test_an_instance_in_pieces_is_the_same_instance(fresh_web, pydicom_files, name):
    web = fresh_web()
    d = pydicom.dcmread(pydicom_files / name, force=True)
    if name == "rtstruct.dcm":
        d.remove_private_tags()
        d.PatientName = "Größe^Ä"
        d.SpecificCharacterSet = "ISO_IR 100"
    metadata, bulk = apart(d)
    answer = post(web, body([metadata], bulk))
    assert answer.status_code == 200, answer.text
    assert answer.json()["00081199"]["Value"][0]["00081155"]["Value"] == [d.SOPInstanceUID]
    back = fetch(web, d)
    assert back.file_meta.TransferSyntaxUID == EXPLICIT
    assert back.SpecificCharacterSet == "ISO_IR 192"
    for one in (d, back):
        if "SpecificCharacterSet" in one:
            del one.SpecificCharacterSet
    assert back.PatientName == d.PatientName
    assert back.to_json_dict() == d.to_json_dict()


def test_a_photograph_as_it_came_from_the_camera(fresh_web, pydicom_files):
    web = fresh_web()
    d = pydicom.dcmread(pydicom_files / "examples_ybr_color.dcm")
    (stream,) = list(pydicom.encaps.generate_frames(d.PixelData))[:1]
    d.NumberOfFrames = 1
    metadata, _ = apart(d)
    metadata["7FE00010"] = {"vr": "OB", "BulkDataURI": "photo"}
    answer = post(
        web,
        body(
            [metadata], {"photo": stream}, kind="image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50"
        ),
    )
    assert answer.status_code == 200, answer.text
    back = fetch(web, d)
    assert back.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.50"
    assert next(pydicom.encaps.generate_frames(back.PixelData)).rstrip(b"\0") == stream.rstrip(
        b"\0"
    )


def test_two_instances_and_only_one_is_good(fresh_web, make_slice):
    web = fresh_web()
    first, second = (pydicom.dcmread(io.BytesIO(make_slice(n))) for n in (1, 2))
    (one, pixels), (two, _) = apart(first), apart(second)
    answer = post(web, body([one, two], pixels))
    assert answer.status_code == 202
    found = answer.json()
    assert len(found["00081199"]["Value"]) == 1
    (failed,) = found["00081198"]["Value"]
    assert failed["00081155"]["Value"] == [second.SOPInstanceUID]
    assert failed["00081197"]["Value"] == [0xC000]
    assert "Content-Location" in failed["00000902"]["Value"][0]
    np.testing.assert_array_equal(fetch(web, first).pixel_array, first.pixel_array)
    # The same once more is fine; with other pixels it is a conflict.
    assert post(web, body([one], pixels)).status_code == 200
    other = {uri: data[::-1] for uri, data in pixels.items()}
    again = post(web, body([one], other))
    assert again.status_code == 409
    assert again.json()["00081198"]["Value"][0]["00081197"]["Value"] == [0x0111]
    assert post(web, body([one], pixels), path="/dicom-web/studies/1.2.3").status_code == 409


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda m, b: m.pop("00080018"), ""),
        (lambda m, b: m["00080018"].update(Value=["../../etc"]), ""),
        (lambda m, b: m["00280010"].update(Value=[4096]), "Pixel Data"),
        (lambda m, b: m["00280010"].update(vr="XX"), "cannot be written"),
        (lambda m, b: m["00280010"].update(Value=["many"]), "cannot be written"),
        (lambda m, b: m.pop("7FE00010"), "an image (SOP class"),
        (lambda m, b: m.update({"zz": 5}), "cannot be written"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_reason(fresh_web, make_slice, change, why):
    web = fresh_web()
    metadata, bulk = apart(pydicom.dcmread(io.BytesIO(make_slice(1))))
    change(metadata, bulk)
    answer = post(web, body([metadata], bulk))
    assert answer.status_code == 409, answer.text
    assert why in answer.text
    with web.client() as client:
        assert client.get("/dicom-web/studies").status_code == 204


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"[5]", b"5", b"[" * 100_000, b"\xff", b'{"00080018": 5}', b"[{}]"]
)
def test_metadata_that_is_none(fresh_web, text):
    assert post(fresh_web(), body(text, {})).status_code in (400, 409)


def test_xml_is_refused_before_it_is_read(fresh_web):
    web = fresh_web()
    bomb = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'
    for kind in (
        'multipart/related; type="application/dicom+xml"; boundary=b',
        "multipart/related; type=application/dicom+xml; boundary=b",
        "application/dicom+xml",
        "text/xml",
    ):
        answer = post(web, b"--b\r\nContent-Type: application/dicom+xml\r\n\r\n" + bomb, kind=kind)
        assert answer.status_code == 415
        assert "application/dicom+json" in answer.json()["detail"]


def test_pixels_in_a_form_that_is_not_known(fresh_web, make_slice):
    metadata, bulk = apart(pydicom.dcmread(io.BytesIO(make_slice(1))))
    for kind in (
        "image/gif",
        "image/jpeg; transfer-syntax=1.2.3",
        f"{OCTETS}; transfer-syntax=1.2.840.10008.1.2.4.50",
    ):
        answer = post(fresh_web(), body([metadata], bulk, kind=kind))
        assert answer.status_code == 409
        assert "pixels as" in answer.text


def test_more_than_fits_is_413(fresh_web, make_slice, monkeypatch):
    metadata, bulk = apart(pydicom.dcmread(io.BytesIO(make_slice(1))))
    monkeypatch.setattr(stow, "MOST_BYTES", 1000)
    assert post(fresh_web(), body([metadata], bulk)).status_code == 413
    monkeypatch.setattr(stow, "MOST_BYTES", assemble.MOST_BYTES)
    monkeypatch.setattr(stow, "MOST_METADATA", 100)
    assert post(fresh_web(), body([metadata], bulk)).status_code == 413
