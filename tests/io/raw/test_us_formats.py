"""UFF, PICMUS and MATLAB files: what they say is read; what they do not say is asked for."""

import contextlib
import json
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from somascope.acquire.ultrasound import probe as probes
from somascope.acquire.ultrasound import transmit as waves
from somascope.acquire.ultrasound.bmode import bmode
from somascope.acquire.ultrasound.channels import ChannelScan, field_of
from somascope.acquire.ultrasound.fronts import front_echoes
from somascope.core.errors import CorruptFile, ReadError, UnsupportedFormat
from somascope.io import read_all
from somascope.io.raw import picmus, uff, us_mat

SHARED = Path(os.environ.get("SOMASCOPE_SHARED_DATA", Path(__file__).parents[4] / "shared/data"))
PROBE = probes.linear(32, pitch=0.3, centre_frequency=5e6)
POINT = np.array([[1.5, 9.0, 0.0]])


def measured(transmit, *, start=1e-6, samples=420, times=None):
    scan = ChannelScan(
        field_of(PROBE, depth=14.0), probe=PROBE, transmit=transmit, samples=samples,
        sampling_frequency=20e6, start=start, times=times,
    )  # fmt: skip
    return front_echoes(scan, POINT, np.ones(1))


def finds_the_point(acquisition, tolerance=0.2):
    picture = bmode(acquisition, output="decibel")
    at = np.unravel_index(picture.data.argmax(), picture.data.shape)[-3:]
    place = picture.grid.to_world(at)
    assert np.abs(place - POINT[0]).max() < tolerance, place


def uff_file(path, transmit, rf, *, frames=1, iq=False, delay=0.0):
    pyuff = pytest.importorskip("pyuff_ustb")
    zero = pyuff.Point(distance=0.0, azimuth=0.0, elevation=0.0)
    row = pyuff.LinearArray(N=32, pitch=3e-4, element_width=2.7e-4, element_height=5e-3)
    row.origin = zero
    sequence = []
    for v in transmit.vectors:
        if transmit.kind == "plane":
            front = pyuff.Wavefront.plane
            source = pyuff.Point(distance=np.inf, azimuth=np.arctan2(v[0], v[1]), elevation=0.0)
        else:
            front = pyuff.Wavefront.spherical
            source = pyuff.Point(
                distance=np.linalg.norm(v) / 1e3, azimuth=np.arctan2(v[0], v[1]), elevation=0.0
            )
        sequence.append(
            pyuff.Wave(wavefront=front, source=source, origin=zero, probe=row, sound_speed=1540.0,
                       delay=delay)
        )  # fmt: skip
    data = rf.transpose(2, 1, 0)
    if frames > 1:
        data = np.stack([data] * frames, axis=-1)
    made = pyuff.ChannelData(
        probe=row, sequence=sequence, data=data, sampling_frequency=20e6, initial_time=1e-6,
        sound_speed=1540.0, modulation_frequency=5e6 if iq else 0.0, PRF=1000.0,
        pulse=pyuff.Pulse(center_frequency=5e6, fractional_bandwidth=0.6),
    )  # fmt: skip
    made.write(str(path), ("channel_data",), ignore_missing_compulsory_fields=True)


def through_origin(transmit):
    """The same waves with time zero where they pass the origin, as UFF has it."""
    arrival = transmit.arrivals(np.zeros((1, 3)), PROBE, 1540.0)[:, 0]
    return waves.Transmits(
        transmit.kind, transmit.vectors, transmit.t0 - arrival, transmit.apodisation
    )


SENT = {
    "plane": waves.plane(PROBE, [-8.0, 0.0, 5.0]),
    "diverging": waves.diverging(PROBE, [[-2.0, -6.0, 0.0], [1.0, -6.0, 0.0]]),
    "focused": waves.focused(PROBE, [[1.5, 9.5, 0.0], [0.0, 30.0, 0.0]]),
}


@pytest.mark.parametrize("name", list(SENT))
def test_uff_written_by_another_program(name, tmp_path):
    sent = through_origin(SENT[name])
    rf = measured(sent)
    uff_file(tmp_path / "a.uff", sent, rf, delay=2e-7)
    (one,) = uff.read(tmp_path / "a.uff")
    scan = one.operator
    assert one.samples.shape == rf.shape
    np.testing.assert_allclose(one.samples, rf, rtol=1e-6)
    np.testing.assert_allclose(scan.probe.positions, PROBE.positions, atol=1e-9)
    assert (scan.sampling_frequency, scan.start) == (20e6, pytest.approx(1e-6))
    assert (scan.probe.centre_frequency, scan.probe.bandwidth) == (5e6, 0.6)
    # The record began 0.2 us after the wave passed the origin.
    np.testing.assert_allclose(
        scan.arrivals(), sent.arrivals(scan.points(), PROBE, 1540.0) - 2e-7, atol=1e-12
    )


