"""Units in UCUM's case sensitive form: how many of one are in another.

The part of UCUM (Regenstrief Institute, 2.2) that measurements of images use: SI units and their
prefixes, litre, time, angle, per cent, inch, foot, pound, mm[Hg], Hounsfield units. Annotations
count: what is in braces must be the same on both sides, so that SUV by lean body mass never
becomes SUV by body weight.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from somascope.core.errors import UnitError

_PREFIXES = {
    "Y": 24, "Z": 21, "E": 18, "P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "da": 1,
    "d": -1, "c": -2, "m": -3, "u": -6, "n": -9, "p": -12, "f": -15, "a": -18,
}  # fmt: skip

_MINUTE = Fraction(60)
_DAY = 1440 * _MINUTE
_METRIC: dict[str, tuple[Fraction, dict[str, int]]] = {
    "m": (Fraction(1), {"m": 1}),
    "g": (Fraction(1), {"g": 1}),
    "s": (Fraction(1), {"s": 1}),
    "K": (Fraction(1), {"K": 1}),
    "C": (Fraction(1), {"C": 1}),
    "cd": (Fraction(1), {"cd": 1}),
    "mol": (Fraction(1), {"mol": 1}),
    "rad": (Fraction(1), {"rad": 1}),
    "l": (Fraction(1, 1000), {"m": 3}),
    "L": (Fraction(1, 1000), {"m": 3}),
    "Hz": (Fraction(1), {"s": -1}),
    "Bq": (Fraction(1), {"s": -1}),
    "Gy": (Fraction(1), {"m": 2, "s": -2}),
    "Sv": (Fraction(1), {"m": 2, "s": -2}),
    "N": (Fraction(1000), {"g": 1, "m": 1, "s": -2}),
    "Pa": (Fraction(1000), {"g": 1, "m": -1, "s": -2}),
    "J": (Fraction(1000), {"g": 1, "m": 2, "s": -2}),
    "W": (Fraction(1000), {"g": 1, "m": 2, "s": -3}),
    "A": (Fraction(1), {"C": 1, "s": -1}),
    "V": (Fraction(1000), {"g": 1, "m": 2, "s": -2, "C": -1}),
    "T": (Fraction(1000), {"g": 1, "s": -1, "C": -1}),
    "m[Hg]": (Fraction(133322387), {"g": 1, "m": -1, "s": -2}),
}
"""Atoms that take prefixes: their size in m, g, s, K, C, cd, mol, rad, and their dimension."""

_OTHERS: dict[str, tuple[Fraction, dict[str, int]]] = {
    "%": (Fraction(1, 100), {}),
    "[ppth]": (Fraction(1, 1000), {}),
    "[ppm]": (Fraction(1, 1_000_000), {}),
    "10*": (Fraction(10), {}),
    "10^": (Fraction(10), {}),
    "min": (_MINUTE, {"s": 1}),
    "h": (60 * _MINUTE, {"s": 1}),
    "d": (_DAY, {"s": 1}),
    "wk": (7 * _DAY, {"s": 1}),
    "mo": (Fraction(36525, 1200) * _DAY, {"s": 1}),
    "a": (Fraction(36525, 100) * _DAY, {"s": 1}),
    "deg": (Fraction("0.017453292519943295769"), {"rad": 1}),
    "[in_i]": (Fraction(254, 10000), {"m": 1}),
    "[ft_i]": (Fraction(3048, 10000), {"m": 1}),
    "[lb_av]": (Fraction("453.59237"), {"g": 1}),
    "[hnsf'U]": (Fraction(1), {"hnsf": 1}),
}

_PART = re.compile(r"\{([^{}]*)\}|([./()])|((?:10[*^]|[A-Za-z%'_]|\[[^\[\]]*\])+)([+-]?\d+)?|(\d+)")
_LONGEST = 64


@dataclass(frozen=True)
class Unit:
    """``factor`` in base units, ``dimension`` as sorted pairs, ``notes``: what is in braces."""

    factor: Fraction
    dimension: tuple[tuple[str, int], ...]
    notes: tuple[str, ...]


@lru_cache(maxsize=512)
def parse(text: str) -> Unit:
    """The unit that ``text`` names.

    Raises
    ------
    UnitError
        It is no UCUM unit known here.
    """
    if not text or len(text) > _LONGEST:
        raise UnitError(f"unit {text[:_LONGEST]!r} is no UCUM unit; write mm, mm3, %, g/ml or 1")
    parts: list[tuple[str, str]] = []
    end = 0
    for found in _PART.finditer(text):
        if found.start() != end:
            break
        end = found.end()
        note, sign, atom, power, number = found.groups()
        if note is not None:
            parts.append(("note", note))
        elif sign is not None:
            parts.append((sign, ""))
        elif atom is not None:
            parts.append(("atom", f"{atom} {power or 1}"))
        else:
            parts.append(("number", number))
    if end != len(text):
        raise UnitError(f"unit {text!r} is no UCUM unit: {text[end:]!r} is not understood")
    try:
        factor, dimension, notes, rest = _term(parts, 0)
    except RecursionError as error:
        raise UnitError(f"unit {text!r} is nested too deeply") from error
    if rest != len(parts):
        raise UnitError(f"unit {text!r} is no UCUM unit: its brackets do not pair")
    kept = tuple(sorted((k, n) for k, n in dimension.items() if n))
    return Unit(factor, kept, tuple(sorted(notes)))


def _term(parts: list[tuple[str, str]], at: int) -> tuple[Fraction, Counter[str], list[str], int]:
    factor, dimension, notes = Fraction(1), Counter[str](), list[str]()
    sign, open_ = 1, True
    if at < len(parts) and parts[at][0] == "/":
        sign, at = -1, at + 1
    while at < len(parts):
        kind, value = parts[at]
        if kind == ")":
            break
        if kind in "./":
            if open_:
                raise UnitError("two signs follow each other in a unit")
            sign, open_, at = (1 if kind == "." else -1), True, at + 1
            continue
        if kind == "note":
            notes.append(value)
            open_, at = False, at + 1
            continue
        if not open_:
            raise UnitError("a sign is missing in a unit, as in ml/min")
        if kind == "(":
            inner, below, said, at = _term(parts, at + 1)
            if at >= len(parts):
                raise UnitError("a bracket is not closed in a unit")
            notes += said
        elif kind == "number":
            inner, below = Fraction(value), Counter[str]()
        else:
            name, _, power = value.partition(" ")
            inner, below = _atom(name, int(power))
        if inner == 0:
            raise UnitError("a unit of size nought")
        factor *= inner**sign
        for key, n in below.items():
            dimension[key] += sign * n
        open_, at = False, at + 1
    if open_:
        raise UnitError("a unit ends in a sign")
    return factor, dimension, notes, at


def _atom(name: str, power: int) -> tuple[Fraction, Counter[str]]:
    if abs(power) > 9 and not name.startswith("10"):
        raise UnitError(f"unit {name}{power}: no such power is measured")
    if abs(power) > 30:
        raise UnitError(f"unit {name}{power}: no such power is measured")
    size, dimension = _sized(name)
    return size**power, Counter({k: n * power for k, n in dimension.items()})


def _sized(name: str) -> tuple[Fraction, dict[str, int]]:
    for table in (_METRIC, _OTHERS):
        if name in table:
            return table[name]
    for length in (2, 1):
        prefix, atom = name[:length], name[length:]
        if prefix in _PREFIXES and atom in _METRIC:
            size, dimension = _METRIC[atom]
            return size * Fraction(10) ** _PREFIXES[prefix], dimension
    raise UnitError(f"{name!r} is no UCUM unit known here; write mm, ml, %, g/ml, Bq/ml, mm2/s")


def convert(value: float, unit: str, wanted: str) -> float:
    """``value`` in another unit: ``convert(0.6, "cm", "mm")`` is 6.

    The decimal number that is written is converted, so that 0.6 cm is 6 mm to the last bit.

    Raises
    ------
    UnitError
        One of the units is not known, they do not measure the same, or the number is beyond what
        a double holds in the wanted one.
    """
    if unit == wanted:
        return float(value)
    one, two = parse(_suv(unit)), parse(_suv(wanted))
    if one.dimension != two.dimension or one.notes != two.notes:
        raise UnitError(f"{unit!r} cannot become {wanted!r}: they measure different things")
    if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 - NaN
        return float(value)
    try:
        return float(Fraction(repr(float(value))) * one.factor / two.factor)
    except OverflowError as error:
        raise UnitError(f"{value:g} {unit} is too large a number in {wanted!r}") from error


def _suv(unit: str) -> str:
    """The house's plain unit of SUV by body weight and DICOM's annotated one are the same."""
    from somascope.io.dicom.suv import unit_of_code

    return unit_of_code(unit)
