"""Shared fixtures: the development data, where it is there."""

from __future__ import annotations

import os
from pathlib import Path

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
