"""STOW-RS: outcomes per instance, streaming, and what a parser of parts must survive."""

from __future__ import annotations

import asyncio
import hashlib
import io
import itertools
import random

import pydicom
import pytest
from starlette.exceptions import HTTPException

from somascope.server.dicomweb import multipart

STUDY = "1.2.826.0.1.3680043.10.1743.7"


def body_of(files, boundary="b", media="application/dicom") -> bytes:
    head = f"--{boundary}\r\nContent-Type: {media}\r\n\r\n".encode()
    return b"".join(head + f + b"\r\n" for f in files) + f"--{boundary}--\r\n".encode()


def post(web, files, path="/dicom-web/studies"):
    with web.client(accept="application/dicom+json") as client:
        return client.post(
            path,
            content=body_of(files),
            headers={"content-type": 'multipart/related; type="application/dicom"; boundary=b'},
        )


def reasons(answer):
    return [
        item["00081197"]["Value"][0]
        for tag in ("00081198", "0008119A")
        for item in answer.json().get(tag, {}).get("Value", [])
    ]


def changed(data: bytes) -> bytes:
    """The same instance with another picture."""
    d = pydicom.dcmread(io.BytesIO(data))
    d.PixelData = bytes(len(d.PixelData))
    out = io.BytesIO()
    d.save_as(out)
    return out.getvalue()


def test_all_stored(fresh_web, make_slice):
    web = fresh_web()
    answer = post(web, [make_slice(n, side=8) for n in (1, 2, 3)])
    assert answer.status_code == 200
    found = answer.json()
    assert found["00081190"]["Value"] == [f"{web.dicomweb}/studies/{STUDY}"]
    stored = found["00081199"]["Value"]
    assert [s["00081155"]["Value"][0] for s in stored] == [f"{STUDY}.1.{n}" for n in (1, 2, 3)]
    assert "00081198" not in found
    with web.client() as client:
        url = stored[1]["00081190"]["Value"][0]
        got = client.get(url, headers={"accept": "application/dicom; transfer-syntax=*"})
        assert got.content == make_slice(2, side=8)


def test_again_is_fine_and_other_content_is_a_conflict(fresh_web, make_slice):
    web = fresh_web()
    whole = make_slice(1, side=8)
    for _ in range(3):
        assert post(web, [whole]).status_code == 200
    conflict = post(web, [changed(whole)])
    assert conflict.status_code == 409
    assert reasons(conflict) == [0x0111]
    mixed = post(web, [make_slice(2, side=8), changed(whole)])
    assert mixed.status_code == 202
    assert reasons(mixed) == [0x0111]
    assert len(mixed.json()["00081199"]["Value"]) == 1
    with web.client() as client:
        got = client.get(
            f"/dicom-web/studies/{STUDY}/series/{STUDY}.1/instances/{STUDY}.1.1",
            headers={"accept": "application/dicom; transfer-syntax=*"},
        )
        assert got.content == whole


def test_what_cannot_be_understood(fresh_web, make_slice):
    web = fresh_web()
    good = make_slice(1, side=8)
    answer = post(web, [good[:-20], b"text", b"", good])
    assert answer.status_code == 202
    assert sorted(reasons(answer)) == [0xC000, 0xC000, 0xC000]
    other = body_of([b"<html>"], media="text/html")
    with web.client() as client:
        answer = client.post(
            "/dicom-web/studies",
            content=other,
            headers={"content-type": "multipart/related; boundary=b"},
        )
        assert answer.status_code == 409
        assert reasons(answer) == [0xC000]


def test_only_this_study(fresh_web, make_slice):
    web = fresh_web()
    mine, other = make_slice(1, side=8), make_slice(1, side=8, study=f"{STUDY}0")
    answer = post(web, [mine, other], f"/dicom-web/studies/{STUDY}")
    assert answer.status_code == 202
    assert reasons(answer) == [0xA900]
    assert post(web, [other], f"/dicom-web/studies/{STUDY}").status_code == 409
    with web.client() as client:
        assert len(client.get("/dicom-web/instances").json()) == 1


