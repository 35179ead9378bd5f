"""Questions about a text with their right answers: what a row of such a table says.

{"lang": "en", "question": "Who?", "context": "By Ada.", "answers": ["Ada"], "answer_start": [3]}

`answers` is a list in JSON, of texts, or {"text": [...], "answer_start": [...]} as SQuAD's; in a
TSV it is that list as JSON, or a column `answer` with the one right answer. Every answer is a part
of the context; where it begins is counted in characters, and found where the table does not say.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

COLUMNS = ("lang", "id", "question", "context", "answers", "answer_start", "split")
LISTS = ("answers", "answer_start")  # the columns that are lists in JSON


@dataclass(frozen=True)
class Question:
    """A question, the text that it is about, and its right answers, parts of that text.

    `starts` are where the answers begin in the context, in characters, one each.
    """

    language: str
    id: str
    question: str
    context: str
    answers: tuple[str, ...]
    starts: tuple[int, ...]
    split: str = ""


def columns_of(value: Mapping[str, Any]) -> dict[str, str]:
    """Returns the lists of a row of JSON or parquet, as JSON; what else is nested is left out."""
    row = dict(value)
    squad = row.get("answers")
    if isinstance(squad, dict):
        row["answers"] = squad.get("text")
        row["answer_start"] = squad.get("answer_start")
    lists = {name: row.get(name) for name in LISTS}
    return {
        name: json.dumps(several, ensure_ascii=False)
        for name, several in lists.items()
        if isinstance(several, list) and all(isinstance(one, str | int) for one in several)
    }


def fault(row: Mapping[str, str]) -> str:
    """Returns what is wrong with a row's answers, or ""."""
    return _answers(row)[2]


def build(row: Mapping[str, str]) -> Question:
    """Returns the record of a row without fault."""
    answers, starts, _ = _answers(row)
    lang, asked, context = row["lang"], row["question"], row["context"]
    return Question(lang, row.get("id", ""), asked, context, answers, starts, row.get("split", ""))


def row_of(record: Question) -> dict[str, str]:
    """Returns the columns of a record."""
    lists = (json.dumps(several, ensure_ascii=False) for several in (record.answers, record.starts))
    texts = record.language, record.id, record.question, record.context
    return dict(zip(COLUMNS, (*texts, *lists, record.split), strict=True))


def _answers(row: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[int, ...], str]:
    """Returns (answers, where they begin, what is wrong or "")."""
    column = "answers" if "answers" in row else "answer"
    answers = _list(row["answers"], str) if column == "answers" else [row["answer"]]
    if not answers or not all(answers):
        shown = row[column][:40]
        return (), (), f"the column '{column}' is {shown}, expected a list of right answers."
    starts: list[int] | None = None
    if given := row.get("answer_start", ""):
        starts = _list(given if given.startswith("[") else f"[{given}]", int)
        if starts is None or len(starts) != len(answers):
            told = f"the column 'answer_start' is {given[:40]}, expected a number of characters"
            return (), (), f"{told} for each of {len(answers)} in '{column}'."
    context, places = row["context"], []
    for place, answer in enumerate(answers):
        first = context.find(answer)
        start = starts[place] if starts else first
        if first < 0:
            return (), (), f"{answer[:40]!r} of the column '{column}' is not in 'context'."
        if start < 0 or not context.startswith(answer, start):
            told = f"{answer[:40]!r} of the column '{column}' is not in 'context' at answer_start"
            return (), (), f"{told} {start} (characters, from 0); it is at {first}."
        places.append(start)
    return tuple(answers), tuple(places), ""


def _list(text: str, kind: type) -> list[Any] | None:
    """Returns a list in JSON whose members are all of a kind, or None."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    fits = isinstance(value, list) and all(type(one) is kind for one in value)
    return value if fits else None
