"""The gradient of 3-D kernels: PyTorch's own in double precision, any number of threads."""

import numba
import pytest
import torch
from torch import nn

from somascope.learn.networks import build, gradient
from somascope.learn.networks.blocks import convolution


def both(inputs, outputs, shape, *, batch=2, bias=True, needs=True):
    torch.manual_seed(inputs + outputs)
    layer = convolution(inputs, outputs, dimensions=3, bias=bias)
    x = torch.randn(batch, inputs, *shape)
    g = torch.randn(batch, outputs, *shape)
    found = []
    for kind in (torch.float32, torch.float64):
        ours = convolution(inputs, outputs, dimensions=3, bias=bias).to(kind)
        ours.load_state_dict(layer.state_dict())
        given = x.clone().to(kind).requires_grad_(needs)
        out = ours(given)
        out.backward(g.to(kind))
        grads = [p.grad for p in ours.parameters()] + ([given.grad] if needs else [])
        found.append([out.detach(), *grads])
    return found


@pytest.mark.parametrize(("inputs", "outputs", "shape"), [
    (1, 4, (16, 16, 16)), (3, 8, (17, 9, 31)), (5, 4, (2, 3, 700)), (2, 4, (1, 64, 65)),
    (8, 12, (40, 11, 10)),
])  # fmt: skip
def test_is_the_gradient(inputs, outputs, shape, monkeypatch):
    calls = []
    real = gradient.weight_gradient
    monkeypatch.setattr(gradient, "WORTH", 1)
    monkeypatch.setattr(gradient, "weight_gradient", lambda *a: (calls.append(1), real(*a))[1])
    for bias in (True, False):
        ours, exact = both(inputs, outputs, shape, bias=bias)
        for a, b in zip(ours, exact, strict=True):
            assert a.shape == b.shape
            assert (a - b).abs().max() <= 2e-5 * b.abs().max()
    assert len(calls) == 2  # float32 only


def test_the_same_bits_with_one_thread_and_with_all():
    torch.manual_seed(0)
    x, g = torch.randn(2, 6, 18, 19, 20), torch.randn(2, 8, 18, 19, 20)
    several = gradient.weight_gradient(x, g)
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        assert torch.equal(gradient.weight_gradient(x, g), several)
    finally:
        numba.set_num_threads(threads)


def test_is_left_alone_where_it_is_not_for():
    x = torch.randn(1, 4, 16, 16, 16)
    layer = convolution(4, 8, dimensions=3)
    assert gradient.suits(x, layer.weight, layer)
    assert not gradient.suits(x.double(), layer.weight, layer)
    assert not gradient.suits(x[..., :15, :15, :15], layer.weight, layer)
    odd = convolution(4, 6, dimensions=3)
    assert not gradient.suits(x, odd.weight, odd)
    assert type(convolution(4, 8, dimensions=3, stride=2)) is nn.Conv3d
    assert type(convolution(4, 8, dimensions=3, size=1)) is nn.Conv3d
    frozen = convolution(4, 8, dimensions=3).requires_grad_(False)
    assert not gradient.suits(x, frozen.weight, frozen)
    with torch.no_grad():
        assert torch.equal(layer(x), nn.functional.conv3d(x, layer.weight, layer.bias, padding=1))


def test_a_network_learns_as_with_plain_layers(monkeypatch):
    described = {"kind": "unet", "inputs": 1, "outputs": 3, "dimensions": 3, "widths": [4, 8]}
    x = torch.randn(2, 1, 16, 16, 24)
    wanted = torch.randint(0, 3, (2, 16, 16, 24))
    found = []
    for worth in (1, 1 << 40):
        monkeypatch.setattr(gradient, "WORTH", worth)
        torch.manual_seed(1)
        net = build(described).train()
        optimiser = torch.optim.AdamW(net.parameters(), lr=1e-2)
        losses = []
        for _ in range(12):
            loss = nn.functional.cross_entropy(net(x), wanted)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        found.append(losses)
    assert found[0][-1] < found[0][0]
    assert found[0] == pytest.approx(found[1], rel=1e-3)
    assert found[0] != found[1]  # otherwise neither was tried
