"""A language adversary: `LossConfig.auxiliary = [@Adversary()]`, `Adversary.languages = 88`."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax.linen import initializers

from jaxlt.engine.loss.pairs import token_means
from jaxlt.engine.open import Auxiliary
from jaxlt.errors import UserError, check_least
from jaxlt.models.config import BiLSTMConfig
from jaxlt.models.init import Leaf

_FAN_IN = initializers.lecun_normal()


@dataclasses.dataclass(frozen=True)
class Adversary(Auxiliary):
    """A linear classifier of each row's language, on the mean of the states of its tokens.

    It learns to tell languages, and what it reads learns the opposite (Ganin et al., 2016): its
    gradient goes on into the network reversed. `adversary/correct`: how often it is right.

    languages: how many it tells apart, at least those of the data.
    reversal: what the reversed gradient is multiplied by; at 0 the classifier learns and the
        network hears nothing of it.
    """

    languages: int = 0
    reversal: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, 2, "languages")
        check_least(self, 0, "reversal")

    def check(self, model: Any) -> None:
        """It reads the states of tokens."""
        if isinstance(model, BiLSTMConfig):
            raise UserError(
                "Adversary reads the states of an encoder's tokens, and a BiLSTM reads words: take "
                "a T5Config."
            )

    def check_languages(self, languages: Sequence[str]) -> None:
        """Each language of the data is a class."""
        if len(languages) > self.languages:
            raise UserError(
                f"Adversary.languages is {self.languages}, and the data has {len(languages)} "
                f"({', '.join(languages)}): set it to {len(languages)} or more."
            )

    def leaves(self, model: Any) -> Mapping[str, Leaf]:
        """The classifier: kernel [D, languages], bias [languages]."""
        shape = (model.emb_dim, self.languages)
        return {
            "kernel": Leaf(shape, ("embed", None), _FAN_IN),
            "bias": Leaf(shape[1:], (None,), initializers.zeros),
        }

    def __call__(
        self, network: Any, params: dict[str, Any], batch: Mapping[str, jax.Array], key: Any
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        language = batch.get("language")
        if language is None or language.ndim != 1:
            raise UserError(
                "Adversary tells the language of whole rows, and the batch's rows have "
                f"{'none' if language is None else 'one a token'}: set DataConfig.packing = 'none'."
            )
        if "encoder_segment_ids" in batch:
            raise UserError(
                "Adversary reads one text a row, and these rows are packed: set "
                "DataConfig.packing = 'none'."
            )
        mean = token_means(network.states(params, batch, key), batch)
        fixed = jax.lax.stop_gradient(mean)
        own = network.own(self, params)
        logits = (fixed - self.reversal * (mean - fixed)) @ own["kernel"] + own["bias"]
        # A number beyond the languages gives NaN, which a run does not pass over.
        right = jnp.take_along_axis(logits, language[:, None], axis=1, mode="fill")[:, 0]
        there = jnp.any(batch["encoder_input_tokens"] > 0, axis=1)
        lost = jnp.where(there, jax.nn.logsumexp(logits, axis=1) - right, 0.0)
        hits = there & (jnp.argmax(logits, axis=1) == language)
        return jnp.sum(lost), {
            "weight_sum": jnp.sum(there.astype(jnp.float32)),
            "correct": jnp.sum(hits.astype(jnp.float32)),
        }
