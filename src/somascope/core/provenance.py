"""`Provenance`: where a value came from and every step that made it, as plain JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Source:
    """One origin of the data.

    ``kind`` is ``"dicom"``, ``"file"``, ``"raw"`` or ``"phantom"``; ``name`` a series UID, a file
    name without its folder, or a phantom's name; ``uids`` the SOP Instance UIDs read, in slice
    order; ``sha256`` the digest of the bytes where it was taken.
    """

    kind: str
    name: str
    uids: tuple[str, ...] = ()
    sha256: str = ""


@dataclass(frozen=True)
class Step:
    """One operation that was applied: enough to run it again.

    ``inputs`` are the UIDs (series or SOP instance) it ran on, in argument order; ``params`` the
    validated parameters; ``version`` the software that ran it; ``note`` the parameters that
    differ from their defaults, in words for a title.
    """

    operation: str
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    inputs: tuple[str, ...] = ()
    version: str = ""
    note: str = ""


@dataclass(frozen=True)
class Provenance:
    """Sources and steps, oldest first."""

    sources: tuple[Source, ...] = ()
    steps: tuple[Step, ...] = ()

    def then(self, step: Step) -> Provenance:
        """The history with one more step at its end."""
        return replace(self, steps=(*self.steps, step))

    def to_json(self) -> str:
        """The record as JSON text; keys sorted, so equal records give equal text."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Provenance:
        """Read what `to_json` wrote."""
        record: dict[str, list[dict[str, Any]]] = json.loads(text)
        sources = (Source(**s) for s in record["sources"])
        steps = (Step(**s) for s in record["steps"])
        return cls(
            sources=tuple(replace(s, uids=tuple(s.uids)) for s in sources),
            steps=tuple(replace(s, inputs=tuple(s.inputs)) for s in steps),
        )
