"""Words and spans of a text as tokens, and back: what tagging, parsing and entities stand on.

    text, spans = join_words(["Don", "'t", "go"], [False, True, True])     # "Don't go"
    aligned = align(vocabulary, text, spans)
    aligned.ids                       # the tokens of the text
    aligned.first                     # [words] index of each word's first token
    aligned.back(3, 7)                # characters of the text that tokens 3 .. 6 spell

Every span has at least one token to itself, whatever the vocabulary: a piece that would run over
the border of two spans is cut there, and a span that is normalised to nothing is an unk.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from jaxlt.data.text.unicode import AS_IS, Normalised, Span, UnicodeConfig, normalise
from jaxlt.data.vocabulary.subwords import SPACE, Segmenter, Token, open_segmenter
from jaxlt.data.vocabulary.vocabularies import UNK, Vocabulary
from jaxlt.errors import UserError

Cut = Callable[[str], list[Token]]  # the tokens of text that SentencePiece has normalised


@dataclass(frozen=True)
class Aligned:
    """The tokens of a text with their places.

    Token t spells characters [starts[t], ends[t]) of the original text (the space before a word
    left out); span s has the tokens [first[s], stop[s]). All arrays are int32.
    """

    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    first: np.ndarray
    stop: np.ndarray

    def back(self, first: int, stop: int) -> Span:
        """Returns the characters that the tokens [first, stop) spell, at least one token."""
        return int(self.starts[first:stop].min()), int(self.ends[first:stop].max())

    def spans(self) -> list[Span]:
        """Returns the spans that were aligned, from the tokens' places alone."""
        pairs = zip(self.first.tolist(), self.stop.tolist(), strict=True)
        return [self.back(first, stop) for first, stop in pairs]

    def spread(self, labels: Sequence[int] | np.ndarray, other: int = -1) -> np.ndarray:
        """Returns [tokens] int32: each span's label at its first token, `other` elsewhere."""
        if len(labels) != len(self.first):
            raise UserError(f"{len(labels)} labels were given for {len(self.first)} words.")
        out = np.full(len(self.ids), other, np.int32)
        out[self.first] = np.asarray(labels, np.int32)
        return out

    def gather(self, predictions: np.ndarray) -> np.ndarray:
        """Returns [words, ...]: what was predicted [tokens, ...] at each span's first token."""
        return np.asarray(predictions)[self.first]


def align(
    vocabulary: Vocabulary,
    text: str,
    spans: Sequence[Span],
    unicode: UnicodeConfig = AS_IS,
    cut: Cut | None = None,
) -> Aligned:
    """Returns the tokens of a text (without eos), and which of them each span has.

    `spans` are in order and do not overlap; they need not cover the text. The text is normalised
    as `unicode` says, then by SentencePiece's own normaliser where the vocabulary has one. `cut`
    finds its pieces; without it they are the library's, the best.
    """
    _check(text, spans)
    cuts = [edge for span in spans for edge in span]
    normalised = normalise(text, unicode, cuts)
    inner = normalised.forward(spans)
    if vocabulary.config.kind == "bytes":
        tokens = _byte_tokens(vocabulary, normalised.text, inner)
    else:
        segmenter = open_segmenter(vocabulary.config.path)
        tokens = _piece_tokens(segmenter, normalised.text, inner, cut)
    return _placed(tokens, normalised, spans)


def join_words(
    words: Sequence[str], space_after: Sequence[bool] | None = None
) -> tuple[str, list[Span]]:
    """Returns words as a text, and their spans in it; by default a space follows each word."""
    parts: list[str] = []
    spans: list[Span] = []
    place = 0
    for number, word in enumerate(words):
        spans.append((place, place + len(word)))
        spaced = number + 1 < len(words) and (space_after is None or space_after[number])
        parts += [word, " "] if spaced else [word]
        place += len(word) + spaced
    return "".join(parts), spans


def _check(text: str, spans: Sequence[Span]) -> None:
    end = 0
    for number, (start, stop) in enumerate(spans):
        if not end <= start < stop <= len(text):
            raise UserError(
                f"Span {number} is [{start}, {stop}): spans hold at least one character, follow "
                f"each other without overlap and end within the text's {len(text)} characters."
            )
        end = stop


# Tokens with their characters of the normalised text, and the tokens [first, stop) of each span.
_Tokens = tuple[list[Token], list[Span]]


def _byte_tokens(vocabulary: Vocabulary, text: str, spans: Sequence[Span]) -> _Tokens:
    """Bytes; a span without characters is an unk."""
    tokens: list[Token] = []
    owned: list[Span] = []
    place = 0
    for start, stop in [*spans, (len(text), len(text))]:
        for begin, end in ((place, start), (start, stop)):
            first = len(tokens)
            for i in range(begin, end):
                tokens += [(int(b), i, i + 1) for b in vocabulary.encode(text[i])]
        if start == stop and len(owned) < len(spans):
            tokens.append((UNK, start, start))
        owned.append((first, len(tokens)))
        place = max(place, stop)
    return tokens, owned[: len(spans)]


