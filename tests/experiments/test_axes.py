"""Cells out of axes."""

import pytest

from jaxlt.errors import UserError
from jaxlt.experiments.axes import Axes, condition


def names(axes: Axes) -> list[str]:
    return [cell.name for cell in axes.cells()]


def test_crossed_zipped_and_one_at_a_time() -> None:
    axes = Axes(cross={"a.n": [1, 2]}, zip={"a.x": ["p", "q"], "b.y": [3, 4]}, seeds=1)
    assert names(axes) == ["n=1,x=p,y=3", "n=1,x=q,y=4", "n=2,x=p,y=3", "n=2,x=q,y=4"]
    varied = Axes(cross={"n": [1, 2]}, vary={"width": [24, 96], "frozen": [True]}, seeds=1)
    assert names(varied)[:4] == ["n=1", "n=1,width=24", "n=1,width=96", "n=1,frozen=True"]
    at_base = [cell.name for cell in varied.cells({"width": 96, "frozen": False})]
    assert at_base[:3] == ["n=1", "n=1,width=24", "n=1,frozen=True"]  # and not 96 twice


def test_seeds_come_in_order_and_conditions_leave_cells_out() -> None:
    axes = Axes(
        cross={"n": [1, 2, 4]},
        vary={"width": [24]},
        where="varied == '' or (seed < 1 and n in (1, 4))",
        seeds=2,
    )
    assert [(cell.name, cell.seed) for cell in axes.cells()] == [
        *(("n=1", 0), ("n=1,width=24", 0), ("n=2", 0), ("n=4", 0), ("n=4,width=24", 0)),
        *(("n=1", 1), ("n=2", 1), ("n=4", 1)),
    ]
    assert Axes(seeds=(3, 7)).cells()[1] == ("all", (), 7)


def test_an_axis_that_comes_later_leaves_old_cells_their_names() -> None:
    before = names(Axes(cross={"n": [1, 2]}, seeds=1))
    later = Axes(cross={"n": [1, 2], "m.width": [64, 96]}, added={"m.width": 64}, seeds=1)
    assert names(later) == [before[0], "n=1,width=96", before[1], "n=2,width=96"]


def test_lists_and_paths_make_names_of_folders() -> None:
    axes = Axes(cross={"arms": [["x", "y"], []], "from": ["a/b c"]}, seeds=1)
    assert names(axes) == ["arms=x+y,from=a_b_c", "arms=none,from=a_b_c"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cross": {"a.n": [1], "b.n": [2]}}, "Two axes .* called 'n'"),
        ({"cross": {"n": 3}}, "'n' .* needs a list"),
        ({"zip": {"a": [1], "b": [1, 2]}}, "equally long.*a: 1, b: 2"),
        ({"added": {"width": 3}, "cross": {"widths": [3]}}, "no axis.*'widths'"),
        ({"seeds": 0}, "seeds is a number from 1"),
        ({"seeds": (1, 1)}, "different seeds"),
    ],
)
def test_what_is_wrong_is_named(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Axes(**settings)


def test_conditions_say_what_they_do_not_know() -> None:
    assert condition("not (n > 2) and 1 <= n < -(-3)")({"n": 2})
    for text, message in (
        ("m < 3", "speaks of 'm'.*There is|there is n"),
        ("n +", "cannot be read"),
        ("n.__class__ == 3", "n.__class__"),
        ("f(n)", "'f\\(n\\)' in it"),
        ("n < 'a'", "compares 2 with 'a', which have no order"),
        ("3 in n", "compares 3 with 2"),
        ("n is 2", "compares by ==, !="),
    ):
        with pytest.raises(UserError, match=message):
            condition(text)({"n": 2})
    with pytest.raises(UserError, match="No cell is left"):
        Axes(cross={"n": [1]}, where="n > 1").cells()
