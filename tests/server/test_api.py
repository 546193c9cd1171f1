import asyncio
import json
import zipfile
from io import BytesIO

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image as Picture

import somascope.io as sio
from somascope.archive import Archive
from somascope.core import Grid, Image, Provenance, Source
from somascope.io.dicom.write import instances
from somascope.jobs import Jobs
from somascope.jobs.leases import Leases
from somascope.server.api import create_router
from somascope.server.api.upload import Limits, file_name


def volume(seed=0, shape=(4, 16, 12)):
    values = np.random.default_rng(seed).normal(scale=200, size=shape).astype(np.int16)
    grid = Grid.from_spacing(shape, (3, 1, 1), frame_of_reference="1.2.3")
    return Image(
        values, grid, "CT", "[hnsf'U]", provenance=Provenance((Source("phantom", f"noise{seed}"),))
    )


class Client:
    """Requests to an application in this process."""

    def __init__(self, app):
        self._transport = httpx.ASGITransport(app, raise_app_exceptions=False)

    def request(self, method, path, **more):
        async def ask():
            async with httpx.AsyncClient(transport=self._transport, base_url="http://s") as client:
                return await client.request(method, path, **more)

        return asyncio.run(ask())

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def post(self, path, **more):
        return self.request("POST", path, **more)

    def delete(self, path):
        return self.request("DELETE", path)


@pytest.fixture
def archive(tmp_path):
    with Archive.open(tmp_path / "archive") as opened:
        yield opened


@pytest.fixture
def jobs(archive):
    return Jobs(archive)


@pytest.fixture
def client(archive, jobs):
    app = FastAPI()
    app.include_router(
        create_router(archive, jobs, limits=Limits(file_bytes=1 << 20, files=8)), prefix="/api"
    )
    return Client(app)


@pytest.fixture
def series(archive):
    return {archive.store(f).series for f in instances(volume())}.pop()


def send(client, *files):
    return client.post("/api/upload", files=[("files", f) for f in files])


def test_system_says_what_it_is(client, series):
    told = client.get("/api/system").json()
    assert told["name"] == "Somascope"
    assert told["version"]
    assert told["notice"] == "Not for clinical use."
    assert told["archive"]["instances"] == 4
    assert told["archive"]["series"] == 1
    assert told["jobs"]["queued"] == 0


def test_operations_and_their_schemas(client):
    listed = client.get("/api/operations").json()
    names = [o["name"] for o in listed]
    assert {"process.gaussian", "process.window", "segment.threshold"} <= set(names)
    one = client.get("/api/operations/process.gaussian").json()
    assert one == next(o for o in listed if o["name"] == "process.gaussian")
    sigma = one["params"]["properties"]["sigma"]
    assert (sigma["type"], sigma["unit"], sigma["default"]) == ("number", "mm", 1.0)
    missing = client.get("/api/operations/process.nothing")
    assert missing.status_code == 404
    assert missing.json()["error"] == "NotFound"


def test_a_job_from_start_to_end(client, jobs, archive, series):
    asked = {"operation": "process.gaussian", "inputs": [series], "params": {"sigma": 2}}
    answer = client.post("/api/jobs", json=asked)
    assert answer.status_code == 201
    job = answer.json()
    assert answer.headers["location"] == f"/api/jobs/{job['id']}"
    assert job["state"] == "queued"
    assert job["params"] == {"sigma": 2.0, "dimensions": "volume"}

    from somascope.jobs.run import execute

    leases = Leases(archive.database)
    held = leases.lease("w")
    leases.write_log(held.job.id, ["a line"])
    leases.heartbeat(held, progress=0.5, message="smoothing")
    assert client.get(f"/api/jobs/{job['id']}").json()["progress"] == 0.5
    outputs = execute(archive, held.job.operation, held.job.inputs, held.job.params)
    leases.finish(held, "done", outputs=outputs)

    ended = client.get(f"/api/jobs/{job['id']}").json()
    assert (ended["state"], ended["outputs"]) == ("done", outputs)
    assert "a line" in ended["log"]
    assert "a line" in client.get(f"/api/jobs/{job['id']}/log").text
    listed = client.get("/api/jobs").json()
    assert [j["id"] for j in listed["jobs"]] == [job["id"]]
    assert listed["counts"]["done"] == 1
    assert client.post("/api/jobs", json={**asked, "reuse": True}).json()["id"] == job["id"]
    assert client.get("/api/jobs", params={"state": "failed"}).json()["jobs"] == []

    record = client.get(f"/api/provenance/{outputs[0]}").json()
    assert record["steps"][-1]["operation"] == "process.gaussian"
    assert record["steps"][-1]["inputs"] == [series]
    assert record["notice"] == "Not for clinical use."


