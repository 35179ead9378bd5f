"""The language that somebody meant who wrote another of its codes, or its name."""

import re
from collections.abc import Iterable

from jaxlt.errors import nearest

_CODE = re.compile(r"[a-z]{2,3}(?:[-_][A-Z][a-z]{3})?(?:[-_][A-Z]{2})?")


def nearest_language(name: str, names: Iterable[str]) -> str:
    """Returns " Did you mean 'eng_Latn'?" for eng, en or English where that is known, as `nearest`.

    A language in another script than what is written (srp_Latn for srp_Cyrl) comes after the very
    same one. `names` may hold others than codes, which are compared as they are spelled.
    """
    from jaxlt.data.languages.codes import (  # slow to import, and for errors alone
        parse,
        same_language,
    )

    known = sorted({str(n) for n in names})
    meant = parse(str(name))
    if meant:
        codes = {n: parse(n) for n in known if _CODE.fullmatch(n)}
        alike = [
            (parsed.code != meant.code, parsed.language != meant.language, n)
            for n, parsed in codes.items()
            if parsed and same_language(parsed.language) == same_language(meant.language)
        ]
        if alike:
            return f" Did you mean '{min(alike)[2]}'?"
    return nearest(name, known)
