"""The parameters that operations of functional MRI share, each said once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

from somascope.acquire.fmri import design, hrf, model
from somascope.core import Image, Param
from somascope.core.errors import ParameterError

EventsText: TypeAlias = Annotated[
    str, Param("Task as the text of a BIDS events.tsv; or give onsets. Neither: as the run states")
]
Onsets: TypeAlias = Annotated[
    tuple[float, ...], Param("When each event begins, after the first scan", unit="s")
]
Durations: TypeAlias = Annotated[
    tuple[float, ...], Param("How long each event lasts; one for all, or one each", unit="s",
                             minimum=0.0)
]  # fmt: skip
Conditions: TypeAlias = Annotated[
    tuple[float, ...], Param("Number of each event's condition, from 1 (named c1, c2...)")
]
Contrast: TypeAlias = Annotated[
    str,
    Param("What is asked: 'a - b', or numbers '1 -1'; rows separated by ';' make an F question. "
          "Empty: the first condition"),
]  # fmt: skip
Response: TypeAlias = Annotated[
    hrf.Model, Param("Response to an event: canonical, with derivatives, or a value per scan")
]
Delays: TypeAlias = Annotated[
    int, Param("Scans after an event that 'fir' looks at", minimum=1, maximum=100, advanced=True)
]
HighPass: TypeAlias = Annotated[
    float | None, Param("Longest period that is kept; none keeps all", unit="s", minimum=1.0)
]
Noise: TypeAlias = Annotated[
    model.Noise, Param("Noise that is independent (ols), or correlated from scan to scan (ar1)")
]
Confounds: TypeAlias = Annotated[
    str,
    Param(
        "Confounds as tab-separated text (a line of names, one row per scan), or names of columns "
        "that the run states: 'trans_*, rot_*, csf'",
        advanced=True,
    ),
]
RepetitionTime: TypeAlias = Annotated[
    float | None,
    Param("From scan to scan; none: as the run says", unit="s", minimum=0.05, maximum=60.0),
]
Where: TypeAlias = Annotated[
    Literal["head", "all"], Param("Which voxels: those with signal, or all")
]


def events_of(
    text: str, onsets: Sequence[float], durations: Sequence[float], conditions: Sequence[float],
    *, run: Image, operation: str,
) -> design.Events:  # fmt: skip
    """The task from either form, or as the run states it (``Events``, from a BIDS dataset).

    `ParameterError` where both forms are given, or none.
    """
    if not text.strip() and not onsets:
        text = str(run.attributes.get("Events") or "")
    if bool(text.strip()) == bool(onsets):
        raise ParameterError(
            f"{operation}: give the task either as events (text of an events.tsv) or as onsets, "
            "durations and conditions" + (", not both" if onsets else "; the run states none")
        )
    if text.strip():
        return design.read_events(text)
    return design.events_from_arrays(onsets, durations, conditions)
