"""One line per event (R23), and what a stranger sends is no line of its own."""

from __future__ import annotations

import io
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from somascope.server.logs import FORMAT, OneLine, escaped


def logged(message: str, *args: object, error: BaseException | None = None) -> str:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(OneLine(FORMAT))
    record = logging.LogRecord("a", logging.ERROR, "f", 1, message, args, None)
    if error is not None:
        record.exc_info = (type(error), error, None)
    handler.emit(record)
    return out.getvalue()


@given(st.text())
def test_any_text_is_one_line(text):
    line = logged("stored %s", text)
    assert line.count("\n") == 1
    assert len(line.splitlines()) == 1
    assert line[:-1].isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\r\nb", r"a\r\nb"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\u2028x\x85", r"\u2028x\x85"),
        ("Größe^山田", "Größe^山田"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_is_escaped(text, shown):
    assert escaped(text) == shown


def test_a_traceback_is_indented():
    lines = logged("no", error=ValueError("x\ny\x1b")).splitlines()
    assert lines[0].endswith("a: no")
    assert len(lines) > 1
    assert all(line.startswith("    ") and line.isprintable() for line in lines[1:])
