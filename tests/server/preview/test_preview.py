"""Previews over a real WebSocket: the slice that is asked for is the operation's own result."""

from __future__ import annotations

import asyncio
import json
import struct
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest

from somascope import phantoms
from somascope.archive import Archive
from somascope.core import Axis, Grid, Image
from somascope.core.registry import get_operation
from somascope.io.dicom import write
from somascope.io.dicom.series import volumes
from somascope.server.preview import routes, session

TOKEN = "a-token-that-is-long-enough"
GAUSS = {"operation": "process.gaussian", "params": {"sigma": 3.0}}


@asynccontextmanager
async def page(url, **headers):
    from websockets.asyncio.client import connect

    address = url.replace("http", "ws") + "/api/preview"
    async with connect(address, max_size=None, additional_headers=headers) as socket:
        yield Page(socket)


class Page:
    """What a browser's page does."""

    def __init__(self, socket):
        self.socket = socket
        self.stages = []

    async def say(self, **message):
        await self.socket.send(json.dumps(message))

    async def until(self, kind, *, seconds=120, **wanted):
        """The next message of a kind; a slice with its values."""
        async with asyncio.timeout(seconds):
            while True:
                message = await self.socket.recv()
                values = None
                if isinstance(message, bytes):
                    length = struct.unpack("<I", message[:4])[0]
                    said = json.loads(message[4 : 4 + length])
                    shape = (said["rows"], said["columns"], said["channels"])
                    values = np.frombuffer(message, said["dtype"], offset=4 + length)
                    values = values.reshape(shape).squeeze()
                    self.stages.append(said["stage"])
                else:
                    said = json.loads(message)
                if said["kind"] == kind and all(said.get(k) == v for k, v in wanted.items()):
                    return said, values
                if said["kind"] in ("problem", "end") and kind != said["kind"]:
                    raise AssertionError(said)


@pytest.fixture(scope="module")
def ct():
    """An oblique volume of 20 slices, integers."""
    a = 0.3
    direction = [[0, np.sin(a), np.cos(a)], [0, np.cos(a), -np.sin(a)], [1, 0, 0]]
    grid = Grid.from_spacing(
        (20, 40, 48), (2.0, 1.0, 0.9), origin=(-20, 5, 60), direction=direction
    )
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in grid.shape], indexing="ij")
    values = 800 * np.exp(-6 * ((x - 0.2) ** 2 + (y + 0.1) ** 2 + z**2))
    noise = np.random.default_rng(3).normal(0, 20, grid.shape)
    return Image(np.rint(values + noise).astype(np.int16), grid, "CT", "[hnsf'U]")


@pytest.fixture(scope="module")
def stored(ct, tmp_path_factory):
    """The series in an archive, and what is read of it."""
    folder = tmp_path_factory.mktemp("preview")
    files = write.instances(ct, series_description="Preview", series_number=1)
    paths = []
    for number, file in enumerate(files):
        paths.append(folder / f"{number}.dcm")
        paths[-1].write_bytes(file)
    (image,), problems = volumes(paths)
    assert not problems
    return files, image


def site_of(fresh_web, files):
    site = fresh_web()
    with Archive.open(site.root) as archive:
        for file in files:
            found = archive.store(file)
    return site, found


def question(image, z, **more):
    uids = image.provenance.sources[0].uids
    rows, columns = image.grid.shape[1:]
    return {"sop": uids[z], "frame": 1, "rows": rows, "columns": columns, **more}


