"""Writing: from sounds to letters of real Unicode blocks, by sound or by a random map.

    writer("Cyrl")("goba")  -> "гоба"        writer("Deva")("goba")  -> "गोब"

Sounds are written as one Latin letter each: CONSONANTS and VOWELS. Every map can be undone.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

from jaxlt.data.synth.draws import Draws, number_of
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
_SIGNS = dict(zip(VOWELS, ("", "े", "ि", "ो", "ु"), strict=True))  # Devanagari, after a consonant
_VIRAMA = "्"
_ORDERS = dict(zip(VOWELS, (3, 4, 2, 6, 1), strict=True))  # Ethiopic, from a consonant's first
_BARE = 5


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
    plain = {"alphabet": _by_letter, "abugida": _by_sign, "syllabary": _by_syllable}[script.kind]
    spell = plain(letters)

    def write(sounds: str) -> str:
        return spell(sounds.translate(swap) if swap else sounds)

    return write


def _by_letter(letters: dict[str, str]) -> Callable[[str], str]:
    table = str.maketrans(letters)

    def spell(sounds: str) -> str:
        said = sounds.translate(table)
        return said[:-1] + "ς" if said.endswith("σ") else said

    return spell


def _by_sign(letters: dict[str, str]) -> Callable[[str], str]:
    """Devanagari: a vowel is a sign on the consonant before it, a bare consonant takes virama."""

    def spell(sounds: str) -> str:
        said, before = [], ""
        for sound in sounds:
            if before in CONSONANTS and before:
                said.append(_SIGNS[sound] if sound in VOWELS else _VIRAMA)
                if sound not in VOWELS:
                    said.append(letters.get(sound, sound))
            else:
                said.append(letters.get(sound, sound))
            before = sound
        if before and before in CONSONANTS:
            said.append(_VIRAMA)
        return "".join(said)

    return spell


def _by_syllable(letters: dict[str, str]) -> Callable[[str], str]:
    """Ethiopic: one letter a consonant with its vowel."""

    def spell(sounds: str) -> str:
        said, i = [], 0
        while i < len(sounds):
            sound, after = sounds[i], sounds[i + 1 : i + 2]
            if sound in CONSONANTS:
                vowel = bool(after) and after in VOWELS
                said.append(chr(ord(letters[sound]) + (_ORDERS[after] if vowel else _BARE)))
                i += 1 + vowel
            else:
                said.append(letters.get(sound, sound))
                i += 1
        return "".join(said)

    return spell
