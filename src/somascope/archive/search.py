"""`Archive.search`: QIDO-RS and C-FIND semantics as one parameterised SELECT (PS3.4 C.2.2.2).

Attributes of the index come from columns; others that a query asks for come from the stored
metadata of one instance of the study or series (of the instance itself at that level).
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, false, func, or_, select

from somascope.archive import names, schema, times
from somascope.archive.attributes import ATTRIBUTES, LEVELS, Attribute, element, find, searchable
from somascope.archive.records import Level, Query
from somascope.core.errors import ParameterError

if TYPE_CHECKING:
    from somascope.archive.archive import Archive

MOST = 1 << 31
MOST_UIDS, MOST_VALUES, MOST_TEXT = 10_000, 64, 1024
"""What one attribute of a query may hold."""
_p, _t, _s, _i, _w = schema.patient, schema.study, schema.series, schema.instance, schema.word
_TABLES = {"PATIENT": _p, "STUDY": _t, "SERIES": _s, "INSTANCE": _i}
_CHARSET = {"vr": "CS", "Value": ["ISO_IR 192"]}
_ESCAPE = "\x1b"
_UNIVERSAL = ("", "*")
"""Values that match everything (PS3.4 C.2.2.2.3); their attributes are returned."""


MANY = 500
"""Series of a modality from which on studies are asked for it one by one, newest first."""


def statement(query: Query, *, common: bool = False) -> Select[Any]:
    """The SELECT of a query; its columns are named by tag. ``common``: see `_common`."""
    if query.level not in LEVELS:
        raise ParameterError(f"level is {query.level!r}; choose one of {', '.join(LEVELS)}")
    if query.offset < 0 or (query.limit is not None and query.limit < 0):
        raise ParameterError(f"limit {query.limit} and offset {query.offset} must not be negative")
    chosen = _everything(query.level)
    conditions = _conditions(query, common=common)
    if conditions:
        chosen = chosen.where(and_(*conditions))
    if query.limit is not None:
        chosen = chosen.limit(min(query.limit, MOST))
    if query.offset:
        chosen = chosen.offset(min(query.offset, MOST))
    return chosen


@cache
def _everything(level: Level) -> Select[Any]:
    """All objects of a level, in order: built once, since building costs more than running."""
    upto = LEVELS.index(level)
    columns = [a.column.label(a.tag) for a in ATTRIBUTES if LEVELS.index(a.level) <= upto]
    table = _TABLES[level]
    chosen = select(*columns, table.c.k.label("k")).select_from(table)
    if upto >= 3:
        chosen = chosen.join(_s, _s.c.k == _i.c.series_k)
    if upto >= 2:
        chosen = chosen.join(_t, _t.c.k == _s.c.study_k)
    if upto >= 1:
        chosen = chosen.join(_p, _p.c.k == _t.c.patient_k)
    order = {
        "PATIENT": (_p.c.name_folded, _p.c.k),
        "STUDY": (_t.c.date.desc(), _t.c.k.desc()),
        "SERIES": (_s.c.study_k, _s.c.number, _s.c.k),
        "INSTANCE": (_i.c.series_k, _i.c.number, _i.c.k),
    }[level]
    return chosen.order_by(*order)


def search(archive: Archive, query: Query) -> list[dict[str, Any]]:
    """Run the query; see `Archive.search`."""
    with archive.database.reading() as c:
        rows = c.execute(statement(query, common=_common(c, query))).all()
        counts = _patient_counts(c, [r[-1] for r in rows]) if query.level == "PATIENT" else {}
    plan = _plan(
        query.level,
        query.fields,
        tuple((name, value in _UNIVERSAL) for name, value in query.match.items()),
    )
    everything, beyond = plan.everything, plan.beyond
    answers: list[dict[str, Any]] = []
    above = _Shared(plan.above)
    for row in rows:
        answer = {"00080005": _CHARSET, **above.of(row)}
        for a, at, optional in plan.own:
            value = row[at]
            if value is not None or not optional:
                answer[a.tag] = element(a, value)
        if query.level == "PATIENT":
            for tag, n in zip(("00201200", "00201202", "00201204"), counts[row[-1]], strict=True):
                answer[tag] = {"vr": "IS", "Value": [n]}
        if everything or beyond:
            _extend(archive, query, row[-1], answer, beyond=beyond, everything=everything)
        answers.append(dict(sorted(answer.items())))
    return answers


class _Plan(NamedTuple):
    """What an answer is made of; the same for all queries of one shape."""

    above: list[tuple[Attribute, int]]
    own: list[tuple[Attribute, int, bool]]
    beyond: frozenset[str]
    everything: bool


@lru_cache(maxsize=256)
def _plan(level: Level, fields: tuple[str, ...], keys: tuple[tuple[str, bool], ...]) -> _Plan:
    """``keys`` are the names that a query matches, and whether with everything."""
    asked = {_tag(f) for f in fields if f.lower() != "all"}
    asked |= {_tag(name) for name, universal in keys if universal}
    everything = any(f.lower() == "all" for f in fields)
    matched = {a.tag for a in (find(name) for name, _ in keys) if a is not None}
    fixed = {find(name) for name, universal in keys if not universal}
    upto = LEVELS.index(level)
    known = [a for a in ATTRIBUTES if LEVELS.index(a.level) <= upto]
    shown = [
        (a, place)
        for place, a in enumerate(known)
        if (a.default and _by_default(a, level, fixed))
        or everything
        or a.tag in asked
        or a.tag in matched
    ]
    return _Plan(
        above=[(a, place) for a, place in shown if a.level != level],
        own=[(a, place, a.level == "INSTANCE") for a, place in shown if a.level == level],
        beyond=frozenset(asked - {a.tag for a in known} - {"00080005"}),
        everything=everything,
    )


class _Shared:
    """Attributes above the level: rows of one series have them in common, one after the other."""

    def __init__(self, attributes: list[tuple[Attribute, int]]) -> None:
        self._attributes = attributes
        self._last: tuple[Any, ...] | None = None
        self._elements: dict[str, Any] = {}

    def of(self, row: Any) -> dict[str, Any]:
        """Their elements for a row."""
        values = tuple([row[at] for _, at in self._attributes])
        if values != self._last:
            self._last = values
            self._elements = {
                a.tag: element(a, v) for (a, _), v in zip(self._attributes, values, strict=True)
            }
        return self._elements


def _by_default(a: Attribute, level: Level, fixed: set[Attribute | None]) -> bool:
    """The level's own attributes; those above where the parent is not fixed (PS3.18 10.6.3.3)."""
    if a.level == level or (level == "STUDY" and a.level == "PATIENT"):
        return True
    if a.how == "uid" and a.tag in ("0020000D", "0020000E"):
        return True
    parent = {"PATIENT": "StudyInstanceUID", "STUDY": "StudyInstanceUID"}
    key = parent.get(a.level, "SeriesInstanceUID")
    return find(key) not in fixed and a.how != "number"


