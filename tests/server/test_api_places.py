"""No request of the network opens a file of the server by its path."""

import httpx
import pytest
from fastapi import FastAPI

from somascope.archive import Archive
from somascope.core.errors import Refused
from somascope.core.registry import get_operation, operation_names
from somascope.jobs import Jobs
from somascope.process import chain
from somascope.server.api import create_router
from somascope.server.api.places import KNOWN, SEVERAL, permitted

MERE_TEXT = {
    "axes", "by", "colours", "confirm", "confounds", "contrast", "description", "events",
    "families", "label", "layer", "mirror", "name", "steps", "target", "unit",
}  # fmt: skip


def opening():
    """Operations and the parameters that name what is opened."""
    return [
        (n, p.name, p.param.opens)
        for n in operation_names()
        for p in get_operation(n).parameters
        if p.param.opens
    ]


def test_every_text_of_an_operation_is_mere_text_or_said_to_open_something():
    texts = {
        (n, p.name)
        for n in operation_names()
        for p in get_operation(n).parameters
        if p.type == "string" and not p.choices and not p.param.opens
    }
    strange = {(n, p) for n, p in texts if p not in MERE_TEXT}
    assert not strange, (
        "say in Param(opens=...) what these open, or, if they open nothing, add them to MERE_TEXT"
    )


def test_what_opens_something_is_of_a_known_kind():
    found = opening()
    assert len(found) >= 12
    assert {kind for _, _, kind in found} <= set(KNOWN)


@pytest.mark.parametrize(("operation", "parameter", "kind"), opening())
def test_a_path_is_refused(tmp_path, monkeypatch, operation, parameter, kind):
    there = tmp_path / "there.zip"
    there.write_bytes(b"secret")
    monkeypatch.chdir(tmp_path)
    for path in (str(there), "there.zip", "./there.zip", "../there.zip", "/etc/passwd", "~/x", "."):
        with pytest.raises(Refused, match="opens no paths"):
            permitted(operation, {parameter: path})
    if kind in SEVERAL:
        known = KNOWN[kind]()[0]
        permitted(operation, {parameter: known})
        with pytest.raises(Refused, match=r"there\.zip"):
            permitted(operation, {parameter: f"{known},there.zip"})


def test_names_are_permitted(tmp_path, monkeypatch):
    monkeypatch.setenv("SOMASCOPE_ATLASES", str(tmp_path))
    (tmp_path / "knees").mkdir()
    (tmp_path / "knees" / "atlas.json").write_text("{}")
    permitted("segment.by_atlases", {"folder": "knees"})
    permitted("segment.by_atlases", {"folder": ""})
    permitted("models.segment", {"model": "segment.hippocampus"})
    permitted("analyze.apply_rules", {"rules": "recist-1.1, evans-index"})
    with pytest.raises(Refused, match="knees"):
        permitted("segment.by_atlases", {"folder": str(tmp_path / "knees")})


def test_chains_open_nothing():
    # Chains are run by previews, live sources and jobs with the parameters that requests give.
    assert not [n for n, _, _ in opening() if n in chain.names()]


def test_a_job_with_a_path_is_not_queued(tmp_path):
    import asyncio

    with Archive.open(tmp_path / "archive") as archive:
        jobs = Jobs(archive)
        app = FastAPI()
        app.include_router(create_router(archive, jobs), prefix="/api")

        async def ask():
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://s") as client:
                body = {"operation": "models.segment", "inputs": ["1.2"],
                        "params": {"model": str(tmp_path)}}  # fmt: skip
                return await client.post("/api/jobs", json=body)

        answer = asyncio.run(ask())
        assert answer.status_code == 403
        assert str(tmp_path) in answer.json()["message"]
        assert not jobs.list()