def _piece_tokens(
    segmenter: Segmenter, text: str, spans: Sequence[Span], cut: Cut | None
) -> _Tokens:
    """SentencePiece's tokens, cut where spans meet inside one."""
    plain, origin = segmenter.processor.normalize(text, with_offsets=True)
    places = np.asarray(origin[: len(plain)], np.int64)
    bounds = [_bounds(plain, places, span) for span in spans]
    found = cut(plain) if cut else _library_tokens(segmenter, plain, text)
    tokens = _cut(segmenter, plain, found, bounds)
    out: list[Token] = []
    owned: list[Span] = []
    at = 0
    for low, high in bounds:
        while at < len(tokens) and tokens[at][2] <= low:
            out.append(tokens[at])
            at += 1
        first = len(out)
        if low == high:
            out.append((UNK, low, low))
        while low < high and at < len(tokens) and tokens[at][1] < high:
            out.append(tokens[at])
            at += 1
        owned.append((first, len(out)))
    out += tokens[at:]
    return _outer(plain, np.asarray(origin, np.int64), out), owned


def _bounds(plain: str, places: np.ndarray, span: Span) -> Span:
    """Returns the characters of the normalised text that come from a span, without edge spaces."""
    low, high = (int(p) for p in np.searchsorted(places, span, "left"))
    while low < high and plain[low] == SPACE:
        low += 1
    while low < high and plain[high - 1] == SPACE:
        high -= 1
    return low, high


def _library_tokens(segmenter: Segmenter, plain: str, text: str) -> list[Token]:
    """The library's own tokens with their spans of normalised characters."""
    processor = segmenter.processor
    pieces = processor.encode(text, out_type=str)
    tokens: list[Token] = []
    place = left = 0
    for number, piece in zip(processor.piece_to_id(pieces), pieces, strict=True):
        if processor.is_byte(number):
            left = left or len(plain[place].encode("utf-8"))
            tokens.append((number, place, place + 1))
            left -= 1
            place += left == 0
        else:
            tokens.append((number, place, place + len(piece)))
            place += len(piece)
    return tokens


def _cut(
    segmenter: Segmenter, plain: str, tokens: list[Token], bounds: Sequence[Span]
) -> list[Token]:
    """Cuts tokens where a span meets another text, and segments the parts anew.

    The space before a word is no text: the piece that holds both stays whole.
    """
    edges = sorted({edge for low, high in bounds if low < high for edge in (low, high)})
    out: list[Token] = []
    at = 0
    for number, low, high in tokens:
        while at < len(edges) and edges[at] <= low:
            at += 1
        inside = []
        for edge in edges[at:]:
            if edge >= high:
                break
            if plain[low:edge].strip(SPACE) and plain[edge:high].strip(SPACE):
                inside.append(edge)
        if not inside:
            out.append((number, low, high))
            continue
        for start, stop in zip([low, *inside], [*inside, high], strict=True):
            out += segmenter.best_tokens(plain, start, stop)
    return out


def _outer(plain: str, origin: np.ndarray, tokens: list[Token]) -> list[Token]:
    """Returns tokens with the characters of the text that their normalised ones come from.

    `origin` [len(plain) + 1] is where each comes from. What one character became has one origin,
    so a token ends where the next origin is. A token's first space is left out.
    """
    following = origin[np.minimum(np.searchsorted(origin, origin, "right"), len(origin) - 1)]
    out = []
    for number, low, high in tokens:
        while low < high - 1 and plain[low] == SPACE:
            low += 1
        start = int(origin[low])
        out.append((number, start, int(following[high - 1]) if high > low else start))
    return out


def _placed(tokens: _Tokens, normalised: Normalised, spans: Sequence[Span]) -> Aligned:
    """Puts tokens at their characters of the original text; the ends of spans are exact."""
    listed, owned = tokens
    places = normalised.back([(low, high) for _, low, high in listed])
    pairs = np.array(places, np.int32).reshape(-1, 2)
    starts, ends = pairs[:, 0].copy(), pairs[:, 1].copy()
    done = beyond = 0
    for (first, stop), (start, end) in zip(owned, spans, strict=True):
        for array in (starts, ends):
            np.clip(array[done:first], beyond, start, out=array[done:first])  # between spans
            np.clip(array[first:stop], start, end, out=array[first:stop])
        starts[first], ends[stop - 1] = start, end
        done, beyond = stop, end
    np.maximum(starts[done:], beyond, out=starts[done:])
    np.maximum(ends[done:], beyond, out=ends[done:])
    bounds = np.array(owned, np.int32).reshape(-1, 2)
    ids = np.array([number for number, _, _ in listed], np.int32)
    return Aligned(ids, starts, ends, bounds[:, 0].copy(), bounds[:, 1].copy())
