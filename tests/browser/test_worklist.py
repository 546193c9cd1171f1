"""The list of studies: found, filtered, sorted, added to, kept live."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.browser.studies import changed, ramp


def rows(screen: Any) -> list[str]:
    return screen.page.locator("tr[data-study]").all_inner_texts()


def until(screen: Any, count: int) -> list[str]:
    screen.page.wait_for_function(
        "n => document.querySelectorAll('tr[data-study]').length === n", arg=count
    )
    return rows(screen)


def test_search_filter_and_sort(screen: Any) -> None:
    screen.worklist()
    everything = rows(screen)
    assert len(everything) >= 9
    assert screen.page.locator(".notclinical").inner_text() == "Not for clinical use"
    screen.shot("worklist")

    screen.page.fill("input[type=search]", "thorax")
    (only,) = until(screen, 1)
    assert "Phantom, Thorax" in only
    screen.page.fill("input[type=search]", "no such patient")
    screen.page.wait_for_selector("text=No study matches")
    screen.shot("worklist-empty")
    screen.page.click("text=Clear all filters")
    until(screen, len(everything))

    screen.page.select_option("select[aria-label=Modality]", "PT")
    (only,) = until(screen, 1)
    assert "Thorax" in only
    screen.page.select_option("select[aria-label=Modality]", "")
    until(screen, len(everything))

    screen.page.fill("input[aria-label='Study date from']", "2026-01-01")
    screen.page.wait_for_function(
        "n => document.querySelectorAll('tr[data-study]').length < n", arg=len(everything)
    )
    assert all("2026" in row for row in rows(screen))
    screen.page.fill("input[aria-label='Study date from']", "")
    until(screen, len(everything))

    screen.page.click("th button:has-text('Patient')")
    names = [r.split("\t")[0].strip().removesuffix("new").lower() for r in rows(screen)]
    assert names == sorted(names)
    screen.page.click("th button:has-text('Patient')")
    names = [r.split("\t")[0].strip().removesuffix("new").lower() for r in rows(screen)]
    assert names == sorted(names, reverse=True)


def test_upload_tells_of_every_file(screen: Any, tmp_path: Path, pydicom_files: Path) -> None:
    bad = tmp_path / "notes.txt"
    bad.write_text("this is no image")
    cut = tmp_path / "cut.dcm"
    cut.write_bytes((pydicom_files / "MR_small_RLE.dcm").read_bytes()[:2000])
    screen.worklist()
    before = len(rows(screen))
    screen.page.set_input_files("input[type=file]", [pydicom_files / "693_J2KI.dcm", bad, cut])
    screen.page.wait_for_selector(".uploads li.done:has-text('693_J2KI.dcm')")
    screen.page.wait_for_selector(".uploads li.failed:has-text('notes.txt')")
    screen.page.wait_for_selector(".uploads li.failed:has-text('cut.dcm')")
    assert "3 of 3" in screen.page.inner_text(".uploads header")
    assert "2 not added" in screen.page.inner_text(".uploads header")
    until(screen, before + 1)
    screen.page.wait_for_selector("tr.fresh")
    screen.shot("upload")


def test_a_nifti_file_becomes_a_study(screen: Any) -> None:
    import nibabel

    path = Path(nibabel.__file__).parent / "tests" / "data" / "anatomical.nii"
    if not path.is_file():
        pytest.skip("nibabel came without its test data")
    screen.worklist()
    before = len(rows(screen))
    screen.page.set_input_files("input[type=file]", [path])
    screen.page.wait_for_selector(".uploads li.done:has-text('anatomical.nii')")
    until(screen, before + 1)


def test_a_dropped_folder_is_added_whole(screen: Any, tmp_path: Path) -> None:
    """A real drag from outside the browser, of a folder with a folder in it."""
    folder = tmp_path / "outer"
    (folder / "inner").mkdir(parents=True)
    (folder / "one.dcm").write_bytes(ramp("dropped one", "MONOCHROME2", spacing=False))
    (folder / "inner" / "two.dcm").write_bytes(ramp("dropped two", "MONOCHROME2", spacing=False))
    (folder / "inner" / "words.txt").write_text("no image")
    screen.worklist()
    chromium = screen.page.context.new_cdp_session(screen.page)

    def drag(what: str) -> None:
        data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
        event = {"type": what, "x": 600, "y": 500, "data": data}
        chromium.send("Input.dispatchDragEvent", event)

    drag("dragEnter")
    drag("dragOver")
    screen.page.wait_for_selector(".dropzone")
    screen.shot("drop")
    drag("drop")
    screen.page.wait_for_selector(".uploads li.done:has-text('outer/one.dcm')")
    screen.page.wait_for_selector(".uploads li.done:has-text('outer/inner/two.dcm')")
    screen.page.wait_for_selector(".uploads li.failed:has-text('outer/inner/words.txt')")
    assert screen.page.locator(".dropzone").count() == 0


def send(server: str, part10: bytes) -> None:
    """Store one instance as another system would."""
    body = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + part10 + b"\r\n--x--\r\n"
    request = urllib.request.Request(
        f"{server}/dicom-web/studies",
        data=body,
        headers={
            "Content-Type": 'multipart/related; type="application/dicom"; boundary=x',
            "Accept": "application/dicom+json",
        },
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200


DEAF = """
const Real = EventSource;
window.EventSource = class extends Real {
  constructor(...given) { super(...given); window.stream = this; }
  addEventListener(kind, ...rest) { if (kind === "resync") super.addEventListener(kind, ...rest); }
};
"""
"""A page that misses every event but `resync`."""


def test_resync_loads_the_list_and_a_study_again(screen: Any, server: str) -> None:
    """What was missed is there once the server says that too much was."""
    from pydicom.uid import generate_uid

    page = screen.page
    page.add_init_script(DEAF)
    screen.worklist()
    screen.listening()
    before = len(rows(screen))
    first = ramp("resynced", "MONOCHROME2", spacing=False)
    send(server, first)

    def resync() -> None:
        page.evaluate(
            "stream.dispatchEvent(new MessageEvent('resync', { data: '{\"behind\": 2000}' }))"
        )

    assert len(rows(screen)) == before
    resync()
    until(screen, before + 1)
    page.click("tr[data-study]:has-text('resynced')")
    screen.shown("stack-0")

    def other(ds: Any) -> None:
        ds.SeriesNumber, ds.SeriesInstanceUID = 2, generate_uid(entropy_srcs=["missed series"])
        ds.SOPInstanceUID = generate_uid(entropy_srcs=["missed instance"])
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID

    send(server, changed(first, other))
    assert page.locator("nav.strip [data-series]").count() == 1
    resync()
    page.wait_for_function(
        "() => document.querySelectorAll('nav.strip [data-series]').length === 2"
    )


def test_live_arrival(screen: Any, server: str, pydicom_files: Path) -> None:
    """A study stored by somebody else appears by itself."""
    screen.worklist()
    before = len(rows(screen))
    screen.listening()
    data = (pydicom_files / "examples_overlay.dcm").read_bytes()
    send(server, data)
    until(screen, before + 1)
    screen.page.wait_for_selector("tr.fresh em")


def test_help_and_keys(screen: Any) -> None:
    screen.worklist()
    screen.page.keyboard.press("?")
    dialog = screen.page.wait_for_selector("[role=dialog]")
    text = dialog.inner_text()
    for word in ("window presets", "crosshair", "cine", "not for clinical use"):
        assert word in text
    screen.shot("help")
    screen.page.keyboard.press("Escape")
    screen.page.wait_for_selector("[role=dialog]", state="detached")
