"""Twix: real measurements, facts, noise, and files that lie about themselves."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from somascope.acquire.mri.combine import rss
from somascope.core.errors import CorruptFile, ReadError, UnsupportedFormat
from somascope.io.raw import twix
from somascope.io.raw.twix_protocol import Protocol
from somascope.testing import check_reader
from tests.io.raw.scanner import AsImages, Scan, write_twix

FRAME = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
SOURCES = [((0, 5, 3), 1.0), ((0, -4, 6), 0.7)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_twix(tmp_path / "meas.dat", Scan(FRAME, sources=SOURCES))
    return tmp_path / "meas.dat"


@pytest.mark.data
def test_a_real_gradient_echo_is_placed_and_named(data: Path):
    (acquisition,) = twix.read(data / "twixtools_raw" / "gre.dat")
    assert acquisition.samples.shape == (2, 1, 160, 320)
    grid = acquisition.operator.grid
    assert np.allclose(grid.spacing, (4, 1.25, 1.25))
    assert grid.orientation == "SPL"
    # The protocol's slice: its centre is where the readout and phase encoding have their zero.
    assert np.allclose(grid.to_world((0, 80, 80)), (-2.5897, 53.9224, -53.9995), atol=1e-3)
    assert np.allclose(grid.direction[:, 0], (0, 0.0384, 0.9993), atol=1e-3)
    facts = acquisition.attributes
    assert facts["ManufacturerModelName"] == "Skyra"
    assert (facts["RepetitionTime"], facts["EchoTime"], facts["FlipAngle"]) == (10.0, 3.0, 15.0)
    assert facts["PatientPosition"] == "HFS"


@pytest.mark.data
def test_air_in_the_real_phantom_rises_to_the_front(data: Path):
    """The phantom lies supine: the level of its air bubble is at its front."""
    (acquisition,) = twix.read(data / "twixtools_raw" / "gre.dat")
    image = rss(acquisition)
    values = image.data[0] / np.quantile(image.data, 0.98)
    front, back = values[9:13, 50:110].mean(), values[-13:-9, 50:110].mean()
    assert image.grid.direction[1, 1] > 0.9  # rows run to the back
    assert front < 0.3 < back  # air is dark


@pytest.mark.data
def test_a_real_echo_planar_measurement_has_its_navigators(data: Path):
    (acquisition,) = twix.read(data / "twixtools_raw" / "epi.dat")
    assert acquisition.samples.shape == (2, 1, 80, 160)
    calibration = acquisition.calibration
    assert calibration["navigator"].shape == (2, 1, 3, 160)
    assert calibration["navigator_polarity"].tolist() == [-1, 1, -1]
    assert calibration["polarity"].tolist() == [1, -1] * 40
    places = np.sort(calibration["readout"])
    assert np.allclose(places, -places[::-1])
    steps = np.diff(places)
    assert steps[0] < 0.3 * steps[80]  # ramps are sampled more densely than the flat top
    assert abs(places[-1]) < 80.5


def test_noise_and_echoes_are_sorted(tmp_path: Path):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(3, 128)) + 1j * rng.normal(size=(3, 128))
    scan = Scan(FRAME, sources=SOURCES, echoes=2)
    write_twix(tmp_path / "m.dat", scan, noise=noise)
    (acquisition,) = twix.read(tmp_path / "m.dat")
    assert np.allclose(acquisition.calibration["noise"], noise.conj(), atol=1e-6)
    assert acquisition.samples.shape == (2, 3, 1, 24, 40)
    image = rss(acquisition)
    assert image.axes[0].name == "echo"
    assert image.axes[0].values == (3.0, 7.0)
    assert np.allclose(image.data[1], 0.5 * image.data[0], atol=1e-4)


def test_noise_of_an_adjustment_before_the_scan_is_kept(tmp_path: Path):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(3, 128)) + 1j * rng.normal(size=(3, 128))
    write_twix(tmp_path / "m.dat", Scan(FRAME, sources=SOURCES), adjustment=noise)
    (acquisition,) = twix.read(tmp_path / "m.dat")
    assert np.allclose(acquisition.calibration["noise"], noise.conj(), atol=1e-6)
    assert acquisition.samples.shape == (3, 1, 24, 40)


def test_navigators_reference_and_backward_lines_are_told_apart(tmp_path: Path):
    special = {0: 1 << 21 | 1 << 24, 1: 1 << 21, 2: 1 << 22, 3: 1 << 23, 5: 1 << 24}
    write_twix(
        tmp_path / "m.dat", Scan(FRAME, sources=SOURCES), flags_of=lambda n: 8 | special.get(n, 0)
    )
    (acquisition,) = twix.read(tmp_path / "m.dat")
    kept = acquisition.calibration
    assert kept["navigator"].shape == (3, 1, 2, 40)
    assert kept["navigator_polarity"].tolist() == [-1, 1]
    assert (np.abs(kept["reference"]).max(axis=(0, 1, 3)) > 0).sum() == 1
    assert acquisition.operator.mask.any(axis=(0, 2)).sum() == 21
    assert (kept["polarity"] == -1).sum() == 1


def test_skipped_lines_make_a_mask(tmp_path: Path):
    write_twix(tmp_path / "m.dat", Scan(FRAME, sources=SOURCES, skip=2))
    (acquisition,) = twix.read(tmp_path / "m.dat")
    mask = acquisition.operator.mask
    assert mask.any(axis=(0, 2)).sum() == 12
    assert mask[:, 12].all()


def test_the_reader_keeps_its_contract(file: Path):
    check_reader(AsImages(twix.READER), [file], flips=40)


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9, 0.999])
def test_a_truncated_file_is_refused(file: Path, part: float):
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(CorruptFile, match="truncated"):
        twix.read(file)


def test_lengths_that_lie_are_refused(file: Path):
    whole = bytearray(file.read_bytes())
    lie = whole.copy()
    struct.pack_into("<I", lie, 10240, 0xFFFFFFF0)  # protocol header
    file.write_bytes(lie)
    with pytest.raises(CorruptFile, match="protocol header"):
        twix.read(file)
    (header,) = struct.unpack_from("<I", whole, 10240)
    lie = whole.copy()
    struct.pack_into("<HH", lie, 10240 + header + 48, 65535, 65535)  # samples and coils
    file.write_bytes(lie)
    with pytest.raises(CorruptFile, match="truncated"):
        twix.read(file)
    lie = whole.copy()
    struct.pack_into("<H", lie, 10240 + header + 52, 60000)  # line counter
    file.write_bytes(lie)
    with pytest.raises(CorruptFile, match="from the centre"):
        twix.read(file)
    lie = whole.copy()
    struct.pack_into("<f", lie, 10240 + header + 112, np.nan)  # quaternion
    file.write_bytes(lie)
    with pytest.raises(CorruptFile, match="not finite"):
        twix.read(file)


def test_a_radial_measurement_is_refused_with_a_remedy(file: Path):
    whole = file.read_bytes().replace(
        b"sKSpace.ucTrajectory\t = \t1", b"sKSpace.ucTrajectory\t = \t2"
    )
    file.write_bytes(whole)
    with pytest.raises(UnsupportedFormat, match=r"radial.*ISMRMRD"):
        twix.read(file)


def test_an_empty_file_is_refused(tmp_path: Path):
    (tmp_path / "m.dat").write_bytes(b"")
    with pytest.raises(ReadError):
        twix.read(tmp_path / "m.dat")


def test_protocol_values_are_found_in_both_grammars():
    text = (
        '<ParamLong."alRegridMode"> { 2 1 } <ParamDouble."fl"> { <Precision> 6 2.893620 } '
        '<ParamString."FrameOfReference"> { <Visible> "true" "1.2.3" } <ParamString."No"> { }'
    )
    yaps = '### ASCCONV BEGIN ###\na.b[0].c = 0x1f\nd = -1.5e-3\nt = "x y"\n### ASCCONV END ###'
    protocol = Protocol({"Meas": text, "MeasYaps": yaps})
    assert protocol.parameter("alRegridMode") == [2, 1]
    assert protocol.parameter("fl") == [2.89362]
    assert protocol.text("FrameOfReference") == "1.2.3"
    assert protocol.parameter("No") == []
    assert protocol.get("a.b[0].c") == 31
    assert protocol.number("d", 0) == -1.5e-3
    assert protocol.get("t") == "x y"
