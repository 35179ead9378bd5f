"""A trained run as a Python object, for notebooks and scripts.

import jaxlt
model = jaxlt.load("runs/task", modules="lang=swh_Latn", library="library")
model.tag([["Habari", "yako", "?"]])
"""

import argparse
import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlt.data import text_forms
from jaxlt.errors import UserError

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.data.vocabularies import Vocabulary
    from jaxlt.engine.predictor import Predictor


@dataclasses.dataclass(frozen=True)
class Model:
    """What `load` opens. Answers come in the order of what is asked.

    A word list is a sentence that is tokenised already. `language` is that of the texts, needed
    where modules go by it and no `modules` of one language were given to `load`.
    """

    run: "RunConfig"
    predictor: "Predictor"
    vocabulary: "Vocabulary"

    def generate(
        self, texts: Iterable[str], language: str | None = None, length: int | None = None
    ) -> list[str]:
        """Texts in, what the model writes out; greedy."""
        from jaxlt.commands import session
        from jaxlt.commands.infer import codec_of

        inputs, targets = session.lengths(self.run)
        texts = list(texts)
        return self.predictor.decode_texts(
            texts,
            codec_of(self.run, self.vocabulary),
            inputs_length=inputs,
            length=length or targets,
            languages=self._languages(language, len(texts)),
        )

    def tag(self, sentences: Sequence[Sequence[str]], language: str | None = None) -> list[Any]:
        """Parts of speech: word lists in, a tuple of as many tags out for each."""
        asked = [f"pos: {text_forms.words_text(words)}" for words in sentences]
        answers = self.generate(asked, language)
        return [
            text_forms.tags_from(answer, len(words))
            for answer, words in zip(answers, sentences, strict=True)
        ]

    def parse(self, sentences: Sequence[Sequence[str]], language: str | None = None) -> list[Any]:
        """Dependency trees: word lists in, (heads, relations) out for each; 0 is the root."""
        asked = [f"parse: {text_forms.words_text(words)}" for words in sentences]
        answers = self.generate(asked, language)
        return [
            text_forms.arcs_from(answer, len(words))
            for answer, words in zip(answers, sentences, strict=True)
        ]

    def translate(
        self, texts: Iterable[str], target: str, language: str | None = None
    ) -> list[str]:
        """Texts in, their translations into `target` out, by the tag that the run trained with."""
        tag = self.run.data.tag.replace("{target}", target)
        return self.generate([f"{tag}{text}" for text in texts], language)

    def score(self, pairs: Sequence[tuple[str, str]], language: str | None = None) -> list[float]:
        """Log-probability (nats) of each target text given its input."""
        from jaxlt.commands import session
        from jaxlt.engine.predictor import encode

        inputs, targets = session.lengths(self.run)
        sides = [
            [encode(self.vocabulary, text, limit, what=f"Pair {i}")[0] for i, text in enumerate(of)]
            for of, limit in zip(zip(*pairs, strict=True), (inputs, targets), strict=True)
        ]
        source, target = (
            _padded(rows, n) for rows, n in zip(sides, (inputs, targets), strict=True)
        )
        batch = {
            "encoder_input_tokens": source,
            "decoder_input_tokens": np.pad(target[:, :-1], ((0, 0), (1, 0))),
            "decoder_target_tokens": target,
            "decoder_loss_weights": (target > 0).astype(np.float32),
        }
        languages = self._languages(language, len(pairs))
        if languages is not None:
            batch["language"] = np.array(languages, np.int32)
        return (-self.predictor.score(batch)["row_nll"]).tolist()

    def _languages(self, language: str | None, count: int) -> list[int] | None:
        if language is None and self.predictor.is_routed:
            raise UserError(
                "This model's modules go by language: give `language`, one of "
                f"{', '.join(self.predictor.languages)}."
            )
        return None if language is None else [self.predictor.language_id(language)] * count


def _padded(rows: Sequence[np.ndarray], width: int) -> np.ndarray:
    out = np.zeros((len(rows), width), np.int32)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out


def load(
    workdir: str,
    step: int | str | None = None,
    modules: str | None = None,
    library: str | None = None,
    force_modules: bool = False,
) -> Model:
    """Opens the run in a workdir: its newest checkpoint, that of a step, or the 'best'.

    modules: of a library, as `jaxlt infer --modules` takes them: 'lang=swh_Latn,task=pos'.
    """
    from jaxlt.commands import trained

    args = argparse.Namespace(
        workdir=str(workdir),
        step=step,
        gin_file=[],
        gin_overrides=[],
        gin_search_paths=[],
        modules=modules,
        library=library,
        force_modules=force_modules,
    )
    run = trained.load(args)
    return Model(run, *trained.open_model(run, args))
