"""Scores, one file a family; no model and no data pipeline in here.

Each metric is a pure function (predictions, references, settings) -> sufficient statistics by
example, from which come the score, its interval and the comparison of two systems:

    from jaxlt.metrics.scores import compare, score

Scores of many runs are compared over seeds and languages:

    from jaxlt.metrics.effects import difference, over_seeds
    from jaxlt.metrics.claims import judge
"""
