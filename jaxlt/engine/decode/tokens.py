"""Decoding among some tokens alone: those of the language that is asked for.

constraint = among([tokens_of_swahili, tokens_of_turkish])       # batch["label_set"] picks
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jaxlt.engine.decode.config import EOS
from jaxlt.engine.decode.trie import PAD, Trie
from jaxlt.errors import UserError


def among(sets: Sequence[Sequence[int] | np.ndarray], end: int = EOS) -> Trie:
    """Makes the Trie by which a row has tokens of its set alone, any number of them, or ends.

    It has a node a set, and all its tokens lead back to it. Sets are rounded up in size to powers
    of two, so that those of about one size share a compilation.
    """
    kept = []
    for s, ids in enumerate(sets):
        tokens = np.unique(np.asarray(ids, np.int64))
        if not len(tokens) or tokens[0] <= PAD:
            raise UserError(
                f"Set {s} of the tokens to decode among has {len(tokens)} tokens, the first "
                f"{tokens[0] if len(tokens) else 'none'}: it needs one or more, and no padding."
            )
        kept.append(np.union1d(tokens, [end]))
    if not kept:
        raise UserError("Decoding among some tokens needs at least one set of them; got none.")
    width = 1 << (max(map(len, kept)) - 1).bit_length()
    table = np.full((len(kept), width), -1, np.int32)
    for row, tokens in zip(table, kept, strict=True):
        row[: len(tokens)] = tokens
    nodes = np.broadcast_to(np.arange(len(kept), dtype=np.int32)[:, None], table.shape)
    return Trie(jnp.asarray(table), jnp.asarray(nodes), len(kept), 1)
