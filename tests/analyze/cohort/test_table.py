"""Tables: written and read as they were, made wide, without names."""

import csv
import json
from datetime import date
from importlib.util import find_spec

import numpy as np
import pytest

from somascope.analyze.cohort import Column, Table, deidentified, read_table, write_table
from somascope.analyze.cohort.facts import age, facts, years
from somascope.analyze.cohort.table import table_of, wide
from somascope.core.errors import CorruptFile, MissingExtra, NotFound, ParameterError

MIXED = Table(
    (Column("patient", "text", "", "Who"), Column("volume", "number", "mm3"),
     Column("count", "integer"), Column("good", "boolean")),
    (("007", 1.5, 3, True), ("=1+1", None, None, False), ('a,b\n"c"', -0.1, -2, None),
     ("'x", 1e-300, 0, True)),
)  # fmt: skip


def same(a, b):
    return a.columns == b.columns and a.rows == b.rows


def test_a_csv_is_read_as_it_was_written(tmp_path):
    files = write_table(MIXED, tmp_path / "t.csv")
    assert [f.name for f in files] == ["t.csv", "t.json"]
    assert same(read_table(tmp_path / "t.csv"), MIXED)
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        body = list(csv.reader(file))
    assert body[2][0] == "'=1+1"  # no formula in a spreadsheet
    assert json.loads(files[1].read_text())["volume"]["Units"] == "mm3"


def test_a_foreign_csv_tells_its_types(tmp_path):
    (tmp_path / "f.csv").write_text("id,age,n,zeros,ok\nA,40.5,1,007,true\nB,,2,010,false\n")
    table = read_table(tmp_path / "f.csv")
    assert [c.kind for c in table.columns] == ["text", "number", "integer", "text", "boolean"]
    assert np.isnan(table.numbers("age")[1])
    assert table.texts("zeros") == ["007", "010"]


@pytest.mark.skipif(find_spec("pyarrow") is None, reason="pyarrow is not installed")
def test_parquet_keeps_types_and_units(tmp_path):
    write_table(MIXED, tmp_path / "t.parquet")
    assert same(read_table(tmp_path / "t.parquet"), MIXED)


