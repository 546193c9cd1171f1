"""A plan carried to where the patient lies now, under known motion."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from somascope.acquire.rigid import centre_of, matrix
from somascope.analyze.guidance import Path, carried, clearance, codes
from somascope.analyze.guidance.guide import guide, guide_views
from somascope.analyze.register import apply, points
from somascope.core import Grid, Label, Mask, Measurement, Provenance, Segment, Source, Warp
from somascope.core.errors import GeometryError, ParameterError, Refused
from somascope.phantoms import thorax_ct
from somascope.testing import check_operation
from tests.analyze.register.pairs import pair, turned
from tests.analyze.register.rooms import POSE, radiographs

SIZE = {"shape": (40, 44, 36), "spacing": (3.5, 3.5, 3.5)}
ANGLES, SHIFT = (6, -8, 10), (9, -7, 8)
FACES = np.array([[4, 8, 8], [34, 10, 10], [20, 2, 30], [20, 40, 18], [8, 36, 28]])


def ball(grid, centre, radius):
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    return ((grid.to_world(index) - centre) ** 2).sum(axis=-1) <= radius**2


@pytest.fixture(scope="module")
def theatre():
    """The theatre's image, the planning image (same contrast), both of one bent and moved head."""
    return pair(angles=ANGLES, shift=SHIFT, bend=4.0, **SIZE)


def placed(made, x):
    """Where points of the theatre lie in the plan: the fixed-point inverse of the truth."""
    from scipy.ndimage import map_coordinates

    grid = made.fixed.grid
    y = np.array(x, float)
    for _ in range(40):
        at = grid.to_index(y).T
        way = np.stack([map_coordinates(w, at, order=1, mode="nearest") for w in made.way], -1)
        y = y + (x - (y + way))
    return y


@pytest.fixture(scope="module")
def plan(theatre):
    """In the planning frame: target, entry, and a vessel beside the path; with the truth."""
    grid = theatre.fixed.grid
    at = {"target": [22, 24, 20], "entry": [34, 12, 12], "vessel": [27, 22, 13]}
    here = {name: grid.to_world(index) for name, index in at.items()}
    there = {name: placed(theatre, p[None])[0] for name, p in here.items()}
    frame = theatre.moving.grid
    masks = {
        name: Mask(
            data=ball(frame, there[name], radius).astype(np.uint8), grid=frame,
            segments=(Segment(1, label),), provenance=Provenance((Source("file", name),)),
        )
        for name, label, radius in (("target", "Tumour", 7.0), ("vessel", "Vessel", 5.0))
    }  # fmt: skip
    return {"here": here, "there": there, **masks}


def run(theatre, plan, **more):
    results = guide(
        theatre.fixed, theatre.moving, plan["target"], plan["vessel"],
        entry=tuple(plan["there"]["entry"].tolist()), aim=tuple(plan["there"]["target"].tolist()),
        **more,
    )  # fmt: skip
    mask = next(r for r in results if isinstance(r, Mask))
    numbers = {r.concept: r for r in results if isinstance(r, Measurement)}
    (label,) = [r for r in results if isinstance(r, Label)]
    warp = next(r for r in results if isinstance(r, Warp))
    return mask, warp, numbers, label


def away(warp, plan, name="target"):
    """mm by which the carried point misses its true place in the theatre."""
    from somascope.analyze.register.evidence import home

    return float(np.linalg.norm(home(warp, plan["there"][name][None])[0] - plan["here"][name]))


def test_a_smooth_map_finds_the_target_that_a_rigid_one_misses(theatre, plan):
    _, stiff, _, _ = run(theatre, plan, by="rigid", accept=True)
    mask, bent, numbers, label = run(theatre, plan, by="bends")
    assert away(bent, plan) < 1.0 < away(stiff, plan)  # voxels of 3.5 mm
    shift = numbers[codes.SHIFT].value
    assert shift == pytest.approx(away(stiff, plan), abs=1.5)
    # The error that is told holds the error that there is.
    assert away(bent, plan) < numbers[codes.REACH].value
    assert numbers[codes.TRE].value < 3.5
    assert [s.label for s in mask.segments] == ["Tumour", "Path", "Target, 95 %", "Vessel"]
    middle = np.argwhere(mask.plane(1)).mean(axis=0)
    assert np.linalg.norm(mask.grid.to_world(middle) - plan["here"]["target"]) < 1.75
    assert mask.plane(2)[tuple(np.rint(mask.grid.to_index(plan["here"]["entry"])).astype(int))]
    assert "Registration: trusted." in label.text
    assert "Vessel" in label.text


