"""How much of each language a mixture holds: temperature, UniMax, equal shares. Numpy alone.

Counts are what languages have (tokens of text, or examples), and come from the token caches, which
hold them since they were written; nothing is counted twice.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxlt.errors import UserError


def temperature(counts: np.ndarray, alpha: float) -> np.ndarray:
    """Returns the shares n^alpha [L], summing to 1; alpha 1 is as the text lies, 0 is equal."""
    # Relative to the largest, so that no power of a count can overflow.
    weights = (np.asarray(counts, np.float64) / np.max(counts)) ** alpha
    return weights / weights.sum()


def equal(counts: np.ndarray) -> np.ndarray:
    """Returns the same share for each language, [L]."""
    return np.full(len(counts), 1 / len(counts))


def unimax(counts: np.ndarray, budget: float, max_epochs: float) -> np.ndarray:
    """Returns UniMax's shares [L], summing to 1: equal, but nobody beyond `max_epochs` of its text.

    `budget` is what the whole training reads, in the unit of `counts`. From the smallest language
    up, each takes an equal part of what is left, or as much as its epochs allow. A budget beyond
    all languages' epochs leaves shares in proportion to their text.
    """
    amounts = np.asarray(counts, np.float64)
    left, taken = float(budget), np.zeros(len(amounts))
    order = np.argsort(amounts, kind="stable")
    for done, language in enumerate(order):
        taken[language] = min(left / (len(order) - done), amounts[language] * max_epochs)
        left -= taken[language]
    return taken / taken.sum()


def by_task(said: Mapping[str, float], languages: Mapping[str, str]) -> dict[str, float]:
    """Returns the rates of tasks that are given by task, by language or by kind ('tagging').

    `languages` has the language of each task; the rate of a language, or of a kind, is shared
    equally by those of its tasks that have no rate of their own.
    """
    rates = {name: rate for name, rate in said.items() if name in languages}
    ends = {task: (language, task.partition(".")[0]) for task, language in languages.items()}
    for name, rate in said.items():
        tasks = [task for task, of in ends.items() if task not in said and name in of]
        if name not in languages and not tasks:
            rates[name] = rate  # of nothing: the caller says so
        if twice := [task for task in tasks if task in rates]:
            raise UserError(
                f"DataConfig.rates gives '{twice[0]}' a rate by its language and another by its "
                "kind: give it one of its own, or name languages or kinds alone."
            )
        rates |= {task: rate / len(tasks) for task in tasks}
    return rates


def explicit(
    said: Sequence[tuple[str, float]] | dict[str, float], names: Sequence[str]
) -> np.ndarray:
    """Returns the shares [L] that a user gives by name; every name has one above 0."""
    by_name = dict(said)
    weights = np.array([by_name[name] for name in names], np.float64)
    if not (np.isfinite(weights).all() and (weights > 0).all()):
        worst = names[int(np.argmin(np.where(np.isfinite(weights), weights, -1)))]
        raise UserError(
            f"The mixture gives '{worst}' the rate {by_name[worst]:g}: a rate is above 0. Leave a "
            "language that is not to be read out of the rates."
        )
    return weights / weights.sum()
