"""Several examples a row: which ones share a row, and the fields of packed rows. Numpy alone.

    plan = pack(lengths, (512, 128), groups)     # lengths [N, 2] of inputs and targets
    plan.members[plan.starts[r] : plan.starts[r + 1]]        # the examples of row r

A packed row has segment ids (1, 2, ...; 0 is padding), positions that begin anew in each segment,
and the language of every token, so that a model computes for an example what it computes for a row
of it alone.
"""

from dataclasses import dataclass

import numpy as np

from jaxlt.data.rows.batches import Spec

_OPEN = 64  # rows that an example may still join; more fill little better and take longer
_INT = np.dtype(np.int32)


@dataclass(frozen=True)
class Plan:
    """Rows as lists of examples: row r has members[starts[r]:starts[r + 1]]."""

    members: np.ndarray  # int64 [examples]
    starts: np.ndarray  # int64 [rows + 1]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.starts) - 1


def pack(lengths: np.ndarray, widths: tuple[int, int], groups: np.ndarray) -> Plan:
    """Returns rows of examples [N] whose inputs and targets both fit, only of one group each.

    lengths [N, 2] are those of inputs and targets; examples come in order, and each joins the
    fullest of the recent rows that it fits into.
    """
    order = np.argsort(groups, kind="stable")
    rows: list[list[int]] = []
    for group in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        rows += _pack_group(group, lengths[group], np.array(widths))
    starts = np.zeros(len(rows) + 1, np.int64)
    starts[1:] = np.cumsum([len(row) for row in rows])
    members = np.array([i for row in rows for i in row], np.int64)
    return Plan(members, starts)


def _pack_group(examples: np.ndarray, sizes: np.ndarray, widths: np.ndarray) -> list[list[int]]:
    room = np.zeros((_OPEN, 2), np.int64)  # of the open rows, inputs and targets
    held: list[list[int]] = [[] for _ in range(_OPEN)]
    done: list[list[int]] = []
    for example, size in zip(examples.tolist(), sizes, strict=True):
        after = room - size
        fits = (after >= 0).all(axis=1)
        if fits.any():
            slot = int(np.argmin(np.where(fits, after[:, 0], np.iinfo(np.int64).max)))
            room[slot] = after[slot]
            held[slot].append(example)
            continue
        slot = int(np.argmin(room.min(axis=1)))  # the fullest makes place
        if held[slot]:
            done.append(held[slot])
        held[slot] = [example]
        room[slot] = widths - size
    return done + [row for row in held if row]


def packed_spec(inputs_length: int, targets_length: int) -> Spec:
    """Returns what packed rows have beside the fields of plain ones."""
    spec: Spec = {}
    for stack, width in (("encoder", inputs_length), ("decoder", targets_length)):
        for field in ("segment_ids", "positions", "language_ids"):
            spec[f"{stack}_{field}"] = ((width,), _INT)
    return spec


def join(
    fields: dict[str, np.ndarray], row: np.ndarray, rows: int, languages: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns packed fields [rows, ...] of single examples' fields [N, ...], example i in row[i].

    `row` does not fall: the examples of a row come after one another, in their order in it.
    """
    number = np.arange(len(row)) - np.searchsorted(row, row)  # place among those of its row
    out: dict[str, np.ndarray] = {}
    for stack in ("encoder", "decoder"):
        tokens = fields["encoder_input_tokens" if stack == "encoder" else "decoder_target_tokens"]
        lengths = np.count_nonzero(tokens, axis=1)
        before = np.cumsum(lengths) - lengths
        starts = before - before[np.searchsorted(row, row)]
        width = tokens.shape[1]
        inside = np.arange(width) < lengths[:, None]
        to = np.broadcast_to(row[:, None], inside.shape)[inside]
        place = (starts[:, None] + np.arange(width))[inside]

        def put(values: np.ndarray, to=to, place=place, inside=inside, width=width) -> np.ndarray:
            packed = np.zeros((rows, width), values.dtype)
            packed[to, place] = np.broadcast_to(values, inside.shape)[inside]
            return packed

        for name in [n for n in fields if n.startswith(stack)]:
            out[name] = put(fields[name])
        out[f"{stack}_segment_ids"] = put((number + 1).astype(np.int32)[:, None])
        out[f"{stack}_positions"] = put(np.arange(width, dtype=np.int32)[None])
        out[f"{stack}_language_ids"] = put(languages.astype(np.int32)[:, None])
    out["target_bytes"] = np.bincount(row, fields["target_bytes"], rows).astype(np.int32)
    return out
