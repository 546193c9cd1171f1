"""The zoo: shapes, numbers of weights by hand, a tiny batch learned by heart, and as ONNX."""

import pytest
import torch
from torch.nn import functional

from somascope.core.errors import ParameterError
from somascope.learn.explain import deepest
from somascope.learn.export import graph_of
from somascope.learn.networks import KINDS, build
from somascope.learn.networks.blocks import parameters
from somascope.models import onnxfile

ZOO = {
    "vgg": ({"kind": "vgg", "widths": [4, 6], "hidden": 8}, (16, 20)),
    "vgg 3-D": ({"kind": "vgg", "widths": [4, 6], "hidden": 8, "dimensions": 3}, (8, 12, 10)),
    "densenet": ({"kind": "densenet", "growth": 4, "blocks": [2, 3]}, (16, 20)),
    "densenet 3-D": ({"kind": "densenet", "growth": 4, "blocks": [2, 3], "dimensions": 3},
                     (8, 12, 10)),
    "convnext": ({"kind": "convnext", "widths": [8, 12], "blocks": [1, 2]}, (16, 20)),
    "convnext 3-D": ({"kind": "convnext", "widths": [8, 12], "blocks": [1, 1], "dimensions": 3,
                      "size": 3}, (8, 12, 8)),
    "vit": ({"kind": "vit", "size": [16, 20], "width": 16, "depth": 2}, (16, 20)),
    "vit 3-D": ({"kind": "vit", "size": [8, 12, 8], "width": 16, "depth": 2}, (8, 12, 8)),
    "gru": ({"kind": "reader", "widths": [4, 8], "hidden": 8}, (5, 16, 12)),
    "lstm": ({"kind": "reader", "widths": [4, 8], "hidden": 8, "memory": "lstm"}, (5, 16, 12)),
    "attention": ({"kind": "reader", "widths": [4, 8], "hidden": 8, "memory": "attention"},
                  (5, 16, 12)),
}  # fmt: skip


def made(name, *, inputs=1, outputs=3, **more):
    torch.manual_seed(0)
    return build({"inputs": inputs, "outputs": outputs, **ZOO[name][0], **more})


@pytest.mark.parametrize("name", ZOO)
def test_answers_in_the_right_shape_for_any_batch_and_channels(name):
    for batch, inputs in ((1, 1), (3, 3)):
        x = torch.zeros(batch, inputs, *ZOO[name][1])
        assert made(name, inputs=inputs).eval()(x).shape == (batch, 3)


def _block(a, b, volume):
    return a * b * 3 ** (2 + volume) + 2 * b


@pytest.mark.parametrize("volume", [0, 1])
def test_vgg_has_as_many_weights_as_its_layers(volume):
    wanted = sum(_block(a, b, volume) for a, b in ((1, 4), (4, 4), (4, 6), (6, 6)))
    wanted += 6 * 8 + 8 + 8 * 3 + 3
    assert parameters(made("vgg 3-D" if volume else "vgg")) == wanted


@pytest.mark.parametrize("volume", [0, 1])
def test_densenet_has_as_many_weights_as_its_layers(volume):
    k = 3 ** (2 + volume)
    wanted, width = 8 * k, 8
    for i, count in enumerate((2, 3)):
        if i:
            wanted += 2 * width + width * width // 2
            width //= 2
        for _ in range(count):
            wanted += 2 * width + width * 16 + 2 * 16 + 16 * 4 * k
            width += 4
    wanted += 2 * width + width * 3 + 3
    assert parameters(made("densenet 3-D" if volume else "densenet")) == wanted


def test_convnext_has_as_many_weights_as_its_layers():
    def wide(c):
        return c * 49 + c + 2 * c + c * 4 * c + 4 * c + 4 * c * c + c + c

    wanted = (8 * 4 + 8) + wide(8) + 2 * 8 + (8 * 12 * 4 + 12) + 2 * wide(12) + 2 * 12 + 12 * 3 + 3
    assert parameters(made("convnext")) == wanted


def test_vit_has_as_many_weights_as_its_layers():
    w, tokens = 16, 4 * 5
    layer = (
        2 * w + (w * 3 * w + 3 * w) + (w * w + w) + 2 * w + (w * 4 * w + 4 * w) + (4 * w * w + w)
    )
    assert parameters(made("vit")) == (w * 16 + w) + tokens * w + 2 * layer + 2 * w + w * 3 + 3


def test_vit_of_the_paper_is_as_large_as_published():
    # Dosovitskiy et al., table 1: ViT-Base/16 at 224 has 86 M weights.
    with torch.device("meta"):
        net = build({"kind": "vit", "inputs": 3, "outputs": 1000, "size": [224, 224], "patch": 16,
                     "width": 768, "depth": 12, "heads": 12})  # fmt: skip
    assert parameters(net) / 1e6 == pytest.approx(86.5, abs=0.5)


