"""Pages of a cohort that need nothing else: quality of a data set; groups, ages and sites."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence

import numpy as np

from somascope import __version__
from somascope.analyze.cohort.groups import Comparison
from somascope.analyze.cohort.regress import Regression
from somascope.analyze.cohort.survival import Curve as Lives
from somascope.analyze.cohort.survival import Survival
from somascope.core.grid import Array, Float
from somascope.jobs.cohort.qc import Report, called
from somascope.learn.pictures import png
from somascope.learn.report import STYLE
from somascope.process.chart import Curve, chart

SHOWN = ("modality", "protocol", "orientation", "snr", "cnr", "efc", "sharpness", "slice_jumps")
MOST = 400
"""Pictures of a page."""


def framed(title: str, parts: Sequence[str]) -> str:
    """A page of parts of HTML."""
    said = html.escape(title)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{said}</title>"
        f"<style>{STYLE}body{{max-width:76em}}td{{vertical-align:top}}"
        ".words td,.words th{text-align:left}.small img{max-width:9em}</style>"
        f"<h1>{said}</h1>{''.join(parts)}<p>Made by Somascope {__version__}. Research and "
        "teaching; not for clinical use.</p></html>\n"
    )


def _t(text: object) -> str:
    return html.escape("" if text is None else str(text))


def number(value: object) -> str:
    """Four digits; what is missing is empty."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "" if value is None else str(value)
    if not math.isfinite(value):
        return "none"
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def chance(p: float) -> str:
    """A p value in words of a paper."""
    return "none" if not math.isfinite(p) else "&lt; 0.0001" if p < 1e-4 else f"{p:.4f}"


def rows(head: Sequence[str], body: Sequence[Sequence[str]], *, words: bool = False) -> str:
    """A table; cells are HTML already, numbers to the right and ``words`` to the left."""
    top = "".join(f"<th>{h}</th>" for h in head)
    lines = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in body)
    kind = " class=words" if words else ""
    return f"<table{kind}><tr>{top}</tr>{lines}</table>"


def figure(data: bytes, caption: str, *, small: bool = False) -> str:
    """A PNG file inside the page."""
    coded = base64.b64encode(data).decode()
    kind = " class=small" if small else ""
    return (
        f"<figure{kind}><img alt='{_t(caption)}' src='data:image/png;base64,{coded}'>"
        f"<figcaption>{_t(caption)}</figcaption></figure>"
    )


def drawn(picture: Array, caption: str) -> str:
    """A chart inside the page, at its own size."""
    coded = base64.b64encode(png(picture)).decode()
    return (
        f"<figure><img style='max-width:100%;image-rendering:auto' alt='{_t(caption)}' "
        f"src='data:image/png;base64,{coded}'><figcaption>{_t(caption)}</figcaption></figure>"
    )


def quality_page(report: Report, *, title: str) -> str:
    """The data set's quality: what stands out first, then every image with its picture."""
    table = report.table
    n = len(table)
    summary = (
        f"<p>{n} images, {len(report.flags)} with a remark, {len(report.duplicates)} pairs of "
        f"duplicates, {len(report.unread)} that could not be read.</p>"
    )
    parts = [summary]
    names, told = called(table), table.records()
    if report.flags:
        body = [
            [f"<a href='#r{i}'>{_t(names[i])}</a>", "<br>".join(map(_t, said))]
            for i, said in report.flags.items()
        ]
        parts.append(f"<h2>Remarks</h2>{rows(['image', 'what'], body, words=True)}")
    if report.unread:
        body = [[_t(name), _t(why)] for name, why in report.unread[:100]]
        parts.append(f"<h2>Not read</h2>{rows(['what', 'why'], body, words=True)}")
    parts.append("<h2>Images</h2>")
    head = ["", "image", "size", "spacing (mm)", *SHOWN, "remarks"]
    body = []
    for i, row in enumerate(told):
        picture = figure(report.pictures[i], "", small=True) if i < MOST else ""
        size = "x".join(str(row[c]) for c in ("slices", "rows", "columns"))
        spacing = " x ".join(number(row[c]) for c in ("spacing_z", "spacing_y", "spacing_x"))
        name = f"<span title='{_t(row['name'])}'>{_t(names[i])}</span>"
        body.append([
            f"<a id=r{i}></a>{picture}", name, size, spacing,
            *(_t(number(row[c])) for c in SHOWN), str(len(report.flags.get(i, [])) or ""),
        ])  # fmt: skip
    parts.append(rows(head, body))
    parts.append(
        "<p>Noise is told from differences of neighbours, SNR and CNR from it and from classes of "
        "brightness; EFC is the entropy focus criterion; sharpness the gradient over that of white "
        "noise; slice_jumps how far the largest change between slices stands out. Outliers lie "
        "more than 3.5 robust deviations from the median of their modality and protocol; a "
        "protocol's parameters are held against what most of its series have. A remark is a reason "
        "to look, not a verdict.</p>"
    )
    return framed(title, parts)


