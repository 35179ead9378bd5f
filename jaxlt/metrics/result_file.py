"""`results.jsonl`: Results, a JSON object a line; the one writer and the one reader.

    append(path, results)        # all of them or none; several processes may write to one file
    read(path)                   # list[Result]; what older versions wrote is turned into Results

Lines are only added; where a number was measured again, `jaxlt.metrics.result.latest` keeps the
last. A line has the fields that are not at their default, and `format`.
"""

import contextlib
import dataclasses
import fcntl
import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

from etils import epath

from jaxlt.errors import UserError, nearest
from jaxlt.identity import first_name
from jaxlt.metrics.result import ALL, Decoding, Interval, Module, Result

FORMAT = 2
_REQUIRED = ("metric", "value", "n")
_FIELDS = {field.name: field for field in dataclasses.fields(Result)}


def append(path: epath.PathLike, results: Iterable[Result]) -> None:
    """Adds Results, stamped with the time; a path that cannot be written is a UserError."""
    now = round(time.time(), 3)
    lines = "".join(
        json.dumps(to_json(dataclasses.replace(one, time=now)), ensure_ascii=False) + "\n"
        for one in results
    )
    file = epath.Path(path)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if "://" in str(file):  # object stores cannot append
            file.write_text((file.read_text() if file.exists() else "") + lines)
            return
        with open(file, "a+b") as out:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(out, fcntl.LOCK_EX)
            if out.seek(0, 2) and (out.seek(-1, 2), out.read(1))[1] != b"\n":
                lines = f"\n{lines}"  # a kill cut the last line short
            out.write(lines.encode())
    except OSError as error:
        raise UserError(f"'{file}' cannot be written: {error.strerror or error}.") from error


def check_writable(path: epath.PathLike) -> None:
    """Raises UserError where nothing can be added to a file, before there is anything to add."""
    append(path, ())


def to_json(result: Result) -> dict[str, Any]:
    """Returns a Result as JSON has it: what is at its default is left out."""
    out: dict[str, Any] = {"format": FORMAT}
    for name, field in _FIELDS.items():
        value = getattr(result, name)
        if name in _REQUIRED or value != _default(field):
            out[name] = _plain(value)
    return out


def _default(field: "dataclasses.Field[Any]") -> Any:
    factory = field.default_factory
    return field.default if factory is dataclasses.MISSING else factory()


def _plain(value: Any) -> Any:
    if isinstance(value, Decoding):
        values = {first_name(f): getattr(value, f.name) for f in dataclasses.fields(value)}
        usual = {first_name(f): f.default for f in dataclasses.fields(value)}
        return {name: _plain(v) for name, v in values.items() if v != usual[name]}
    if isinstance(value, Mapping):
        return dict(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def from_json(record: Mapping[str, Any]) -> Result:
    """Returns the Result that `to_json` (or an older version) wrote; a ValueError says why not."""
    if "format" not in record:
        return _from_first(record)
    if record["format"] != FORMAT:
        raise ValueError(
            f"it is of format {record['format']}, and this jaxlt reads {FORMAT} and older ones"
        )
    fields = {name: value for name, value in record.items() if name != "format"}
    for name in fields:
        if name not in _FIELDS:
            raise ValueError(f"a Result has no field '{name}'.{nearest(name, _FIELDS)}")
    missing = [name for name in _REQUIRED if name not in fields]
    if missing:
        raise ValueError(f"it lacks '{missing[0]}'")
    return Result(**{name: _typed(name, value) for name, value in fields.items()})


def _typed(name: str, value: Any) -> Any:
    """A field's JSON as the field has it."""
    if name == "modules":
        return tuple(Module(*item) for item in value)
    if name == "interval":
        return Interval(*value)
    if name == "decoding":
        now = {first_name(field): field.name for field in dataclasses.fields(Decoding)}
        return Decoding(**{now.get(field, field): _tuples(v) for field, v in value.items()})
    return _tuples(value)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def read(path: epath.PathLike) -> list[Result]:
    """Returns the Results of a file in their order; of a file that is not there, none.

    A line that a kill cut short is passed over; a whole one that is no Result is a UserError.
    """
    file = epath.Path(path)
    results = []
    for number, line in enumerate(file.read_bytes().split(b"\n") if file.exists() else (), 1):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        try:
            if not isinstance(record, dict):
                raise ValueError("it is no JSON object")
            results.append(from_json(record))
        except (ValueError, TypeError, UserError) as error:
            raise UserError(f"'{file}', line {number} is no Result: {error}.") from None
    return results


# What rows were before they had a format: {"run", "task", "language", "modules": [names], "metric",
# "value", "n", "seed", "config_hash", "base_fingerprint", "step", ...}, 'language' a mean's too.
_FIRST = {
    **{name: name for name in ("run", "task", "metric", "value", "n", "seed", "step", "split")},
    "base_fingerprint": "base",
    "data": "data",
    "details": "details",
    "time": "time",
}
_NEEDED = ("run", "task", "language", "modules", "metric", "value", "n", "seed", "step")
_TRANSFER = ("setting", "stopped_on", "sources", "k", "draw")
_LOSSES = {"nll": "tokens", "accuracy": "tokens", "bpb": "bytes"}  # of `jaxlt eval` alone


def _from_first(record: Mapping[str, Any]) -> Result:
    missing = [name for name in _NEEDED if name not in record]
    if missing:
        raise ValueError(f"it has neither 'format' nor '{missing[0]}'")
    fields = {to: record[name] for name, to in _FIRST.items() if record.get(name) is not None}
    fields["value"] = record["value"]
    interval, settings = record.get("interval"), []
    for flag in ("limit", "own_tokens"):
        if record.get(flag) is not None:
            settings.append((flag, str(record[flag])))
    judged = "details" in record or record["metric"] not in _LOSSES
    return Result(
        **fields,
        **_first_language(record, judged),
        modules=tuple(Module(name) for name in record["modules"]),
        config=f"first-{record.get('config_hash', '')}",  # another kind of hash
        interval=Interval(*interval) if interval else None,
        transfer={name: record[name] for name in _TRANSFER if name in record},
        settings=tuple(settings),
    )


def _first_language(record: Mapping[str, Any], judged: bool) -> dict[str, Any]:
    """Target or aggregate, and unit: 'all' was all text in losses, and in scores a mean."""
    language = record["language"]
    pooled = language == ALL and not judged
    unit = "examples" if judged else _LOSSES[record["metric"]]
    means = {"mean": ALL, **{name: name for name in (ALL, "without_source", "seen", "unseen")}}
    if pooled:
        return {"aggregate": "pooled", "group": ALL, "unit": unit}
    if language in means:
        kind = "class" if language in ("seen", "unseen") else "macro"
        return {"aggregate": kind, "group": means[language], "unit": "languages"}
    if language == "families" or language.startswith("family/"):
        unit = "families" if language == "families" else "languages"
        return {"aggregate": "family", "group": language, "unit": unit}
    return {"target": language, "unit": unit}
