"""Which case to label next: where the model is least sure, and no two alike.

Uncertainty sampling (Lewis and Gale, SIGIR 1994) shows one kind of doubtful case again and again;
so every case that is chosen makes those like it less wanted (Sener and Savarese's argument for
spread, ICLR 2018, in its greedy form).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from somascope.core import QUIET, Image, Progress
from somascope.core.errors import ParameterError, SomascopeError
from somascope.core.grid import Float
from somascope.models import Network, detect, familiar
from somascope.models.together import Together

TOP = 0.02
"""Part of the voxels, the most doubtful ones, whose mean doubt stands for a segmentation."""

PAIRED = 500
"""Images of which every two are compared for the median distance."""


@dataclass(frozen=True)
class Wanted:
    """A case to label: its doubt from 0 (certain) to 1, and how unlike the chosen ones it is."""

    name: str
    doubt: float
    novelty: float
    reason: str


@dataclass(frozen=True)
class Next:
    """``cases`` in the order to label them; ``problems`` as (name, reason) of those not read."""

    cases: tuple[Wanted, ...]
    problems: tuple[tuple[str, str], ...]


def doubt_of(models: Sequence[Network], image: Image, *, mirror: str = "") -> tuple[float, str]:
    """How unsure the models are together of one image, 0 to 1, and in words why.

    classify: entropy of the mean probabilities; segment: the mean entropy of the most doubtful
    fiftieth of the voxels, so that a doubtful border counts in a large image as in a small one;
    detect: how close the most doubtful box is to being and not being one.

    Raises
    ------
    ParameterError
        A model to register or to reconstruct.
    """
    card = models[0].card
    if card.task == "detect":
        shown = card.declared(image)
        card.check(shown, anyway=True)
        _, score, _ = detect.boxes(card, models[0].engine, shown, threshold=0.02)
        if not len(score):
            return 0.0, "nothing found"
        p = np.clip(score.astype(np.float64), 1e-6, 1 - 1e-6)
        entropy = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
        worst = int(entropy.argmax())
        return float(entropy[worst]), f"a box of {p[worst]:.2f} among {len(p)}"
    if card.task not in ("classify", "segment"):
        raise ParameterError(f"{card.name} is a model to {card.task}; its doubt is not known")
    found = Together(models, mirror=mirror).look(image, anyway=True)
    if card.task == "classify":
        best = int(found.mean.argmax())
        return float(found.doubt), f"{card.classes[best].name} {float(found.mean[best]):.2f}"
    flat = np.asarray(found.doubt, np.float32).reshape(-1)
    count = max(int(TOP * flat.size), 1)
    return (
        float(np.partition(flat, -count)[-count:].mean()),
        f"{(flat > 0.5).mean():.1%} of the voxels are doubtful",
    )


def next_cases(
    models: Sequence[Network],
    images: Sequence[tuple[str, Callable[[], Image]]],
    *,
    count: int = 10,
    mirror: str = "",
    spread: float = 1.0,
    progress: Progress = QUIET,
) -> Next:
    """The unlabelled cases to label next, the most wanted first; images are loaded one by one.

    Parameters
    ----------
    models
        One or more of one task and the same classes; several disagree where one is sure.
    images
        Names, and what loads each; those the models cannot read are in `Next.problems`.
    count
        Cases to name.
    mirror
        See `models.together.Together`.
    spread
        0: by doubt alone; 1: a case just like a chosen one is not wanted at all.
    """
    if not models:
        raise ParameterError("no model is given; give one or more")
    if count < 1 or not 0 <= spread <= 1:
        raise ParameterError(f"count is {count} and spread {spread}; give 1 or more, and 0 to 1")
    names: list[str] = []
    doubts: list[float] = []
    reasons: list[str] = []
    facts: list[dict[str, float]] = []
    problems: list[tuple[str, str]] = []
    for name, loaded in progress.over(images, "looking at the cases"):
        try:
            image = loaded()
            doubt, reason = doubt_of(models, image, mirror=mirror)
        except SomascopeError as error:
            problems.append((name, str(error)))
            continue
        names.append(name)
        doubts.append(doubt)
        reasons.append(reason)
        facts.append(familiar.facts(models[0].card.declared(image)))
    picked = _picked(np.asarray(doubts), _places(facts), count=count, spread=spread)
    return Next(
        tuple(Wanted(names[i], doubts[i], new, reasons[i]) for i, new in picked), tuple(problems)
    )


def _places(facts: Sequence[dict[str, float]]) -> Float:
    """Points ``(n, d)`` by the plain facts of images: 1 is the median distance of two of them."""
    if not facts:
        return np.zeros((0, 1))
    columns = sorted(set.intersection(*(set(f) for f in facts)))
    x = np.array([[f[c] for c in columns] for f in facts])
    x = np.where(np.isfinite(x), x, 0.0)
    deviation = x.std(axis=0)
    z = (x - x.mean(axis=0)) / np.where(deviation > 1e-9, deviation, 1.0)
    some = z[np.linspace(0, len(z) - 1, min(len(z), PAIRED), dtype=int)]
    pairs = np.concatenate([_apart(some[i + 1 :], p) for i, p in enumerate(some)])
    middle = float(np.median(pairs)) if pairs.size else 0.0
    return z / middle if middle > 0 else z


def _apart(points: Float, one: Float) -> Float:
    """Distances ``(n,)`` of points ``(n, d)`` from one of them."""
    return np.sqrt(((points - one) ** 2).sum(axis=1))


def _picked(doubts: Float, places: Float, *, count: int, spread: float) -> list[tuple[int, float]]:
    """Greedily: doubt times how new a case is beside those picked; (index, novelty)."""
    left = list(range(len(doubts)))
    novelty = np.ones(len(doubts))
    picked: list[tuple[int, float]] = []
    while left and len(picked) < count:
        wanted = doubts * (1 - spread + spread * novelty)
        best = max(left, key=lambda i: (float(wanted[i]), -i))
        picked.append((best, float(novelty[best])))
        left.remove(best)
        novelty = np.minimum(novelty, 1 - np.exp(-(_apart(places, places[best]) ** 2)))
    return picked
