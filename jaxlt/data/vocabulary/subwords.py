"""Segmentations of a SentencePiece model other than its best: BPE-dropout and subword sampling.

    sampler = SubwordSampler(vocabulary_config("spiece.model"), strength=0.1)
    sampler("Habari za leo", seed, row)                     # int32 ids; same arguments, same ids

SentencePiece's own sampling draws from a generator of the process whose stream depends on what was
drawn before, and on the version and platform; here every row has a stream of its own. BPE models
drop each merge with chance `strength` (Provilkov et al.: 0.1); unigram models draw from the lattice
with probabilities raised to `strength` (Kudo's alpha), as SentencePiece does.
"""

import functools
import heapq
import math
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator

import numpy as np

from jaxlt.data.rows.batches import stream
from jaxlt.data.sources import files
from jaxlt.data.vocabulary.vocabularies import UNK, VocabularyConfig, sentencepiece_of
from jaxlt.errors import UserError

SPACE = "\u2581"
_NORMAL, _USER, _BYTE = 1, 4, 6  # types of pieces in the model's protocol buffer
_UNIGRAM, _BPE = 1, 2
_UNKNOWN_PENALTY = 10.0
_REMEMBERED = 1 << 16  # words whose lattice is kept

Pieces = list[tuple[int, float]]  # (start, score) of the pieces that end in one place
Token = tuple[int, int, int]  # id, and the characters [start, stop) of the text


class SubwordSampler:
    """Text to ids, segmented at random; `strength` is the dropout (BPE) or alpha (unigram)."""

    def __init__(self, config: VocabularyConfig, strength: float = 0.1):
        if config.kind != "sentencepiece":
            raise UserError("Subword sampling needs a SentencePiece vocabulary; bytes have no way.")
        self._segmenter = open_segmenter(config.path)
        if self._segmenter.kind == _BPE and not 0 <= strength <= 1:
            raise UserError(f"BPE-dropout is a chance in [0, 1], not {strength}.")
        if not 0 <= strength < math.inf:
            raise UserError(f"The strength of subword sampling is at least 0, not {strength}.")
        self._strength = strength

    def __call__(self, text: str, seed: int, *place: int, inside: bool = False) -> np.ndarray:
        """Returns ids [n] int32, without eos: a function of the text, the seed and the place.

        `inside` says that the text begins within a word.
        """
        plain = self._segmenter.processor.normalize(text)
        if inside:
            plain = plain.removeprefix(SPACE)
        return np.array([number for number, _, _ in self.tokens(plain, seed, *place)], np.int32)

    def tokens(self, plain: str, seed: int, *place: int) -> list[Token]:
        """Returns the tokens of normalised text (spaces are '▁')."""
        draws = stream(seed, "subwords", *place).random(3 * len(plain)).tolist()
        return self._segmenter.sample(plain, iter(draws), self._strength)


@functools.lru_cache(maxsize=8)
def open_segmenter(path: str) -> "Segmenter":
    """Returns the segmenter of a model file; the file is read once in a process."""
    with files.open_bytes(path) as file:
        return Segmenter(file.read(), path)


