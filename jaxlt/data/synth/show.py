"""Sentences as a linguist writes them: a line of text, morphs over glosses, arcs over words.

╭────nsubj────╮   ╭──obj──╮
Zezun     buhul-us-eb   vefo-ad
Zezun   admire-PST-3SG  hunter-ACC
"""

from collections.abc import Sequence

from jaxlt.data.synth.grammar import Sentence
from jaxlt.data.synth.languages import texts
from jaxlt.data.synth.realise import Said, Word, speaker, voice
from jaxlt.data.synth.script import SCRIPTS
from jaxlt.data.synth.spec import LanguageSpec
from jaxlt.data.synth.trees import heads

# Box glyphs by the directions they reach in: up 1, down 2, left 4, right 8.
_GLYPHS = {
    0: " ", 1: "│", 2: "│", 3: "│", 4: "─", 8: "─", 12: "─", 10: "╭", 6: "╮", 9: "╰", 5: "╯",
    11: "├", 7: "┤", 14: "┬", 13: "┴", 15: "┼",
}  # fmt: skip
_UP, _DOWN, _LEFT, _RIGHT = 1, 2, 4, 8


def interlinear(words: Sequence[Word]) -> tuple[list[str], list[int]]:
    """Returns (rows of morphs, glosses and parts of speech; the column of each word's middle)."""
    cells = [(w.morphs, w.gloss, w.upos) for w in words if w.upos != "PUNCT"]
    widths = [max(map(len, cell)) + 2 for cell in cells]
    rows = [
        "".join(cell[row].ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for row in range(3)
    ]
    middles, at = [], 0
    for cell, width in zip(cells, widths, strict=True):
        middles.append(at + (len(cell[0]) - 1) // 2)
        at += width
    return rows, middles


def arcs(words: Sequence[Word]) -> list[str]:
    """Returns the dependency tree as arcs to stand over the rows of `interlinear`.

    An arrow comes down on the dependent; punctuation is left out.
    """
    parents = heads(words)
    kept = [i for i, word in enumerate(words) if word.upos != "PUNCT"]
    place = {i: n for n, i in enumerate(kept)}
    _, middles = interlinear(words)
    spans = sorted(
        (
            (min(place[i], place[parents[i] - 1]), max(place[i], place[parents[i] - 1]), place[i])
            for i in kept
            if parents[i]
        ),
        key=lambda span: (span[1] - span[0], span),
    )
    levels: list[int] = []
    for n, (a, b, _) in enumerate(spans):
        under = (levels[m] for m, (c, d, _) in enumerate(spans[:n]) if c < b and a < d)
        levels.append(1 + max(under, default=0))
    height, width = max(levels, default=0), max(middles, default=0) + 12
    canvas = [[0] * width for _ in range(height + 1)]
    labels: list[tuple[int, int, str]] = []
    for (a, b, dependent), level in zip(spans, levels, strict=True):
        row, left, right = height - level, middles[a], middles[b]
        canvas[row][left] |= _RIGHT | _DOWN
        canvas[row][right] |= _LEFT | _DOWN
        for column in range(left + 1, right):
            canvas[row][column] |= _LEFT | _RIGHT
        for column in (left, right):
            for below in range(row + 1, height):
                canvas[below][column] |= _UP | _DOWN
        name = words[kept[dependent]].deprel
        labels.append((row, (left + right + 1 - len(name)) // 2, name))
    lines = [[_GLYPHS[cell] for cell in row] for row in canvas]
    for row, start, name in labels:
        for column, letter in enumerate(name, start):
            if lines[row][column] == "─":  # a crossing arc stays whole
                lines[row][column] = letter
    for n, i in enumerate(kept):
        lines[height][middles[n]] = "▾" if parents[i] else "●"
    return ["".join(line).rstrip() for line in lines]


def described(spec: LanguageSpec) -> str:
    """Returns a language's type in a line, as grammars sum it up."""
    noun = " ".join(
        (
            "Adj-N" if spec.adjective == "before" else "N-Adj",
            "Gen-N" if spec.genitive == "before" else "N-Gen",
            "Rel-N" if spec.relative == "before" else "N-Rel",
            "prepositions" if spec.adposition == "before" else "postpositions",
        )
    )
    kind = "isolating" if spec.synthesis < 0.3 else "fusional" if spec.fusion else "agglutinating"
    traits = [spec.order, noun, f"{kind} ({spec.synthesis:.1f}, {spec.affixes}es)"]
    traits += ["vowel harmony"] * spec.harmony + ["articles"] * spec.articles
    traits += ["free order"] * (spec.freedom > 0) + ["said backwards"] * spec.inverted
    if spec.noise:
        traits.append(f"{spec.noise:.0%} of words spelled by ear")
    if spec.borrowed and spec.donor:
        traits.append(f"{spec.borrowed:.0%} loans from {spec.donor.code}")
    if spec.mixed and spec.partner:
        traits.append(f"{spec.mixed:.0%} mixed with {spec.partner.code}")
    if SCRIPTS[spec.script].right_to_left:
        traits.append("right to left")
    return " · ".join(traits)


def shown(spoken: Said) -> list[str]:
    """Returns a sentence as lines: text, arcs, morphs, glosses, parts of speech."""
    rows, _ = interlinear(spoken.words)
    return [spoken.text, *arcs(spoken.words), *rows]


def chosen(
    specs: Sequence[LanguageSpec], seed: int, count: int, width: int
) -> list[tuple[Sentence, list[Said]]]:
    """Returns `count` meanings with what each language makes of them, rich in relations.

    Sentences that every language can show in `width` columns go first.
    """
    sentences = [one for text in texts(specs[0], 80, seed) for one in text]
    fit = [one for one in sentences if 7 <= len(one.words) <= 11] or sentences
    fit.sort(key=lambda one: -len({word.deprel for word in one.words}))
    chosen: list[tuple[Sentence, list[Said]]] = []
    wide: list[tuple[Sentence, list[Said]]] = []
    for one in fit:
        spoken = [speaker(s).say(one.meaning, voice(s, seed, len(chosen) + 1)) for s in specs]
        widest = max(len(row) for each in spoken for row in interlinear(each.words)[0])
        (chosen if widest <= width else wide).append((one.meaning, spoken))
        if len(chosen) == count:
            break
    return (chosen + wide)[:count]
