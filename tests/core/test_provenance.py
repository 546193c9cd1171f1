import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somascope.core import Provenance, Source, Step, errors
from somascope.core.progress import QUIET, Progress

text = st.text(max_size=20)
values = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-1, 1) | text
records = st.builds(
    Provenance,
    st.lists(st.builds(Source, text, text, st.lists(text, max_size=3).map(tuple), text), max_size=3)
    .map(tuple),
    st.lists(
        st.builds(Step, text, st.dictionaries(text, values | st.lists(values, max_size=3)),
                  st.lists(text, max_size=3).map(tuple), text, text),
        max_size=3,
    ).map(tuple),
)  # fmt: skip


@given(records)
@settings(max_examples=60, deadline=None)
def test_the_record_survives_json(record):
    assert Provenance.from_json(record.to_json()) == record


def test_equal_records_are_equal_text_whatever_the_order_of_keys():
    a = Provenance(steps=(Step("x", {"a": 1, "b": 2}),))
    b = Provenance(steps=(Step("x", {"b": 2, "a": 1}),))
    assert a.to_json() == b.to_json()
    assert json.loads(a.to_json())["steps"][0]["operation"] == "x"


def test_steps_are_added_at_the_end_of_a_new_record():
    first = Provenance((Source("file", "a.nii"),))
    second = first.then(Step("x")).then(Step("y"))
    assert first.steps == ()
    assert [s.operation for s in second.steps] == ["x", "y"]
    assert second.sources == first.sources


def test_every_error_has_the_one_root():
    kinds = [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, Exception)]
    assert len(kinds) >= 13
    assert all(issubclass(k, errors.SomascopeError) for k in kinds)
    assert issubclass(errors.ParameterError, ValueError)
    assert issubclass(errors.NotFound, LookupError)
    assert issubclass(errors.CorruptFile, errors.ReadError)


def test_progress_over_items():
    said = []
    items = list(Progress(lambda f, m: said.append((f, m))).over("abcd", "reading"))
    assert items == list("abcd")
    assert [f for f, _ in said] == [0, 0.25, 0.5, 0.75, 1.0]
    assert {m for _, m in said} == {"reading"}
    assert list(QUIET.over(iter([1, 2]))) == [1, 2]


def test_progress_is_kept_in_range_and_stops_between_items():
    said = []
    Progress(lambda f, _: said.append(f))(7.0)
    assert said == [1.0]
    done = []

    def work():
        for item in Progress(None, lambda: len(done) == 2).over(range(9)):
            done.append(item)  # noqa: PERF402

    with pytest.raises(errors.Cancelled):
        work()
    assert done == [0, 1]