def test_the_clearance_is_that_of_the_true_places(theatre, plan):
    _, _, numbers, label = run(theatre, plan, by="bends", radius=1.0, margin=3.0)
    here = plan["here"]
    path = Path.straight(here["entry"], here["target"], radius=1.0)
    t = np.linspace(0, 1, 2001)[:, None]
    way = here["entry"] + t * (here["target"] - here["entry"])
    truth = np.linalg.norm(way - here["vessel"], axis=1).min() - 5.0 - 1.0
    drawn = ball(theatre.fixed.grid, here["vessel"], 5.0)
    exact = clearance(path, drawn, theatre.fixed.grid)
    assert exact is not None
    assert exact.distance == pytest.approx(truth, abs=1.75)  # half a voxel
    got = numbers[codes.CLEARANCE]
    assert got.value == pytest.approx(truth, abs=2.5)
    assert got.tracking is not None
    assert got.tracking.name == "Vessel"
    assert got.uncertainty is not None
    breach = numbers[codes.BREACH].value / 100
    assert breach == pytest.approx(norm.cdf(-got.value / got.uncertainty), rel=1e-6)
    wanted = codes.HIT if got.value <= 0 else codes.NEAR if got.value < 3 else codes.CLEAR
    assert label.concept == wanted


def test_fiducials_alone_carry_and_say_how_surely(theatre):
    """A head that has only turned: the pairs tell all, and the error is theirs."""
    stiff = pair(angles=ANGLES, shift=SHIFT, **SIZE)
    grid = stiff.fixed.grid
    truth = Warp(matrix=np.linalg.inv(turned(grid, ANGLES, SHIFT)))
    rng = np.random.default_rng(1)
    here = grid.to_world(FACES)
    there = points(truth, here) + 0.5 / np.sqrt(3) * rng.standard_normal(here.shape)
    aim, entry = grid.to_world([[20, 22, 18], [34, 12, 12]])
    planned = points(truth, np.stack([aim, entry]))
    target = Mask(data=ball(stiff.moving.grid, planned[0], 6.0).astype(np.uint8),
                  grid=stiff.moving.grid, segments=(Segment(1, "Tumour"),))  # fmt: skip
    results = guide(
        stiff.fixed, stiff.moving, target, entry=tuple(planned[1].tolist()), by="fiducials",
        fiducials_here=tuple(here.ravel().tolist()), fiducials_plan=tuple(there.ravel().tolist()),
        fle=0.5, instrument=0.3,
    )  # fmt: skip
    numbers = {r.concept: r for r in results if isinstance(r, Measurement)}
    map_ = carried(stiff.fixed, stiff.moving, by="fiducials", fiducials=(here, there), fle=0.5)
    assert map_.fiducials is not None
    told = np.hypot(map_.fiducials.tre(map_.points(planned[0])), 0.3)
    assert numbers[codes.TRE].value == pytest.approx(told, rel=0.05)
    assert numbers[codes.FLE].value == 0.5
    assert numbers[codes.FRE].value == pytest.approx(map_.fiducials.fre)
    found = map_.points(planned[0])
    assert np.linalg.norm(found - aim) < numbers[codes.REACH].value
    assert codes.MISFIT not in numbers
    label = next(r for r in results if isinstance(r, Label))
    assert label.concept == codes.CLEAR
    assert "No critical structure was given." in label.text


def test_a_pair_of_radiographs_carries_the_plan_into_the_room():
    grid = Grid.from_spacing((48, 60, 72), (6.0, 6.0, 6.0), origin=(-213.0, -177.0, -141.0))
    ct = thorax_ct(grid)
    m = matrix(POSE, centre_of(grid))
    aim, entry = np.array([0.0, 40.0, 10.0]), np.array([30.0, 110.0, 15.0])
    target = Mask(data=ball(grid, aim, 15.0).astype(np.uint8), grid=grid,
                  segments=(Segment(1, "Vertebra"),))  # fmt: skip
    canal = Mask(data=ball(grid, [-40.0, 70.0, 10.0], 12.0).astype(np.uint8), grid=grid,
                 segments=(Segment(1, "Canal"),))  # fmt: skip
    views = radiographs(ct, ["PA", "LL"])
    given = {"entry": tuple(entry.tolist()), "aim": tuple(aim.tolist()), "radius": 3.0}
    results = guide_views(views, ct, target, canal, **given)
    mask, warp = results[0], results[1]
    assert isinstance(mask, Mask)
    assert isinstance(warp, Warp)
    home = np.linalg.solve(m, np.append(aim, 1.0))[:3]
    numbers = {r.concept: r.value for r in results if isinstance(r, Measurement)}
    middle = mask.grid.to_world(np.argwhere(mask.plane(1)).mean(axis=0))
    assert np.linalg.norm(middle - home) < 2.5
    there = np.linalg.solve(warp.matrix, np.append(aim, 1.0))[:3]
    assert np.linalg.norm(there - home) < max(numbers[codes.REACH], 1.5)  # voxels of 6 mm
    assert numbers[codes.LENGTH] == pytest.approx(np.linalg.norm(aim - entry), abs=0.01)
    # Rigid: the clearance is that of the plan.
    planned = clearance(Path.straight(entry, aim, radius=3.0), canal.plane(1), grid)
    assert planned is not None
    assert numbers[codes.CLEARANCE] == pytest.approx(planned.distance, abs=0.01)


