"""The grammar of effects, and of where they have to lie."""

import pytest

from jaxlt.errors import UserError
from jaxlt.experiments.effect import Arm, Term, parsed, rule_of


def test_sums_of_arms() -> None:
    assert parsed("@target-@source") == (Term(1.0, Arm("target")), Term(-1.0, Arm("source")))
    first, second, third = parsed("-0.5*@a.b[mad_x.width=64, task='pos'] + 1/4 * @mad-x + @c/d")
    assert first == Term(-0.5, Arm("a.b", (("width", ("64",)), ("task", ("pos",)))))
    assert (second.weight, second.arm.name, third.arm.name) == (0.25, "mad-x", "c/d")
    assert str(first.arm) == "@a.b[width=64, task=pos]"


def test_slopes_and_correlations() -> None:
    (one, two) = parsed("slope(@a[width=24|48], log2 curse.languages) - 2 * slope(@b, layer)")
    assert one == Term(1.0, Arm("a", (("width", ("24", "48")),)), "slope", None, "log2 languages")
    assert (two.weight, two.axis) == (-2.0, "layer")
    assert parsed("spearman(@a[x=1, y=2], @b)")[0].other == Arm("b")
    assert parsed("spearman(@a, languages)")[0].axis == "languages"
    assert parsed("spearman(@a, @b, languages)")[0].arms == (Arm("a"), Arm("b"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read from ''"),
        ("target - source", "cannot be read from 'target - source'"),
        ("@a @b", "cannot be read from '@b'"),
        ("@a - 3", "cannot be read from '3'"),
        ("@a[width]", r"\[width\] in it"),
        ("slop(@a, layer)", "'slop.*Did you mean 'slope'"),
        ("slope(@a)", "cannot be read"),
        ("slope(@a, @b, layer)", "cannot be read"),
        ("spearman(@a, @b, @c)", "cannot be read"),
        ("@a[x=best, y=best] - @b", "best of several"),
        ("slope(@a[x=best], y)", "best within slope"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parsed(text)


def test_where_an_interval_has_to_lie() -> None:
    assert rule_of("low > 0") == ("better", 0.0, True)
    assert rule_of("low>.02") == ("better", 0.02, True)
    assert rule_of("low > -0.01") == ("no worse", 0.01, True)
    assert rule_of("high < -0.1") == ("better", 0.1, False)
    assert rule_of("high < 0.1") == ("no worse", 0.1, False)
    assert rule_of("abs < 2e-2") == ("equal", 0.02, True)
    for wrong in ("low < 0", "mean > 0", "low > x", "abs < 0"):
        with pytest.raises(UserError, match=r"low > NUMBER|above 0"):
            rule_of(wrong)
