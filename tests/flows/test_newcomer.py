"""Journey 1, the newcomer: from the demo command to her own study, and it is all there tomorrow."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.screen import Screen, open_browser

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


class Demo:
    """`somascope demo` in a process group of its own."""

    def __init__(self, root: Path) -> None:
        self.log = root.parent / f"demo-{time.monotonic_ns()}.log"
        self.began = time.monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", "somascope.cli", "demo", "--archive", str(root),
                    "--no-browser", "--port", "0", "--dicom-port", "0",
                ],
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self.url = self.wait_for(r"viewer +(http://\S+)", 90)

    def wait_for(self, pattern: str, seconds: float) -> str:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            assert self.process.poll() is None, self.log.read_text()
            found = re.search(pattern, self.log.read_text())
            if found:
                return found[1] if found.re.groups else found[0]
            time.sleep(0.1)
        raise AssertionError(f"{pattern} did not come: {self.log.read_text()}")

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)  # what Ctrl+C does
        assert self.process.wait(60) == 0, self.log.read_text()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("newcomer") / "archive"


@pytest.fixture
def demo(root: Path) -> Iterator[Demo]:
    started = Demo(root)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            os.killpg(started.process.pid, signal.SIGKILL)
            started.process.wait()


def own_images(folder: Path) -> list[Path]:
    """A folder of DICOM and a NIfTI file, as a stranger has them."""
    from somascope.core import Grid, Image
    from somascope.io import write

    rng = np.random.default_rng(4)
    data = rng.integers(0, 900, (5, 32, 32)).astype(np.int16)
    image = Image(
        data, Grid.from_spacing((5, 32, 32), (3, 1, 1)), "MR",
        attributes={"PatientName": "Own^Series", "PatientID": "OWN1"},
    )  # fmt: skip
    write(image, folder / "dicom")
    write(Image(data, image.grid, "MR"), folder / "mine.nii.gz")
    return [*sorted((folder / "dicom").iterdir()), folder / "mine.nii.gz"]


def test_ten_minutes(demo: Demo, root: Path, tmp_path: Path) -> None:
    with open_browser() as browser:
        page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        screen = Screen(page, demo.url)
        page.set_default_timeout(180_000)  # a volume is drawn by the processor here

        # The first image, from the command on.
        page.goto(demo.url)
        page.wait_for_selector("tr[data-study]:has-text('Thorax')", timeout=90_000)
        screen.open("Thorax")
        assert time.monotonic() - demo.began < 60
        demo.wait_for("all demo images are in", 240)

        # A worklist of several modalities, real and phantom.
        screen.worklist()
        text = page.inner_text("table")
        for word in ("CT", "MR", "US", "PT", "Phantom, Brain", "CompressedSamples"):
            assert word in text
        before = page.locator("tr[data-study]").count()

        # Scroll, lung window by key, three planes and a volume.
        screen.open("Thorax")
        screen.loaded("stack-0")
        first = screen.corner("stack-0", "bl")
        page.hover("[data-pane='stack-0'] .picture")
        page.mouse.wheel(0, 100)
        page.wait_for_function(
            "t => document.querySelector(\"[data-pane='stack-0'] .corner.bl\").innerText !== t",
            arg=first,
        )
        page.keyboard.press("1")
        screen.wait_corner("stack-0", "br", "W 1500 L -600")
        screen.layout("mpr")
        for plane in ("axial", "sagittal", "coronal"):
            screen.shown(f"mpr-{plane}")
        screen.layout("volume")
        screen.shown("volume-main")

        # Enhance from the form; the derived series is in the list; before against after.
        screen.layout("one")
        screen.panel("operations")
        page.wait_for_selector("option[value='process.clahe']", state="attached")
        page.select_option("select[aria-label=Operation]", "process.clahe")
        series = page.locator("nav.strip [data-series]").count()
        page.click("button.run")
        page.wait_for_selector(".job[data-state=done]", timeout=180_000)
        page.wait_for_function(
            "n => document.querySelectorAll('nav.strip [data-series]').length > n", arg=series
        )
        page.click(".job-acts button:has-text('Show result')")
        screen.shown("compare-before")
        screen.shown("compare-after")
        screen.shot("newcomer-compare")

        # Her own files.
        screen.worklist()
        page.set_input_files("input[type=file]", own_images(tmp_path))
        page.wait_for_selector(".uploads li.done:has-text('mine.nii.gz')")
        page.wait_for_function(
            "n => document.querySelectorAll('tr[data-study]').length === n", arg=before + 2
        )
        assert screen.errors == []
    demo.stop()

    # Tomorrow everything is there.
    again = Demo(root)
    try:
        with open_browser() as browser:
            page = browser.new_page()
            screen = Screen(page, again.url)
            screen.worklist()
            page.wait_for_function(
                "n => document.querySelectorAll('tr[data-study]').length === n", arg=before + 2
            )
            screen.open("Thorax")
            assert page.locator("nav.strip [data-series]").count() == series + 1
    finally:
        again.stop()
