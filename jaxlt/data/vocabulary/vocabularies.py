"""Text to token ids and back: bytes as ByT5 has them, or a SentencePiece model as mT5's.

    open_vocabulary(VocabularyConfig()).encode("Hi") -> [75, 108]        (id = byte + 3)

pad is 0, eos 1, unk 2. Sentinels, which stand for spans in span corruption, follow a convention:

- 'reuse': the highest ids of the vocabulary itself, downwards, as T5X does in pretraining. Bytes:
  258, 257, ... (259 ids); mT5's model: 250099 and down, which are its `<extra_id_0>`, ...
- 'extra': ids above the vocabulary. Bytes: 259, 260, ... to 383, as Hugging Face's ByT5 tokenizer
  numbers `<extra_id_0>` on (384 ids); SentencePiece: 100 more, the highest first, as T5's tasks.
"""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from jaxlt.data.sources import files
from jaxlt.errors import UserError, check_choices, nearest

PAD, EOS, UNK = 0, 1, 2
_OFFSET = 3  # byte b is id b + 3
_BYTE_EXTRA, _PIECE_EXTRA = 125, 100
_ROW_MULTIPLE = 128  # embedding rows of the public checkpoints: 259 -> 384, 250100 -> 250112

Kind = Literal["bytes", "sentencepiece"]
Sentinels = Literal["reuse", "extra"]


@dataclass(frozen=True)
class VocabularyConfig:
    """Which vocabulary: `path` is the SentencePiece model file (local or gs://)."""

    kind: Kind = "bytes"
    path: str = ""
    sentinels: Sentinels = "reuse"

    def __post_init__(self) -> None:
        check_choices(self, "A vocabulary's ", kind=Kind, sentinels=Sentinels)
        if self.kind == "sentencepiece" and not self.path:
            raise UserError("A SentencePiece vocabulary needs the path of its model file.")


