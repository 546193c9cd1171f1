"""The four tasks: what a batch, a loss and a score are in each."""

from __future__ import annotations

from collections.abc import Sequence

from somascope.learn.plan import Plan
from somascope.learn.tasks.classify import Classify
from somascope.learn.tasks.detect import Detect
from somascope.learn.tasks.register import Register
from somascope.learn.tasks.sample import Sample, Task, samples
from somascope.learn.tasks.segment import Segment

__all__ = ["Sample", "Task", "samples", "task"]


def task(plan: Plan, training: Sequence[Sample]) -> Task:
    """The task a plan is for."""
    kinds = {"classify": Classify, "detect": Detect, "register": Register, "segment": Segment}
    return kinds[plan.task](plan, training)
