"""When slices or frames are read one after the other, and by which memory.

A 3-D kernel supposes that three neighbours lie side by side. Where slices are three times as thick
as their pixels are wide, or follow one another in time, they do not: each is better looked at by
itself, and what was seen is remembered.
"""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

from somascope.core.errors import ParameterError
from somascope.learn.fingerprint import Fingerprint
from somascope.learn.networks.sequence import Memory
from somascope.learn.plan import Plan

THICK = 3.0
"""Times that slices are thicker than pixels are wide, from which they are read one by one."""


def thick(facts: Fingerprint) -> bool:
    """Whether a volume's slices lie too far apart for kernels in 3-D."""
    apart, *inside = facts.spacing_median
    return facts.dimensions == 3 and not facts.pictures and apart >= THICK * max(inside)


def reading(plan: Plan, *, memory: str = "gru") -> Plan:
    """The plan with a network that reads slices in order and remembers with ``memory``.

    Raises
    ------
    ParameterError
        An unknown memory, or a plan that is not to classify volumes (or films).
    """
    if memory not in get_args(Memory):
        raise ParameterError(f"memory is {memory!r}; choose one of {', '.join(get_args(Memory))}")
    if plan.task != "classify" or plan.dimensions != 3:
        raise ParameterError(
            f"slices are read in order to classify volumes or films, not to {plan.task} in "
            f"{plan.dimensions}-D"
        )
    widths = list(plan.network.get("widths", (16, 32, 64)))
    network = {
        "kind": "reader", "inputs": plan.channels, "outputs": len(plan.classes), "widths": widths,
        "memory": memory,
    }  # fmt: skip
    said = f"slices are read one after the other; {memory} remembers what came before"
    return replace(plan, network=network, reasons={**plan.reasons, "memory": said})
