"""Rows of made studies, small enough to compute by hand."""

from collections.abc import Iterator, Mapping

import numpy as np

from jaxlt.metrics.result import Result


def row(**fields) -> Result:
    """One row of a tagger."""
    usual = {"metric": "accuracy", "value": 0.5, "n": 10, "higher_is_better": True}
    return Result(**usual | {"task": "tagging", "split": "test"} | fields)


def arms(means: Mapping[str, float], seeds: int = 5, languages=("glv", "sqi")) -> list[Result]:
    """Rows of arms that differ by more than their seeds do, all from the source 'eng'."""
    rng = np.random.default_rng(0)
    return [
        row(value=mean + noise + 0.01 * at, seed=seed, method=arm, source="eng", target=language)
        for seed in range(seeds)
        for arm, mean in means.items()
        for noise in [rng.normal(0, 0.004)]
        for at, language in enumerate(languages)
    ]


def sweep(seeds: int = 3) -> Iterator[Result]:
    """Bits per byte over numbers of languages and widths, by two methods."""
    for seed in range(seeds):
        for method, slope in (("shared", 0.1), ("x_mod", 0.01)):
            for width in (24, 48):
                for languages in (1, 2, 4):
                    value = 2.5 - width / 100 + slope * languages + 0.01 * seed
                    cell = f"languages={languages},width={width}"
                    yield row(
                        metric="bpb", value=value, cell=cell, seed=seed, method=method,
                        target="glv", task="lm", higher_is_better=False,
                    )  # fmt: skip
