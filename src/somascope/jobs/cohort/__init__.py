"""Cohorts: an operation or a pipeline over the archive by query, and one table of what it found.

::

    cases = selected(archive, {"Modality": ["MR"], "PatientAge": ["040Y-070Y"]})
    ran = run(Jobs(archive), [Step("volumes", "analyze.radiomics", ("image", "mask"))], cases)
    table = rows_of(archive, ran)
"""

from __future__ import annotations

from somascope.jobs.cohort.batch import Ran, run
from somascope.jobs.cohort.collect import rows_of, stored
from somascope.jobs.cohort.select import Case, selected
from somascope.jobs.cohort.steps import Step, pipeline

__all__ = ["Case", "Ran", "Step", "pipeline", "rows_of", "run", "selected", "stored"]
