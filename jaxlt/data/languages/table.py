"""The table of languages: rows made from codes, the user's own rows before all others."""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar, cast

from jaxlt.data.languages.backbones import seen_by
from jaxlt.data.languages.codes import common_codes, name_of, parse, same_language, tag_of
from jaxlt.data.languages.facts import Facts, read_facts
from jaxlt.data.languages.families import FAMILIES
from jaxlt.data.languages.scripts import UNKNOWN, Direction, direction
from jaxlt.errors import UserError, closest, nearest

T = TypeVar("T")


@dataclass(frozen=True)
class Language:
    """A written language. Unknown facts are '' or None.

    `joshi` is the class of Joshi et al. (2020), 0 (left behind) to 5 (rich); `seen` the public
    backbones that were pretrained on it in this script.
    """

    code: str
    name: str
    script: str
    direction: Direction
    family: str = ""
    joshi: int | None = None
    seen: tuple[str, ...] = ()
    tag: str = ""


class LanguageTable:
    """Languages by any of their codes and names.

    Facts of a macrolanguage (swa) serve its chief member (swh) and the other way round, where a
    table has the one and not the other.
    """

    def __init__(self, facts: Facts | None = None):
        self._facts = facts or Facts()
        self._family = _folded(FAMILIES) | _folded(self._facts.family)
        self._joshi = _folded(self._facts.joshi)
        self._script = _folded(self._facts.script)
        self._own: dict[str, Language] = {}
        for row in self._facts.own:
            language = self._of_row(row)
            aliases = [a.strip() for a in row.get("aliases", "").split(",") if a.strip()]
            for name in dict.fromkeys([language.code, language.name, *aliases]):
                before = self._own.setdefault(name.lower(), language)
                if before.code != language.code:
                    raise UserError(
                        f"'{name}' is a code or name of two languages of your table: "
                        f"'{before.code}' and '{language.code}'."
                    )
                if before != language:
                    raise UserError(f"Your table has the language '{language.code}' twice.")

    @classmethod
    def read(cls, paths: Iterable[str]) -> "LanguageTable":
        """Returns the table with the facts of files: see jaxlt.data.languages.facts."""
        return cls(read_facts(paths))

    @property
    def own(self) -> tuple[Language, ...]:
        """The languages of the user's own tables, in their order."""
        return tuple(dict.fromkeys(self._own.values()))

    def find(self, code: str) -> Language | None:
        """Returns the language of a code or name, or None."""
        own = self._own.get(code.strip().lower())
        if own:
            return own
        parsed = parse(code)
        if parsed is None:
            return None
        script = parsed.script
        if not parsed.told and script == UNKNOWN:
            script = _fact(self._script, parsed.language) or script
        canonical = self._own.get(f"{parsed.language}_{script}".lower())
        return canonical or self._make(parsed.language, script)

    def get(self, code: str) -> Language:
        """Returns the language of a code or name; UserError with the nearest for an unknown one."""
        language = self.find(code)
        if language is None:
            raise UserError(
                f"'{code}' is no code or name of a language. Codes are ISO 639-3 with the script "
                "(uig_Arab), BCP-47 (zh-Hant), ISO 639-1 or -2; languages of your own belong in a "
                f"table (TSV with a column `code`).{nearest(code, self._known())}"
            )
        return language

    def near(self, code: str) -> str:
        """Returns the known code or name that is spelled most like one, or ""."""
        return closest(code, self._known())

    def _known(self) -> list[str]:
        return [*self._own, *(language.code for language in self.own), *common_codes()]

    def _make(self, language: str, script: str) -> Language:
        return Language(
            code=f"{language}_{script}",
            name=name_of(language),
            script=script,
            direction=direction(script),
            family=_fact(self._family, language) or "",
            joshi=_fact(self._joshi, language),
            seen=seen_by(language, script),
            tag=tag_of(language, script),
        )

    def _of_row(self, row: dict[str, str]) -> Language:
        """Returns a row of the user's own; what it leaves out is filled in where it is known."""
        code, parsed = row["code"], parse(row["code"])
        if parsed:
            known = self._make(parsed.language, parsed.script)
        else:
            tail = code.rpartition("_")[2]
            told = tail if len(tail) == 4 and tail.istitle() and "_" in code else UNKNOWN
            known = Language(code, code, told, direction(told))
        script = row.get("script") or known.script
        joshi = row.get("joshi")
        return replace(
            known,
            code=code,
            name=row.get("name") or known.name,
            script=script,
            direction=cast(Direction, row.get("direction") or direction(script)),
            family=row.get("family") or known.family,
            joshi=int(joshi) if joshi else known.joshi,
        )


def _folded(facts: Mapping[str, T]) -> dict[str, T]:
    """Returns facts by language, and by macrolanguage where it has none of its own."""
    return {same_language(code): value for code, value in facts.items()} | dict(facts)


def _fact(facts: Mapping[str, T], language: str) -> T | None:
    return facts.get(language, facts.get(same_language(language)))


@functools.cache
def default_table() -> LanguageTable:
    """Returns the table without any of the user's."""
    return LanguageTable()


def lookup(code: str) -> Language:
    """Returns a language by any common code or its name, without a table of the user's."""
    return default_table().get(code)
