"""A committee in one call: who holds out whom, what it is judged by, and going on after a kill."""

import json
from dataclasses import replace

import numpy as np
import pytest

from somascope.core.errors import Conflict, ParameterError
from somascope.learn.calibrate import fitted
from somascope.learn.datasets import open_dataset, parted
from somascope.learn.make import WEIGHTS, planned
from somascope.learn.members import InTurn, committee
from somascope.learn.metrics.calibration import affine
from somascope.learn.plan import Machine
from somascope.models import load, package
from somascope.models.classify import softmax
from tests.learn import worlds

SMALL = {"kind": "resnet", "inputs": 1, "outputs": 2, "dimensions": 2, "widths": [4, 8],
         "blocks": 1}  # fmt: skip
HOW = {"steps": 3, "draws": 10}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("members")
    worlds.npz(root / "discs.npz", count=24)
    data = open_dataset(root / "discs.npz", "classify")
    plan = planned(data, budget_minutes=1, machine=Machine(1, "", 8.0))
    return data, replace(plan, network=SMALL, batch=8, rate=5e-3)


def test_folds_leave_an_official_part_untouched(world, tmp_path):
    data, plan = world
    made = committee(data, tmp_path / "m.zip", members=2, apart="folds", chosen=plan, keep=True,
                     **HOW)  # fmt: skip
    assert {r["id"] for r in made.judged.rows} == {c.id for c in data.of("val")}
    assert "decided nothing" in made.card.limits[-1]
    keys = [json.loads(p.read_text()) for p in sorted((tmp_path / "m.zip.members").glob("*.json"))]
    assert [(k["fold"], k["folds"]) for k in keys] == [(0, 2), (1, 2)]
    for i in (1, 2):
        history = json.loads((tmp_path / f"m.zip.members/member-{i}/history.json").read_text())
        assert history[-1]["step"] == 3  # the weights at the end of the run
    assert made.patients == 24
    assert len(made.card.offsets) == 2


def test_without_one_each_case_is_judged_by_who_has_not_seen_it(world, tmp_path):
    data, plan = world
    own = data.only([replace(c, split="") for c in data.of("train")])
    made = committee(own, tmp_path / "m", members=2, apart="folds", chosen=plan, keep=True, **HOW)
    assert sorted(r["id"] for r in made.judged.rows) == sorted(c.id for c in own.cases)
    assert not [m for m in made.card.metrics if m.name.startswith("conformal")]
    assert "cross-validation, not of this committee" in made.card.limits[-1]
    members = [load(tmp_path / "m.members" / f"member-{i}") for i in (1, 2)]
    said = {r["id"]: r["p"] for r in made.judged.rows}
    parts = [parted(own.cases, folds=2, fold=i)[1] for i in (0, 1)]

    def raw(model, cases):
        from somascope.models.classify import array

        return np.array([model.engine({"image": array(model.card, c.image())})[0][0]
                         for c in cases])  # fmt: skip

    for i, part in enumerate(parts):
        other = parts[1 - i]
        t, offsets = affine(raw(members[1 - i], other), np.array([c.label for c in other]))
        want = softmax(raw(members[i], part), temperature=t, offsets=offsets)
        assert np.allclose([said[c.id] for c in part], want, atol=1e-3)


def test_seeds_hold_out_the_same_and_go_on_after_a_kill(world, tmp_path, monkeypatch):
    data, plan = world
    from somascope.learn import members

    real, calls = members.make, []

    def once(*args, **more):
        if len(calls) == 1:
            raise KeyboardInterrupt
        calls.append(more["chosen"].seed)
        return real(*args, **more)

    monkeypatch.setattr(members, "make", once)
    out = tmp_path / "m.zip"
    with pytest.raises(KeyboardInterrupt):
        committee(data, out, members=2, chosen=plan, **HOW)
    assert not out.exists()
    monkeypatch.setattr(members, "make", lambda *a, **m: calls.append(m["chosen"].seed) or
                        real(*a, **m))  # fmt: skip
    with pytest.raises(Conflict, match="plan"):
        committee(data, out, members=2, chosen=replace(plan, rate=1e-3), **HOW)
    made = committee(data, out, members=2, chosen=plan, most_bytes=10_000, **HOW)
    assert calls == [plan.seed, plan.seed + 1]
    assert {r["id"] for r in made.judged.rows} == {c.id for c in data.of("val")}
    assert "also decided when to stop" in made.card.limits[-1]
    assert not (tmp_path / "m.zip.members").exists()
    assert WEIGHTS not in package.read(out).extras  # with them it would be larger than asked
    with pytest.raises(Conflict, match="there already"):
        committee(data, out, members=2, chosen=plan, **HOW)


def test_what_is_no_committee(world, tmp_path):
    data, plan = world
    with pytest.raises(ParameterError, match="only to classify or to segment"):
        committee(replace(data, task="detect"), tmp_path / "m", members=2, chosen=plan)
    with pytest.raises(ParameterError, match="1 or more"):
        committee(data, tmp_path / "m", members=0, chosen=plan)
    with pytest.raises(ParameterError, match="apart by"):
        committee(data, tmp_path / "m", members=1, apart="folds", chosen=plan)


def test_probabilities_are_frequencies_and_the_second_class_said_from_its_own(world):
    rng = np.random.default_rng(0)
    truth = (rng.random(3000) < 0.2).astype(int)
    evidence = 1.5 * rng.normal(size=(3000, 2)) + np.eye(2)[truth]
    from tests.models import graphs

    card = graphs.packed(graphs.classifier()).card
    card = fitted(replace(card, classes=card.classes[:1] * 2), evidence, truth)
    p = softmax(evidence, temperature=card.temperature, offsets=card.offsets)
    assert p[:, 1].mean() == pytest.approx(truth.mean(), abs=0.01)
    assert card.threshold == pytest.approx(truth.mean(), abs=0.01)
    said = p[:, 1] >= card.threshold

    def gain(said):
        return said[truth == 1].mean() - said[truth == 0].mean()

    assert gain(said) > max(gain(p[:, 1] >= c) for c in (0.05, 0.1, 0.35, 0.5))


def test_a_member_in_turn_answers_as_calibrated(world):
    from tests.models import graphs

    packed = graphs.packed(graphs.classifier(), temperature=2.0, offsets=(0.3, -0.3))
    from somascope.models import Network

    whole = Network(packed)
    turns = InTurn(whole, [whole], [(0.7, np.array([-1.0, 1.0]))])
    data, _ = world
    turns.of(0, data.cases[0]).image()
    x = {"image": np.ones((1, 1, 8, 8), np.float32)}
    z = whole.engine(x)[0]
    seen = softmax(turns.engine(x)[0], temperature=2.0, offsets=(0.3, -0.3))
    assert np.allclose(seen, softmax(z, temperature=0.7, offsets=(-1.0, 1.0)), atol=1e-5)
