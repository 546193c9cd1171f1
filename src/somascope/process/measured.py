"""Numbers told from images, as findings."""

from __future__ import annotations

import re

from somascope.core import Code, Image, Measurement, Provenance

SCHEME = "99SOMASCOPE"


def measured(
    image: Image,
    name: str,
    value: float,
    unit: str,
    *,
    code: Code | None = None,
    uncertainty: float | None = None,
) -> Measurement:
    """One finding on an image; ``name`` says what it is, ``unit`` is UCUM.

    ``code`` is the concept's where a terminology has one; otherwise it is made of the name.
    """
    made = Code(re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")[:16], SCHEME, name[:64])
    return Measurement(
        concept=code or made,
        value=float(value),
        unit=unit,
        uncertainty=uncertainty,
        on=tuple(u for s in image.provenance.sources for u in s.uids),
        provenance=Provenance(image.provenance.sources, image.provenance.steps),
        attributes=dict(image.attributes),
    )
