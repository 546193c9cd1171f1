"""A user's own cohort as a table, and where one person stands in it.

Each region's volume is regressed on age and sex (and what else the table has) by least squares. A
new case is compared with its own prediction, whose variance holds the spread of the cohort and that
of the fit: ``t = (y - y') / (s sqrt(1 + x' (X'X)^-1 x))`` has Student's distribution with n - p
degrees of freedom (Crawford and Garthwaite, Neuropsychology 20 (2006) 259-271; without covariates
Crawford and Howell, Clin. Neuropsychol. 12 (1998) 482-486). Its centile is exact for any cohort
size; the z-score told is the normal deviate with that centile.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from somascope.analyze.atlas import manifest
from somascope.core.errors import CorruptFile, NotFound, ParameterError, Refused
from somascope.core.grid import Float
from somascope.io.atomic import replacing

FEWEST = 20
"""Cases of a cohort: the standard error of its deviation is 16 % then."""
PER_TERM = 10
"""Cases for each further term of the regression."""
KIND = "cohort"
TABLE = "table.csv"
LARGEST = 16 << 20
SEXES = ("F", "M")
_COVARIATES = ("age", "sex", "head_ml")


@dataclass(frozen=True)
class Standing:
    """Where a value stands: the cohort's ``expected`` value, ``spread`` of a new case about it.

    ``freedom``: degrees of freedom of the spread; ``cases`` behind it.
    """

    value: float
    expected: float
    spread: float
    freedom: int
    cases: int

    @property
    def t(self) -> float:
        """Student's t of the case."""
        return (self.value - self.expected) / self.spread

    @property
    def centile(self) -> float:
        """Per cent of people like this one with a smaller value."""
        from scipy.special import stdtr

        return 100 * float(stdtr(self.freedom, self.t))

    @property
    def z(self) -> float:
        """Standard normal deviate of the centile; from either tail, so that it never saturates."""
        from scipy.special import ndtri, stdtr

        tail = float(stdtr(self.freedom, -abs(self.t)))
        return math.copysign(-float(ndtri(max(tail, 1e-300))), self.t)


@dataclass(frozen=True, eq=False)
class Cohort:
    """Volumes of regions in ml: ``columns`` name -> ``(n,)`` float64, NaN where not known.

    ``age`` in years, ``sex`` (``F``, ``M``) of each case and other covariates as floats; sex is 0
    and 1.
    """

    columns: Mapping[str, Float]
    covariates: Mapping[str, Float]

    @property
    def size(self) -> int:
        """Number of cases."""
        return next((len(v) for v in self.columns.values()), 0)

    def standing(
        self, region: str, value: float, *, about: Mapping[str, float], curve: int = 1
    ) -> Standing:
        """Where ``value`` (ml) of a region stands among people like this one.

        Parameters
        ----------
        about
            Covariates of the case by name, as they are to be corrected for: ``age``, ``sex`` (0 F,
            1 M), ``head_ml``; none: the cohort as it is.
        curve
            Power of age up to which its course is bent.

        Raises
        ------
        ParameterError
            The cohort lacks the region or a covariate.
        Refused
            Too few cases, a case outside what the cohort covers, or a region without spread.
        """
        if region not in self.columns:
            raise ParameterError(
                f"the cohort has no region {region!r}; it has {', '.join(self.columns)}"
            )
        missing = [n for n in about if n not in self.covariates]
        if missing:
            raise ParameterError(
                f"the cohort has no column {missing[0]!r}; it has "
                f"{', '.join(self.covariates) or 'no covariates'}"
            )
        y = self.columns[region]
        given = np.array([self.covariates[n] for n in about]).reshape(len(about), len(y))
        kept = np.isfinite(y) & np.isfinite(given).all(axis=0)
        y, given = y[kept], given[:, kept]
        one = np.array(list(about.values()), np.float64)
        design, row = _design(list(about), given, one, len(y), curve)
        need = max(FEWEST, PER_TERM * design.shape[1])
        if len(y) < need:
            raise Refused(
                f"the cohort has {len(y)} complete cases of {region!r} and {need} are needed for "
                f"{design.shape[1]} terms; measure more people, or correct for less"
            )
        self._covered(region, about, given)
        q, r = np.linalg.qr(design)
        if np.abs(np.diag(r)).min() < 1e-9 * np.abs(np.diag(r)).max():
            raise Refused(
                f"the cohort's {', '.join(about)} do not vary apart; correct for fewer of them"
            )
        weights = np.linalg.solve(r, q.T @ y)
        freedom = len(y) - design.shape[1]
        rest = y - design @ weights
        variance = float(rest @ rest) / freedom
        if not variance > 1e-18 * max(float(y @ y) / len(y), 1e-300):
            raise Refused(
                f"all volumes of {region!r} in the cohort follow one line; nothing varies"
            )
        reach = np.linalg.solve(r.T, row)
        spread = math.sqrt(variance * (1 + float(reach @ reach)))
        return Standing(float(value), float(row @ weights), spread, freedom, len(y))

    def _covered(self, region: str, about: Mapping[str, float], given: Float) -> None:
        for (name, value), column in zip(about.items(), given, strict=True):
            if name == "sex":
                n = int((column == value).sum())
                if n < PER_TERM // 2:
                    raise Refused(
                        f"the cohort has {n} cases of sex {SEXES[int(value)]} with {region!r}; "
                        f"{PER_TERM // 2} are needed"
                    )
            elif not column.min() <= value <= column.max():
                raise Refused(
                    f"{name} {value:g} lies outside the cohort's {column.min():g} to "
                    f"{column.max():g}; nothing is told beyond it"
                )


