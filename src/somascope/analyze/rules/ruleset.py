"""What a rule set is: its sources, its inputs, its conditions and what they lead to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from somascope.core.finding import Code

Compare: TypeAlias = Literal["below", "at_most", "at_least", "above"]
Derived: TypeAlias = Literal["ratio", "drop", "change"]

SIGNS: Mapping[str, str] = {"below": "<", "at_most": "≤", "at_least": "≥", "above": ">"}


@dataclass(frozen=True)
class Source:
    """Where a rule is taken from: the citation with edition and page or table; a DOI or URL."""

    key: str
    citation: str
    link: str = ""


@dataclass(frozen=True)
class Input:
    """One thing that conditions ask for.

    A measurement has ``concepts`` (any of them will do) and a ``unit``; where it was not measured
    it may be ``derived`` from two others: their ``ratio`` a / b, the ``drop`` (a - b) / a, the
    ``change`` (b - a) / a. ``decimals`` it is rounded to (halves upwards) before limits are held
    against it. A fact has the DICOM keyword ``attribute``; a finding has ``findings``:
    words for the codes of which one is looked for.
    """

    name: str
    says: str
    concepts: tuple[Code, ...] = ()
    unit: str = "1"
    derived: tuple[Derived, str, str] | None = None
    decimals: int | None = None
    attribute: str = ""
    findings: Mapping[str, Code] = field(default_factory=dict[str, Code])

    @property
    def measured(self) -> bool:
        """Whether it is a number."""
        return not self.attribute and not self.findings


@dataclass(frozen=True)
class Limit:
    """A number, or so many times another input and a number more."""

    number: float = 0.0
    other: str = ""
    times: float = 1.0


@dataclass(frozen=True)
class Test:
    """One input held against a limit, a list of words, or asked whether it is known."""

    name: str
    compare: Compare | None = None
    limit: Limit = Limit()
    words: tuple[str, ...] = ()
    known: bool | None = None


@dataclass(frozen=True)
class Join:
    """``all`` or ``any`` of the parts; ``not`` of the only one."""

    how: Literal["all", "any", "not"]
    parts: tuple[Condition, ...]


Condition: TypeAlias = Test | Join


@dataclass(frozen=True)
class Rule:
    """When ``when`` holds, the category applies, for the reason in ``text``."""

    category: Code
    text: str
    when: Condition
    source: Source


@dataclass(frozen=True)
class RuleSet:
    """A table of rules that answers one question.

    ``each``: the question is put for every lesion (tracking UID), or once for the examination.
    ``decide``: ``first`` takes the first rule that holds, in their order; ``one`` expects one
    category alone, and calls two a conflict.
    """

    name: str
    title: str
    question: str
    each: Literal["lesion", "examination"]
    decide: Literal["first", "one"]
    inputs: Mapping[str, Input]
    rules: tuple[Rule, ...]
    sources: tuple[Source, ...]
