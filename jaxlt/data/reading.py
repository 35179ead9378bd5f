"""Rows of batches as people read them: text, what is masked in it, and what a user should know."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from jaxlt.data import reports, sources
from jaxlt.data.mixtures import DataConfig
from jaxlt.data.translation import ends_of
from jaxlt.data.views import LanguageInfo
from jaxlt.data.vocabularies import EOS, PAD, Vocabulary

MANY_EPOCHS = 10.0
Kind = Literal["text", "sentinel", "masked", "replaced", "kept", "end", "language"]


class Mixture(Protocol):
    """What open_mixture returns."""

    batch_size: int
    languages: tuple[str, ...]

    def spec(self) -> Any: ...
    def rows(self, step: int, start: int, stop: int) -> dict[str, np.ndarray]: ...
    def info(self) -> list[LanguageInfo]: ...


@dataclass(frozen=True)
class Part:
    """A stretch of a row; `number` tells sentinels (and languages of packed examples) apart."""

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
        if run:
            parts.append(Part("text", vocabulary.spell(run)))
            run.clear()

    for token in ids[ids != PAD].tolist():
        if token == EOS:
            flush()
            parts.append(Part("end", "</s>"))
        elif count < len(expected) and token == expected[count]:
            flush()
            parts.append(Part("sentinel", f"<{count}>", count))
            count += 1
        else:
            run.append(token)
    flush()
    return parts


def masked(
    vocabulary: Vocabulary, inputs: np.ndarray, targets: np.ndarray, weights: np.ndarray
) -> list[Part]:
    """Returns a row of masked LM: the whole text, each stretch by what the encoder sees of it."""
    mask = vocabulary.sentinels(1)[0]
    there = targets != PAD
    inputs, targets, asked = inputs[there], targets[there], weights[there] > 0
    kinds = np.full(len(targets), "text", dtype="<U8")
    kinds[asked & (inputs == mask)] = "masked"
    kinds[asked & (inputs != mask)] = "replaced"
    kinds[asked & (inputs == targets)] = "kept"
    parts: list[Part] = []
    edges = np.flatnonzero(kinds[1:] != kinds[:-1]) + 1
    for stretch in np.split(np.arange(len(targets)), edges):
        ids = targets[stretch]
        kind: Any = str(kinds[stretch[0]])
        parts.append(Part(kind, vocabulary.spell(ids)))
    return [*parts, Part("end", "</s>")]


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
    present = {i.name for i in mixture.info()}
    names = mixture.languages
    wanted = sum(count for n in names if any(n in p for p in present))
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
    return info.rate * steps * mixture.batch_size / max(info.rows, 1)


def remarks(
    config: DataConfig, mixture: Mixture, vocabulary: Vocabulary, steps: int, most: int = 1 << 16
) -> list[str]:
    """Returns what a user should know before training, a sentence each."""
    lines = []
    infos = mixture.info()
    heard = {end for i in infos for end in _ends(config, i.name)}
    for name in mixture.languages:
        if name not in heard:
            lines.append(f"{name} has an id but no data in this mixture: nothing of it is learnt.")
    for info in infos:
        seen = epochs(info, mixture, steps)
        if seen > MANY_EPOCHS:
            lines.append(
                f"{info.name} will be seen {seen:,.1f} times in {steps:,} steps: it may be learnt "
                "by heart. Lower its rate (DataConfig.alpha, mixing='unimax'), or train for less."
            )
    share = np.mean([padding(mixture.rows(s, 0, mixture.batch_size)) for s in range(4)])
    if share > 0.25 and config.paired and config.packing == "none":
        lines.append(
            f"{share:.0%} of the encoder's positions are padding: DataConfig.packing = 'language' "
            "puts several examples in a row."
        )
    if config.sources and not config.paired:
        names = [i.name for i in infos]
        for language, paths in sources.discover(config.sources, config.endings, names).items():
            documents = sources.documents(paths, "train", config.held_out)
            lines += script_remarks(reports.fit(language, documents, vocabulary, most))
    return lines


def script_remarks(fit: reports.Fit) -> list[str]:
    """Returns what is wrong between a language and a vocabulary, if anything."""
    if fit.script_coverage < 0.5:
        return [
            f"{fit.language}: the vocabulary knows {fit.script_coverage:.0%} of its {fit.script} "
            "letters; transliterate it, or train a vocabulary with it."
        ]
    if fit.unknown > 0.5:
        return [f"{fit.language}: {fit.unknown:.0%} of its text is unknown or spelled in bytes."]
    return []


def _ends(config: DataConfig, name: str) -> tuple[str, ...]:
    return ends_of(name) if config.objective == "translation" else (name,)
