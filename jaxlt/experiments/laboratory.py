"""The laboratory: worlds of made languages and their backbones, which studies share."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Laboratory:
    """How large its worlds and models are."""

    sentences: int = 20_000
