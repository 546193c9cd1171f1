"""ISMRMRD: facts, calibration, trajectories, and files that lie about themselves."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from somascope.acquire.mri.combine import rss
from somascope.core.errors import CorruptFile, ReadError
from somascope.io.raw import fastmri, ismrmrd
from somascope.io.raw.ismrmrd_header import Header
from somascope.testing import check_reader
from tests.io.raw.scanner import AsImages, Scan, write_ismrmrd, xml

FRAME = np.array([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]])
SOURCES = [((0, 5, 3), 1.0), ((0, -4, 6), 0.7)]


def scan(**change) -> Scan:
    return Scan(FRAME, sources=SOURCES, **change)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_ismrmrd(tmp_path / "a.h5", scan())
    return tmp_path / "a.h5"


def test_facts_and_noise(tmp_path: Path):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(3, 64)) + 1j * rng.normal(size=(3, 64))
    write_ismrmrd(tmp_path / "a.h5", scan(echoes=2), noise=noise)
    (acquisition,) = ismrmrd.read(tmp_path / "a.h5")
    assert np.allclose(acquisition.calibration["noise"], noise, atol=1e-6)
    facts = acquisition.attributes
    assert facts["PatientName"] == "Left^Right"
    assert facts["PatientBirthDate"] == "19700102"
    assert facts["PatientSex"] == "F"
    assert facts["ImagingFrequency"] == 63.5
    assert facts["MagneticFieldStrength"] == 1.5
    assert rss(acquisition).axes[0].values == (3.0, 7.0)
    assert acquisition.operator.grid.frame_of_reference == "1.2.3.4"


def test_reverse_reference_and_phase_correction_lines(tmp_path: Path):
    def change(heads: np.ndarray) -> None:
        heads["flags"][1] |= 1 << 21  # reverse
        heads["flags"][2] |= 1 << 19  # reference only
        heads["flags"][3] |= 1 << 20  # reference and image
        heads["flags"][4] |= 1 << 23  # phase correction

    write_ismrmrd(tmp_path / "a.h5", scan(), change=change)
    (acquisition,) = ismrmrd.read(tmp_path / "a.h5")
    mask = acquisition.operator.mask[0, :, 0]
    assert mask.tolist() == [True, True, False, True, False, *[True] * 19]
    assert acquisition.calibration["polarity"][:2].tolist() == [1, -1]
    assert np.abs(acquisition.calibration["reference"][:, 0]).max(axis=(0, 2))[2] > 0
    assert acquisition.calibration["navigator"].shape == (3, 1, 1, 40)
    straight = list(scan().readouts(-1.0))[1][-1]
    assert np.allclose(acquisition.samples[:, 0, 1], straight[:, ::-1], atol=1e-5)


def test_ramp_samples_of_epi_are_described(tmp_path: Path):
    times = {"rampUpTime": 160, "flatTopTime": 240, "rampDownTime": 160, "acqDelayTime": 32}
    long = "".join(
        f"<userParameterLong><name>{k}</name><value>{v}</value></userParameterLong>"
        for k, v in times.items()
    )
    described = (
        f"<trajectoryDescription><identifier>ConventionalEPI</identifier>{long}"
        "<userParameterDouble><name>dwellTime</name><value>12.4</value></userParameterDouble>"
        "</trajectoryDescription></encoding>\n"
    )

    def change(heads: np.ndarray) -> None:
        heads["flags"][1::2] |= 1 << 21

    header = xml(scan()).replace("</encoding>\n", described)
    write_ismrmrd(tmp_path / "a.h5", scan(), header=header, change=change)
    (acquisition,) = ismrmrd.read(tmp_path / "a.h5")
    places = acquisition.calibration["readout"]
    assert places.shape == (40,)
    assert np.allclose(places, -places[::-1], atol=1e-9)
    # By the trapezoid itself: the speed of the first sample over that of the flat top.
    speed = np.diff(places)
    first = ((32 + 12.4 * 0.5) + (32 + 12.4 * 1.5)) / 2 / 160
    assert speed[0] / speed[20] == pytest.approx(first, rel=0.02)


def test_averages_are_averaged(tmp_path: Path):
    rows = list(scan().readouts(-1.0))
    again = [(*r[:-1], 3 * r[-1]) for r in rows]
    write_ismrmrd(tmp_path / "a.h5", scan(), readouts=rows + again)
    (acquisition,) = ismrmrd.read(tmp_path / "a.h5")
    assert np.allclose(acquisition.samples[:, 0, 4], 2 * rows[4][-1], atol=1e-4)


def test_spokes_with_trajectories(tmp_path: Path):
    """Radial readouts of the sources, placed like the Cartesian ones."""
    one = scan()
    n, spokes = 48, 60
    angles = np.arange(spokes) * np.pi / spokes
    k = (np.arange(n) - n // 2) / n
    paths = np.stack([np.cos(angles)[:, None] * k, np.sin(angles)[:, None] * k], axis=-1)
    per_mm = paths / np.array([one.voxel[2], one.voxel[1]])
    rows = []
    for spoke in range(spokes):
        signal = np.zeros(n, complex)
        for place, strength in one.places():
            _, phase, read = one.directions @ (place - np.array(one.centre))
            turn = per_mm[spoke] @ np.array([read, phase])
            signal += strength * np.exp(-2j * np.pi * turn)
        rows.append((spoke, 0, 0, 0, np.array(one.centre), np.outer([1, 0.5, -1j], signal)))
    write_ismrmrd(tmp_path / "a.h5", one, readouts=rows, paths=paths)
    (acquisition,) = ismrmrd.read(tmp_path / "a.h5")
    assert acquisition.operator.kind == "mri.noncartesian"
    radius = np.linalg.norm(paths, axis=-1)
    image = np.abs(acquisition.operator.adjoint(acquisition.samples * radius))
    index = np.unravel_index(np.argmax(image), image.shape)
    place = acquisition.operator.grid.to_world(index)
    assert np.abs(place - one.places()[0][0]).max() < 0.02


def test_the_reader_keeps_its_contract(file: Path):
    check_reader(AsImages(ismrmrd.READER), [file], flips=24)


@pytest.mark.parametrize("part", [0.3, 0.7, 0.95])
def test_a_truncated_file_is_refused(file: Path, part: float):
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(CorruptFile, match="truncated"):
        ismrmrd.read(file)


def test_counters_and_lengths_that_lie_are_refused(tmp_path: Path):
    def lie(field: str, value: object) -> Path:
        def change(heads: np.ndarray) -> None:
            target = heads["idx"] if field.startswith("kspace") else heads
            target[field][3] = value

        write_ismrmrd(tmp_path / "a.h5", scan(), change=change)
        return tmp_path / "a.h5"

    with pytest.raises(CorruptFile, match="from the centre"):
        ismrmrd.read(lie("kspace_encode_step_1", 4000))
    with pytest.raises(CorruptFile, match="promise"):
        ismrmrd.read(lie("active_channels", 60000))
    with pytest.raises(CorruptFile, match="numbers instead"):
        ismrmrd.read(lie("number_of_samples", 41))
    with pytest.raises(CorruptFile, match="coils"):
        ismrmrd.read(lie("active_channels", 2))
    with pytest.raises(CorruptFile, match="not finite"):
        ismrmrd.read(lie("position", np.nan))
    with pytest.raises(CorruptFile, match="right angles"):
        ismrmrd.read(lie("read_dir", (0.5, 0.5, 0.5)))


def test_headers_that_attack_are_refused(tmp_path: Path):
    bomb = '<!DOCTYPE a [<!ENTITY b "c">]>' + xml(scan()).split("?>")[1]
    write_ismrmrd(tmp_path / "a.h5", scan(), header=bomb)
    with pytest.raises(CorruptFile, match="document type"):
        ismrmrd.read(tmp_path / "a.h5")
    write_ismrmrd(tmp_path / "a.h5", scan(), header=xml(scan()).replace("<y>24<", "<y>-24<"))
    with pytest.raises(CorruptFile, match="matrix"):
        ismrmrd.read(tmp_path / "a.h5")
    with pytest.raises(CorruptFile, match="lacks"):
        Header("<ismrmrdHeader/>", "x").number("a/b")
    with pytest.raises(CorruptFile, match="not numbers"):
        Header("<ismrmrdHeader><a>n</a></ismrmrdHeader>", "x").number("a")


def test_links_that_leave_the_file_are_not_followed(file: Path):
    with h5py.File(file, "a") as opened:
        opened["elsewhere"] = h5py.ExternalLink("/etc/passwd", "/")
    assert len(ismrmrd.read(file)) == 1


def write_fastmri(path: Path, *, columns: int = 40, mask: np.ndarray | None = None) -> np.ndarray:
    rng = np.random.default_rng(0)
    image = np.zeros((2, 3, 40, 24), complex)
    image[:, :, 17:30, 6:15] = rng.uniform(1, 2, (2, 3, 13, 9))
    kspace = np.fft.fftshift(
        np.fft.fft2(np.fft.ifftshift(image, axes=(2, 3)), norm="ortho"), axes=(2, 3)
    )
    if mask is not None:
        kspace = kspace * mask
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace.astype(np.complex64)
        file["ismrmrd_header"] = xml(Scan(FRAME))
        if mask is not None:
            file["mask"] = mask
        file.attrs["acquisition"] = "AXT2"
        file.attrs["patient_id"] = "abc"
    return image


def test_fastmri_files_give_the_image(tmp_path: Path):
    image = write_fastmri(tmp_path / "f.h5")
    assert fastmri.READER.matches((tmp_path / "f.h5").read_bytes()[:64], tmp_path / "f.h5")
    assert not ismrmrd.READER.matches((tmp_path / "f.h5").read_bytes()[:64], tmp_path / "f.h5")
    acquisition = fastmri.read(tmp_path / "f.h5")
    assert acquisition.samples.shape == (3, 2, 24, 40)
    found = rss(acquisition)
    truth = np.sqrt((np.abs(image) ** 2).sum(axis=1)).transpose(0, 2, 1)[:, :, 10:30]
    assert np.allclose(found.data, truth, atol=1e-4)
    assert np.allclose(found.grid.spacing, (4, 2, 3))
    assert "unknown" in found.attributes["ImageComments"]


def test_fastmri_masks_and_damage(tmp_path: Path):
    mask = np.zeros(24)
    mask[::3] = 1
    write_fastmri(tmp_path / "f.h5", mask=mask)
    assert fastmri.read(tmp_path / "f.h5").operator.mask[0, :, 0].sum() == 8
    check_reader(AsImages(fastmri.READER), [tmp_path / "f.h5"], flips=16)
    with h5py.File(tmp_path / "f.h5", "a") as file:
        del file["mask"]
        file["mask"] = np.ones(7)
    with pytest.raises(CorruptFile, match="7 entries"):
        fastmri.read(tmp_path / "f.h5")
    (tmp_path / "f.h5").write_bytes((tmp_path / "f.h5").read_bytes()[:3000])
    with pytest.raises(ReadError):
        fastmri.read(tmp_path / "f.h5")
