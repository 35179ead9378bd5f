"""How fast the language factory speaks, in words a minute on one core.

    python benchmarks/synth.py [--json FILE]

Goal: 1 million words a minute. Plain text, text with CoNLL-U and IOB2, and text of a language with
every transform at once.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.sides import flags, keep, one_core
from jaxlt.data.synth.languages import LanguageSpec, generate, texts
from jaxlt.data.synth.trees import conllu, iob2

GOAL = 1_000_000
PLAIN = LanguageSpec("asha_Latn", 1)
FULL = LanguageSpec(
    "full_Deva",
    1,
    order="SOV",
    synthesis=0.8,
    harmony=True,
    articles=True,
    freedom=0.2,
    extraposed=0.2,
    script="Deva",
    random_script=True,
    noise=0.1,
    mixed=0.1,
    partner=PLAIN,
)


def annotated(spec: LanguageSpec, sentences: int) -> Iterator[str]:
    """Yields sentences with their trees and entities written out."""
    for text in texts(spec, sentences):
        for said in text:
            conllu(said, "s")
            iob2(said, "s")
            yield said.text


def speed(speak: Callable[[], Iterator[str]]) -> float:
    """Words a minute of processor time, the median of five rounds after one to fill tables."""
    rounds = []
    for _ in range(6):
        began = time.process_time()
        words = sum(line.count(" ") + 1 for line in speak())
        rounds.append(60 * words / (time.process_time() - began))
    return statistics.median(rounds[1:])


def main() -> int:
    """Prints the speeds; returns 1 where one misses the goal."""
    args = flags(__doc__).parse_args()
    one_core()
    found = {
        "text": speed(lambda: generate(PLAIN, 8000)),
        "text with every transform": speed(lambda: generate(FULL, 8000)),
        "text, CoNLL-U and IOB2": speed(lambda: annotated(PLAIN, 4000)),
    }
    for name, rate in found.items():
        print(f"{name:<28}{rate:>14,.0f} words a minute, {rate / GOAL:.1f} times the goal")
    keep(args.json, found)
    return int(min(found.values()) < GOAL)


if __name__ == "__main__":
    sys.exit(main())
