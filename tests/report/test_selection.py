import numpy as np
import pytest
from scipy import stats

from jaxlt.errors import UserError
from jaxlt.report.selection import at_base, groups, mean_of, mean_over_seeds, select
from tests.report.rows import arms, row, sweep


def test_the_newest_finite_rows_of_single_languages_are_selected() -> None:
    old, new = row(target="glv", value=0.1), row(target="glv", value=0.2)
    rows = [
        old,
        row(target="sqi", value=float("nan")),
        row(aggregate="macro", group="all"),
        row(target="glv", method="baseline/majority"),
        row(target="glv", metric="f1"),
        new,
    ]
    assert select(rows, "accuracy") == [new]
    assert select(rows, "accuracy", methods=("baseline/majority",)) == [rows[3]]
    assert {r.cell for r in select(sweep(), "bpb", where="width=24,languages=2")} == {
        "languages=2,width=24"
    }


@pytest.mark.parametrize(
    "asked, message",
    [
        ({"metric": "acuracy"}, r"No row has the metric 'acuracy'\. Did you mean 'accuracy'"),
        ({"metric": "accuracy", "methods": ("targt",)}, "Did you mean 'target'"),
        ({"metric": "accuracy", "split": "dev"}, "There are rows of test"),
        ({"metric": "accuracy", "task": "parsing"}, "There are rows of tagging"),
        ({"metric": "accuracy", "where": "widht=3"}, "No row has the axis 'widht'"),
        ({"metric": "accuracy", "languages": ("deu",)}, r"languages \('deu',\)"),
    ],
)
def test_what_leaves_no_row_is_named(asked, message: str) -> None:
    with pytest.raises(UserError, match=message):
        select(arms({"target": 0.5}), **asked)


def test_rows_of_two_tasks_are_never_mixed() -> None:
    rows = [row(target="glv"), row(target="glv", task="parsing")]
    with pytest.raises(UserError, match="of the tasks parsing, tagging: one is to be named"):
        select(rows, "accuracy")
    assert select(rows, "accuracy", task="parsing") == rows[1:]
    by_language = [row(target="glv", task="tagging.glv"), row(target="sqi", task="tagging.sqi")]
    dev = row(target="glv", task="heads", split="validation")
    assert select([*by_language, dev], "accuracy") == by_language  # the test split is meant
    assert select(by_language, "accuracy", task="tagging.glv") == by_language


def test_axes_that_are_not_named_stay_at_their_base() -> None:
    rows = [row(target="glv", cell=cell) for cell in ("all", "width=24", "depth=4")]
    base = {"m.width": 48, "m.depth": 2}
    assert at_base(rows, {"depth"}, base) == [rows[0], rows[2]]
    assert at_base(rows, (), base) == rows[:1] and at_base(rows, (), None) == rows


def test_groups_come_in_the_order_of_numbers_and_of_appearance() -> None:
    rows = [row(method=m, cell=f"n={n}", target="glv") for n in (10, 2) for m in ("b", "a")]
    assert list(groups(rows, ("method", "n"))) == [("b", 2), ("b", 10), ("a", 2), ("a", 10)]
    assert list(groups(rows, ("", "n"))) == [("all", 2), ("all", 10)]


def test_means_are_over_seeds_of_means_over_languages() -> None:
    values = {0: (0.5, 0.7), 1: (0.6, 0.8), 2: (0.4, 0.9)}
    rows = [
        row(seed=s, target=t, value=v[at]) for s, v in values.items() for at, t in enumerate("ab")
    ]
    seeds = [np.mean(v) for v in values.values()]
    low, high = stats.t.interval(0.95, 2, np.mean(seeds), stats.sem(seeds))
    found = mean_over_seeds(rows)
    assert found.seeds == 3
    np.testing.assert_allclose(found[:3], (np.mean(seeds), low, high), rtol=1e-12)
    assert mean_of([0.3]) == (0.3, None, None, 1)


def test_two_rows_on_one_point_are_refused_with_what_they_differ_in() -> None:
    rows = [row(target="glv", cell="width=24"), row(target="glv", cell="width=48")]
    with pytest.raises(UserError, match=r"seed 0 and 'glv'.*cell \('width=24' and 'width=48'\)"):
        mean_over_seeds(rows)
