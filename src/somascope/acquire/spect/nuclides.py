"""Gamma emitters of single photon imaging: energy, half-life, photons per decay.

Values: Decay Data Evaluation Project, *Table of Radionuclides* (BIPM Monographie 5), rounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

Nuclide: TypeAlias = Literal["Tc-99m", "I-123", "In-111", "Tl-201", "Lu-177", "I-131"]


@dataclass(frozen=True)
class Emitter:
    """``kev`` of the photopeak, ``half_life`` in seconds, ``photons`` of the peak per decay."""

    name: str
    kev: float
    half_life: float
    photons: float
    code: tuple[str, str]
    """SNOMED CT code and meaning (PS3.16 CID 18)."""


NUCLIDES: Mapping[str, Emitter] = {
    e.name: e
    for e in (
        Emitter("Tc-99m", 140.5, 21624.0, 0.885, ("72454006", "^99m^Technetium")),
        Emitter("I-123", 159.0, 47604.0, 0.833, ("21572004", "^123^Iodine")),
        Emitter("In-111", 245.4, 242330.0, 0.941, ("56609000", "^111^Indium")),
        Emitter("Tl-201", 71.0, 262840.0, 0.73, ("60057003", "^201^Thallium")),
        Emitter("Lu-177", 208.4, 574300.0, 0.104, ("447553000", "^177^Lutetium")),
        Emitter("I-131", 364.5, 693290.0, 0.815, ("1368003", "^131^Iodine")),
    )
}