def test_uff_makes_the_picture_and_is_found_by_content(tmp_path):
    sent = through_origin(SENT["plane"])
    uff_file(tmp_path / "b.h5", sent, measured(sent), frames=2)
    report = read_all(tmp_path / "b.h5")
    (one,) = report.acquisitions
    assert one.operator.times == pytest.approx((0.0, 0.003))
    finds_the_point(one)


def picmus_file(path, rf, *, angles=(-8.0, 0.0, 5.0), fd=0.0, drop=None):
    with h5py.File(path, "w") as file:
        group = file.create_group("US/US_DATASET0000")
        group["data/real"] = rf.real.astype(np.float32)
        group["data/imag"] = rf.imag.astype(np.float32)
        group["angles"] = np.radians(angles).astype(np.float32)
        group["probe_geometry"] = (PROBE.positions[:, [0, 2, 1]].T / 1e3).astype(np.float32)
        group["sampling_frequency"] = np.array([20e6], np.float32)
        group["modulation_frequency"] = np.array([fd], np.float32)
        group["initial_time"] = np.array([1e-6], np.float32)
        group["sound_speed"] = np.array([1540.0], np.float32)
        if drop:
            del group[drop]


def test_picmus(tmp_path):
    rf = measured(through_origin(SENT["plane"]))
    picmus_file(tmp_path / "p.hdf5", rf)
    one = picmus.read(tmp_path / "p.hdf5")
    assert one.operator.probe.centre_frequency == 5.208e6
    finds_the_point(one)
    (tmp_path / "p.json").write_text(json.dumps({"centre_frequency": 5e6, "bandwidth": 0.6}))
    assert picmus.read(tmp_path / "p.hdf5").operator.probe.centre_frequency == 5e6
    from somascope.acquire.ultrasound.iq import demodulated

    iq = demodulated(rf, sampling_frequency=20e6, frequency=5e6, start=1e-6, bandwidth=0.8)
    picmus_file(tmp_path / "q.hdf5", iq, fd=5e6)
    (one,) = read_all(tmp_path / "q.hdf5").acquisitions
    assert one.samples.dtype == np.complex64
    finds_the_point(one)


def must(path, rf, *, form="5", **changes):
    """A MUST file of version 5 or 7.3; ``rf`` is (transmits, elements, samples)."""
    param = {
        "fs": 20e6, "fc": 5e6, "pitch": 3e-4, "width": 2.7e-4, "c": 1540.0, "t0": 1e-6,
        "bandwidth": 60.0, "Nelements": 32.0, "TXdelay": SENT["plane"].fire_times(PROBE, 1540.0),
        **changes,
    }  # fmt: skip
    param = {k: v for k, v in param.items() if v is not None}
    signal = rf.transpose(2, 1, 0)
    if form == "5":
        savemat(path, {"RF": signal, "param": param})
        return
    with h5py.File(path, "w", userblock_size=512) as file:
        file["RF"] = signal.transpose()
        group = file.create_group("param")
        for key, value in param.items():
            group[key] = np.atleast_2d(value).transpose()
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


@pytest.mark.parametrize("form", ["5", "7.3"])
def test_must(form, tmp_path):
    rf = measured(SENT["plane"])
    must(tmp_path / "m.mat", rf, form=form)
    (one,) = read_all(tmp_path / "m.mat").acquisitions
    scan = one.operator
    assert scan.transmit.kind == "plane"  # straight delays are a plane wave
    np.testing.assert_allclose(
        scan.transmit.fire_times(scan.probe, 1540.0), SENT["plane"].fire_times(PROBE, 1540.0),
        atol=1e-12,
    )  # fmt: skip
    np.testing.assert_allclose(one.samples, rf, rtol=1e-6)
    finds_the_point(one)


def test_must_with_curved_delays_and_frames(tmp_path):
    sent = SENT["diverging"].subset([1])
    rf = measured(sent)
    delays = sent.fire_times(PROBE, 1540.0)
    both = np.concatenate([rf, rf])
    must(tmp_path / "m.mat", both, TXdelay=delays, PRF=2000.0)
    one = us_mat.read(tmp_path / "m.mat")
    assert one.operator.transmit.kind == "delays"
    assert one.operator.times == pytest.approx((0.0, 5e-4))
    finds_the_point(one)
    must(tmp_path / "n.mat", both, TXdelay=delays)
    with pytest.raises(CorruptFile, match="frame_interval"):
        us_mat.read(tmp_path / "n.mat")


