"""The demo's images: real ones and phantoms, stored once, the same on every run."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from somascope.archive import Archive
from somascope.cli.content import demo_images, fill
from somascope.core import Progress
from somascope.core.errors import Cancelled, WriteError
from somascope.io import read_all


@pytest.mark.slow
def test_filling_an_archive_twice(tmp_path: Path) -> None:
    archive = Archive.open(tmp_path / "archive")
    try:
        said: list[str] = []
        start = time.process_time()
        first = fill(archive, progress=Progress(lambda _, message: said.append(message)))
        took = time.process_time() - start
        assert not first.problems
        assert first.stored > 600
        assert first.present == 0
        assert took < 60  # seconds of processor time; 16 on an idle machine
        again = fill(archive)
        assert (again.stored, again.present) == (0, first.stored)
        assert not again.problems
        assert archive.stats().instances == first.stored
    finally:
        archive.close()
    assert said[0] == "CT thorax"
    report = read_all(tmp_path / "archive")
    assert not [p for p in report.problems if "truncated" in p[1]]
    kinds = {i.modality for i in report.images}
    assert kinds >= {"CT", "MR", "PT", "DX", "US", "NM", "OP", "GM"}
    pet = next(i for i in report.images if i.attributes.get("SeriesDescription") == "PET FDG")
    ct = next(i for i in report.images if "CT thorax" in str(i.attributes.get("SeriesDescription")))
    assert pet.attributes["StudyInstanceUID"] == ct.attributes["StudyInstanceUID"]
    assert pet.grid.frame_of_reference == ct.grid.frame_of_reference
    assert pet.unit == "Bq/ml"
    assert ct.shape == (128, 256, 256)
    cine = [i for i in report.images if i.axes and i.axes[0].name == "t" and i.modality == "US"]
    assert {i.shape[0] for i in cine} == {24, 30}


def test_the_first_is_the_ct_of_the_thorax_and_makers_repeat() -> None:
    name, make = next(demo_images())
    assert name == "CT thorax"
    assert make() == make()


def test_names_are_different() -> None:
    names = [name for name, _ in demo_images()]
    assert len(names) == len(set(names)) >= 20


class Full:
    """An archive that stores nothing."""

    def store(self, part10: bytes, *, origin: str = "") -> None:
        raise WriteError("the disk is full")


def test_what_cannot_be_stored_is_told_and_cancel_is_heard() -> None:
    stopped = Progress(cancelled=lambda: True)
    with pytest.raises(Cancelled):
        fill(Full(), progress=stopped)


def test_real_images_show_something(tmp_path: Path) -> None:
    for name, make in demo_images():
        if name in ("CT head, JPEG 2000", "Fundus of the eye", "Bone scintigraphy, JPEG 12 bit"):
            (tmp_path / name).mkdir()
            for k, part in enumerate(make()):
                (tmp_path / name / f"{k}.dcm").write_bytes(part)
            (image,) = read_all(tmp_path / name).images
            assert np.ptp(image.data) > 100
            assert image.data.size > 200_000
