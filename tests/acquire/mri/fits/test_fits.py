"""Fits against signals made from known maps, in closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from somascope.acquire.mri.fits.diffusion import adc, anisotropy, dti, eigen
from somascope.acquire.mri.fits.field import b0
from somascope.acquire.mri.fits.relaxation import t1, t2, t2star
from somascope.core import Axis, Grid, Image
from somascope.core.errors import ParameterError
from somascope.io import read, write
from somascope.testing import check_operation

SHAPE = (2, 24, 20)
RNG = np.random.default_rng(0)
Z, Y, X = np.meshgrid(*[np.linspace(0, 1, n) for n in SHAPE], indexing="ij")
DENSITY = 800 + 300 * Y
T1 = 200 + 2800 * X
T2 = 20 + 180 * Y


def series(data: np.ndarray, name: str, values: list[float], unit: str, **facts) -> Image:
    grid = Grid.from_spacing(SHAPE, (4, 2, 2))
    attributes = {"PatientName": "Map^Known", "SeriesDescription": "series", **facts}
    return Image(data, grid, "MR", axes=(Axis(name, tuple(values), unit),), attributes=attributes)


def noisy(data: np.ndarray, sigma: float) -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.abs(data + sigma * (rng.normal(size=data.shape) + 1j * rng.normal(size=data.shape)))


def closeness(found: Image, truth: np.ndarray) -> float:
    return float(np.abs(found.data / truth - 1).max())


@pytest.mark.parametrize("operation", [t2, t2star])
def test_decay_times(operation):
    echoes = [10.0, 25.0, 45.0, 80.0, 140.0]
    signal = np.stack([DENSITY * np.exp(-e / T2) for e in echoes])
    image = series(signal, "echo", echoes, "ms", EchoTime=10.0)
    found = operation(image)
    assert found.unit == "ms"
    assert found.axes == ()
    assert "EchoTime" not in found.attributes
    assert closeness(found, T2) < 1e-3
    noise = operation(series(noisy(signal, 5.0), "echo", echoes, "ms"))
    assert np.median(np.abs(noise.data / T2 - 1)) < 0.03


def test_a_constant_under_the_decay_is_told_apart():
    echoes = list(np.linspace(5, 400, 12))
    signal = np.stack([DENSITY * np.exp(-e / T2) + 150 for e in echoes])
    image = series(signal, "echo", echoes, "ms")
    assert closeness(t2(image, offset=True), T2) < 5e-3
    assert closeness(t2(image), T2) > 0.2


@pytest.mark.parametrize("magnitude", [True, False])
def test_inversion_recovery(magnitude: bool):
    times = [50.0, 150.0, 300.0, 600.0, 1000.0, 1800.0, 3000.0, 6000.0]
    signal = np.stack([DENSITY * (1 - 1.9 * np.exp(-t / T1)) for t in times])
    image = series(np.abs(signal) if magnitude else signal, "inversion", times, "ms")
    found = t1(image)
    assert closeness(found, T1) < 5e-3
    assert found.unit == "ms"
    with_noise = noisy(signal, 6.0) if magnitude else signal + 6 * RNG.normal(size=signal.shape)
    again = t1(series(with_noise, "inversion", times, "ms"))
    assert np.median(np.abs(again.data / T1 - 1)) < 0.03


def test_saturation_recovery():
    times = [100.0, 300.0, 700.0, 1500.0, 3000.0, 8000.0]
    signal = np.stack([DENSITY * (1 - 0.95 * np.exp(-t / T1)) for t in times])
    found = t1(series(signal, "inversion", times, "ms"), method="saturation")
    assert closeness(found, T1) < 5e-3


def test_variable_flip_angles():
    repetition, angles = 15.0, [2.0, 5.0, 10.0, 20.0]
    e1 = np.exp(-repetition / T1)
    signal = np.stack(
        [
            DENSITY * np.sin(a) * (1 - e1) / (1 - np.cos(a) * e1)
            for a in np.deg2rad(angles)
        ]
    )  # fmt: skip
    image = series(signal, "flip", angles, "deg", RepetitionTime=repetition)
    assert closeness(t1(image, method="flip"), T1) < 1e-3
    bare = series(signal, "flip", angles, "deg")
    assert closeness(t1(bare, method="flip", repetition_time=repetition), T1) < 1e-3
    with pytest.raises(ParameterError, match="RepetitionTime"):
        t1(bare, method="flip")


def test_times_are_cut_and_air_is_left_out():
    echoes = [5.0, 10.0]
    data = np.ones((2, *SHAPE)) * 100
    data[:, :, :5] = 0.5
    found = t2(series(data, "echo", echoes, "ms"), longest=700.0)
    assert (found.data[:, :5] == 0).all()
    assert (found.data[:, 6:] == 700).all()


@pytest.mark.parametrize("echoes", [[4.0, 6.0], [4.0, 5.0, 7.0, 12.0]])
def test_the_field_is_unwrapped(echoes: list[float]):
    field = 700 * X - 300 * Y + 200 * X * Y - 200  # three turns in 2 ms
    signal = np.stack(
        [DENSITY * np.exp(-e / 40) * np.exp(2j * np.pi * field * e / 1000 + 0.4j) for e in echoes]
    )
    image = series(signal.astype(np.complex64), "echo", echoes, "ms")
    found = b0(image)
    assert found.unit == "Hz"
    step = 1000 / (echoes[1] - echoes[0])
    shift = np.round(np.median(found.data - field) / step) * step
    assert np.abs(found.data - field - shift).max() < 0.5
    wrapped = b0(image, unwrap=False)
    assert np.ptp(wrapped.data) <= step + 1 or len(echoes) > 2


def test_the_field_between_islands_of_noise():
    field = 400 * X
    signal = np.stack([DENSITY * np.exp(2j * np.pi * field * e / 1000) for e in (4.0, 6.0)])
    signal[:, :, :, 9:11] = 1.0  # a dark gap
    found = b0(series(signal.astype(np.complex64), "echo", [4.0, 6.0], "ms"))
    assert (found.data[..., 9:11] == 0).all()
    assert np.abs(found.data[..., :9] - np.median(found.data[..., :9] - field[..., :9])
                  - field[..., :9]).max() < 0.5  # fmt: skip


def test_a_measured_field_explains_its_phase(data: Path):
    from scipy.io import loadmat

    found = next((data / "irt_data").rglob("phfit.mat"))
    measured = loadmat(found)["m1"].astype(np.complex64)[None]
    grid = Grid.from_spacing((1, 64, 64), (5, 3.4, 3.4))
    both = np.stack([np.abs(measured).astype(np.complex64), measured])
    field = b0(Image(both, grid, "MR", axes=(Axis("echo", (0.0, 2.0), "ms"),))).data
    inside = field != 0
    assert inside.sum() > 1500
    left = np.angle(measured * np.exp(-2j * np.pi * field * 0.002))
    assert np.abs(left[inside]).max() < 1e-2
    steps = np.abs(np.diff(field, axis=2))[inside[..., 1:] & inside[..., :-1]]
    assert np.quantile(steps, 0.99) < 150  # a wrap would be 500 Hz
    assert abs(np.median(field[inside])) < 250


def test_diffusion_coefficients():
    values = [0.0, 200.0, 500.0, 1000.0]
    truth = (0.5 + 2.0 * X) * 1e-3
    signal = np.stack([DENSITY * np.exp(-b * truth) for b in values])
    found = adc(series(signal, "b", values, "s/mm2"))
    assert found.unit == "mm2/s"
    assert closeness(found, truth) < 1e-3


def gradients(count: int) -> np.ndarray:
    """Directions spread over the half sphere."""
    i = np.arange(count) + 0.5
    z = i / count
    a = np.pi * (1 + 5**0.5) * i
    r = np.sqrt(1 - z**2)
    return np.stack([r * np.cos(a), r * np.sin(a), z], axis=1)


def tensor_series(tensor: np.ndarray, sigma: float = 0.0) -> Image:
    directions = np.concatenate([np.zeros((2, 3)), gradients(20)])
    b = np.array([0.0, 0.0] + [1000.0] * 20)
    exponent = np.einsum("ni,...ij,nj->n...", directions, tensor, directions)
    signal = DENSITY * np.exp(-b.reshape(-1, 1, 1, 1) * exponent)
    if sigma:
        signal = noisy(signal, sigma)
    return series(
        signal, "b", list(b), "s/mm2", DiffusionGradientOrientation=directions.ravel().tolist()
    )


def known_tensor() -> tuple[np.ndarray, np.ndarray]:
    """Main direction turning in the plane, and eigenvalues 1.7, 0.4, 0.3 e-3."""
    angle = np.pi / 2 * X
    main = np.stack([np.cos(angle), np.sin(angle), np.zeros(SHAPE)], axis=-1)
    second = np.stack([-np.sin(angle), np.cos(angle), np.zeros(SHAPE)], axis=-1)
    third = np.zeros((*SHAPE, 3))
    third[..., 2] = 1
    parts = zip((1.7e-3, 0.4e-3, 0.3e-3), (main, second, third), strict=True)
    return sum(d * v[..., :, None] * v[..., None, :] for d, v in parts), main


def test_tensors():
    tensor, main = known_tensor()
    image = tensor_series(tensor)
    found = dti(image, result="tensor")
    assert found.axis_names == ("element", "z", "y", "x")
    assert found.unit == "mm2/s"
    flat = [tensor[..., i, j] for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))]
    assert np.abs(found.data - np.stack(flat)).max() < 1e-8
    mean = np.mean([1.7e-3, 0.4e-3, 0.3e-3])
    assert closeness(dti(image, result="md"), mean) < 1e-4
    lambdas = np.array([1.7, 0.4, 0.3])
    fa = np.sqrt(1.5 * ((lambdas - 0.8) ** 2).sum() / (lambdas**2).sum())
    assert closeness(dti(image, result="fa"), fa) < 1e-4
    assert closeness(dti(image, result="axial"), 1.7e-3) < 1e-4
    assert closeness(dti(image, result="radial"), 0.35e-3) < 1e-4
    colour = dti(image, result="colour")
    assert colour.data.dtype == np.uint8
    assert colour.axes[-1].name == "channel"
    assert (
        np.abs(colour.data.astype(float) - 255 * fa * np.abs(main).transpose(3, 0, 1, 2)).max() < 1
    )
    noise = dti(tensor_series(tensor, 12.0), result="md")
    assert np.median(np.abs(noise.data / mean - 1)) < 0.05


def test_anisotropy_has_its_limits():
    assert anisotropy(
        np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    ) == pytest.approx([0.0, 1.0, 0.0])
    values, _ = eigen(np.array([[-1e-3, 0, 0, 1e-3, 0, 1e-3]]))
    assert values.min() == 0


def test_the_tensor_of_real_data_is_plausible(data: Path):
    import nibabel

    folder = data / "dipy_data"
    given = nibabel.load(folder / "small_64D.nii")
    values = np.loadtxt(folder / "small_64D.bval")
    directions = np.loadtxt(folder / "small_64D.bvec")
    directions = directions if directions.shape[1] == 3 else directions.T
    signal = np.asarray(given.dataobj).transpose(3, 2, 1, 0).astype(np.float32)
    grid = Grid.from_spacing(signal.shape[1:], (2.5, 2.5, 2.5))
    image = Image(signal, grid, "MR", axes=(Axis("b", tuple(values), "s/mm2"),))
    flat = tuple(np.nan_to_num(directions).ravel().tolist())
    fa = dti(image, directions=flat).data
    md = dti(image, directions=flat, result="md").data
    inside = md > 0
    assert 0.4e-3 < np.median(md[inside]) < 1.5e-3
    assert 0.1 < np.median(fa[inside]) < 0.8
    assert fa.max() <= 1.0


def test_what_cannot_be_fitted_is_refused():
    data = np.ones((3, *SHAPE))
    with pytest.raises(ParameterError, match="axis 'echo'"):
        t2(series(data, "t", [0, 1, 2], "s"))
    with pytest.raises(ParameterError, match="at least 2 different"):
        t2(series(data, "echo", [5, 5, 5], "ms"))
    with pytest.raises(ParameterError, match="complex"):
        b0(series(data, "echo", [5, 6, 7], "ms"))
    bad = data.copy()
    bad[0, 0, 0, 0] = np.nan
    with pytest.raises(ParameterError, match="not finite"):
        adc(series(bad, "b", [0, 500, 1000], "s/mm2"))
    with pytest.raises(ParameterError, match="DiffusionGradientOrientation"):
        dti(series(data, "b", [0, 500, 1000], "s/mm2"))
    with pytest.raises(ParameterError, match="9 finite"):
        dti(series(data, "b", [0, 500, 1000], "s/mm2"), directions=(1.0, 0.0))
    with pytest.raises(ParameterError, match="no direction"):
        dti(series(data, "b", [0, 500, 1000], "s/mm2"), directions=(0.0,) * 9)
    with pytest.raises(ParameterError, match="of 7 unknowns"):
        dti(series(data, "b", [0, 500, 1000], "s/mm2"), directions=(1.0, 0.0, 0.0) * 3)


def test_a_map_keeps_its_unit_as_dicom(tmp_path: Path):
    echoes = [10.0, 30.0, 60.0]
    found = t2(series(np.stack([DENSITY * np.exp(-e / T2) for e in echoes]), "echo", echoes, "ms"))
    write(found, tmp_path / "t2")
    back = read(tmp_path / "t2")
    assert isinstance(back, Image)
    assert back.unit == "ms"
    assert np.abs(back.data - T2).max() < 0.1
    assert back.attributes["PatientName"] == "Map^Known"


def test_they_keep_the_contract_of_operations():
    decay = series(np.stack([DENSITY * np.exp(-e / T2) for e in (5.0, 20.0, 60.0)]), "echo",
                   [5.0, 20.0, 60.0], "ms")  # fmt: skip
    for one in (t2, t2star):
        check_operation(one, inputs=(decay,))
    turned = series(decay.data.astype(np.complex64), "echo", [5.0, 20.0, 60.0], "ms")
    check_operation(b0, inputs=(turned,))
    check_operation(adc, inputs=(series(decay.data, "b", [0, 500, 1000], "s/mm2"),))
    check_operation(dti, inputs=(tensor_series(known_tensor()[0]),))
    check_operation(
        t1, inputs=(series(decay.data[::-1].copy(), "inversion", [50, 500, 900], "ms"),)
    )
