"""The live view over a real WebSocket: who is let in, what arrives, what is never queued."""

import asyncio
import json
import struct
import time
from contextlib import asynccontextmanager

import httpx
import numpy as np
import pytest

from somascope.io.dicom.series import volumes
from somascope.server.live import routes
from somascope.server.live.session import IN_FLIGHT

TOKEN = "a-token-that-is-long-enough"


@asynccontextmanager
async def view(url, **headers):
    from websockets.asyncio.client import connect

    address = url.replace("http", "ws") + "/api/live"
    async with connect(address, max_size=None, additional_headers=headers) as socket:
        yield socket


async def until(socket, kind, *, drawn=True, seconds=120):
    """The next message of a kind; ``frame`` gives its head and its pixels."""
    async with asyncio.timeout(seconds):
        while True:
            message = await socket.recv()
            if isinstance(message, bytes):
                length = struct.unpack("<I", message[:4])[0]
                head = json.loads(message[4 : 4 + length])
                if drawn:
                    await socket.send(json.dumps({"drawn": head["number"]}))
                if kind == "frame":
                    pixels = np.frombuffer(message, np.uint8, offset=4 + length)
                    return head, pixels.reshape(head["rows"], head["columns"], -1).squeeze()
            else:
                said = json.loads(message)
                if said["kind"] == kind:
                    return said
                if said["kind"] in ("problem", "end"):
                    raise AssertionError(said)


def start(**given):
    return json.dumps(
        {"start": {"source": "fluoroscopy", "size": 128, "rate": 30, "chain": [], **given}}
    )


@pytest.fixture
def site(fresh_web):
    return fresh_web()


def test_what_there_is(site):
    with site.client() as client:
        offer = client.get("/api/live/sources").json()
    assert "process.lee" in offer["operations"]
    assert {s["name"] for s in offer["sources"]} >= {"ultrasound", "fluoroscopy", "series"}
    assert offer["views"] == 0


def test_frames_come_with_their_times_and_a_chain_that_changes(site):
    async def scene():
        async with view(site.url) as socket:
            await socket.send(start())
            assert (await until(socket, "ready"))["confined"] in (True, False)
            head, plain = await until(socket, "frame")
            assert (head["rows"], head["columns"], head["channels"]) == (128, 128, 1)
            assert head["captured"] <= head["sent"] <= time.time()
            assert set(head["stages"]) == {"logarithm", "display"}
            smooth = [{"operation": "process.gaussian", "params": {"sigma": 6.0}}]
            await socket.send(json.dumps({"chain": smooth}))
            while "gaussian" not in head["stages"]:
                head, blurred = await until(socket, "frame")
            rough = [np.abs(np.diff(p.astype(float), n=2)).mean() for p in (plain, blurred)]
            assert rough[1] < 0.3 * rough[0]
            await socket.send(json.dumps({"ping": 17}))
            pong = await until(socket, "pong")
            assert pong["ping"] == 17
            assert abs(pong["now"] - time.time()) < 30
            await socket.send(json.dumps({"chain": smooth, "limits": [0.5, 1.0], "rate": 60}))
            while (head["lower"], head["upper"]) != (0.5, 1.0):
                head, _ = await until(socket, "frame")
            await socket.send(json.dumps({"stop": True}))
            await until(socket, "stopped", drawn=False)

    asyncio.run(scene())


def test_a_page_that_does_not_draw_gets_no_queue(site):
    async def scene():
        async with view(site.url) as socket:
            await socket.send(start(rate=60))
            frames = [await until(socket, "frame", drawn=False) for _ in range(IN_FLIGHT)]
            with pytest.raises(TimeoutError):
                await until(socket, "frame", drawn=False, seconds=2)
            late = time.time()
            await socket.send(json.dumps({"drawn": 1}))
            head, _ = await until(socket, "frame", drawn=False)
            # What comes after the silence is the newest that arrived: nothing had waited.
            assert head["captured"] >= late - 1.5 / 60
            assert head["number"] - frames[-1][0]["number"] > 60
            assert head["skipped"] > 60

    asyncio.run(scene())


