"""Perfusion maps of digital reference objects whose flow is known."""

from dataclasses import replace

import numpy as np
import pytest

from somascope.core import Axis, Grid, Image, Mask, Segment
from somascope.core.errors import GeometryError, ParameterError, UnitError
from somascope.phantoms.perfusion import ARTERY, VEIN, bolus_phantom, convolved, gamma_variate
from somascope.process.bolus import arrival, artery, evenly, seconds
from somascope.process.deconvolution import oscillation_index, peak, residues
from somascope.process.perfusion import ct_perfusion, dsc_perfusion, flow
from somascope.testing import check_operation

RUN = {"dsc": dsc_perfusion, "ct": ct_perfusion}


def test_residues_are_those_of_the_block_circulant_matrix():
    """The decomposition itself, as Wu et al. write it, against the spectrum."""
    r = np.random.default_rng(3)
    n, step = 24, 1.5
    supply = np.abs(r.normal(size=n)) * np.exp(-np.arange(n) / 4)
    curves = r.normal(size=(5, n))
    padded = np.r_[supply, np.zeros(n)]
    kernel = (np.roll(padded, 1) + 4 * padded + np.roll(padded, -1)) / 6 * step
    matrix = np.stack([np.roll(kernel, k) for k in range(2 * n)], axis=1)
    u, s, vt = np.linalg.svd(matrix)
    for threshold in (0.05, 0.2):
        inverse = np.where(s >= threshold * s.max(), 1 / s, 0)
        truth = (vt.T * inverse) @ u.T @ np.pad(curves, ((0, 0), (0, n))).T
        found = residues(curves, supply, step, oscillation=None, threshold=threshold)
        np.testing.assert_allclose(found, truth.T, atol=1e-9 * np.abs(truth).max())


def test_oscillation_stays_below_its_limit():
    ref = bolus_phantom("ct", noise=2.0, interval=1.0)
    when, values = seconds(ref.image, "x")
    rows = values.reshape(len(when), -1).T - 35
    supply = rows[ref.mask.data.reshape(-1) == ARTERY].mean(axis=0)
    some = rows[ref.truth["CBF"].reshape(-1) > 0][:50]
    for limit in (0.05, 0.2):
        assert oscillation_index(residues(some, supply, 1.0, oscillation=limit)).max() <= limit


@pytest.mark.parametrize("kind", ["dsc", "ct"])
def test_flow_volume_and_transit_are_those_of_the_object(kind):
    ref = bolus_phantom(kind, interval=1.0)
    cbf, cbv, mtt, _ = RUN[kind](ref.image, ref.mask)
    assert [m.unit for m in (cbf, cbv, mtt)] == ["ml/min/(100.g)", "ml/(100.g)", "s"]
    truth = ref.truth
    slow = (truth["CBF"] > 0) & (truth["CBF"] <= 20)
    np.testing.assert_allclose(cbf.data[slow], truth["CBF"][slow], rtol=0.12)
    full = truth["CBF"] > 10  # their curves have ended when the series does
    np.testing.assert_allclose(cbv.data[full], truth["CBV"][full], rtol=0.03)
    # Flow is the maximum of what is left of the residue: see the next test.
    every = truth["CBF"] > 0
    assert (cbf.data[every] / truth["CBF"][every]).max() < 1.15
    means = [cbf.data[truth["CBF"] == f].mean() for f in (10, 20, 40, 60)]
    assert (np.diff(means) > 0).all()


