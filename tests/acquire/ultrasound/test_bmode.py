"""The whole line: image, channel data, B-mode, DICOM and back; each step against a closed form."""

import shutil
import subprocess
from dataclasses import replace
from io import BytesIO

import numpy as np
import pydicom
import pytest

from somascope.acquire.ultrasound import probe as probes
from somascope.acquire.ultrasound import transmit as waves
from somascope.acquire.ultrasound.beamform import das
from somascope.acquire.ultrasound.bmode import bmode
from somascope.acquire.ultrasound.channels import ChannelScan, field_of
from somascope.acquire.ultrasound.convert import line_points, scan_convert, sector_volume
from somascope.acquire.ultrasound.envelope import compress, envelope
from somascope.acquire.ultrasound.fronts import front_echoes
from somascope.acquire.ultrasound.iq import demodulate, demodulated, tgc
from somascope.acquire.ultrasound.scatterers import echoes
from somascope.acquire.ultrasound.simulate import simulate
from somascope.archive import Archive
from somascope.core import Acquisition, Axis, Grid, Image
from somascope.core.errors import GeometryError, ParameterError
from somascope.io.dicom import raw
from somascope.io.dicom.series import volumes
from somascope.io.dicom.validate import demand
from somascope.jobs.run import encode, execute
from somascope.phantoms.patient import facts, source
from somascope.testing import check_operation


