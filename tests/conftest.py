"""Shared fixtures: the development data, where it is there."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

# Before anything imports Triton: its kernels run on the CPU. On a GPU: TRITON_INTERPRET=0.
os.environ.setdefault("TRITON_INTERPRET", "1")

# Before anything imports numba: its waiting threads leave the cores to the browser and the servers.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

REPOSITORY = Path(__file__).resolve().parent.parent


def shared_data() -> Path | None:
    """The folder of real development data, or None."""
    named = os.environ.get("SOMASCOPE_SHARED_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def data() -> Path:
    """Real development data; skips where it is absent."""
    folder = shared_data()
    if folder is None:
        pytest.skip("the development data is not beside this checkout (SOMASCOPE_SHARED_DATA)")
    return folder


@pytest.fixture(scope="session")
def pydicom_files() -> Path:
    """The DICOM files that ship inside pydicom."""
    import pydicom.data

    return Path(pydicom.data.__file__).parent / "test_files"


ROOMS = (
    *("acquire", "analyze", "examples", "benchmarks", "browser", "cli", "archive", "core"),
    *("phantoms", "testing", "io", "flows", "faults", "test_docs.py", "server", "jobs"),
    *("models", "learn", "process"),
)
"""The order of modules, for two workers that come from its ends; what is quick is in the middle."""
MANY = 20
"""Modules of a run from which on it is worth saying which take long."""


def room(item: pytest.Item) -> int:
    """Place of a test's room in `ROOMS`; a new room is in the middle."""
    name = item.path.relative_to(REPOSITORY / "tests").parts[0]
    return ROOMS.index(name) if name in ROOMS else ROOMS.index("core")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=room)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Whole modules, the first worker from the first on, the others from the last back.

    Neighbours need the same compiled kernels: two workers beside each other would both compile
    them, as neither finds them on the disk yet.
    """
    from xdist.scheduler import LoadFileScheduling

    if config.getoption("dist") != "loadfile":
        return None

    class FromBothEnds(LoadFileScheduling):
        def _assign_work_unit(self, node: Any) -> None:
            if node is not self.nodes[0]:
                self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
            super()._assign_work_unit(node)

    return FromBothEnds(config, log)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The modules that take longest, at the end of a run of many: where time can be won."""
    spent: Counter[str] = Counter()
    workers: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for one in reports:
            if isinstance(one, pytest.TestReport):
                spent[one.nodeid.partition("::")[0]] += one.duration
                workers[getattr(one, "worker_id", "all")] += one.duration
    if len(spent) > MANY:
        terminalreporter.section("slowest modules")
        for name, seconds in [*spent.most_common(MANY), *sorted(workers.items())]:
            terminalreporter.write_line(f"{seconds:8.1f}s {name}")
