"""Whatever is sent in whatever order, the archive holds the first of each and says so."""

from __future__ import annotations

import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from somascope.archive import Archive, Query
from somascope.testing.archive import CT, EXPLICIT, dataset, part10

SOPS = st.integers(1, 4)
SEEDS = st.integers(0, 1)


class Model(RuleBasedStateMachine):
    """A dictionary beside the archive: what the rules R4 to R6 say must be in it."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.archive = Archive.open(self.root)
        self.kept: dict[str, tuple] = {}
        self.series: dict[str, str] = {}
        self.patients: dict[str, str] = {}
        self.apart: set[tuple] = set()

    def teardown(self) -> None:
        self.archive.close()
        shutil.rmtree(self.root)

    @rule(sop=SOPS, seed=SEEDS, series=st.integers(1, 2), study=st.integers(1, 2),
          patient=st.sampled_from(["A", "B"]), bare=st.booleans())  # fmt: skip
    def store(self, sop, seed, series, study, patient, bare):
        uids = {"SOPInstanceUID": f"1.2.{sop}", "SeriesInstanceUID": f"1.3.{series}",
                "StudyInstanceUID": f"1.4.{study}", "PatientID": patient}  # fmt: skip
        content = (*uids.values(), seed)
        if bare:
            answer = self.archive.store_dataset(
                dataset(seed=seed, **uids), sop_class=CT, sop_uid=f"1.2.{sop}",
                transfer_syntax=EXPLICIT,
            )  # fmt: skip
        else:
            answer = self.archive.store(part10(seed=seed, **uids))
        uid, home, owner = f"1.2.{sop}", f"1.3.{series}", f"1.4.{study}"
        if uid in self.kept:
            expected = "duplicate" if self.kept[uid] == content else "conflict"
        elif self.series.get(home, owner) != owner or self.patients.get(owner, patient) != patient:
            expected = "conflict"
        else:
            expected = "stored"
            self.kept[uid] = content
            self.series[home], self.patients[owner] = owner, patient
        if expected == "conflict":
            self.apart.add(content)
        assert answer.outcome == expected

    @rule()
    def reopen(self):
        self.archive.close()
        self.archive = Archive.open(self.root)

    @rule()
    def rebuild(self):
        assert self.archive.rebuild() == len(self.kept)

    @invariant()
    def holds_exactly_that(self):
        found = {
            (i.sop_uid, i.series, i.study): i.read()
            for uid in self.kept
            for i in self.archive.locate(instance=uid)
        }
        names = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID")
        wanted = {
            content[:3]: part10(
                seed=content[4], **dict(zip(names, content[:4], strict=True))
            )[-400:]
            for content in self.kept.values()
        }  # fmt: skip
        assert {k: v[-400:] for k, v in found.items()} == wanted
        stats = self.archive.stats()
        assert (stats.instances, stats.quarantined) == (len(self.kept), len(self.apart))
        answers = self.archive.search(Query())
        assert sum(a["00201208"]["Value"][0] for a in answers) == len(self.kept)


Model.TestCase.settings = settings(
    max_examples=5, stateful_step_count=12, deadline=None, derandomize=True
)
TestStateful = Model.TestCase


def test_sixteen_writers_one_study(tmp_path):
    """Two openings of one archive, eight threads each, sending the same study interleaved."""
    raws = [
        part10(SOPInstanceUID=f"1.2.3.{n % 4}.{n}", SeriesInstanceUID=f"1.2.3.{n % 4}", seed=n)
        for n in range(48)
    ]
    archives = [Archive.open(tmp_path / "a") for _ in range(2)]
    with ThreadPoolExecutor(16) as pool:
        jobs = [
            pool.submit(archives[w % 2].store, raw)
            for w in range(4)
            for raw in (raws[w * 12 :] + raws[: w * 12])
        ]
        outcomes = [j.result().outcome for j in jobs]
    assert outcomes.count("stored") == 48
    assert outcomes.count("duplicate") == 144
    assert [c.seq for c in archives[0].changes()] == list(range(1, 49))
    (study,) = archives[1].search(Query())
    assert study["00201208"]["Value"] == [48]
    state = archives[0].verify()
    assert state.ok
    assert state.unindexed == ()
    for archive in archives:
        archive.close()
