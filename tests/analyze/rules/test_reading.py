"""Rule files: the shipped ones hold together, hostile ones are refused by name."""

import json
import tomllib
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somascope.analyze.rules import load, parse, shipped
from somascope.analyze.rules.ruleset import Join
from somascope.core.errors import CorruptFile, NotFound, ParameterError, SomascopeError

GOOD = {
    "format": 1, "name": "width", "title": "Width", "question": "How wide", "each": "lesion",
    "decide": "one",
    "source": [{"key": "me", "citation": "Me, 2026, table 1", "link": "doi:10.1/1"}],
    "input": [
        {"name": "w", "says": "width", "unit": "mm",
         "concepts": [{"value": "W", "scheme": "99X", "meaning": "Width"}]},
        {"name": "sex", "says": "sex", "attribute": "PatientSex"},
    ],
    "rule": [
        {"category": {"value": "WIDE", "scheme": "99X", "meaning": "Wide"}, "text": "It is wide.",
         "source": "me", "when": {"input": "w", "above": 3}},
    ],
}  # fmt: skip


def put(path, value):
    """`GOOD` with the value at a path such as ``rule.0.when``."""
    made = json.loads(json.dumps(GOOD))
    at = made
    *way, last = path.split(".")
    for key in way:
        at = at[int(key)] if isinstance(at, list) else at[key]
    at[int(last) if isinstance(at, list) else last] = value
    return made


def read(plain):
    return parse(json.dumps(plain).encode(), "mine.json")


def test_the_form_is_read_from_json_and_toml(tmp_path):
    rules = read(GOOD)
    assert rules.rules[0].category.meaning == "Wide"
    assert rules.rules[0].source.citation == "Me, 2026, table 1"
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(GOOD))
    assert load(path) == rules
    with pytest.raises(NotFound, match=r"recist-1\.1"):
        load("no-such-rules")


@pytest.mark.parametrize("name", sorted(shipped()))
def test_every_shipped_rule_cites_its_source(name):
    rules = load(name)
    assert rules.name == name
    used = {rule.source.key for rule in rules.rules}
    assert used == {s.key for s in rules.sources}
    for source in rules.sources:
        assert any(str(y) in source.citation for y in range(1940, 2027)), source
        assert source.link.startswith(("doi:10.", "https://"))
    raw = tomllib.loads((files("somascope.analyze.rules") / "shipped" / f"{name}.toml").read_text())
    asked = set()

    def walk(when):
        if isinstance(when, Join):
            for part in when.parts:
                walk(part)
        else:
            asked.update(n for n in (when.name, when.limit.other) if n)

    for rule in rules.rules:
        walk(rule.when)
    for one in rules.inputs.values():
        asked.update(one.derived[1:] if one.derived and one.name in asked else ())
    told = {i["name"] for i in raw["input"]}
    # RECIST's share of the baseline is asked for by its limit; nothing is declared in vain.
    assert told == asked


BAD = [
    ("format", 2, "format 1"), ("format", True, "format 1"), ("name", "../etc/passwd", "name"),
    ("each", "patient", "lesion, examination"), ("decide", "any", "first, one"),
    ("code", "import os", "unknown key 'code'"), ("rule", [], "something in it"),
    ("rule", "all", "write a list"), ("source", [{"key": "me"}], "lacks 'citation'"),
    ("rule.0.source", "you", "name a"), ("rule.0.source", ["me"], "name a"),
    ("rule.0.text", "a\u0000b", "control characters"),
    ("rule.0.text", "x" * 3000, "3000 characters"),
    ("rule.0.text", " ", "write a text"), ("rule.0.when", {"input": "v", "above": 3}, "'v'"),
    ("rule.0.when", {"input": "w", "above": "3"}, "write a number"),
    ("rule.0.when", {"input": "w", "above": True}, "write a number"),
    ("rule.0.when", {"input": "w", "above": 10**400}, "finite"),
    ("rule.0.when", {"input": "w", "above": 3, "below": 4}, "no more"),
    ("rule.0.when", {"input": "w"}, "needs one of"),
    ("rule.0.when", {"input": "w", "eval": "1"}, "'eval'"),
    ("rule.0.when", {"input": "w", "is": "M"}, "is a number"),
    ("rule.0.when", {"input": "sex", "above": 3}, "is a word"),
    ("rule.0.when", {"input": "w", "above": {"input": "sex"}}, "no input that is measured"),
    ("rule.0.when", {"input": "w", "above": {"input": "w", "power": 2}}, "'power'"),
    ("rule.0.when", {"all": [], "any": []}, "unknown key"),
    ("rule.0.when", {"all": []}, "something in it"),
    ("rule.0.when", {"not": []}, "write a table"), ("rule.0.when", "w > 3", "write a table"),
    ("rule.0.when", {"input": "w", "known": 1}, "true or false"),
    ("rule.0.category", {"value": "W", "scheme": "99X"}, "lacks 'meaning'"),
    ("rule.0.category.value", 5, "write a text"),
    ("rule.0.category.meaning", "x" * 65, "at most 64"),
    ("input.0.unit", "bananas", "UCUM"), ("input.0.unit", None, "write a text"),
    ("input.0.name", "W W", "must look like"),
    ("input.0.ratio", ["w", "w"], "no input that is measured"),
    ("input.0.ratio", ["w"], "names of two"), ("input.0.decimals", 1.5, "0 to 9"),
    ("input.1.unit", "mm", "only what is measured"),
    ("input.1.attribute", "patient sex", "must look"),
    ("input.1.attribute", "__class__", "must look like"), ("input.1.name", "w", "twice"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "said"), BAD)
def test_what_is_wrong_is_refused_by_name(path, value, said):
    with pytest.raises(ParameterError, match=r"mine\.json") as caught:
        read(put(path, value))
    assert said in str(caught.value), str(caught.value)


def test_nesting_size_and_doubled_keys():
    when = {"input": "w", "above": 3}
    for _ in range(9):
        when = {"not": when}
    with pytest.raises(ParameterError, match="nested more than 8"):
        read(put("rule.0.when", when))
    with pytest.raises(ParameterError, match="200 are the most"):
        read(put("rule.0.when", {"all": [{"input": "w", "above": 3}] * 201}))
    with pytest.raises(CorruptFile, match="256 kB"):
        parse(b" " * 300_000, "big.toml")
    with pytest.raises(CorruptFile, match=r"nested too deeply|TOML"):
        parse(b"a = " + b"[" * 100_000, "deep.toml")
    with pytest.raises(CorruptFile, match="JSON"):
        parse(b"[" * 100_000, "deep.json")
    with pytest.raises(CorruptFile, match="twice"):
        parse(b'{"format": 1, "format": 1}', "mine.json")
    with pytest.raises(CorruptFile, match="NaN"):
        parse(b'{"format": NaN}', "mine.json")
    with pytest.raises(ParameterError, match="finite"):
        parse(json.dumps(GOOD).replace('"above": 3', '"above": 1e999').encode(), "mine.json")
    with pytest.raises(CorruptFile, match="not TOML"):
        parse(b"\xff\xfe", "mine.toml")
    with pytest.raises(ParameterError, match="write a table"):
        parse(b"[]", "mine.json")


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["rule", "rule.0", "rule.0.when", "input.0", "input.0.concepts", "source.0",
                     "rule.0.category", "format", "input.1.attribute", "rule.0.when.above"]),
    plain,
)  # fmt: skip
def test_whatever_stands_there_it_is_read_or_refused(path, value):
    try:
        rules = read(put(path, value))
    except SomascopeError:
        return
    assert rules.name == "width"
