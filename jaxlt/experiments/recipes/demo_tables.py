"""What the demo found, for people: one sentence, a table of taggers, what a module changes.

screen().print(tags(rows))
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxlt.experiments.attempt import attempt_folder
from jaxlt.experiments.states import Survey
from jaxlt.metrics.result import Result
from jaxlt.screen import plain_table

if TYPE_CHECKING:
    from rich.table import Table

TAGGERS = {
    "both": "reads both",
    "alone": "reads the labelled one alone",
    "neither": "reads neither",
    "baseline/commonest_tag": "always the commonest tag",
}


def _folder(survey: Survey, stage: str) -> Path:
    """The result of a stage by its name or the beginning of it."""
    state = next(s for s in survey.states.values() if s.stage.name.startswith(stage))
    return attempt_folder(survey.places.folder(state.stage), state.record["attempt"])


def sentence(survey: Survey) -> "Table":
    """One sentence of the language without labels with its right and its guessed tags."""
    told = {}
    for arm in ("both", "neither"):
        (path,) = (_folder(survey, f"tags-{arm}") / "answers").glob("*.jsonl")
        told[arm] = [json.loads(line) for line in path.read_text("utf-8").splitlines()[1:]]
    source = told["both"][0]["language"]
    pairs = zip(told["both"], told["neither"], strict=True)
    unseen = [pair for pair in pairs if pair[0]["language"] != source]
    good = (one for one in unseen if _right(one[0]) > _right(one[1]) and 6 <= _words(one[0]) <= 10)
    best, without = next(good, unseen[0])
    words = best["inputs"].partition(": ")[2].split()
    heads = ("a sentence of it", "right", "by who reads both", "by who reads neither")
    table = plain_table(*heads, padding=(0, 3, 0, 0))
    lines = (best["target"], best["answer"], without["answer"])
    for row in zip(words, *(line.split() for line in lines), strict=False):
        table.add_row(*row)
    return table


def _right(example: dict[str, Any]) -> float:
    pairs = list(zip(example["target"].split(), example["answer"].split(), strict=False))
    return sum(gold == guess for gold, guess in pairs) / max(1, len(pairs))


def _words(example: dict[str, Any]) -> int:
    return len(example["target"].split())


def tags(found: Sequence[Result]) -> "Table":
    """Each tagger's accuracy in both languages."""
    scores = {
        (row.method, row.target): row
        for row in found
        if row.metric == "accuracy" and row.split == "test" and row.aggregate == "none"
    }
    languages = list(dict.fromkeys(target for _, target in scores))
    names = ("labelled", "never labelled")
    heads = [f">{code} ({name})" for code, name in zip(languages, names, strict=True)]
    table = plain_table("\npart-of-speech tags, share right", *heads, padding=(0, 3, 0, 0))
    for method, name in TAGGERS.items():
        told = [scores[method, language] for language in languages]
        table.add_row(name, *(f"{row.value:.3f}" for row in told))
    return table


def module(found: Sequence[Result]) -> str:
    """What a language module does to the language that its encoder has not read."""
    bits = {row.method: row.value for row in found if row.metric == "bpb" and row.method}
    without, learnt = bits["without"], bits["with"]
    return (
        "\nA module of the second language on the encoder that has read the first alone: a masked "
        f"byte costs\n{without:.2f} bits without it and {learnt:.2f} with it; the encoder itself "
        "is untouched."
    )
