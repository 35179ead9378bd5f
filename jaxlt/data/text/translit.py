"""Text in another script: by uroman, by a user's table, or by a random map as the control.

    read_table("uig.tsv")("شىنجاڭ")                       # 'shinjang': longest match wins
    Uroman("uig")("شىنجاڭ")                               # the library `uroman`
    control = RandomMap("abcdefghijklmnopqrstuvwxyz", seed=1)
    control(Uroman("uig")(text))                          # as long as uroman's, and says no sound

A table is a TSV file: source, target, and where it holds: nothing, `start`, `inside` or `end` of a
word. Lines that start with '#' are comments; an empty target deletes.
"""

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any

from jaxlt.data.readers.lines import numbered
from jaxlt.data.rows.batches import stream
from jaxlt.data.text.unicode import JOINERS, mark_class
from jaxlt.errors import UserError, nearest

_WHERE = ("", "start", "inside", "end")
_REMEMBERED = 1 << 18  # words whose romanisation is kept


class Table:
    """A transliterator by rules (source, target, where): at each place the longest source wins.

    Where two rules have one source, the one that is bound to a place in the word goes first. With
    `cased`, a rule for small letters serves for capitals too, unless those have one of their own.
    """

    def __init__(self, rules: Iterable[tuple[str, str, str]], cased: bool = True):
        given: dict[tuple[str, str], str] = {}
        for source, target, where in rules:
            if where not in _WHERE:
                raise UserError(
                    f"A rule holds at '', 'start', 'inside' or 'end' of a word, not '{where}'."
                    f"{nearest(where, _WHERE[1:])}"
                )
            if not source:
                raise UserError(f"The rule for '{target}' has an empty source.")
            if given.setdefault((source, where), target) != target:
                raise UserError(
                    f"'{source}' has two targets: '{given[source, where]}' and '{target}'."
                )
        if not given:
            raise UserError("The transliteration table has no rules.")
        self.rules: Mapping[tuple[str, str], str] = given | _capitals(given) if cased else given
        self._single = {
            ord(source): target
            for (source, where), target in self.rules.items()
            if len(source) == 1 and not where
        }
        self._found: dict[str, list[tuple[str, str]]] = {}
        for (source, where), target in sorted(self.rules.items(), key=lambda r: not r[0][1]):
            self._found.setdefault(source, []).append((where, target))
        long = [rule for rule in self.rules if rule[1] or len(rule[0]) > 1]
        self._long = _pattern(long, self.rules) if long else None
        self._in_word = re.compile(f"[{_in_word()}]")

    def __call__(self, text: str) -> str:
        """Returns the text with every source replaced; what no rule has stays as it is."""
        if self._long is None:
            return text.translate(self._single)
        out: list[str] = []
        place = 0
        for found in self._long.finditer(text):
            start = found.start()
            if start > place:
                out.append(text[place:start].translate(self._single))
            place = found.end()
            rules = self._found[found.group()]
            if len(rules) == 1:
                out.append(rules[0][1])
            else:
                out.append(self._target(rules, text, start, place))
        out.append(text[place:].translate(self._single))
        return "".join(out)

    def _target(self, rules: list[tuple[str, str]], text: str, start: int, stop: int) -> str:
        """Returns the target of the first rule that holds at a place; the pattern knows of one."""
        before = start > 0 and self._in_word.match(text, start - 1) is not None
        after = self._in_word.match(text, stop) is not None
        holds = {"": True, "start": not before, "inside": before, "end": not after}
        return next(target for where, target in rules if holds[where])


def _in_word() -> str:
    return f"\\w{mark_class()}{JOINERS}"


def _pattern(long: list[tuple[str, str]], rules: Iterable[tuple[str, str]]) -> re.Pattern[str]:
    """Returns what matches every source that is long or bound to a place, the longest first."""
    firsts: dict[str, list[tuple[str, str]]] = {source[0]: [] for source, _ in long}
    for source, where in rules:
        if source[0] in firsts:
            firsts[source[0]].append((source, where))
    letter = _in_word()
    branches = []
    for first, sources in firsts.items():
        sources.sort(key=lambda rule: (-len(rule[0]), not rule[1]))
        # The first letter is behind: what stands before it is looked up together with it.
        escaped = re.escape(first)
        before = {"start": f"(?<![{letter}]{escaped})", "inside": f"(?<=[{letter}]{escaped})"}
        after = {"end": f"(?![{letter}])"}
        rest = [
            f"{before.get(where, '')}{re.escape(source[1:])}{after.get(where, '')}"
            for source, where in sources
        ]
        branches.append(f"{escaped}(?:{'|'.join(rest)})")
    return re.compile("|".join(branches))