def _extend(
    archive: Archive, query: Query, k: int, answer: dict[str, Any], *, beyond: frozenset[str],
    everything: bool,
) -> None:  # fmt: skip
    from somascope.archive.manifest import one

    full = one(archive, query.level, k)
    for tag, value in full.items():
        if tag not in answer and (tag in beyond or (everything and _belongs(tag, query.level))):
            answer[tag] = value
    for tag in beyond:
        answer.setdefault(tag, {"vr": "UN"})


def _belongs(tag: str, level: str) -> bool:
    """Whether ``includefield=all`` returns it: attributes of the level, not of single images."""
    if level == "INSTANCE":
        return True
    group = tag[:4]
    if level in ("PATIENT", "STUDY"):
        return group == "0010" or tag in _STUDY_TAGS
    return group not in ("0028", "7FE0") and tag not in _INSTANCE_TAGS


_STUDY_TAGS = frozenset(["00081048", "00081060", "00081080", "0032000A", "00321060", "00081032"])
_INSTANCE_TAGS = frozenset(
    ["00080008", "00080012", "00080013", "00080016", "00080018", "00080022", "00080023",
     "00080032", "00080033", "00200012", "00200013", "00200032", "00201041"]
)  # fmt: skip


def _tag(name: str) -> str:
    a = find(name)
    if a is not None:
        return a.tag
    try:
        if len(name) == 8:
            return f"{int(name, 16):08X}"
    except ValueError:
        pass
    from somascope.io.dicom.header import wanted

    try:
        (tag,) = wanted([name], base={})
    except KeyError as error:
        raise ParameterError(f"field {name!r} is no DICOM keyword and no tag") from error
    return f"{tag:08X}"