def test_a_slice_is_that_of_the_operation(fresh_web, stored):
    """With neighbours it is the whole volume's slice; alone it is that of the slice alone."""
    files, image = stored
    site, found = site_of(fresh_web, files)
    truth = get_operation("process.gaussian")(image, sigma=3.0).data
    alone = get_operation("process.gaussian")(
        image.crop(start=(7, 0, 0), stop=(8, 40, 48)), sigma=3.0
    ).data[0]

    async def scene():
        async with page(site.url) as p:
            await p.say(open={"series": found.series})
            await p.until("ready")
            await p.say(ask=question(image, 7, id=1, chain=[]))
            head, values = await p.until("slice", id=1, stage="slice")
            np.testing.assert_array_equal(values, image.data[7])
            assert head["unit"] == "[hnsf'U]"
            assert head["place"] == pytest.approx([-0.5, -0.5, 47.5, -0.5, -0.5, 39.5])
            assert head["slices"] == 20
            await p.say(ask=question(image, 7, id=2, chain=[GAUSS]))
            p.stages.clear()
            _, values = await p.until("slice", id=2)
            if p.stages == ["draft"]:
                np.testing.assert_allclose(values, alone, rtol=1e-5, atol=1e-3)
                _, values = await p.until("slice", id=2, stage="slice")
            # Three standard deviations are seen on either side: nearly all of the weight.
            np.testing.assert_allclose(values, truth[7], atol=0.01 * np.ptp(truth))
            await p.say(volume={"chain": [GAUSS], "volume": head["volume"], "key": "k"})
            await p.until("volume", state="ready")
            await p.say(ask=question(image, 7, id=3, chain=[GAUSS], whole=True, key="k"))
            _, values = await p.until("slice", id=3, stage="volume")
            np.testing.assert_array_equal(values, truth[7])
            window = [10, 4, 30, 41, 2]
            await p.say(ask=question(image, 3, id=4, chain=[GAUSS], window=window, whole=True,
                                     key="k"))  # fmt: skip
            head, values = await p.until("slice", id=4)
            np.testing.assert_array_equal(values, truth[3, 10:30:2, 4:41:2])
            assert head["place"][:2] == pytest.approx([3.0, 9.0])

    asyncio.run(scene())


def test_only_the_window_is_computed_and_it_is_right(fresh_web, stored):
    files, image = stored
    site, found = site_of(fresh_web, files)
    chain = [{"operation": "process.gaussian", "params": {"sigma": 1.0}}]
    truth = get_operation("process.gaussian")(image, sigma=1.0).data

    async def scene():
        async with page(site.url) as p:
            await p.say(open={"series": found.series})
            await p.say(ask=question(image, 9, id=1, chain=chain, window=[12, 15, 26, 33, 1]))
            head, values = await p.until("slice", id=1, stage="slice")
            assert values.shape == (14, 18)
            np.testing.assert_allclose(values, truth[9, 12:26, 15:33], atol=0.02 * np.ptp(truth))
            assert head["place"][:2] == pytest.approx([14.5, 11.5])

    asyncio.run(scene())


def test_a_result_on_another_grid_says_where_it_lies(fresh_web, stored):
    files, image = stored
    site, found = site_of(fresh_web, files)
    chain = [{"operation": "process.resample", "params": {"spacing": [2.0, 2.0, 1.8]}}]

    async def scene():
        async with page(site.url) as p:
            await p.say(open={"series": found.series})
            await p.say(ask=question(image, 9, id=1, chain=chain))
            head, _ = await p.until("slice", id=1, stage="slice")
            assert (head["rows"], head["columns"]) == (20, 24)
            assert head["place"] == pytest.approx([-0.5, -0.5, 47.5, -0.5, -0.5, 39.5], abs=0.01)

    asyncio.run(scene())


def test_time_points_and_frames_are_told_apart(fresh_web):
    """A multi-frame film: frame 3 of its one instance is time point 3."""
    film = phantoms.heart_us(frames=5, size=32)
    files = write.instances(film, multiframe=True)
    site, found = site_of(fresh_web, files)
    levels = Image(
        np.stack([np.full((4, 8, 8), 100 * k, np.int16) for k in range(3)]),
        Grid.from_spacing((4, 8, 8), (2, 1, 1)), "MR",
        axes=(Axis("b", (0.0, 500.0, 1000.0), "s/mm2"),),
    )  # fmt: skip
    study = replace(levels, attributes={"PatientID": "B", "PatientName": "B"})
    with Archive.open(site.root) as archive:
        for file in write.instances(study):
            series = archive.store(file).series
        rows = archive.locate(series=series)
        (image,), _ = volumes([r.path for r in rows])

    async def scene():
        async with page(site.url) as p:
            await p.say(open={"series": found.series})
            uid = found.sop_uid
            for frame in (3, 5):
                asked = {"sop": uid, "frame": frame, "rows": 32, "columns": 32, "id": frame}
                await p.say(ask=asked)
                _, values = await p.until("slice", id=frame)
                np.testing.assert_array_equal(values, film.data[frame - 1].reshape(32, 32))
            await p.say(open={"series": series})
            uids = image.provenance.sources[0].uids
            for index in (1, 6, 11):
                asked = {"sop": uids[index], "frame": 1, "rows": 8, "columns": 8, "id": index}
                await p.say(ask=asked)
                head, values = await p.until("slice", id=index)
                assert np.all(values == image.data.reshape(12, 8, 8)[index])
                assert head["volume"] == f"0:{index // 4}"

    asyncio.run(scene())


