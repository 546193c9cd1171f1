"""A committee in one call: its members trained, joined into one model, and judged."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias, cast, get_args

import numpy as np

from somascope.core import QUIET, Image, Progress
from somascope.core.errors import Conflict, ParameterError
from somascope.core.grid import Array, Float
from somascope.learn.committee import alone, joined
from somascope.learn.datasets import Case, Dataset, parted
from somascope.learn.datasets.sequences import in_slices
from somascope.learn.evaluate import Evaluation, evaluate
from somascope.learn.folds import claimed, digest
from somascope.learn.make import WEIGHTS, acquainted, make, planned
from somascope.learn.metrics.calibration import affine
from somascope.learn.plan import Plan
from somascope.learn.tasks import Sample, samples
from somascope.models import Network, load, package
from somascope.models.card import ClassName, NetworkCard
from somascope.models.engine import Engine

Apart: TypeAlias = Literal["seeds", "folds"]
MOST = 10_000_000
"""Bytes of a committee's file. Its weights, kept to go on from and to explain, are left out of it
where it would be larger: the graph alone runs."""

VALIDATED = (
    "The figures are of the validation part, which also decided when to stop, the temperature and "
    "the conformal limit: expect less on new cases."
)
UNTOUCHED = (
    "The figures are of the validation part, which decided nothing: neither weights nor "
    "calibration, which is told from what each member says of the patients it has not seen."
)
ROTATED = (
    "The figures are of cross-validation, not of this committee: each case is judged by the one "
    "member that has not learned from its patient, with the weights at the end of its run. The "
    "committee itself was not judged on new patients."
)
CROSSED = " A member's calibration is told from what the others say of their own."


@dataclass(frozen=True)
class Council:
    """A committee that was made: its card, its figures, and how many patients it learned from."""

    card: NetworkCard
    judged: Evaluation
    patients: int


def committee(
    dataset: Dataset,
    out: str | Path,
    *,
    members: int,
    apart: Apart = "seeds",
    mirrored: bool = False,
    chosen: Plan | None = None,
    budget_minutes: float | None = None,
    modality: str = "",
    name: str = "",
    licence: str = "",
    training_data: str = "",
    codes: Mapping[str, ClassName] | None = None,
    folds: int = 5,
    most_bytes: int = MOST,
    seed: int = 0,
    steps: int | None = None,
    keep: bool = False,
    overwrite: bool = False,
    draws: int = 500,
    progress: Progress = QUIET,
) -> Council:
    """Train several networks and write the one model that they are together to ``out``.

    A run that was stopped goes on: its members lie in ``OUT.members`` until the model is written,
    and stay there with ``keep``.

    Parameters
    ----------
    apart
        ``seeds``: members start from other random numbers; all hold out the same patients (the
        official ``val``, or one of ``folds`` parts), who decide which weights are kept. ``folds``:
        each member holds out another of ``members`` parts of the patients, so that no patient is
        lost to all. Nothing is decided by them, so that what a member says of its part calibrates
        and judges; an official ``val`` is then left to judge the whole.
    mirrored
        Look at mirrored images too, along the axes that the plan mirrors in training.
    chosen
        A plan; ``budget_minutes`` in it is of one member. Else ``budget_minutes`` is of all.

    Raises
    ------
    ParameterError
        No members, or several for a task whose answers have no mean (detect, register).
    Conflict
        There is a model at ``out`` already, or members of another committee beside it.
    """
    out = Path(out)
    if members < 1 or (members > 1 and dataset.task not in ("classify", "segment")):
        raise ParameterError(
            f"{members} members to {dataset.task}; a committee has 1 or more, and more than one "
            "only to classify or to segment"
        )
    if apart not in get_args(Apart) or (apart == "folds" and members < 2):
        raise ParameterError(f"{members} members, apart by {apart!r}: give seeds, or folds of 2 up")
    if not overwrite and (out.is_file() or (out / package.CARD).exists()):
        raise Conflict(f"{out} is there already; choose another name or say overwrite")
    dataset, films = in_slices(dataset)
    budget = None if budget_minutes is None else budget_minutes / members
    plan = chosen or planned(
        dataset, budget_minutes=budget, modality=modality, most_bytes=most_bytes // members,
        seed=seed, progress=progress,
    )  # fmt: skip
    official = dataset.of("val")
    rotated = apart == "folds"
    usable = dataset.cases
    if rotated:
        usable = tuple(replace(c, split="") for c in dataset.cases if c.split in ("", "train"))
    folds = members if rotated else folds
    work = out.with_name(f"{out.name}.members")
    parts: list[tuple[Case, ...]] = []
    made: list[Path] = []
    for member in range(members):
        fold = member if rotated else 0
        parts.append(parted(usable, folds=folds, fold=fold)[1])
        made.append(work / f"member-{member + 1}")
        plans = replace(plan, seed=seed + member)
        claimed(made[-1], {
            "members": members, "apart": apart, "fold": fold, "folds": folds, "steps": steps,
            "cases": digest(sorted((c.id, c.patient, c.split) for c in usable)),
            "plan": digest(plans.to_json() if chosen else [budget, modality, most_bytes, seed]),
        })  # fmt: skip
        if not (made[-1] / package.CARD).exists():
            make(
                dataset.only(usable), made[-1], chosen=plans, name=name or _named(out),
                licence=licence, training_data=training_data, codes=codes, steps=steps,
                fold=fold, folds=folds, last=rotated, progress=progress,
            )  # fmt: skip
    ready = [samples(p, plan) for p in parts[: members if rotated else 1]]
    ready = ready if plan.task == "classify" else []
    mirror = tuple(int(a) for a in plan.augment.get("flip", ())) if mirrored else ()
    path = made[0]
    if members > 1 or mirror:
        path = work / "together"
        joined(made, path, mirror=mirror, held=ready, overwrite=True)
    whole = load(path)
    if not rotated or official:
        cases = official or parts[0]
        judged = _judged(whole, dataset, cases, draws, progress)
    else:
        turns = InTurn(
            whole, _ones(made, mirror), crossed(made, ready, mirror=mirror) if ready else ()
        )
        cases = [turns.of(i, c) for i, part in enumerate(parts) for c in part]
        judged = _judged(cast("Network", turns), dataset, cases, draws, progress)
        # The limit is told from these very cases.
        judged.metrics = [m for m in judged.metrics if not m.name.startswith("conformal")]
    said = (UNTOUCHED if official else ROTATED) if rotated else VALIDATED
    said += CROSSED if ready and said == ROTATED else ""
    packed = package.read(path)
    card = acquainted(packed.card, usable, plan) if rotated else packed.card
    card = replace(card, metrics=tuple(judged.metrics), limits=(*card.limits, said), frames=films)
    packed = slim(replace(packed, card=card), most_bytes)
    card = package.write(packed, out, overwrite=overwrite)
    if not keep:
        shutil.rmtree(work, ignore_errors=True)
    seen = {c.patient for c in usable if c.split != "test"}
    if not rotated:
        seen -= {c.patient for c in parts[0]}
    return Council(card, judged, len(seen))


def slim(packed: package.Package, most_bytes: int) -> package.Package:
    """A package without its weights, where it would be larger with them."""
    size = len(packed.graph) + sum(map(len, packed.extras.values()))
    if size <= most_bytes:
        return packed
    return replace(packed, extras={k: v for k, v in packed.extras.items() if k != WEIGHTS})


def _named(out: Path) -> str:
    return out.name.removesuffix(".zip")


def _judged(
    model: Network, dataset: Dataset, cases: Sequence[Case], draws: int, progress: Progress
) -> Evaluation:
    held = [replace(c, split="val") for c in cases]
    return evaluate(model, dataset.only(held), split="val", draws=draws, progress=progress)


def _ones(made: Sequence[Path], mirror: tuple[int, ...]) -> list[Network]:
    """Each member as a model, that looks at mirrored images too where the whole does."""
    if not mirror:
        return [load(path) for path in made]
    apart = [path.with_name(f"{path.name}-mirrored") for path in made]
    for path, one in zip(made, apart, strict=True):
        joined([path], one, mirror=mirror, overwrite=True)
    return [load(path) for path in apart]


def crossed(
    made: Sequence[Path], held: Sequence[Sequence[Sample]], *, mirror: tuple[int, ...] = ()
) -> list[tuple[float, Float]]:
    """For each member the temperature and offsets that the others say of their own parts."""
    from somascope.learn.tasks.classify import predicted

    logits: list[Float] = []
    for path, part in zip(made, held, strict=True):
        logits.append(predicted(alone(path, mirror=mirror), part))
    truth = [np.array([s.label for s in part]) for part in held]
    found: list[tuple[float, Float]] = []
    for i in range(len(made)):
        others = [j for j in range(len(made)) if j != i]
        found.append(affine(np.concatenate([logits[j] for j in others]),
                            np.concatenate([truth[j] for j in others])))  # fmt: skip
    return found


class InTurn:
    """The members of a committee, each asked only about the cases that it has not seen.

    For `evaluate`, which opens a case and then asks: `of` gives a case that, when it is opened,
    calls its member. ``calibration``: of each member, in place of the whole's.
    """

    def __init__(
        self,
        whole: Network,
        members: Sequence[Network],
        calibration: Sequence[tuple[float, Float]] = (),
    ) -> None:
        self.card = whole.card
        self._members = members
        self._calibration = calibration
        self._now = 0

    def of(self, member: int, case: Case) -> Case:
        """The case, to be judged by a member."""
        return replace(case, image=partial(self._opened, member, case))

    def _opened(self, member: int, case: Case) -> Image:
        self._now = member
        return case.image()

    @property
    def engine(self) -> Engine:
        """Asks whose turn it is."""
        return cast("Engine", self._ask)

    def _ask(self, inputs: Mapping[str, Array]) -> list[Array]:
        found = self._members[self._now].engine(inputs)
        if not self._calibration:
            return found
        # What the whole's card will make of it is what this member's own would have made.
        t, offsets = self._calibration[self._now]
        away = offsets - np.asarray(self.card.offsets or 0.0)
        return [self.card.temperature * (found[0] / t + away)]
