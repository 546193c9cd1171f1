"""A network read back from its graph says what the graph says, or is not believed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from somascope.core import Grid, Image
from somascope.core.errors import NotFound, Refused
from somascope.learn import explain as why
from somascope.learn.export import example, graph_of
from somascope.learn.make import weights_of
from somascope.learn.networks import build
from somascope.learn.plan import Plan
from somascope.learn.regained import folded, regained
from somascope.models import installed, load, package
from somascope.models.lighter import lighter

UNET = {"kind": "unet", "inputs": 1, "outputs": 3, "dimensions": 3, "widths": [4, 8], "stem": 2}
FLAT = {"kind": "resnet", "inputs": 1, "outputs": 3, "dimensions": 2, "widths": [4, 8], "blocks": 1}


def plan(task, network, patch):
    """A shipped plan with another network."""
    shipped = package.read(installed.shipped() / "segment.hippocampus.zip")
    made = Plan.from_json(shipped.extras["plan.json"])
    return replace(made, task=task, network=network, patch=patch, dimensions=len(patch))


def stirred(description):
    """A network whose normalisations have seen something."""
    torch.manual_seed(4)
    network = build(description)
    for module in network.modules():
        for name in ("weight", "bias", "running_mean", "running_var"):
            value = getattr(module, name, None)
            if isinstance(value, torch.Tensor) and value.ndim == 1:
                value.data.uniform_(0.5, 1.5)
    return network.eval()


@pytest.mark.parametrize(
    ("task", "description", "patch"),
    [
        ("segment", UNET, (16, 16, 16)),
        ("segment", {"kind": "committee", "members": [UNET, UNET], "mirror": [2]}, (16, 16, 16)),
        ("classify", FLAT, (16, 16)),
        ("detect", {"kind": "detector", "inputs": 1, "classes": 2, "widths": [4, 8]}, (16,) * 3),
        ("register", {"kind": "voxelmorph", "dimensions": 3, "widths": [4, 8]}, (16, 16, 16)),
    ],
)
@pytest.mark.parametrize("stored", ["as it is", "int8"])
def test_every_kind_comes_back(task, description, patch, stored):
    asked, network = plan(task, description, patch), stirred(description)
    graph = graph_of(network, [example(asked)], output="out")
    if stored == "int8":
        graph = lighter(graph, "int8")
    found = regained(graph, asked)
    given = example(asked, seed=5)
    with torch.inference_mode():
        one, two = network(*given.values()), found(*given.values())
    if stored == "as it is":
        assert np.allclose(one, two, atol=1e-4 * float(one.std()) + 1e-6)
        if not folded(network):
            own = found.state_dict()
            assert all(torch.equal(v, own[k]) for k, v in network.state_dict().items())
    assert not any(p.is_meta for p in found.parameters())


def test_another_network_is_not_believed():
    asked = plan("segment", UNET, (16, 16, 16))
    graph = graph_of(stirred(UNET), [example(asked)], output="out")
    for other in ({**UNET, "widths": [4, 12]}, {**UNET, "widths": [4, 8, 16]},
                  {**UNET, "norm": "none"}, {**UNET, "residual": True}):  # fmt: skip
        with pytest.raises(Refused):
            regained(graph, replace(asked, network=other))
    # The same layers with the same weights, turned another way: only trying tells.
    pair = {"kind": "committee", "members": [UNET], "mirror": [2]}
    whole = graph_of(stirred(pair), [example(asked)], output="out")
    with pytest.raises(Refused, match="differs"):
        regained(whole, replace(asked, network={**pair, "mirror": [1]}))


def test_what_reads_in_order_cannot_be_told_from_its_graph():
    reader = {"kind": "reader", "inputs": 1, "outputs": 2, "widths": [4, 8], "memory": "gru"}
    asked = plan("classify", reader, (4, 16, 16))
    graph = graph_of(stirred(reader), [example(asked)], output="out")
    with pytest.raises(NotFound):
        regained(graph, asked)


@pytest.mark.parametrize("name", ["segment.hippocampus", "segment.left-ventricle"])
def test_shipped_graphs_alone_are_explained(name):
    packed = package.read(installed.shipped() / f"{name}.zip")
    assert "weights.safetensors" not in packed.extras
    card = packed.card
    flat = card.dimensions == 2
    shape = (1, *card.patch) if flat else card.patch
    rng = np.random.default_rng(0)
    values = rng.normal(100, 20, shape).astype(np.float32)
    image = Image(values, Grid.from_spacing(shape, (1.0, 1.0, 1.0)), "MR")
    _, _, network = why.opened(name)
    x, _ = why.input_of(card, [image])
    seen = why.gradcam(network, why.score_of(card, network, 0), x)
    assert seen.shape == x.shape[2:]
    assert np.isfinite(seen).all()
    with torch.inference_mode():
        said = network(x)[0].numpy()
    own = load(name, kind="onnxruntime").engine({"image": x.numpy()})[0][0]
    assert (said.argmax(axis=0) == own.argmax(axis=0)).mean() > 0.999
    assert any(k.startswith("down.") for k in weights_of(name))