def test_cancelling(client, series):
    asked = {"operation": "process.gaussian", "inputs": [series]}
    ids = [client.post("/api/jobs", json=asked).json()["id"] for _ in range(2)]
    assert client.post(f"/api/jobs/{ids[0]}/cancel").json()["state"] == "cancelled"
    assert client.delete(f"/api/jobs/{ids[1]}").json()["state"] == "cancelled"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error", "words"),
    [
        ("get", "/jobs/none", None, 404, "NotFound", "no job 'none'"),
        ("get", "/jobs/none/log", None, 404, "NotFound", "no job"),
        ("post", "/jobs/none/cancel", None, 404, "NotFound", "no job"),
        ("get", "/provenance/9.9", None, 404, "NotFound", "9.9"),
        ("get", "/jobs?limit=0", None, 422, "ParameterError", "limit"),
        ("get", "/jobs?state=gone", None, 422, "ParameterError", "state"),
        ("get", "/events?after=x", None, 400, "ParameterError", "Last-Event-ID"),
        ("post", "/jobs", {"inputs": []}, 422, "ParameterError", "operation"),
        (
            "post",
            "/jobs",
            {"operation": "process.gaussian", "inputs": ["9.9"]},
            404,
            "NotFound",
            "9.9",
        ),
        (
            "post",
            "/jobs",
            {"operation": "process.gaussian", "inputs": ["S"], "params": {"sigma": -1}},
            400,
            "ParameterError",
            "from 0 to 100 mm",
        ),
        (
            "post",
            "/jobs",
            {"operation": "process.gaussian", "inputs": ["S"], "more": 1},
            422,
            "ParameterError",
            "more",
        ),
    ],
)
def test_errors_are_json_with_a_reason(client, series, method, path, body, status, error, words):
    more = {"json": json.loads(json.dumps(body).replace('"S"', f'"{series}"'))} if body else {}
    answer = client.request(method, f"/api{path}", **more)
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "message"}
    assert answer.json()["error"] == error
    assert words in answer.json()["message"]


def test_the_unforeseen_tells_nothing_to_the_outside(client, jobs, monkeypatch, caplog):
    def burst(*args, **kwargs):
        raise RuntimeError("a secret path /srv/x")

    monkeypatch.setattr(Jobs, "list", burst)
    answer = client.get("/api/jobs")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "secret" in caplog.text

    class OperationalError(Exception):
        pass

    def away(*args, **kwargs):
        raise OperationalError("no connection to postgres://user:password@host")

    monkeypatch.setattr(Jobs, "list", away)
    answer = client.get("/api/jobs")
    assert answer.status_code == 503
    assert "password" not in answer.text


def test_upload_of_dicom_is_stored_once(client, archive):
    files = [(f"{n}.dcm", f) for n, f in enumerate(instances(volume(1)))]
    answer = send(client, *files)
    assert answer.status_code == 200
    told = answer.json()["files"]
    assert [t["name"] for t in told] == ["0.dcm", "1.dcm", "2.dcm", "3.dcm"]
    assert {t["outcome"] for t in told} == {"stored"}
    assert len({t["series"] for t in told}) == 1
    again = send(client, files[0]).json()["files"][0]
    assert again["outcome"] == "duplicate"
    assert archive.stats().instances == 4


