"""What there is of a study's stages, and what stands in the way of the others.

    found = Survey(stages, places)           # absent, running, done, failed, stale; jax stays out
    found.states["languages=4/0/tags"].why   # ['TrainConfig.steps 600 -> 300']
    rows(found)                              # Results of what is done
    refuse_stale(found)                      # UserError: nothing is run again in silence
    ask_again(found, "stale")                # or "failed", or a stage's name: it runs again

A stage is stale where it is done, but asks something else now, read what its needs do not hold any
more, or lost its rows. `asked` and `used` of its result say so.
"""

import dataclasses
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from jaxlt.errors import UserError, nearest, some_of
from jaxlt.experiments.attempt import (
    CHECKPOINTS,
    COLLECTED,
    ROWS,
    attempt_folder,
    read_note,
    rows_damage,
    tail,
)
from jaxlt.experiments.lease import Watch
from jaxlt.experiments.stage import Stage, asked, differences, digest
from jaxlt.experiments.storage import Entry, Places, Register
from jaxlt.metrics import result_file
from jaxlt.metrics.result import Result

Name = Literal["absent", "running", "done", "failed", "stale"]
RESULT, LEASE, FAILED = "result", "lease", "failed"
WITHDRAWN, AGAIN = "withdrawn", "again"


@dataclasses.dataclass(frozen=True)
class State:
    """Where a stage is. why: what differs, or why it failed; a line each.

    result, lease and failure are the newest of their registers, also where they do not decide.
    """

    stage: Stage
    name: Name
    why: tuple[str, ...] = ()
    result: Entry | None = None
    lease: Entry | None = None
    failure: Entry | None = None

    @property
    def record(self) -> dict[str, Any]:
        """Of what is done or stale its result; {} otherwise."""
        held = self.result is not None and WITHDRAWN not in self.result.record
        return self.result.record if held and self.result is not None else {}


def state_of(
    stage: Stage, places: Places, needs: dict[str, str], watch: Watch | None = None
) -> State:
    """Reads where a stage is. needs: digests of what its needs hold, where they hold something.

    Without a watch that has seen it before, a lease counts as alive (but where its process is known
    to be gone).
    """
    folder = places.folder(stage)
    registers = {name: Register(folder / name) for name in (RESULT, LEASE, FAILED)}
    result = registers[RESULT].newest()
    if result is not None and WITHDRAWN not in result.record:
        why = _stale(stage, places, result, needs)
        return State(stage, "stale" if why else "done", why, result)
    lease, failure = registers[LEASE].newest(), registers[FAILED].newest()
    name: Name = "absent"
    why = ()
    if lease is not None and (watch or Watch()).held(registers[LEASE], lease):
        name = "running"
    elif failure is not None and _is_final(stage, failure):
        name, why = "failed", (failure.record["why"],)
    return State(stage, name, why, result, lease, failure)


def _is_final(stage: Stage, failure: Entry) -> bool:
    """Whether a failure is one of what is asked now, and stands."""
    record = failure.record
    return bool(record.get("final")) and record["asked"] == digest(asked(stage))


def _stale(stage: Stage, places: Places, result: Entry, needs: dict[str, str]) -> tuple[str, ...]:
    """What a result is not that it should be, a line each."""
    if result.damage:
        return (result.damage,)
    record, now = result.record, asked(stage)
    if record["asked"] != now:
        return tuple(differences(record["asked"], now))
    others = (n for n, of in record["used"].items() if needs.get(n, of) != of)
    why = tuple(f"'{name}' is another than it read" for name in others)
    damage = rows_damage(attempt_folder(places.folder(stage), record["attempt"]), record["rows"])
    return (*why, damage) if damage else why