def group_chart(one: Comparison) -> Array:
    """Every patient as a dot, means with their intervals as lines, one colour a group."""
    curves: list[Curve] = []
    rng = np.random.default_rng(0)
    for k, (group, values) in enumerate(zip(one.groups, one.values, strict=True)):
        beside = k + 1 + rng.uniform(-0.16, 0.16, len(values))
        curves.append(Curve(beside, values, "", line=False, dots=True, ink=k))
        reach = np.array([k + 0.7, k + 1.3])
        curves.append(Curve(reach, np.full(2, group.mean), f"{k + 1} {group.name}", ink=k))
        if np.isfinite([group.low, group.high]).all():
            curves.append(Curve(np.full(2, k + 1.3), np.array([group.low, group.high]), "", ink=k))
    unit = f" ({one.unit})" if one.unit not in ("", "1") else ""
    curves.append(_room(np.array([0.5, len(one.groups) + 0.5]), np.concatenate(one.values)))
    return chart(curves, across=f"{one.by}: number in the key", up=f"{one.value}{unit}", floor=None)


def _room(x: Float, y: Float) -> Curve:
    """Two corners that nothing is drawn at, so that no dot lies on the frame."""
    low, high = float(np.nanmin(y)), float(np.nanmax(y))
    edge = 0.08 * (high - low)
    return Curve(np.array([x.min(), x.max()]), np.array([low - edge, high + edge]), line=False)


def age_chart(age: Float, values: Float, sites: Sequence[str], *, up: str) -> Array:
    """A measurement over age, one colour a site."""
    names = sorted(set(sites))
    labels = np.array(list(sites))
    curves = [
        Curve(age[labels == s], values[labels == s], s[:20], line=False, dots=True, ink=k)
        for k, s in enumerate(names)
    ]
    good = np.isfinite(age) & np.isfinite(values)
    if good.sum() > 2 and np.ptp(age[good]) > 0:
        slope, start = np.polyfit(age[good], values[good], 1)
        ends = np.array([age[good].min(), age[good].max()])
        curves.append(Curve(ends, start + slope * ends, "all", ink=4))
        curves.append(_room(ends + np.array([-0.03, 0.03]) * np.ptp(ends), values[good]))
    return chart(curves, across="age (years)", up=up, floor=None)


def survival_chart(curves: Sequence[Lives], *, across: str) -> Array:
    """Kaplan and Meier's steps, one colour a group."""
    drawn_: list[Curve] = []
    for k, c in enumerate(curves):
        x = np.repeat(np.concatenate([[0.0], c.times]), 2)[1:]
        y = np.repeat(np.concatenate([[1.0], c.alive]), 2)[:-1]
        drawn_.append(Curve(x, y, c.name, ink=k))
    return chart(drawn_, across=across, up="share without event", floor=0.0, top=1.0)


