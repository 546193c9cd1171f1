"""Responses against SPM's own, designs against closed forms and nilearn, refusals by name."""

import os
from pathlib import Path

import numpy as np
import pytest

from somascope.acquire.fmri import design, hrf
from somascope.acquire.fmri.contrasts import contrast
from somascope.core.errors import ParameterError

DATA = Path(
    os.environ.get("SOMASCOPE_SHARED_DATA")
    or Path(__file__).resolve().parents[3].parent / "shared" / "data"
)


@pytest.mark.data
def test_the_response_is_that_of_spm():
    stored = DATA / "nipy_data/nipy/modalities/fmri/tests/spm_bases.mat"
    if not stored.exists():
        pytest.skip(f"no shared data at {stored}")
    from scipy.io import loadmat

    spm = loadmat(stored, squeeze_me=True)
    t = np.arange(3201) * float(spm["dt"])
    ours = hrf.canonical(t)
    assert np.abs(ours / ours.sum() - spm["hrf"]).max() < 1e-12
    for mine, key in ((hrf.time_derivative, "dhrf"), (hrf.dispersion_derivative, "ddhrf")):
        assert np.corrcoef(mine(t), spm[key])[0, 1] > 1 - 1e-6


def test_the_response_has_unit_area_and_its_known_peak():
    t = np.arange(0, 32, 0.001)
    h = hrf.canonical(t)
    assert h.sum() * 0.001 == pytest.approx(1, abs=1e-6)
    assert t[h.argmax()] == pytest.approx(5.0, abs=0.01)
    assert h.min() < 0 < h.max()
    assert hrf.canonical(np.array([-1.0, 0.0, 32.5])).tolist() == [0, 0, 0]
    slope = (hrf.canonical(t - 0.4995) - hrf.canonical(t - 0.5005)) / 1e-3
    assert np.corrcoef(slope, hrf.time_derivative(t))[0, 1] > 0.995


def test_columns_are_the_convolution_wherever_events_fall():
    onset, length = 10.37, 7.21
    events = design.events_from_arrays([onset], [length], [1])
    times = np.arange(40) * 1.7
    columns, names = design.regressors(events, times)
    fine = np.linspace(0, length, 4001)
    exact = [np.trapezoid(hrf.canonical(t - onset - fine), fine) for t in times]
    assert names == ("c1",)
    assert np.abs(columns[:, 0] - exact).max() < 2e-3
    impulse, _ = design.regressors(design.events_from_arrays([onset], [], []), times)
    assert np.abs(impulse[:, 0] - hrf.canonical(times - onset)).max() < 2e-3


def test_columns_are_those_of_nilearn():
    pandas = pytest.importorskip("pandas")
    nilearn = pytest.importorskip("nilearn.glm.first_level")

    onsets, kinds = [8.0, 30.0, 55.0, 80.0], ["a", "b", "a", "b"]
    table = pandas.DataFrame({"onset": onsets, "duration": [6.0] * 4, "trial_type": kinds})
    times = np.arange(60) * 2.0
    theirs = nilearn.make_first_level_design_matrix(
        times, table, hrf_model="spm + derivative + dispersion", drift_model="cosine",
        high_pass=1 / 128,
    )  # fmt: skip
    text = "onset\tduration\ttrial_type\n" + "".join(
        f"{o}\t6\t{k}\n" for o, k in zip(onsets, kinds, strict=True)
    )
    ours = design.design(design.read_events(text), scans=60, repetition=2.0, model="dispersion")
    for name in ("a", "b"):
        columns = [i for i, n in enumerate(ours.names) if n.split("_")[0] == name]
        assert np.corrcoef(ours.matrix[:, columns[0]], theirs[name])[0, 1] > 0.999
        # nilearn makes its derivatives orthogonal and takes them over 0.1 s: the span is the same.
        mine = ours.matrix[:, columns]
        for ending in ("_derivative", "_dispersion"):
            want = theirs[name + ending].to_numpy()
            left = want - mine @ np.linalg.lstsq(mine, want, rcond=None)[0]
            assert np.linalg.norm(left) < 0.12 * np.linalg.norm(want), name + ending


def test_drifts_are_the_slow_cosines():
    c = design.cosines(100, 2.0, period=128.0)
    assert c.shape == (100, 3)
    assert np.allclose(c.T @ c, np.eye(3), atol=1e-12)
    assert np.abs(c.sum(axis=0)).max() < 1e-12


