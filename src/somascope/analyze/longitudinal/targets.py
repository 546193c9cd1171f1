"""Target lesions and their sum after RECIST 1.1 (Eisenhauer et al., Eur J Cancer 45:228-247, 2009).

What the guideline asks of a reader is not guessed: lesions are taken for solid tumours or, by their
code or name, for lymph nodes; that two target lesions at most are of one organ is left to whoever
draws them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
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
    """Sums of diameters in mm; ``now`` is None where a target was not examined or not measured.

    ``targets``: indices of prior lesions; ``remaining``: how many of them are still there;
    ``others``: ``none``, ``gone``, ``persisting`` or ``grown`` for the lesions that are no targets.
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
    prior: Sequence[Lesion],
    current: Sequence[Lesion],
    matched: Match,
    *,
    grown: Collection[int] = (),
    most: int = MOST,
) -> Sums:
    """The sums of both examinations over the target lesions of the prior one.

    The parts of a lesion that has split are added up; one that two have become counts once (4.3.2).
    ``grown``: indices of prior lesions that have grown. Whether that is unequivocal progression of
    non-target disease (4.3.4) is for a reader to say.
    """
    chosen = targets(prior, most=most)
    now = _counterparts(len(prior), matched)
    seen: set[int] = set()
    total, squares, remaining = 0.0, 0.0, 0
    for i in chosen:
        here = 0
        for j in now[i]:
            there = current[j]
            here += _left(prior[i], there)
            if j not in seen:
                seen.add(j)
                total += there.size.short if prior[i].node else there.size.long
                squares += there.size.spread**2
        remaining += here > 0
    missed = [
        i
        for i in chosen
        if i in matched.unseen or any(prior[i].cut or current[j].open for j in now[i])
    ]
    return Sums(
        targets=tuple(chosen),
        prior=sum(measured(prior[i]) for i in chosen),
        now=None if missed or not chosen else total,
        prior_spread=sum(prior[i].size.spread ** 2 for i in chosen) ** 0.5,
        now_spread=squares**0.5,
        remaining=None if missed or not chosen else remaining,
        others=_others(prior, current, matched, now, chosen, grown),
    )


def _counterparts(count: int, matched: Match) -> list[list[int]]:
    """The current lesions that each prior one has become: its own, what it went into, its parts."""
    now: list[list[int]] = [[] for _ in range(count)]
    for i, j in (*((i, j) for i, j, _ in matched.pairs), *matched.merged.items()):
        now[i].append(j)
    for j, i in matched.split.items():
        now[i].append(j)
    return now


def _left(was: Lesion, there: Lesion) -> bool:
    """Whether disease is left: a node is normal again below 10 mm."""
    return not was.node or there.size.short >= NORMAL_NODE


def _others(
    prior: Sequence[Lesion],
    current: Sequence[Lesion],
    matched: Match,
    now: Sequence[Sequence[int]],
    chosen: Sequence[int],
    grown: Collection[int],
) -> str | None:
    """The lesions that are no targets in a word; None where none is seen and some may be there."""
    rest = [i for i in range(len(prior)) if i not in chosen]
    unknown = [i for i in rest if i in matched.unseen or any(current[j].faint for j in now[i])]
    there = [
        i for i in rest if i not in unknown and any(_left(prior[i], current[j]) for j in now[i])
    ]
    if any(i in grown for i in there):
        return "grown"
    if there:
        return "persisting"
    if unknown:
        return None
    return "gone" if rest else "none"
