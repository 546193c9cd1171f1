"""Dropout through the export: off by default, and when drawn what PyTorch does in training."""

import numpy as np
import pytest
import torch
from torch import nn

from somascope.learn.export import graph_of
from somascope.learn.gates import gated
from somascope.models import onnxfile
from somascope.models.engine import Runtime
from somascope.models.thinned import Thinned, gates


class Small(nn.Module):
    def __init__(self, *, rate=0.4):
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, padding=1)
        self.maps = nn.Dropout2d(rate)
        self.head = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Dropout(rate), nn.Linear(32, 2))

    def forward(self, image):
        return self.head(self.maps(self.conv(image)).mean(dim=(2, 3)))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Small().eval()


def example(seed=0):
    return {"image": torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(seed))}


def test_the_graph_is_the_network_and_has_two_factors(network):
    graph = graph_of(network, [example(0), example(1)], output="logits")
    found = gates(Runtime(graph, 1).optional())
    assert [(g.shape, g.rate) for g in found] == [((1, 6, 1, 1), 0.4), ((1, 32), 0.4)]
    assert onnxfile.inspect(graph).inputs == ("image",)
    assert isinstance(network.maps, nn.Dropout2d)  # the network itself is as it was


def test_draws_are_distributed_as_those_of_training(network):
    graph = graph_of(network, [example(0)], output="logits")
    engine = Runtime(graph, 1)
    found = gates(engine.optional())
    image = example(0)
    ours = np.array([
        Thinned(engine, found, seed=s)({"image": image["image"].numpy()})[0][0] for s in range(600)
    ])  # fmt: skip
    torch.manual_seed(1)
    network.train()
    with torch.no_grad():
        theirs = np.array([network(**image)[0].numpy() for _ in range(600)])
    network.eval()
    deviation = theirs.std(axis=0)
    assert np.abs(ours.mean(axis=0) - theirs.mean(axis=0)).max() < (5 * deviation / 17).max()
    assert np.allclose(ours.std(axis=0), deviation, rtol=0.2)


def test_no_dropout_no_factor():
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 2), nn.Dropout(0.0)).eval()
    made, names = gated(plain, example(), whole=True)
    assert made is plain
    assert names == {}


def test_a_dropout_used_twice_is_left_as_it_is():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, image):
            return self.drop(self.drop(image).mean(dim=(2, 3)))

    _, names = gated(Twice().eval(), example(), whole=True)
    assert names == {}
