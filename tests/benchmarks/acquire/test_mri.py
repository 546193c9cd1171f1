"""The MRI benchmarks: ours as right as the peers' on the same samples."""

from __future__ import annotations

import importlib

import pytest

from benchmarks.__main__ import KEYS, NAMES, lines


@pytest.mark.parametrize("name", ["mri.espirit", "mri.sense", "mri.l1wavelet", "mri.nufft"])
def test_ours_is_as_good_as_the_peers(name: str):
    for package in ("sigpy", "mrinufft") if name == "mri.nufft" else ("sigpy",):
        pytest.importorskip(package, reason="peers come with the bench extra")
    assert importlib.import_module(NAMES[name][0])
    found = list(lines(name, small=True))
    assert found
    for line in found:
        assert set(line) == set(KEYS)
        assert line["name"] == name
        assert line["quality_ours"] <= 1.1 * line["quality_peer"]
