"""Conditions are true, false, or open: what is missing leaves only what depends on it open."""

from __future__ import annotations

from collections.abc import Iterator

from somascope.analyze.rules.known import Known
from somascope.analyze.rules.ruleset import SIGNS, Condition, Join, RuleSet, Test
from somascope.core.errors import UnitError

NEAR = 1e-9
"""A value this near to a limit (of its size) is at the limit: sums of decimals are not exact."""


def truth(condition: Condition, rules: RuleSet, known: Known) -> bool | None:
    """Kleene's three values: whether it holds, or None where that depends on what is missing."""
    if isinstance(condition, Test):
        return _held(condition, rules, known)
    parts = [truth(p, rules, known) for p in condition.parts]
    if condition.how == "not":
        return None if parts[0] is None else not parts[0]
    settled = condition.how == "any"
    if settled in parts:
        return settled
    return None if None in parts else not settled


def _held(test: Test, rules: RuleSet, known: Known) -> bool | None:
    if test.known is not None:
        return (test.name in known.values) is test.known
    value = known.values.get(test.name)
    if value is None:
        return None
    if test.compare is None:
        return value in test.words
    limit = _limit(test, rules, known)
    if limit is None or not isinstance(value, float):
        return None
    near = NEAR * max(abs(limit), abs(value), 1e-30)
    return {
        "below": value < limit - near,
        "at_most": value <= limit + near,
        "at_least": value >= limit - near,
        "above": value > limit + near,
    }[test.compare]


def _limit(test: Test, rules: RuleSet, known: Known) -> float | None:
    limit = test.limit
    if not limit.other:
        return limit.number
    other = known.values.get(limit.other)
    if not isinstance(other, float):
        return None
    from somascope.analyze.rules.ucum import convert

    theirs, ours = rules.inputs[limit.other].unit, rules.inputs[test.name].unit
    try:
        return convert(other, theirs, ours) * limit.times + limit.number
    except UnitError:  # the units fit, as the rules were read: the number is too large
        return None


def unknown(condition: Condition, rules: RuleSet, known: Known) -> Iterator[str]:
    """Names of the missing inputs that leave a condition open."""
    if truth(condition, rules, known) is not None:
        return
    if isinstance(condition, Join):
        for part in condition.parts:
            yield from unknown(part, rules, known)
        return
    for name in (condition.name, condition.limit.other):
        if name and name not in known.values:
            yield name


def told(condition: Condition, rules: RuleSet, known: Known) -> Iterator[str]:
    """The tests that make a condition hold, in words with their values."""
    if isinstance(condition, Test):
        yield _said(condition, rules, known)
        return
    if condition.how == "not":
        for said in told(condition.parts[0], rules, known):
            yield f"not: {said}"
        return
    for part in condition.parts:
        if condition.how == "all" or truth(part, rules, known):
            yield from told(part, rules, known)


def _said(test: Test, rules: RuleSet, known: Known) -> str:
    one = rules.inputs[test.name]
    value = known.values.get(test.name)
    if value is None:
        return f"{one.says} is {known.why.get(test.name, 'missing')}"
    if isinstance(value, str):
        return f"{one.says} is {value}"
    unit = "" if one.unit == "1" else f" {one.unit}"
    if test.compare is None:
        return f"{one.says} is {value:.6g}{unit}"
    limit = _limit(test, rules, known)
    shown = "" if limit is None else f" {SIGNS[test.compare]} {limit:.6g}{unit}"
    if test.limit.other:
        times = f"{test.limit.times:g} × " if test.limit.times != 1 else ""
        shown += f" ({times}{rules.inputs[test.limit.other].says})"
    spread = known.spreads.get(test.name)
    around = f" ± {spread:.3g}" if spread else ""
    return f"{one.says} is {value:.6g}{around}{unit}{shown}"
