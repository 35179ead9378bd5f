"""Scores, one file a family; no model and no data pipeline in here.

Each metric is a pure function (predictions, references, settings) -> sufficient statistics by
example, from which come the score, its interval and the comparison of two systems:

    from jaxlt.metrics.scores import compare, score
"""