class Survey:
    """The states of stages, which come needs first; `refresh` reads again what can change."""

    def __init__(self, stages: Sequence[Stage], places: Places, watch: Watch | None = None) -> None:
        self.stages, self.places, self.watch = list(stages), places, watch or Watch()
        self.states: dict[str, State] = {}
        self.read_all()

    def read_all(self) -> None:
        """Reads all stages, also those that `refresh` takes for settled."""
        for stage in self.stages:
            self.read(stage)
        for state in self.named("absent"):
            for need in state.stage.needs:
                self._check_kept(need, state.stage)

    def _check_kept(self, need: Stage, by: Stage) -> None:
        """Marks a stage as stale whose checkpoints `gc` has deleted, where another needs them."""
        state = self.states[need.path]
        if state.name == "done":
            own = attempt_folder(self.places.folder(need), state.record["attempt"])
            if (own / COLLECTED).exists():
                why = (f"its checkpoints were deleted (gc), and '{by.path}' needs them",)
                self.states[need.path] = dataclasses.replace(state, name="stale", why=why)

    def read(self, stage: Stage) -> State:
        """Reads one stage again."""
        needs = {}
        for need in stage.needs:
            if held := self.states[need.path].record:
                needs[need.path] = held["digest"]
        state = self.states[stage.path] = state_of(stage, self.places, needs, self.watch)
        return state

    def refresh(self) -> None:
        """Reads again the stages that are neither done, failed nor stale."""
        for state in list(self.states.values()):
            if state.name in ("absent", "running"):
                self.read(state.stage)

    def named(self, *names: Name) -> list[State]:
        """The stages that are so, in their order."""
        return [state for state in self.states.values() if state.name in names]

    @property
    def blocked(self) -> dict[str, str]:
        """Stages that cannot be done: by path, the failed or stale stage that each waits for."""
        by: dict[str, str] = {}
        for state in self.named("absent"):
            for need in state.stage.needs:
                held_up = self.states[need.path].name in ("failed", "stale")
                first = need.path if held_up else by.get(need.path)
                if first:
                    by.setdefault(state.stage.path, first)
        return by

    @property
    def left(self) -> int:
        """How many stages are still to be done, and can be."""
        return len(self.named("absent", "running")) - len(self.blocked)

    @property
    def status(self) -> int:
        """The exit status: 0 where all is done, 2 where something is stale, else 1."""
        if self.named("stale"):
            return UserError.status
        return int(len(self.named("done")) < len(self.states))

    def find(self, name: str, words: Iterable[str] = ()) -> list[State]:
        """The stages of a path, or of a name in all cells and seeds; UserError if there is none.

        words: what might have been meant as well.
        """
        if name in self.states:
            return [self.states[name]]
        found = [state for state in self.states.values() if state.stage.name == name]
        if not found:
            names = {*self.states, *(state.stage.name for state in self.states.values())}
            raise UserError(f"The study has no stage '{name}'.{nearest(name, {*names, *words})}")
        return found

    def said(self) -> list[str]:
        """How it stands, in lines: counts, then what failed, is stale or is blocked, and why."""
        counts = Counter(state.name for state in self.states.values())
        names: tuple[Name, ...] = ("done", "running", "failed", "stale", "absent")
        parts = [f"{counts[name]} {name}" for name in names if counts[name]]
        lines = [f"{len(self.states)} stages: {', '.join(parts)}."]
        for state in self.named("failed", "stale"):
            lines.append(f"{state.name}: {state.stage.path}: {'; '.join(state.why)}")
        waiting: dict[str, list[str]] = {}
        for path, need in self.blocked.items():
            waiting.setdefault(need, []).append(path)
        for need, paths in waiting.items():
            lines.append(f"blocked: {some_of(paths)} (by {need})")
        return lines


def refuse_stale(survey: Survey, but: Iterable[State] = ()) -> None:
    """Raises UserError where something is stale, with what differs. but: what may be."""
    left = {state.stage.path for state in but}
    stale = [state for state in survey.named("stale") if state.stage.path not in left]
    if stale:
        few = [f"{s.stage.path} ({'; '.join(s.why[:3])})" for s in stale[:6]]
        more = f" and {len(stale) - len(few)} more" if len(stale) > len(few) else ""
        raise UserError(
            f"Of {len(survey.states)} stages {len(stale)} are done, but not as the study asks now: "
            f"{', '.join(few)}{more}. Nothing is run again in silence: --rerun=stale runs them "
            "again (and leaves what they wrote where it is), or put the settings back."
        )


def to_rerun(survey: Survey, what: str) -> list[State]:
    """The stages that --rerun names: those that are 'stale' or 'failed', or of a name."""
    kinds: dict[str, Name] = {"stale": "stale", "failed": "failed"}
    return survey.named(kinds[what]) if what in kinds else survey.find(what, kinds)


