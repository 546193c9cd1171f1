"""QIDO-RS, searching for studies, series and instances (PS3.18 10.6)."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from somascope.archive import Query
from somascope.archive.records import Level
from somascope.core.errors import ParameterError
from somascope.server.dicomweb.door import Door, base_url, check_uid
from somascope.server.dicomweb.negotiation import accepted, require
from somascope.server.dicomweb.responses import JSON, Answer, dump, empty, json_answer

LONGEST_VALUE = 1024
MOST_PARAMETERS = 200
FEW = 100
"""Results that are made at once for a search by identifier."""
_IDENTIFIERS = {
    "PatientID": 0,
    "AccessionNumber": 0,
    "StudyInstanceUID": 1,
    "SeriesInstanceUID": 2,
    "SOPInstanceUID": 2,
}
"""Indexed identifiers, and the deepest level at which each leaves few rows to sort."""
_LISTED = re.compile(r"[*?\\,]")
_UIDS = {"study": "StudyInstanceUID", "series": "SeriesInstanceUID"}
_UID_TAGS = ("0020000D", "0020000E", "00080018")
LEVELS: tuple[Level, ...] = ("STUDY", "SERIES", "INSTANCE")
_PATHS = ("studies", "series", "instances")


@lru_cache(maxsize=4096)
def keyword_of(attribute: str) -> str:
    """The keyword of a ``keyword`` or ``GGGGEEEE``; raises `ParameterError` where it is neither."""
    from pydicom.datadict import keyword_for_tag, tag_for_keyword

    if len(attribute) == 8:
        try:
            found = keyword_for_tag(int(attribute, 16))
        except ValueError:
            found = ""
        if found:
            return found
    if len(attribute) <= 64 and tag_for_keyword(attribute) is not None:
        return attribute
    raise ParameterError(
        f"{attribute[:80]!r} is no DICOM attribute; give a keyword like PatientID or a tag like "
        "00100020"
    )


_DATE = r"(\d{8}|\d{4}\.\d{2}\.\d{2})"
_TIME = r"\d{2}(:?\d{2}(:?\d{2}(\.\d{1,6})?)?)?"
_MOMENT = r"\d{4,14}(\.\d{1,6})?([+-]\d{4})?"
_GRAMMAR = {
    vr: re.compile(rf"({one}|{one}-|-{one}|{one}-{one})?")
    for vr, one in (("DA", _DATE), ("TM", _TIME), ("DT", _MOMENT))
}


def _check_value(keyword: str, value: str) -> None:
    """Dates and times must be such, or ranges of them (PS3.18 8.3.4, PS3.4 C.2.2.2.5)."""
    from pydicom.datadict import dictionary_VR

    grammar = _GRAMMAR.get(dictionary_VR(keyword))
    if grammar is not None and value != "*" and not grammar.fullmatch(value.strip()):
        raise HTTPException(
            400, f"{keyword}={value[:60]!r} is no date or time nor a range of them, a-b, a- or -b"
        )


def _whole(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise HTTPException(400, f"{name}={text[:40]!r}; give a whole number from 0")
    return int(text)


def read_query(
    level: Level, parameters: list[tuple[str, str]], fixed: dict[str, str], *, page: int
) -> tuple[Query, int]:
    """The search that a query string asks for, and how many results the client wants at most.

    The query itself asks for one result more than the page, to know whether there are more.
    """
    if len(parameters) > MOST_PARAMETERS:
        raise HTTPException(400, f"more than {MOST_PARAMETERS} search parameters")
    match: dict[str, str] = {}
    fields: list[str] = []
    limit, offset, fuzzy = page, 0, False
    for name, value in parameters:
        if len(value) > LONGEST_VALUE * 16 or "\0" in value:
            raise HTTPException(400, f"the value of {name[:80]!r} is too long or not text")
        if name == "limit":
            limit = min(_whole(name, value), page)
        elif name == "offset":
            offset = _whole(name, value)
        elif name == "fuzzymatching":
            if value.lower() not in ("true", "false"):
                raise HTTPException(400, f"fuzzymatching={value[:40]!r}; give true or false")
            fuzzy = value.lower() == "true"
        elif name == "includefield":
            for item in value.split(","):
                if item.strip():
                    field = item.strip()
                    fields.append("all" if field == "all" else keyword_of(field))
        elif name in ("accept", "charset"):
            continue
        else:
            if len(value) > LONGEST_VALUE and not name.lower().endswith(("uid", "000d", "000e")):
                raise HTTPException(400, f"the value of {name[:80]!r} is too long")
            keyword = keyword_of(name)
            _check_value(keyword, value)
            if keyword in match:
                separator = "," if keyword.endswith("UID") else "\\"
                match[keyword] += separator + value
            else:
                match[keyword] = value
    match.update(fixed)
    unique = tuple(dict.fromkeys(fields))
    return (
        Query(level=level, match=match, fields=unique, limit=limit + 1, offset=offset, fuzzy=fuzzy),
        limit,
    )


def is_lookup(query: Query) -> bool:
    """Whether an index of the database finds the few rows at once, by an exact identifier.

    Such a search takes less time than two changes of threads, so it is made where the request is.
    """
    if query.fields or query.fuzzy:
        return False
    return any(
        value and not _LISTED.search(value) and LEVELS.index(query.level) <= deepest
        for name, value in query.match.items()
        if (deepest := _IDENTIFIERS.get(name, -1)) >= 0
    )


def with_urls(results: list[dict[str, Any]], level: Level, base: str) -> list[dict[str, Any]]:
    """Add Retrieve URL (0008,1190) to each result, as deep as the level."""
    depth = LEVELS.index(level) + 1
    for result in results:
        url = base
        for name, tag in zip(_PATHS[:depth], _UID_TAGS, strict=False):
            values = result.get(tag, {}).get("Value")
            if not values:
                break
            url += f"/{name}/{values[0]}"
        else:
            result["00081190"] = {"vr": "UR", "Value": [url]}
        result.setdefault("00080056", {"vr": "CS", "Value": ["ONLINE"]})
    return results


class Search:
    """The endpoint of one level; UIDs in the path restrict it."""

    def __init__(self, door: Door, level: Level) -> None:
        self._door = door
        self._level: Level = level

    async def __call__(self, request: Request) -> Answer:
        """Answer one request."""
        media = require(accepted(request.headers, request.query_params), [JSON, "application/json"])
        fixed: dict[str, str] = {}
        for name, keyword in _UIDS.items():
            if name in request.path_params:
                fixed[keyword] = check_uid(request.path_params[name])
        query, limit = read_query(
            self._level,
            request.query_params.multi_items(),
            fixed,
            page=self._door.settings.page,
        )
        base = base_url(request)
        found = None
        if self._door.local and is_lookup(query):
            found = self._run(replace(query, limit=min(limit, FEW) + 1), min(limit, FEW), base)
            if found[1] and limit > FEW:
                found = None
        if found is None:
            found = await self._door.in_thread(self._run, query, limit, base)
        body, more = found
        headers = []
        if more and limit == self._door.settings.page:  # the client did not ask for fewer
            headers.append(
                ("warning", f'299 somascope "There are more results than {limit}; use offset."')
            )
        if not body:
            return empty(204, headers)
        return json_answer(request, body, media=media, headers=headers)

    def _run(self, query: Query, limit: int, base: str) -> tuple[bytes, bool]:
        if limit == 0:
            return b"", False
        results = self._door.archive.search(query)
        more = len(results) > limit
        results = with_urls(results[:limit], self._level, base)
        return (dump(results) if results else b""), more
