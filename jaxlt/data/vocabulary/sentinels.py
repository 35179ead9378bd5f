"""Text with sentinels in it, as people write and read it: "The <extra_id_0> sat on a mat".

A span-corruption model is asked with the sentinels its training put in the place of spans, and
answers with them. `SentinelText` turns such text to ids and back; numpy alone.
"""

import re

import numpy as np

from jaxlt.data.vocabulary.vocabularies import Vocabulary
from jaxlt.errors import UserError

_WRITTEN = re.compile(r"<extra_id_(\d+)>")


class SentinelText:
    """Text in which `<extra_id_0>` up to `<extra_id_{count-1}>` mean the vocabulary's sentinels.

    Bytes whose sentinels are 'reuse'd from the byte ids have fewer that no text can contain (11);
    `count` is cut to those.
    """

    def __init__(self, vocabulary: Vocabulary, count: int):
        ids = vocabulary.sentinels(count)
        if vocabulary.config.kind == "bytes":
            low, high = vocabulary.text_ids
            inside = (ids >= low) & (ids < high)
            ids = ids[: int(np.argmax(inside))] if inside.any() else ids
        self._vocabulary, self._ids = vocabulary, ids

    def encode(self, text: str) -> np.ndarray:
        """Returns ids [n] int32, without eos; a sentinel that the model has not is a UserError.
        With SentencePiece a word starts after each sentinel.
        """
        parts: list[np.ndarray] = []
        end = 0
        for match in _WRITTEN.finditer(text):
            number = int(match[1])
            if number >= len(self._ids):
                raise UserError(
                    f"The text has '{match[0]}', and this model's sentinels are <extra_id_0> to "
                    f"<extra_id_{len(self._ids) - 1}>."
                )
            if text[end : match.start()]:
                parts.append(self._vocabulary.encode(text[end : match.start()]))
            parts.append(self._ids[number : number + 1])
            end = match.end()
        if text[end:]:
            parts.append(self._vocabulary.encode(text[end:]))
        return np.concatenate(parts) if parts else np.zeros(0, np.int32)

    def decode(self, ids: np.ndarray) -> str:
        """Returns the text of ids, each sentinel written out; other special ids are left out."""
        ids = np.asarray(ids)
        numbers = {int(i): n for n, i in enumerate(self._ids)}
        out: list[str] = []
        start = 0
        for place in np.flatnonzero(np.isin(ids, self._ids)):
            out += [self._text(ids[start:place]), f"<extra_id_{numbers[int(ids[place])]}>"]
            start = int(place) + 1
        return "".join([*out, self._text(ids[start:])])

    def _text(self, ids: np.ndarray) -> str:
        """The text between sentinels; that of SentencePiece is set off by spaces, as words are."""
        text = self._vocabulary.decode(ids) if len(ids) else ""
        return f" {text} " if text and self._vocabulary.config.kind == "sentencepiece" else text
