"""The loop: exact resume wherever it is killed, the budget, early stopping, plans with reasons."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from somascope.core import Progress
from somascope.core.errors import Cancelled, CorruptFile, ParameterError
from somascope.learn import train as training
from somascope.learn.datasets import open_dataset, parted, patients
from somascope.learn.fingerprint import duplicates
from somascope.learn.make import planned
from somascope.learn.networks import build
from somascope.learn.networks.blocks import block_of, multiplications, parameters, upwards
from somascope.learn.plan import Machine, Plan
from somascope.learn.tasks import samples
from somascope.learn.tasks.register import correlation
from somascope.learn.tasks.sample import spread
from somascope.learn.train import train
from tests.learn import worlds


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("train")
    worlds.npz(root / "discs.npz", count=24)
    data = open_dataset(root / "discs.npz", "classify")
    plan = planned(data, budget_minutes=1, machine=Machine(1, "", 8.0))
    small = {"kind": "lenet", "inputs": 1, "outputs": 2, "size": 28}
    plan = replace(plan, network=small, batch=6)
    a, b = parted(data.cases)
    return plan, samples(a, plan), samples(b, plan)


def same(a, b):
    states = (a.network.state_dict(), b.network.state_dict())
    return all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def test_a_run_killed_anywhere_ends_as_if_it_had_not_been(world, tmp_path):
    plan, a, b = world
    whole = train(plan, a, b, folder=tmp_path / "whole", steps=12, every=3)
    rng = np.random.default_rng(7)
    folder = tmp_path / "killed"
    kills = 0
    for _ in range(20):
        deadline = int(rng.integers(1, 7))
        calls = iter(range(deadline))
        stop = Progress(cancelled=lambda calls=calls: next(calls, None) is None)
        try:
            train(plan, a, b, folder=folder, steps=12, every=3, progress=stop)
            break
        except Cancelled:
            kills += 1
    assert kills > 1
    after = train(plan, a, b, folder=folder, steps=12, every=3)
    assert after.history == whole.history
    assert same(after, whole)


def test_damaged_state_is_refused(world, tmp_path):
    plan, a, b = world
    train(plan, a, b, folder=tmp_path, steps=4, every=2)
    (file,) = tmp_path.glob("*.safetensors")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(CorruptFile, match="damaged"):
        train(plan, a, b, folder=tmp_path, steps=4, every=2)


def test_another_plan_is_another_run(world, tmp_path):
    plan, a, b = world
    train(plan, a, b, folder=tmp_path, steps=4, every=2)
    other = train(replace(plan, seed=1), a, b, folder=tmp_path, steps=6, every=3)
    assert other.steps == 6


def test_other_patients_are_another_run(world, tmp_path):
    plan, a, b = world
    train(plan, a, b, folder=tmp_path, steps=4, every=2)
    other = train(plan, b, a, folder=tmp_path, steps=6, every=3)
    assert other.steps == 6
    assert [h["step"] for h in other.history] == [3, 6]


def test_the_budget_decides_the_number_of_steps(world):
    plan, a, b = world
    now = [0.0]

    def clock():
        now[0] += 0.5
        return now[0]

    done = train(replace(plan, budget_minutes=1.0), a, b, clock=clock)
    assert training.WARM_UP < done.steps < 120
    assert now[0] < 90


def test_rate_warms_up_and_cools_down():
    rates = [training.rate(i, 100, most=1.0) for i in range(100)]
    assert rates[0] < 0.3
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] < 0.02


def test_nothing_to_train_on(world):
    plan, a, _ = world
    with pytest.raises(ParameterError, match="validate"):
        train(plan, a, [])


def test_plans_are_readable_and_every_choice_has_its_reason(world):
    plan, _, _ = world
    back = Plan.from_json(plan.to_json())
    assert back == plan
    record = json.loads(plan.to_json())
    assert {"size", "patch", "batch", "network", "loss", "augment"} <= set(record["reasons"])
    with pytest.raises(CorruptFile):
        Plan.from_json(b"{}")


def test_a_larger_budget_or_machine_gives_a_wider_network(tmp_path):
    root = worlds.pairs(tmp_path / "set", count=6)
    data = open_dataset(root, "segment")
    widths = [
        planned(data, budget_minutes=m, machine=Machine(c, gpu, 8.0)).network["widths"][0]
        for m, c, gpu in ((0.02, 1, ""), (0.5, 2, ""), (9, 16, "H200"))
    ]
    assert widths[0] < widths[1] <= widths[2]


def test_multiplications_of_steps_down_and_up():
    net = torch.nn.Sequential(block_of(3, 5, dimensions=2, edge=2),
                              upwards(5, 2, dimensions=2, edge=2))  # fmt: skip
    assert multiplications(net, (1, 3, 8, 6)) == 4 * 3 * (12 * 5) + 8 * 6 * 5 * 2


def test_the_mean_over_a_cube_is_taken_axis_by_axis():
    rng = np.random.default_rng(0)
    a, b = (torch.tensor(rng.normal(size=(1, 1, 9, 10, 8))) for _ in range(2))
    index = [torch.arange(n) for n in (9, 10, 8)]
    whole = []
    for z, y, x in torch.cartesian_prod(*index).tolist():
        cut = tuple(slice(max(i - 3, 0), i + 4) for i in (z, y, x))
        u, v = a[0, 0][cut].flatten(), b[0, 0][cut].flatten()
        cross = (u * v).mean() - u.mean() * v.mean()
        spread_ = (u.var(unbiased=False) * v.var(unbiased=False) + 1e-3).sqrt()
        whole.append(float(cross / spread_))
    assert float(correlation(a, b)) == pytest.approx(np.mean(whole), abs=1e-9)


def test_validation_looks_at_the_first_and_the_last(world):
    _, a, _ = world
    some = spread(a, 5)
    assert [s.id for s in (some[0], some[-1])] == [a[0].id, a[-1].id]
    assert len({s.id for s in some}) == 5
    assert spread(a[:3], 5) == a[:3]


def test_averaged_weights_remember_a_part_of_the_run_only(world):
    plan, a, b = world
    short, long = (replace(plan, rate=0.0, average=0.999) for _ in range(2))
    ends = []
    for one, total in ((short, 40), (long, 40_000)):
        run = training.Run(one, a, b)
        run.state.total, run.state.step = total, 39
        before = {k: v.clone() for k, v in run.average.state_dict().items()}
        with torch.no_grad():
            for p in run.network.parameters():
                p.add_(1.0)
        run.step()
        moved = [float((v - before[k]).mean()) for k, v in run.average.named_parameters()]
        ends.append(float(np.mean(moved)))
    assert ends[0] == pytest.approx(1 / (training.REMEMBERED * 40), rel=1e-3)
    assert ends[1] < 0.3


def test_multiplications_of_one_convolution():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3, padding=1), torch.nn.Conv2d(5, 2, 1))
    assert multiplications(net, (1, 3, 7, 9)) == 7 * 9 * (27 * 5 + 5 * 2)


@pytest.mark.parametrize(
    ("described", "shape", "answer"),
    [
        ({"kind": "lenet", "inputs": 1, "outputs": 10, "size": 28}, (2, 1, 28, 28), (2, 10)),
        ({"kind": "resnet", "inputs": 3, "outputs": 4, "widths": [4, 8]}, (2, 3, 20, 24), (2, 4)),
        ({"kind": "resnet", "inputs": 1, "outputs": 2, "dimensions": 3, "widths": [4, 8]},
         (2, 1, 9, 10, 11), (2, 2)),
        ({"kind": "unet", "inputs": 1, "outputs": 3, "dimensions": 3, "widths": [4, 8]},
         (1, 1, 8, 6, 4), (1, 3, 8, 6, 4)),
        ({"kind": "unet", "inputs": 1, "outputs": 3, "dimensions": 2, "widths": [4, 8, 12],
          "finest": 1, "residual": True}, (1, 1, 16, 24), (1, 3, 8, 12)),
        ({"kind": "unet", "inputs": 1, "outputs": 3, "dimensions": 3, "widths": [4, 8], "stem": 2},
         (1, 1, 8, 12, 4), (1, 3, 8, 12, 4)),
        ({"kind": "unet", "inputs": 3, "outputs": 5, "dimensions": 2, "widths": [4, 8, 12],
          "stem": 2, "finest": 1}, (1, 3, 16, 24), (1, 5, 4, 6)),
        ({"kind": "committee", "members": [{"kind": "lenet", "inputs": 1, "outputs": 10,
                                            "size": 28}]}, (2, 1, 28, 28), (2, 10)),
    ],
)  # fmt: skip
def test_networks_give_the_shape_they_say(described, shape, answer):
    assert tuple(build(described).eval()(torch.zeros(shape)).shape) == answer


def test_lenet_is_as_large_as_published():
    # LeCun 1998: 156 + (1516, here dense: 2416) + 48120 + 10164 + 850 weights.
    net = build({"kind": "lenet", "inputs": 1, "outputs": 10, "size": 28})
    assert parameters(net) == 156 + 2416 + 48120 + 10164 + 850


def test_patients_are_told_from_names():
    slices = [f"SC-HF-I-{p:02d}-IM-0001-{i:04d}" for p in range(5) for i in range(3)]
    assert sorted(set(patients(slices))) == [f"SC-HF-I-{p:02d}" for p in range(5)]
    alone = [f"hippocampus_{i:03d}" for i in range(12)]
    assert patients(alone) == alone


def test_a_patient_is_never_on_both_sides(tmp_path):
    root = worlds.pairs(tmp_path / "set", count=20)
    for folder in ("images", "labels"):
        for i, path in enumerate(sorted((root / folder).glob("*.png"))):
            path.rename(path.with_name(f"p{i // 2:02d}_s{i % 2}.png"))
    data = open_dataset(root, "segment")
    seen = []
    for fold in range(5):
        a, b = parted(data.cases, fold=fold)
        assert not {c.patient for c in a} & {c.patient for c in b}
        seen += [c.id for c in b]
    assert sorted(seen) == sorted(c.id for c in data.cases)


def test_planted_duplicates_are_found(tmp_path):
    arrays = worlds.npz(tmp_path / "a.npz", count=24)
    arrays["val_images"][3] = arrays["train_images"][5]
    arrays["val_images"][4] = np.clip(arrays["train_images"][8] * 0.9 + 5, 0, 255)
    np.savez(tmp_path / "a.npz", **arrays)
    data = open_dataset(tmp_path / "a.npz", "classify")
    found = {(x.first, x.second): x for x in duplicates([*data.of("train"), *data.of("val")])}
    assert found["train_000005", "val_000003"].exact
    assert ("train_000008", "val_000004") in found
    assert not found["train_000008", "val_000004"].exact
    assert len(found) < 6
