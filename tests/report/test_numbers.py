from jaxlt.report.numbers import chance_of, interval, number, plus_minus, spread


def test_numbers_have_a_true_minus_and_no_more_digits_than_are_known() -> None:
    assert [number(v) for v in (0.81237, -3.2, 1234.5, None, float("nan"), 2e-5, 45.678)] == [
        "0.812", "−3.200", "1,234", "–", "–", "2e-05", "45.68",
    ]  # fmt: skip
    assert number(0.0312, signed=True) == "+0.031"
    assert interval(-0.012, 0.05, signed=True) == "[−0.012, +0.050]"
    assert interval(None, 0.05) == ""
    assert plus_minus(0.812, 0.799, 0.825) == "0.812 ± 0.013"
    assert plus_minus(45.678, 45.0, 46.0) == "45.68 ± 0.50"  # as many decimals as the mean
    assert plus_minus(0.812, None, None) == "0.812"
    assert (spread([5, 5]), spread([5, 2])) == ("5", "2 to 5")
    assert (chance_of(0.0321), chance_of(3e-7)) == ("p = 0.032", "p < 0.001")
