"""The page tells what happened, stands alone, and lets no name break it."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from somascope.acquire.fmri import qc
from somascope.acquire.fmri.realign import Motion


@pytest.fixture(scope="module")
def jump():
    p = np.zeros((80, 6))
    p[40:, 0] = 1.2
    return Motion(p, np.ones(80, int))


def test_signal_to_noise_is_mean_over_spread():
    rng = np.random.default_rng(0)
    data = (100 + 2 * rng.standard_normal((400, 3, 4, 5))).astype(np.float32)
    data += np.linspace(-20, 20, 400, dtype=np.float32)[:, None, None, None]
    assert np.median(qc.tsnr(data)) == pytest.approx(50, rel=0.05)


def test_numbers_and_page(still, jump):
    found = qc.quality(still, jump)
    assert found.framewise[40] == pytest.approx(1.2)
    assert found.summary["scans above 0.5 mm, %"] == pytest.approx(100 / 80)
    assert found.dvars[1:].mean() == pytest.approx(np.sqrt(2 * 0.7), rel=0.25)
    named = replace(still, attributes={**still.attributes, "SeriesDescription": "<b>run</b>"})
    page = qc.page(named, jump)
    assert "&lt;b&gt;run" in page
    assert "<b>run" not in page
    assert len(re.findall("<svg", page)) == 4
    assert len(re.findall("data:image/png", page)) == 2
    assert not re.search(r"(src|href)=\"http", page)
    HTMLParser().feed(page)


def test_a_jump_is_seen_in_the_carpet(still):
    data = np.array(still.data)
    mask = data[0] > data[0].mean()
    data[30:33] *= 1.2
    grey = qc.carpet(data, mask, rows=50)
    assert grey.shape == (50, 80)
    assert grey[:, 30:33].mean() > grey[:, :30].mean() + 60
