"""Rule files: TOML or JSON, checked to the last key before anything is asked of them.

A file is data. There is no expression to run in it: conditions are tables of names, limits and
words, and whatever is not one of the keys below is refused by name.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn, cast

from somascope.analyze.rules.ruleset import (
    SIGNS,
    Compare,
    Condition,
    Derived,
    Input,
    Join,
    Limit,
    Rule,
    RuleSet,
    Source,
    Test,
)
from somascope.analyze.rules.ucum import parse as parse_unit
from somascope.core.errors import CorruptFile, NotFound, ParameterError, UnitError
from somascope.core.finding import Code

LARGEST = 256 * 1024
"""Bytes of a rule file."""
MOST = 200
"""Rules, inputs or sources in a file, and parts of a condition."""
DEEPEST = 8
LONGEST = 2000
"""Characters of a text."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_KEYWORD = re.compile(r"[A-Z][A-Za-z0-9]{1,63}")
_TITLE = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
_DERIVED = ("ratio", "drop", "change")


def shipped() -> dict[str, str]:
    """Names of the rule sets that come with Somascope, and what each of them is."""
    return {n: load(n).title for n in names()}


def names() -> list[str]:
    """Of the rule sets that come with Somascope."""
    folder = files("somascope.analyze.rules") / "shipped"
    return sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".toml"))


def load(name: str | Path) -> RuleSet:
    """The rule set of that name, or in that file (``.toml`` or ``.json``).

    Raises
    ------
    NotFound
        No such file, and no shipped rule set of that name.
    CorruptFile
        Larger than 256 kB, or neither TOML nor JSON.
    ParameterError
        What it says is not a rule set; the place and the remedy are named.
    """
    if isinstance(name, str) and name in names():
        text = (files("somascope.analyze.rules") / "shipped" / f"{name}.toml").read_bytes()
        return parse(text, f"{name}.toml")
    path = Path(name)
    if not path.is_file():
        raise NotFound(f"no rules {str(name)!r}; give a file, or one of {', '.join(names())}")
    with path.open("rb") as file:
        return parse(file.read(LARGEST + 1), path.name)


def parse(content: bytes, name: str) -> RuleSet:
    """The rule set in the bytes of a file; ``name`` is for messages, its suffix says the format."""
    if len(content) > LARGEST:
        raise CorruptFile(f"{name} is larger than {LARGEST // 1024} kB; rules are short texts")
    try:
        text = content.decode("utf-8")
        if name.lower().endswith(".json"):
            plain = json.loads(text, object_pairs_hook=_once, parse_constant=_never)
        else:
            plain = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        said = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        kind = "JSON" if name.lower().endswith(".json") else "TOML"
        raise CorruptFile(f"{name} is not {kind}: {said}") from error
    return _Reader(name).whole(plain)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(k for i, (k, _) in enumerate(pairs) if k in dict(pairs[:i]))
        raise ValueError(f"the key {twice!r} stands there twice")
    return found


