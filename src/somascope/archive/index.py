"""Arrivals into the index: one transaction for all that wait, rows decided in the order of arrival.

Rules: a SOP Instance UID that is there already with the same data set is a duplicate; with another
one, or under another series, study or patient than its UIDs belong to, it is a conflict and goes to
quarantine. Nothing is overwritten or merged (rules R4 to R6 of the archive's promises).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update

from somascope.archive import names, schema
from somascope.archive.database import Database, Prepared
from somascope.archive.files import Files
from somascope.archive.records import Stored
from somascope.archive.rows import Arrival, instance_row, patient_row, series_row, study_row, text
from somascope.io.dicom.header import Header

BATCH = 256
STORED, QUARANTINED = 0, 1


class Committer:
    """Group commit without a timer: whoever gets the turn commits for all who wait."""

    def __init__(self, database: Database, files: Files) -> None:
        self._database, self._files = database, files
        self.statements = Statements(database)
        self._queue: list[Arrival] = []
        self._guard, self._turn = threading.Lock(), threading.Lock()

    def commit(self, arrivals: Iterable[Arrival]) -> list[Stored]:
        """Index these arrivals; their answers, in order, once they are durable."""
        mine = list(arrivals)
        with self._guard:
            self._queue.extend(mine)
        with self._turn:
            while any(a.answer is None and a.error is None for a in mine):
                with self._guard:
                    batch, self._queue = self._queue[:BATCH], self._queue[BATCH:]
                self._settle(batch)
        for a in mine:
            if a.error is not None:
                raise a.error
        return [a.answer for a in mine if a.answer is not None]

    def _settle(self, batch: list[Arrival]) -> None:
        try:
            with self._database.writing() as connection:
                answers = Writer(connection, self.statements, self._files.isolate).add(batch)
        except BaseException as error:
            if len(batch) > 1 and isinstance(error, Exception):  # one bad arrival must not fail all
                for a in batch:
                    self._settle([a])
                return
            for a in batch:
                self._fail(a, error)
            if not isinstance(error, Exception):
                raise
            return
        for a, answer in zip(batch, answers, strict=True):
            if answer.outcome == "stored":
                self._files.settle(a.name)
            else:
                self._files.drop(a.name)
            a.answer = answer

    def _fail(self, a: Arrival, error: BaseException) -> None:
        """A commit that failed may have happened: only a file that surely has no row is removed.

        In doubt both its names stay, and the next `open` adopts it or finds its row.
        """
        a.error = error
        try:
            row = self._database.lookup(self.statements.instance, {"u": a.header.sop_uid})
        except Exception:
            return
        if row is not None and bytes(row[3]) == a.name:
            self._files.settle(a.name)
            a.error, a.answer = None, a.answers("stored")
        elif self._database.sqlite:
            self._files.drop(a.name)


_i, _s, _t, _p = schema.instance, schema.series, schema.study, schema.patient
_PLACE = (
    _t.c.k, _t.c.uid, _t.c.modalities, _p.c.patient_id, _p.c.issuer, _p.c.name_folded,
    _p.c.birth_date,
)  # fmt: skip
_COLUMNS = {
    "patient": tuple(c.name for c in _p.c),
    "patient_word": tuple(c.name for c in schema.word.c),
    "study": tuple(c.name for c in _t.c),
    "series": tuple(c.name for c in _s.c),
    "instance": tuple(c.name for c in _i.c),
    "change": tuple(c.name for c in schema.change.c),
}


class Statements:
    """What every store runs, compiled for one database."""

    def __init__(self, database: Database) -> None:
        def prepare(statement: Any, keys: Sequence[str] | None = None) -> Prepared:
            return Prepared(statement, database.engine.dialect, keys=keys)

        counters = (_p.c.k, _t.c.k, _s.c.k, _i.c.k, schema.change.c.seq)
        self.last = prepare(select(*(select(func.max(c)).scalar_subquery() for c in counters)))
        self.instance = prepare(
            select(_i.c.k, _i.c.sha256, _i.c.transfer_syntax, _i.c.name, _i.c.damaged).where(
                _i.c.uid == bindparam("u")
            )
        )
        self.series = prepare(
            select(_s.c.k, *_PLACE)
            .join(_t, _t.c.k == _s.c.study_k)
            .join(_p, _p.c.k == _t.c.patient_k)
            .where(_s.c.uid == bindparam("u"))
        )
        self.study = prepare(
            select(*_PLACE).join(_p, _p.c.k == _t.c.patient_k).where(_t.c.uid == bindparam("u"))
        )
        self.patient = prepare(select(_p.c.k).where(_p.c.identity == bindparam("u")))
        self.count_series = prepare(
            update(_s)
            .where(_s.c.k == bindparam("b_k"))
            .values(instance_count=_s.c.instance_count + bindparam("b_n"))
        )
        self.count_study = prepare(
            update(_t)
            .where(_t.c.k == bindparam("b_k"))
            .values(
                instance_count=_t.c.instance_count + bindparam("b_n"),
                series_count=_t.c.series_count + bindparam("b_s"),
                modalities=bindparam("b_m"),
            )
        )
        self.insert = {
            name: prepare(insert(schema.metadata.tables[name]), columns)
            for name, columns in _COLUMNS.items()
        }


_QUARANTINED = select(schema.quarantine.c.k).where(
    schema.quarantine.c.uid == bindparam("u"), schema.quarantine.c.sha256 == bindparam("h")
)


@dataclass
class _Study:
    k: int
    uid: str
    modalities: str
    patient_id: str
    issuer: str
    name_folded: str
    birth_date: str
    new_instances: int = 0
    new_series: int = 0

    def same_patient(self, row: dict[str, Any]) -> bool:
        """Whether an instance that claims this study belongs to its patient."""
        if self.patient_id and row["patient_id"]:
            issuers = self.issuer, row["issuer"]
            return self.patient_id == row["patient_id"] and (
                not all(issuers) or issuers[0] == issuers[1]
            )
        births = self.birth_date, row["birth_date"]
        return self.name_folded == row["name_folded"] and (
            not all(births) or births[0] == births[1]
        )


@dataclass
class _Series:
    k: int
    study: _Study
    new_instances: int = 0


class Writer:
    """Adds arrivals within one transaction."""

    def __init__(
        self,
        connection: Connection,
        statements: Statements,
        isolate: Callable[[bytes], None],
        *,
        after: int = 0,
    ) -> None:
        self._c, self._sql, self._isolate, self._after = connection, statements, isolate, after
        self._cursor = connection.connection.cursor()
        self._rows: dict[str, list[dict[str, Any]]] = {name: [] for name in _COLUMNS}
        self._studies: dict[str, _Study] = {}
        self._series: dict[str, _Series] = {}
        self._patients: dict[str, int] = {}

    def add(self, arrivals: list[Arrival]) -> list[Stored]:
        """Insert what is new; one answer per arrival."""
        last = self._sql.last.one(self._cursor, {})
        self._pk, self._tk, self._sk, self._ik, self._seq = (n or 0 for n in last)
        self._seq = max(self._seq, self._after)
        known: dict[str, tuple[bytes, str, bytes]] = {}
        answers: list[Stored] = []
        for a in arrivals:
            uid = a.header.sop_uid
            if uid not in known:
                row = self._sql.instance.one(self._cursor, {"u": uid})
                if row is not None:
                    known[uid] = bytes(row[1]), row[2], bytes(row[3])
            if uid in known:
                *content, name = known[uid]
                if name == a.name:  # a rebuild of the index was faster
                    answers.append(a.answers("stored"))
                elif content == [a.sha256, a.transfer_syntax]:
                    answers.append(a.answers("duplicate"))
                else:
                    answers.append(self._quarantine(a, "same SOP Instance UID, other content"))
                continue
            reason = self._insert(a)
            if reason:
                answers.append(self._quarantine(a, reason))
                continue
            known[uid] = (a.sha256, a.transfer_syntax, a.name)
            answers.append(a.answers("stored"))
        self._flush()
        self._cursor.close()
        return answers

    def _find_series(self, uid: str) -> _Series | None:
        found = self._series.get(uid)
        if found is None:
            row = self._sql.series.one(self._cursor, {"u": uid})
            if row is not None:
                study = self._studies.setdefault(row[2], _Study(*row[1:]))
                found = self._series[uid] = _Series(row[0], study)
        return found

    def _find_study(self, uid: str) -> _Study | None:
        found = self._studies.get(uid)
        if found is None:
            row = self._sql.study.one(self._cursor, {"u": uid})
            if row is not None:
                found = self._studies[uid] = _Study(*row)
        return found

    def _insert(self, a: Arrival) -> str:
        """Rows for a new instance; or the reason why it may not be added."""
        h = a.header
        series = self._find_series(h.series)
        study = series.study if series is not None else self._find_study(h.study)
        if series is not None and series.study.uid != h.study:
            return f"Series Instance UID {h.series} belongs to study {series.study.uid}"
        patient = patient_row(h)
        if study is not None and not study.same_patient(patient):
            return (
                f"study {h.study} belongs to patient {study.patient_id!r}, not to "
                f"{patient['patient_id']!r}"
            )
        if study is None:
            study = self._new_study(h, patient)
        if series is None:
            self._sk += 1
            series = self._series[h.series] = _Series(self._sk, study)
            self._rows["series"].append(
                {"k": self._sk, "study_k": study.k, "uid": h.series, **series_row(h)}
            )
            study.new_series += 1
            modality = text(h, "Modality")
            if modality and modality not in study.modalities.split("\\"):
                study.modalities = "\\".join(filter(None, (study.modalities, modality)))
        self._ik += 1
        self._rows["instance"].append(
            {"k": self._ik, "series_k": series.k, "uid": h.sop_uid, **instance_row(a)}
        )
        series.new_instances += 1
        study.new_instances += 1
        self._note(a, STORED)
        return ""

    def _new_study(self, h: Header, patient: dict[str, Any]) -> _Study:
        k = self._patients.get(patient["identity"])
        if k is None:
            row = self._sql.patient.one(self._cursor, {"u": patient["identity"]})
            k = None if row is None else row[0]
        if k is None:
            self._pk += 1
            k = self._pk
            self._rows["patient"].append({"k": k, **patient})
            self._rows["patient_word"].extend(
                {"patient_k": k, "word": w, "sound": names.sound(w)}
                for w in names.words(patient["name"])
            )
        self._patients[patient["identity"]] = k
        self._tk += 1
        self._rows["study"].append({"k": self._tk, "patient_k": k, "uid": h.study, **study_row(h)})
        study = self._studies[h.study] = _Study(
            self._tk, h.study, "", patient["patient_id"], patient["issuer"],
            patient["name_folded"], patient["birth_date"],
        )  # fmt: skip
        return study

    def _quarantine(self, a: Arrival, reason: str) -> Stored:
        """Keep a conflicting object apart, once."""
        h, table = a.header, schema.quarantine
        seen = self._c.execute(_QUARANTINED, {"u": h.sop_uid, "h": a.sha256}).first()
        if seen is None:
            self._isolate(a.name)
            last = self._c.execute(select(func.coalesce(func.max(table.c.k), 0))).scalar_one()
            self._c.execute(
                insert(table),
                {
                    "k": last + 1, "name": a.name, "uid": h.sop_uid, "study": h.study,
                    "series": h.series, "reason": reason, "sha256": a.sha256, "origin": a.origin,
                    "time": a.received,
                },
            )  # fmt: skip
            self._note(a, QUARANTINED)
        return a.answers("conflict", reason)

    def _note(self, a: Arrival, kind: int) -> None:
        self._seq += 1
        h = a.header
        self._rows["change"].append(
            {
                "seq": self._seq, "kind": kind, "study": h.study, "series": h.series,
                "instance": h.sop_uid, "time": a.received,
            }
        )  # fmt: skip

    def _flush(self) -> None:
        for name, rows in self._rows.items():
            if rows:
                self._sql.insert[name].many(self._cursor, rows)
        counts = [
            {"b_k": s.k, "b_n": s.new_instances} for s in self._series.values() if s.new_instances
        ]
        if not counts:
            return
        self._sql.count_series.many(self._cursor, counts)
        studies = [
            {"b_k": t.k, "b_n": t.new_instances, "b_s": t.new_series, "b_m": t.modalities}
            for t in self._studies.values()
            if t.new_instances
        ]
        self._sql.count_study.many(self._cursor, studies)
