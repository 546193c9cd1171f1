"""What is known for one question: the inputs of a rule set, looked up among findings and facts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_UP, Decimal
from statistics import NormalDist
from typing import Any, TypeAlias

from somascope.analyze.rules.ruleset import Input, RuleSet
from somascope.analyze.rules.ucum import convert
from somascope.core.errors import UnitError
from somascope.core.finding import Box, Label, Measurement

Finding: TypeAlias = Label | Box | Measurement

DRAWS = 256
"""Values of the uncertain measurements that are tried, spread evenly over their distribution."""
_WHOLE = 1e15


@dataclass(frozen=True)
class Known:
    """Numbers (in the input's unit) and words by input; ``why`` an input is not among them.

    ``derived``: which of them follow from others; ``on``: what the findings used were seen on;
    ``exact``: the values before they were rounded.
    """

    values: Mapping[str, float | str] = field(default_factory=dict[str, float | str])
    spreads: Mapping[str, float] = field(default_factory=dict[str, float])
    why: Mapping[str, str] = field(default_factory=dict[str, str])
    conflicts: tuple[str, ...] = ()
    on: tuple[str, ...] = ()
    derived: frozenset[str] = frozenset()
    exact: Mapping[str, float | str] = field(default_factory=dict[str, float | str])


def gather(
    rules: RuleSet,
    own: Sequence[Finding],
    whole: Sequence[Finding],
    facts: Mapping[str, Any],
) -> Known:
    """What ``own`` findings say, or else those of the ``whole`` examination, or the facts."""
    values: dict[str, float | str] = {}
    spreads: dict[str, float] = {}
    why: dict[str, str] = {}
    conflicts: list[str] = []
    on: dict[str, None] = {}
    for one in rules.inputs.values():
        if one.attribute:
            value = facts.get(one.attribute)
            if isinstance(value, (str, int, float)) and str(value).strip():
                values[one.name] = str(value).strip()
            continue
        for scope in (own, whole):
            found = _numbers(one, scope) if one.measured else _words(one, scope)
            if found.conflict:
                conflicts.append(found.conflict)
            if found.why:
                why[one.name] = found.why
            if found.value is not None:
                values[one.name] = found.value
                on.update(dict.fromkeys(found.on))
                if found.spread:
                    spreads[one.name] = found.spread
                why.pop(one.name, None)
            if found.value is not None or found.conflict:
                break
    known = Known(values, spreads, why, tuple(dict.fromkeys(conflicts)), tuple(on))
    known = _derived(rules, known)
    return replace(_rounded(rules, known), exact=known.values)


@dataclass(frozen=True)
class _Found:
    value: float | str | None = None
    spread: float = 0.0
    on: tuple[str, ...] = ()
    why: str = ""
    conflict: str = ""


def _numbers(one: Input, scope: Sequence[Finding]) -> _Found:
    codes = {(c.value, c.scheme) for c in one.concepts}
    found = [
        f
        for f in scope
        if isinstance(f, Measurement) and (f.concept.value, f.concept.scheme) in codes
    ]
    if not found:
        return _Found()
    latest = max(f.time_point for f in found)
    # What is of no named time point is of the examination itself: nothing is later.
    at = "" if any(not f.time_point for f in found) else latest
    found = [f for f in found if f.time_point == at]
    numbers: list[tuple[float, float]] = []
    for f in found:
        try:
            convert(1.0, f.unit, one.unit)
        except UnitError:
            return _Found(why=f"in {f.unit!r}, which is no {one.unit!r}")
        try:
            value = convert(f.value, f.unit, one.unit)
            spread = convert(f.uncertainty or 0.0, f.unit, one.unit)
        except UnitError as error:
            return _Found(why=f"not to be told ({error})")
        if not math.isfinite(value):
            return _Found(why="not a finite number")
        numbers.append((value, abs(spread) if math.isfinite(spread) else 0.0))
    value, spread = numbers[0]
    if any(abs(v - value) > 1e-9 * max(abs(v), abs(value)) for v, _ in numbers):
        shown = " and ".join(f"{v:.6g}" for v in dict.fromkeys(v for v, _ in numbers))
        return _Found(conflict=f"{one.says} is {shown} {one.unit}")
    return _Found(value, spread, tuple(u for f in found for u in f.on))


def _words(one: Input, scope: Sequence[Finding]) -> _Found:
    words: dict[str, tuple[str, ...]] = {}
    for f in scope:
        if isinstance(f, Measurement):
            continue
        for word, code in one.findings.items():
            if (f.concept.value, f.concept.scheme) == (code.value, code.scheme):
                words[word] = (*words.get(word, ()), *f.on)
    if len(words) > 1:
        return _Found(conflict=f"{one.says} is {' and '.join(words)}")
    return next((_Found(w, on=on) for w, on in words.items()), _Found())


def _derived(rules: RuleSet, known: Known) -> Known:
    """With the inputs that follow from others, where they were not measured."""
    values, why = dict(known.values), dict(known.why)
    made: set[str] = set()
    for one in rules.inputs.values():
        if one.derived is None or one.name in known.values:
            continue
        how, a, b = one.derived
        lacking = [n for n in (a, b) if n not in known.values]
        if lacking:
            names = " and ".join(rules.inputs[n].says for n in lacking)
            why.setdefault(one.name, f"missing, and so is {names}")
            continue
        first, second = (known.values[n] for n in (a, b))
        assert isinstance(first, float)
        assert isinstance(second, float)
        try:
            second = convert(second, rules.inputs[b].unit, rules.inputs[a].unit)
            value = {
                "ratio": lambda x, y: x / y,
                "drop": lambda x, y: (x - y) / x,
                "change": lambda x, y: (y - x) / x,
            }[how](first, second)
            values[one.name] = convert(value, "1", one.unit)
            made.add(one.name)
        except (ZeroDivisionError, UnitError) as error:
            why[one.name] = f"not to be told ({error})"
    return replace(known, values=values, why=why, derived=frozenset(made))


def _rounded(rules: RuleSet, known: Known) -> Known:
    """Numbers as the guideline wants them written, halves upwards."""
    values = dict(known.values)
    for name, value in values.items():
        places = rules.inputs[name].decimals
        # Decimal has 28 digits; beyond 1e15 a float has no decimals to round.
        if places is not None and isinstance(value, float) and abs(value) < _WHOLE:
            step = Decimal(1).scaleb(-places)
            values[name] = float(Decimal(repr(value)).quantize(step, ROUND_HALF_UP))
    return replace(known, values=values)


def sampled(rules: RuleSet, known: Known) -> Iterator[Known]:
    """``known`` with its uncertain numbers drawn anew, evenly over their joint distribution.

    A rank-1 lattice (Roberts' R sequence) in place of chance, so that the answer is the same every
    time. Nothing uncertain: nothing is drawn.
    """
    names = sorted(known.spreads)
    if not names:
        return
    root = 2.0
    for _ in range(60):  # the root of x^(d+1) = x + 1
        root = (1.0 + root) ** (1.0 / (len(names) + 1))
    normal = NormalDist()
    for k in range(DRAWS):
        values = {n: v for n, v in known.exact.items() if n not in known.derived}
        for d, name in enumerate(names):
            share = (0.5 + (k + 1) * root ** -(d + 1)) % 1.0
            value = known.exact[name]
            assert isinstance(value, float)
            # The ends of a normal distribution lie at infinity; half a draw is left out there.
            share = min(max(share, 0.5 / DRAWS), 1 - 0.5 / DRAWS)
            values[name] = value + known.spreads[name] * normal.inv_cdf(share)
        yield _rounded(rules, _derived(rules, replace(known, values=values)))
