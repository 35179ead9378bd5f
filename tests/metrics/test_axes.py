import pytest

from jaxlt.errors import UserError
from jaxlt.metrics.axes import axis_of, cell_of, check_axis
from jaxlt.metrics.result import Result


def row(**fields) -> Result:
    return Result(**{"metric": "accuracy", "value": 0.5, "n": 10} | fields)


def test_a_cell_has_axes_by_the_last_part_of_their_names() -> None:
    cell = "languages=4,mad_x.width=64,rate=3e-4,modules=x_mod"
    assert cell_of(cell) == {"languages": 4, "width": 64, "rate": 3e-4, "modules": "x_mod"}
    assert cell_of("", {"mad_x.depth": 2}) == {"depth": 2}
    assert cell_of("depth=4", {"depth": 2}) == {"depth": 4}
    assert cell_of("all") == {}


def test_an_axis_is_of_the_cell_a_field_a_setting_or_a_detail() -> None:
    one = row(cell="languages=8", method="shared", target="glv", settings=(("layer", "3"),))
    assert axis_of(one, "languages") == 8
    assert axis_of(one, "log2 languages") == 3.0
    assert axis_of(one, "method") == "shared"
    assert axis_of(one, "language") == "glv"
    assert axis_of(one, "layer") == 3
    assert axis_of(row(details={"layer": 5}), "layer") == 5
    assert axis_of(one, "width") is None
    assert axis_of(one, "width", {"width": 64}) == 64
    assert axis_of(row(), "method") is None  # at its default


def test_an_axis_that_no_row_has_is_named() -> None:
    rows = [row(cell="languages=8", details={"depth": 3})]
    check_axis("log2 languages", rows)
    with pytest.raises(UserError, match=r"'langages'\. Did you mean 'languages'"):
        check_axis("log2 langages", rows)
    with pytest.raises(UserError, match="'log2 NAME' or 'log10 NAME', not 'ln languages'"):
        axis_of(rows[0], "ln languages")
    with pytest.raises(UserError, match="needs numbers above 0"):
        axis_of(row(cell="languages=many"), "log2 languages")