def _never(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


class _Reader:
    def __init__(self, name: str) -> None:
        self._name = name
        self._inputs: dict[str, Input] = {}

    def _refuse(self, place: str, said: str) -> NoReturn:
        raise ParameterError(f"{self._name}: {place}: {said}")

    def _table(
        self, value: Any, place: str, *, needs: Sequence[str], may: Sequence[str] = ()
    ) -> dict[str, Any]:
        if not isinstance(value, dict):
            self._refuse(place, f"is {_short(value)}; write a table")
        for key in value:
            if key not in needs and key not in may:
                known = ", ".join((*needs, *may))
                self._refuse(place, f"has the unknown key {key[:40]!r}; it may have {known}")
        for key in needs:
            if key not in value:
                self._refuse(place, f"lacks {key!r}")
        return value

    def _text(self, value: Any, place: str, *, form: re.Pattern[str] | None = None) -> str:
        if not isinstance(value, str) or not value.strip():
            self._refuse(place, f"is {_short(value)}; write a text")
        if len(value) > LONGEST:
            self._refuse(place, f"has {len(value)} characters; {LONGEST} are the most")
        if any(ord(c) < 32 for c in value) or any(0x7F <= ord(c) < 0xA0 for c in value):
            self._refuse(place, "holds control characters")
        if form is not None and not form.fullmatch(value):
            self._refuse(place, f"is {_short(value)}; it must look like {form.pattern}")
        return value

    def _number(self, value: Any, place: str) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self._refuse(place, f"is {_short(value)}; write a number")
        if not abs(value) <= 1e300:  # also NaN; whole numbers may be beyond any float
            self._refuse(place, f"is {value}; write a finite number")
        return float(value)

    def _list(self, value: Any, place: str) -> list[Any]:
        if not isinstance(value, list) or not value:
            self._refuse(place, f"is {_short(value)}; write a list with something in it")
        if len(value) > MOST:
            self._refuse(place, f"has {len(value)} entries; {MOST} are the most")
        return value

    def _each(self, value: Any, place: str, make: Callable[[Any, str], Any]) -> list[Any]:
        return [make(v, f"{place} {i + 1}") for i, v in enumerate(self._list(value, place))]

    def _choice(self, value: Any, place: str, choices: Sequence[str]) -> Any:
        if value not in choices:
            self._refuse(place, f"is {_short(value)}; choose one of {', '.join(choices)}")
        return value

    def _code(self, value: Any, place: str) -> Code:
        table = self._table(value, place, needs=("value", "scheme", "meaning"))
        parts = [self._text(table[k], f"{place}.{k}") for k in ("value", "scheme", "meaning")]
        if len(parts[0]) > 64 or len(parts[1]) > 16 or len(parts[2]) > 64:
            self._refuse(place, "a code has at most 64, its scheme 16, its meaning 64 characters")
        return Code(*parts)

    def whole(self, plain: Any) -> RuleSet:
        needs = ("format", "name", "title", "question", "each", "decide")
        top = self._table(plain, "the file", needs=(*needs, "source", "input", "rule"))
        if top["format"] != 1 or isinstance(top["format"], bool):
            self._refuse("format", f"is {_short(top['format'])}; this reader knows format 1")
        sources: dict[str, Source] = {}
        for one in self._each(top["source"], "source", self._source):
            if one.key in sources:
                self._refuse("source", f"{one.key!r} stands there twice")
            sources[one.key] = one
        for one in self._each(top["input"], "input", self._input):
            if one.name in self._inputs:
                self._refuse("input", f"{one.name!r} stands there twice")
            self._inputs[one.name] = one
        for one in self._inputs.values():
            self._derivation(one)
        rules = self._each(top["rule"], "rule", lambda v, p: self._rule(v, p, sources))
        return RuleSet(
            name=self._text(top["name"], "name", form=_TITLE),
            title=self._text(top["title"], "title"),
            question=self._text(top["question"], "question"),
            each=self._choice(top["each"], "each", ("lesion", "examination")),
            decide=self._choice(top["decide"], "decide", ("first", "one")),
            inputs=self._inputs,
            rules=tuple(rules),
            sources=tuple(sources.values()),
        )

    def _source(self, value: Any, place: str) -> Source:
        table = self._table(value, place, needs=("key", "citation"), may=("link",))
        return Source(
            self._text(table["key"], f"{place}.key", form=_TITLE),
            self._text(table["citation"], f"{place}.citation"),
            self._text(table["link"], f"{place}.link") if "link" in table else "",
        )

    def _input(self, value: Any, place: str) -> Input:
        kinds = ("concepts", "attribute", "findings")
        table = self._table(
            value, place, needs=("name", "says"), may=(*kinds, "unit", "decimals", *_DERIVED)
        )
        name = self._text(table["name"], f"{place}.name", form=_NAME)
        place = f"input {name!r}"
        says = self._text(table["says"], f"{place}.says")
        if sum(k in table for k in kinds) != 1:
            self._refuse(place, f"needs one of {', '.join(kinds)}")
        derived = [k for k in _DERIVED if k in table]
        if "concepts" not in table and (derived or "unit" in table or "decimals" in table):
            self._refuse(place, "only what is measured has a unit or decimals or is derived")
        if "attribute" in table:
            keyword = self._text(table["attribute"], f"{place}.attribute", form=_KEYWORD)
            return Input(name, says, attribute=keyword)
        if "findings" in table:
            found = table["findings"]
            if not isinstance(found, dict) or not found or len(found) > MOST:
                self._refuse(f"{place}.findings", "write a table of words and codes")
            return Input(
                name, says,
                findings={
                    self._text(k, f"{place}.findings", form=_NAME): self._code(v, f"{place}.{k}")
                    for k, v in found.items()
                },
            )  # fmt: skip
        concepts = tuple(self._each(table["concepts"], f"{place}.concepts", self._code))
        unit = self._text(table.get("unit"), f"{place}.unit")
        try:
            parse_unit(unit)
        except UnitError as error:
            self._refuse(f"{place}.unit", str(error))
        if len(derived) > 1:
            self._refuse(place, f"is derived twice, by {' and '.join(derived)}")
        way: tuple[Derived, str, str] | None = None
        for how in derived:
            pair = self._list(table[how], f"{place}.{how}")
            if len(pair) != 2 or not all(isinstance(p, str) for p in pair):
                self._refuse(f"{place}.{how}", "write the names of two inputs")
            way = (how, pair[0], pair[1])  # pyright: ignore[reportAssignmentType]
        decimals = table.get("decimals")
        if decimals is not None and (
            isinstance(decimals, bool) or not isinstance(decimals, int) or not 0 <= decimals <= 9
        ):
            self._refuse(f"{place}.decimals", f"is {_short(decimals)}; write 0 to 9")
        return Input(name, says, concepts, unit, way, decimals)

    def _derivation(self, one: Input) -> None:
        for other in one.derived[1:] if one.derived else ():
            found = self._inputs.get(other)
            if found is None or not found.measured or found.derived is not None:
                self._refuse(
                    f"input {one.name!r}",
                    f"is derived from {other!r}, which is no input that is measured itself",
                )

    def _rule(self, value: Any, place: str, sources: Mapping[str, Source]) -> Rule:
        table = self._table(value, place, needs=("category", "when", "text", "source"))
        category = self._code(table["category"], f"{place}.category")
        place = f"{place} ({category.meaning})"
        source = table["source"]
        if not isinstance(source, str) or source not in sources:
            self._refuse(f"{place}.source", f"is {_short(source)}; name a [[source]] by its key")
        return Rule(
            category,
            self._text(table["text"], f"{place}.text"),
            self._condition(table["when"], f"{place}.when", 1),
            sources[source],
        )

    def _condition(self, value: Any, place: str, depth: int) -> Condition:
        if depth > DEEPEST:
            self._refuse(place, f"is nested more than {DEEPEST} deep")
        if isinstance(value, dict) and len(value) == 1:
            ((how, inner),) = value.items()
            if how == "not":
                return Join("not", (self._condition(inner, f"{place}.not", depth + 1),))
            if how in ("all", "any"):
                listed = self._each(
                    inner, f"{place}.{how}", lambda v, p: self._condition(v, p, depth + 1)
                )
                return Join(how, tuple(listed))
        return self._test(value, place)

    def _test(self, value: Any, place: str) -> Test:
        asks = (*SIGNS, "is", "one_of", "known")
        table = self._table(value, place, needs=("input",), may=asks)
        name = table["input"]
        if not isinstance(name, str) or name not in self._inputs:
            known = ", ".join(self._inputs)
            self._refuse(place, f"asks for the input {_short(name)}; there is {known}")
        given = [k for k in asks if k in table]
        if len(given) != 1:
            self._refuse(place, f"needs one of {', '.join(asks)}, and no more")
        ask, one = given[0], self._inputs[name]
        if ask == "known":
            if not isinstance(table[ask], bool):
                self._refuse(f"{place}.known", f"is {_short(table[ask])}; write true or false")
            return Test(name, known=table[ask])
        if ask in SIGNS:
            if not one.measured:
                self._refuse(place, f"{name!r} is a word and has no limits; write is or one_of")
            return Test(name, cast("Compare", ask), self._limit(table[ask], f"{place}.{ask}"))
        if one.measured:
            self._refuse(place, f"{name!r} is a number; write {', '.join(SIGNS)}")
        listed = table[ask] if ask == "one_of" else [table[ask]]
        words = tuple(self._text(w, f"{place}.{ask}") for w in self._list(listed, f"{place}.{ask}"))
        for word in words:
            if one.findings and word not in one.findings:
                told = ", ".join(one.findings)
                self._refuse(place, f"{word!r} is none of the findings of {name!r}: {told}")
        return Test(name, words=words)

    def _limit(self, value: Any, place: str) -> Limit:
        if not isinstance(value, dict):
            return Limit(self._number(value, place))
        table = self._table(value, place, needs=("input",), may=("times", "plus"))
        other = table["input"]
        found = self._inputs.get(other) if isinstance(other, str) else None
        if found is None or not found.measured:
            self._refuse(place, f"{_short(other)} is no input that is measured")
        return Limit(
            self._number(table.get("plus", 0), f"{place}.plus"), found.name,
            self._number(table.get("times", 1), f"{place}.times"),
        )  # fmt: skip


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
