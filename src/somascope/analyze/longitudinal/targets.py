"""Target lesions and their sum after RECIST 1.1 (Eisenhauer et al., Eur J Cancer 45:228-247, 2009).

What the guideline asks of a reader is not guessed: lesions are taken for solid tumours or, by their
code or name, for lymph nodes; that two target lesions at most are of one organ is left to whoever
draws them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from somascope.analyze.longitudinal.lesions import Lesion
from somascope.analyze.longitudinal.matching import Match

MOST = 5
"""Target lesions (section 3.2.1)."""
MEASURABLE = 10.0
"""mm of the longest diameter of a measurable lesion by CT (3.1.1)."""
MEASURABLE_NODE = 15.0
"""mm of the short axis of a node that may be a target (3.1.3)."""
NORMAL_NODE = 10.0
"""mm of the short axis below which a node is normal (4.3.1)."""


@dataclass(frozen=True)
class Sums:
    """Sums of diameters in mm; ``now`` is None where a target was not examined.

    ``targets``: indices of prior lesions; ``remaining``: how many of them are still there;
    ``others``: ``none``, ``gone`` or ``persisting`` for the lesions that are no targets.
    """

    targets: tuple[int, ...]
    prior: float
    now: float | None
    prior_spread: float
    now_spread: float
    remaining: int | None
    others: str | None


def measured(lesion: Lesion) -> float:
    """The diameter that counts: of a node its short axis, else the longest."""
    return lesion.size.short if lesion.node else lesion.size.long


def targets(lesions: Sequence[Lesion], *, most: int = MOST) -> list[int]:
    """Which lesions are targets: measurable, the largest first."""
    able = [
        (measured(lesion), i)
        for i, lesion in enumerate(lesions)
        if measured(lesion) >= (MEASURABLE_NODE if lesion.node else MEASURABLE)
    ]
    return [i for _, i in sorted(able, key=lambda t: (-t[0], t[1]))[:most]]


def sums(
    prior: Sequence[Lesion], current: Sequence[Lesion], matched: Match, *, most: int = MOST
) -> Sums:
    """The sums of both examinations over the target lesions of the prior one.

    The parts of a lesion that has split are added up; one that two have become counts once (4.3.2).
    """
    chosen = targets(prior, most=most)
    partner = {i: j for i, j, _ in matched.pairs}
    parts: dict[int, list[int]] = {}
    for j, i in matched.split.items():
        parts.setdefault(i, []).append(j)
    seen: set[int] = set()
    total, squares, remaining = 0.0, 0.0, 0
    for i in chosen:
        into = [partner[i]] if i in partner else []
        into += [matched.merged[i]] if i in matched.merged else []
        into += parts.get(i, [])
        here = 0
        for j in into:
            there = current[j]
            here += not prior[i].node or there.size.short >= NORMAL_NODE
            if j not in seen:
                seen.add(j)
                total += there.size.short if prior[i].node else there.size.long
                squares += there.size.spread**2
        remaining += here > 0
    cut = {i for i, j, _ in matched.pairs if prior[i].cut or current[j].cut}
    missed = [i for i in chosen if i in matched.unseen or i in cut]
    rest = [i for i in range(len(prior)) if i not in chosen]
    others: str | None = "none" if not rest else "persisting"
    if rest and all(i in matched.resolved for i in rest):
        others = "gone"
    elif any(i in matched.unseen for i in rest) and all(
        i in matched.unseen or i in matched.resolved for i in rest
    ):
        others = None
    return Sums(
        targets=tuple(chosen),
        prior=sum(measured(prior[i]) for i in chosen),
        now=None if missed or not chosen else total,
        prior_spread=sum(prior[i].size.spread ** 2 for i in chosen) ** 0.5,
        now_spread=squares**0.5,
        remaining=None if missed or not chosen else remaining,
        others=others,
    )