def passed(transit, supply, step, level):
    """Maximum of ``exp(-t / transit)`` of which only the frequencies stay that the supply has.

    The truncated decomposition multiplies the residue's spectrum by 1 where the supply's is at
    least ``level`` of its largest and by 0 elsewhere (Wu et al. 2003: the singular values of a
    circulant matrix are its spectrum), and takes the supply for straight lines between samples.
    Here that is done to the spectrum of the truth: no data, no deconvolution.
    """
    n, fine = 2 * supply.size, 50
    truth = np.exp(-np.arange(n * fine) * (step / fine) / transit)
    truth[0] = 0.5  # the step at its start
    straight = (4 + 2 * np.cos(2 * np.pi * np.arange(n // 2 + 1) / n)) / 6
    spectrum = np.fft.rfft(truth)[: n // 2 + 1] / straight
    size = np.abs(np.fft.rfft(supply, n)) * straight
    left = np.fft.irfft(spectrum * (size >= level * size.max()), n * fine)
    return left[: n * fine // 2].max()


@pytest.mark.parametrize("level", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("transit", [2.0, 4.0, 8.0, 12.0])
def test_flow_reads_low_at_short_transits_by_what_truncation_takes(transit, level):
    """The known bias of truncation (Ostergaard 1996, Wu 2003) and no more; 2 % for the peak that
    is read off a parabola through three samples."""
    step, fine = 1.0, 20
    t = np.arange(0, 90, step / fine)
    blood = gamma_variate(t)
    curve = convolved(blood, np.exp(-t / transit), step / fine)[::fine]
    supply = blood[::fine]
    found = residues(curve[None], supply, step, oscillation=None, threshold=level)
    height = float(peak(found, step)[0][0])
    expected = passed(transit, supply, step, level)
    assert expected < 1.0
    assert height == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("kind", ["dsc", "ct"])
def test_flow_does_not_depend_on_the_delay_and_tmax_follows_it(kind):
    ref = bolus_phantom(kind, interval=1.0, delays=(0.0, 3.0, 6.0))
    cbf, _, _, tmax = RUN[kind](ref.image, ref.mask)
    inside = ref.truth["CBF"] > 0
    flows = [cbf.data[inside & (ref.truth["delay"] == d)] for d in (0, 3, 6)]
    np.testing.assert_allclose(flows[1], flows[0], rtol=0.05)
    np.testing.assert_allclose(flows[2], flows[0], rtol=0.05)
    times = [np.median(tmax.data[inside & (ref.truth["delay"] == d)]) for d in (0, 3, 6)]
    np.testing.assert_allclose(np.diff(times), [3, 3], atol=0.25)


def test_tracer_that_comes_before_the_artery_has_a_negative_tmax():
    t = np.arange(0, 60, 0.05)
    blood = gamma_variate(t, arrival=14)
    early = convolved(gamma_variate(t, arrival=11), np.exp(-t / 4), 0.05) * 0.01
    late = convolved(gamma_variate(t, arrival=14), np.exp(-t / 4), 0.05) * 0.01
    rows = np.stack([early, late])[:, ::20]
    rate, _, _, when = flow(rows, blood[::20], 1.0, factor=0.7)
    assert when[0] < 0
    assert when[1] - when[0] == pytest.approx(3, abs=0.2)
    assert rate[0] == pytest.approx(rate[1], rel=0.03)


@pytest.mark.parametrize("kind", ["dsc", "ct"])
def test_the_artery_is_found(kind):
    ref = bolus_phantom(kind, interval=1.0, noise=0.01 if kind == "dsc" else 1.0, seed=4)
    found = RUN[kind](ref.image)
    given = RUN[kind](ref.image, ref.mask)
    inside = ref.truth["CBF"] > 0
    for a, b in zip(found[:3], given[:3], strict=True):
        assert a.data[inside].mean() == pytest.approx(b.data[inside].mean(), rel=0.1)
    when, values = seconds(ref.image, "x")
    assert arrival(values.reshape(len(when), -1)[:, ref.mask.data.reshape(-1) == ARTERY].T) in (
        9,
        10,
    )


def test_artery_prefers_high_early_narrow():
    t = np.arange(40.0)
    rows = np.stack(
        [gamma_variate(t, arrival=5, height=1.0), gamma_variate(t, arrival=9, height=1.0),
         gamma_variate(t, arrival=5, scale=4, height=1.0),
         gamma_variate(t, arrival=5, height=0.3)] + [0.02 * np.sin(t + k) for k in range(30)]
    )  # fmt: skip
    assert artery(rows, 1, wide=0.2).tolist() == [0]
    with pytest.raises(ParameterError, match="no artery"):
        artery(np.zeros((9, 9)), 2)


def test_a_vein_scales_a_small_artery():
    ref = bolus_phantom("ct", interval=1.0)
    data = np.array(ref.image.data)
    thin = ref.mask.data == ARTERY
    data[:, thin] = 35 + 0.5 * (data[:, thin] - 35)  # half of the voxel is beside it
    image = ref.image.with_data(data)
    low = ct_perfusion(image, ref.mask)[1].data
    right = ct_perfusion(image, ref.mask, vein=VEIN)[1].data
    full = ref.truth["CBF"] > 10
    assert np.median(low[full] / ref.truth["CBV"][full]) == pytest.approx(2, rel=0.05)
    assert np.median(right[full] / ref.truth["CBV"][full]) == pytest.approx(1, rel=0.06)


def test_uneven_times_are_brought_to_even_ones():
    when = np.array([0, 1, 2, 4, 5.0])
    step, rows = evenly(when, when[None] * 3.0)
    assert step == 1
    np.testing.assert_allclose(rows, [[0, 3, 6, 9, 12, 15]])
    assert evenly(np.arange(5.0), rows[:, :5])[1] is not None


def test_peak_of_a_parabola():
    x = np.arange(40.0)
    height, when = peak(-((x - 7.3) ** 2)[None] + 5, 2.0)
    assert height[0] == pytest.approx(5)
    assert when[0] == pytest.approx(14.6)


def test_doors(tmp_path):
    from somascope.io import read, read_all, write
    from somascope.jobs.run import run_files

    ref = bolus_phantom("ct", interval=2.0, patch=3, delays=(0.0,))
    write(ref.image, tmp_path / "ct")
    made = run_files("process.ct_perfusion", [tmp_path / "ct"], tmp_path / "maps",
                     {"artery_voxels": 1})  # fmt: skip
    assert len(made) == 4
    cbf = read(made[0])
    assert cbf.unit == "ml/min/(100.g)"
    assert cbf.attributes["SeriesDescription"].startswith("Perfusion CT")
    assert not read_all(made[2]).problems
    inside = ref.truth["CBF"] == 20
    assert cbf.data[inside].mean() == pytest.approx(20, rel=0.25)


@pytest.mark.parametrize("kind", ["dsc", "ct"])
def test_operations_keep_their_contract(kind):
    ref = bolus_phantom(kind, interval=2.0, patch=3, delays=(0.0,))
    check_operation(RUN[kind], inputs=(ref.image, ref.mask))


def test_bad_input_is_refused():
    ref = bolus_phantom("ct", interval=2.0, patch=3, delays=(0.0,))
    image = ref.image
    with pytest.raises(UnitError, match="Hounsfield"):
        ct_perfusion(image.with_data(image.data, unit="1"))
    holed = np.array(image.data)
    holed[3, 0, 0, 0] = np.nan
    with pytest.raises(ParameterError, match="not finite"):
        ct_perfusion(image.with_data(holed))
    with pytest.raises(ParameterError, match="needs the axis 't'"):
        ct_perfusion(image.at(t=0))
    with pytest.raises(ParameterError, match="at least 8"):
        ct_perfusion(replace(image, data=image.data[:5], axes=(Axis("t", (0, 1, 2, 3, 4), "s"),)))
    with pytest.raises(ParameterError, match="axis t is in"):
        ct_perfusion(replace(image, axes=(replace(image.axes[0], unit="mm"),)))
    with pytest.raises(ParameterError, match="at least four"):
        ct_perfusion(image, baseline=43)
    with pytest.raises(ParameterError, match="no voxel's baseline"):
        ct_perfusion(image, lower=500.0, upper=600.0)
    other = Mask(data=ref.mask.data, segments=ref.mask.segments,
                 grid=Grid.from_spacing(image.grid.shape, (1, 1, 1)))  # fmt: skip
    with pytest.raises(GeometryError, match="another grid"):
        ct_perfusion(image, other)
    nothing = Mask(data=ref.mask.data * 0, grid=image.grid, segments=(Segment(1, "A"),))
    with pytest.raises(ParameterError, match="no voxel that takes part"):
        ct_perfusion(image, nothing)
    flat = Image(np.full(image.shape, 40.0), image.grid, "CT", "[hnsf'U]", image.axes)
    with pytest.raises(ParameterError, match="no artery"):
        ct_perfusion(flat)
    with pytest.raises(ParameterError, match="negative"):
        dsc_perfusion(flat.with_data(-flat.data))
    with pytest.raises(ParameterError, match="time step"):
        residues(np.ones((1, 8)), np.zeros(8), 1.0)