def ask_again(survey: Survey, what: str) -> list[str]:
    """Has stages run again: those that are 'stale' or 'failed', or of a name; returns their paths.

    Their results are withdrawn, what they wrote stays. Stages in hand are left alone.
    """
    paths = []
    for state in to_rerun(survey, what):
        folder = survey.places.folder(state.stage)
        known = Register(folder / LEASE).generations()
        mark: dict[str, Any] = {"lease": known[-1] if known else 0, "why": f"--rerun={what}"}
        if state.record or (state.result is not None and state.result.damage):
            assert state.result is not None
            mark |= {WITHDRAWN: True}
            if not Register(folder / RESULT).put(state.result.generation + 1, mark):
                continue  # somebody else did it
        elif state.name == "failed":
            Register(folder / FAILED).add({AGAIN: True, **mark})
        else:
            continue
        paths.append(state.stage.path)
        survey.read(state.stage)
    return paths


def rows(survey: Survey, states: Iterable[State] | None = None) -> list[Result]:
    """The rows of the stages that are done, in their order; those of stale ones are left out."""
    found = []
    for state in survey.named("done") if states is None else states:
        folder = attempt_folder(survey.places.folder(state.stage), state.record["attempt"])
        found += result_file.read(folder / ROWS)
    return found


def status(survey: Survey) -> list[dict[str, Any]]:
    """Who has which stage in hand, and since when, for people: a dictionary a stage that runs.

    {"stage": "shared/0/base", "worker": "worker-1", "host": "node3", "pid": 71, "since": 1.7e9}
    """
    found = []
    for state in survey.named("running"):
        record = state.lease.record if state.lease is not None else {}
        known = {name: record.get(name) for name in ("worker", "host", "pid")}
        found.append({"stage": state.stage.path, **known, "since": record.get("taken")})
    return found


def explain(survey: Survey, name: str) -> list[dict[str, Any]]:
    """Why stages of a path or name are as they are: a dictionary each, fit for JSON.

    'state', 'why' (lines), 'waits' (needs that are not done, with their state), 'folder' and 'log'
    (last lines) of the newest attempt, its 'command', 'attempts' made, and 'result' or 'failure'.
    """
    found = []
    for state in survey.find(name):
        folder = survey.places.folder(state.stage)
        record = state.record
        tried = Register(folder / LEASE).generations()
        number = record.get("attempt") or (tried[-1] if tried else 0)
        own = attempt_folder(folder, number)
        failure = state.failure.record if state.failure is not None else {}
        needs = {need.path: survey.states[need.path].name for need in state.stage.needs}
        found.append(
            {
                "stage": state.stage.path,
                "verb": state.stage.verb,
                "state": "blocked" if state.stage.path in survey.blocked else state.name,
                "why": list(state.why),
                "waits": {path: kind for path, kind in needs.items() if kind != "done"},
                "folder": str(own if number else folder),
                "attempts": len(tried),
                "command": read_note(own).get("command", ""),
                "log": tail(own) or failure.get("tail", []),
                "result": {n: v for n, v in record.items() if n not in ("asked", "command")},
                "failure": {n: v for n, v in failure.items() if n not in ("asked", "tail")},
            }
        )
    return found


def gc(survey: Survey, dry: bool = False) -> list[tuple[str, int]]:
    """Deletes checkpoints that no further stage needs; returns their folders and bytes.

    Those of attempts that led to no result, and of stages of the study (not of the laboratory,
    which others share) once all that need them are done. Stages in hand, and all rows, are left. A
    stage that is added later and needs what went makes its need stale.
    """
    wanted = {
        need.path for state in survey.states.values() if state.name != "done"
        for need in state.stage.needs
    }  # fmt: skip
    found = []
    for state in survey.named("done"):
        folder, attempts = survey.places.folder(state.stage), []
        if (folder / "attempts").is_dir():
            attempts = sorted((folder / "attempts").iterdir())
        for own in attempts:
            checkpoints = own / CHECKPOINTS
            result = f"{state.record['attempt']:06d}"
            needed = state.stage.lab or state.stage.path in wanted
            if own.name > result or (own.name == result and needed) or not checkpoints.is_dir():
                continue
            size = sum(path.stat().st_size for path in checkpoints.rglob("*") if path.is_file())
            found.append((str(checkpoints), size))
            if not dry:
                (own / COLLECTED).touch()
                shutil.rmtree(checkpoints)
    return found
