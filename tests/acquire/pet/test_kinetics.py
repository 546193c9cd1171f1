"""Patlak, Logan and ratios against compartments solved by an independent integrator."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from somascope.acquire.pet import compartments, decay, kinetics
from somascope.acquire.pet.compartments import Rates, feng_input, frame_means, two_tissue
from somascope.core import Axis, Grid, Image, Mask, Segment
from somascope.core.errors import GeometryError, ParameterError
from somascope.io.dicom.series import volumes
from somascope.io.dicom.write import instances
from somascope.testing import check_operation

STEPS = [10] * 6 + [30] * 4 + [60] * 7 + [300] * 10 + [600] * 3
DURATION = np.array(STEPS, float)
WHEN = decay.Frames(np.concatenate([[0.0], np.cumsum(DURATION)[:-1]]), DURATION)
MINUTES = np.arange(0, DURATION.sum() / 60 + 0.06, 0.05)
FDG = (Rates(0.10, 0.13, 0.06), Rates(0.05, 0.11, 0.04), Rates(0.12, 0.20, 0.09, vb=0.05))
REVERSIBLE = (Rates(0.10, 0.15, 0.05, 0.10), Rates(0.08, 0.14, 0.16, 0.16))
REFERENCE = Rates(0.10, 0.20)


def dynamic(tissues, *, plasma=None, extra=(), noise=0.0):
    """An image of one voxel per tissue along x, the plasma in the first."""
    plasma = feng_input(MINUTES, scale=1e3) if plasma is None else plasma
    curves = [plasma, *(two_tissue(MINUTES, plasma, r) for r in tissues), *extra]
    data = np.stack([frame_means(MINUTES, c, WHEN) for c in curves], axis=1)
    data += np.random.default_rng(0).normal(size=data.shape) * noise
    grid = Grid.from_spacing((1, 1, len(curves)), (3, 2, 2), frame_of_reference="1.2.3.5")
    image = Image(
        data[:, None, None, :].astype(np.float32), grid, "PT", "Bq/ml",
        axes=(Axis("t", WHEN.reference(6586.2), "s"),),
        attributes={
            "ActualFrameDuration": [1000 * int(d) for d in DURATION], "DecayCorrection": "START",
            "SeriesDate": "20260102", "SeriesTime": "100000", "PatientName": "T^K",
            "PatientID": "K", "CorrectedImage": ["DECY", "ATTN"],
            "RadiopharmaceuticalInformationSequence": [{"RadionuclideHalfLife": 6586.2}],
        },
    )  # fmt: skip
    return image, plasma


def region(image, x=0):
    data = np.zeros(image.grid.shape, np.uint8)
    data[..., x] = 1
    return Mask(data=data, grid=image.grid, segments=(Segment(1, "region"),))


@pytest.mark.parametrize("rates", [*FDG, *REVERSIBLE, REFERENCE])
def test_compartments_against_an_integrator(rates):
    def slope(t, c):
        plasma = float(feng_input(np.array(t)))
        free, bound = c
        return [
            rates.k1 * plasma - (rates.k2 + rates.k3) * free + rates.k4 * bound,
            rates.k3 * free - rates.k4 * bound,
        ]

    minutes = np.arange(0, 40.001, 0.01)
    plasma = feng_input(minutes)
    at = minutes[::400][1:]
    solved = solve_ivp(slope, (0, 40), [0, 0], t_eval=at, rtol=1e-9, atol=1e-9, max_step=0.5)
    tissue = (1 - rates.vb) * solved.y.sum(axis=0) + rates.vb * feng_input(at)
    np.testing.assert_allclose(two_tissue(minutes, plasma, rates)[::400][1:], tissue, rtol=2e-4)


def test_patlak_finds_the_influx_with_a_measured_input():
    image, plasma = dynamic(FDG)
    ki, v0, quality = kinetics.patlak(
        image,
        region(image),
        start=30.0,
        input_times=tuple(MINUTES * 60),
        input_values=tuple(plasma),
    )
    truth = [r.ki * (1 - r.vb) for r in FDG]
    np.testing.assert_allclose(ki.data[0, 0, 1:], truth, rtol=0.01)
    assert ki.unit == "ml/min/ml"
    assert v0.unit == "ml/ml"
    assert quality.data[0, 0, 1:].min() > 0.999
    assert ki.axes == ()
    assert ki.grid == image.grid


def test_patlak_intercept_of_steady_plasma():
    """``V0 = K1 k2 / (k2 + k3)^2`` holds where the plasma does not fall (Patlak 1983)."""
    plasma = np.full(len(MINUTES), 500.0)
    image, _ = dynamic(FDG, plasma=plasma)
    _, v0, _ = kinetics.patlak(
        image, region(image), start=40.0, input_times=tuple(MINUTES * 60),
        input_values=tuple(plasma),
    )  # fmt: skip
    free = [r.k1 * r.k2 / (r.k2 + r.k3) ** 2 * (1 - r.vb) + r.vb for r in FDG]
    np.testing.assert_allclose(v0.data[0, 0, 1:], free, rtol=0.01)


def test_patlak_reads_the_input_off_the_image():
    image, _ = dynamic(FDG)
    ki, _, _ = kinetics.patlak(image, region(image), start=30.0)
    truth = [r.ki * (1 - r.vb) for r in FDG]
    np.testing.assert_allclose(ki.data[0, 0, 1:], truth, rtol=0.015)
    assert abs(ki.data[0, 0, 0]) < 1e-6  # blood over blood does not rise


def test_frames_at_their_average_time_matter():
    """The same numbers with frames of another length are another influx: durations are used."""
    image, _ = dynamic(FDG[:1])
    longer = [d * 2 for d in image.attributes["ActualFrameDuration"]]
    times = decay.Frames(WHEN.start * 2, WHEN.duration * 2).reference(6586.2)
    slower = replace(
        image, axes=(Axis("t", times, "s"),),
        attributes={**image.attributes, "ActualFrameDuration": longer},
    )  # fmt: skip
    fast = kinetics.patlak(image, region(image), start=30.0)[0].data[0, 0, 1]
    slow = kinetics.patlak(slower, region(image), start=60.0)[0].data[0, 0, 1]
    assert slow == pytest.approx(fast / 2, rel=1e-4)


@pytest.mark.parametrize("method", ["graphical", "multilinear"])
def test_logan_finds_the_volume(method):
    image, plasma = dynamic(REVERSIBLE)
    vt, quality = kinetics.logan(
        image, region(image), region="blood", start=40.0, method=method,
        input_times=tuple(MINUTES * 60), input_values=tuple(plasma),
    )  # fmt: skip
    np.testing.assert_allclose(vt.data[0, 0, 1:], [r.vt for r in REVERSIBLE], rtol=0.02)
    assert vt.unit == "ml/ml"
    assert quality.data[0, 0, 1:].min() > 0.99
    own, _ = kinetics.logan(image, region(image), region="blood", start=40.0, method=method)
    np.testing.assert_allclose(own.data[0, 0, 1:], vt.data[0, 0, 1:], rtol=0.02)


def test_logan_against_a_reference_tissue():
    image, _ = dynamic((REFERENCE, *REVERSIBLE))
    truth = np.array([r.vt for r in REVERSIBLE]) / REFERENCE.vt
    dvr, _ = kinetics.logan(image, region(image, 1), start=40.0, k2=REFERENCE.k2)
    np.testing.assert_allclose(dvr.data[0, 0, 2:], truth, rtol=0.02)
    assert dvr.data[0, 0, 1] == pytest.approx(1, abs=1e-3)
    assert dvr.unit == "1"
    without, _ = kinetics.logan(image, region(image, 1), start=40.0)
    assert (np.abs(without.data[0, 0, 2:] - truth) < 0.1 * truth).all()


def test_noise_biases_the_line_more_than_the_multilinear_form():
    plasma = feng_input(MINUTES, scale=1e3)
    tissue = two_tissue(MINUTES, plasma, REVERSIBLE[0])
    image, _ = dynamic((), extra=[tissue] * 400, noise=0.12 * tissue.mean())
    curve = {"input_times": tuple(MINUTES * 60), "input_values": tuple(plasma)}
    mask = region(image)
    line, _ = kinetics.logan(image, mask, region="blood", start=40.0, **curve)
    plane, _ = kinetics.logan(
        image, mask, region="blood", start=40.0, method="multilinear", **curve
    )
    truth = REVERSIBLE[0].vt
    bias = [abs(np.median(m.data[0, 0, 1:]) / truth - 1) for m in (line, plane)]
    assert bias[1] < bias[0]


def test_ratio_of_late_frames():
    image, _ = dynamic((REFERENCE, *REVERSIBLE))
    ratio = kinetics.suvr(image, region(image, 1), start=40.0, stop=70.0)
    late = (WHEN.start >= 2400) & (WHEN.end <= 4200)
    mean = np.average(image.data[late], axis=0, weights=DURATION[late])
    np.testing.assert_allclose(ratio.data, mean / mean[0, 0, 1], rtol=1e-5)
    static = replace(image, data=image.data[-1], axes=())
    np.testing.assert_allclose(
        kinetics.suvr(static, region(image, 1)).data, image.data[-1] / image.data[-1][0, 0, 1],
        rtol=1e-5,
    )  # fmt: skip


def test_maps_through_dicom():
    image, _ = dynamic(FDG)
    (back,), _ = volumes(instances(image))
    ki = kinetics.patlak(back, region(back), start=30.0)[0]
    straight = kinetics.patlak(image, region(image), start=30.0)[0]
    np.testing.assert_allclose(ki.data, straight.data, rtol=2e-3, atol=1e-5)
    (stored,), problems = volumes(instances(ki))
    assert not problems
    assert stored.unit == "ml/min/ml"
    np.testing.assert_allclose(stored.data, ki.data, atol=1e-5)


def test_refusals():
    image, plasma = dynamic(FDG)
    mask = region(image)
    with pytest.raises(ParameterError, match="a line needs three"):
        kinetics.patlak(image, mask, start=80.0)
    with pytest.raises(ParameterError, match="both or none"):
        kinetics.patlak(image, mask, input_times=(0.0, 1.0))
    with pytest.raises(ParameterError, match="sample the blood"):
        kinetics.patlak(image, mask, input_times=(0.0, 10.0, 20.0), input_values=(0.0, 1.0, 2.0))
    with pytest.raises(ParameterError, match="no segment 2"):
        kinetics.patlak(image, mask, segment=2)
    with pytest.raises(ParameterError, match="axis t"):
        kinetics.logan(replace(image, data=image.data[0], axes=()), mask)
    with pytest.raises(ParameterError, match="corrected to one time"):
        kinetics.patlak(
            replace(image, attributes={**image.attributes, "DecayCorrection": "NONE"}), mask
        )
    with pytest.raises(ParameterError, match="k2 belongs"):
        kinetics.logan(image, mask, region="blood", k2=0.2)
    other = Grid.from_spacing(image.grid.shape, (1, 1, 1))
    with pytest.raises(GeometryError, match="draw it"):
        kinetics.suvr(image, replace(mask, grid=other))
    with pytest.raises(ParameterError, match="even"):
        compartments.two_tissue(np.array([0.0, 1.0, 3.0]), plasma[:3], FDG[0])
    with pytest.raises(ParameterError, match="irreversible"):
        _ = FDG[0].vt


def test_keep_the_promises_of_operations():
    image, _ = dynamic(FDG)
    for one in (kinetics.patlak, kinetics.logan, kinetics.suvr):
        check_operation(one, inputs=(image, region(image)))
