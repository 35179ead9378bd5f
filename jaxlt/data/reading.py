"""Rows of batches as people read them: text, what is masked in it, and what a user should know."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from jaxlt.data.config import DataConfig
from jaxlt.data.rows.prepared import Prepared
from jaxlt.data.rows.views import LanguageInfo
from jaxlt.data.sources.discovery import discover
from jaxlt.data.vocabulary import reports
from jaxlt.data.vocabulary.vocabularies import EOS, PAD, UNK, Vocabulary

MANY_EPOCHS = 10.0
_READ, _STEPS = 1 << 16, 8  # bytes of a language, and steps, that remarks are made of
Kind = Literal[
    "text", "sentinel", "masked", "replaced", "kept", "end", "language", "unknown", "broken"
]
_CUT = "\ufffd"  # what stands for bytes that are no whole letter


class Mixture(Protocol):
    """What open_mixture returns."""

    batch_size: int
    languages: tuple[str, ...]

    def spec(self) -> Any: ...
    def rows(self, step: int, start: int, stop: int) -> dict[str, np.ndarray]: ...
    def info(self) -> list[LanguageInfo]: ...


@dataclass(frozen=True)
class Part:
    """A stretch of a row; `number` tells sentinels (and languages of packed examples) apart.

    'unknown' is a piece that the vocabulary does not know, 'broken' what is left of a letter whose
    other bytes lie elsewhere.
    """

    kind: Kind
    text: str
    number: int = 0


def sequence(vocabulary: Vocabulary, ids: np.ndarray, most: int) -> list[Part]:
    """Returns the parts of a row of ids, sentinels told from text by their order in the row.

    Where sentinels reuse text's ids, a token is the next sentinel if it is the one expected.
    """
    expected = vocabulary.sentinels(most) if most else np.zeros(0, np.int32)
    parts: list[Part] = []
    run: list[int] = []
    count = 0

    def flush() -> None:
        for text in filter(None, re.split(f"({_CUT}+)", vocabulary.spell(run))):
            parts.append(Part("broken", _CUT) if text[0] == _CUT else Part("text", text))
        run.clear()

    for token in ids[ids != PAD].tolist():
        if token == EOS:
            flush()
            parts.append(Part("end", "</s>"))
        elif count < len(expected) and token == expected[count]:
            flush()
            parts.append(Part("sentinel", f"<{count}>", count))
            count += 1
        elif token == UNK:
            flush()
            parts.append(Part("unknown", _CUT))
        else:
            run.append(token)
    flush()
    return parts


def masked(
    vocabulary: Vocabulary, inputs: np.ndarray, targets: np.ndarray, weights: np.ndarray
) -> list[Part]:
    """Returns a row of masked LM: the whole text, each stretch by what the encoder sees of it.

    A letter of several tokens is what any of them is: masked rather than replaced, that rather
    than kept.
    """
    mask = vocabulary.sentinels(1)[0]
    there = targets != PAD
    inputs, targets, asked = inputs[there], targets[there], weights[there] > 0
    kinds = np.zeros(len(targets), np.int64)  # places in `names`
    names: tuple[Kind, ...] = ("text", "kept", "replaced", "masked")
    kinds[asked & (inputs == mask)] = 3
    kinds[asked & (inputs != mask)] = 2
    kinds[asked & (inputs == targets)] = 1
    parts: list[Part] = []
    at = 0
    while at < len(targets):
        size, text = _letter(vocabulary, targets[at:])
        kind = names[kinds[at : at + size].max()]
        at += size
        if text == _CUT and parts and parts[-1].text.endswith(_CUT):
            continue  # the other bytes of the letter that the row begins or ends in
        if parts and parts[-1].kind == kind:
            text = parts.pop().text + text
        parts.append(Part(kind, text))
    return [*parts, Part("end", "</s>")]


def _letter(vocabulary: Vocabulary, ids: np.ndarray) -> tuple[int, str]:
    """Returns how many of the first ids spell whole letters together, and what they spell."""
    for size in range(1, min(4, len(ids)) + 1):  # UTF-8 has four bytes a letter at most
        text = vocabulary.spell(ids[:size])
        if _CUT not in text:
            return size, text
    return 1, _CUT


def packed(
    vocabulary: Vocabulary,
    batch: dict[str, np.ndarray],
    row: int,
    field: str,
    languages: Sequence[str],
) -> list[Part]:
    """Returns a packed row: each example after the language it is in."""
    stack = field.partition("_")[0]
    ids, segments = batch[field][row], batch[f"{stack}_segment_ids"][row]
    parts: list[Part] = []
    for segment in range(1, int(segments.max()) + 1):
        here = segments == segment
        language = int(batch[f"{stack}_language_ids"][row][here][0])
        parts.append(Part("language", f"{languages[language]}: ", language))
        parts += sequence(vocabulary, ids[here], 0)
    return parts


def read(
    config: DataConfig,
    vocabulary: Vocabulary,
    batch: dict[str, np.ndarray],
    row: int,
    languages: Sequence[str],
) -> dict[str, list[Part]]:
    """Returns the parts of a row's texts, by name: inputs and targets, or text (masked LM)."""
    if "encoder_target_tokens" in batch:
        fields = ("encoder_input_tokens", "encoder_target_tokens", "encoder_loss_weights")
        return {"text": masked(vocabulary, *(batch[f][row] for f in fields))}
    names = {"inputs": "encoder_input_tokens", "targets": "decoder_target_tokens"}
    if "encoder_segment_ids" in batch:
        return {n: packed(vocabulary, batch, row, f, languages) for n, f in names.items()}
    most = 0
    if not config.paired:
        bound = vocabulary.text_ids[1] - vocabulary.text_ids[0]
        most = min(batch["decoder_target_tokens"].shape[1] // 2, bound, 100)
    return {n: sequence(vocabulary, batch[f][row], most) for n, f in names.items()}


def one_a_language(mixture: Mixture, count: int, steps: int = 200) -> Iterator[tuple[dict, int]]:
    """Yields (batch, row) of up to `count` rows of each language, as the run will see them."""
    left = {i: count for i in range(len(mixture.languages))}
    wanted = count * len({language for info in mixture.info() for language in info.languages[:1]})
    for step in range(steps):
        batch = mixture.rows(step, 0, mixture.batch_size)
        for row, language in enumerate(batch["language"].tolist()):
            if left[language] and wanted:
                left[language] -= 1
                wanted -= 1
                yield batch, row
        if not wanted:
            return


def padding(batch: dict[str, np.ndarray]) -> float:
    """Returns the share of the encoder's positions that hold nothing."""
    return float((batch["encoder_input_tokens"] == PAD).mean())


def epochs(info: LanguageInfo, mixture: Mixture, steps: int) -> float:
    """Returns how often a language's text is seen in `steps` steps."""
    return info.epochs(steps * mixture.batch_size)


def remarks(config: DataConfig, mixture: Mixture, vocabulary: Vocabulary, steps: int) -> list[str]:
    """Returns what a user should know before training, a sentence each."""
    lines = []
    infos = mixture.info()
    heard = {end for i in infos for end in i.languages}
    if silent := [name for name in mixture.languages if name not in heard]:
        have, them = ("have ids", "them") if len(silent) > 1 else ("has an id", "it")
        lines.append(
            f"{', '.join(silent)} {have} but no data in this mixture: nothing of {them} is learnt."
        )
    if often := _often(infos, mixture, steps):
        lines.append(often)
    share = np.mean([padding(mixture.rows(s, 0, mixture.batch_size)) for s in range(4)])
    if share > 0.25 and config.paired and config.packing == "none":
        lines.append(
            f"{share:.0%} of the encoder's positions are padding: DataConfig.packing = 'language' "
            "puts several examples in a row."
        )
    if config.sources and not config.paired:
        names = {i.name for i in infos}
        for language, paths in discover(config).items():
            if language in names:
                documents = Prepared(config, language, paths).documents("train")
                lines += script_remarks(reports.fit(language, documents, vocabulary, _READ))
    else:
        lines += _unknown_remarks(mixture, vocabulary)
    return lines


def _often(infos: Sequence[LanguageInfo], mixture: Mixture, steps: int) -> str:
    """Returns a sentence on the languages that are seen too often, the worst first, or ""."""
    seen = [(epochs(info, mixture, steps), info.name) for info in infos]
    seen = sorted((pair for pair in seen if pair[0] > MANY_EPOCHS), key=lambda p: (-p[0], p[1]))
    if not seen:
        return ""
    (times, name), *others = seen
    more = "".join(f", {other} {n:,.1f}" for n, other in others)
    they, rate = ("they", "their rates") if others else ("it", "its rate")
    return (
        f"{name} will be seen {times:,.1f} times in {steps:,} steps{more}: {they} may be learnt by "
        f"heart. Lower {rate} (DataConfig.alpha, mixing='unimax'), or train for less."
    )


def _unknown_remarks(mixture: Mixture, vocabulary: Vocabulary) -> list[str]:
    """Returns the languages whose inputs, in the first steps, are mostly unknown pieces."""
    unknown, pieces = np.zeros((2, len(mixture.languages)))
    for step in range(_STEPS):
        batch = mixture.rows(step, 0, mixture.batch_size)
        ids = batch["encoder_input_tokens"]
        text = (ids > EOS) & (ids < vocabulary.size)
        strange = vocabulary.unknown_ids[np.where(text, ids, EOS)]
        np.add.at(unknown, batch["language"], strange.sum(-1))
        np.add.at(pieces, batch["language"], text.sum(-1))
    return [
        f"{name}: {unknown[i] / pieces[i]:.0%} of the pieces of its inputs are unknown or single "
        "bytes: the vocabulary was not made for it."
        for i, name in enumerate(mixture.languages)
        if unknown[i] > pieces[i] / 2
    ]


def script_remarks(fit: reports.Fit) -> list[str]:
    """Returns what is wrong between a language and a vocabulary, if anything."""
    if fit.script_coverage < 0.5:
        return [
            f"{fit.language}: the vocabulary knows {fit.script_coverage:.0%} of its {fit.script} "
            "letters; transliterate it, or train a vocabulary with it."
        ]
    if fit.unknown + fit.in_bytes > 0.5:
        return [
            f"{fit.language}: {fit.unknown:.0%} of its text is unknown, and {fit.in_bytes:.0%} "
            "spelled in bytes."
        ]
    return []
