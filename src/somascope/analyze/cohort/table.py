"""`Table`: typed columns with units; written as CSV or Parquet, read back as it was.

Beside a CSV lies a JSON file of the same stem that says what each column is (its type, unit and
meaning), as BIDS does beside its tables. Parquet keeps that in the file.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from somascope.core.errors import CorruptFile, MissingExtra, NotFound, ParameterError
from somascope.core.grid import Float
from somascope.io.atomic import replacing

Kind: TypeAlias = Literal["text", "number", "integer", "boolean"]
Value: TypeAlias = str | float | int | bool | None

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the start of a formula: such a text gets a ``'`` in front."""


@dataclass(frozen=True)
class Column:
    """``unit`` is UCUM, empty where the column has none; ``help`` says what it is."""

    name: str
    kind: Kind = "text"
    unit: str = ""
    help: str = ""


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of values, one of each column; None is missing."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...] = ()

    def __post_init__(self) -> None:
        names = self.names
        if len(set(names)) < len(names):
            twice = next(n for n in names if names.count(n) > 1)
            raise ParameterError(f"a table has two columns named {twice!r}; rename one")
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ParameterError(f"a row has {len(row)} values for {len(self.columns)} columns")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def names(self) -> list[str]:
        """Names of the columns, in order."""
        return [c.name for c in self.columns]

    def at(self, name: str) -> int:
        """The place of a column; `NotFound` lists the names."""
        if name not in self.names:
            raise NotFound(f"the table has no column {name!r}; it has {', '.join(self.names)}")
        return self.names.index(name)

    def values(self, name: str) -> list[Value]:
        """The values of a column."""
        k = self.at(name)
        return [row[k] for row in self.rows]

    def texts(self, name: str) -> list[str]:
        """The values of a column as text; missing ones are empty."""
        return ["" if v is None else _said(v) for v in self.values(name)]

    def numbers(self, name: str) -> Float:
        """The values of a column ``(n,)``, NaN where missing.

        Raises
        ------
        ParameterError
            The column holds text.
        """
        column = self.columns[self.at(name)]
        if column.kind == "text":
            first = next((v for v in self.values(name) if v not in (None, "")), "nothing")
            raise ParameterError(f"column {name!r} holds text ({first!r}); a number is needed")
        return np.array([np.nan if v is None else float(v) for v in self.values(name)], float)

    def records(self) -> list[dict[str, Value]]:
        """One dictionary for each row."""
        return [dict(zip(self.names, row, strict=True)) for row in self.rows]

    def only(self, keep: Sequence[bool] | Any) -> Table:
        """The rows where ``keep`` is true."""
        if len(keep) != len(self.rows):
            raise ParameterError(f"{len(keep)} choices for {len(self.rows)} rows")
        return replace(self, rows=tuple(r for r, k in zip(self.rows, keep, strict=True) if bool(k)))

    def having(self, column: Column, values: Sequence[Value] | Any) -> Table:
        """With one more column, or another in place of the one of that name."""
        if len(values) != len(self.rows):
            raise ParameterError(f"{len(values)} values for {len(self.rows)} rows")
        given = [_typed(v, column.kind) for v in values]
        if column.name in self.names:
            k = self.at(column.name)
            columns = (*self.columns[:k], column, *self.columns[k + 1 :])
            rows = tuple((*r[:k], v, *r[k + 1 :]) for r, v in zip(self.rows, given, strict=True))
            return Table(columns, rows)
        rows = tuple((*r, v) for r, v in zip(self.rows, given, strict=True))
        return Table((*self.columns, column), rows)

    def without(self, *names: str) -> Table:
        """Without these columns."""
        kept = [k for k, c in enumerate(self.columns) if c.name not in names]
        return Table(
            tuple(self.columns[k] for k in kept),
            tuple(tuple(r[k] for k in kept) for r in self.rows),
        )


def table_of(
    records: Iterable[Mapping[str, Any]], columns: Sequence[Column] = ()
) -> Table:  # fmt: skip
    """A table of dictionaries; columns that are not given are told from the values."""
    listed = list(records)
    known = {c.name for c in columns}
    every = list(columns)
    others = [n for n in dict.fromkeys(n for r in listed for n in r) if n not in known]
    every += [Column(n, kind_of([r.get(n) for r in listed])) for n in others]
    rows = tuple(tuple(_typed(r.get(c.name), c.kind) for c in every) for r in listed)
    return Table(tuple(every), rows)


