"""Two processes under torchrun: the gradient of the whole batch, equal weights, one model."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from somascope.learn.datasets import open_dataset
from somascope.learn.make import planned
from somascope.learn.parallel import Team, team
from somascope.learn.plan import Machine
from somascope.models import load
from tests.learn import worlds

SCRIPT = Path(__file__).with_name("teaming.py")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """One process, and two; what each wrote."""
    root = tmp_path_factory.mktemp("team")
    worlds.npz(root / "discs.npz", count=16)
    data = open_dataset(root / "discs.npz", "classify")
    plan = planned(data, budget_minutes=1, machine=Machine(1, "", 8.0))
    network = {"kind": "lenet", "inputs": 1, "outputs": 2, "size": 28}
    plan = replace(plan, network=network, batch=8)
    (root / "plan.json").write_text(plan.to_json())
    several = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    for more in ([], several):
        run = subprocess.run(
            [sys.executable, *more, str(SCRIPT), str(root), str(root)], env=environment,
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr[-4000:]
    return root, data


def test_the_mean_of_two_halves_is_the_gradient_of_the_whole(done):
    root, _ = done
    whole = load_file(root / "grads-0-of-1.safetensors")
    for rank in (0, 1):
        mine = load_file(root / f"grads-{rank}-of-2.safetensors")
        for name, grad in whole.items():
            assert torch.allclose(mine[name], grad, atol=1e-5, rtol=1e-4), name


def test_all_end_with_equal_weights_and_one_model_is_written(done):
    root, data = done
    one, two = (load_file(root / f"weights-{r}-of-2.safetensors") for r in (0, 1))
    assert all(torch.equal(one[k], two[k]) for k in one)
    model = load(root / "model-of-2")
    assert not (root / "model-of-2.training").exists()
    (label,) = model(data.cases[0].image())
    assert set(label.probabilities) == {"0", "1"}


def test_shares_are_all_and_none_twice():
    items = list(range(7))
    parts = [Team(r, 3).share(items) for r in range(3)]
    assert sorted(i for p in parts for i in p) == items
    assert [Team(r, 3).share([5]) for r in range(3)] == [[5], [5], [5]]
    assert team() == Team()
    assert Team().agreed(3.5) == 3.5
