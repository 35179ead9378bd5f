"""Numbers as a reader sees them: a true minus, three decimals, no more digits than are known."""

import math
from collections.abc import Sequence


def number(value: float | None, signed: bool = False, like: float | None = None) -> str:
    """0.81237 -> '0.812', -32 -> '−32.00', 1234.5 -> '1,234', None -> '–'; signed: '+0.812'.

    like: another number whose decimals it has.
    """
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value)
    scale = abs(value if like is None else like)
    digits = 3 if scale < 10 else 2 if scale < 100 else 0
    text = f"{size:,.{digits}f}"
    if size and float(text.replace(",", "")) == 0:
        text = f"{size:.1g}"
    sign = "−" if value < 0 else "+" if signed and value > 0 else ""
    return sign + text


def interval(low: float | None, high: float | None, signed: bool = False) -> str:
    """'[0.012, 0.050]', or '' of what has none."""
    if low is None or high is None:
        return ""
    return f"[{number(low, signed)}, {number(high, signed)}]"


def plus_minus(mean: float | None, low: float | None, high: float | None) -> str:
    """'0.812 ± 0.013', or '0.812' of one seed."""
    if mean is None or low is None or high is None:
        return number(mean)
    return f"{number(mean)} ± {number((high - low) / 2, like=mean)}"


def spread(counts: Sequence[int]) -> str:
    """[5, 5] -> '5', [2, 5, 5] -> '2 to 5'."""
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def chance_of(p: float) -> str:
    """A p value: 0.0321 -> 'p = 0.032', 3e-7 -> 'p < 0.001'."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