def _capitals(rules: Mapping[tuple[str, str], str]) -> dict[tuple[str, str], str]:
    """Returns rules for capitals that are not given: 'sh' -> 'ш' makes 'Sh' and 'SH' -> 'Ш'."""
    out: dict[tuple[str, str], str] = {}
    for (source, where), target in rules.items():
        first = source[0].upper()
        pairs = [(first + source[1:], target[:1].upper() + target[1:])]
        pairs += [(source.upper(), target.upper())] if len(source) > 1 else []
        for capital, wanted in pairs:
            if len(capital) == len(source) and (capital, where) not in rules:
                out.setdefault((capital, where), wanted)
    return out


def read_table(path: str) -> Table:
    """Returns the transliterator of a TSV file: source, target, and where (may be left out)."""
    rules: list[tuple[str, str, str]] = []
    for number, line in numbered(path):
        if not line or line.startswith("#"):
            continue
        source, *rest = line.split("\t")
        if len(rest) not in (1, 2) or not source or (len(rest) == 2 and rest[1] not in _WHERE):
            raise UserError(
                f"{path}, line {number}: expected source, target and perhaps 'start', 'inside' "
                f"or 'end', parted by tabs, but found '{line[:80]}'."
            )
        rules.append((source, rest[0], rest[1] if len(rest) == 2 else ""))
    try:
        return Table(rules)
    except UserError as err:
        raise UserError(f"{path}: {err}") from None


class Uroman:
    """Romanisation by the library `uroman`, word by word; words are remembered.

    `language` is an ISO 639-3 code where the letters are read by language ('ukr', 'fas'), or None.
    """

    def __init__(self, language: str | None = None):
        self._language = language
        self._library = _uroman()
        self._word = functools.lru_cache(_REMEMBERED)(self._romanised)

    def __call__(self, text: str) -> str:
        """Returns the text in Latin letters."""
        return " ".join([self._word(word) for word in text.split(" ")])

    def _romanised(self, word: str) -> str:
        return str(self._library.romanize_string(word, lcode=self._language)) if word else ""


@functools.cache
def _uroman() -> Any:
    try:
        import uroman
    except ImportError:
        raise UserError(
            "Romanisation needs the library `uroman` (pip install uroman); a table of your own "
            "(jaxlt.data.text.translit.read_table) needs none."
        ) from None
    return uroman.Uroman()  # some seconds: it reads its tables


class RandomMap:
    """The control: every letter of an alphabet is written as another one, by seeded chance.

    A bijection that leaves no letter in its place, among letters of equal length in UTF-8, so that
    neither characters nor bytes change in number; a letter that is alone in its length is put with
    the rest. Capitals follow their small letters.
    """

    def __init__(self, alphabet: str, seed: int):
        letters = sorted(set(alphabet))
        if len(letters) < 2:
            raise UserError("A random map needs an alphabet of at least two letters.")
        sizes: dict[int, list[str]] = {}
        for letter in letters:
            sizes.setdefault(len(letter.encode("utf-8")), []).append(letter)
        alone = [n for n, members in sizes.items() if len(members) == 1]
        for size in alone:
            if len(sizes) > 1:
                largest = max((n for n in sizes if n != size), key=lambda n: len(sizes[n]))
                sizes[largest] += sizes.pop(size)
        self.letters: dict[str, str] = {}
        for size, members in sorted(sizes.items()):
            # One cycle through all of them leaves none in its place.
            ring = [members[i] for i in stream(seed, "letters", size).permutation(len(members))]
            self.letters |= dict(zip(ring, ring[1:] + ring[:1], strict=True))
        self._map = _with_capitals(self.letters)

    def __call__(self, text: str) -> str:
        """Returns the text with its letters exchanged; all others stay."""
        return text.translate(self._map)


def _with_capitals(letters: Mapping[str, str]) -> dict[int, str]:
    """Adds the capitals of letters that all have one, so that the map stays a bijection."""
    capitals = {a.upper(): b.upper() for a, b in letters.items()}
    complete = len(set(capitals.values())) == len(letters) and all(
        len(capital) == 1 and capital not in letters for capital in capitals
    )
    return {ord(a): b for a, b in ({**capitals, **letters} if complete else letters).items()}