def test_frozen_is_frozen_and_what_was_seen_is_saved(site):
    async def scene():
        async with view(site.url) as socket:
            await socket.send(start(chain=[{"operation": "process.kuan"}]))
            seen = [await until(socket, "frame") for _ in range(6)]
            await socket.send(json.dumps({"freeze": True}))
            while True:
                try:
                    seen.append(await until(socket, "frame", seconds=1.5))
                except TimeoutError:
                    break
            await socket.send(json.dumps({"save": 4}))
            saved = await until(socket, "saved")
            await socket.send(json.dumps({"freeze": False}))
            await until(socket, "frame")
            return seen, saved

    seen, saved = asyncio.run(scene())
    assert saved["frames"] == 4
    with site.client() as client:
        path = f"/dicom-web/studies/{saved['study']}/series/{saved['series']}"
        metadata = client.get(f"{path}/metadata").json()
        assert len(metadata) == 1
        assert metadata[0]["00280008"]["Value"] == [4]
        assert metadata[0]["00100010"]["Value"][0]["Alphabetic"] == "Live^Fluoroscopy"
        uid = metadata[0]["00080018"]["Value"][0]
        steps = client.get(f"/api/provenance/{uid}").json()["steps"]
        assert [s["operation"] for s in steps] == ["process.kuan"]
    files = [p for p in site.root.rglob("*.dcm") if p.is_file()]
    images, problems = volumes(files)
    assert not problems
    data = images[0].data.reshape(4, 128, 128)
    for stored, (_, shown) in zip(data, seen[-4:], strict=True):
        np.testing.assert_array_equal(stored, shown)
    times = np.diff([h["captured"] for h, _ in seen[-4:]])
    assert images[0].axes[0].values[-1] == pytest.approx(times.sum(), rel=0.02)


def test_a_stored_cine_is_played_again(fresh_web):
    from somascope import phantoms
    from somascope.archive import Archive
    from somascope.io.dicom.write import instances

    heart = phantoms.heart_us(frames=5, size=64)
    site = fresh_web()
    with Archive.open(site.root) as archive:
        stored = archive.store(instances(heart)[0])

    async def scene():
        async with view(site.url) as socket:
            await socket.send(start(source="series", series=stored.series))
            frames = [await until(socket, "frame") for _ in range(4)]
            await socket.send(json.dumps({"save": 2}))
            return frames, await until(socket, "saved")

    frames, saved = asyncio.run(scene())
    for head, pixels in frames:
        np.testing.assert_array_equal(pixels, heart.data[head["number"] % 5, 0])
    assert saved["study"] == stored.study  # beside what it was made of
    assert saved["series"] != stored.series


@pytest.mark.parametrize(
    ("message", "word"),
    [
        ("[]", "JSON object"),
        ("{", "cannot be read"),
        (start(source="camera"), "camera"),
        (start(size=4000), "choose 128"),
        (start(rate=1e9), "1 to 60"),
        (start(rate="x"), "cannot be read"),
        (start(chain=[{"operation": "process.gaussian", "params": {"sigma": -1}}]), "sigma"),
        (start(source="series", series="1.2.3"), "1.2.3"),
        (start(source="series"), "which series"),
        ('{"start": 3}', "an object"),
    ],
)
def test_nonsense_is_told_and_the_line_stays(site, message, word):
    async def scene():
        async with view(site.url) as socket:
            await socket.send(message)
            said = json.loads(await socket.recv())
            assert said["kind"] == "problem"
            assert word in said["message"]
            await socket.send(json.dumps({"ping": 1}))
            assert json.loads(await socket.recv())["kind"] == "pong"

    asyncio.run(scene())


def test_a_wrong_chain_leaves_the_right_one_running(site):
    async def scene():
        async with view(site.url) as socket:
            await socket.send(start(chain=[{"operation": "process.kuan"}]))
            await until(socket, "frame")
            await socket.send(json.dumps({"chain": [{"operation": "process.kuan",
                                                     "params": {"size": 2}}]}))  # fmt: skip
            said = await until_problem(socket)
            assert "size" in said["message"]
            # An operation that fails on a frame is told too, and the frame is shown without it.
            grow = [{"operation": "process.resample", "params": {"spacing": [0.1]}}]
            await socket.send(json.dumps({"chain": grow}))
            said = await until_problem(socket)
            assert "at most" in said["message"]
            head, _ = await until(socket, "frame")
            assert head["rows"] == 128

    async def until_problem(socket):
        with pytest.raises(AssertionError) as caught:
            await until(socket, "no such kind", seconds=60)
        return caught.value.args[0]

    asyncio.run(scene())


