"""Contrasts: what is asked of a design, as text or as numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from somascope.core.errors import ParameterError
from somascope.core.grid import Float

_TERM = re.compile(r"([+-]?)\s*(?:(\d+(?:\.\d*)?|\.\d+)\s*\*\s*)?([^\s+\-*;][^\s+*;]*)")


def contrast(expression: str, names: Sequence[str]) -> Float:
    """Weights ``(rows, columns)``; several rows (separated by ``;``) ask an F question.

    A row is either numbers (``1 0 -1``; missing ones at the end are 0) or a sum of names
    (``faces - houses``, ``0.5*a + 0.5*b - c``). A name holding ``-`` or a space cannot be used in
    a sum: write the numbers.

    Raises
    ------
    ParameterError
        An unknown name, too many numbers, a zero row, or text that is neither.
    """
    rows = [_row(part.strip(), names) for part in expression.split(";") if part.strip()]
    if not rows:
        raise ParameterError(f"contrast {expression!r} is empty; the columns are {_list(names)}")
    weights = np.stack(rows)
    if np.linalg.matrix_rank(weights) < len(rows):
        raise ParameterError(
            f"contrast {expression!r}: its rows depend on each other or are zero; drop one"
        )
    return weights


def _row(text: str, names: Sequence[str]) -> Float:
    weights = np.zeros(len(names))
    words = text.replace(",", " ").split()
    try:
        numbers = [float(w) for w in words]
    except ValueError:
        numbers = None
    if numbers is not None:
        if len(numbers) > len(names) or not np.isfinite(numbers).all():
            raise ParameterError(
                f"contrast {text!r} has {len(numbers)} numbers for {len(names)} columns "
                f"({_list(names)})"
            )
        weights[: len(numbers)] = numbers
        return weights
    if text in names:
        weights[list(names).index(text)] = 1.0
        return weights
    position = 0
    while position < len(text):
        found = _TERM.match(text, position)
        if found is None or (position > 0 and not found.group(1)):
            raise ParameterError(
                f"contrast {text!r} is not understood at {text[position:]!r}; write it like "
                f"'{names[0]} - 0.5*{names[-1]}' or as numbers"
            )
        sign, factor, name = found.groups()
        if name not in names:
            # A minus without spaces is read as one where the whole is no name.
            head, dash, _ = name.partition("-")
            if not dash or head not in names:
                raise ParameterError(
                    f"contrast {text!r} names {name!r}; the columns are {_list(names)}"
                )
            name = head
        end = found.start(3) + len(name)
        weights[list(names).index(name)] += (-1 if sign == "-" else 1) * float(factor or 1)
        position = end
        while position < len(text) and text[position].isspace():
            position += 1
    return weights


def _list(names: Sequence[str]) -> str:
    shown = list(names[:20])
    return ", ".join(shown) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
