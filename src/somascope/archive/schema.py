"""The tables of the index. Instance rows are lean; all else about an instance is in its file.

Keys ``k`` are given by the writer, who alone holds the write lock, and grow in the order of
commits. Texts that are compared by range or prefix use the C collation, so that both databases
agree.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
)

HEAD = "0001"
"""The migration this code needs."""
VERSION_TABLE = "archive_version"

metadata = MetaData()
_Key = BigInteger().with_variant(Integer, "sqlite")
_Sorted = Text().with_variant(Text(collation="C"), "postgresql")


def _text(name: str) -> Column[str]:
    return Column(name, _Sorted, nullable=False, server_default="")


patient = Table(
    "patient",
    metadata,
    Column("k", _Key, primary_key=True, autoincrement=False),
    Column("identity", _Sorted, nullable=False, unique=True),
    _text("patient_id"),
    _text("issuer"),
    _text("name"),
    _text("name_folded"),
    _text("birth_date"),
    _text("sex"),
    Index("patient_by_id", "patient_id"),
    Index("patient_by_name", "name_folded"),
    Index("patient_by_birth", "birth_date"),
)

word = Table(
    "patient_word",
    metadata,
    Column("patient_k", _Key, ForeignKey("patient.k"), primary_key=True, autoincrement=False),
    Column("word", _Sorted, primary_key=True),
    _text("sound"),
    Index("word_by_text", "word", "patient_k"),
    Index("word_by_sound", "sound", "patient_k"),
)

study = Table(
    "study",
    metadata,
    Column("k", _Key, primary_key=True, autoincrement=False),
    Column("patient_k", _Key, ForeignKey("patient.k"), nullable=False),
    Column("uid", _Sorted, nullable=False, unique=True),
    _text("date"),
    _text("time"),
    _text("accession"),
    _text("study_id"),
    _text("description"),
    _text("referring"),
    _text("referring_folded"),
    _text("timezone"),
    _text("modalities"),
    Column("series_count", Integer, nullable=False, server_default="0"),
    Column("instance_count", Integer, nullable=False, server_default="0"),
    Index("study_by_patient", "patient_k"),
    Index("study_by_date", "date", "k"),
    Index("study_by_accession", "accession"),
    Index("study_by_id", "study_id"),
    Index("study_by_referring", "referring_folded"),
    Index("study_by_description", "description"),
)

series = Table(
    "series",
    metadata,
    Column("k", _Key, primary_key=True, autoincrement=False),
    Column("study_k", _Key, ForeignKey("study.k"), nullable=False),
    Column("uid", _Sorted, nullable=False, unique=True),
    _text("modality"),
    Column("number", BigInteger),
    _text("description"),
    _text("body_part"),
    _text("laterality"),
    _text("protocol"),
    _text("manufacturer"),
    _text("model"),
    _text("station"),
    _text("institution"),
    _text("date"),
    _text("time"),
    _text("performed_date"),
    _text("performed_time"),
    _text("frame_of_reference"),
    Column("instance_count", Integer, nullable=False, server_default="0"),
    Index("series_by_study", "study_k", "number", "k"),
    Index("series_by_modality", "modality", "study_k"),
)

instance = Table(
    "instance",
    metadata,
    Column("k", _Key, primary_key=True, autoincrement=False),
    Column("series_k", _Key, ForeignKey("series.k"), nullable=False),
    Column("uid", _Sorted, nullable=False, unique=True),
    Column("sop_class", _Sorted, nullable=False),
    Column("transfer_syntax", _Sorted, nullable=False),
    Column("number", BigInteger),
    Column("rows", Integer),
    Column("columns", Integer),
    Column("bits", SmallInteger),
    Column("frame_count", Integer),
    Column("size", BigInteger, nullable=False),
    Column("dataset_offset", Integer, nullable=False),
    Column("name", LargeBinary, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("frames", LargeBinary),
    Column("received", Float, nullable=False),
    Column("origin", Text, nullable=False, server_default=""),
    Column("damaged", SmallInteger, nullable=False, server_default="0"),
    Index("instance_by_series", "series_k", "number", "k"),
)

change = Table(
    "change",
    metadata,
    Column("seq", _Key, primary_key=True, autoincrement=False),
    Column("kind", SmallInteger, nullable=False),
    _text("study"),
    _text("series"),
    _text("instance"),
    Column("time", Float, nullable=False),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("k", _Key, primary_key=True, autoincrement=False),
    Column("name", LargeBinary, nullable=False, unique=True),
    _text("uid"),
    _text("study"),
    _text("series"),
    Column("reason", Text, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("origin", Text, nullable=False, server_default=""),
    Column("time", Float, nullable=False),
    Index("quarantine_by_uid", "uid"),
)
