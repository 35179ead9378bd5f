"""One form for the many codes of a language: `iso639-3_Script`, on the library langcodes."""

import functools
from typing import NamedTuple

from langcodes import Language as Tag
from langcodes import LanguageTagError, find
from langcodes.data_dicts import LANGUAGE_ALPHA3, LANGUAGE_ALPHA3_BIBLIOGRAPHIC, LIKELY_SUBTAGS

from jaxlt.data.languages.scripts import SCRIPTS, UNKNOWN

_OLD = ("in", "iw", "ji", "jw", "mo", "sh")  # withdrawn from ISO 639-1
_OLD_LONG = {"mol": "mo", "hbs": "sh"}  # which BCP-47 knows by their two letters alone
_LONG = {two: three for two, three in LANGUAGE_ALPHA3.items() if len(two) == 2 and two not in _OLD}
_SHORT = {three: two for two, three in _LONG.items()}
_SHORT |= {three: two for two, three in LANGUAGE_ALPHA3_BIBLIOGRAPHIC.items() if two in _LONG}


class Parsed(NamedTuple):
    """A code taken apart: ISO 639-3 language, ISO 15924 script, and whether the script was told."""

    language: str
    script: str
    told: bool

    @property
    def code(self) -> str:
        """The code in jaxlt's form."""
        return f"{self.language}_{self.script}"


@functools.lru_cache(maxsize=65536)
def parse(text: str) -> Parsed | None:
    """Returns what a code or a language's name in any language means, or None for no language.

    Takes BCP-47 ('zh-Hant', 'pt_BR'), ISO 639-1, 639-2 (both kinds) and 639-3, `uig_Arab`, old
    codes ('iw'), names. A code wins over a name that is spelled alike.
    """
    text = text.strip()
    parsed = _by_code(text)
    if parsed or "_" in text or (len(text) < 4 and text.isascii()):
        return parsed
    if not text.isprintable():  # the library's table of names misreads control characters
        return None
    try:
        return _by_code(find(text).to_tag())
    except LookupError:
        return None


def _by_code(text: str) -> Parsed | None:
    try:
        tag = Tag.get(text, normalize=False)
        old = _OLD_LONG.get(tag.language or "", tag.language)
        if old in _OLD:
            tag = Tag.get(tag.update_dict({"language": old}).to_tag())
    except LanguageTagError:
        return None
    short = _SHORT.get(tag.language or "", tag.language or "")
    if short in ("und", "mul", "mis", "zxx") or tag.private or tag.extensions:
        return None
    if not (short.isalpha() and len(short) in (2, 3)):
        return None
    plain = Tag.make(language=short, script=tag.script, territory=tag.territory)
    if not plain.is_valid():
        return None
    script = tag.script or _usual_script(short, tag.territory)
    return Parsed(_LONG.get(short, short), script, tag.script is not None)


def _usual_script(short: str, territory: str | None) -> str:
    """Returns the script that a language is mostly written in, in that territory."""
    twins = (short, _SHORT.get(same_language(short), same_language(short)))
    for language in twins:
        keys = [f"{language}-{territory}"] if territory else []
        for key in [*keys, language]:
            if key in LIKELY_SUBTAGS:
                return LIKELY_SUBTAGS[key].split("-")[1]
    return SCRIPTS.get(_LONG.get(short, short), UNKNOWN)


@functools.lru_cache(maxsize=65536)
def same_language(language: str) -> str:
    """Returns the ISO 639-3 code under which most tables know a language.

    Folds the chief member of a macrolanguage into it (swh -> swa, cmn -> zho, pes -> fas), and
    nothing else: Egyptian Arabic stays itself.
    """
    if language in ("twi", "fat", "pnb", "bho"):  # each with a literature of its own
        return language
    short = Tag.make(language=_SHORT.get(language, language)).prefer_macrolanguage().language
    return _LONG.get(short or language, short or language)


def name_of(language: str) -> str:
    """Returns the English name of an ISO 639-3 code, or the code itself where it has none."""
    tag = Tag.make(language=_SHORT.get(language, language))
    name = tag.display_name()
    return language if name.startswith("Unknown language") else name


def tag_of(language: str, script: str) -> str:
    """Returns the shortest BCP-47 tag of a language in a script."""
    short = _SHORT.get(language, language)
    if script == UNKNOWN or script == _usual_script(short, None):
        return short
    return f"{short}-{script}"


@functools.cache
def common_codes() -> tuple[str, ...]:
    """Returns codes and English names worth offering when someone mistypes one."""
    three = {_LONG.get(k, k) for k in LIKELY_SUBTAGS if "-" not in k}
    parsed = (parse(code) for code in sorted(three))
    full = [p.code for p in parsed if p]
    return (*_LONG, *three, *full, *(name_of(code) for code in three))
