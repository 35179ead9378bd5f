"""Scores of generated text, by sacrebleu: BLEU, chrF++, BLEU over SentencePiece; length ratio.

    bleu(["我很好"], ["我很好。"], tokenize=tokenizer_of("zho_Hans"))

BLEU and chrF are percents, as everywhere; a reference is a text, or a list of several.
"""

import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.utils import SACREBLEU_DIR

from jaxlt.errors import UserError, nearest
from jaxlt.metrics.statistics import Statistics, answers, check_pairs, ratio, texts

TOKENIZERS = ("13a", "intl", "zh", "char", "none", "ja-mecab", "ko-mecab", "flores200")
_SMOOTHING = ("exp", "floor", "add-k", "none")
_FLORES = ("models", "flores200sacrebleuspm")  # where sacrebleu keeps the model, in its folder
_FLORES_FROM = "https://tinyurl.com/flores200sacrebleuspm"
# Scripts without spaces between words; Chinese has sacrebleu's own tokenizer.
_CHINESE = ("zho", "zh", "cmn", "yue", "wuu", "hak", "nan", "lzh")
_UNSPACED = ("tha", "th", "lao", "lo", "khm", "km", "mya", "my", "bod", "bo", "dzo", "dz")
_UNSPACED_SCRIPTS = ("Thai", "Laoo", "Khmr", "Mymr", "Tibt")
_MECAB = {"jpn": ("ja-mecab", "char"), "kor": ("ko-mecab", "13a")}  # else, without its package


def tokenizer_of(language: str) -> str:
    """Returns the tokenizer of BLEU for a language's code (`zho_Hans`, `zho`, `zh`).

    Chinese has `zh`; Japanese and Korean sacrebleu's own (sacrebleu[ja], sacrebleu[ko]), or where
    that is not installed characters and 13a; Thai, Lao, Khmer, Burmese and Tibetan characters; all
    others 13a. What was taken is in the score's signature.
    """
    first, *more = language.replace("-", "_").split("_")
    code = {"ja": "jpn", "ko": "kor"}.get(first.lower(), first.lower())
    script = next((part for part in more if len(part) == 4), "")  # not the region of zh_TW
    if script in ("Hans", "Hant") or (code in _CHINESE and script in ("", "Hani")):
        return "zh"
    if code in _MECAB:
        wanted, instead = _MECAB[code]
        return wanted if _is_there(wanted) else instead
    return "char" if code in _UNSPACED or script in _UNSPACED_SCRIPTS else "13a"


@functools.cache
def _is_there(tokenizer: str) -> bool:
    try:
        BLEU(tokenize=tokenizer)
    except (ImportError, RuntimeError):
        return False
    return True


def bleu(
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    *,
    tokenize: str = "13a",
    lowercase: bool = False,
    smooth: str = "exp",
) -> Statistics:
    """Returns sacrebleu's BLEU; its signature, precisions and lengths are in the details.

    `13a` parts words at spaces: text without them wants `zh`, `ja-mecab` or `char` (tokenizer_of
    knows which), or pieces: `flores200`, whose model sacrebleu keeps, or any with spbleu.
    """
    return _bleu_statistics(_bleu(tokenize, lowercase, smooth), predictions, references)


def spbleu(
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    *,
    model: Any,
    lowercase: bool = False,
    smooth: str = "exp",
) -> Statistics:
    """Returns BLEU over the pieces of a SentencePiece model: a path, or a loaded processor.

    With the model of FLORES-200 it is sacrebleu's `flores200`. The signature names the model by
    its digest.
    """
    processor, name = _pieces(model)
    metric = _bleu("none", lowercase, smooth)
    metric.tokenizer = lambda line: " ".join(processor.encode(line, out_type=str))
    metric.tokenizer_signature = name
    return _bleu_statistics(metric, predictions, references)


def chrf(
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    *,
    word_order: int = 2,
    lowercase: bool = False,
) -> Statistics:
    """Returns chrF++ (chrF with `word_order=0`), by sacrebleu."""
    if word_order < 0:
        raise UserError(f"word_order of chrF is 0 (chrF), 1 or 2 (chrF++), not {word_order}.")
    metric = CHRF(word_order=word_order, lowercase=lowercase)
    rows = _rows(metric, predictions, references)
    return Statistics(rows, _value(metric), len(rows), {"signature": str(metric.get_signature())})


