"""Exact match and F1 of answers, normalised as a benchmark's own script does it.

    answer_f1(["the Hague"], ["The Hague"], benchmark="squad")
    answer_f1(["北京市"], ["北京"], benchmark="mlqa", language="zho_Hans")

squad, xquad and tydi (TyDiQA-GoldP), SQuAD 1.1's script: a text is lower-cased and loses ASCII
punctuation and the English articles, in every language. squad2: the same, but two empty answers
agree. mlqa: it loses Unicode punctuation and its language's articles, and Chinese is counted by
character, in MLQA's seven languages. Without a benchmark it is as in squad2 where no language is
given, and else as in mlqa, with Japanese, Thai, Lao, Khmer, Burmese and Tibetan by character too.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from jaxlt.errors import UserError, nearest
from jaxlt.metrics.statistics import Statistics, answers, check_pairs, means, texts

SQUAD = ("squad", "squad2", "xquad", "tydi")  # whose scripts know no language
BENCHMARKS = (*SQUAD, "mlqa")
_MLQA = ("ara", "deu", "eng", "hin", "spa", "vie", "zho")

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
    "dz": "dzo", "hi": "hin",
}  # fmt: skip


def exact_match(
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    *,
    language: str | None = None,
    benchmark: str | None = None,
) -> Statistics:
    """Returns the share of answers that are a right one, once normalised.

    A reference is an answer or several; `language` is a code such as `zho_Hans`, `zho` or `zh`, and
    `benchmark` one of BENCHMARKS (see the module).
    """
    same = lambda ours, gold: float(ours == gold)  # noqa: E731
    return _best(predictions, references, language, benchmark, same)


def answer_f1(
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    *,
    language: str | None = None,
    benchmark: str | None = None,
) -> Statistics:
    """Returns the mean F1 of words shared with the closest right answer, once normalised.

    Where both are empty, F1 is 1 in SQuAD 2 and without a benchmark, and 0 in the others.
    """
    points = word_f1 if benchmark in (None, "squad2") else _shared
    return _best(predictions, references, language, benchmark, points)


def word_f1(ours: str, gold: str) -> float:
    """Two normalised texts -> F1 of their words, as bags; 1 where both are empty."""
    mine, theirs = ours.split(), gold.split()
    if not mine or not theirs:
        return float(mine == theirs)
    return 2 * (Counter(mine) & Counter(theirs)).total() / (len(mine) + len(theirs))


def _shared(ours: str, gold: str) -> float:
    return word_f1(ours, gold) if ours else 0.0


def normalize(text: str, language: str | None = None, benchmark: str | None = None) -> str:
    """Returns the words of an answer that count, with a space between (see the module)."""
    if benchmark in SQUAD or (benchmark is None and language is None):
        bare = "".join(c for c in text.lower() if c not in string.punctuation)
        return " ".join(_ARTICLES["eng"].sub(" ", bare).split())
    code = _code(language)
    bare = "".join(c for c in text.lower() if not _is_punctuation(c))
    if code in _ARTICLES:
        bare = _ARTICLES[code].sub(" ", bare)
    if code in _BY_CHARACTER:
        bare = _BY_CHARACTER[code].sub(r" \1 ", bare)
    return " ".join(bare.split())


def _code(language: str | None) -> str:
    code = (language or "").replace("-", "_").split("_")[0].lower()
    return _OTHER_CODES.get(code, code)


def covers(benchmark: str, language: str | None) -> bool:
    """Whether a benchmark's own script normalises answers in a language."""
    return benchmark != "mlqa" or _code(language) in _MLQA


def check(benchmark: str | None, language: str | None) -> None:
    """Raises UserError for a benchmark that there is not, or that has not the language."""
    if benchmark is None:
        return
    if benchmark not in BENCHMARKS:
        raise UserError(
            f"{benchmark!r} is no benchmark of questions whose normalisation is known: "
            f"{', '.join(BENCHMARKS)}.{nearest(benchmark, BENCHMARKS)}"
        )
    if not covers(benchmark, language):
        raise UserError(
            f"MLQA's normalisation is for {', '.join(_MLQA)}, not for {language!r}: leave the "
            "benchmark out, for the same by the language's own script."
        )


def _is_punctuation(char: str) -> bool:
    return char in string.punctuation or unicodedata.category(char).startswith("P")


def _best(
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    language: str | None,
    benchmark: str | None,
    points: Callable[[str, str], float],
) -> Statistics:
    check_pairs(predictions, references)
    check(benchmark, language)
    values = []
    for text, several in zip(texts(predictions), answers(references), strict=True):
        ours = normalize(text, language, benchmark)
        values.append(max(points(ours, normalize(one, language, benchmark)) for one in several))
    mean = means(values)
    usual = "squad2" if language is None else f"mlqa, of {_code(language)}"
    return replace(mean, details={"normalisation": benchmark or usual})
