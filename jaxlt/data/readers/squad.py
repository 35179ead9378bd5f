"""SQuAD's JSON, in which SQuAD, MLQA, XQuAD and TyDi QA's gold passages are published.

    {"data": [{"paragraphs": [{"context": "By Ada.", "qas": [
        {"id": "1", "question": "Who?", "answers": [{"text": "Ada", "answer_start": 3}]}]}]}]}

A file is read whole. Questions without an answer (SQuAD 2's `is_impossible`) are left out, with a
warning: an answer is a part of the text here.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from jaxlt.data.readers.lines import numbered
from jaxlt.data.readers.problems import Problems, warn_once

_FORM = (
    'expected SQuAD\'s form, {"data": [{"paragraphs": [{"context": "...", "qas": [{"question": '
    '"...", "answers": [...]}]}]}]}'
)


def rows(path: str, problems: Problems) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields (question's number from 1, text by column), as tables of questions have it."""
    lines = (text for _, text in numbered(path, problems))
    try:
        value = json.loads("\n".join(lines))
    except json.JSONDecodeError as err:
        problems.at(path, err.lineno, f"not JSON at column {err.colno}: {err.msg}; {_FORM}.")
        return
    except RecursionError:
        problems.add(f"'{path}' is nested too deeply; {_FORM}.")
        return
    number = unanswered = 0
    for context, question in _questions(value, path, problems):
        number += 1
        row, fault = _row(context, question)
        if fault:
            problems.at(path, number, fault, "question")
        elif row:
            yield number, row
        else:
            unanswered += 1
    if unanswered:
        warn_once(
            f"'{path}': {unanswered} of {number} questions have no answer in their text, and are "
            "left out."
        )


def _questions(value: Any, path: str, problems: Problems) -> Iterator[tuple[Any, Any]]:
    """Yields (context, question) of a file; parts that have another form are problems."""
    for article in _list(value, "data", path, problems):
        for paragraph in _list(article, "paragraphs", path, problems):
            for question in _list(paragraph, "qas", path, problems):
                yield paragraph.get("context"), question


def _list(value: Any, name: str, path: str, problems: Problems) -> list[Any]:
    inner = value.get(name) if isinstance(value, dict) else None
    if isinstance(inner, list):
        return inner
    there = f"there are {', '.join(value) or 'none'}" if isinstance(value, dict) else "no object"
    problems.add(f"'{path}': no list '{name}' where one belongs ({there}); {_FORM}.")
    return []


def _row(context: Any, question: Any) -> tuple[dict[str, str], str]:
    """Returns (text by column, what is wrong or ""); no columns for a question without answer."""
    if not isinstance(question, dict) or not isinstance(question.get("question"), str):
        return {}, f"no text 'question'; {_FORM}."
    if not isinstance(context, str):
        return {}, f"no text 'context' beside its 'qas'; {_FORM}."
    answers = question.get("answers")
    if not isinstance(answers, list) or not all(
        isinstance(one, dict) and isinstance(one.get("text"), str) for one in answers
    ):
        return {}, f"no list 'answers', each with its 'text'; {_FORM}."
    if question.get("is_impossible") or not answers:
        return {}, ""
    row = {
        "id": str(question.get("id", "")),
        "question": question["question"],
        "context": context,
        "answers": json.dumps([one["text"] for one in answers], ensure_ascii=False),
    }
    starts = [_start(one) for one in answers]
    if all(start is not None for start in starts):
        row["answer_start"] = json.dumps(starts)
    return row, ""


def _start(answer: Mapping[str, Any]) -> int | None:
    start = answer.get("answer_start")
    return start if type(start) is int else None
