"""MONAI Label's clients at the real server: what they ask, in the order in which they ask it."""

import gzip
import json
import time
from contextlib import ExitStack
from dataclasses import replace
from email.parser import BytesParser

import nibabel
import numpy as np
import pytest

from somascope.archive import Archive
from somascope.core import Grid, Image, Provenance, Source
from somascope.core.errors import NotFound
from somascope.io import read_all
from somascope.io.dicom.write import instances
from somascope.jobs import Jobs
from somascope.learn.datasets.stored import segmentations
from somascope.models import package
from somascope.server.settings import Settings
from tests.models import graphs
from tests.server.conftest import Web, running

BASE = "/api/monailabel"
TOKEN = "a-token-of-enough-characters"


def volume(seed=0):
    values = np.zeros((4, 16, 12), np.int16)
    values[1:3, 4:9, 3:8] = 1000
    values[0, 0, 0] = seed + 1
    grid = Grid.from_spacing(values.shape, (3, 1, 1), frame_of_reference=f"1.2.3.{seed}")
    return Image(values, grid, "MR", provenance=Provenance((Source("phantom", f"block{seed}"),)))


@pytest.fixture
def served(tmp_path, monkeypatch):
    """An archive with one series, a model, one worker, and the server in front of them."""
    monkeypatch.setenv("SOMASCOPE_MODELS", str(tmp_path / "models"))
    made = graphs.segmenter(sharp=0.02)
    made.graph.initializer[1].CopyFrom(graphs.weight("b", [0, -10.0]))
    card = replace(graphs.CARD, spacing_mm=(0.5, 5.0), intensity=(-100.0, 5000.0))
    package.write(graphs.packed(made, card), tmp_path / "models" / "segment.bright.zip")
    with ExitStack() as stack:
        archive = stack.enter_context(Archive.open(tmp_path / "archive"))
        series = {archive.store(f).series for f in instances(volume())}.pop()
        stack.enter_context(Jobs(archive).run_local(workers=1))
        url = stack.enter_context(running(archive, Settings(token=TOKEN)))
        web = Web(url, archive.root, {}, series=series)
        client = stack.enter_context(web.client(authorization=f"Bearer {TOKEN}"))
        client.timeout = 280  # processes are started, on a machine that may be busy
        yield archive, web, client


def form(answer):
    """Fields and files of a multipart answer, by the standard library's parser of mail."""
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    found = {}
    for part in BytesParser().parsebytes(head + answer.content).get_payload():
        name = part.get_param("name", header="content-disposition")
        found[name] = (part.get_filename(), part.get_payload(decode=True))
    return found


def nifti(data):
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(data))


