"""Kinds of task by name, each with the class that is it; loaded when a run names one.

class_of("tagging")            # jaxlt.data.tasks.tagging.Tagging
class_of("my_kinds:Stance")    # the class of a user's file, in the current folder or installed
"""

import importlib
from collections.abc import Mapping
from typing import Any

from jaxlt.errors import UserError, nearest

_HERE = "jaxlt.data.tasks"
KINDS: Mapping[str, str] = {
    "tagging": f"{_HERE}.tagging:Tagging",
    "parsing": f"{_HERE}.parsing:Parsing",
    "entities": f"{_HERE}.entities:Entities",
    "topics": f"{_HERE}.topics:Topics",
    "pairs": f"{_HERE}.pairs:Pairs",
    "questions": f"{_HERE}.questions:Questions",
    "translation": f"{_HERE}.translation:Translation",
    "words": f"{_HERE}.words:Words",
    "texts": f"{_HERE}.texts:Texts",
    "facts": f"{_HERE}.facts:Facts",
    "denoise": f"{_HERE}.denoise:Denoise",
    "synthetic_text": f"{_HERE}.factory:MadeTexts",
    "synthetic_tagging": f"{_HERE}.factory:MadeTagging",
    "synthetic_parsing": f"{_HERE}.factory:MadeParsing",
    "synthetic_entities": f"{_HERE}.factory:MadeEntities",
    "synthetic_sentiment": f"{_HERE}.factory:MadeTopics",
    "synthetic_facts": f"{_HERE}.factory:MadeFacts",
    "synthetic_parallel": f"{_HERE}.factory:MadeTranslation",
    "synthetic_dictionary": f"{_HERE}.factory:MadeWords",
    "synthetic_mixed": f"{_HERE}.factory:MadeLanguages",
    "synthetic_pairs": f"{_HERE}.factory:MadePairs",
    "synthetic_questions": f"{_HERE}.factory:MadeQuestions",
}
# Objectives of a user's own files, whose answers are judged as those of a kind that no task names.
OWN_FILES = "text_to_text"
_EVERY = {**KINDS, OWN_FILES: f"{_HERE}.kind:Kind"}


def is_kind(name: str) -> bool:
    """Says whether a kind has this name, or could have it: a class of a user's file."""
    return name in _EVERY or ":" in name


def class_of(name: str) -> Any:
    """Returns the class of a kind; one that is not there is a UserError."""
    path = _EVERY.get(name, name)
    module, colon, attribute = path.partition(":")
    if not colon:
        raise UserError(
            f"TaskConfig.kind is one of {', '.join(KINDS)}, or a class of your own file "
            f"('my_kinds:Stance'), not '{name}'.{nearest(name, KINDS)}"
        )
    try:
        kind = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise UserError(
            f"TaskConfig.kind is '{name}', and no file '{module}.py' is there."
        ) from None
    if kind is None or not hasattr(kind, "streams"):
        raise UserError(
            f"TaskConfig.kind is '{name}', and '{module}' has no Kind of the name '{attribute}'."
        )
    return kind