def body(n=64, step=0.4, frames=0):
    """Tissue with a cyst, and a strong reflector towards the left (small x)."""
    y, x = np.mgrid[:n, :n]
    tissue = np.ones((1, n, n), np.float32)
    tissue[0, (y - n // 2) ** 2 + (x - n // 2) ** 2 < (n // 6) ** 2] = 0
    tissue[0, n // 2 : n // 2 + 2, n // 6 : n // 6 + 2] = 40
    grid = Grid.from_spacing((1, n, n), (5.0, step, step), origin=(-(n - 1) / 2 * step, 4.0, 0.0),
                             frame_of_reference="2.25.77")  # fmt: skip
    image = Image(tissue, grid, "US", attributes=facts("us-test", "Sound^Ultra", "Cyst"),
                  provenance=source("cyst"))  # fmt: skip
    if frames:
        times = tuple(0.05 * k for k in range(frames))
        image = replace(image, data=np.stack([tissue] * frames), axes=(Axis("t", times, "s"),))
    return image


@pytest.fixture(scope="module")
def scanned():
    return simulate(body(), transmits=3, density=2.0)


def test_left_stays_left_and_depth_goes_down(scanned):
    picture = bmode(scanned, output="decibel")
    assert (picture.unit, picture.data.dtype) == ("dB", np.float32)
    assert picture.data.max() == 0
    row, column = np.unravel_index(picture.data[0].argmax(), picture.data.shape[1:])
    assert abs(row - 32.5) < 2
    assert abs(column - 10.5) < 2
    cyst, tissue = picture.data[0, 28:36, 28:36].mean(), picture.data[0, 28:36, 44:60].mean()
    assert tissue - cyst > 8


def test_dicom_is_calibrated_and_valid(scanned, tmp_path):
    (part,) = encode(bmode(scanned))
    demand(part, "a B-mode image")
    dataset = pydicom.dcmread(BytesIO(part))
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.6.1"
    region = dataset.SequenceOfUltrasoundRegions[0]
    assert (region.RegionSpatialFormat, region.RegionDataType) == (1, 1)
    assert (region.PhysicalUnitsXDirection, region.PhysicalUnitsYDirection) == (3, 3)
    assert (region.PhysicalDeltaX, region.PhysicalDeltaY) == pytest.approx((0.04, 0.04))
    assert (region.RegionLocationMaxX1, region.RegionLocationMaxY1) == (63, 63)
    assert (region.ReferencePixelX0, region.ReferencePixelY0) == (0, 0)
    place = region.ReferencePixelPhysicalValueX, region.ReferencePixelPhysicalValueY
    assert place == pytest.approx((-1.26, 0.4))
    assert region.TransducerFrequency == 5200
    assert dataset.DepthOfScanField == 29
    assert dataset.PatientName == "Sound^Ultra"
    file = tmp_path / "us.dcm"
    file.write_bytes(part)
    (image,), problems = volumes([file])
    assert not problems
    assert image.grid.allclose(body().grid)
    assert image.grid.frame_of_reference == "2.25.77"
    assert np.array_equal(image.data, bmode(scanned).data)
    if shutil.which("dciodvfy"):
        said = subprocess.run(["dciodvfy", str(file)], capture_output=True, text=True, check=False)
        assert "Error" not in said.stderr, said.stderr


def test_a_cine_is_one_multi_frame_instance(tmp_path):
    film = simulate(body(n=40, frames=3), transmits=1, density=1.0)
    assert film.operator.range[:2] == (3, 1)
    (part,) = encode(bmode(film))
    dataset = pydicom.dcmread(BytesIO(part))
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.3.1"
    assert (dataset.NumberOfFrames, float(dataset.FrameTime)) == (3, pytest.approx(50))
    (tmp_path / "a.dcm").write_bytes(part)
    if shutil.which("dciodvfy"):
        said = subprocess.run(["dciodvfy", str(tmp_path / "a.dcm")], capture_output=True,
                              text=True, check=False)  # fmt: skip
        assert "Error" not in said.stderr, said.stderr


def test_channel_data_is_kept_as_raw_data(scanned):
    again = raw.read(encode(scanned)[0])
    assert np.array_equal(again.samples, scanned.samples)
    assert np.array_equal(bmode(again).data, bmode(scanned).data)


def test_a_job_makes_the_picture_in_the_archive(tmp_path):
    scanned = simulate(body(n=24), transmits=1, density=0.5)
    with Archive.open(tmp_path) as archive:
        for part in encode(scanned):
            archive.store(part)
        series = str(pydicom.dcmread(BytesIO(encode(scanned)[0])).SeriesInstanceUID)
        (made,) = execute(archive, "acquire.ultrasound.bmode", [series], {"gain": 3.0})
        (place,) = archive.locate(series=made)
        dataset = pydicom.dcmread(place.path)
    assert dataset.Modality == "US"
    assert np.array_equal(dataset.pixel_array, bmode(scanned, gain=3.0).data[0])


def test_focused_beams_are_beamformed_line_by_line():
    film = simulate(body(n=40), transmit="focused", transmits=24, density=0.5)
    picture = bmode(film, output="decibel")
    row, column = np.unravel_index(picture.data[0].argmax(), picture.data.shape[1:])
    assert abs(row - 20.5) <= 2
    assert abs(column - 6.5) <= 3


@pytest.mark.parametrize("probe", ["phased 2.7 MHz", "convex 3.5 MHz"])
def test_sectors(probe):
    film = simulate(body(n=40, step=1.5), probe=probe, transmit="diverging", transmits=5,
                    span=60.0, density=0.5)  # fmt: skip
    picture = bmode(film, output="decibel")
    row, column = np.unravel_index(picture.data[0].argmax(), picture.data.shape[1:])
    assert abs(row - 20.5) <= 2
    assert abs(column - 6.5) <= 3


def test_fast_and_exact_simulators_agree():
    """One element sending has no diffraction: the two agree to the taper of the spectrum."""
    probe = probes.linear(32)
    scan = ChannelScan(
        field_of(probe, depth=20.0), probe=probe, transmit=waves.synthetic(probe, [4, 20]),
        samples=560, sampling_frequency=20.8e6, start=1e-6,
    )  # fmt: skip
    points = np.array([[1.0, 8.0, 0.0], [-2.0, 14.0, 1.0]])
    a = echoes(scan, points, np.array([1.0, -2.0]), attenuation=0.0)
    b = front_echoes(scan, points, np.array([1.0, -2.0]))
    # The exact one has the sending element's directivity as well.
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.98
    path = np.stack([points, points + np.array([0, 1.0, 0])])
    moved = echoes(scan.with_changes(times=(0.0, 1.0)), path, np.ones(2))
    assert np.abs(moved[0] - moved[1]).max() > 0.1 * np.abs(moved[0]).max()


def test_an_echo_has_its_delay_height_and_decay():
    probe = probes.linear(8, width=0.001)
    scan = ChannelScan(
        field_of(probe, depth=20.0), probe=probe, transmit=waves.synthetic(probe, [3]),
        samples=600, sampling_frequency=20.8e6,
    )  # fmt: skip
    at = np.array([[0.3, 12.0, 0.0]])
    ways = np.hypot(0.3 - probe.positions[:, 0], 12.0)
    for sound in (echoes, front_echoes):
        for loss in (0.0, 1.0):
            rf = sound(scan, at, np.ones(1), attenuation=loss)
            iq = demodulated(rf, sampling_frequency=20.8e6, frequency=5.2e6, start=0.0,
                             bandwidth=1.0)  # fmt: skip
            for e in (0, 7):
                tau = (ways[3] + ways[e]) / 1.54e6
                peak = np.abs(iq[0, e]).argmax() / 20.8e6
                assert peak == pytest.approx(tau, abs=0.6 / 20.8e6)
                height = 1 / np.sqrt(ways[3] * ways[e])
                if loss:
                    height *= 10 ** (-5.2 * (ways[3] + ways[e]) / 10 / 20)
                # A pulse loses its high frequencies first, and so a little less than its middle.
                assert np.abs(iq[0, e]).max() == pytest.approx(height, rel=0.2 if loss else 0.05)


@pytest.mark.parametrize(("fs", "fc", "band"), [(20e6, 5e6, 0.6), (20e6 / 3, 5e6, 0.15)])
def test_demodulation_is_the_envelope_and_its_phase(fs, fc, band):
    t = 3e-7 + np.arange(800) / fs
    tau = t[400] + 0.3 / fs
    shape = np.exp(-(((t - tau) * fc * band) ** 2))
    rf = shape * np.cos(2 * np.pi * fc * (t - tau) + 0.4)
    iq = demodulated(rf[None], sampling_frequency=fs, frequency=fc, start=3e-7, bandwidth=band)[0]
    expected = shape * np.exp(1j * (0.4 - 2 * np.pi * fc * tau))
    assert np.abs(iq - expected).max() < 5e-3
    every = demodulated(rf[None], sampling_frequency=fs, frequency=fc, start=3e-7, bandwidth=band,
                        decimation=2)[0]  # fmt: skip
    assert np.abs(every - iq[::2]).max() < 5e-3


def test_overlapping_bands_are_refused():
    with pytest.raises(ParameterError, match="overlaps itself"):
        demodulated(np.zeros((1, 64)), sampling_frequency=6e6, frequency=5e6, start=0.0,
                    bandwidth=0.6)  # fmt: skip


def test_demodulated_data_makes_the_same_picture(scanned):
    iq = demodulate(scanned, decimation=1)
    a, b = das(scanned, part="magnitude"), das(iq, part="magnitude")
    assert np.abs(a.data - b.data).max() < 1e-3 * a.data.max()
    with pytest.raises(ParameterError, match="IQ already"):
        demodulate(iq)


def test_tgc_gives_back_what_tissue_took():
    lossy = simulate(body(), transmits=1, density=2.0, attenuation=0.7, snr=None)
    t = lossy.operator.start + np.arange(lossy.operator.samples) / lossy.operator.sampling_frequency
    even = tgc(lossy, attenuation=0.7)
    ratio = even.samples[0, 0, 500] / lossy.samples[0, 0, 500]
    assert ratio == pytest.approx(10 ** (0.7 * 5.2 * 1540 * 100 * t[500] / 20), rel=1e-4)
    fitted = tgc(lossy)
    level = np.abs(fitted.samples).mean(axis=(0, 1))
    early, late = level[200:400].mean(), level[-500:-300].mean()
    raw_level = np.abs(lossy.samples).mean(axis=(0, 1))
    assert abs(np.log(early / late)) < 0.3 * abs(
        np.log(raw_level[200:400].mean() / raw_level[-500:-300].mean())
    )


def test_compression():
    grid = Grid.from_spacing((1, 1, 4), (1, 1, 1))
    image = Image(np.array([[[1.0, 0.1, 0.001, 0.0]]]), grid, "US")
    level = compress(image, output="decibel", dynamic_range=50.0)
    np.testing.assert_allclose(level.data[0, 0], [0, -20, -50, -50], atol=1e-4)
    grey = compress(image, dynamic_range=40.0)
    assert grey.data.dtype == np.uint8
    assert grey.data[0, 0].tolist() == [255, 128, 0, 0]
    assert compress(image, dynamic_range=40.0, gain=10.0).data[0, 0, 1] == 191
    with pytest.raises(ParameterError, match="not negative"):
        compress(image.with_data(-image.data))
    one = Grid.from_spacing((1, 1, 1), (1, 1, 1))
    pair = np.array([3.0, 4.0j]).reshape(2, 1, 1, 1)
    several = Image(pair, one, "US", axes=(Axis("transmit"),))
    assert envelope(several).data.item() == pytest.approx(np.sqrt(12.5))
    assert envelope(several, compound=False).data.ravel().tolist() == [3.0, 4.0]


def test_scan_conversion_of_a_linear_function_is_exact_on_sectors():
    """Values linear in depth and angle are interpolated without error."""
    angle = np.radians(np.linspace(-40, 40, 81))
    way = np.stack([np.sin(angle), np.cos(angle), np.zeros(81)], axis=1)
    depths = np.arange(0, 60, 0.5)
    for radius in (0.0, 40.0):
        starts = radius * way - [0, radius, 0]
        values = (depths[None] + 10 * np.degrees(angle)[:, None] + 500).astype(np.float32)
        grid = Grid.from_spacing((1, 40, 60), (1, 1, 1), origin=(-29.5, 5.0, 0.0))
        got = scan_convert(values, starts=starts, directions=way, depths=depths, grid=grid)[0]
        points = grid.to_world([(0, i, j) for i in range(40) for j in range(60)])
        x, y = points[:, 0], points[:, 1] + radius
        r, a = np.hypot(x, y) - radius, np.degrees(np.arctan2(x, y))
        seen = (np.abs(a) < 39.9) & (r < 59) & (r > 0)
        expected = np.where(seen, r + 10 * a + 500, 0).reshape(40, 60)
        inside = seen.reshape(40, 60)
        assert np.abs(got - expected)[inside].max() < 0.02
        assert (got[(np.abs(a) > 40.1).reshape(40, 60)] == 0).all()


def test_scan_conversion_of_parallel_lines_and_volumes():
    starts = np.stack([np.linspace(-5, 5, 11), np.zeros(11), np.zeros(11)], axis=1)
    way = np.tile([0.0, 1.0, 0.0], (11, 1))
    depths = np.arange(0, 10, 0.5)
    values = line_points(starts, way, depths) @ np.array([3.0, 1.0, 0.0]) + 50
    grid = Grid.from_spacing((1, 8, 9), (1, 1, 1), origin=(-4.0, 0.7, 0.0))
    got = scan_convert(values, starts=starts, directions=way, depths=depths, grid=grid)[0]
    y, x = np.mgrid[:8, :9]
    np.testing.assert_allclose(got, 3 * (x - 4.0) + y + 0.7 + 50, atol=1e-4)
    with pytest.raises(GeometryError, match="modulus"):
        scan_convert(values + 0j, starts=starts, directions=way, depths=depths, grid=grid)
    az, el = np.radians(np.linspace(-30, 30, 31)), np.radians(np.linspace(-20, 20, 21))
    cone = np.broadcast_to(depths, (21, 31, 20)) + np.zeros((21, 31, 20))
    cube = Grid.from_spacing((3, 5, 5), (1, 1, 1), origin=(-2.0, 4.0, -1.0))
    volume = sector_volume(cone, azimuths=az, elevations=el, depths=depths, grid=cube)
    z, y, x = np.mgrid[:3, :5, :5]
    np.testing.assert_allclose(
        volume, np.sqrt((z - 1) ** 2 + (y + 4) ** 2 + (x - 2) ** 2), atol=1e-4
    )


def test_promises(scanned):
    small = simulate(body(n=24), transmits=2, density=0.5)
    for name in ("bmode", "demodulate", "tgc"):
        check_operation(f"acquire.ultrasound.{name}", inputs=(small,))
    check_operation("acquire.ultrasound.simulate", inputs=(body(n=20),),
                    params={"transmits": 1, "density": 0.2})  # fmt: skip
    check_operation("acquire.ultrasound.envelope", inputs=(das(small),))
    check_operation("acquire.ultrasound.compress", inputs=(das(small),))
    assert bmode(scanned, compounding="incoherent").data.shape == (1, 64, 64)


def test_adaptive_methods_in_one_step(scanned):
    plain = bmode(scanned, output="decibel")
    for method in ("dmas", "generalised coherence", "capon"):
        other = bmode(scanned, method=method, output="decibel")
        assert not np.array_equal(other.data, plain.data)
        assert np.unravel_index(other.data[0].argmax(), (64, 64))[1] < 20
    with pytest.raises(ParameterError, match="form=pixels"):
        bmode(scanned, method="dmas", compounding="incoherent")


def test_bad_input():
    with pytest.raises(ParameterError, match="not negative"):
        simulate(body(n=20).with_data(-np.ones((1, 20, 20))))
    volume = Image(np.ones((3, 4, 4)), Grid.from_spacing((3, 4, 4), (1, 1, 1)), "US")
    with pytest.raises(GeometryError, match="plane"):
        simulate(volume)
    turned = Grid.from_spacing((1, 4, 4), (1, 1, 1), direction=np.eye(3))
    with pytest.raises(GeometryError, match="rows and columns"):
        simulate(Image(np.ones((1, 4, 4)), turned, "US"))


def test_silence():
    quiet = simulate(body(n=20).with_data(np.zeros((1, 20, 20))), transmits=1, snr=None)
    assert not quiet.samples.any()
    assert not bmode(quiet).data.any()
    with pytest.raises(ParameterError, match="silent"):
        tgc(quiet)
    assert isinstance(quiet, Acquisition)