def kind_of(values: Sequence[Any]) -> Kind:
    """The narrowest kind that holds all values that are there; text where there are none."""
    there = [v for v in values if v is not None]
    if not there or any(isinstance(v, str) for v in there):
        return "text"
    if all(isinstance(v, (bool, np.bool_)) for v in there):
        return "boolean"
    if all(isinstance(v, (int, np.integer)) for v in there):
        return "integer"
    return "number"


def _typed(value: Any, kind: Kind) -> Value:
    if value is None or (isinstance(value, (float, np.floating)) and not np.isfinite(value)):
        return None
    if kind == "text":
        return str(value)
    if kind == "boolean":
        return bool(value)
    return int(value) if kind == "integer" else float(value)


def wide(
    table: Table, *, index: Sequence[str], name: str = "finding", value: str = "value",
    unit: str = "unit",
) -> Table:  # fmt: skip
    """One row for each ``index``, one column for each ``name``, from a tidy (long) table.

    Columns that are the same in all rows of an index stay. A finding with two units, or that an
    index has twice, is refused: the index does not tell them apart.
    """
    keys = [table.at(n) for n in index]
    k_name, k_value, k_unit = table.at(name), table.at(value), table.at(unit)
    groups: dict[tuple[Value, ...], list[tuple[Value, ...]]] = {}
    for row in table.rows:
        groups.setdefault(tuple(row[k] for k in keys), []).append(row)
    found = list(dict.fromkeys(str(r[k_name]) for r in table.rows if r[k_name] not in (None, "")))
    units: dict[str, str] = {}
    for row in table.rows:
        if row[k_name] in (None, ""):
            continue
        what, said = str(row[k_name]), str(row[k_unit] or "")
        if units.setdefault(what, said) != said:
            raise ParameterError(
                f"{what!r} is told in {units[what]!r} and in {said!r}; convert one, or take the "
                "rows of one operation"
            )
    fixed = [
        k for k in range(len(table.columns))
        if k not in (k_name, k_value, k_unit)
        and all(len({r[k] for r in rows}) == 1 for rows in groups.values())
    ]  # fmt: skip
    columns = [table.columns[k] for k in fixed]
    clash = {c.name for c in columns} & set(found)
    names = {f: f"{f} (finding)" if f in clash else f for f in found}
    columns += [Column(names[f], "number", units[f]) for f in found]
    rows: list[tuple[Value, ...]] = []
    for key, members in groups.items():
        told: dict[str, Value] = {}
        for row in members:
            if row[k_name] in (None, ""):
                continue
            what = str(row[k_name])
            if what in told:
                raise ParameterError(
                    f"{what!r} is there twice for {dict(zip(index, key, strict=True))}; add a "
                    "column to the index that tells the two apart, such as 'region' or 'job'"
                )
            told[what] = row[k_value]
        rows.append((*(members[0][k] for k in fixed), *(told.get(f) for f in found)))
    return Table(tuple(columns), tuple(rows))


