"""Which backbone something was trained on: content hashes of the whole and of each of its stacks.

    mine = Fingerprint("81c0...", {"encoder": "5d2e...", "decoder": "f00b..."})
    mine.fits(other)  # of one backbone, or one is the encoder alone of the other

An encoder alone is the whole of a model without a decoder, so its hash is that of the encoder in an
encoder-decoder.
"""

import dataclasses
from collections.abc import Mapping

STACKS = ("encoder", "decoder")


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """Content hashes of a backbone, as `jaxlt.engine.checkpoint.fingerprint` makes them.

    parts: of each stack that it has, with the token embeddings; empty where they are not known
    (what was written before they were kept has the hash of the whole alone).
    """

    whole: str
    parts: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def fits(self, other: "Fingerprint") -> bool:
        """Says whether both are of one backbone, or one of a stack of the other."""
        return (
            self.whole == other.whole
            or self.whole in other.parts.values()
            or other.whole in self.parts.values()
        )

    @property
    def stacks(self) -> tuple[str, ...]:
        """The stacks that it has; both where that is not known."""
        return tuple(self.parts) or STACKS