def test_finite_impulse_response_has_a_column_per_delay():
    events = design.events_from_arrays([4.0, 20.0], [], [])
    columns, names = design.regressors(events, np.arange(20) * 2.0, model="fir", delays=3)
    assert names == ("c1_delay_0", "c1_delay_1", "c1_delay_2")
    assert np.flatnonzero(columns[:, 0]).tolist() == [2, 10]
    assert np.flatnonzero(columns[:, 2]).tolist() == [4, 12]


def test_events_files_are_read_and_written():
    text = (
        "onset\tduration\ttrial_type\tresponse\r\n1.5\t2\tgo\tn/a\r\nn/a\t2\tgo\t1\r\n"
        "4\t0\tno\t1\r\n"
    )
    events = design.read_events(text)
    assert events.onset.tolist() == [1.5, 4]
    assert events.condition == ("go", "no")
    again = design.read_events(events.tsv())
    assert again.onset.tolist() == [1.5, 4]
    assert again.condition == events.condition


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("onset\ttrial_type\n1\ta\n", "duration"),
        ("onset\tduration\n1\n", "line 2"),
        ("onset\tduration\nx\t1\n", "'x'"),
        ("onset\tduration\n1\t-2\n", "-2"),
        ("onset\tduration\ninf\t1\n", "finite"),
        ("onset\tduration\nn/a\t1\n", "no event"),
    ],
)
def test_bad_events_are_refused(text, said):
    with pytest.raises(ParameterError, match=said):
        design.read_events(text)


def test_designs_that_cannot_be_estimated_are_refused_by_name():
    events = design.events_from_arrays([4.0, 30.0], [8.0], [])
    twin = np.sin(np.arange(60.0))
    with pytest.raises(ParameterError, match=r"rank deficient.*left.*right") as error:
        design.design(events, scans=60, repetition=2.0, confounds={"left": twin, "right": 2 * twin})
    assert "c1" not in str(error.value)
    with pytest.raises(ParameterError, match="flat is zero"):
        design.design(events, scans=60, repetition=2.0, confounds={"flat": np.ones(60)})
    noise = np.random.default_rng(0).normal(size=(20, 20))
    many = {f"n{i}": noise[i] for i in range(20)}
    with pytest.raises(ParameterError, match=r"20 scans are too few for 2\d columns.*n0"):
        design.design(events, scans=20, repetition=2.0, confounds=many)
    with pytest.raises(ParameterError, match="after the last scan"):
        design.design(events, scans=10, repetition=2.0)


def test_contrasts_are_read_as_names_and_numbers():
    names = ("faces", "houses", "trial-1", "constant")
    assert contrast("faces - houses", names).tolist() == [[1, -1, 0, 0]]
    assert contrast("faces-houses", names).tolist() == [[1, -1, 0, 0]]
    assert contrast("0.5*faces + .5 * houses", names).tolist() == [[0.5, 0.5, 0, 0]]
    assert contrast("-houses", names).tolist() == [[0, -1, 0, 0]]
    assert contrast("trial-1", names).tolist() == [[0, 0, 1, 0]]
    assert contrast("1, 0 -1", names).tolist() == [[1, 0, -1, 0]]
    assert contrast("faces; houses", names).tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]
    for bad, said in (("cats", "faces, houses"), ("faces - faces", "zero"), ("", "empty"),
                      ("1 0 0 0 1", "5 numbers"), ("faces houses", "not understood"),
                      ("faces; 2*faces", "depend")):  # fmt: skip
        with pytest.raises(ParameterError, match=said):
            contrast(bad, names)


def test_confounds_are_named_from_the_runs_own_table():
    table = "trans_x\ttrans_y\tcsf\tx\n" + "\n".join("1\t2\tn/a\t4" for _ in range(3))
    values, names = design.confounds_of("trans_*, csf", table, 3)
    assert names == ("trans_x", "trans_y", "csf")
    assert values.tolist() == [[1, 2, 0]] * 3
    with pytest.raises(ParameterError, match="no confound 'rot_x'; the run states trans_x"):
        design.confounds_of("rot_x", table, 3)
    with pytest.raises(ParameterError, match="states no confounds"):
        design.confounds_of("csf", "", 3)
    assert design.confounds_of("a\n1\n2\n3\n", table, 3)[1] == ("a",)