def test_histogram_and_figures_of_slice_region_and_volume(fresh_web, stored):
    files, image = stored
    site, found = site_of(fresh_web, files)

    async def scene():
        async with page(site.url) as p:
            await p.say(open={"series": found.series})
            await p.say(histogram=question(image, 9, id=1, scope="slice"))
            said, _ = await p.until("histogram", id=1)
            plane = image.data[9].astype(float)
            assert sum(said["counts"]) == said["count"] == plane.size
            assert said["mean"] == pytest.approx(plane.mean())
            assert said["sd"] == pytest.approx(plane.std())
            assert said["median"] == pytest.approx(np.median(plane))
            assert said["area"] == pytest.approx(plane.size * 0.9)
            assert said["unit"] == "[hnsf'U]"
            box = [9.6, 4.6, 20.4, 15.4]
            shape = {"kind": "rectangle", "box": box}
            await p.say(histogram=question(image, 9, id=2, scope="slice", shape=shape))
            said, _ = await p.until("histogram", id=2)
            assert said["count"] == 11 * 11
            assert said["mean"] == pytest.approx(plane[5:16, 10:21].mean())
            shape = {"kind": "ellipse", "box": box}
            await p.say(histogram=question(image, 9, id=3, scope="slice", shape=shape))
            said, _ = await p.until("histogram", id=3)
            y, x = np.mgrid[:40, :48]
            inside = ((x - 15) / 5.4) ** 2 + ((y - 10) / 5.4) ** 2 <= 1
            assert said["count"] == inside.sum()
            assert said["maximum"] == plane[inside].max()
            await p.say(histogram=question(image, 9, id=4, scope="volume"))
            said, _ = await p.until("histogram", id=4)
            assert said["volume"] == pytest.approx(image.data.size * 1.8 / 1000)
            assert said["mean"] == pytest.approx(image.data.mean())
            shape = {"kind": "rectangle", "box": [200, 200, 300, 300]}
            await p.say(histogram=question(image, 9, id=5, scope="slice", shape=shape))
            said, _ = await p.until("problem", id=5)
            assert "no pixel" in said["message"]

    asyncio.run(scene())