def _patient_counts(c: Any, keys: list[int]) -> dict[int, tuple[int, int, int]]:
    """Studies, series and instances of these patients, summed over the counters of studies."""
    found: dict[int, tuple[int, int, int]] = {}
    for begin in range(0, len(keys), 500):
        part = keys[begin : begin + 500]
        rows = c.execute(
            select(
                _t.c.patient_k, func.count(), func.sum(_t.c.series_count),
                func.sum(_t.c.instance_count),
            )
            .where(_t.c.patient_k.in_(part))
            .group_by(_t.c.patient_k)
        )  # fmt: skip
        found |= {k: (int(n), int(s), int(i)) for k, n, s, i in rows}
    return found


def _conditions(query: Query, *, common: bool) -> list[ColumnElement[bool]]:
    allowed = searchable(query.level)
    found: dict[str, tuple[Attribute, str]] = {}
    for name, value in query.match.items():
        if value in _UNIVERSAL:
            continue
        a = find(name)
        if a is None or a.keyword not in allowed:
            raise ParameterError(
                f"{name!r} cannot be matched at level {query.level}; "
                f"it can be {', '.join(sorted(allowed))}"
            )
        text = str(value).strip().replace("\0", "")
        if text not in _UNIVERSAL:
            found[a.keyword] = (a, text)
    for a, text in found.values():
        values = text.replace(",", "\\").count("\\") + 1 if a.how == "uid" else text.count("\\") + 1
        if values > (MOST_UIDS if a.how == "uid" else MOST_VALUES) or (
            a.how != "uid" and len(text) > MOST_TEXT
        ):
            raise ParameterError(
                f"{a.keyword} has {values} values in {len(text)} characters; ask for at most "
                f"{MOST_UIDS} UIDs, or {MOST_VALUES} values in {MOST_TEXT} characters"
            )
    conditions: list[ColumnElement[bool]] = []
    if query.combined_datetime:
        for day, hour in (("StudyDate", "StudyTime"), ("SeriesDate", "SeriesTime")):
            if day in found and hour in found and "-" in found[hour][1]:
                conditions.append(_combined(found.pop(day), found.pop(hour)))
    for a, text in found.values():
        conditions.append(_condition(a, text, fuzzy=query.fuzzy, common=common))
    return conditions


def _condition(a: Attribute, text: str, *, fuzzy: bool, common: bool) -> ColumnElement[bool]:
    if a.how == "uid":
        values = [v.strip() for v in text.replace(",", "\\").split("\\") if v.strip()]
        return a.column.in_(values) if len(values) != 1 else _like(a.column, values[0])
    if a.how == "number":
        try:
            return a.column.in_([int(v) for v in text.replace(",", "\\").split("\\")])
        except ValueError as error:
            raise ParameterError(f"{a.keyword} is {text!r}; give a whole number") from error
    if a.how == "date":
        return _range(a, text, times.date, times.date)
    if a.how == "time":
        return _range(a, text, times.first, times.last)
    if a.how == "modalities":
        if common:
            has = select(_s.c.study_k).where(_s.c.study_k == _t.c.k, _of_modality(text))
            return has.correlate(_t).exists()
        return _t.c.k.in_(select(_s.c.study_k).where(_of_modality(text)))
    if a.how == "name":
        if fuzzy and a.keyword == "PatientName":
            return _fuzzy(text)
        folded = a.folded if a.folded is not None else a.column
        return _name(folded, names.fold(text))
    values = text.split("\\")
    return or_(*(_like(a.column, v) for v in values))


def _of_modality(text: str) -> ColumnElement[bool]:
    wanted = [v for v in text.replace(",", "\\").split("\\") if v]
    return or_(false(), *(_like(_s.c.modality, v) for v in wanted))


