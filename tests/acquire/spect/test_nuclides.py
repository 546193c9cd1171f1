"""Half-lives against a second evaluation: ICRP Publication 107 (2008)."""

import pytest

from somascope.acquire.spect.nuclides import NUCLIDES

HALF_LIVES = {
    "Tc-99m": 6.015 * 3600, "I-123": 13.27 * 3600, "In-111": 2.8047 * 86400,
    "Tl-201": 72.912 * 3600, "Lu-177": 6.647 * 86400, "I-131": 8.02070 * 86400,
}  # fmt: skip
"""s, as listed there."""


@pytest.mark.parametrize("name", NUCLIDES)
def test_half_lives(name):
    assert NUCLIDES[name].half_life == pytest.approx(HALF_LIVES[name], rel=0.004)