def test_convnext_of_the_paper_is_as_large_as_published():
    # Liu et al., table 1: ConvNeXt-T has 29 M weights (28.6 M).
    with torch.device("meta"):
        net = build({"kind": "convnext", "inputs": 3, "outputs": 1000, "stem": 4,
                     "widths": [96, 192, 384, 768], "blocks": [3, 3, 9, 3]})  # fmt: skip
    assert parameters(net) / 1e6 == pytest.approx(28.6, abs=0.3)


def test_memories_have_as_many_weights_as_published():
    # Three gates of a GRU, four of an LSTM; each from 8 maps and 8 of itself, two biases, two ways.
    gru, lstm, none = (parameters(made(n)) for n in ("gru", "lstm", "attention"))
    gate = 2 * (8 * 8 + 8 * 8 + 2 * 8)
    assert lstm - gru == gate
    wider = (16 - 8) * 8 + (16 - 8) * 3
    assert gru - none == 3 * gate + wider


@pytest.mark.parametrize("name", ZOO)
def test_learns_a_tiny_batch_by_heart(name):
    net = made(name, dropout=0.0).train()
    x = torch.randn(6, 1, *ZOO[name][1], generator=torch.Generator().manual_seed(1))
    y = torch.arange(6) % 3
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(200):
        loss = functional.cross_entropy(net(x), y)
        losses.append(float(loss.detach()))
        if losses[-1] < 0.1:
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[0] > 0.5
    assert losses[-1] < 0.3  # guessing costs 1.1


@pytest.mark.parametrize("name", ZOO)
def test_becomes_a_graph_that_is_let_in(name):
    shape = (1, 1, *ZOO[name][1])
    given = [{"image": torch.randn(shape, generator=torch.Generator().manual_seed(s))}
             for s in (0, 1)]  # fmt: skip
    seen = onnxfile.inspect(graph_of(made(name), given, output="logits"))
    assert seen.inputs == ("image",)


def test_what_does_not_fit_is_said():
    with pytest.raises(ParameterError, match="multiple of the patch"):
        made("vit", size=[15, 20])
    with pytest.raises(ParameterError, match="choose one of"):
        build({"kind": "alexnet"})
    with pytest.raises(ParameterError, match="no layer 'stage'"):
        deepest(made("gru"), layer="stage")
    assert {"vgg", "densenet", "convnext", "vit", "reader"} <= set(KINDS)


def test_a_reader_tells_the_order_of_slices():
    net = made("gru").eval()
    x = torch.randn(1, 1, 5, 16, 12, generator=torch.Generator().manual_seed(2))
    assert not torch.allclose(net(x), net(x.flip(2)), atol=1e-5)
    assert torch.allclose(
        made("attention").eval()(x), made("attention").eval()(x.flip(2)), atol=1e-5
    )  # weights of attention alone do not know which came first


@pytest.mark.parametrize(
    "settings",
    [{"widths": [4] * 1000}, {"blocks": 10**9}, {"widths": [10**9]}, {"widths": [float("nan")]},
     {"widths": [4] * 10**5}],
)  # fmt: skip
def test_what_no_network_is_like_is_refused(settings):
    described = {"kind": "resnet", "inputs": 1, "outputs": 2, **settings}
    with pytest.raises(ParameterError, match="not built"):
        build(described)
    with pytest.raises(ParameterError, match="not built"):
        build({"kind": "committee", "members": [described]})


@pytest.mark.parametrize(("dimensions", "shape"), [(2, (40, 33)), (3, (24, 20, 16))])
def test_a_network_of_the_middle_looks_nowhere_else(dimensions, shape):
    torch.manual_seed(0)
    described = {"kind": "unet", "inputs": 1, "outputs": 2, "dimensions": dimensions,
                 "widths": [4, 8], "stem": 2}  # fmt: skip
    whole = build(described).eval()
    middle = build({**described, "middle": 16}).eval()
    middle.load_state_dict(whole.state_dict())
    key = tuple(slice((n - 16) // 2, (n - 16) // 2 + 16) for n in shape)
    x = torch.randn(2, 1, *shape)
    other = torch.randn(2, 1, *shape)
    other[(..., *key)] = x[(..., *key)]
    with torch.inference_mode():
        found = middle(x)
        assert found.shape == (2, 2, *shape)
        assert torch.equal(found, middle(other))
        assert torch.allclose(found[(..., *key)], whole(x[(..., *key)]), atol=1e-5)
        found[(..., *key)] = 1e6
        assert (found[:, 0] > 7).all()  # background, and surely so
        assert (found[:, 1][found[:, 1] < 1e6] < -7).all()
