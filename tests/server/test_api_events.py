import asyncio
import json

import numpy as np
import pytest

from somascope.archive import Archive
from somascope.core import Grid, Image, Provenance, Source
from somascope.core.errors import ParameterError
from somascope.io.dicom.write import instances
from somascope.jobs import Jobs
from somascope.jobs.leases import Leases
from somascope.server.api import events as module
from somascope.server.api.events import Feed, Position


def files(seed=0):
    values = np.random.default_rng(seed).integers(0, 99, (3, 8, 8), np.int16)
    grid = Grid.from_spacing(values.shape, (1, 1, 1))
    return instances(
        Image(values, grid, "MR", provenance=Provenance((Source("phantom", f"n{seed}"),)))
    )


@pytest.fixture
def archive(tmp_path):
    with Archive.open(tmp_path / "archive") as opened:
        yield opened


@pytest.fixture
def jobs(archive):
    return Jobs(archive)


def parsed(block):
    lines = dict(line.split(": ", 1) for line in block.strip().splitlines() if ": " in line)
    return lines.get("event"), json.loads(lines.get("data", "null")), lines.get("id")


async def take(stream, count, seconds=10):
    async def inner():
        found = []
        async for block in stream:
            if block.startswith("event:"):
                found.append(parsed(block))
                if len(found) == count:
                    return found
        raise AssertionError("the stream ended")

    return await asyncio.wait_for(inner(), seconds)


def test_changes_and_jobs_arrive_from_another_connection(archive, jobs, tmp_path):
    async def scene():
        feed = Feed(archive, jobs, poll=0.02)
        stream = feed.follow()
        assert "retry:" in await anext(stream)
        assert feed.looking
        with Archive.open(tmp_path / "archive") as other:  # as another process would
            series = {other.store(f).series for f in files()}.pop()
            job = Jobs(other).submit("process.gaussian", [series])
            held = Leases(other.database).lease("w")
            Leases(other.database).finish(held, "done", outputs=["1.9"])
        seen = []
        while not any(k == "job" and d["state"] == "done" for k, d, _ in seen):
            seen += await take(stream, 1)
        arrived = [d for k, d, _ in seen if k == "archive"]
        assert sum(d["count"] for d in arrived) == 3
        assert {d["series"] for d in arrived} == {series}
        assert seen[-1][1]["id"] == job.id
        assert seen[-1][1]["outputs"] == ["1.9"]
        await stream.aclose()
        assert not feed.looking

    asyncio.run(scene())


def test_a_listener_that_comes_back_misses_nothing(archive, jobs):
    async def scene():
        feed = Feed(archive, jobs, poll=0.02)
        first = [archive.store(f) for f in files(1)]
        stream = feed.follow(Position(0, 0))
        ((kind, data, id_),) = await take(stream, 1)
        assert (kind, data["count"], data["series"]) == ("archive", 3, first[0].series)
        await stream.aclose()
        second = [archive.store(f) for f in files(2)]  # while nobody listens
        job = jobs.submit("process.gaussian", [second[0].series])
        stream = feed.follow(Position.parse(id_))
        seen = await take(stream, 2)
        assert [k for k, _, _ in seen] == ["archive", "job"]
        assert seen[0][1]["series"] == second[0].series
        assert seen[0][2] is None  # a cut between the two repeats both
        assert seen[1][1]["id"] == job.id
        assert str(Position.parse(seen[1][2])) == f"{6}-{jobs.last_event()}"
        await stream.aclose()

    asyncio.run(scene())


def test_nobody_listening_means_no_looking_and_two_listeners_one_look(archive, jobs, monkeypatch):
    looks = []
    ask = Jobs.last_event
    monkeypatch.setattr(Jobs, "last_event", lambda self: looks.append(1) or ask(self))

    async def scene():
        feed = Feed(archive, jobs, poll=0.02)
        await asyncio.sleep(0.1)
        assert looks == []
        streams = [feed.follow(), feed.follow()]
        for s in streams:
            await anext(s)
        watch = feed._watch
        archive.store(files(3)[0])
        got = await asyncio.gather(*(take(s, 1) for s in streams))
        assert got[0] == got[1]
        assert feed._watch is watch
        await streams[0].aclose()
        assert feed.looking
        await streams[1].aclose()
        assert not feed.looking
        await asyncio.sleep(0.3)  # a look already under way in its thread may still end
        count = len(looks)
        await asyncio.sleep(0.2)
        assert len(looks) == count

    asyncio.run(scene())


def test_the_first_of_two_listeners_may_leave(archive, jobs):
    async def scene():
        feed = Feed(archive, jobs, poll=0.02)
        a, b = feed.follow(), feed.follow()
        await anext(a)
        await anext(b)
        await a.aclose()
        archive.store(files(4)[0])
        assert (await take(b, 1))[0][0] == "archive"
        await b.aclose()

    asyncio.run(scene())


def test_far_behind_or_ahead_is_told_to_load_anew(archive, jobs, monkeypatch):
    monkeypatch.setattr(module, "BEHIND", 2)
    for f in files(5):
        archive.store(f)

    async def scene(start):
        stream = Feed(archive, jobs, poll=0.02).follow(start)
        ((kind, _, id_),) = await take(stream, 1)
        assert kind == "resync"
        assert Position.parse(id_) == Position(3, 0)
        archive.store(files(6)[0])
        await stream.aclose()

    asyncio.run(scene(Position(0, 0)))


def test_an_id_of_another_archive(archive, jobs):
    async def scene():
        stream = Feed(archive, jobs, poll=0.02).follow(Position(99, 99))
        assert (await take(stream, 1))[0][0] == "resync"
        await stream.aclose()

    asyncio.run(scene())


def test_silence_is_filled_with_beats(archive, jobs):
    async def scene():
        stream = Feed(archive, jobs, poll=0.02).follow(beat=0.05)
        await anext(stream)
        assert await asyncio.wait_for(anext(stream), 5) == ": beat\n\n"
        await stream.aclose()

    asyncio.run(scene())


@pytest.mark.parametrize("text", ["", "1", "1-", "-1", "a-b", "1-2-3", "1-" + "9" * 60, "١-٢x"])
def test_what_is_no_id(text):
    with pytest.raises(ParameterError, match="Last-Event-ID"):
        Position.parse(text)


def test_over_http(archive, jobs):
    """The stream of a real server: headers, resume by Last-Event-ID, end at a disconnect."""
    import socket
    import threading
    import time

    import httpx
    import uvicorn
    from fastapi import FastAPI

    from somascope.server.api import create_router

    app = FastAPI()
    app.include_router(create_router(archive, jobs, poll=0.02), prefix="/api")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", ws="none",
                       timeout_graceful_shutdown=2)
    )  # fmt: skip
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        end = time.monotonic() + 20
        while not server.started and time.monotonic() < end:
            time.sleep(0.02)
        archive.store(files(7)[0])
        with (
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client,
            client.stream("GET", "/api/events", headers={"Last-Event-ID": "0-0"}) as answer,
        ):
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers["cache-control"] == "no-cache"
            lines = answer.iter_lines()
            while next(lines) != "event: archive":
                pass
            assert next(lines) == "id: 1-0"
            assert json.loads(next(lines).removeprefix("data: "))["kind"] == "stored"
    finally:
        server.should_exit = True
        thread.join(10)
    assert not thread.is_alive()
