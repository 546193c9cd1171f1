"""The cohort benchmark's smallest case: the peer's t is ours."""

from __future__ import annotations

from benchmarks.__main__ import lines


def test_t_is_the_peers():
    (line,) = lines("cohort.permutation", small=True)
    assert line["quality_peer"] < 1e-6, line
