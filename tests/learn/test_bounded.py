"""What is built of a description is as large as the weights that came with it."""

import pytest
import torch
from safetensors.torch import save
from torch import nn

from somascope.core.errors import Refused
from somascope.learn import adopt
from somascope.learn.bounded import bounded
from somascope.models.foreign import Found, Told

SMALL = {"kind": "unet", "inputs": 1, "outputs": 2, "dimensions": 2, "widths": [4, 8]}
TOLD = Told(task="segment", patch=(16, 16), channels=1)


def test_within_the_limit_nothing_changes():
    torch.manual_seed(0)
    plain = nn.Conv2d(3, 8, 3)
    torch.manual_seed(0)
    with bounded(1 << 20, what="it"):
        same = nn.Conv2d(3, 8, 3)
        assert torch.arange(9).reshape(3, 3).sum().item() == 36
    assert torch.equal(plain.weight, same.weight)


@pytest.mark.parametrize("made", [
    lambda: torch.empty(1 << 40),
    lambda: nn.Linear(1 << 20, 1 << 20),
    lambda: torch.arange(1 << 40),
    lambda: torch.zeros(1 << 15)[:, None] * torch.zeros(1 << 15)[None],
    lambda: torch.ones(1).expand(1 << 40).clone(),
    lambda: [nn.ReLU() if i % 2 else nn.Conv1d(1, 1, 1) for i in range(1 << 16)],
], ids=["empty", "linear", "arange", "product", "clone", "many"])  # fmt: skip
def test_beyond_it_nothing_is_made(made):
    with pytest.raises(Refused, match="far more than the weights"), bounded(1 << 20, what="it"):
        made()


@pytest.mark.parametrize("widths", [[65536, 65536], [4] + [4096] * 8])
def test_a_description_larger_than_its_weights(widths):
    """Two layers of 65536 channels would take 150 GB."""
    described = {**SMALL, "widths": widths}
    weights = save({"x": torch.zeros(4)})
    with pytest.raises(Refused, match="far more than the weights"):
        adopt.adopted(Found(TOLD, "bomb", weights=weights, network=described))
