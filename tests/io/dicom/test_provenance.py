from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian

from somascope.core import Grid, Image, Provenance, Source, Step
from somascope.core.errors import CorruptFile, ReadError
from somascope.io.dicom import provenance, write

GRID = Grid.from_spacing((1, 3, 4), (1, 1, 1))
TEXT = st.text(max_size=30)
PARAMS = st.dictionaries(
    TEXT, st.one_of(st.none(), st.booleans(), st.integers(), TEXT, st.lists(st.integers()))
)
RECORDS = st.builds(
    Provenance,
    st.lists(
        st.builds(Source, st.sampled_from(["phantom", "file"]), TEXT, st.just(()), TEXT), max_size=3
    ).map(tuple),
    st.lists(
        st.builds(Step, TEXT, PARAMS, st.lists(TEXT, max_size=3).map(tuple), TEXT, TEXT), max_size=3
    ).map(tuple),
)


def file(record):
    return write.instances(Image(np.zeros((1, 3, 4), np.int16), GRID, provenance=record))[0]


@settings(max_examples=20, deadline=None)
@given(RECORDS)
def test_the_record_comes_back_whole(record):
    assert provenance.read(file(record)) == record


def test_a_long_record_is_deflated():
    record = Provenance((Source("dicom", "1.2", tuple(f"1.2.840.99.{i}" for i in range(500))),))
    made = file(record)
    assert provenance.read(made) == record
    packed = dcmread(BytesIO(made)).private_block(0x5353, "SOMASCOPE")[0x02].value
    assert len(packed) < len(record.to_json()) / 5


def test_it_survives_implicit_vr_and_another_block_number():
    record = Provenance((Source("phantom", "head"),))
    dataset = dcmread(BytesIO(file(record)))
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    text = dataset.private_block(0x5353, "SOMASCOPE")[0x01].value
    del dataset[0x53530010], dataset[0x53531001]
    dataset.add_new(0x53530011, "LO", "SOMASCOPE")
    dataset.add_new(0x53531101, "UT", text)
    buffer = BytesIO()
    dataset.save_as(buffer, implicit_vr=True, little_endian=True)
    assert provenance.read(buffer.getvalue()) == record


def test_no_record_and_damaged_ones(pydicom_files):
    assert provenance.read((pydicom_files / "CT_small.dcm").read_bytes()) == Provenance()
    with pytest.raises(ReadError):
        provenance.read(b"junk")
    dataset = dcmread(BytesIO(file(Provenance((Source("phantom", "head"),)))))
    dataset[0x53531001].value = '{"sources": 1}'
    with pytest.raises(CorruptFile):
        provenance.read(dataset)
    del dataset[0x53531001]
    dataset.add_new(0x53531002, "OB", b"nonsense")
    with pytest.raises(CorruptFile):
        provenance.read(dataset)


def test_a_bomb_does_not_fill_memory():
    import zlib

    dataset = dcmread(BytesIO(file(Provenance())))
    del dataset[0x53531001]
    dataset.add_new(0x53531002, "OB", zlib.compress(b"[" * 10_000_000 * 8, 9))
    with pytest.raises(CorruptFile):
        provenance.read(dataset)