class Segmenter:
    """The pieces of a unigram or BPE model, to segment normalised text in Python.

    `best` equals the library's encoding; it serves for parts of words, before which the library
    would put the mark of a word's start.
    """

    def __init__(self, model: bytes, path: str):
        from sentencepiece.sentencepiece_model_pb2 import ModelProto  # type: ignore[attr-defined]

        self.processor = sentencepiece_of(model, path)
        proto = ModelProto.FromString(model)
        self.kind = int(proto.trainer_spec.model_type)
        if self.kind not in (_UNIGRAM, _BPE):
            raise UserError(f"'{path}' is neither a unigram nor a BPE model of SentencePiece.")
        self._ids: dict[str, int] = {}
        self._scores: dict[str, float] = {}
        self._bytes: dict[int, int] = {}
        user: list[str] = []
        for number, piece in enumerate(proto.pieces):
            if piece.type in (_NORMAL, _USER):
                self._ids[piece.piece], self._scores[piece.piece] = number, piece.score
            if piece.type == _USER:
                user.append(piece.piece)
            if piece.type == _BYTE:
                self._bytes[int(piece.piece[3:5], 16)] = number
        self._longest = max(map(len, self._ids), default=1)
        normal = [p.score for p in proto.pieces if p.type == _NORMAL]
        self._unknown = min(normal, default=0.0) - _UNKNOWN_PENALTY
        for piece in user:  # the library prefers these to all others
            self._scores[piece] = len(piece.encode()) * max(normal, default=0.0) - 0.1
        inside = any(SPACE in piece.lstrip(SPACE) for piece in self._ids)
        # No piece runs over the start of a word, so words can be segmented, and kept, one by one.
        self._words = None if inside else re.compile(f"{SPACE}*[^{SPACE}]+|{SPACE}+")
        user.sort(key=len, reverse=True)
        self._given = re.compile(f"({'|'.join(map(re.escape, user))})") if user else None
        self._lattices: dict[str, list[Pieces]] = {}
        self._backward: dict[tuple[str, float], list[tuple[list[float], Pieces]]] = {}

    def best(self, text: str) -> list[int]:
        """Returns the ids of the best segmentation of normalised text (spaces are '▁')."""
        return [number for number, _, _ in self.best_tokens(text, 0, len(text))]

    def best_tokens(self, text: str, start: int, stop: int) -> list[Token]:
        """Returns the tokens of the best segmentation of text[start:stop].

        The bytes of a character that no piece has share its place.
        """
        cut = self._viterbi if self.kind == _UNIGRAM else self._merged
        surfaces = (s for word in self._chunks(text[start:stop]) for s in cut(word))
        return self._tokens(surfaces, start)

    def sample(self, text: str, draws: Iterator[float], strength: float) -> list[Token]:
        """Returns the tokens of a drawn segmentation; it takes at most 3 draws a character."""
        cut = self._drawn if self.kind == _UNIGRAM else self._merged
        surfaces = (s for word in self._chunks(text) for s in cut(word, draws, strength))
        return self._tokens(surfaces, 0)

    def _chunks(self, text: str) -> list[str]:
        return self._words.findall(text) if self._words else [text]

    def _tokens(self, surfaces: Iterable[str], place: int) -> list[Token]:
        """Returns the tokens of pieces and unknown characters from `place` on.

        A run of unknown characters is one unk, as the library has it.
        """
        out: list[Token] = []
        for surface in surfaces:
            begin, place = place, place + len(surface)
            number = self._ids.get(surface)
            if number is not None:
                out.append((number, begin, place))
            elif self._bytes:
                out += [(self._bytes[b], begin, place) for b in surface.encode("utf-8")]
            elif out and out[-1][0] == UNK:
                out[-1] = (UNK, out[-1][1], place)
            else:
                out.append((UNK, begin, place))
        return out

    def _lattice(self, word: str) -> list[Pieces]:
        known = self._lattices.get(word)
        if known is not None:
            return known
        size = len(word)
        ends: list[Pieces] = [[] for _ in range(size + 1)]
        for start in range(size):
            single = False
            for end in range(start + 1, min(start + self._longest, size) + 1):
                piece = word[start:end]
                if piece in self._ids:
                    ends[end].append((start, self._scores[piece]))
                    single = single or end == start + 1
            if not single:
                ends[start + 1].append((start, self._unknown))
        if len(self._lattices) < _REMEMBERED:
            self._lattices[word] = ends
        return ends

    def _viterbi(self, word: str) -> list[str]:
        ends = self._lattice(word)
        score = [0.0] + [-math.inf] * len(word)
        came = [0] * (len(word) + 1)
        for end in range(1, len(word) + 1):
            for start, value in ends[end]:
                if score[start] + value > score[end]:
                    score[end], came[end] = score[start] + value, start
        steps, end = [], len(word)
        while end:
            steps.append(word[came[end] : end])
            end = came[end]
        return steps[::-1]

    def _drawn(self, word: str, draws: Iterator[float], alpha: float) -> list[str]:
        """Draws a path backwards: each step in proportion to all the paths that lead to it."""
        table = self._backward.get((word, alpha))
        if table is None:
            table = self._forward(word, alpha)
            if len(self._backward) < _REMEMBERED:
                self._backward[word, alpha] = table
        steps, end = [], len(word)
        while end:
            shares, pieces = table[end]
            place = min(bisect_right(shares, next(draws)), len(pieces) - 1) if shares else 0
            start, _ = pieces[place]
            steps.append(word[start:end])
            end = start
        return steps[::-1]

    def _forward(self, word: str, alpha: float) -> list[tuple[list[float], Pieces]]:
        """For each end: cumulative shares of the pieces that end there, and those pieces."""
        ends = self._lattice(word)
        total = [0.0] * (len(word) + 1)
        table: list[tuple[list[float], Pieces]] = [([], [])]
        for end in range(1, len(word) + 1):
            logs = [total[start] + alpha * value for start, value in ends[end]]
            if len(logs) == 1:  # no draw is needed
                total[end] = logs[0]
                table.append(([], ends[end]))
                continue
            top = max(logs)
            weights = np.exp(np.array(logs) - top)
            total[end] = top + math.log(weights.sum())
            shares = np.cumsum(weights) / weights.sum()
            table.append((shares.tolist(), ends[end]))
        return table

    def _merged(
        self, word: str, draws: Iterator[float] | None = None, dropout: float = 0.0
    ) -> list[str]:
        """BPE: the best pair first; with `draws`, each is passed over with chance `dropout`."""
        parts = self._given.split(word) if self._given else [word]
        fixed = [bool(n % 2) for n, part in enumerate(parts) for _ in ("x" if n % 2 else part)]
        symbols = [s for n, part in enumerate(parts) for s in ([part] if n % 2 else part)]
        size = len(symbols)
        after, before = list(range(1, size + 1)), list(range(-1, size - 1))
        agenda: list[tuple[float, int, str, int]] = []

        def offer(left: int) -> None:
            right = after[left] if left >= 0 else size
            if right < size and not fixed[left] and not fixed[right]:
                pair = symbols[left] + symbols[right]
                if pair in self._ids:
                    heapq.heappush(agenda, (-self._scores[pair], left, pair, right))

        for left in range(size - 1):
            offer(left)
        while agenda:
            _, left, pair, right = heapq.heappop(agenda)
            if after[left] != right or not symbols[left] or symbols[left] + symbols[right] != pair:
                continue  # one of the two has been merged since
            if draws is not None and next(draws) < dropout:
                continue
            symbols[left], symbols[right] = pair, ""
            after[left] = after[right]
            if after[left] < size:
                before[after[left]] = left
            offer(before[left])
            offer(left)
        return [symbol for symbol in symbols if symbol]
