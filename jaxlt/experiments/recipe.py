"""A recipe: a function from settings to stages, with a name and a gin file.

    @recipe("experiments/word_order.gin")
    def word_order(at: Cell, lab: Laboratory, languages: int = 2) -> list[Stage]:
        '''Does word order matter to transfer?'''
        base = at.stage("base", "train", files=..., settings=...)
        return [base, at.stage("tags", "answers", run=base, method="shared")]

What follows `at` and `lab` are its settings, each with a type and a default: gin binds them
(`word_order.languages = 4`), and a study has them by `study.recipe = @word_order()`. A gin file
names the Python file of its recipe (`import my_recipes`), so that one of your own needs no row
anywhere.
"""

import dataclasses
import inspect
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxlt.experiments.laboratory import Laboratory
    from jaxlt.experiments.stage import Cell, Stage


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Settings of a recipe; each recipe is a subclass, its fields are the function's settings."""

    gin_file: typing.ClassVar[str] = ""
    function: typing.ClassVar[Any]  # (at, lab, settings) -> stages

    def stages(self, at: "Cell", lab: "Laboratory") -> "list[Stage]":
        """The stages of a cell in the order in which they are told; needs may be left out."""
        settings = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return list(type(self).function(at, lab, **settings))


def recipe(gin_file: str) -> Callable[[Callable[..., Any]], type[Recipe]]:
    """Makes a function a Recipe of the same name."""

    def made(function: Callable[..., Any]) -> type[Recipe]:
        parameters = list(inspect.signature(function).parameters.values())[2:]
        hints = typing.get_type_hints(function, localns=_Anything(), include_extras=True)
        fields = []
        for one in parameters:
            if one.default is one.empty or one.annotation is one.empty:
                raise TypeError(
                    f"The setting '{one.name}' of the recipe '{function.__name__}' needs a type "
                    "and a default."
                )
            fields.append((one.name, hints[one.name], dataclasses.field(default=one.default)))
        kind = dataclasses.make_dataclass(function.__name__, fields, bases=(Recipe,), frozen=True)
        kind.__module__, kind.__doc__ = function.__module__, function.__doc__
        kind.gin_file, kind.function = gin_file, staticmethod(function)  # type: ignore[attr-defined]
        return kind

    return made


class _Anything(dict[str, Any]):
    """Names of types that are imported for checking alone: what `at` and `lab` are."""

    def __missing__(self, name: str) -> Any:
        if name in ("Cell", "Laboratory", "Stage"):
            return Any
        raise KeyError(name)
