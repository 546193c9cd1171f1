"""Log lines of the servers: one line per event, whatever a stranger's text tries to put into it."""

from __future__ import annotations

import logging

_SAFE = {ord("\t"): " "}
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class OneLine(logging.Formatter):
    """Control characters and line separators escaped; the lines of a traceback are indented."""

    def format(self, record: logging.LogRecord) -> str:
        """The line (with a traceback below it, where there is one)."""
        trace = record.exc_text
        if record.exc_info and not trace:
            trace = self.formatException(record.exc_info)
        bare = logging.makeLogRecord({**record.__dict__, "exc_info": None, "exc_text": None})
        line = escaped(super().format(bare))
        if not trace:
            return line
        return "\n".join([line, *(f"    {escaped(t)}" for t in trace.split("\n"))])


def escaped(text: str) -> str:
    """``text`` with everything that is no printable character or space written as an escape."""
    text = text.translate(_SAFE)
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def configure(level: int = logging.WARNING) -> None:
    """Send this process's log to standard error, unless its log was set up before."""
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine(FORMAT))
    root.addHandler(handler)
    root.setLevel(level)
