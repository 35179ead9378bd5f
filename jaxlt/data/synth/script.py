"""Writing: from sounds to letters of real Unicode blocks, by sound or by a random map.

    writer("Cyrl")("goba")  -> "гоба"        writer("Deva")("goba")  -> "गोब"

Sounds are written as one Latin letter each: CONSONANTS and VOWELS. Every map can be undone.
"""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass

from jaxlt.data.rows.batches import number_of
from jaxlt.data.synth.draws import Draws
from jaxlt.errors import UserError, nearest

CONSONANTS, VOWELS = "ptkbdgmnszlrvhfycx", "aeiou"  # c as in Malay, x as in Catalan: ch and sh
_SOUNDS = CONSONANTS + VOWELS


@dataclass(frozen=True)
class Script:
    """A script: its letters in the order of the sounds, and its own punctuation."""

    letters: tuple[str, ...]
    kind: str = "alphabet"  # 'alphabet' | 'abugida' | 'syllabary'
    capitals: bool = False
    right_to_left: bool = False
    stop: str = "."
    comma: str = ","
    question: str = "?"


def _alphabet(letters: str, **settings: object) -> Script:
    return Script(tuple(letters.split()), **settings)  # type: ignore[arg-type]


SCRIPTS = {
    "Latn": _alphabet("p t k b d g m n s z l r v h f y c x a e i o u", capitals=True),
    "Cyrl": _alphabet("п т к б д г м н с з л р в х ф й ч ш а е и о у", capitals=True),
    "Grek": _alphabet("π τ κ β δ γ μ ν σ ζ λ ρ ϝ χ φ ϳ ψ ξ α ε ι ο υ", capitals=True, question=";"),
    "Armn": _alphabet(
        "պ տ կ բ դ գ մ ն ս զ լ ր վ հ ֆ յ չ շ ա ե ի օ ու", capitals=True, stop="։", question="՞"
    ),
    "Geor": _alphabet("პ ტ კ ბ დ გ მ ნ ს ზ ლ რ ვ ჰ ფ ჲ ჩ შ ა ე ი ო უ"),
    "Arab": _alphabet(
        "پ ت ك ب د گ م ن س ز ل ر ۋ ھ ف ي چ ش ا ە ى و ۇ",
        right_to_left=True,
        comma="،",
        question="؟",
    ),
    "Deva": _alphabet("प त क ब द ग म न स ज ल र व ह फ य च श अ ए इ ओ उ", kind="abugida", stop="।"),
    "Ethi": _alphabet(
        "ፐ ተ ከ በ ደ ገ መ ነ ሰ ዘ ለ ረ ቨ ሀ ፈ የ ቸ ሸ ኣ ኤ ኢ ኦ ኡ",
        kind="syllabary",
        stop="።",
        comma="፣",
        question="፧",
    ),
}
# After a consonant, of each vowel and of none: Devanagari's signs (none is virama), and Ethiopic's
# letters, counted from the consonant's first.
_SIGNS = dict(zip([*VOWELS, ""], ("", "े", "ि", "ो", "ु", "्"), strict=True))
_ORDERS = dict(zip([*VOWELS, ""], (3, 4, 2, 6, 1, 5), strict=True))
_SYLLABLE = re.compile(f"([{CONSONANTS}])([{VOWELS}]?)|.", re.DOTALL)


def known_script(name: str, whose: str) -> Script:
    """Returns a script by its ISO 15924 name."""
    if name not in SCRIPTS:
        raise UserError(
            f"{whose}: there is no script '{name}' here; scripts are {', '.join(SCRIPTS)}."
            f"{nearest(name, SCRIPTS)}"
        )
    return SCRIPTS[name]


@functools.cache
def writer(name: str, shuffle: str = "") -> Callable[[str], str]:
    """Returns the function that writes sounds in a script; other characters stay as they are.

    `shuffle`, if not empty, seeds a random map: every sound takes the letter of another one, so
    that the script says nothing of the sound while everything else stays equal.
    """
    script = known_script(name, "writer")
    swap: dict[int, str] = {}
    for group in (CONSONANTS, VOWELS) if shuffle else ():
        ring = list(group)  # one cycle through all of them leaves none in its place
        Draws(number_of(shuffle), "script").shuffle(ring)
        swap |= {ord(a): b for a, b in zip(ring, ring[1:] + ring[:1], strict=True)}
    letters = dict(zip(_SOUNDS, script.letters, strict=True))
    spell = _by_letter(letters) if script.kind == "alphabet" else _by_syllable(letters, script.kind)
    return (lambda sounds: spell(sounds.translate(swap))) if swap else spell


def _by_letter(letters: dict[str, str]) -> Callable[[str], str]:
    table = str.maketrans(letters)

    def spell(sounds: str) -> str:
        text = sounds.translate(table)
        return text[:-1] + "ς" if text.endswith("σ") else text

    return spell


def _by_syllable(letters: dict[str, str], kind: str) -> Callable[[str], str]:
    """A letter a consonant: a vowel is a sign after it (abugida), or changes it (syllabary)."""

    def syllable(match: re.Match[str]) -> str:
        consonant, vowel = match.groups()
        if not consonant:
            return letters.get(match[0], match[0])
        letter = letters[consonant]
        return letter + _SIGNS[vowel] if kind == "abugida" else chr(ord(letter) + _ORDERS[vowel])

    return lambda sounds: _SYLLABLE.sub(syllable, sounds)
