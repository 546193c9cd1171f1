"""The public contract, on both databases; and what only this implementation promises."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys

import pytest
from sqlalchemy import text

from somascope.archive import Archive, OutOfSpace, Query
from somascope.core.errors import CorruptFile, SomascopeError
from somascope.testing.archive import check_archive, dataset, part10

both = pytest.mark.parametrize(
    "make", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)


@both
def test_contract(make):
    check_archive(make)
