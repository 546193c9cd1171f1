"""Models that were trained one by one, joined into one graph that says what they say together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from somascope.core.errors import ParameterError
from somascope.learn.calibrate import calibrated, fitted
from somascope.learn.export import export
from somascope.learn.make import WEIGHTS, weights_of
from somascope.learn.networks import build
from somascope.learn.plan import Plan
from somascope.learn.tasks import Sample
from somascope.learn.train import fitting
from somascope.models import package
from somascope.models.card import NetworkCard


def alone(path: str | Path, *, mirror: Sequence[int] = ()) -> nn.Module:
    """One member, that looks at the same mirrored images as its committee."""
    plan = Plan.from_json(package.read(path).extras["plan.json"])
    whole = build({"kind": "committee", "members": [dict(plan.network)], "mirror": list(mirror)})
    fitting(whole, {f"members.0.{k}": v for k, v in weights_of(path).items()})
    return whole.eval()


def joined(
    paths: Sequence[str | Path],
    out: str | Path,
    *,
    mirror: Sequence[int] = (),
    held: Sequence[Sequence[Sample]] = (),
    overwrite: bool = False,
) -> NetworkCard:
    """Write the committee of models that `make` wrote to ``out``; the first one's card is its card.

    Parameters
    ----------
    mirror
        Axes (0 is the first of the network's) along which they look at mirrored images too.
    held
        What no member has seen, to calibrate on: one part for all, or for each member the part that
        it alone has not seen (temperature and limit are then told from what each says of its own).

    Raises
    ------
    ParameterError
        No models, models of other tasks, classes or preparations, or axes that no member was
        mirrored along in training.
    """
    packs = [package.read(p) for p in paths]
    plans = [Plan.from_json(p.extras["plan.json"]) for p in packs]
    if not packs or plans[0].task not in ("classify", "segment"):
        raise ParameterError("a committee needs models to classify or to segment")
    first = plans[0]
    for other in plans[1:]:
        same = (other.task, other.classes, other.preparation, other.patch)
        if same != (first.task, first.classes, first.preparation, first.patch):
            raise ParameterError("the models differ in task, classes, preparation or patch")
    strange = set(mirror) - set.intersection(*(set(p.augment.get("flip", ())) for p in plans))
    if strange:
        raise ParameterError(f"no model was trained on images mirrored along {sorted(strange)}")
    members: list[nn.Module] = []
    for path, p in zip(paths, plans, strict=True):
        member = build(p.network)
        fitting(member, weights_of(path))
        members.append(member)
    described = {"kind": "committee", "members": [dict(p.network) for p in plans],
                 "mirror": list(mirror)}  # fmt: skip
    whole = build(described)
    whole.load_state_dict(
        {f"members.{i}.{k}": v for i, m in enumerate(members) for k, v in m.state_dict().items()}
    )
    plan = replace(first, network=described, budget_minutes=sum(p.budget_minutes for p in plans))
    card = packs[0].card
    if card.task == "classify" and held:
        if len(held) == 1:
            card = calibrated(card, whole, held[0])
        else:
            from somascope.learn.tasks.classify import predicted

            logits = [
                predicted(alone(path, mirror=mirror), part)
                for path, part in zip(paths, held, strict=True)
            ]
            truth = np.array([s.label for part in held for s in part])
            card = fitted(card, np.concatenate(logits), truth)
    from safetensors.torch import save

    histories = [json.loads(p.extras["history.json"]) for p in packs]
    extras = {
        "plan.json": plan.to_json().encode(),
        "history.json": json.dumps(histories, indent=1).encode(),
        WEIGHTS: save({k: v.contiguous() for k, v in whole.state_dict().items()}),
    }
    graph = export(whole, plan)
    return package.write(package.Package(card, graph, extras), out, overwrite=overwrite)
