"""Translations to score, a few typed by hand and as many as one wants made up."""

import numpy as np

REFERENCES = [
    "The cat sat on the mat.",
    "It is raining in London today, isn't it?",
    "He said that he would come back on Monday.",
    "ÀÉ naïve café — «déjà vu»!",
    "The price rose by 3.5% to $1,250.",
    "她昨天去了北京。",
    "A second sentence about nothing at all in particular.",
    "Habari ya asubuhi, rafiki yangu mpendwa sana.",
]
SYSTEM = [
    "The cat sat on a mat.",
    "It rains in London today, is it not?",
    "He said he would come back on Monday.",
    "A naïve café — «déjà vu»!",
    "The price went up by 3.5% to $1,250.",
    "她昨天到北京去了。",
    "",
    "Habari ya asubuhi rafiki yangu sana.",
]
OTHER = [
    "Cats sit on mats.",
    "It is raining in London today, isn't it?",
    "He would return Monday, he said.",
    "ÀÉ naive cafe",
    "Prices rose by 3.5% to $1,250.",
    "他昨天去了北京。",
    "A second sentence about something in particular.",
    "Habari ya jioni, rafiki.",
]


def noisy(sentences: int, wrong: float = 0.2, seed: int = 0) -> tuple[list[str], list[str]]:
    """Returns (system, references): made-up sentences, a share of whose words is changed."""
    rng = np.random.default_rng(seed)
    words = np.array([f"w{i}" for i in range(200)])
    system, references = [], []
    for length in rng.integers(5, 30, sentences):
        gold = words[rng.integers(0, 200, length)]
        ours = np.where(rng.random(length) < wrong, words[rng.integers(0, 200, length)], gold)
        references.append(" ".join(gold))
        system.append(" ".join(ours))
    return system, references
