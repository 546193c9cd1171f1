"""The verdict benchmark's smallest case: maps made from the truth, right and wrong."""

from __future__ import annotations

from benchmarks.__main__ import KEYS, lines


def test_planted_failures_are_flagged_without_a_false_alarm():
    failures, good = lines("register.verdict", small=True)
    assert set(failures) == set(good) == set(KEYS)
    assert failures["quality_ours"] == 100, failures["case"]
    assert good["quality_ours"] == 0, good["case"]