def _common(c: Any, query: Query) -> bool:
    """Whether a page of studies is asked for by modalities that many series have.

    Their studies would all be collected before the newest are taken, which grows with the archive;
    asked one by one in the order of the list, a page is soon full. For rare ones it is the other
    way round.
    """
    if query.limit is None:
        return False
    for name, value in query.match.items():
        a = find(name)
        text = str(value).strip()
        if a is not None and a.how == "modalities" and text not in _UNIVERSAL:
            if len(text) > MOST_TEXT:
                return False  # refused by `statement`
            return bool(c.execute(_count_to(MANY, text)).scalar_one() >= MANY)
    return False


@lru_cache(maxsize=64)
def _count_to(most: int, text: str) -> Select[Any]:
    """How many series have these modalities; counting ends at ``most``."""
    some = select(_s.c.study_k).where(_of_modality(text)).limit(most)
    return select(func.count()).select_from(some.subquery())


def _name(column: Any, text: str) -> ColumnElement[bool]:
    """A name without component delimiters also matches where empty ones follow (``Doe^^``)."""
    exact = _like(column, text)
    if any(c in text for c in "*?"):
        return exact
    bare = text.rstrip("^")
    return column.in_([bare + "^" * n for n in range(5)])


def _fuzzy(text: str) -> ColumnElement[bool]:
    """Every word of the query begins a word of the name, or sounds like one."""
    conditions: list[ColumnElement[bool]] = []
    for w in names.words(text.replace("*", " ").replace("?", " ")):
        match = or_(and_(_w.c.word >= w, _w.c.word < _after(w)), _w.c.sound == names.sound(w))
        conditions.append(_p.c.k.in_(select(_w.c.patient_k).where(match)))
    return and_(*conditions) if conditions else _p.c.k >= 0


def _after(prefix: str) -> str:
    """The first text behind all that begin with ``prefix``."""
    return prefix + chr(0x10FFFF)


def _like(column: Any, text: str) -> ColumnElement[bool]:
    """Exact, or wild cards; a literal beginning becomes a range so that the index serves it."""
    if "*" not in text and "?" not in text:
        return column == text
    pattern = "".join(
        {"*": "%", "?": "_"}.get(c, _ESCAPE + c if c in f"%_{_ESCAPE}" else c) for c in text
    )
    like = column.like(pattern, escape=_ESCAPE)
    prefix = text[: min(i for i in (text.find("*"), text.find("?")) if i >= 0)]
    if not prefix:
        return like
    return and_(column >= prefix, column < _after(prefix), like)


def _bounds(text: str) -> tuple[str, str]:
    """The two ends of ``a-b``, ``a-``, ``-b``; a single value is both."""
    if "-" not in text:
        return text, text
    low, _, high = text.partition("-")
    return low.strip(), high.strip()


def _range(a: Attribute, text: str, first: Any, last: Any) -> ColumnElement[bool]:
    if "*" in text or "?" in text:
        return _like(a.column, text)
    if len(text) == 10 and text[4] == text[7] == "-":  # ISO, as browsers write it
        text = text.replace("-", "")
    low, high = _bounds(text)
    conditions = [a.column != ""]
    if low:
        conditions.append(a.column >= first(low))
    if high:
        conditions.append(a.column <= last(high))
    return and_(*conditions)


def _combined(day: tuple[Attribute, str], hour: tuple[Attribute, str]) -> ColumnElement[bool]:
    """One span from the first date and time to the last (PS3.4 C.2.2.2.5.1)."""
    (d, days), (h, hours) = day, hour
    (low_day, high_day), (low_hour, high_hour) = _bounds(days), _bounds(hours)
    conditions = [d.column != ""]
    if low_day:
        low = times.date(low_day)
        later = h.column >= times.first(low_hour) if low_hour else h.column >= ""
        conditions.append(and_(d.column >= low, or_(d.column > low, later)))
    if high_day:
        high = times.date(high_day)
        earlier = h.column <= times.last(high_hour) if high_hour else h.column >= ""
        conditions.append(and_(d.column <= high, or_(d.column < high, earlier)))
    return and_(*conditions)
