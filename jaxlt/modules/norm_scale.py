"""Tuning of norms: a learned scale after each norm, on top of the base's own."""

from typing import ClassVar

from jaxlt.modules.ia3 import IA3


class NormScale(IA3):
    """y * scale after each norm, starting at one: the plugged model starts as the plain one.

    D parameters a norm: 2 * D a layer of an encoder, 3 * D of a decoder, and D for the norm at the
    end of a stack. Without routes it can do what training the base's own norm scales does
    (`modules/norms.gin`); a bank of it gives every language or task its own.
    """

    places: ClassVar[tuple[str, ...]] = ("*_norm",)