def test_what_is_missing_is_asked_for(tmp_path):
    rf = measured(SENT["plane"])
    path = tmp_path / "m.mat"
    must(path, rf, fc=None)
    with pytest.raises(CorruptFile, match=r'side file m.json: \{"fc": number\}'):
        us_mat.read(path)
    (tmp_path / "m.json").write_text('{"fc": 5e6}')
    assert us_mat.read(path).operator.probe.centre_frequency == 5e6
    (tmp_path / "m.json").write_text("[1]")
    with pytest.raises(CorruptFile, match="no JSON object"):
        us_mat.read(path)
    (tmp_path / "m.json").unlink()
    must(path, rf, TXdelay=None)
    with pytest.raises(CorruptFile, match="neither TXdelay nor TXangle"):
        us_mat.read(path)
    must(path, rf, TXdelay=np.zeros((3, 31)))
    with pytest.raises(CorruptFile, match="TXdelay has shape"):
        us_mat.read(path)
    must(path, rf, Nelements=64.0)
    with pytest.raises(CorruptFile, match="Nelements is 64"):
        us_mat.read(path)
    must(path, rf, fs=0.0)
    with pytest.raises(CorruptFile, match="sampling frequency is 0"):
        us_mat.read(path)
    picmus_file(tmp_path / "p.hdf5", rf, drop="sound_speed")
    with pytest.raises(CorruptFile, match="sound_speed"):
        picmus.read(tmp_path / "p.hdf5")
    picmus_file(tmp_path / "p.hdf5", rf[:, :20])
    with pytest.raises(CorruptFile, match="20 channels"):
        picmus.read(tmp_path / "p.hdf5")
    picmus_file(tmp_path / "p.hdf5", rf[:2])
    with pytest.raises(CorruptFile, match="2 transmits"):
        picmus.read(tmp_path / "p.hdf5")


def test_hostile_files_are_refused(tmp_path):
    rf = measured(SENT["plane"])
    must(tmp_path / "m.mat", rf)
    picmus_file(tmp_path / "p.hdf5", rf)
    rng = np.random.default_rng(0)
    sent = through_origin(SENT["plane"])
    uff_file(tmp_path / "u.uff", sent, measured(sent))
    for name, reader in (("m.mat", us_mat), ("p.hdf5", picmus), ("u.uff", uff)):
        whole = (tmp_path / name).read_bytes()
        for k in range(12):
            bad = bytearray(whole[: len(whole) * (k + 1) // 13] if k % 2 else whole)
            for at in rng.integers(0, min(len(bad), 4000), 20):
                bad[at] = int(rng.integers(0, 256))
            (tmp_path / f"x{name}").write_bytes(bytes(bad))
            with contextlib.suppress(ReadError):
                reader.read(tmp_path / f"x{name}")
    with h5py.File(tmp_path / "bomb.hdf5", "w") as file:
        group = file.create_group("US/US_DATASET0000")
        group.create_dataset("data/real", (3, 32, 10**9), np.float32, chunks=(1, 32, 1000),
                             compression="gzip")  # fmt: skip
        for key, value in (("angles", [0.0] * 3), ("sound_speed", [1540.0])):
            group[key] = np.array(value)
    with pytest.raises(CorruptFile, match="more than the file can hold"):
        picmus.read(tmp_path / "bomb.hdf5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(UnsupportedFormat):
        uff.read(tmp_path / "other.h5")
    with pytest.raises(UnsupportedFormat):
        picmus.read(tmp_path / "other.h5")
    with h5py.File(tmp_path / "link.uff", "w") as file:
        file["channel_data"] = h5py.ExternalLink("other.h5", "/x")
    with pytest.raises(UnsupportedFormat):
        uff.read(tmp_path / "link.uff")


@pytest.mark.data
def test_real_files(tmp_path):
    disk, wires = SHARED / "pymust_rf/PWI_disk.mat", SHARED / "us_planewave_rf/RFdata1.mat"
    if not (disk.exists() and wires.exists()):
        pytest.skip("the shared development data is not here")
    one = us_mat.read(disk)
    assert one.operator.range == (32, 1, 128, 334)
    assert np.diff(one.operator.times) == pytest.approx(1e-4)
    shutil.copy(wires, tmp_path)
    with pytest.raises(CorruptFile, match="does not say fc"):
        us_mat.read(tmp_path / wires.name)
    (tmp_path / "RFdata1.json").write_text('{"fc": 5e6}')
    two = us_mat.read(tmp_path / wires.name)
    assert two.operator.range == (7, 128, 2688)
    picture = bmode(two, output="decibel")
    # The wires stand out of the speckle by far more than it varies.
    assert np.percentile(picture.data, 50) < -25