def comparison_part(one: Comparison) -> str:
    """One measurement between groups: picture, table, tests."""
    unit = f" ({_t(one.unit)})" if one.unit not in ("", "1") else ""
    body = [
        [_t(g.name), str(g.patients), number(g.mean), f"{number(g.low)} to {number(g.high)}",
         number(g.sd), number(g.median), " to ".join(number(q) for q in g.quartiles)]
        for g in one.groups
    ]  # fmt: skip
    pairs = [
        [f"{_t(p.second)} - {_t(p.first)}", number(p.difference),
         f"{number(p.low)} to {number(p.high)}", number(p.g), number(p.delta),
         chance(p.p_t_adjusted), chance(p.p_u_adjusted)]
        for p in one.pairs
    ]  # fmt: skip
    tests = "; ".join(f"{t.name} {number(t.statistic)}, p {chance(t.p)}" for t in one.tests)
    left = f" Too few patients to compare: {_t(', '.join(one.left_out))}." if one.left_out else ""
    head = ["group", "patients", "mean", "95 % interval", "sd", "median", "quartiles"]
    second = ["pair", "difference", "95 % interval", "Hedges g", "Cliff delta", "p (t)", "p (U)"]
    return (
        f"<h2>{_t(one.value)}{unit} by {_t(one.by)}</h2>{drawn(group_chart(one), one.value)}"
        f"{rows(head, body)}<p>{tests}; corrected for all measurements: p {chance(one.adjusted)}."
        f"{left}</p>{rows(second, pairs)}"
    )


def regression_part(one: Regression) -> str:
    """One measurement explained."""
    body = [
        [_t(t.name), number(t.effect), f"{number(t.low)} to {number(t.high)}", number(t.t),
         chance(t.p), number(t.partial)]
        for t in one.terms
    ]  # fmt: skip
    head = ["term", "effect", "95 % interval", "t", "p", "partial r"]
    return (
        f"<h2>{_t(one.value)} explained</h2>{rows(head, body)}<p>{one.patients} patients, "
        f"{one.dof} degrees of freedom, R2 {number(one.r2)}, residual sd {number(one.residual_sd)} "
        f"{_t(one.unit)}.</p>"
    )


def survival_part(one: Survival) -> str:
    """Times of events in groups: curves, and the test between them."""
    unit = f" ({one.unit})" if one.unit not in ("", "1") else ""
    body = [[_t(c.name), str(c.patients), str(c.events), number(c.median)] for c in one.curves]
    head = ["group", "patients", "events", f"median {_t(one.time)}{_t(unit)}"]
    left = f" Left out: {_t('; '.join(one.left_out))}." if one.left_out else ""
    picture = survival_chart(one.curves, across=f"{one.time}{unit}")
    return (
        f"<h2>{_t(one.event)} after {_t(one.time)} by {_t(one.by)}</h2>"
        f"{drawn(picture, f'share without {one.event}')}{rows(head, body)}"
        f"<p>Log-rank: chi squared {number(one.chi)}, {one.dof} degrees of freedom, p "
        f"{chance(one.p)}. Curves are Kaplan and Meier's; who left before the event counts until "
        f"then.{left}</p>"
    )


def comparison_page(
    compared: Sequence[Comparison], explained: Sequence[Regression], *, title: str,
    about: str = "", charts: Sequence[tuple[Array, str]] = (), lives: Sequence[Survival] = (),
) -> str:  # fmt: skip
    """Groups, regressions, times of events and further charts of a cohort."""
    parts = [f"<p>{_t(about)}</p>"] if about else []
    if compared:
        body = [
            [_t(c.value), _t(c.by), *(f"{number(g.mean)}" for g in c.groups[:2]),
             number(c.pairs[0].g), chance(c.p), chance(c.adjusted)]
            for c in compared
        ]  # fmt: skip
        head = ["measurement", "by", "first mean", "second mean", "Hedges g", "p", "corrected"]
        parts.append(f"<h2>All measurements</h2>{rows(head, body)}")
    parts += [comparison_part(c) for c in compared]
    parts += [regression_part(r) for r in explained]
    parts += [survival_part(s) for s in lives]
    parts += [drawn(picture, caption) for picture, caption in charts]
    parts.append(
        "<p>The unit is the patient: several rows of one are averaged first. Intervals of means "
        "are drawn by patient (bootstrap); those of differences are Welch's. A p value tells "
        "nothing about cause, and of a cohort that was not drawn at random little about others.</p>"
    )
    return framed(title, parts)
