"""Saved answers: `answers/*.jsonl` in a run's folder, an example a line, what was asked first.

    path = place(workdir, asked)
    check_writable(path.parent)        # before decoding: what cannot be written is said at once
    save(path, asked, examples)
    asked, examples = read(path)

The name is made of what was asked: split, step, modules, decoding, and a hash of it all, so that
two ways of asking never write to one file.
"""

import dataclasses
import hashlib
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from jaxlt.data.sources import files
from jaxlt.errors import UserError
from jaxlt.inference.answers import Example
from jaxlt.metrics.result import Result
from jaxlt.metrics.result_file import to_json

_HEADER = "asked"  # the one key of the first line; files without one are older
_NAMED = ("split", "step", "modules", "decoding", "settings", "base", "config", "seed", "data")
_WORDS = 48  # letters of a name before its hash


def asked_of(common: Mapping[str, Any]) -> dict[str, Any]:
    """What saved answers say of how they came about, as JSON: fields of their Results."""
    fields = {name: common[name] for name in _NAMED if name in common}
    said = to_json(Result(metric="", value=None, n=0, **fields))
    return {name: value for name, value in said.items() if name in _NAMED}


def place(workdir: epath.PathLike, asked: Mapping[str, Any]) -> epath.Path:
    """Returns the file for answers to what was asked; see `asked_of`."""
    modules = "+".join(name for name, *_ in asked.get("modules", ()))
    how = asked.get("decoding", {})
    beams = f"beams{how['beams']}" if "beams" in how else ""
    words = [asked.get("split"), asked.get("step"), modules, beams, "drawn" * ("draws" in how)]
    name = "-".join(
        re.sub(r"[^\w=+.]+", "_", str(word)) for word in words if word not in ("", None)
    )
    text = json.dumps(asked, sort_keys=True, ensure_ascii=False)
    code = hashlib.sha256(text.encode()).hexdigest()[:8]
    return epath.Path(workdir).expanduser() / "answers" / f"{_short(name)}-{code}.jsonl"


def _short(name: str) -> str:
    """The beginning of a name that no file system refuses for its length."""
    return name.encode()[:_WORDS].decode(errors="ignore")


def check_writable(folder: epath.Path) -> None:
    """Raises UserError where no file can be made in a folder (which is made)."""
    probe = folder / f".{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"Nothing can be written to '{folder}': {error.strerror or error}. Mend its "
            "permissions, or copy the run to where you may write."
        ) from error


def save(path: epath.Path, asked: Mapping[str, Any], examples: Sequence[Example]) -> None:
    """Writes what was asked, and then one JSON line an example."""
    records = [{_HEADER: dict(asked)}, *(dataclasses.asdict(one) for one in examples)]
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    try:
        files.write_chunks(str(path), (f"{line}\n".encode() for line in lines))
    except OSError as error:
        raise UserError(f"'{path}' cannot be written: {error.strerror or error}.") from error


def read(path: epath.Path) -> tuple[dict[str, Any], list[Example]]:
    """Returns what was asked ({} in older files) and the answers, or says which line is none."""
    if not path.is_file():
        there = sorted(str(p) for p in path.parent.glob("*.jsonl")) if path.parent.is_dir() else []
        beside = f" There are {', '.join(there)}." if there else ""
        raise UserError(f"There is no file of answers '{path}'.{beside}")
    asked: dict[str, Any] = {}
    examples = []
    # Only a newline ends a line: JSON has the other ends that Unicode knows (U+2028) as they are.
    lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            if number == 1 and list(record) == [_HEADER]:
                asked = dict(record[_HEADER])
                continue
            right, given = record.pop("tags", ("", ""))
            examples.append(Example(**record, tags=(right, given)))
        except (ValueError, TypeError) as error:
            names = ", ".join(field.name for field in dataclasses.fields(Example))
            raise UserError(
                f"'{path}', line {number} is no saved answer ({error}): a JSON object of {names}."
            ) from None
    if not examples:
        raise UserError(f"'{path}' holds no answers.")
    return asked, examples
