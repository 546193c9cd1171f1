"""Unrolled reconstruction: the same operator as the scan's, and better than SENSE where it was
never trained: on other anatomy, at four times fewer lines.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from somascope.acquire.mri.cartesian import CartesianScan
from somascope.acquire.mri.sense import sense
from somascope.acquire.mri.simulate import simulate
from somascope.core import Grid
from somascope.core.errors import ParameterError, Refused
from somascope.learn.networks.varnet import VarNet, normal
from somascope.learn.reconstruct import Protocol, reconstructor, scanned, varnet
from somascope.models import load
from somascope.models.operations import opened
from somascope.models.reconstruct import kept, pairs, reconstruct, slices
from somascope.phantoms import brain_mr
from somascope.phantoms.heads import ellipse_heads
from somascope.testing import check_operation

GRID = Grid.from_spacing((1, 48, 40), (5.0, 4.4, 4.4), origin=(-85.8, -103.4, 6.0))


def test_the_graphs_operator_is_the_scans():
    rng = np.random.default_rng(0)
    image = replace(brain_mr("T1", GRID), data=brain_mr("T1", GRID).data.astype(np.float32))
    raw = simulate(image, acceleration=4, calibration=8, coils=5, snr=None, oversampling=2)
    ready = slices(raw, "test")
    x = (rng.normal(size=(1, 48, 40)) + 1j * rng.normal(size=(1, 48, 40))).astype(np.complex64)
    given = {k: torch.from_numpy(v) for k, v in ready.given(0).items()}
    found = normal(torch.from_numpy(pairs(x)), given["maps"], given["kept"])[0].numpy()
    scan = raw.operator.with_sensitivities(raw.calibration["sensitivities"])
    wanted = scan.adjoint(scan.forward(x))[0]
    assert np.allclose(found[0] + 1j * found[1], wanted, atol=1e-4 * np.abs(wanted).max())
    full = kept(np.ones(48, bool), 48)
    assert np.allclose(full, np.eye(48), atol=1e-5)


def test_untrained_it_is_the_solver():
    """Without its priors many inner steps are least squares."""
    raw = simulate(brain_mr("T1", GRID), acceleration=2, calibration=12, snr=None)
    network = VarNet(cascades=1, width=4, inner=60)
    with torch.no_grad():
        for p in network.priors.parameters():
            p.zero_()
        network.hold.fill_(-30)
    ready = slices(raw, "test")
    with torch.inference_mode():
        said = network(*(torch.from_numpy(v) for v in ready.given(0).values()))[0].numpy()
    found = np.abs(said[0] + 1j * said[1]) * ready.scale
    wanted = sense(raw, iterations=100).data[0]
    assert np.abs(found - wanted).max() < 0.01 * wanted.max()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("varnet") / "unrolled"
    protocol = Protocol(snr=(12.0, 40.0))
    heads = ellipse_heads(18, GRID, seed=1)
    network = varnet(heads[:16], protocol=protocol, steps=160, width=12, cascades=3)
    examples = [scanned(i, protocol, seed=900 + k) for k, i in enumerate(heads[16:])]
    reconstructor(network, examples, path)
    return path


def error(found, truth):
    inside = truth > 0.02 * truth.max()
    return float(np.linalg.norm((found - truth)[inside]) / np.linalg.norm(truth[inside]))


def test_held_out_brains_at_a_quarter_of_the_lines(model):
    each = []
    for seed, weighting in enumerate(("T1", "T2", "PD")):
        brain = brain_mr(weighting, GRID, noise=0)
        truth = brain.data[0].astype(float)
        raw = simulate(brain, acceleration=4, calibration=12, snr=20.0, seed=70 + seed)
        found = reconstruct(raw, model=str(model)).data[0]
        back = slices(raw, "test")
        zero = np.abs(back.back[0]) * back.scale
        zero = zero * float((zero * truth).sum() / (zero**2).sum())  # at its best brightness
        # SENSE is stopped where it is best, which nobody knows without the truth.
        solved = min(error(sense(raw, iterations=n).data[0], truth) for n in (4, 8, 30))
        each.append((error(found, truth), error(zero, truth), solved))
    ours, zeros, senses = np.mean(each, axis=0)
    assert ours < 0.5 * zeros
    assert ours < senses


def test_the_graph_is_a_model_for_any_size_and_number_of_coils(model):
    assert opened(str(model), "reconstruct").card.task == "reconstruct"
    grid = Grid.from_spacing((2, 40, 32), (5.0, 5.0, 5.0), origin=(-77.5, -97.5, 0.0))
    brain = brain_mr("T2", grid, noise=0)
    raw = simulate(brain, coils=6, acceleration=2, calibration=8, snr=None)
    raw = replace(raw, operator=CartesianScan(**{**raw.operator.describe(), "dimensions": 2}))
    again = raw.operator.with_sensitivities(raw.calibration["sensitivities"])
    raw = replace(raw, samples=again.forward(brain.data.astype(np.complex64)))
    found = reconstruct(raw, model=str(model))
    assert found.data.shape == (2, 40, 32)
    assert found.grid == grid
    truth = brain.data.astype(float)
    assert np.corrcoef(found.data.ravel(), truth.ravel())[0, 1] > 0.97
    check_operation(reconstruct, params={"model": str(model)}, inputs=(raw,))


def test_what_it_does_not_read_is_said(model):
    brain = brain_mr("T1", GRID)
    radial = simulate(brain, trajectory="radial", snr=None)
    with pytest.raises(ParameterError, match="trajectories"):
        reconstruct(radial, model=str(model))
    raw = simulate(brain, snr=None)
    mask = np.ones((1, 48, 40), bool)
    mask[0, 5, 3] = False
    part = replace(raw, operator=CartesianScan(GRID, coils=8, mask=mask))
    with pytest.raises(ParameterError, match="whole readouts"):
        reconstruct(part, model=str(model))
    with pytest.raises(Refused, match="reads k-space"):
        load(model)(brain)
    with pytest.raises(ParameterError, match="of one shape"):
        varnet([])
