"""What the heads of a trained run say of examples: tags, trees, classes, answers.

    answers = label(predictor, labels, "tagging", [Marked("tags", ("the", "story"))])
    answers[0].labels, answers[0].heads          # ("DET", "NOUN"), ()

Examples of like length share a batch, and widths are few, so that few shapes are compiled. What is
longer than a row is read in parts (`jaxlt.data.labelling`): a word's tag comes from the part that
has it farthest from an edge, a tree is the best one over the arcs of all parts, a class is that of
the summed log-probabilities, an answer is the best span of any part.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlt import progress
from jaxlt.data.labelling import Labels, Piece, TooLong
from jaxlt.data.marked import Marked
from jaxlt.engine.batch_checks import check_fields, slots_of
from jaxlt.engine.partitioning import batch_shards, place_rows
from jaxlt.engine.step import StepSpec, mesh_context
from jaxlt.errors import UserError
from jaxlt.inference.predictor import Predictor, widths
from jaxlt.models.biaffine import Parse, label_scores
from jaxlt.models.crf import Chain
from jaxlt.models.encoder import model_of
from jaxlt.models.head_config import find_head
from jaxlt.models.head_parts import NEVER
from jaxlt.models.heads import LONGEST_ANSWER, Spans, Tags, best_span, best_tags
from jaxlt.models.init import unflatten
from jaxlt.models.layers import make_context
from jaxlt.models.trees import best_trees
from jaxlt.modules.deltas import applied

_WORD_FIELDS = ("word_first", "word_labels", "word_heads")


class Answer(NamedTuple):
    """What a head says: a label a word, or [the class], or [the answer]; heads of a tree."""

    labels: tuple[str, ...]
    heads: tuple[int, ...] = ()


class _Asked(NamedTuple):
    """An example with its parts and its place in the order asked."""

    place: int
    marked: Marked
    pieces: list[Piece]


def label(
    predictor: Predictor,
    labels: Labels,
    head: str,
    examples: Sequence[Marked],
    *,
    languages: Sequence[int] | None = None,
    batch_size: int = 64,
    called: Callable[[int], str] | None = None,
) -> list[Answer]:
    """Labels examples by a head; answers come in their order.

    languages: the id of each example's language, where modules are routed by it. called: what an
    example is called in errors. What DataConfig.overlength leaves out has an answer without labels.
    """
    find_head(predictor.config.heads, head)
    names = labels.inventory.labels.get(head, ())
    shape = next(task.shape for task in labels.tasks if task.name == head)
    if not names and shape != "span":
        raise UserError(f"Head '{head}' has learnt no label: its training data had none.")
    asked = []
    for i, marked in enumerate(examples):
        try:
            asked.append(_Asked(i, marked, labels.pieces(head, marked)))
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
        found = _group(predictor, labels, head, names, group, ids)
        for one, answer in zip(group, found, strict=True):
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
    ends = np.cumsum([len(one.pieces) for one in group])
    rows = [range(end - len(one.pieces), end) for one, end in zip(group, ends, strict=True)]
    if isinstance(outputs, Parse):
        return _trees(spec, outputs, names, group, rows)
    if isinstance(outputs, Spans):
        spans, scores = (np.asarray(x) for x in best_span(outputs, LONGEST_ANSWER))
        return [_span(labels, one, spans, scores, r) for one, r in zip(group, rows, strict=True)]
    if isinstance(outputs, Tags):
        best = np.asarray(best_tags(_known(outputs, len(names))))
        return [_tags(names, one, best, r) for one, r in zip(group, rows, strict=True)]
    logs = np.asarray(jax.nn.log_softmax(outputs[:, : len(names)]))
    return [Answer((names[int(logs[list(r)].sum(0).argmax())],)) for r in rows]


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
    rows, shards = len(batch["head"]), batch_shards(spec.mesh)
    whole = shards
    while whole < rows:
        whole *= 2
    padded = {
        n: np.pad(v, [(0, whole - rows)] + [(0, 0)] * (v.ndim - 1), mode="edge")
        for n, v in batch.items()
    }
    padded["row"] = np.arange(whole, dtype=np.int32)
    with mesh_context(spec.mesh, spec.rules):
        placed = place_rows([(0, padded)], whole, spec.mesh)
        return _apply(spec, head)(predictor.params, placed)


@functools.lru_cache(maxsize=16)
def _apply(spec: StepSpec, head: str) -> Any:
    """The compiled (params, batch) -> outputs of a head."""

    def run(params: Mapping[str, jax.Array], batch: Mapping[str, jax.Array]) -> Any:
        model: Any = model_of(spec.model)
        variables = unflatten(applied(params, spec.model.deltas))
        outputs = model.apply(variables, batch, make_context(batch), only=head, method="outputs")
        return outputs[head]

    return jax.jit(run)


def _known(tags: Tags, count: int) -> Tags:
    """Scores of the labels that have names, without the room for more."""
    chain = tags.chain
    if chain is not None:
        chain = Chain(chain.start[:count], chain.transitions[:count, :count], chain.end[:count])
    return Tags(tags.logits[..., :count], tags.mask, chain)


def _tags(names: tuple[str, ...], one: _Asked, best: np.ndarray, rows: range) -> Answer:
    found: list[str] = []
    for row, piece in zip(rows, one.pieces, strict=True):
        own = best[row, piece.first - piece.start : piece.last - piece.start]
        found += [names[i] for i in own.tolist()]
    return Answer(tuple(found))


@functools.partial(jax.jit, static_argnames="count")
def _relations(parse: Parse, heads: jax.Array, count: int) -> jax.Array:
    """The best relations [B, W] of words to given heads [B, W]."""
    return jnp.argmax(label_scores(parse, heads)[..., :count], axis=-1)


def _trees(
    spec: StepSpec, parse: Parse, names: tuple[str, ...], group: list[_Asked], rows: list[range]
) -> list[Answer]:
    """The best tree of each example, and the relations of its arcs."""
    arcs = np.asarray(parse.arcs)
    lengths = np.asarray(parse.mask).sum(1)
    heads = best_trees(arcs, lengths)
    trees: list[np.ndarray] = []
    for one, mine in zip(group, rows, strict=True):
        if len(mine) == 1:
            trees.append(heads[mine[0], : len(one.marked.words)])
            continue
        whole = _joined(one, arcs, mine)
        tree = best_trees(whole[None], np.array([len(one.marked.words)]))[0]
        trees.append(tree)
        for row, piece in zip(mine, one.pieces, strict=True):
            part = tree[piece.start : piece.stop]
            inside = (part > piece.start) & (part <= piece.stop)
            heads[row, : len(part)] = np.where(inside, part - piece.start, 0)
    with mesh_context(spec.mesh, spec.rules):
        found = np.asarray(_relations(parse, jnp.maximum(jnp.asarray(heads), 0), len(names)))
    return [
        Answer(_tags(names, one, found, mine).labels, tuple(tree.tolist()))
        for one, mine, tree in zip(group, rows, trees, strict=True)
    ]


def _joined(one: _Asked, arcs: np.ndarray, rows: range) -> np.ndarray:
    """Arc scores [N + 1, N + 1] of an example from those of its parts, each word's from one part.

    A part's scores are made log-probabilities of heads first: raw ones of two parts have no common
    measure.
    """
    count = len(one.marked.words)
    whole = np.full((count + 1, count + 1), NEVER, np.float64)
    for row, piece in zip(rows, one.pieces, strict=True):
        size = piece.stop - piece.start
        part = arcs[row, : size + 1, : size + 1].astype(np.float64)
        part -= part.max(0, keepdims=True)
        part -= np.log(np.exp(part).sum(0, keepdims=True))
        nodes = np.array([0, *range(piece.start + 1, piece.stop + 1)])
        words = np.arange(piece.first, piece.last) + 1
        whole[np.ix_(nodes, words)] = part[:, words - piece.start]
    return whole


def _span(
    labels: Labels, one: _Asked, spans: np.ndarray, scores: np.ndarray, rows: range
) -> Answer:
    """The text of the best span of any part."""
    best = max(rows, key=lambda row: scores[row])
    piece = one.pieces[best - rows[0]]
    context = np.flatnonzero(piece.fields["context"])
    first, last = (int(place - context[0]) + piece.start for place in spans[best])
    start, end = labels.reader.characters(one.marked.texts[1], first, last + 1)
    return Answer((one.marked.texts[1][start:end],))
