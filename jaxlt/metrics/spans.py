"""F1 of named entities: over tags as conlleval and seqeval count, over texts as mT5 does.

span_f1([["B-PER", "I-PER", "O"]], [["B-PER", "O", "O"]])
entity_f1(["PER: Ada $$ LOC: London"], ["PER: Ada"])
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from jaxlt.errors import UserError
from jaxlt.metrics.statistics import Statistics, check_pairs, f1, precision_recall

Span = tuple[str, int, int]  # type, first token, the token after the last
Entity = tuple[str, str]  # type, text
_BETWEEN = " $$ "


def spans_of(tags: Sequence[str]) -> list[Span]:
    """Returns the spans of IOB2 tags (or IOB1, IOBES) [T], repaired as conlleval repairs them.

    An I- (or E-) that follows nothing, or another type, begins a span: no tag is without one. A
    tag without a type has the type `_`.
    """
    parts = [(tag[:1], tag[2:] or "_") for tag in (*tags, "O")]
    spans: list[Span] = []
    start = 0
    for place, ((before, kind), (now, next_kind)) in enumerate(pairwise([("O", "_"), *parts])):
        goes_on = before in "BI" and now in "IE" and kind == next_kind
        if before != "O" and not goes_on:
            spans.append((kind, start, place))
        if now != "O" and not goes_on:
            start = place
    return spans


def span_f1(
    predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
) -> Statistics:
    """Returns micro F1 over spans: a span is right if its type, start and end are.

    Examples are sentences of tags, as many as the reference has. A predicted tag that is none
    counts as O (`details["invalid_tags"]`); in a reference it is an error. Precision, recall, F1
    and count of every type are in the details.
    """
    check_pairs(predictions, references)
    predicted, expected, invalid = [], [], 0
    for place, (ours, gold) in enumerate(zip(predictions, references, strict=True)):
        if isinstance(ours, str) or isinstance(gold, str) or len(ours) != len(gold):
            raise UserError(
                f"Example {place} has tags {ours!r} for the tags {gold!r}: two lists of as many "
                "tags are expected."
            )
        wrong = [tag for tag in gold if not _is_tag(tag)]
        if wrong:
            raise UserError(
                f"Example {place} has {wrong[0]!r} among its reference tags: O, or B- or I- and a "
                "type (of IOBES also E- and S-), is expected."
            )
        valid = [tag if _is_tag(tag) else "O" for tag in ours]
        invalid += sum(not _is_tag(tag) for tag in ours)
        predicted.append(spans_of(valid))
        expected.append(spans_of(gold))
    return _counted(predicted, expected, {"invalid_tags": invalid})


def entities_of(answer: str) -> list[Entity]:
    """Returns the (type, text) that `TYPE: text $$ TYPE: text` names, as mT5 reads it.

    What has not exactly one colon is no entity, in a reference as little as in an answer.
    """
    items = (item.split(":") for item in answer.split(_BETWEEN))
    return [(item[0].strip(), item[1].strip()) for item in items if len(item) == 2]


def entity_f1(
    predictions: Sequence[str | Sequence[Entity]], references: Sequence[str | Sequence[Entity]]
) -> Statistics:
    """Returns mT5's span F1: entities as (type, text), without their places.

    Examples are texts in mT5's form, or entities read already. Two that are equal are worth two
    points. Types apart are in the details.
    """
    check_pairs(predictions, references)
    predicted, expected = (
        [entities_of(one) if isinstance(one, str) else list(map(_entity, one)) for one in side]
        for side in (predictions, references)
    )
    return _counted(predicted, expected, {})


def _is_tag(tag: str) -> bool:
    begins, dash, kind = tag[:1], tag[1:2], tag[2:]
    return tag == "O" or (begins in set("BIES") and (bool(kind) if dash == "-" else not dash))


def _entity(entity: Sequence[str]) -> Entity:
    if isinstance(entity, str) or len(entity) != 2:
        raise UserError(f"An entity is a pair of type and text, not {entity!r}.")
    return str(entity[0]), str(entity[1])


def _counted(
    predicted: Sequence[Iterable[tuple]], expected: Sequence[Iterable[tuple]], details: dict
) -> Statistics:
    """Things by example, the type first in each -> micro F1, and each type in the details."""
    rows = np.zeros((len(predicted), 3))
    by_type: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(3))
    for row, ours, gold in zip(rows, map(Counter, predicted), map(Counter, expected), strict=True):
        for column, things in enumerate((ours & gold, ours, gold)):
            row[column] = things.total()
            for thing, count in things.items():
                by_type[thing[0]][column] += count
    types = {kind: precision_recall(*map(float, by_type[kind])) for kind in sorted(by_type)}
    micro = precision_recall(*map(float, rows.sum(axis=0)))
    return Statistics(rows, f1, len(rows), {**micro, "types": types, **details})