def test_what_is_not_to_be_trusted_is_refused(theatre, plan):
    noise = np.random.default_rng(0).standard_normal(theatre.fixed.shape).astype(np.float32)
    other = replace(theatre, fixed=theatre.fixed.with_data(noise))
    with pytest.raises(Refused, match="nothing is carried through this registration"):
        run(other, plan, by="rigid")
    with pytest.raises(ParameterError, match="needs the points in the theatre"):
        run(theatre, plan, by="fiducials")
    with pytest.raises(ParameterError, match="in one frame"):
        run(theatre, plan, by="fiducials", fiducials_here=(1.0, 2.0, 3.0))
    with pytest.raises(ParameterError, match="the same ones in the same order"):
        run(theatre, plan, fiducials_here=(0.0,) * 9, fiducials_plan=(0.0,) * 12)


def test_what_agrees_as_a_whole_is_refused_where_the_target_has_moved():
    """One place has sunk by 10 mm: a rigid map is right for a target far from it, not in it."""
    made = pair(**SIZE)
    grid = made.fixed.grid
    sunk, far = grid.to_world([[20, 24, 24], [12, 24, 12]])
    world = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))
    share = np.exp(-((world - sunk) ** 2).sum(axis=-1) / (2 * 20.0**2))
    dent = np.stack([share * c for c in (0.0, 0.0, 10.0)]).astype(np.float32)
    bent = Warp(matrix=np.eye(4), grid=grid, displacement=dent)
    theatre = replace(made.fixed, data=apply(made.fixed, bent, grid).data)
    entry = tuple(grid.to_world([36, 22, 18]).tolist())

    def carry(place):
        target = Mask(data=ball(grid, place, 7.0).astype(np.uint8), grid=grid,
                      segments=(Segment(1, "Tumour"),))  # fmt: skip
        return guide(theatre, made.fixed, target, entry=entry)

    label = next(r for r in carry(far) if isinstance(r, Label))
    assert "Registration: trusted." in label.text
    with pytest.raises(Refused, match="at the target the images agree better when shifted"):
        carry(sunk)


def test_a_target_outside_the_image_is_told(theatre, plan):
    small = theatre.fixed.crop(start=(0, 0, 0), stop=(16, 44, 36))
    with pytest.raises((GeometryError, ParameterError), match="outside the image of the theatre"):
        run(replace(theatre, fixed=small), plan, by="rigid", accept=True)


def test_five_doors():
    made = pair(shift=(4, 0, 0), shape=(20, 24, 22), spacing=(6.0, 6.0, 6.0))
    grid = made.fixed.grid
    target = Mask(data=ball(grid, grid.to_world([10, 12, 11]), 14.0).astype(np.uint8), grid=grid,
                  segments=(Segment(1, "Tumour"),))  # fmt: skip
    marks = grid.to_world(np.array([[4, 4, 4], [16, 5, 5], [5, 20, 6], [6, 6, 18]]))
    entry = grid.to_world([18, 6, 6])
    check_operation(
        "analyze.guide", inputs=(made.fixed, made.moving, target, target),
        params={
            "entry": tuple(entry.tolist()), "by": "fiducials",
            "fiducials_here": tuple((marks + np.array([4, 0, 0])).ravel().tolist()),
            "fiducials_plan": tuple(marks.ravel().tolist()),
        },
    )  # fmt: skip


def test_five_doors_of_the_views():
    grid = Grid.from_spacing((24, 30, 36), (12.0, 12.0, 12.0), origin=(-210.0, -174.0, -138.0))
    ct = thorax_ct(grid)
    target = Mask(data=ball(grid, [0.0, 0.0, 0.0], 30.0).astype(np.uint8), grid=grid,
                  segments=(Segment(1, "Target"),))  # fmt: skip
    check_operation(
        "analyze.guide_views",
        inputs=(radiographs(ct, ["PA", "LL"], np.zeros(6)), ct, target),
        params={"entry": (40.0, 90.0, 10.0), "turn": 0.0},
    )


def test_ultrasound_of_the_theatre():
    """Edges and speckle instead of tissue values: found by what contrasts have in common."""
    made = pair(angles=(4, -3, 5), shift=(5, -4, 3), **SIZE)
    grid = made.fixed.grid
    rng = np.random.default_rng(5)
    edges = np.sqrt(sum(g**2 for g in np.gradient(made.fixed.data)))
    echo = edges / edges.max() + 0.15 * made.fixed.data
    speckle = rng.rayleigh(0.8, size=grid.shape)
    seen = replace(made.fixed.with_data((echo * speckle).astype(np.float32)), modality="US")
    map_ = carried(seen, made.moving, by="rigid", accept=True)
    aim = grid.to_world([[20, 22, 18]])
    planned = placed(made, aim)
    assert np.linalg.norm(map_.points(planned) - aim) < 3.5  # a voxel
    assert isinstance(apply(made.moving, Warp(matrix=map_.warp.matrix), grid).data, np.ndarray)
