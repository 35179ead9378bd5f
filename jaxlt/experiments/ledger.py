"""What a study's folder, or its file in `results`, says of the study: what was planned, and when.

    record = described(plan, command="jaxlt experiment experiments/mad_x.gin")
    keep(places.study, record)       # STUDY/plan/000001.json; one more where it differs
    told = of_folder(Path("studies/mad_x"))     # Told(record, history, rows, ...), without gin
    told.judged()
    export(told, Path("results"))               # mad_x.jsonl, mad_x.json, mad_x.gin

A record has all that verdicts and a report need beside the rows. The first one keeps the rules of
claims as they were before there was anything to be seen.
"""

import dataclasses
import itertools
import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxlt.errors import UserError
from jaxlt.experiments.arms import Grid, grid_of
from jaxlt.experiments.attempt import ROWS, attempt_folder, rows_damage
from jaxlt.experiments.claims import Judged, changed, check, judged, record
from jaxlt.experiments.config import Claim
from jaxlt.experiments.stage import LAB, asked, digest
from jaxlt.experiments.states import RESULT, WITHDRAWN
from jaxlt.experiments.storage import Register, writing
from jaxlt.experiments.study import Plan
from jaxlt.metrics import result_file
from jaxlt.metrics.result import Result
from jaxlt.report.figures import Figure

PLAN = "plan"
_SAMPLES = 6  # languages
_NEWS = ("planned", "data")  # what may differ between two records of the same plan


def described(plan: Plan, command: str, gin: str = "") -> dict[str, Any]:
    """The record of a plan, fit for JSON; raises UserError where a claim names no arm or cell.

    gin: the text of its files.
    """
    study = plan.study
    grid = grid_of(study, plan.base)
    check(study.claims, plan.stages, grid)
    whole = {
        "name": study.name,
        "question": getattr(study, "question", ""),
        "claims": [dataclasses.asdict(claim) for claim in study.claims],
        "figures": [dataclasses.asdict(figure) for figure in study.figures],
        "grid": dataclasses.asdict(grid),
        "stages": {stage.path: digest(asked(stage)) for stage in plan.stages},
        "command": command,
        "gin": gin,
        "planned": round(time.time()),
    }
    return json.loads(json.dumps(whole | record(study.claims, study.all_seeds, data=False)))


def keep(study: Path, now: Mapping[str, Any]) -> None:
    """Writes a record down in a study's folder, unless the newest one says the same."""
    register = Register(study / PLAN)
    newest = register.newest()
    if newest is None or _plain(newest.record) != _plain(now):
        register.add({**now, "data": _any_result(study)})


def _plain(plan: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in plan.items() if name not in _NEWS}


@dataclasses.dataclass(frozen=True)
class Told:
    """A study as its folder, or an exported file, tells of it.

    record: the newest. history: rules of all records. rows: of what is done and asks what is asked
    now. done, stale: numbers of stages. seconds: what stages took, {'cell/name': seconds}.
    samples: of its languages, {'language', 'text', 'gloss'}.
    """

    record: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    rows: Sequence[Result]
    done: int
    stale: int = 0
    seconds: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    samples: Sequence[Mapping[str, str]] = ()

    @property
    def name(self) -> str:
        return str(self.record["name"])

    @property
    def stages(self) -> int:
        """How many stages it has."""
        of = self.record["stages"]
        return of if isinstance(of, int) else len(of)

    @property
    def claims(self) -> tuple[Claim, ...]:
        """Its claims as they are now."""
        return tuple(_made(Claim, one) for one in self.record["claims"])

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Its figures."""
        return tuple(_made(Figure, one) for one in self.record["figures"])

    @property
    def grid(self) -> Grid:
        """Its cells."""
        return _made(Grid, self.record["grid"])

    def changed(self) -> dict[str, str]:
        """What became of rules after there were results, by the claim's name."""
        return changed(self.claims, self.history)

    def judged(self) -> list[Judged]:
        """The verdicts."""
        finished = self.done == self.stages
        seeds = self.record["seeds"]
        return judged(self.claims, self.rows, seeds, self.grid, self.history, finished)


