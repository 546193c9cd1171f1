"""What the viewer asks about learning, at the real server: models, the next cases, training."""

import time
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

from somascope.archive import Archive
from somascope.core import Grid, Image, Provenance, Source
from somascope.io.dicom import pm
from somascope.io.dicom.write import instances
from somascope.models import package
from somascope.server.settings import Settings
from tests.models import graphs
from tests.server.conftest import Web, running


def volume(name, share):
    """Values far from the model's border of 500, but for that share of them, which lie on it."""
    rng = np.random.default_rng(0)
    values = rng.choice([0, 1000], (4, 16, 12)).astype(np.int16)
    doubtful = rng.permutation(values.size).reshape(values.shape) < share * values.size
    grid = Grid.from_spacing(values.shape, (3, 1, 1), frame_of_reference=f"1.2.3.{name}")
    return Image(
        np.where(doubtful, 500, values).astype(np.int16), grid, "MR",
        attributes={"PatientID": name}, provenance=Provenance((Source("phantom", name),)),
    )  # fmt: skip


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Two MR series, a map and a CT; a model that was kept without its plan; the server."""
    monkeypatch.setenv("SOMASCOPE_MODELS", str(tmp_path / "models"))
    made = graphs.segmenter(sharp=0.02)
    made.graph.initializer[1].CopyFrom(graphs.weight("b", [0, -10.0]))
    card = replace(graphs.CARD, spacing_mm=(0.5, 5.0), intensity=(-100.0, 5000.0))
    package.write(graphs.packed(made, card), tmp_path / "models" / "segment.bright.zip")
    with ExitStack() as stack:
        archive = stack.enter_context(Archive.open(tmp_path / "archive"))
        series = {
            name: {archive.store(f).series for f in instances(volume(name, share))}.pop()
            for name, share in (("11", 0.0), ("12", 0.1))
        }
        result = replace(volume("11", 0.5), data=np.ones((4, 16, 12), np.float32), unit="1")
        for file in [*pm.instances(result), *instances(replace(volume("13", 0.2), modality="CT"))]:
            archive.store(file)
        url = stack.enter_context(running(archive, Settings()))
        client = stack.enter_context(Web(url, archive.root, {}).client())
        client.timeout = 280  # processes are started, on a machine that may be busy
        yield client, series


def ended(client):
    while (told := client.get("/api/learning/next").json())["status"] == "RUNNING":
        time.sleep(0.2)
    return told


def test_models_say_what_runs_them_and_whether_they_are_explained(served):
    client, _ = served
    told = {m["name"]: m for m in client.get("/api/learning/models").json()}
    own, shipped = told["segment.bright"], told["classify.breast-ultrasound"]
    assert (own["operation"], own["kept"], own["task"]) == ("models.segment", False, "segment")
    assert "without its plan" in own["why_not"]
    assert (shipped["operation"], shipped["kept"]) == ("classify.breast_ultrasound", True)
    assert own["classes"] == ["bright"]


def test_the_most_doubtful_series_comes_first(served):
    client, series = served
    assert client.get("/api/learning/next").json() == {"status": "NONE"}
    asked = {"models": ["segment.bright"], "count": 5, "anyway": True}
    started = client.post("/api/learning/next", json=asked)
    assert started.status_code == 200, started.text
    told = ended(client)
    assert told["status"] == "DONE", told
    # Neither the map nor the CT is a case of a model of MR images.
    assert [c["series"] for c in told["cases"]] == [series["12"], series["11"]]
    first = told["cases"][0]
    assert (first["patient"], first["modality"]) == ("12", "MR")
    assert first["doubt"] > told["cases"][1]["doubt"]
    assert "doubtful" in first["reason"]
    assert (told["looked"], told["refused"], told["models"]) == (2, 0, ["segment.bright"])


def test_wrong_questions_are_answered_by_name(served, tmp_path):
    client, _ = served
    post = client.post
    for asked, status, said in (
        ({"models": ["segment.none"]}, 404, "segment.none"),
        ({"models": [str(tmp_path / "models" / "segment.bright.zip")]}, 404, "no model"),
        ({"models": []}, 422, "models"),
        ({"models": ["segment.bright"], "count": 0}, 422, "count"),
    ):
        answer = post("/api/learning/next", json=asked)
        assert (answer.status_code, said in answer.text) == (status, True), answer.text
    assert client.delete("/api/learning/next").status_code == 404
    told = client.get("/api/learning/training").json()
    assert (told["able"], told["cases"]) == (False, 0)
    assert told["why_not"]