def _design(
    names: Sequence[str], given: Float, one: Float, n: int, curve: int
) -> tuple[Float, Float]:
    """Columns of the regression ``(n, terms)`` and the case's row, scaled alike."""
    columns, row = [np.ones(n)], [1.0]
    for name, column, value in zip(names, given, one, strict=True):
        if name == "sex":
            columns.append(column)
            row.append(float(value))
            continue
        middle, scale = (float(column.mean()), float(column.std()) or 1.0) if n else (0.0, 1.0)
        for power in range(1, (curve if name == "age" else 1) + 1):
            columns.append(((column - middle) / scale) ** power)
            row.append(((float(value) - middle) / scale) ** power)
    return np.stack(columns, axis=1), np.array(row)


def parse(text: str, name: str = "the cohort") -> Cohort:
    """A cohort from CSV: a header, one row for each case.

    Columns ``age`` (years), ``sex`` (F or M) and ``head_ml`` are covariates, ``case`` is a name;
    all others are regions, in ml, named as the segments are. Empty cells are not known.

    Raises
    ------
    CorruptFile
        No header, no region, a row of another length, or a cell that is no number; by its place.
    """
    try:
        rows = [r for r in csv.reader(io.StringIO(text)) if any(c.strip() for c in r)]
    except csv.Error as error:
        raise CorruptFile(f"{name} is no table ({error})") from error
    if len(rows) < 2:
        raise CorruptFile(f"{name} has no rows; give a header and one row for each case")
    header = [c.strip().lstrip("\ufeff") for c in rows[0]]
    doubled = {h for h in header if header.count(h) > 1 or not h}
    if doubled:
        raise CorruptFile(f"{name}: the columns {sorted(doubled)} have no name of their own")
    values: dict[str, list[float]] = {h: [] for h in header if h != "case"}
    for k, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise CorruptFile(f"{name}, row {k}: {len(row)} cells and {len(header)} columns")
        for column, cell in zip(header, row, strict=True):
            if column != "case":
                values[column].append(_number(column, cell.strip(), f"{name}, row {k}"))
    columns = {h: np.array(v) for h, v in values.items()}
    regions = {h: v for h, v in columns.items() if h not in _COVARIATES}
    if not regions:
        raise CorruptFile(f"{name} has no column of a region")
    return Cohort(regions, {h: columns[h] for h in _COVARIATES if h in columns})


def _number(column: str, cell: str, place: str) -> float:
    if not cell:
        return math.nan
    if column == "sex":
        if cell.upper() not in SEXES:
            raise CorruptFile(f"{place}: sex is {cell!r}; write F, M or nothing")
        return float(SEXES.index(cell.upper()))
    try:
        value = float(cell)
    except ValueError as error:
        raise CorruptFile(f"{place}: {column} is {cell!r}, no number") from error
    if not (math.isfinite(value) and value >= 0):
        raise CorruptFile(f"{place}: {column} is {cell}; give 0 or more, or nothing")
    return value


def text_of(cohort: Cohort) -> str:
    """The cohort as the CSV that `parse` reads; cases are numbered, not named."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    every = {**cohort.covariates, **cohort.columns}
    writer.writerow(["case", *every])
    for k in range(cohort.size):
        cells = [
            "" if not math.isfinite(v[k])
            else SEXES[int(v[k])] if n == "sex" else repr(float(v[k]))
            for n, v in every.items()
        ]  # fmt: skip
        writer.writerow([k + 1, *cells])
    return buffer.getvalue()


def save_cohort(cohort: Cohort, folder: str | Path, *, overwrite: bool = False) -> None:
    """Write a cohort as a folder of its own: the table and ``atlas.json`` with its SHA-256."""
    folder = Path(folder)
    manifest.begin(folder, overwrite=overwrite)
    with replacing(folder / TABLE) as file:
        file.write(text_of(cohort).encode())
    manifest.finish(folder, KIND, {"cases": cohort.size}, [TABLE])


def load_cohort(path: str | Path) -> Cohort:
    """A cohort from a ``.csv`` file, or from a folder that `save_cohort` wrote.

    Raises
    ------
    NotFound
        There is no such file or folder.
    CorruptFile
        The table is damaged, too large, or not the one of its manifest.
    """
    path = manifest.place(path)
    if path.is_dir():
        _, files = manifest.opened(path, KIND)
        if TABLE not in files:
            raise CorruptFile(f"{path / manifest.MANIFEST} lists no {TABLE}")
        path = files[TABLE]
    if not path.is_file():
        raise NotFound(f"no cohort {str(path)!r}; give a CSV file or a folder with one")
    if path.suffix.lower() != ".csv":
        raise NotFound(f"{path.name!r} is no table of a cohort; give a file named .csv")
    if path.stat().st_size > LARGEST:
        raise CorruptFile(f"{path} is larger than {LARGEST} bytes; no cohort is")
    try:
        return parse(path.read_bytes().decode("utf-8-sig"), path.name)
    except UnicodeDecodeError as error:
        raise CorruptFile(f"{path} is no text in UTF-8 ({error})") from error
