"""Target tokens by language: exact, the same on any mesh, and carried across a resumption."""

import jax
import numpy as np
import pytest

from jaxlt.engine.log.counters import TokenCounter
from jaxlt.engine.loop import check_languages
from jaxlt.errors import UserError
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.site import plug
from tests.conftest import make_config
from tests.engine import jobs

pytestmark = pytest.mark.usefixtures("quick_compile")


def expected(source, steps):
    """Counts on the host, row by row."""
    totals = dict.fromkeys(source.languages, 0.0)
    for step in range(steps):
        batch = source.rows(step, 0, source.batch_size)
        for language, weights in zip(batch["language"], batch["encoder_loss_weights"], strict=True):
            totals[source.languages[language]] += float((weights > 0).sum())
    return totals


def counted(path, step):
    row = next(r for r in jobs.logged(path) if r["step"] == step)
    return {k.removeprefix("tokens/"): v for k, v in row.items() if k.startswith("tokens/")}


def test_counts_are_exact_and_go_on_after_a_resumption(tmp_path):
    jobs.run(jobs.small_job(steps=3, every=3), tmp_path)
    assert counted(tmp_path, 3) == expected(jobs.texts(), 3)
    result = jobs.run(jobs.small_job(steps=7, every=3), tmp_path, devices=1)
    assert counted(tmp_path, 7) == expected(jobs.texts(), 7)
    assert result.position.language_tokens == expected(jobs.texts(), 7)


@pytest.mark.slow
def test_counts_do_not_depend_on_the_mesh(tmp_path):
    jobs.run(jobs.small_job(steps=2, mesh={"data": 4}), tmp_path, devices=4)
    assert counted(tmp_path, 2) == expected(jobs.texts(), 2)


def test_tokens_of_packed_rows_count_for_their_own_language():
    ids = np.array([[0, 0, 2, 2, 0], [1, 1, 1, 1, 1]])
    batch = {
        "language": np.array([0, 1]),
        "decoder_language_ids": ids,
        "decoder_loss_weights": np.array([[1, 1, 1, 1, 0], [1, 0, 1, 1, 1]], np.float32),
    }
    counter = TokenCounter(("a", "b", "c"), {"c": 10})
    arrays = {k: jax.numpy.asarray(v) for k, v in batch.items()}
    for _ in range(300):
        counter.add(arrays)
    assert counter.totals() == {"a": 600, "b": 1200, "c": 610}


def test_routed_modules_want_rows_of_one_language():
    model = make_config(plugs=(plug(Bottleneck(), name="lang", key="source", routes=3),))
    data = jobs.texts()
    check_languages(model, data)
    data.mixed_rows = True
    with pytest.raises(UserError, match="packing = 'language'"):
        check_languages(model, data)
