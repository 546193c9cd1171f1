"""The radiomics benchmark's smallest case: every feature is pyradiomics' to a thousandth."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import lines
from benchmarks.analyze import radiomics


@pytest.mark.skipif(
    radiomics.python() is None, reason=f"{radiomics.VARIABLE} names no Python with pyradiomics"
)
def test_features_are_the_peers():
    (line,) = lines("radiomics", small=True)
    assert line["quality_metric"].endswith("of 107")
    assert line["quality_ours"] < 1e-3, line


def test_without_the_peer_it_says_that_it_is_skipped(monkeypatch, capsys):
    monkeypatch.delenv(radiomics.VARIABLE, raising=False)
    assert list(lines("radiomics", small=True)) == []
    assert radiomics.VARIABLE in capsys.readouterr().err


def test_its_lesions_are_as_said():
    image, mask = radiomics.lesions(3, 16)
    assert {int(n) for n in set(mask.data.ravel())} == {0, 1, 2, 3}
    assert image.unit == "[hnsf'U]"