def test_a_client_from_its_first_question_to_its_label(served, tmp_path):
    archive, web, client = served
    with web.client() as stranger:
        assert stranger.get(f"{BASE}/info/").status_code == 401
    told = client.get(f"{BASE}/info/").json()
    assert told["models"]["segment.bright"]["labels"] == {"bright": 1}
    assert told["models"]["segment.bright"]["type"] == "segmentation"
    assert "segment.bright" in told["trainers"]
    assert told["datastore"]["total"] == 1
    following = client.post(f"{BASE}/activelearning/first", json={"client_id": "x"}).json()
    assert following["id"] == web.series
    image = client.get(f"{BASE}/datastore/image", params={"image": web.series})
    assert image.status_code == 200
    seen = nifti(image.content)
    assert np.array_equal(np.sort(seen.get_fdata(), axis=None), np.sort(volume().data, axis=None))

    answer = client.post(
        f"{BASE}/infer/segment.bright", params={"image": web.series},
        data={"params": json.dumps({"anyway": True, "client_id": "x"})}, files={"x": (None, b"")},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    parts = form(answer)
    params = json.loads(parts["params"][1])
    assert params["label_names"] == {"bright": 1}
    name, data = parts["image"]
    assert name.endswith(".nii.gz")
    mask = nifti(data)
    assert np.allclose(mask.affine, seen.affine)
    assert np.array_equal(mask.get_fdata() > 0, seen.get_fdata() >= 500)

    again = {
        "params": {"image": web.series, "output": "json"},
        "files": {"x": (None, b"")},
        "data": {"params": json.dumps({"anyway": True})},
    }
    same = client.post(f"{BASE}/infer/segment.bright", **again).json()
    assert (same["job"], same["label"]) == (params["job"], params["label"])
    known = archive.root.parent / "models" / "segment.bright.zip"
    package.write(replace(package.read(known), card=replace(package.read(known).card, version="2")),
                  known, overwrite=True)  # fmt: skip
    other = client.post(f"{BASE}/infer/segment.bright", **again).json()
    assert other["job"] != params["job"]  # another model's answer is not its
    assert client.get(f"{BASE}/datastore/").json()["completed"] == 0  # no answer is a label
    with pytest.raises(NotFound, match="does not count"):
        segmentations(archive.root)

    drawn = np.zeros(seen.shape, np.uint8)
    drawn[2:6, 3:7, 1:3] = 2
    label = tmp_path / "label.nii.gz"
    nibabel.save(nibabel.Nifti1Image(drawn, seen.affine), label)
    info = {"label_info": [{"name": "thing\\\r\n\0", "idx": 2}]}
    saved = client.put(
        f"{BASE}/datastore/label", params={"image": web.series, "tag": "final"},
        data={"params": json.dumps(info)}, files={"label": ("label.nii.gz", label.read_bytes())},
    )  # fmt: skip
    assert saved.status_code == 200, saved.text
    (kept,) = read_all([i.path for i in archive.locate(series=saved.json()["label"])]).masks
    assert [(s.label, s.algorithm) for s in kept.segments] == [("thing", "manual")]
    assert kept.plane(kept.segments[0].number).sum() == (drawn > 0).sum()
    back = client.get(f"{BASE}/datastore/label", params={"label": web.series, "tag": "final"})
    assert np.array_equal(nifti(back.content).get_fdata() > 0, drawn > 0)
    assert client.get(f"{BASE}/datastore/").json()["completed"] == 1
    listed = client.get(f"{BASE}/datastore/", params={"output": "all"}).json()["images"]
    assert listed[web.series]["labels"]["final"]["info"]["name"] == saved.json()["label"]
    assert client.post(f"{BASE}/activelearning/first", json={}).json() == {}


def test_a_session_is_the_series_that_was_sent(served):
    archive, _, client = served
    other = volume(seed=1)
    files = [("files", (f"{n}.dcm", f)) for n, f in enumerate(instances(other))]
    opened = client.put(f"{BASE}/session/", files=files)
    assert opened.status_code == 200, opened.text
    session = opened.json()["session_id"]
    assert archive.locate(series=session)
    assert client.get(f"{BASE}/session/{session}").json()["image"] == session
    told = client.post(
        f"{BASE}/infer/segment.bright", params={"image": "x", "session_id": session,
                                                "output": "json"},
    )  # fmt: skip
    assert told.status_code == 200, told.text
    assert told.json()["image"] == session
    assert client.delete(f"{BASE}/session/{session}").status_code == 200
    assert archive.locate(series=session)  # nothing is deleted


def test_wrong_questions_are_answered_by_name(served):
    _, web, client = served
    ask = client.post
    for answer, status, said in (
        (ask(f"{BASE}/infer/segment.none", params={"image": web.series}), 404, "segment.none"),
        (ask(f"{BASE}/infer/segment.bright"), 400, "?image=UID"),
        (ask(f"{BASE}/infer/segment.bright", params={"image": "1.2"}), 404, "1.2"),
        (ask(f"{BASE}/infer/segment.bright", params={"image": web.series},
             data={"params": "[1"}, files={"x": (None, b"")}), 400, "not JSON"),
        (client.put(f"{BASE}/datastore/label", params={"image": web.series},
                    data={"params": '{"label_info": [{"name": "a", "idx": true}]}'},
                    files={"label": ("x.nii", b"x")}), 400, "whole number"),
        (client.get(f"{BASE}/datastore/image", params={"image": ""}), 404, "no series"),
        (client.get(f"{BASE}/datastore/image", params={"image": "../../etc"}), 404, "no series"),
        (client.get(f"{BASE}/session/1.2.3"), 404, "1.2.3"),
        (client.get(f"{BASE}/train/", params={"check_if_running": True}), 404, "no training"),
        (client.delete(f"{BASE}/train/"), 404, "no training"),
        (client.delete(f"{BASE}/datastore/", params={"id": web.series}), 405, "keeps everything"),
        (ask(f"{BASE}/train/../up", json={}), 404, ""),
        (ask(f"{BASE}/train/evil", json={}), 400, "segment.NAME"),
        (ask(f"{BASE}/train/segment.x", json={"budget_minutes": -1}), 400, "budget_minutes"),
        (ask(f"{BASE}/train/segment.x", json={}), 404, "is outlined"),
        (client.put(f"{BASE}/datastore/label", params={"image": web.series},
                    files={"label": ("x.pt", b"x")}), 400, "x.pt"),
        (client.put(f"{BASE}/datastore/label", params={"image": web.series},
                    files={"label": ("x.nii", b"x" * 400)}), 422, ""),
        (client.put(f"{BASE}/session/", files={"files": ("x.txt", b"x")}), 400, "no image"),
        (ask(f"{BASE}/activelearning/clever", json={}), 404, "clever"),
    ):  # fmt: skip
        assert answer.status_code == status, (status, said, answer.text)
        assert said in answer.text
    assert not list(web.root.glob("upload-*"))


def test_without_a_worker_the_client_is_told(tmp_path, monkeypatch):
    import asyncio

    import httpx
    from fastapi import FastAPI

    from somascope.server.monailabel.routes import label_router

    monkeypatch.setenv("SOMASCOPE_MODELS", str(tmp_path / "models"))
    package.write(graphs.packed(graphs.segmenter()), tmp_path / "models" / "segment.bright.zip")
    with Archive.open(tmp_path / "archive") as archive:
        series = {archive.store(f).series for f in instances(volume())}.pop()
        app = FastAPI()
        jobs = Jobs(archive)
        app.include_router(label_router(archive, jobs, patience=0.0), prefix=BASE)

        async def ask():
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://s") as client:
                path = f"{BASE}/infer/segment.bright"
                return await client.post(path, params={"image": series})

        answer = asyncio.run(ask())
        assert answer.status_code == 503
        assert "--workers 1" in answer.text
        assert [j.state for j in jobs.list()] == ["cancelled"]


def test_training_is_one_run_that_is_told_of_and_stopped(tmp_path, monkeypatch):
    """The process in the place of a training waits to be stopped, or ends as it is told."""
    pytest.importorskip("torch")
    from somascope.core.errors import Conflict
    from somascope.server import background
    from somascope.server.monailabel import training

    sleeper = tmp_path / "sleeper.py"
    sleeper.write_text("import sys, time; sys.stdin.readline(); print('waiting', flush=True)\n"
                       "time.sleep(600)\n")  # fmt: skip
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(training, "MODULE", "sleeper")
    real = background.subprocess.Popen
    monkeypatch.setattr(
        background.subprocess, "Popen",
        lambda call, **more: real([c for c in call if c != "-P"], **more),
    )  # fmt: skip
    run = training.Training(tmp_path)
    with pytest.raises(NotFound):
        run.status()
    told = run.start("segment.x", {"client_id": "slicer"}, cases=list)
    assert (told["status"], told["model"]) == ("RUNNING", "segment.x")
    assert run.running
    with pytest.raises(Conflict, match="stop it first"):
        run.start("segment.x", {}, cases=list)
    assert training.Training(tmp_path).status()["status"] == "ERROR"  # another server's
    assert run.stop()["status"] == "CANCELED"
    with pytest.raises(NotFound):
        run.stop()
    sleeper.write_text("raise SystemExit(1)\n")
    run.start("segment.x", {}, cases=list)
    run._process.wait(60)
    assert run.status()["status"] == "ERROR"


@pytest.mark.slow
def test_training_on_outlines_makes_a_model(served, tmp_path):
    """The archive's own outlines, for a moment: a model that is there by name afterwards."""
    pytest.importorskip("torch")
    archive, _, client = served
    from somascope.core import Mask, Segment
    from somascope.io.dicom.seg import instances as outlines

    for seed in range(2, 8):
        image = replace(volume(seed), attributes={"PatientID": f"P{seed}"})
        files = list(instances(image))
        for file in files:
            archive.store(file)
        (back,) = read_all(
            [i.path for i in archive.locate(series=archive.store(files[0]).series)]
        ).images
        labels = (back.data >= 500).astype(np.uint8)
        mask = Mask(data=labels, grid=back.grid, segments=(Segment(1, "block"),),
                    on=tuple(u for s in back.provenance.sources for u in s.uids),
                    provenance=back.provenance, attributes=dict(back.attributes))  # fmt: skip
        for file in outlines(mask):
            archive.store(file)
    started = client.post(f"{BASE}/train/segment.block", json={"budget_minutes": 0.05})
    assert started.status_code == 200, started.text
    while client.get(f"{BASE}/train/", params={"check_if_running": True}).status_code == 200:
        time.sleep(0.3)
    told = client.get(f"{BASE}/train/").json()
    assert told["status"] == "DONE", told
    assert "segment.block-corrected" in client.get(f"{BASE}/info/").json()["models"]
