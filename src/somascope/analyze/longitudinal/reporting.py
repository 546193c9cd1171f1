"""A follow-up as findings: a course and numbers for each lesion, sums and responses for all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from somascope.analyze.longitudinal import codes
from somascope.analyze.longitudinal.change import SURE, Change
from somascope.analyze.longitudinal.course import Followed
from somascope.analyze.longitudinal.lesions import Lesion
from somascope.analyze.longitudinal.metabolism import uptake
from somascope.analyze.rules import decide, load
from somascope.core.finding import Code, Label, Measurement, Tracking
from somascope.core.image import Image
from somascope.core.provenance import Provenance

Finding: TypeAlias = Label | Measurement

_OTHERS = {
    "none": "Every lesion is a target lesion.",
    "gone": "Every lesion that was no target has gone.",
    "persisting": "Some of the lesions that are no targets are still there.",
    "grown": "Some of the lesions that are no targets have grown: whether that is unequivocal "
    "progression is for a reader to say.",
}
_COURSE = {"grown": codes.GROWN, "shrunk": codes.SHRUNK, "stable": codes.STABLE}


def time_points(result: Followed) -> tuple[str, str]:
    """Names of the prior and the current time point: their dates, or words that sort alike."""
    dates = [str(i.attributes.get("StudyDate") or "") for i in (result.prior, result.current)]
    if all(dates) and dates[0] < dates[1]:
        return dates[0], dates[1]
    return "prior examination", "this examination"


def findings(
    result: Followed,
    *,
    drawn: bool,
    baseline: float | None = None,
    nadir: float | None = None,
) -> list[Finding]:
    """What a follow-up found, in the order of a report.

    ``drawn``: the current lesions were drawn, not outlined here, so that what is new among them is
    known; ``baseline`` and ``nadir``: earlier sums of diameters in mm (default: the prior one).
    """
    made = _Report(result, *time_points(result))
    if not result.warp.verdict.trusted:
        made.label(codes.UNTRUSTED, 1.0, f"The registration says: {result.warp.verdict.words}.")
    pairs = {i: (j, s) for i, j, s in result.matched.pairs}
    for i, lesion in enumerate(result.before):
        if i in pairs:
            made.pair(i, *pairs[i])
        else:
            made.lost(i, lesion)
    for j, lesion in enumerate(result.after):
        if j in result.matched.split:
            whole = result.before[result.matched.split[j]]
            text = f"{lesion.name}: lies within where {whole.name} was and is a further part of it."
            made.label(codes.SPLIT, made.sure, text, lesion.tracking)
            made.sizes(lesion, made.now, lesion.tracking)
        elif j in result.matched.new:
            text = f"{lesion.name}: no lesion of the prior examination lies there."
            made.label(codes.NEW, made.sure, text, lesion.tracking)
            made.sizes(lesion, made.now, lesion.tracking)
    for k, one in enumerate(result.candidates):
        text = (
            f"{candidate(k)}: {one.volume:.0f} mm3 that the prior image does not show, "
            f"{one.strength:.0f} standard deviations of noise away. Nobody has drawn it: look."
        )
        who = Tracking(tracking_of(result, k), candidate(k))
        made.label(codes.CANDIDATE, 0.5 * made.sure, text, who)
        made.number(codes.VOLUME, one.volume, "mm3", time=made.now, who=who)
    made.whole(drawn=drawn, baseline=baseline, nadir=nadir)
    return made.found


def candidate(number: int) -> str:
    """The name of a place that may be a new lesion."""
    return f"Possible new lesion {number + 1}"


def tracking_of(result: Followed, number: int) -> str:
    """Its tracking UID: of the current image and its place."""
    from somascope.io.dicom import uid

    names = [s.name for s in result.current.provenance.sources] or ["unnamed"]
    return uid.derive("candidate", *names, str(number + 1))


@dataclass(eq=False)
class _Report:
    result: Followed
    then: str
    now: str
    found: list[Finding] = field(default_factory=list[Finding])

    @property
    def sure(self) -> float:
        """How far the registration is trusted."""
        return self.result.warp.verdict.confidence

    def _about(self, image: Image) -> dict[str, Any]:
        current, prior = self.result.current.provenance, self.result.prior.provenance
        extra = tuple(s for s in prior.sources if s not in current.sources)
        return {
            "on": tuple(u for s in image.provenance.sources for u in s.uids),
            "provenance": Provenance((*current.sources, *extra), current.steps),
            "attributes": dict(self.result.current.attributes),
        }

    def label(self, code: Code, sure: float, text: str, who: Tracking | None = None) -> None:
        about = self._about(self.result.current)
        self.found.append(
            Label(concept=code, confidence=round(sure, 4), text=text, tracking=who, **about)
        )

    def number(
        self,
        code: Code,
        value: float,
        unit: str,
        spread: float | None = None,
        *,
        time: str = "",
        who: Tracking | None = None,
    ) -> None:
        image = self.result.prior if time == self.then else self.result.current
        self.found.append(
            Measurement(
                concept=code, value=float(value), unit=unit, uncertainty=spread, time_point=time,
                tracking=who, **self._about(image),
            )
        )  # fmt: skip

    def sizes(self, lesion: Lesion, time: str, who: Tracking) -> None:
        s = lesion.size
        self.number(codes.VOLUME, s.volume, "mm3", s.volume_spread, time=time, who=who)
        self.number(codes.LONG, s.long, "mm", s.spread, time=time, who=who)
        self.number(codes.SHORT, s.short, "mm", s.spread, time=time, who=who)
        self.number(codes.MEAN_DIAMETER, s.mean, "mm", s.spread / 2**0.5, time=time, who=who)

    def noted(self, i: int) -> str:
        """What there is to know about the outline made of a prior lesion."""
        made = self.result.outlines
        return f" ({made[i].note})" if made and made[i].note else ""

    def pair(self, i: int, j: int, score: float) -> None:
        before, after = self.result.before[i], self.result.after[j]
        note = self.noted(i)
        if after.faint:
            text = f"{before.name}: could not be outlined; its change is open{note}."
            self.label(codes.FAINT, self.sure * score, text, before.tracking)
            self.sizes(before, self.then, before.tracking)
            return
        if before.cut or after.cut:
            which = "prior" if before.cut else "current"
            text = f"{before.name}: cut off by the edge of the {which} image; its change is open"
            text += f"{note}."
            self.label(codes.CUT, self.sure * score, text, before.tracking)
            self.sizes(before, self.then, before.tracking)
            self.sizes(after, self.now, before.tracking)
            return
        c, who = self.result.changes[i], before.tracking
        self.label(_COURSE[c.course], self.sure * score, f"{_told(before, after, c)}{note}.", who)
        self.sizes(before, self.then, who)
        self.sizes(after, self.now, who)
        self.number(codes.VOLUME_CHANGE, c.volume, "%", c.volume_spread, time=self.now, who=who)
        self.number(codes.LONG_CHANGE, c.long, "%", c.long_spread, time=self.now, who=who)
        self.number(codes.DIAMETER_CHANGE, c.mean, "mm", c.mean_spread, time=self.now, who=who)
        if c.doubling is not None and c.course != "stable":
            self.number(codes.DOUBLING, c.doubling, "d", time=self.now, who=who)

    def lost(self, i: int, lesion: Lesion) -> None:
        matched = self.result.matched
        if i in matched.unseen:
            code, text = codes.UNSEEN, "lies outside the current image"
        elif i in matched.merged:
            into = self.result.after[matched.merged[i]]
            name = next(
                (self.result.before[k].name for k, j, _ in matched.pairs if j == matched.merged[i]),
                into.name,
            )
            code, text = codes.MERGED, f"lies now within {name}, with which it has merged"
        else:
            code, text = codes.RESOLVED, "there is no lesion any more where it was"
        self.label(code, self.sure, f"{lesion.name}: {text}{self.noted(i)}.", lesion.tracking)
        self.sizes(lesion, self.then, lesion.tracking)
        if code is codes.RESOLVED:
            self.number(codes.VOLUME, 0.0, "mm3", time=self.now, who=lesion.tracking)
            for code in (codes.LONG, codes.SHORT, codes.MEAN_DIAMETER):
                self.number(code, 0.0, "mm", time=self.now, who=lesion.tracking)

    def whole(self, *, drawn: bool, baseline: float | None, nadir: float | None) -> None:
        result, matched = self.result, self.result.matched
        first = len(self.found)
        if result.complete:
            volumes = [sum(l.size.volume for l in s) for s in (result.before, result.after)]
            spreads = [
                sum(l.size.volume_spread**2 for l in s) ** 0.5
                for s in (result.before, result.after)
            ]
            self.number(codes.BURDEN, volumes[0], "mm3", spreads[0], time=self.then)
            self.number(codes.BURDEN, volumes[1], "mm3", spreads[1], time=self.now)
            if volumes[0] > 0 and result.comparable:
                change = 100 * (volumes[1] / volumes[0] - 1)
                self.number(codes.BURDEN_CHANGE, change, "%", time=self.now)
        s = result.sums
        if s.targets:
            start = s.prior if baseline is None else baseline
            least = min(v for v in (s.prior, start, nadir) if v is not None)
            self.number(codes.SUM, s.prior, "mm", s.prior_spread, time=self.then)
            self.number(codes.SUM_BASELINE, start, "mm", time=self.now)
            self.number(codes.SUM_NADIR, least, "mm", time=self.now)
            if s.now is not None and s.remaining is not None:
                self.number(codes.SUM, s.now, "mm", s.now_spread, time=self.now)
                self.number(codes.SUM_CHANGE, 100 * (s.now / start - 1), "%", time=self.now)
                self.number(codes.REMAINING, s.remaining, "1", time=self.now)
        # The map shows what may be new; that nothing is new only a reader can say.
        if drawn:
            self.number(codes.NEW_COUNT, len(matched.new), "1", time=self.now)
        if s.others is not None:
            self.label(codes.OTHERS[s.others], self.sure, _OTHERS[s.others])
        names = ["recist-1.1"] if s.targets else []
        if result.current.modality == "PT":
            for code, value, unit, time in uptake(result):
                self.number(code, value, unit, time=self.then if time == "then" else self.now)
                names += [] if "percist-1.0" in names else ["percist-1.0"]
        known = self.found[first:]
        for name in names:
            for answer in decide(load(name), known):
                self.label(answer.concept, answer.confidence * self.sure, answer.text)


def _told(before: Lesion, after: Lesion, c: Change) -> str:
    words = {"grown": "has grown", "shrunk": "has shrunk", "stable": "is unchanged"}
    limit = f"{'within' if c.course == 'stable' else 'beyond'} {SURE:g} times the uncertainty of"
    return (
        f"{before.name}: {words[c.course]}. Volume {before.size.volume:.0f} to "
        f"{after.size.volume:.0f} mm3, {c.volume:+.1f} % ({limit} {c.volume_spread:.1f} %); "
        f"long axis {before.size.long:.1f} to {after.size.long:.1f} mm"
    )
