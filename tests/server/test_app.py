"""What is around DICOMweb: the viewer's files, the docs, the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import httpx
import pytest


def test_viewer_files_and_client_side_routes(fresh_web, tmp_path, monkeypatch, make_slice):
    from somascope.archive import Archive
    from somascope.server.app import create_app
    from somascope.server.settings import Settings

    site = tmp_path / "site"
    (site / "assets").mkdir(parents=True)
    (site / "index.html").write_text("<p>the viewer</p>")
    (site / "assets" / "a-1234.js").write_text("1")
    (tmp_path / "secret.txt").write_text("secret")
    with Archive.open(tmp_path / "archive") as archive:
        app = create_app(archive, settings=Settings(), static=site)

        async def ask(path):
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1"
            ) as client:
                return await client.get(path)

        import asyncio

        def get(path):
            return asyncio.run(ask(path))

        for path in ("/", "/studies/1.2.3", "/worklist"):
            assert get(path).text == "<p>the viewer</p>", path
            assert get(path).headers["cache-control"] == "no-cache"
        script = get("/assets/a-1234.js")
        assert script.text == "1"
        assert "immutable" in script.headers["cache-control"]
        for path in ("/missing.js", "/..%2fsecret.txt", "/assets/..%2f..%2fsecret.txt", "/x%00.js"):
            answer = get(path)
            assert answer.status_code == 404, path
            assert "secret" not in answer.text
        assert get("/dicom-web").status_code in (404, 200)
        assert get("/api/nothing/here").status_code == 404


def test_without_a_built_viewer_it_says_how(tmp_path):
    import asyncio

    from somascope.archive import Archive
    from somascope.server.app import create_app
    from somascope.server.settings import Settings

    with Archive.open(tmp_path / "archive") as archive:
        app = create_app(archive, settings=Settings(), static=tmp_path / "none")

        async def ask():
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1"
            ) as client:
                return await client.get("/")

        answer = asyncio.run(ask())
    assert "build_viewer.py" in answer.text


def test_docs_name_every_transaction(web):
    with web.client() as client:
        document = client.get("/openapi.json").json()
        page = client.get("/docs").text
        listed = client.get("/dicom-web/conformance").json()["transactions"]
    assert len(listed) > 20
    for entry in listed:
        path = "/dicom-web" + entry["path"].replace(":path}", "}")
        assert entry["method"].lower() in document["paths"][path]
        assert path in page
    assert "<script" not in page


def test_the_process_ends_in_good_order(tmp_path, make_slice):
    """SIGTERM: the answer in flight is finished, the exit code is 0, what was stored is there."""
    from somascope.archive import Archive

    code = (
        "import sys; from somascope.server.app import serve_http; "
        "serve_http(sys.argv[1], port=int(sys.argv[2]))"
    )
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = tmp_path / "archive"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SOMASCOPE_")}
    process = subprocess.Popen([sys.executable, "-c", code, str(root), str(port)], env=environment)
    try:
        until = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/dicom-web/studies")
                break
            except httpx.TransportError:
                assert time.monotonic() < until
                assert process.poll() is None
                time.sleep(0.1)
        answer = httpx.post(
            f"http://127.0.0.1:{port}/dicom-web/studies",
            content=make_slice(1),
            headers={"content-type": "application/dicom"},
        )
        assert answer.status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    with Archive.open(root) as archive:
        assert archive.stats().instances == 1


def test_it_refuses_the_open_network(tmp_path):
    code = (
        "import sys; from somascope.server.app import serve_http; "
        "serve_http(sys.argv[1], host='0.0.0.0', port=0)"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SOMASCOPE_")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert "no token is configured" in done.stderr


@pytest.mark.parametrize("path", ["/dicom-web/studies", "/docs", "/"])
def test_nothing_is_slow_to_say_no(web, path):
    with web.client() as client:
        start = time.monotonic()
        client.get(path)
        assert time.monotonic() - start < 3