def write_table(table: Table, path: str | Path) -> list[Path]:
    """Write ``.csv`` (and what its columns are, ``.json``) or ``.parquet``; the files made.

    Raises
    ------
    ParameterError
        Another suffix.
    MissingExtra
        Parquet, and pyarrow is not installed.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return [_parquet(table, path)]
    if suffix != ".csv":
        raise ParameterError(f"a table is written as .csv or .parquet, not {path.name!r}")
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(table.names)
    for row in table.rows:
        writer.writerow([_cell(v) for v in row])
    described = {
        c.name: {"Description": c.help, "Units": c.unit, "Type": c.kind} for c in table.columns
    }
    beside = path.with_suffix(".json")
    with replacing(path) as file:
        file.write(buffer.getvalue().encode())
    with replacing(beside) as file:
        file.write((json.dumps(described, indent=1, ensure_ascii=False) + "\n").encode())
    return [path, beside]


def _said(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def _cell(value: Value) -> str:
    if value is None:
        return ""
    text = _said(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text


def _uncell(text: str) -> str:
    return text[1:] if text[:1] == "'" and text[1:].startswith(_FORMULA) else text


def read_table(path: str | Path) -> Table:
    """Read a CSV (with or without its JSON) or Parquet table.

    Raises
    ------
    NotFound
        There is no such file.
    CorruptFile
        It is no table, or its JSON does not fit it.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFound(f"there is no table {str(path)!r}")
    if path.suffix.lower() == ".parquet":
        return _from_parquet(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            listed = list(csv.reader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise CorruptFile(f"{path.name} is no table of text ({error})") from error
    if not listed or not any(listed[0]):
        raise CorruptFile(f"{path.name} is empty; a table begins with the names of its columns")
    names, body = listed[0], [r for r in listed[1:] if r]
    for number, row in enumerate(body, 2):
        if len(row) != len(names):
            raise CorruptFile(
                f"{path.name}: row {number} has {len(row)} values for {len(names)} columns"
            )
    beside = path.with_suffix(".json")
    described = _described(beside) if beside.is_file() else {}
    columns: list[Column] = []
    cells: list[list[Value]] = []
    for k, name in enumerate(names):
        texts = [r[k] for r in body]
        said = described.get(name, {})
        kind = said.get("Type") or _guessed(texts)
        if kind not in get_args(Kind):
            raise CorruptFile(f"{beside.name}: column {name!r} is of type {kind!r}")
        columns.append(Column(name, kind, str(said.get("Units") or ""),
                              str(said.get("Description") or "")))  # fmt: skip
        cells.append([_parsed(t, kind, name, path.name) for t in texts])
    rows = tuple(zip(*cells, strict=True)) if body else ()
    return Table(tuple(columns), rows)


def _described(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CorruptFile(f"{path.name} is not JSON ({error})") from error
    if not isinstance(record, dict):
        raise CorruptFile(f"{path.name} does not describe columns by their names")
    return {k: v for k, v in record.items() if isinstance(v, dict)}


def _guessed(texts: Sequence[str]) -> Kind:
    there = [t for t in texts if t != ""]
    if not there:
        return "text"
    if all(t in ("true", "false") for t in there):
        return "boolean"
    # 007 is a name: as a number it would lose its zeros.
    if any(len(t) > 1 and t[0] == "0" and t[1].isdigit() for t in there):
        return "text"
    for kind, made in (("integer", int), ("number", float)):
        try:
            for t in there:
                made(t)
        except ValueError:
            continue
        return kind  # pyright: ignore[reportReturnType]
    return "text"


def _parsed(text: str, kind: Kind, name: str, file: str) -> Value:
    if text == "":
        return None
    if kind == "text":
        return _uncell(text)
    try:
        if kind == "boolean":
            return {"true": True, "false": False}[text]
        return int(text) if kind == "integer" else _typed(float(text), "number")
    except (ValueError, KeyError) as error:
        raise CorruptFile(f"{file}: column {name!r} holds {text!r}, which is no {kind}") from error


def _arrow(verb: str) -> Any:
    if find_spec("pyarrow") is None:
        raise MissingExtra(
            f"to {verb} Parquet, pip install pyarrow (somascope[parquet]); CSV needs nothing"
        )
    import pyarrow as pa
    import pyarrow.parquet

    return pa


def _parquet(table: Table, path: Path) -> Path:
    arrow = _arrow("write")
    kinds = {"text": arrow.string(), "number": arrow.float64(), "integer": arrow.int64(),
             "boolean": arrow.bool_()}  # fmt: skip
    fields = [
        arrow.field(c.name, kinds[c.kind],
                    metadata={"unit": c.unit, "help": c.help, "kind": c.kind})
        for c in table.columns
    ]  # fmt: skip
    columns = [arrow.array([r[k] for r in table.rows], type=f.type) for k, f in enumerate(fields)]
    made = arrow.Table.from_arrays(columns, schema=arrow.schema(fields))
    with replacing(path) as file:
        arrow.parquet.write_table(made, file)
    return path


def _from_parquet(path: Path) -> Table:
    arrow = _arrow("read")
    try:
        made = arrow.parquet.read_table(path)
    except (OSError, arrow.ArrowException) as error:
        raise CorruptFile(f"{path.name} is no Parquet file ({error})") from error
    columns: list[Column] = []
    cells: list[list[Value]] = []
    for field, column in zip(made.schema, made.columns, strict=True):
        said = {k: v.decode(errors="replace") for k, v in (field.metadata or {}).items()}
        # Dates, lists and the like of other programs are told as text.
        plain = (bool, int, float, str, type(None))
        values = [v if isinstance(v, plain) else str(v) for v in column.to_pylist()]
        kind = said.get(b"kind") or kind_of(values)
        if kind not in get_args(Kind):
            raise CorruptFile(f"{path.name}: column {field.name!r} is of type {kind!r}")
        columns.append(Column(field.name, kind, said.get(b"unit", ""), said.get(b"help", "")))
        cells.append([_typed(v, kind) for v in values])
    return Table(tuple(columns), tuple(zip(*cells, strict=True)) if made.num_rows else ())
