"""What is done to text beside cutting it: normalised, glossed, written in another script, misspelt.

    TextConfig(normalise="NFC", transliterate="uroman", noise=(0.10, 0.15), subwords=0.1)

Normalisation, glosses and scripts are settled: made once, before tokenisation, in every split and
in seqio's tasks. Noise is new at every visit of a training row, and never in evaluation; of what
heads label it is drawn once an example where nothing else is said (jaxlt.data.text.labelled).
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jaxlt.data.near import nearest_language
from jaxlt.data.sources import files
from jaxlt.data.text.gloss import Glosser, Unknown, read_dictionary
from jaxlt.data.text.noise import EDITS, CharacterNoise, Edit
from jaxlt.data.text.translit import RandomMap, Uroman, read_table
from jaxlt.data.text.unicode import Apostrophes, Form, Joiners, UnicodeConfig, normalised_text
from jaxlt.errors import UserError, check_choices, nearest
from jaxlt.identity import PLACED, as_tuples

Change = Callable[[str], str]
Labelled = Literal["usual", "training", "evaluation", "both"]
LATIN = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class TextConfig:
    """Settings of text, in the order in which they are applied.

    Languages are those of the mixture; () means all of them. Of paired data the inputs are changed,
    with `targets` the targets, too (noise never changes them); noise spares a translation's tag. Of
    tasks that seqio knows already only training rows get noise, their prompts too: what they read
    is their own matter. So is what a trained model is given to decode.

    Of tasks for heads the words and texts are changed and labels stay (jaxlt.data.text.labelled),
    where `labelled` says: in the 'training' split, in 'evaluation', in 'both', or as 'usual'. A
    training row is spelt once and for all, but with `anew`, and always with `subwords`, at every
    visit; what would then be longer than its row keeps its best pieces, or some of its spelling.
    """

    normalise: Form = "none"  # or 'NFC', 'NFKC'
    joiners: Joiners = "keep"  # ZWNJ and ZWJ: or 'drop', 'by_script'
    apostrophes: Apostrophes = "keep"  # or 'by_script': one sign for each script
    dictionary: str = dataclasses.field(
        default="", metadata=PLACED
    )  # TSV file with a header: text is glossed by it, word by word
    dictionary_columns: tuple[str, str] = ("english", "translation")
    dictionary_rows: tuple[tuple[str, str], ...] = ()  # only rows with these: (("lang", "wo"),)
    glossed: tuple[str, ...] = ()  # languages whose text is glossed
    unknown_words: Unknown = "keep"  # that the dictionary has not: or 'drop', 'mark'
    transliterate: str = dataclasses.field(
        default="none", metadata=PLACED
    )  # or 'uroman', or the path of a table
    transliterated: tuple[str, ...] = ()
    random_map: bool = False  # the control: letters exchanged, after transliteration
    random_letters: str = LATIN  # that are exchanged with each other
    random_seed: int = 0
    targets: bool = False
    noise: float | tuple[float, float] = 0.0  # share of misspelt words, or a range that rows draw
    edits: tuple[Edit, ...] = EDITS
    alphabet: str = ""  # letters that are put in, or a file with text of them; '': the text's own
    noisy: tuple[str, ...] = ()  # languages with noise, in letters and subwords
    subwords: float = 0.0  # BPE: the dropout; unigram: alpha of sampling; 0: the best pieces
    anew: bool = False  # at each visit: misspellings of labelled words, spans of `denoise` tasks
    labelled: Labelled = "usual"  # of heads: everywhere, and noise in training alone

    def __post_init__(self) -> None:
        as_tuples(self, "glossed", "transliterated", "noisy", "edits")
        if not isinstance(self.noise, int | float):
            object.__setattr__(self, "noise", tuple(self.noise))
        rows = tuple((str(column), str(value)) for column, value in self.dictionary_rows)
        object.__setattr__(self, "dictionary_rows", rows)
        kinds = {
            "joiners": Joiners,
            "apostrophes": Apostrophes,
            "unknown_words": Unknown,
            "labelled": Labelled,
        }
        check_choices(self, "TextConfig.", normalise=Form, **kinds)
        self._check_whole()

    def _check_whole(self) -> None:
        """Raises UserError for settings that do not go together."""
        CharacterNoise("ab", self.noise, self.edits)  # it knows its own bounds
        if not 0 <= self.subwords < math.inf:
            raise UserError(f"TextConfig.subwords is at least 0, not {self.subwords}.")
        if bool(self.dictionary) != bool(self.glossed):
            raise UserError(
                "TextConfig.dictionary and TextConfig.glossed belong together: a dictionary, and "
                "the languages whose text it glosses."
            )
        if self.random_map:
            RandomMap(self.random_letters, self.random_seed)

    @property
    def settles(self) -> bool:
        """Whether any text is changed before it is tokenised."""
        spelled = (self.normalise, self.joiners, self.apostrophes) != ("none", "keep", "keep")
        script = self.transliterate != "none" or self.random_map
        return spelled or script or bool(self.dictionary)

    @property
    def is_noisy(self) -> bool:
        """Whether training rows are misspelt or cut into other pieces."""
        return self.misspells or self.subwords > 0

    @property
    def misspells(self) -> bool:
        """Whether words of training rows are misspelt."""
        return (self.noise if isinstance(self.noise, int | float) else max(self.noise)) > 0

    def on_labelled(self, split: str) -> tuple[bool, bool]:
        """Returns whether a split of labelled examples is changed, and whether it is misspelt."""
        training = split == "train"
        if self.labelled == "usual":
            return True, training
        there = self.labelled == "both" or (self.labelled == "training") == training
        return there, there

    def noisy_in(self, language: str) -> bool:
        """Returns whether a language is one of those with noise."""
        return not self.noisy or language in self.noisy

    def renews(self, language: str, split: str) -> bool:
        """Returns whether labelled rows of a language are spelt anew at each visit."""
        spelt = (self.anew and self.misspells) or self.subwords > 0
        there = split == "train" and self.on_labelled(split)[1]
        return there and spelt and self.noisy_in(language)

    def change(self, language: str) -> Change | None:
        """Returns what is done to the text of a language before it is tokenised, if anything."""
        steps: list[Change] = []
        unicode = UnicodeConfig(self.normalise, self.joiners, self.apostrophes)
        if unicode != UnicodeConfig():
            steps.append(functools.partial(normalised_text, config=unicode))
        if language in self.glossed:
            source, target = self.dictionary_columns
            where = dict(self.dictionary_rows)
            dictionary = read_dictionary(self.dictionary, source, target, where)
            steps.append(Glosser(dictionary, self.unknown_words))
        if self._in_script(language):
            if self.transliterate == "uroman":
                steps.append(Uroman(_iso(language)))
            elif self.transliterate != "none":
                steps.append(read_table(self.transliterate))
            if self.random_map:
                steps.append(RandomMap(self.random_letters, self.random_seed))
        if not steps:
            return None
        return lambda text: functools.reduce(lambda said, step: step(said), steps, text)

    def _in_script(self, language: str) -> bool:
        return not self.transliterated or language in self.transliterated

    def identity(self, language: str, memory: Path) -> dict[str, Any]:
        """Returns JSON of what decides change(language); empty where it is None.

        `memory` is the folder where digests of files are kept.
        """
        said: dict[str, Any] = {
            "unicode": [self.normalise, self.joiners, self.apostrophes],
            "gloss": None,
            "script": None,
        }
        if language in self.glossed:
            said["gloss"] = [
                files.content_digest(self.dictionary, memory),
                self.dictionary_columns,
                self.dictionary_rows,
                self.unknown_words,
            ]
        if self._in_script(language) and (self.transliterate != "none" or self.random_map):
            way: Any = self.transliterate
            if way == "uroman":
                way = [way, _iso(language)]
            elif way != "none":
                way = files.content_digest(way, memory)
            said["script"] = [way, self.random_map]
            said["script"] += [self.random_letters, self.random_seed] if self.random_map else []
        plain = {"unicode": ["none", "keep", "keep"], "gloss": None, "script": None}
        return {} if said == plain else said

    def noise_identity(self, memory: Path) -> list[Any]:
        """Returns JSON of what decides the noise, beside texts, seeds and rows."""
        letters = self.alphabet
        if self.alphabet_file:
            letters = files.content_digest(letters, memory)
        return [self.noise, self.edits, letters, sorted(self.noisy), self.subwords]

    @property
    def alphabet_file(self) -> str:
        """The file that the alphabet is taken from, or ""."""
        return "" if not self.alphabet or self.alphabet.isalpha() else self.alphabet

    def check_files(self) -> None:
        """Raises UserError for a table, dictionary or alphabet that is not there."""
        way = self.transliterate
        if way not in ("none", "uroman") and not files.exists(way):
            raise UserError(
                "TextConfig.transliterate is 'none', 'uroman', or the path of a table, not "
                f"'{way}'.{nearest(way, ('none', 'uroman'))} {files.missing(way)}"
            )
        if self.dictionary and not files.exists(self.dictionary):
            raise UserError(f"TextConfig.dictionary: {files.missing(self.dictionary)}")
        if self.alphabet_file and not files.exists(self.alphabet_file):
            raise UserError(
                f"TextConfig.alphabet is letters, or a file of text. {files.missing(self.alphabet)}"
            )

    def check_languages(self, known: tuple[str, ...]) -> None:
        """Raises UserError for a language that is named here and is not in the mixture."""
        for name in ("glossed", "transliterated", "noisy"):
            for language in getattr(self, name):
                if language not in known:
                    raise UserError(
                        f"TextConfig.{name} names '{language}', which has no text in this mixture."
                        f"{nearest_language(language, known)}"
                    )


AS_IT_IS = TextConfig()


def _iso(language: str) -> str | None:
    """Returns the ISO 639-3 code of a language's name, where it begins with one."""
    code = language.partition("_")[0]
    return code if len(code) == 3 and code.isascii() and code.islower() else None
