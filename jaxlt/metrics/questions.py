"""Exact match and F1 of answers: SQuAD's normalisation, or MLQA's for a language.

Without a language a text is lower-cased and loses ASCII punctuation and the English articles
(SQuAD). With one it loses Unicode punctuation and that language's articles (MLQA), and scripts
that put no spaces between words are counted by character: Chinese as MLQA does, and Japanese,
Thai, Lao, Khmer, Burmese and Tibetan in the same way.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

from jaxlt.metrics.statistics import Statistics, answers, check_pairs, means, texts

_ARTICLES = {
    "eng": re.compile(r"\b(a|an|the)\b"),
    "spa": re.compile(r"\b(un|una|unos|unas|el|la|los|las)\b"),
    "vie": re.compile(r"\b(của|là|cái|chiếc|những)\b"),
    "deu": re.compile(r"\b(ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b"),
    "ara": re.compile(r"\sال^|ال"),  # MLQA's own
}
_HAN = re.compile("([\u4e00-\u9fa5])")  # MLQA's own
_UNSPACED = re.compile(  # Thai, Lao; Tibetan, Burmese; Khmer; kana; Han
    "([\u0e00-\u0eff\u0f00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003134f])"
)
_BY_CHARACTER = dict.fromkeys(("zho", "yue"), _HAN) | dict.fromkeys(
    ("jpn", "tha", "lao", "khm", "mya", "bod", "dzo"), _UNSPACED
)
_OTHER_CODES = {
    "en": "eng", "es": "spa", "vi": "vie", "de": "deu", "ar": "ara", "arb": "ara", "zh": "zho",
    "cmn": "zho", "ja": "jpn", "th": "tha", "lo": "lao", "km": "khm", "my": "mya", "bo": "bod",
    "dz": "dzo",
}  # fmt: skip


def exact_match(
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    *,
    language: str | None = None,
) -> Statistics:
    """Returns the share of answers that are a right one, once normalised.

    A reference is an answer or several; `language` is a code such as `zho_Hans`, `zho` or `zh`.
    """
    return _best(predictions, references, language, lambda ours, gold: float(ours == gold))


def answer_f1(
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    *,
    language: str | None = None,
) -> Statistics:
    """Returns the mean F1 of words shared with the closest right answer, once normalised.

    Where either is empty, F1 is 1 if both are, as in SQuAD 2 (in SQuAD 1 and MLQA it is 0).
    """
    return _best(predictions, references, language, word_f1)


def word_f1(ours: str, gold: str) -> float:
    """Two normalised texts -> F1 of their words, as bags."""
    mine, theirs = ours.split(), gold.split()
    if not mine or not theirs:
        return float(mine == theirs)
    return 2 * (Counter(mine) & Counter(theirs)).total() / (len(mine) + len(theirs))


def normalize(text: str, language: str | None = None) -> str:
    """Returns the words of an answer that count, with a space between (see the module)."""
    if language is None:
        bare = "".join(c for c in text.lower() if c not in string.punctuation)
        return " ".join(_ARTICLES["eng"].sub(" ", bare).split())
    code = language.replace("-", "_").split("_")[0].lower()
    code = _OTHER_CODES.get(code, code)
    bare = "".join(c for c in text.lower() if not _is_punctuation(c))
    if code in _ARTICLES:
        bare = _ARTICLES[code].sub(" ", bare)
    if code in _BY_CHARACTER:
        bare = _BY_CHARACTER[code].sub(r" \1 ", bare)
    return " ".join(bare.split())


def _is_punctuation(char: str) -> bool:
    return char in string.punctuation or unicodedata.category(char).startswith("P")


def _best(
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    language: str | None,
    points: Callable[[str, str], float],
) -> Statistics:
    check_pairs(predictions, references)
    values = []
    for text, several in zip(texts(predictions), answers(references), strict=True):
        ours = normalize(text, language)
        values.append(max(points(ours, normalize(one, language)) for one in several))
    return means(values)