@pytest.mark.skipif(find_spec("pyarrow") is None, reason="pyarrow is not installed")
def test_parquet_of_other_programs(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    days = pa.array([date(2025, 1, 2), None])
    pq.write_table(
        pa.table({"day": days, "n": [1, 2], "x": [0.5, float("nan")]}), tmp_path / "a.parquet"
    )
    read = read_table(tmp_path / "a.parquet")
    assert [(c.name, c.kind) for c in read.columns] == [
        ("day", "text"), ("n", "integer"), ("x", "number"),
    ]  # fmt: skip
    assert read.rows == (("2025-01-02", 1, 0.5), (None, 2, None))
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(CorruptFile, match=r"b\.parquet is no Parquet file"):
        read_table(tmp_path / "b.parquet")
    kind = pa.field("n", pa.int64(), metadata={"kind": "colour"})
    pq.write_table(pa.table([[1]], schema=pa.schema([kind])), tmp_path / "c.parquet")
    with pytest.raises(CorruptFile, match="column 'n' is of type 'colour'"):
        read_table(tmp_path / "c.parquet")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("somascope.analyze.cohort.table.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="pip install pyarrow"):
        write_table(MIXED, tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("a,b\n1\n", CorruptFile, "row 2 has 1 values for 2"),
        ("", CorruptFile, "is empty"),
        ("a,a\n1,2\n", ParameterError, "two columns named 'a'"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, text, error, words):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(error, match=words):
        read_table(tmp_path / "x.csv")


def test_wrong_names_are_told(tmp_path):
    with pytest.raises(NotFound, match="it has patient, volume"):
        MIXED.numbers("weight")
    with pytest.raises(ParameterError, match="holds text"):
        MIXED.numbers("patient")
    with pytest.raises(ParameterError, match=r"\.csv or \.parquet"):
        write_table(MIXED, tmp_path / "t.xlsx")
    with pytest.raises(NotFound, match="no table"):
        read_table(tmp_path / "none.csv")


def long():
    records = [
        {"patient": p, "series": f"s{p}", "region": "Liver", "finding": f, "value": v, "unit": u}
        for p, f, v, u in (("a", "Volume", 1.0, "mm3"), ("a", "Mean", 2.0, "1"),
                           ("b", "Volume", 3.0, "mm3"))
    ]  # fmt: skip
    return table_of(records)


def test_a_column_for_each_finding():
    made = wide(long(), index=("series", "region"))
    assert {c.name: c.unit for c in made.columns}["Volume"] == "mm3"
    assert made.values("Volume") == [1.0, 3.0]
    assert made.values("Mean") == [2.0, None]
    assert made.values("patient") == ["a", "b"]


def test_what_an_index_does_not_tell_apart_is_refused():
    table = long()
    with pytest.raises(ParameterError, match="is there twice"):
        wide(Table(table.columns, table.rows + table.rows[:1]), index=("series", "region"))
    other = tuple(v if v != "mm3" else "ml" for v in table.rows[2])
    with pytest.raises(ParameterError, match="in 'mm3' and in 'ml'"):
        wide(Table(table.columns, (*table.rows[:2], other)), index=("series", "region"))


@pytest.mark.parametrize(
    ("text", "value"),
    [("045Y", 45.0), ("018M", 1.5), ("730D", 730 / 365.25), ("52W", 52 * 7 / 365.25), ("40", 40.0),
     ("", None), ("Y45", None), (None, None), (33, 33.0)],
)  # fmt: skip
def test_ages_of_dicom(text, value):
    assert years(text) == (None if value is None else pytest.approx(value))


def test_age_from_the_date_of_birth():
    told = age({"PatientBirthDate": "19800101", "StudyDate": "20200101"})
    assert told == pytest.approx(40, abs=0.01)
    assert age({"PatientAge": "041Y", "PatientBirthDate": "19800101"}) == 41
    assert age({"PatientBirthDate": "20300101", "StudyDate": "20200101"}) is None
    assert age({"PatientBirthDate": "19801399", "StudyDate": "20200101"}) is None
    told = facts({"PatientID": " P1 ", "Manufacturer": "ACME", "ProtocolName": ["T1", "3D"]})
    assert (told["patient"], told["scanner"], told["protocol"]) == ("P1", "ACME", "T1\\3D")
    assert told["sex"] is None


PRIVATE = table_of(
    [
        {"patient": "Doe-123", "study": "1.2.3.4.5.6", "series": "1.2.3.4.5.7", "site": "St Mary",
         "date": "20240101", "age": 93.0, "sex": "F", "text": "Mrs Doe",
         "reason": "series 1.2.3.4.5.7 of Doe-123 in /data/St Mary/x.dcm is bad", "Volume": 1.0},
        {"patient": "Doe-123", "study": "1.2.3.4.5.8", "series": "1.2.3.4.5.9", "site": "St Mary",
         "date": "20240111", "age": 93.1, "sex": "F", "text": None, "reason": None, "Volume": 2.0},
        {"patient": "Roe", "study": "1.2.3.4.5.1", "series": "1.2.3.4.5.2", "site": "Other",
         "date": "20230605", "age": 40.0, "sex": "M", "text": None, "reason": None, "Volume": 3.0},
    ]
)  # fmt: skip
KEY = b"0123456789abcdef"


def test_no_name_date_or_uid_is_left():
    made = deidentified(PRIVATE, KEY)
    text = repr(made.rows) + repr(made.names)
    for secret in ("Doe", "Roe", "1.2.3.4", "St Mary", "2024", "2023", "Mrs", "/data", "93"):
        assert secret not in text, secret
    assert made.values("day") == [0, 10, 0]
    assert made.values("age") == [90.0, 90.0, 40.0]
    assert made.values("Volume") == [1.0, 2.0, 3.0]
    patients = made.values("patient")
    assert patients[0] == patients[1] != patients[2]
    assert "text" not in made.names
    assert deidentified(PRIVATE, KEY).rows == made.rows
    assert deidentified(PRIVATE, KEY[::-1]).values("patient")[0] != patients[0]


def test_a_short_key_is_refused():
    with pytest.raises(ParameterError, match="16 random bytes"):
        deidentified(PRIVATE, b"secret")
