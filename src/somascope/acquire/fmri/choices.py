"""The parameters that operations of functional MRI share, each said once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

from somascope.acquire.fmri import design, hrf, model
from somascope.core import Param
from somascope.core.errors import ParameterError

EventsText: TypeAlias = Annotated[
    str, Param("Task as the text of a BIDS events.tsv; or give onsets")
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
    Param("Confounds as tab-separated text, a line of names and one row per scan", advanced=True),
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
    *, operation: str,
) -> design.Events:  # fmt: skip
    """The task from either form; `ParameterError` where both or none is given."""
    if bool(text.strip()) == bool(onsets):
        raise ParameterError(
            f"{operation}: give the task either as events (text of an events.tsv) or as onsets, "
            "durations and conditions" + (", not both" if onsets else "")
        )
    if text.strip():
        return design.read_events(text)
    return design.events_from_arrays(onsets, durations, conditions)
