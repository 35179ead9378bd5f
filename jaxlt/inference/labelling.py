"""What the heads of a trained run say of examples: tags, trees, classes, answers.

    answers = label(predictor, labels, "tagging", [HeadExample("tags", ("the", "story"))])
    answers[0].labels, answers[0].heads          # ("DET", "NOUN"), ()

Examples of like length share a batch, and widths are few, so that few shapes are compiled. What is
longer than a row is read in parts (`jaxlt.data.labelling`), of which the head makes one answer
(`jaxlt.models.head.HeadConfig.decode`).
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxlt import progress
from jaxlt.data.head_example import HeadExample
from jaxlt.data.labelling import Labels, Piece, TooLong
from jaxlt.engine.batch_checks import check_fields, slots_of
from jaxlt.engine.partitioning import batch_shards
from jaxlt.engine.step import StepSpec, mesh_context
from jaxlt.errors import UserError
from jaxlt.inference.predictor import Predictor, widths
from jaxlt.inference.states.inside import placed
from jaxlt.models.encoder import model_of
from jaxlt.models.head import find_head
from jaxlt.models.init import unflatten
from jaxlt.models.layers import make_context
from jaxlt.modules.deltas import applied

_WORD_FIELDS = ("word_first", "word_labels", "word_heads")


class Answer(NamedTuple):
    """What a head says: a label a word, or [the class], or [the answer]; heads of a tree."""

    labels: tuple[str, ...]
    heads: tuple[int, ...] = ()


class _Asked(NamedTuple):
    """An example with its parts and its place in the order asked."""

    place: int
    example: HeadExample
    pieces: list[Piece]


def label(
    predictor: Predictor,
    labels: Labels,
    head: str,
    examples: Sequence[HeadExample],
    *,
    languages: Sequence[int] | None = None,
    batch_size: int = 64,
    called: Callable[[int], str] | None = None,
) -> list[Answer]:
    """Labels examples by a head; answers come in their order.

    languages: the id of each example's language, where modules are routed by it. called: what an
    example is called in errors. What DataConfig.overlength leaves out has an answer without labels.
    """
    names = labels.inventory.labels.get(head, ())
    if not names and hasattr(find_head(predictor.config.heads, head), "labels"):
        raise UserError(f"Head '{head}' has learnt no label: its training data had none.")
    asked = []
    for i, example in enumerate(examples):
        try:
            asked.append(_Asked(i, example, labels.pieces(head, example)))
        except TooLong as error:
            raise UserError(f"{called(i)}: {error}" if called else str(error)) from None
    out = [Answer(())] * len(examples)
    size = lambda one: max((len(p.fields[labels.reader.input]) for p in one.pieces), default=0)  # noqa: E731
    waiting = sorted((one for one in asked if one.pieces), key=size)
    while waiting:
        group: list[_Asked] = []
        while waiting and (
            not group or sum(len(o.pieces) for o in (*group, waiting[-1])) <= batch_size
        ):
            group.append(waiting.pop())
        ids = [languages[one.place] for one in group for _ in one.pieces] if languages else None
        answers = _group(predictor, labels, head, names, group, ids)
        for one, answer in zip(group, answers, strict=True):
            out[one.place] = answer
        progress.advance(len(group))
    return out


def _group(
    predictor: Predictor,
    labels: Labels,
    head: str,
    names: tuple[str, ...],
    group: list[_Asked],
    languages: list[int] | None,
) -> list[Answer]:
    """Labels examples whose parts are one batch."""
    pieces = [piece for one in group for piece in one.pieces]
    batch = labels.batch(pieces)
    if languages is not None:
        batch["language"] = np.array(languages, np.int32)
    spec = predictor.program.spec
    outputs = _outputs(predictor, head, _trimmed(batch, labels, pieces))
    config = find_head(predictor.config.heads, head)
    assert config is not None
    with mesh_context(spec.mesh, spec.rules):
        decoded = config.decode(outputs, [one.pieces for one in group], len(names))
    return [
        _span(labels, one, *answer.span)
        if answer.span is not None
        else Answer(tuple(names[i] for i in answer.labels), answer.heads)
        for one, answer in zip(group, decoded, strict=True)
    ]


def _trimmed(
    batch: Mapping[str, np.ndarray], labels: Labels, pieces: Sequence[Piece]
) -> dict[str, np.ndarray]:
    """The batch without columns that hold nothing, its widths among few."""
    field = labels.reader.input
    longest = max(len(piece.fields[field]) for piece in pieces)
    width = next(w for w in widths(longest) if w >= longest)
    words = max((piece.stop - piece.start for piece in pieces), default=0)
    wide = next(w for w in widths(words) if w >= words)
    out = {}
    for name, values in batch.items():
        if values.ndim > 1 and name != "span":
            by_word = name in _WORD_FIELDS and field != "words"
            values = values[:, : wide if by_word else width]
        out[name] = values
    return out


def _outputs(predictor: Predictor, head: str, batch: Mapping[str, np.ndarray]) -> Any:
    """What a head says of host rows [B, ...], on the devices; more rows make B one of few sizes."""
    spec = predictor.program.spec
    check_fields(batch, slots_of(spec.model))
    count = batch_shards(spec.mesh)
    while count < len(batch["head"]):
        count *= 2
    with mesh_context(spec.mesh, spec.rules):
        given = placed(batch, count, spec.mesh) | predictor.slots
        return _apply(spec, head)(predictor.params, given)


@functools.lru_cache(maxsize=16)
def _apply(spec: StepSpec, head: str) -> Any:
    """The compiled (params, batch) -> outputs of a head."""

    def run(params: Mapping[str, jax.Array], batch: Mapping[str, jax.Array]) -> Any:
        model: Any = model_of(spec.model)
        variables = unflatten(applied(params, spec.model.deltas))
        outputs = model.apply(variables, batch, make_context(batch), only=head, method="outputs")
        return outputs[head]

    return jax.jit(run)


def _span(labels: Labels, one: _Asked, part: int, first: int, last: int) -> Answer:
    """The text of the tokens [first, last] of a part."""
    piece, text = one.pieces[part], one.example.texts[1]
    shift = piece.start - int(np.flatnonzero(piece.fields["context"])[0])
    start, end = labels.reader.characters(text, first + shift, last + shift + 1)
    return Answer((text[start:end],))
