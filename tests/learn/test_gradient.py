"""The gradient of 3-D kernels: PyTorch's own in double precision, any number of threads."""

import numba
import pytest
import torch
from torch import nn

from somascope.learn.networks import build, gradient, normalised
from somascope.learn.networks.blocks import Block, convolution


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


@pytest.mark.parametrize("bias", [True, False])
def test_kernels_of_one_voxel_are_products(bias, monkeypatch):
    monkeypatch.setattr(gradient, "WORTH", 1)
    torch.manual_seed(0)
    layer = convolution(5, 3, dimensions=3, size=1, bias=bias)
    plain = nn.Conv3d(5, 3, 1, bias=bias).double()
    plain.load_state_dict(layer.state_dict())
    x, g = torch.randn(2, 5, 6, 7, 8), torch.randn(2, 3, 6, 7, 8)
    found = []
    for one, kind in ((layer, torch.float32), (plain, torch.float64)):
        given = x.clone().to(kind).requires_grad_()
        assert gradient.suits(given, one.weight, one) == (one is layer)
        out = one(given)
        out.backward(g.to(kind))
        found.append([out.detach(), given.grad, *(p.grad for p in one.parameters())])
    for a, b in zip(*found, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= 1e-5 * b.abs().max()


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
    assert type(convolution(4, 8, dimensions=3, stride=2)) is nn.Conv3d
    assert type(convolution(4, 8, dimensions=3, size=5)) is nn.Conv3d
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
        monkeypatch.setattr(normalised, "WORTH", worth)
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


@pytest.mark.parametrize(
    ("dimensions", "shape"), [(3, (17, 16, 19)), (2, (70, 61)), (3, (1, 2, 9))]
)
def test_normalisation_and_relu_in_one_are_the_same(dimensions, shape, monkeypatch):
    monkeypatch.setattr(normalised, "WORTH", 1)
    torch.manual_seed(3)
    norm = (
        nn.InstanceNorm3d(5, affine=True) if dimensions == 3 else nn.InstanceNorm2d(5, affine=True)
    )
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 0.5, -2.0, 0.0, 3.0]))
        norm.bias.copy_(torch.tensor([0.0, 1.0, 0.3, -0.5, -3.0]))
    x = 40 + 3 * torch.randn(3, 5, *shape)
    x[1, 2] = 7.0  # a constant map
    g = torch.randn(3, 5, *shape)
    found = []
    for ours in (True, False):
        given = x.clone().requires_grad_() if ours else x.double().requires_grad_()
        mine = norm if ours else type(norm)(5, affine=True).double()
        mine.load_state_dict(norm.state_dict())
        assert normalised.lean(given, mine) == ours
        y = normalised.normalised(given, mine) if ours else mine(given).relu()
        y.backward(g.to(y.dtype))
        found.append([y.detach(), given.grad, mine.weight.grad, mine.bias.grad])
    for a, b in zip(*found, strict=True):
        near = (a.double() - b.double()).abs() <= 1e-4 * b.abs().max() + 1e-4
        assert near.float().mean() > 0.999  # where the ReLU bends, rounding decides


def test_a_block_takes_it_while_it_learns_and_not_afterwards(monkeypatch):
    seen = []
    real = normalised.normalised
    from somascope.learn.networks import blocks

    monkeypatch.setattr(blocks, "normalised", lambda *a: (seen.append(1), real(*a))[1])
    block = Block(1, 4, dimensions=3, norm="instance")
    x = torch.randn(1, 1, 20, 20, 20)
    learned = block(x)
    assert seen == [1]
    assert torch.allclose(learned, block.eval()(x), atol=1e-5)
    Block(1, 4, dimensions=3, norm="batch")(x)
    with torch.no_grad():
        block.train()(x)
    assert seen == [1]