class Vocabulary:
    """What both kinds have in common; make one with open_vocabulary."""

    config: VocabularyConfig
    fingerprint: str
    size: int  # ids 0 .. size-1 exist
    byte_lengths: np.ndarray  # [size] int32: bytes of text that an id spells
    unknown_ids: np.ndarray  # [size] bool: unk, and the bytes that a piece model falls back on
    text_ids: tuple[int, int]  # [low, high): ids that may occur in text
    ordinary_ids: np.ndarray  # int32: those of them that spell text as a rule, in any of it

    @property
    def rows(self) -> int:
        """Embedding rows that a model of this vocabulary has: the size, rounded up."""
        rounded = -(-self.size // _ROW_MULTIPLE) * _ROW_MULTIPLE
        return max(rounded, 384) if self.config.kind == "bytes" else rounded

    def encode(self, text: str | bytes) -> np.ndarray:
        """Returns the ids [n] int32 of a text, without eos."""
        raise TypeError("open_vocabulary makes vocabularies that encode")

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Returns the text of ids; pad, eos and ids beyond the text's are left out."""
        raise TypeError("open_vocabulary makes vocabularies that decode")

    def spell(self, ids: Sequence[int] | np.ndarray) -> str:
        """Returns what ids spell where they stand: as decode, but with the spaces at the ends.

        Bytes that are no whole letter show as U+FFFD.
        """
        raise TypeError("open_vocabulary makes vocabularies that spell")

    def sentinels(self, count: int) -> np.ndarray:
        """Returns the ids [count] int32 of the first `count` sentinels."""
        extra = self.config.sentinels == "extra"
        available = self.size - _OFFSET
        if extra:
            available = _BYTE_EXTRA if self.config.kind == "bytes" else _PIECE_EXTRA
        if count > available:
            raise UserError(
                f"A row needs {count} sentinels, but this vocabulary has {available} "
                f"(sentinels='{self.config.sentinels}'). Make rows shorter (inputs_length) or "
                "spans longer (mean_span)."
            )
        first = self.size - 1
        if extra and self.config.kind == "bytes":
            return np.arange(_OFFSET + 256, _OFFSET + 256 + count, dtype=np.int32)
        return np.arange(first, first - count, -1, dtype=np.int32)

    def byte_length(self, ids: Sequence[int] | np.ndarray) -> int:
        """Returns how many bytes of text the ids spell; special ids spell none."""
        return int(self.byte_lengths[np.asarray(ids, np.int64)].sum())

    def seqio(self) -> Any:
        """Returns the equal seqio.Vocabulary, for tasks."""
        raise TypeError("open_vocabulary makes vocabularies with a seqio form")


class Bytes(Vocabulary):
    """UTF-8 bytes, id = byte + 3; needs numpy alone."""

    def __init__(self, config: VocabularyConfig):
        self.config = config
        self.size = _OFFSET + 256 + (_BYTE_EXTRA if config.sentinels == "extra" else 0)
        recipe = f"bytes offset={_OFFSET} pad=0 eos=1 unk=2 sentinels={config.sentinels}"
        self.fingerprint = hashlib.sha256(recipe.encode()).hexdigest()
        self.unknown_ids = np.arange(self.size) == UNK
        self.byte_lengths = np.zeros(self.size, np.int32)
        self.byte_lengths[_OFFSET : _OFFSET + 256] = 1
        self.text_ids = (_OFFSET, _OFFSET + 0xF5)  # UTF-8 has no byte from 0xF5 on
        self.ordinary_ids = np.arange(*self.text_ids, dtype=np.int32)

    def encode(self, text: str | bytes) -> np.ndarray:
        data = text.encode("utf-8") if isinstance(text, str) else text
        return np.frombuffer(data, np.uint8).astype(np.int32) + _OFFSET

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return self._bytes(ids).decode("utf-8", errors="ignore")

    def spell(self, ids: Sequence[int] | np.ndarray) -> str:
        return self._bytes(ids).decode("utf-8", errors="replace")

    @staticmethod
    def _bytes(ids: Sequence[int] | np.ndarray) -> bytes:
        array = np.asarray(ids, np.int64)
        array = array[(array >= _OFFSET) & (array < _OFFSET + 256)] - _OFFSET
        return array.astype(np.uint8).tobytes()

    def seqio(self) -> Any:
        import seqio

        extra = _BYTE_EXTRA if self.config.sentinels == "extra" else 0
        return seqio.ByteVocabulary(extra_ids=extra)


class Pieces(Vocabulary):
    """A SentencePiece model file with pad 0, eos 1, unk 2."""

    def __init__(self, config: VocabularyConfig):
        self.config = config
        with files.open_bytes(config.path) as file:
            model = file.read()
        self._model = sentencepiece_of(model, config.path)
        special = self._model.pad_id(), self._model.eos_id(), self._model.unk_id()
        if special != (PAD, EOS, UNK):
            raise UserError(
                f"'{config.path}' has pad, eos and unk at {special}; jaxlt, as T5, wants "
                "(0, 1, 2): train the model with --pad_id=0 --eos_id=1 --unk_id=2 --bos_id=-1."
            )
        self._pieces = self._model.get_piece_size()
        self.size = self._pieces + (_PIECE_EXTRA if config.sentinels == "extra" else 0)
        sha = hashlib.sha256(model)
        sha.update(f"sentinels={config.sentinels}".encode())
        self.fingerprint = sha.hexdigest()
        self.byte_lengths = self._lengths()
        self.unknown_ids = np.arange(self.size) == UNK
        self.unknown_ids[: self._pieces] |= [self._model.is_byte(i) for i in range(self._pieces)]
        self.text_ids = (_OFFSET, self._pieces)
        # Sentinels, controls and unused pieces spell nothing; bytes stand in for unknown letters.
        spelling = (self.byte_lengths > 0) & ~self.unknown_ids
        self.ordinary_ids = np.flatnonzero(spelling).astype(np.int32)

    def _lengths(self) -> np.ndarray:
        lengths = np.zeros(self.size, np.int32)
        for i, piece in enumerate(self._model.id_to_piece(list(range(self._pieces)))):
            if piece[:1] == "<" and self._model.is_byte(i):
                lengths[i] = 1
            elif "<extra_id_" in piece or self._model.is_control(i) or self._model.is_unused(i):
                lengths[i] = 0
            else:  # the mark of a word's start stands for one space
                lengths[i] = len(piece.replace("\u2581", " ").encode("utf-8"))
        lengths[:_OFFSET] = 0
        return lengths

    def encode(self, text: str | bytes) -> np.ndarray:
        plain = text.decode("utf-8") if isinstance(text, bytes) else text
        return np.asarray(self._model.encode(plain, out_type=int), np.int32)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        array = np.asarray(ids, np.int64)
        kept = array[(array > EOS) & (array < self._pieces)]
        return str(self._model.decode(kept.tolist()))

    def spell(self, ids: Sequence[int] | np.ndarray) -> str:
        out = []
        for token in np.asarray(ids, np.int64).tolist():
            if token == UNK:
                out.append("\ufffd".encode())
            elif EOS < token < self._pieces and self._model.is_byte(token):
                out.append(bytes([int(self._model.id_to_piece(token)[1:-1], 16)]))  # <0xE2>
            elif EOS < token < self._pieces and self.byte_lengths[token]:
                out.append(self._model.id_to_piece(token).replace("\u2581", " ").encode())
        return b"".join(out).decode("utf-8", errors="replace")

    def seqio(self) -> Any:
        import seqio

        extra = _PIECE_EXTRA if self.config.sentinels == "extra" else 0
        return seqio.SentencePieceVocabulary(self.config.path, extra_ids=extra)


def sentencepiece_of(model: bytes, path: str) -> Any:
    """Returns SentencePiece's processor of the bytes of a model file."""
    import sentencepiece

    try:
        return sentencepiece.SentencePieceProcessor(model_proto=model)
    except (RuntimeError, ValueError, OSError) as err:
        raise UserError(f"'{path}' is not a SentencePiece model: {err}.") from None


@functools.lru_cache(maxsize=16)
def open_vocabulary(config: VocabularyConfig) -> Vocabulary:
    """Returns the vocabulary of a config; the model file is read once in a process."""
    return Bytes(config) if config.kind == "bytes" else Pieces(config)


def vocabulary_config(name: str, sentinels: Sentinels = "reuse") -> VocabularyConfig:
    """Returns the config for 'bytes', or for the path of a SentencePiece model."""
    if name == "bytes":
        return VocabularyConfig(sentinels=sentinels)
    if not files.exists(name):
        hint = nearest(name, ["bytes"])
        raise UserError(
            f"The vocabulary is 'bytes' or a SentencePiece model file, not '{name}'. "
            f"{files.missing(name)}{hint}"
        )
    return VocabularyConfig("sentencepiece", name, sentinels)
