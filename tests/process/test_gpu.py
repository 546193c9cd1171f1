"""Filters on torch tensors: kernels under Triton's interpreter against the CPU's."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from somascope.core.errors import ParameterError
from somascope.process.components import label
from somascope.process.denoise import bilateral, nonlocal_means
from somascope.process.distance import distance
from somascope.process.filters import smooth
from somascope.process.median import median
from somascope.process.morphology import extreme
from somascope.process.sampling import sample
from somascope.process.separable import along
from somascope.process.vessels import tubes

torch = pytest.importorskip("torch")
gpu = pytest.importorskip("somascope.process.gpu", reason="Triton is not installed")
if not gpu.interpreted():
    pytest.skip("TRITON_INTERPRET was set to 0", allow_module_level=True)

SHAPES = [(5, 9, 12), (1, 8, 11)]


def volume(shape=(5, 9, 12), dtype=np.float32, *, gaps=False):
    v = np.random.default_rng(7).normal(100, 40, shape).astype(dtype)
    if gaps:
        v[0, 2, 3] = np.nan
        v[-1, -1, -1] = np.nan
    return v


def both(function, values, *args, **settings):
    """What the function makes of the array, and of the tensor."""
    mine = function(values.copy(), *args, **settings)
    found = function(torch.from_numpy(values.copy()), *args, **settings)
    if isinstance(mine, tuple):
        return [(m, f.numpy()) for m, f in zip(mine, found, strict=True)]
    assert isinstance(found, torch.Tensor)
    assert tuple(found.shape) == mine.shape
    return mine, found.numpy()


def near(pair, tolerance):
    mine, found = pair
    assert np.array_equal(np.isnan(mine), np.isnan(found))
    assert np.nanmax(np.abs(mine - found)) <= tolerance * max(1.0, float(np.nanmax(np.abs(mine))))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gaps", [False, True])
def test_gaussian(shape, gaps):
    near(both(smooth, volume(shape, gaps=gaps), (1.2, 0.8, 2.5)), 1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8])
@pytest.mark.parametrize(("shape", "size"), [(SHAPES[0], (3, 3, 3)), (SHAPES[1], (1, 5, 5))])
def test_median_is_the_same(shape, size, dtype):
    v = volume(shape, dtype, gaps=dtype is np.float32)
    mine, found = both(median, v, size)
    assert found.dtype == mine.dtype
    assert np.array_equal(mine, found, equal_nan=dtype is np.float32)
    negative = volume(shape) - 100
    assert np.array_equal(*both(median, negative, size))


@pytest.mark.parametrize("gaps", [False, True])
def test_bilateral(gaps):
    near(both(bilateral, volume(gaps=gaps), space=(0.6, 0.8, 1.0), value=30.0), 1e-5)
    near(both(bilateral, volume(gaps=gaps), space=(0.0, 0.4, 1.0), value=30.0), 1e-5)


@pytest.mark.parametrize("gaps", [False, True])
def test_nonlocal_means(gaps):
    v = volume((4, 5, 6), gaps=gaps)
    near(both(nonlocal_means, v, search=(1, 1, 2), patch=(1, 0, 1), h=30.0, sigma=20.0), 1e-4)


@pytest.mark.parametrize("measure", ["frangi", "sato", "meijering"])
@pytest.mark.parametrize("flat", [False, True])
def test_vesselness(measure, flat):
    v = volume(gaps=measure == "sato")
    for bright in (True, False):
        settings = {"scales": (1.0, 1.5), "measure": measure, "bright": bright, "flat": flat}
        near(both(tubes, v, (1.0, 0.8, 0.9), **settings), 2e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
@pytest.mark.parametrize("largest", [False, True])
def test_extremes_are_the_same(dtype, largest):
    assert np.array_equal(*both(extreme, volume(dtype=dtype), (1, 30, 2), largest=largest))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("share", [0.02, 0.5])
def test_distance(shape, share):
    inside = np.random.default_rng(5).random(shape) > share
    inside[0, 3, 4] = False
    near(both(distance, inside, (2.0, 0.7, 0.5)), 1e-6)
    assert np.isinf(distance(torch.ones(2, 3, 4, dtype=torch.bool), (1, 1, 1)).numpy()).all()


@pytest.mark.parametrize("order", ["nearest", "linear", "cubic"])
def test_sampling(order):
    turn = np.array(
        [[0.9, 0.1, 0.0, -0.4], [-0.1, 1.1, 0.2, 0.3], [0.0, 0.2, 0.8, 1.0], [0, 0, 0, 1.0]]
    )
    near(both(sample, volume(), turn, (6, 7, 8), order=order, fill=-5.0), 1e-5)


def test_taps():
    index, weight = np.array([[0, 1], [1, 2], [3, 3], [4, 0]]), np.array([[0.2, 0.8]] * 4)
    for axis in range(3):
        near(both(along, volume(), axis, index=index, weight=weight), 1e-6)


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("shape", SHAPES)
def test_components_are_the_same(connectivity, shape):
    mask = np.random.default_rng(11).random(shape) > 0.7
    for mine, found in both(label, mask, connectivity=connectivity):
        assert np.array_equal(mine, found)
    assert label(torch.zeros(2, 2, 2, dtype=torch.bool))[1].numel() == 0


def test_a_snake_is_one_component():
    mask = np.zeros((1, 9, 12), bool)
    mask[0, ::2] = True
    mask[0, 1::4, -1] = mask[0, 3::4, 0] = True
    for mine, found in both(label, mask, connectivity=6):
        assert np.array_equal(mine, found)


def test_other_devices_are_refused():
    x = torch.empty(2, 3, 4, device="meta")
    with pytest.raises(ParameterError, match="meta"):
        smooth(x, (1, 1, 1))


def test_without_the_interpreter_cpu_tensors_go_through_numpy():
    code = (
        "import torch, numpy as np\n"
        "from somascope.process.morphology import extreme\n"
        "x = torch.arange(24.).reshape(2, 3, 4)\n"
        "found = extreme(x, (1, 0, 0), largest=True)\n"
        "assert torch.equal(found, x[1:].expand(2, 3, 4)), found\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True,
        env={**__import__("os").environ, "TRITON_INTERPRET": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_arrays_never_load_torch():
    code = (
        "import sys, somascope.process.filters, somascope.process.vessels, somascope.process.runs\n"
        "import somascope.process.morphology, somascope.process.median\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
