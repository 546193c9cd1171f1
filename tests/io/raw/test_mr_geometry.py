"""Sources at known places in the patient are found there: twix and ISMRMRD, to the DICOM series."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from somascope.acquire.mri.combine import rss
from somascope.core import Acquisition, Image
from somascope.io import read as read_image
from somascope.io import write
from somascope.io.raw import ismrmrd, twix
from tests.io.raw.scanner import Scan, write_ismrmrd, write_twix

SOURCES = [((0, 5, 3), 1.0), ((0, -4, 6), 0.7), ((0, 7, -6), 0.5)]
STACKED = [((-1, 5, 3), 1.0), ((0, -4, 6), 0.7), ((1, 7, -6), 0.5)]
FRAMES = [
    np.eye(3)[list(order)] * np.array(signs)[:, None]
    for order in permutations(range(3))
    for signs in product((1, -1), repeat=3)
]
RIGHT_HANDED = [f for f in FRAMES if np.linalg.det(f[[1, 2, 0]]) > 0]
"""Siemens' gradients are a rotation of phase, read, slice."""
OBLIQUE = Rotation.from_euler("xyz", (20, -15, 35), degrees=True).as_matrix()


def found(image: Image, strengths: list[float]) -> dict[float, np.ndarray]:
    """World place of the brightest voxel for each strength, by descending value."""
    data = image.data.reshape(-1, *image.grid.shape)[0].copy()
    out = {}
    for strength in sorted(strengths, reverse=True):
        index = np.unravel_index(np.argmax(data), data.shape)
        out[strength] = image.grid.to_world(index)
        z, y, x = index
        data[z, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = 0
    return out


def assert_in_place(acquisition: Acquisition, scan: Scan) -> Image:
    image = rss(acquisition)
    places = found(image, [s for _, s in scan.sources])
    for place, strength in scan.places():
        assert np.abs(places[strength] - place).max() < 0.02, (strength, places[strength], place)
    return image


@pytest.mark.parametrize("frame", RIGHT_HANDED[::3])
def test_twix_in_every_orientation(tmp_path: Path, frame: np.ndarray):
    for modern in (True, False):
        scan = Scan(frame, sources=SOURCES)
        write_twix(tmp_path / "meas.dat", scan, modern=modern)
        (acquisition,) = twix.read(tmp_path / "meas.dat")
        assert acquisition.samples.shape == (3, 1, 24, 40)
        assert_in_place(acquisition, scan)


def test_all_orientations_look_the_way_a_radiologist_expects(tmp_path: Path):
    letters = {0: "LPS", 1: "LFP", 2: "PFL"}  # by the slice axis: transversal is 0 here
    for frame in FRAMES[::5]:
        scan = Scan(frame, sources=SOURCES)
        write_ismrmrd(tmp_path / "a.h5", scan)
        (acquisition,) = ismrmrd.read(tmp_path / "a.h5")
        image = assert_in_place(acquisition, scan)
        _, y, x = image.grid.orientation
        assert y in "LPI", (letters, image.grid)
        assert x in "LPI", image.grid
        (tmp_path / "a.h5").unlink()


@pytest.mark.parametrize("frame", [RIGHT_HANDED[0], OBLIQUE])
def test_interleaved_slices_are_sorted_by_where_they_are(tmp_path: Path, frame: np.ndarray):
    scan = Scan(frame, sources=STACKED, slices=4, order=[1, 3, 0, 2])
    write_ismrmrd(tmp_path / "a.h5", scan)
    (acquisition,) = ismrmrd.read(tmp_path / "a.h5")
    assert acquisition.operator.grid.shape == (4, 24, 20)
    assert_in_place(acquisition, scan)
    if np.linalg.det(frame[[1, 2, 0]]) > 0:
        write_twix(tmp_path / "m.dat", scan)
        (other,) = twix.read(tmp_path / "m.dat")
        assert_in_place(other, scan)


@pytest.mark.parametrize("frame", [FRAMES[0], FRAMES[13], OBLIQUE])
def test_a_slab_encoded_in_three_dimensions(tmp_path: Path, frame: np.ndarray):
    scan = Scan(frame, sources=STACKED, partitions=8)
    write_ismrmrd(tmp_path / "a.h5", scan)
    (acquisition,) = ismrmrd.read(tmp_path / "a.h5")
    assert acquisition.operator.grid.shape == (8, 24, 20)
    assert_in_place(acquisition, scan)
    if np.linalg.det(frame[[1, 2, 0]]) > 0:
        write_twix(tmp_path / "m.dat", scan)
        assert_in_place(twix.read(tmp_path / "m.dat")[0], scan)


def test_siemens_sign_is_undone_in_ismrmrd(tmp_path: Path):
    scan = Scan(RIGHT_HANDED[4], sources=SOURCES)
    write_ismrmrd(tmp_path / "a.h5", scan, vendor="SIEMENS")
    assert_in_place(ismrmrd.read(tmp_path / "a.h5")[0], scan)


def test_slices_of_different_orientations_become_stacks_of_their_own(tmp_path: Path):
    first = Scan(np.eye(3), sources=SOURCES)
    second = Scan(OBLIQUE, sources=SOURCES)
    rows = list(first.readouts(-1.0)) + [
        (line, p, 1, e, at, values) for line, p, _, e, at, values in second.readouts(-1.0)
    ]

    def change(heads: np.ndarray) -> None:
        for name, direction in zip(("slice_dir", "phase_dir", "read_dir"), OBLIQUE, strict=True):
            heads[name][24:] = direction

    write_ismrmrd(tmp_path / "a.h5", first, readouts=rows, change=change)
    one, two = ismrmrd.read(tmp_path / "a.h5")
    assert_in_place(one, first)
    assert_in_place(two, second)


def test_left_stays_left_from_twix_to_the_dicom_series(tmp_path: Path):
    scan = Scan(RIGHT_HANDED[0], sources=STACKED, slices=3)
    write_twix(tmp_path / "meas.dat", scan)
    (acquisition,) = twix.read(tmp_path / "meas.dat")
    write(rss(acquisition), tmp_path / "dicom")
    back = read_image(tmp_path / "dicom")
    assert isinstance(back, Image)
    places = found(back, [s for _, s in scan.sources])
    for place, strength in scan.places():
        assert np.abs(places[strength] - place).max() < 0.02
    assert back.attributes["PatientName"] == "Left^Right"
    assert back.attributes["PatientID"] == "LR1"
    assert back.attributes["PatientBirthDate"] == "19700102"
    assert back.attributes["RepetitionTime"] == 20.0
    assert back.attributes["EchoTime"] == 3.0
    assert back.grid.frame_of_reference == "1.2.3.4"
