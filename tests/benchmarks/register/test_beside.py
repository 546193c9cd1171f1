"""What the registration benchmarks say of a peer that fails."""

from __future__ import annotations

import numpy as np

from benchmarks.register import beside
from benchmarks.register.apart import ChildEnded
from somascope.core import Grid, Image


def lines(peer, monkeypatch):
    grid = Grid.from_spacing((4, 4, 4), (1.0, 1.0, 1.0))
    images = [Image(np.full((4, 4, 4), k, np.float32), grid, "MR") for k in range(3)]
    pairs = [(image, image) for image in images]
    monkeypatch.setattr(beside, "ours", lambda *_: lambda at: at + 1)
    quality = lambda maps: sum(float(m(np.zeros(1))[0]) for m in maps)  # noqa: E731
    return list(beside.beside("b", "three pairs", pairs, {"numpy": peer}, quality=quality,
                              metric="sum"))  # fmt: skip


def test_where_it_fails_the_images_stay_and_the_case_tells_it(monkeypatch):
    def peer(fixed, *_):
        if fixed.data.max() == 1:
            raise RuntimeError("all samples\nmap outside")
        if fixed.data.max() == 2:
            raise ChildEnded("ended")
        return lambda at: at + 10

    (line,) = lines(peer, monkeypatch)
    assert line["case"] == "three pairs; numpy failed at 2 of 3"
    assert (line["quality_ours"], line["quality_peer"]) == (3, 10)


def test_one_that_fails_everywhere_has_no_line(monkeypatch):
    def peer(*_):
        raise RuntimeError("no")

    assert lines(peer, monkeypatch) == []