def test_a_full_disk_is_out_of_resources(fresh_web, make_slice, monkeypatch):
    from somascope.archive import Archive, OutOfSpace

    def full(*_args, **_more):
        raise OutOfSpace("the disk is full")

    web = fresh_web()
    monkeypatch.setattr(Archive, "store", full)
    answer = post(web, [make_slice(1, side=8)])
    assert answer.status_code == 409
    assert reasons(answer) == [0xA700]
    item = answer.json()["00081198"]["Value"][0]
    assert item["00081155"]["Value"] == [f"{STUDY}.1.1"]


def test_a_large_instance_goes_through_a_file(fresh_web, make_slice):
    web = fresh_web()
    large = make_slice(1, side=2048)
    assert len(large) > multipart.SPOOL
    assert post(web, [large, make_slice(2, side=8)]).status_code == 200
    with web.client() as client:
        got = client.get(
            f"/dicom-web/studies/{STUDY}/series/{STUDY}.1/instances/{STUDY}.1.1/frames/1",
            headers={"accept": "application/octet-stream"},
        )
        assert got.content == large[-len(got.content) :]
        assert len(got.content) == 2 * 2048 * 2048


def test_many_at_once(fresh_web, make_slice):
    from concurrent.futures import ThreadPoolExecutor

    web = fresh_web()

    def send(k: int) -> int:
        files = [make_slice(n, side=8, series=f"{STUDY}.{k}") for n in range(1, 11)]
        return post(web, files).status_code

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(send, range(6))) == [200] * 6
    with web.client() as client:
        assert len(client.get(f"/dicom-web/studies/{STUDY}/instances").json()) == 60


def read(body: bytes, cuts: list[int], boundary: str, folder, **limits) -> list[tuple[str, bytes]]:
    """Parse a body that arrives cut at these places."""
    edges = [0, *sorted(cuts), len(body)]

    async def stream():
        for a, b in itertools.pairwise(edges):
            yield body[a:b]

    async def collect():
        found = []
        options = {"part_bytes": 1 << 30, "most": 100, **limits}
        async for part in multipart.parts(stream(), boundary, folder=folder, **options):
            with part:
                found.append((part.content_type, bytes(part.data)))
        return found

    return asyncio.run(collect())


@pytest.mark.parametrize("seed", range(20))
def test_parts_are_the_same_however_they_arrive(tmp_path, seed):
    rng = random.Random(seed)
    boundary = rng.choice(["b", "--", "a" * 70, "x_y.z'()+,/:=?"])
    tricky = [b"", b"\r\n", b"\r\n--", f"\r\n--{boundary[:-1]}".encode(), b"-" * 50, b"\r" * 9]
    ends = tricky[:3] + tricky[4:]  # an end that begins the boundary would be one
    data = [
        rng.choice(tricky) + rng.randbytes(rng.randrange(200)) + rng.choice(ends)
        for _ in range(rng.randrange(1, 6))
    ]
    head = f"--{boundary} \t\r\nX: y\r\nContent-Type: Application/DICOM; a=b\r\n\r\n".encode()
    body = b"preamble" * (seed % 2) + (b"\r\n" if seed % 2 else b"")
    body += b"\r\n".join(head + d for d in data) + f"\r\n--{boundary}--epilogue".encode()
    cuts = [rng.randrange(len(body)) for _ in range(rng.randrange(30))]
    if seed % 5 == 0:
        cuts = list(range(len(body)))
    assert read(body, cuts, boundary, tmp_path) == [("application/dicom", d) for d in data]
    with pytest.raises(HTTPException, match="closing boundary"):
        read(body[: body.rindex(b"\r\n")], cuts, boundary, tmp_path)


def test_a_part_with_no_headers(tmp_path):
    assert read(b"--b\r\n\r\nabc\r\n--b--", [], "b", tmp_path) == [("", b"abc")]


def test_large_parts_leave_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(multipart, "SPOOL", 1000)
    data = random.Random(1).randbytes(5000)
    found = read(body_of([data, b"x"]), [100, 2000, 4000], "b", tmp_path)
    assert [hashlib.sha256(d).digest() for _, d in found] == [
        hashlib.sha256(d).digest() for d in (data, b"x")
    ]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(HTTPException, match="larger"):
        read(body_of([data]), [100, 2000], "b", tmp_path, part_bytes=3000)
    with pytest.raises(HTTPException, match="more than 1 parts"):
        read(body_of([b"x", b"y"]), [], "b", tmp_path, most=1)
    assert list(tmp_path.iterdir()) == []