def length_ratio(
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    *,
    unit: str = "tokens",
    tokenize: str = "13a",
) -> Statistics:
    """Returns the length of all predictions over that of the references closest in length.

    `unit`: "tokens" (BLEU's own ratio), "characters" or "bytes".
    """
    measures: dict[str, Callable[[str], int]] = {
        "characters": len,
        "bytes": lambda text: len(text.encode()),
    }
    if unit == "tokens":
        metric = _bleu(tokenize, False, "exp")
        measure: Callable[[str], int] = lambda text: len(  # noqa: E731
            metric.tokenizer(text.rstrip()).split()
        )
    elif unit in measures:
        measure = measures[unit]
    else:
        _unknown("unit of a length ratio", unit, ("tokens", *measures))
    check_pairs(predictions, references)
    rows = np.empty((len(predictions), 2))
    for row, text, several in zip(rows, texts(predictions), answers(references), strict=True):
        ours = measure(text)
        closest = min((measure(one) for one in several), key=lambda n: (abs(n - ours), n))
        row[:] = ours, closest
    return Statistics(rows, ratio, len(rows), {"unit": unit})


def _bleu(tokenize: str, lowercase: bool, smooth: str) -> BLEU:
    if tokenize not in TOKENIZERS:
        if tokenize in BLEU.TOKENIZERS:
            raise UserError(
                f"BLEU with the tokenizer {tokenize!r} is the metric 'spbleu' here, with "
                "model= the path of its SentencePiece model: nothing is downloaded."
            )
        _unknown("tokenizer of BLEU", tokenize, TOKENIZERS)
    model = Path(SACREBLEU_DIR, *_FLORES)
    if tokenize == "flores200" and not model.is_file():
        raise UserError(
            f"The tokenizer 'flores200' of BLEU is a SentencePiece model, which is not at "
            f"'{model}', and nothing is downloaded here: put it there (it is at {_FLORES_FROM}), "
            "or use the metric 'spbleu' with model= its path."
        )
    if smooth not in _SMOOTHING:
        _unknown("smoothing of BLEU", smooth, _SMOOTHING)
    try:
        return BLEU(tokenize=tokenize, lowercase=lowercase, smooth_method=smooth)
    except (ImportError, RuntimeError) as error:
        raise UserError(
            f"The tokenizer {tokenize!r} of BLEU needs a package that is not installed: "
            f"{' '.join(str(error).split())}"
        ) from error


def _bleu_statistics(
    metric: BLEU, predictions: Sequence[str], references: Sequence[str | Sequence[str]]
) -> Statistics:
    rows = _rows(metric, predictions, references)
    total = metric._compute_score_from_stats(rows.sum(axis=0).tolist())
    details = {
        "signature": str(metric.get_signature()),
        "precisions": [float(p) for p in total.precisions],
        "brevity_penalty": float(total.bp),
        "length": int(total.sys_len),
        "reference_length": int(total.ref_len),
    }
    return Statistics(rows, _value(metric), len(rows), details)


def _rows(
    metric: BLEU | CHRF, predictions: Sequence[str], references: Sequence[str | Sequence[str]]
) -> np.ndarray:
    """sacrebleu's own statistics of each sentence [N, K]."""
    check_pairs(predictions, references)
    several = answers(references)
    # sacrebleu wants all first references, then all second ones; None where there are too few.
    streams: Any = [
        [one[place] if place < len(one) else None for one in several]
        for place in range(max(map(len, several)))
    ]
    return np.array(metric._extract_corpus_statistics(texts(predictions), streams), np.float64)


def _value(metric: BLEU | CHRF) -> Callable[[np.ndarray], np.ndarray]:
    """sacrebleu's own formula on each row of sums: 10 microseconds a row, and its own rounding."""
    compute = metric._compute_score_from_stats
    return lambda sums: np.array([compute(row).score for row in sums.tolist()])


def _pieces(model: Any) -> tuple[Any, str]:
    """A SentencePiece model -> its processor, and a name for signatures."""
    from sentencepiece import SentencePieceProcessor

    if isinstance(model, str | Path):
        try:
            data = Path(model).read_bytes()
            model = SentencePieceProcessor(model_proto=data)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"spbleu wants the path of a SentencePiece model; {str(model)!r} cannot be read as "
                f"one: {error}"
            ) from error
    if not hasattr(model, "serialized_model_proto"):
        raise UserError(f"spbleu wants a SentencePiece model, or the path of one, not {model!r}.")
    digest = hashlib.sha256(model.serialized_model_proto()).hexdigest()
    return model, f"spm-{digest[:12]}"


def _unknown(what: str, name: str, known: Sequence[str]) -> NoReturn:
    raise UserError(f"{name!r} is no {what}: {', '.join(known)}.{nearest(name, known)}")