async def refused(url, **headers):
    from websockets.exceptions import InvalidStatus

    try:
        async with view(url, **headers):
            return False
    except InvalidStatus as error:
        return error.response.status_code == 403


def test_only_who_may_is_let_in(fresh_web):
    async def scene():
        locked = fresh_web(token=TOKEN)
        assert await refused(locked.url)
        assert await refused(locked.url, Authorization="Bearer something-else-entirely")
        async with view(locked.url, Authorization=f"Bearer {TOKEN}") as socket:
            await socket.send(json.dumps({"ping": 1}))
            assert json.loads(await socket.recv())["kind"] == "pong"
        free = fresh_web()
        # A page of another site, and a name that only a rebound DNS would give.
        assert await refused(free.url, Origin="https://elsewhere.example")
        own = free.url
        assert not await refused(free.url, Origin=own)
        return f"{locked.url}/api/live/sources"

    assert httpx.get(asyncio.run(scene())).status_code == 401


def test_views_are_counted_and_their_processes_end(fresh_web, monkeypatch):
    import os

    pids = []
    original = routes.Session

    class Noted(original):
        def __init__(self, play):
            super().__init__(play)
            pids.append(self.process.pid)

    monkeypatch.setattr(routes, "Session", Noted)
    site = fresh_web()

    async def scene():
        async with view(site.url) as first:
            await first.send(start())
            await until(first, "ready")
            others = [view(site.url) for _ in range(routes.MOST_VIEWS - 1)]
            sockets = [await v.__aenter__() for v in others]
            async with view(site.url) as more:
                said = json.loads(await more.recv())
                assert said["kind"] == "end"
                assert "open already" in said["message"]
            for v in others:
                await v.__aexit__(None, None, None)
            assert len(sockets) == routes.MOST_VIEWS - 1
        async with asyncio.timeout(30):
            while _alive(pids[0]):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            while True:
                async with view(site.url) as again:
                    await again.send(json.dumps({"ping": 1}))
                    if json.loads(await again.recv())["kind"] == "pong":
                        return

    def _alive(pid):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True

    asyncio.run(scene())


def test_a_flood_of_messages_ends_the_line(site):
    from websockets.exceptions import ConnectionClosed

    async def scene():
        async with view(site.url) as socket:
            try:
                for _ in range(20_000):
                    await socket.send('{"drawn": 1}')
                while True:
                    await asyncio.wait_for(socket.recv(), 20)
            except ConnectionClosed as closed:
                return closed.rcvd.code

    assert asyncio.run(scene()) == 1008


def test_a_worker_that_dies_is_told(fresh_web, monkeypatch):
    import os
    import signal

    seen = []
    original = routes.Session

    class Noted(original):
        def __init__(self, play):
            super().__init__(play)
            seen.append(self.process.pid)

    monkeypatch.setattr(routes, "Session", Noted)
    site = fresh_web()

    async def scene():
        async with view(site.url) as socket:
            await socket.send(start())
            await until(socket, "frame")
            os.kill(seen[0], signal.SIGKILL)
            with pytest.raises(AssertionError, match="ended"):
                await until(socket, "no such kind", seconds=60)
            await socket.send(start())
            await until(socket, "frame")

    asyncio.run(scene())


def test_a_worker_that_hangs_does_not_hold_up_the_server(fresh_web, monkeypatch):
    """It is stopped (SIGSTOP): its pipe fills, and all others are answered as before."""
    import os
    import signal

    seen = []
    original = routes.Session

    class Noted(original):
        def __init__(self, play):
            super().__init__(play)
            seen.append(self.process.pid)

    monkeypatch.setattr(routes, "Session", Noted)
    site = fresh_web()

    async def scene():
        async with view(site.url) as socket:
            await socket.send(start())
            await until(socket, "frame")
            os.kill(seen[0], signal.SIGSTOP)
            chain = [{"operation": "process.gaussian", "params": {"sigma": 1.0}}] * 8
            padding = " " * 20_000
            for _ in range(100):  # two megabytes: far more than a pipe holds
                await socket.send(json.dumps({"chain": chain}) + padding)
                await asyncio.sleep(0.005)
            await socket.send(json.dumps({"ping": 5}))
            assert (await until(socket, "pong", seconds=60))["ping"] == 5

    asyncio.run(scene())
