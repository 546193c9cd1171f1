"""Recorded runs of operations: the job table, the one run path, local workers and Ray."""

from __future__ import annotations

from somascope.jobs.store import Jobs

__all__ = ["Jobs"]
