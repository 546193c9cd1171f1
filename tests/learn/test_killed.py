"""Killed for good, in the middle of anything, and started again: the same curve, the same model."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from somascope.learn.datasets import open_dataset
from somascope.learn.make import planned
from somascope.learn.plan import Machine
from somascope.models import package
from tests.learn import killing, worlds

KILLS = int(os.environ.get("SOMASCOPE_KILLS", "3"))
"""How often the run is killed; 20 takes about a minute."""


@pytest.fixture(scope="module")
def run():
    """``run(world, out, moment=0, phase="training")``: what became of one attempt."""
    process = subprocess.Popen(
        [sys.executable, str(Path(killing.__file__))], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip

    def one(world, out, moment=0, phase="training"):
        process.stdin.write(json.dumps([str(world), str(out), moment, phase]) + "\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    with process:
        yield one
        process.stdin.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory, run):
    """Data, a plan, and the model of a run that nothing disturbed."""
    root = tmp_path_factory.mktemp("world")
    worlds.npz(root / "discs.npz", count=12)
    plan = planned(
        open_dataset(root / "discs.npz", "classify"), budget_minutes=1, machine=Machine(1, "", 8.0)
    )
    network = {"kind": "lenet", "inputs": 1, "outputs": 2, "size": 28}
    (root / "plan.json").write_text(replace(plan, network=network, batch=4).to_json())
    assert run(root, root / "undisturbed" / "model") == 0
    return root


def same(world, out):
    one, two = package.read(world / "undisturbed" / "model"), package.read(out)
    assert two.extras["history.json"] == one.extras["history.json"]
    assert two.extras["weights.safetensors"] == one.extras["weights.safetensors"]
    assert (two.card, two.graph) == (one.card, one.graph)
    assert not list(out.parent.glob("*.training"))


def test_killed_at_random_moments_of_training(world, run, tmp_path):
    rng = np.random.default_rng(20)
    out = tmp_path / "model"
    most = 24 if KILLS > 10 else 80
    for _ in range(KILLS):
        assert run(world, out, int(rng.integers(1, most))) == -signal.SIGKILL
        assert not (out / "card.json").exists()
    assert run(world, out) == 0
    same(world, out)


def test_killed_while_the_model_is_written(world, run, tmp_path):
    out = tmp_path / "model"
    # Five files, each opened and renamed; the card comes last and says that the model is whole.
    for moment in range(1, 11) if KILLS > 10 else (4, 10):
        assert run(world, out, moment, "writing") == -signal.SIGKILL
        assert not (out / "card.json").exists()
    assert run(world, out) == 0
    same(world, out)