def test_an_overtaken_volume_stops(fresh_web, stored, monkeypatch):
    """A worker that does not hear is replaced; one volume is ready in the end: the newest."""
    import os
    import signal

    files, image = stored
    site, found = site_of(fresh_web, files)
    pids = []
    original = session.Process

    class Noted(original):
        def __init__(self, module, first, told):
            super().__init__(module, first, told)
            if first["role"] == "volume":
                pids.append(self.pid)

    monkeypatch.setattr(session, "Process", Noted)

    async def scene():
        async with page(site.url) as p:
            await p.say(open={"series": found.series})
            await p.until("ready")
            for number in range(5):
                chain = [{"operation": "process.gaussian", "params": {"sigma": 1.0 + number}}]
                await p.say(volume={"chain": chain, "volume": "0", "key": f"k{number}"})
            said, _ = await p.until("volume", state="ready", key="k4")
            os.kill(pids[-1], signal.SIGSTOP)
            for key in ("lost", "last"):
                await p.say(volume={"chain": [GAUSS], "volume": "0", "key": key})
            await p.until("volume", state="ready", key="last")
            assert len(pids) == 2
            await p.say(ask=question(image, 2, id=9, chain=[GAUSS], whole=True, key="last"))
            await p.until("slice", id=9, stage="volume")
            await p.say(ask=question(image, 2, id=10, chain=[GAUSS], whole=True, key="other"))
            said, _ = await p.until("problem", id=10)
            assert "not computed" in said["message"]

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("message", "word"),
    [
        ({"open": {"series": "1.2.3"}}, "1.2.3"),
        ({"open": 3}, "UID of a series"),
        ({"ask": {}}, "open a series first"),
        ({"real": True, "ask": {"sop": "1.2", "frame": 1, "rows": 40, "columns": 48}}, "no volume"),
        ({"real": True, "ask": {"chain": [{"operation": "process.nothing"}]}}, "process.nothing"),
        ({"real": True, "ask": {"chain": [GAUSS] * 9}}, "at most 8"),
        ({"real": True, "ask": {"window": [30, 0, 10, 10, 1]}}, "window"),
        ({"real": True, "ask": {"rows": "x"}}, "ValueError"),
        ({"real": True, "volume": {"volume": "7", "chain": []}}, "no volume '7'"),
    ],
)
def test_nonsense_is_told_and_the_line_stays(fresh_web, stored, message, word):
    files, image = stored
    site, found = site_of(fresh_web, files)
    kind = "volume" if "volume" in message else "problem"

    async def scene():
        async with page(site.url) as p:
            if message.get("real"):
                await p.say(open={"series": found.series})
                await p.until("ready")
            if "ask" in message and message.get("real"):
                message["ask"] = {**question(image, 0, id=1), **message["ask"]}
            await p.socket.send(json.dumps(message))
            said, _ = await p.until(kind)
            while "message" not in said:
                said, _ = await p.until(kind)
            assert word in said["message"]
            await p.say(ping=1)
            await p.until("pong")

    asyncio.run(scene())


def test_only_who_may_is_let_in_and_not_too_many(fresh_web):
    from websockets.exceptions import InvalidStatus

    async def scene():
        locked = fresh_web(token=TOKEN)
        with pytest.raises(InvalidStatus):
            async with page(locked.url):
                pass
        async with page(locked.url, Authorization=f"Bearer {TOKEN}") as p:
            await p.say(ping=1)
            await p.until("pong")
        free = fresh_web()
        with pytest.raises(InvalidStatus):
            async with page(free.url, Origin="https://elsewhere.example"):
                pass
        pages = [page(free.url) for _ in range(routes.MOST_VIEWS)]
        for one in pages:
            await one.__aenter__()
        async with page(free.url) as more:
            said, _ = await more.until("end")
            assert "close one of them" in said["message"]
        for one in pages:
            await one.__aexit__(None, None, None)

    asyncio.run(scene())


def test_chains_are_kept_by_name(fresh_web):
    site = fresh_web()
    with site.client() as client:
        assert client.get("/api/chains").json()["chains"] == []
        steps = [GAUSS, {"operation": "process.clahe", "on": False}]
        kept = client.put("/api/chains/Soft  edges", json={"steps": steps})
        assert kept.status_code == 200
        assert kept.json()["name"] == "Soft edges"
        (found,) = client.get("/api/chains").json()["chains"]
        assert [s["operation"] for s in found["steps"]] == ["process.gaussian", "process.clahe"]
        assert [s["on"] for s in found["steps"]] == [True, False]
        assert found["steps"][1]["params"]["clip_limit"] == 2.5
        wrong = [{"operation": "process.gaussian", "params": {"sigma": -1}}]
        refused = client.put("/api/chains/wrong", json={"steps": wrong})
        assert refused.status_code == 400
        assert "sigma" in refused.json()["message"]
        assert client.put("/api/chains/empty", json={"steps": []}).status_code == 400
        assert client.put(f"/api/chains/{'x' * 61}", json={"steps": steps}).status_code == 400
        assert client.delete("/api/chains/other").status_code == 404
        evil = {"Origin": "https://elsewhere.example"}
        assert client.delete("/api/chains/Soft edges", headers=evil).status_code == 403
        assert client.delete("/api/chains/Soft edges").status_code == 204
        assert client.get("/api/chains").json()["chains"] == []
        (site.root / "chains.json").write_text("[")
        assert "remove it" in client.get("/api/chains").json()["message"]
