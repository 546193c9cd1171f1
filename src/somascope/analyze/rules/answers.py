"""A rule set and findings make answers: what holds, what is missing, what contradicts itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from somascope.analyze.rules.conditions import told, truth, unknown
from somascope.analyze.rules.known import Known, gather, sampled
from somascope.analyze.rules.ruleset import Rule, RuleSet
from somascope.core.finding import Box, Code, Label, Measurement, Tracking

Finding: TypeAlias = Label | Box | Measurement

SCHEME = "99SOMASCOPE"
CANNOT_SAY = Code("CANNOT_SAY", SCHEME, "Cannot say")
CONFLICT = Code("CONFLICT", SCHEME, "Conflict")


def decide(
    rules: RuleSet,
    findings: Sequence[Finding],
    *,
    attributes: Mapping[str, Any] | None = None,
) -> list[Label]:
    """The answer of a rule set: one `Label` for the examination, or one for each lesion.

    Its concept is the category, its text the explanation with the source. Where an input is
    missing that could change the answer the concept is `CANNOT_SAY` and the text names it; where
    two rules or two measurements contradict each other it is `CONFLICT`. With uncertain
    measurements (normal, independent) ``confidence`` is the probability of the category and
    ``probabilities`` has all that are possible.

    Parameters
    ----------
    rules
        From `load` or `parse`.
    findings
        What was measured and seen. Those without tracking are of the whole examination, and count
        for every lesion where it has none of its own; of the examination they come
        first. Of several time points the latest counts.
    attributes
        Facts under their DICOM keywords, such as ``PatientSex``; default those of the findings.
    """
    facts: dict[str, Any] = {}
    for one in findings:
        facts = {**one.attributes, **facts}
    facts = dict(attributes) if attributes is not None else facts
    whole = [f for f in findings if f.tracking is None]
    if rules.each == "examination":
        # Foreign reports give every group a tracking UID, of an ejection fraction too.
        tracked = [f for f in findings if f.tracking is not None]
        return [_answer(rules, whole, facts, None, tracked)]
    lesions: dict[str, list[Finding]] = {}
    names: dict[str, Tracking] = {}
    for one in findings:
        if one.tracking is not None:
            lesions.setdefault(one.tracking.uid, []).append(one)
            names.setdefault(one.tracking.uid, one.tracking)
    if not lesions:
        return [_answer(rules, whole, facts, None)]
    return [_answer(rules, own, facts, names[uid], whole) for uid, own in lesions.items()]


def _answer(
    rules: RuleSet,
    own: Sequence[Finding],
    facts: Mapping[str, Any],
    tracking: Tracking | None,
    whole: Sequence[Finding] = (),
) -> Label:
    known = gather(rules, own, whole, facts)
    label = _judged(rules, known)
    chances: dict[str, float] = {}
    if label.concept not in (CANNOT_SAY, CONFLICT):
        codes = [_judged(rules, k).concept for k in sampled(rules, known)]
        for code in codes:
            chances[code.meaning] = chances.get(code.meaning, 0.0) + 1 / len(codes)
    if len(chances) > 1:
        sure = chances.get(label.concept.meaning, 0.0)
        others = "; ".join(f"{n} {p:.0%}" for n, p in chances.items() if n != label.concept.meaning)
        label = replace(
            label, confidence=sure, probabilities=chances,
            text=f"{label.text} Within the uncertainty of the measurements also: {others}.",
        )  # fmt: skip
    return replace(label, tracking=tracking, on=known.on)


def _judged(rules: RuleSet, known: Known) -> Label:
    if known.conflicts:
        said = "; ".join(known.conflicts)
        return Label(
            concept=CONFLICT,
            confidence=1.0,
            text=f"{rules.question}: conflict: {said}. {_of(rules)}",
        )
    possible: list[Rule] = []
    holds: list[Rule] = []
    for rule in rules.rules:
        true = truth(rule.when, rules, known)
        if true is not False:
            possible.append(rule)
        if true:
            holds.append(rule)
            if rules.decide == "first":
                break
    categories = list(dict.fromkeys(r.category for r in possible))
    certain = list(dict.fromkeys(r.category for r in holds))
    if len(certain) > 1:
        said = " and ".join(f"{c.meaning!r}" for c in certain)
        return Label(
            concept=CONFLICT, confidence=1.0,
            text=f"{rules.question}: conflict: the rules say {said}. "
            + " ".join(_because(rules, r, known) for r in holds),
        )  # fmt: skip
    if certain == categories and certain:
        rule = holds[0]
        return Label(concept=rule.category, confidence=1.0, text=_because(rules, rule, known))
    open_ = [r for r in possible if r not in holds]
    missing = list(dict.fromkeys(n for r in open_ for n in unknown(r.when, rules, known)))
    names = [f"{rules.inputs[n].says} is {known.why.get(n, 'missing')}" for n in missing]
    if names:
        said = "; ".join(names)
        among = ", ".join(c.meaning for c in categories)
        may = (
            f" It may be: {among}."
            if len(categories) < len({r.category for r in rules.rules})
            else ""
        )
        text = f"{rules.question}: cannot say: {said}.{may} {_of(rules)}"
    else:
        text = f"{rules.question}: cannot say: no rule fits {_values(rules, known)}. {_of(rules)}"
    return Label(concept=CANNOT_SAY, confidence=1.0, text=text)


def _because(rules: RuleSet, rule: Rule, known: Known) -> str:
    shown = "; ".join(dict.fromkeys(told(rule.when, rules, known)))
    source = rule.source
    cited = f"{source.citation} {source.link}".strip().rstrip(".")
    return (
        f"{rules.question}: {rule.category.meaning}. {rule.text} Because {shown}. Source: {cited}."
    )


def _of(rules: RuleSet) -> str:
    return f"Rules: {rules.title}."


def _values(rules: RuleSet, known: Known) -> str:
    shown = [
        f"{rules.inputs[n].says} {v:.6g} {rules.inputs[n].unit}"
        if isinstance(v, float)
        else f"{rules.inputs[n].says} {v}"
        for n, v in known.values.items()
    ]
    return ", ".join(shown) or "what is known"