def test_upload_of_other_formats_becomes_dicom(client, archive, tmp_path):
    image = volume(2)
    sio.write(image, tmp_path / "scan.nii.gz")
    sio.write(image, tmp_path / "scan.nrrd")
    picture = BytesIO()
    rgb = np.random.default_rng(3).integers(0, 255, (20, 30, 3), np.uint8)
    Picture.fromarray(rgb).save(picture, "PNG")
    told = send(
        client,
        ("a/scan.nii.gz", (tmp_path / "scan.nii.gz").read_bytes()),
        ("scan.nrrd", (tmp_path / "scan.nrrd").read_bytes()),
        ("photo.png", picture.getvalue()),
        ("notes.txt", b"this is no image"),
    ).json()["files"]
    by_name = {t["name"]: t for t in told}
    assert by_name["a/scan.nii.gz"]["outcome"] == "stored"
    assert by_name["a/scan.nii.gz"]["instances"] == 4
    assert by_name["scan.nrrd"]["outcome"] == "stored"
    assert by_name["photo.png"]["instances"] == 1
    assert by_name["notes.txt"]["outcome"] == "rejected"
    assert "format" in by_name["notes.txt"]["reason"]
    stored = archive.locate(series=by_name["a/scan.nii.gz"]["series"])
    back = sio.read_all([i.path for i in stored]).images[0]
    np.testing.assert_array_equal(back.data, image.data)
    assert back.grid.allclose(image.grid)
    colour = archive.locate(series=by_name["photo.png"]["series"])
    back = sio.read_all([i.path for i in colour]).images[0]
    np.testing.assert_array_equal(np.moveaxis(back.data[:, 0], 0, -1), rgb)


def test_upload_of_a_zip(client, archive):
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for n, file in enumerate(instances(volume(4))):
            packed.writestr(f"study/{n}", file)
        packed.writestr("readme.txt", "hello")
    (told,) = send(client, ("all.zip", buffer.getvalue())).json()["files"]
    assert (told["outcome"], told["instances"]) == ("stored", 4)
    assert "readme.txt" in told["reason"]
    assert archive.stats().instances == 4


def test_bad_uploads_have_their_reason_and_leave_nothing(client, archive):
    good = instances(volume(5))[0]
    answer = send(
        client,
        ("empty.dcm", b""),
        ("cut.dcm", good[: len(good) // 2]),
        ("../../../etc/passwd", b"root:x:0:0"),
    )
    assert answer.status_code == 422
    told = answer.json()
    assert {t["outcome"] for t in told["files"]} == {"rejected"}
    assert all(t["reason"] for t in told["files"])
    assert told["message"]
    assert archive.stats().instances == 0
    assert not list(archive.root.glob("upload-*"))
    changed = bytearray(good)
    changed[-1] ^= 1
    told = send(client, ("a", good), ("b", bytes(changed))).json()["files"]
    assert [t["outcome"] for t in told] == ["stored", "conflict"]


def test_upload_limits(client, archive):
    big = send(client, ("big", b"\0" * ((1 << 20) + 1)))
    assert big.status_code == 413
    assert "larger than" in big.json()["message"]
    many = send(client, *[(f"{n}", b"x") for n in range(9)])
    assert many.status_code == 413
    assert client.post("/api/upload", content=b"x").status_code == 415
    assert client.post("/api/upload", data={"a": "b"}).status_code == 415
    form = client.post(
        "/api/upload", content=b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--',
        headers={"content-type": "multipart/form-data; boundary=b"},
    )  # fmt: skip
    assert form.status_code == 400
    assert "no file" in form.json()["message"]
    assert not list(archive.root.glob("upload-*"))


def test_file_names():
    assert file_name('form-data; name="files"; filename="a b.dcm"') == "a b.dcm"
    assert file_name("form-data; name=files; filename=x.nii") == "x.nii"
    assert file_name('form-data; name="filename"') is None
    assert file_name('form-data; name="f"; filename="a%22b\\"c"') == 'a"b"c'
    assert file_name('form-data; filename="H\xc3\xbcfte.dcm"') == "Hüfte.dcm"


def test_the_document_describes_every_route(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert {
        "/api/system",
        "/api/operations",
        "/api/jobs",
        "/api/jobs/{id}",
        "/api/jobs/{id}/cancel",
        "/api/jobs/{id}/log",
        "/api/events",
        "/api/upload",
        "/api/provenance/{uid}",
    } <= set(paths)
    assert all(m.get("description") for p in paths.values() for m in p.values())