def _made(kind: Any, record: Mapping[str, Any]) -> Any:
    """A dataclass out of JSON; what this version does not know is left out."""
    known = {field.name for field in dataclasses.fields(kind)}
    return kind(**{n: _tuples(v) for n, v in record.items() if n in known})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def of_folder(study: Path, lab: Path | None = None, now: Mapping[str, Any] | None = None) -> Told:
    """Reads a study's folder. lab: the laboratory's, beside it unless given.

    now: the record of what is planned now, where that is perhaps not the newest in the folder.
    """
    register = Register(study / PLAN)
    plans = [register.read(number) for number in register.generations()]
    for damage in (one.damage for one in plans if one.damage):
        raise UserError(
            f"{damage}. It has the rules of claims as they were planned: put it back from a copy, "
            "or remove it, and say so where you show the verdicts."
        )
    history = [one.record for one in plans]
    if now is not None and (not history or _plain(now) != _plain(history[-1])):
        history.append({**now, "data": _any_result(study)})
    if not history:
        raise UserError(f"'{study}' is no study's folder: nothing was run in it yet.")
    newest = history[-1]
    results = {path: _result(_place(path, study, lab)) for path in newest["stages"]}
    rows: list[Result] = []
    samples: list[dict[str, str]] = []
    done = 0
    took: dict[str, list[float]] = {}
    versions: dict[str, str] = {}
    for path, ask in newest["stages"].items():
        found = results[path]
        if found is None or not _is_asked(found, ask, results):
            continue
        folder = attempt_folder(_place(path, study, lab), found["attempt"])
        if rows_damage(folder, found["rows"]):
            continue
        done += 1
        samples = samples or texts_of(folder)
        rows += result_file.read(folder / ROWS)
        cell, _, rest = path.partition("/")
        name = f"{cell}/{rest.partition('/')[2]}"
        took.setdefault(name, []).append(found["seconds"])
        versions |= found.get("versions", {})
    there = sum(found is not None for found in results.values())
    seconds = {name: round(statistics.median(each), 2) for name, each in took.items()}
    return Told(newest, history, rows, done, there - done, seconds, versions, samples)


def _place(path: str, study: Path, lab: Path | None) -> Path:
    """The folder of a stage."""
    first, _, rest = path.partition("/")
    return (lab or study.parent / LAB) / rest if first == LAB else study / path


def _result(folder: Path) -> dict[str, Any] | None:
    newest = Register(folder / RESULT).newest()
    if newest is None or newest.damage or WITHDRAWN in newest.record:
        return None
    return newest.record


def _is_asked(found: Mapping[str, Any], ask: str, results: Mapping[str, Any]) -> bool:
    """Whether a result is of what is asked now, and read what its needs hold now."""
    return digest(found["asked"]) == ask and all(
        results.get(need) is None or results[need]["digest"] == used
        for need, used in found["used"].items()
    )


def _any_result(study: Path) -> bool:
    """Whether a stage of the study itself has ever come to a result, also one of other cells."""
    return any(True for _ in study.glob(f"*/*/*/{RESULT}/*.json"))  # CELL/SEED/NAME


def texts_of(folder: Path) -> list[dict[str, str]]:
    """The first sentence of each made language in a stage's folder, with glosses; few of them."""
    found = []
    for path in sorted(folder.glob("conllu/*.conllu"))[:_SAMPLES]:
        forms, glosses = [], []
        with open(path, encoding="utf-8") as lines:
            for line in itertools.takewhile(str.strip, lines):
                fields = line.rstrip("\n").split("\t")
                if len(fields) == 10 and fields[0].isdigit():
                    named = dict(part.partition("=")[::2] for part in fields[9].split("|"))
                    forms.append(fields[1])
                    glosses.append(named.get("Gloss", "_"))
        text = {"text": " ".join(forms), "gloss": " ".join(glosses)}
        found.append({"language": path.stem, **text})
    return [one for one in found if one["text"]]


def export(told: Told, folder: Path) -> Path:
    """Writes NAME.jsonl (rows), NAME.json (the record) and NAME.gin; returns the first."""
    said = {name: value for name, value in told.record.items() if name not in ("stages", "gin")}
    whole = {
        **said,
        "stages": told.stages,
        "done": told.done,
        "stale": told.stale,
        "history": [
            {n: past[n] for n in ("rules", "seeds", "data", "planned")} for past in told.history
        ],
        "seconds": told.seconds,
        "versions": told.versions,
        "samples": told.samples,
    }
    lines = (json.dumps(result_file.to_json(row), ensure_ascii=False) for row in told.rows)
    texts = {
        "jsonl": "".join(f"{line}\n" for line in lines),
        "json": json.dumps(whole, ensure_ascii=False, indent=1) + "\n",
        "gin": str(told.record["gin"]),
    }
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for ending, text in texts.items():
            path = folder / f"{told.name}.{ending}"
            draft = path.with_name(f".{path.name}.{os.getpid()}")
            draft.write_text(text, encoding="utf-8")
            draft.replace(path)
    return folder / f"{told.name}.jsonl"


def seconds_of(file: Path) -> dict[str, float]:
    """What stages took, by an exported file; {} where there is none."""
    try:
        return dict(json.loads(file.read_text("utf-8")).get("seconds", {}))
    except (OSError, ValueError, AttributeError):
        return {}


def of_results(file: Path) -> Told:
    """Reads what `export` wrote: rows (NAME.jsonl) and, beside them, the record."""
    path = file.with_suffix(".json")
    try:
        whole = json.loads(path.read_text("utf-8"))
        history = whole["history"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"'{path}' does not say what the rows in '{file}' were for ({error}): "
            "`jaxlt experiment export` writes both."
        ) from None
    usual = {"stale": 0, "seconds": {}, "versions": {}, "samples": []}
    facts = {name: whole.get(name, default) for name, default in usual.items()}
    return Told(whole, history, result_file.read(file), whole["done"], **facts)
