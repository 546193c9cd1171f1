import importlib.util
import json
from pathlib import Path

from somascope.io.dicom import iods


def source():
    path = Path(__file__).parent / "iod_table_source.py"
    spec = importlib.util.spec_from_file_location("iod_table_source", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_table_is_what_the_standard_says():
    made = source()
    assert json.loads(made.TARGET.read_text(encoding="utf-8")) == made.extract()


def test_every_kind_has_its_iod():
    for kind in iods.KINDS.values():
        assert "SOPInstanceUID" in iods.mandatory(kind.iod)
        assert "PatientName" in iods.known(kind.iod)


def test_known_facts():
    assert iods.mandatory("ct-image")["RescaleSlope"] == 1
    assert iods.mandatory("ct-image")["KVP"] == 2
    assert "EchoTime" in iods.known("mr-image")
    assert "EchoTime" not in iods.known("ct-image")
