"""Cross-validation never judges a model on a patient it may have seen."""

import json
from dataclasses import replace

import pytest

from somascope.core.errors import Conflict
from somascope.learn.datasets import open_dataset, parted
from somascope.learn.folds import FITTED, cross_validated
from somascope.learn.make import planned
from somascope.learn.plan import Machine
from tests.learn import worlds


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("folds")
    worlds.npz(root / "discs.npz", count=20)
    data = open_dataset(root / "discs.npz", "classify")
    plan = planned(data, budget_minutes=0.05, machine=Machine(1, "", 8.0))
    network = {"kind": "lenet", "inputs": 1, "outputs": 2, "size": 28}
    plan = replace(plan, network=network, batch=4)
    done = cross_validated(data, root / "out", folds=2, chosen=plan, steps=2, draws=10)
    return root / "out", data, plan, done


def test_folds_made_for_something_else_are_not_taken(world):
    out, data, plan, done = world
    again = cross_validated(data, out, folds=2, chosen=plan, steps=2, draws=10)
    assert again.figures == done.figures
    fewer = data.only(data.cases[1:])
    renamed = data.only([replace(c, patient=c.patient + "x") for c in data.cases])
    for word, cases, more in (
        ("folds", data, {"folds": 3}),
        ("cases", fewer, {}),
        ("held", renamed, {}),
        ("seed", data, {"seed": 1}),
        ("steps", data, {"steps": 3}),
        ("plan", data, {"chosen": replace(plan, rate=1e-5)}),
    ):
        how = {"folds": 2, "chosen": plan, "steps": 2, **more}
        with pytest.raises(Conflict, match=rf"another cross-validation.*\b{word}\b"):
            cross_validated(cases, out, draws=10, **how)


def test_a_fold_is_claimed_before_it_is_trained(world, tmp_path, monkeypatch):
    _, data, plan, _ = world

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("somascope.learn.folds.make", killed)
    with pytest.raises(KeyboardInterrupt):
        cross_validated(data, tmp_path, folds=2, chosen=plan)
    assert json.loads((tmp_path / "fold-1.key.json").read_text())["fold"] == 1
    with pytest.raises(Conflict, match="folds"):
        cross_validated(data, tmp_path, folds=3, chosen=plan)


def test_a_fold_that_nobody_knows_is_not_taken(world):
    out, data, plan, _ = world
    key = out / "fold-2.key.json"
    text = key.read_text()
    try:
        key.write_text("[")
        with pytest.raises(Conflict, match="another cross-validation"):
            cross_validated(data, out, folds=2, chosen=plan, steps=2, draws=10)
        key.unlink()
        with pytest.raises(Conflict, match="nobody knows"):
            cross_validated(data, out, folds=2, chosen=plan, steps=2, draws=10)
    finally:
        key.write_text(text)


def test_what_is_fitted_to_the_held_part_is_no_figure(world):
    _, _, _, done = world
    assert set(FITTED) <= {m.name for m in done.parts[0].metrics}
    assert not set(FITTED) & set(done.figures)
    assert {"auc", "accuracy"} <= set(done.figures)


def test_what_is_usual_is_told_without_the_held_part(world, monkeypatch, tmp_path):
    from somascope.learn import make as making

    _, data, plan, _ = world
    seen = []

    def noted(card, cases, chosen):
        del chosen
        seen.append({c.patient for c in cases})
        return card

    monkeypatch.setattr(making, "acquainted", noted)
    usable = data.only([replace(c, split="") for c in data.cases if c.split != "test"])
    making.make(usable, tmp_path / "m", chosen=plan, folds=2, fold=1, steps=1)
    training, held = parted(usable.cases, folds=2, fold=1)
    assert seen == [{c.patient for c in training}]
    assert held
