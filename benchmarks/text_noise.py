"""Words a second of character noise, bytes a second of a table, and of what else works on text.

    python benchmarks/text_noise.py [--json FILE]

Goals, on one core: noise at 50,000 words/s, transliteration by a table at 1 MB/s.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.sides import flags, keep
from jaxlt.data.rows.batches import stream
from jaxlt.data.synth.languages import FAMILY, generate
from jaxlt.data.text.gloss import Glosser, make_dictionary
from jaxlt.data.text.noise import CharacterNoise, alphabet_of
from jaxlt.data.text.translit import RandomMap, Table
from jaxlt.data.text.unicode import UnicodeConfig, normalise

DIGRAPHS = (("sh", "ш"), ("ch", "ч"), ("ya", "я"), ("yu", "ю"), ("zh", "ж"), ("kh", "х"))
LETTERS = zip("abvgdezijklmnoprstufhcw", "абвгдезийклмнопрстуфхцв", strict=True)


def rate(work: Callable[[int, str], object], lines: list[str], amount: float) -> float:
    """Returns the amount a second of the best of three rounds over all lines."""
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        for row, line in enumerate(lines):
            work(row, line)
        best = min(best, time.perf_counter() - began)
    return amount / best


def main() -> None:
    """Measures and prints."""
    args = flags(__doc__).parse_args()
    lines = list(generate(FAMILY[0], 3000, seed=1))
    words, size = sum(len(x.split()) for x in lines), sum(len(x.encode()) for x in lines)
    noise = CharacterNoise(alphabet_of(lines))
    rules = [(a, b, "") for a, b in (*LETTERS, *DIGRAPHS)] + [("e", "э", "start")]
    table, control = Table(rules), RandomMap(alphabet_of(lines), seed=1)
    glosser = Glosser(make_dictionary((w, w[::-1]) for x in lines[:300] for w in x.split()))
    settings = UnicodeConfig("NFKC", "by_script", "by_script")
    megabytes = size / 1e6
    results = {
        "noise_words_per_second": rate(
            lambda row, x: noise(x, stream(0, "noise", row)), lines, words
        ),
        "gloss_words_per_second": rate(lambda _, x: glosser(x), lines, words),
        "table_megabytes_per_second": rate(lambda _, x: table(x), lines, megabytes),
        "random_map_megabytes_per_second": rate(lambda _, x: control(x), lines, megabytes),
        "normalise_megabytes_per_second": rate(
            lambda _, x: normalise(x, settings), lines, megabytes
        ),
    }
    for name, value in results.items():
        print(f"{name.replace('_', ' '):34} {value:12,.1f}")
    keep(args.json, results)


if __name__ == "__main__":
    main()
