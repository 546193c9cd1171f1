"""A small archive, the real server as a process of its own, and real Chromium."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.studies import fill, model_of_bright, thorax
from tests.screen import Screen, chromium, open_browser

FILES = (
    "CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "examples_palette.dcm",
    "examples_rgb_color.dcm", "examples_ybr_color.dcm", "SC_rgb_rle_2frame.dcm", "JPGExtended.dcm",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.timeout(280))
            item.add_marker(pytest.mark.flaky(reruns=1))  # one more try for a starved browser


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, pydicom_files: Path) -> Iterator[str]:
    """Address of a running server over a small archive."""
    import somascope.server

    if not (Path(somascope.server.__file__).parent / "static" / "index.html").is_file():
        pytest.skip("the viewer is not built: python build_viewer.py")
    chromium()
    root = tmp_path_factory.mktemp("viewer") / "archive"
    fill(root, pydicom_files, FILES)
    models = root.parent / "models"
    model_of_bright(models)
    port = free_port()
    log = (root.parent / "server.log").open("wb")
    process = subprocess.Popen(
        [
            sys.executable, "-m", "somascope.cli", "serve", str(root), "--port", str(port),
            "--dicom-port", str(free_port()), "--acceptors", "1",
        ],
        stdout=log, stderr=subprocess.STDOUT,
        env={**os.environ, "SOMASCOPE_MODELS": str(models)},
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            assert process.poll() is None, (root.parent / "server.log").read_text()
            try:
                with urllib.request.urlopen(f"{url}/api/system", timeout=2) as answer:
                    answer.read()
                break
            except OSError:
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(30)
        log.close()


@pytest.fixture(scope="session")
def ct() -> Any:
    """The CT of the archive's thorax study, as it was written: no noise."""
    return thorax((48, 128, 128))


# Playwright keeps an event loop running while it is open: other rooms' tests need it closed.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as found:
        yield found


@pytest.fixture
def screen(server: str, browser: Any) -> Iterator[Screen]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    made = Screen(context.new_page(), server)
    yield made
    context.close()
    assert made.errors == []
