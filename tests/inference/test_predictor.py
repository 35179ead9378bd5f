"""A trained run as a function: the same numbers as the run itself, on any mesh, in any order."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

from jaxlt.engine.checkpoint.checkpoints import Checkpoints
from jaxlt.engine.decode.config import DecodingConfig
from jaxlt.engine.decode.decoding import greedy
from jaxlt.engine.decode.trie import trie
from jaxlt.engine.loop import program_of
from jaxlt.engine.partitioning import MeshConfig
from jaxlt.errors import UserError
from jaxlt.inference.predictor import encode, open_predictor, widths
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.layout import unstack
from jaxlt.modules.site import plug
from tests.conftest import make_batch, make_config, random_params
from tests.engine import jobs

pytestmark = pytest.mark.usefixtures("quick_compile")


class ArrayBase:
    """A backbone in memory."""

    def __init__(self, params):
        flat = unstack(params)
        self._flat = {n.removeprefix("params/"): np.asarray(v) for n, v in flat.items()}
        self.shapes = {n: v.shape for n, v in self._flat.items()}
        self.origin = {"path": "somewhere", "format": "arrays"}

    def read_slice(self, name, index):
        return self._flat[name][index]


class Letters:
    """A codec for tests: a is 3, b is 4, ..."""

    def encode(self, text):
        return np.array([ord(c) - ord("a") + 3 for c in text], np.int32)

    def decode(self, ids):
        return "".join(chr(i - 3 + ord("a")) for i in ids if i > 2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(job, workdir, result) of a run whose parameters all train, with a best checkpoint."""
    path = tmp_path_factory.mktemp("run")

    class Dev:
        name = "dev"
        values = iter([3.0, 1.0, 2.0])

        def __call__(self, program, params):
            return {"score": next(self.values)}

    kept = {"keep": 3, "best_metric": "dev/score"}
    given = jobs.job(6, 2, None, {"name": "adamw"}, eval_every=2, checkpoint=kept)
    return given, path, jobs.run(given, path, evaluators=[Dev()])


def opened(given, path, step=None, base=None, devices=1, **mesh):
    given = dataclasses.replace(given, mesh=MeshConfig(**mesh))
    return open_predictor(
        given, program_of(given, jax.devices()[:devices]), path, step=step, base=base
    )


@pytest.mark.slow
def test_parameters_are_those_of_the_run_on_any_mesh(trained):
    given, path, result = trained
    expected = jax.device_get({**result.state.frozen, **result.state.trainable})
    for devices, mesh in ((1, {}), (4, {"fsdp": 2, "tensor": 2})):
        predictor = opened(given, path, devices=devices, **mesh)
        jobs.assert_identical(jax.device_get(predictor.params), expected)
    assert (predictor.step, predictor.languages) == (6, jobs.LANGUAGES)
    assert predictor.base_fingerprint == result.position.base_fingerprint


def test_the_optimizer_is_not_read(trained):
    given, path, _ = trained
    other = jobs.job(optimizer={"name": "adafactor"})  # whose state fits no such checkpoint
    other = dataclasses.replace(other, model=given.model)
    with pytest.raises(UserError, match="does not fit"):
        jobs.run(dataclasses.replace(other, train=given.train), path)
    assert opened(other, path).step == 6


@pytest.mark.parametrize("lost", [True, False])
def test_the_files_of_the_optimizer_may_be_lost_or_damaged(trained, tmp_path, lost):
    given, path, result = trained
    copy = tmp_path / "run"
    shutil.copytree(path, copy)
    optimizer = copy / "checkpoints" / "6" / "optimizer"
    files = [p for p in sorted(optimizer.rglob("*")) if p.is_file()]
    assert files
    for file in files:
        if lost:
            file.unlink()
        else:
            file.write_bytes(bytes(file.stat().st_size))
    expected = jax.device_get({**result.state.frozen, **result.state.trainable})
    jobs.assert_identical(jax.device_get(opened(given, copy).params), expected)
    with pytest.raises(UserError, match=r"/6' is damaged: file 'optimizer/.* step 4"):
        jobs.run(given, copy)


def test_which_checkpoint(trained, tmp_path):
    given, path, _ = trained
    assert opened(given, path, step="best").step == 4
    assert opened(given, path, step=2).step == 2
    with pytest.raises(UserError, match=r"no complete checkpoint of step 3 \(2, 4, 6\)"):
        opened(given, path, step=3)
    with pytest.raises(UserError, match=r"best_metric is not set\. It has steps 2, 4, 6"):
        opened(jobs.job(), path, step="best")
    with pytest.raises(UserError, match="has no complete checkpoint yet"):
        opened(given, tmp_path)
    start = opened(given, tmp_path, step=0)
    one = jobs.job(steps=1, optimizer={"name": "adamw"})
    first = jobs.run(one, tmp_path / "one").position.base_fingerprint
    assert start.base_fingerprint == first and start.step == 0


def rows_of(count, lengths=(3, 33, 12)):
    rng = np.random.default_rng(0)
    lengths = [lengths[i % len(lengths)] for i in range(count)]
    return [np.append(rng.integers(3, 40, n), 1).astype(np.int32) for n in lengths]


def test_decoding_is_that_of_greedy_in_the_same_order(trained):
    given, path, result = trained
    params = {**result.state.frozen, **result.state.trainable}
    rows = rows_of(11)
    expected = []
    for row in rows:
        alone = {"encoder_input_tokens": np.pad(row, (0, 34 - len(row)))[None]}
        tokens = greedy(given.model, params, alone, 12)[0]
        ends = np.flatnonzero(tokens == 1)
        expected.append(tokens[: ends[0] if len(ends) else 12].tolist())
    assert len({tuple(e) for e in expected}) > 1
    for devices, size in ((1, 4), (2, 32)):
        predictor = opened(given, path, devices=devices)
        found = predictor.decode_tokens(rows, 12, batch_size=size)
        assert [f.tolist() for f in found] == expected
    assert predictor.decode_tokens([], 12) == []


def test_what_is_encoded():
    with pytest.raises(UserError, match=r"Text 1 has 10 tokens .* the 8 .*'abcdefghi'. Cut it"):
        encode(Letters(), "abcdefghi", 8, what="Text 1", advice="Cut it.")
    cut, was_cut = encode(Letters(), "abcdefghi", 8, truncate=True)
    assert was_cut and cut.tolist() == [3, 4, 5, 6, 7, 8, 9, 1]
    assert encode(Letters(), "abcdefg", 8)[1] is False
    assert widths(0) == widths(16) == [16] and widths(65) == [16, 32, 64, 128]


@pytest.mark.slow
def test_several_answers_forced_tokens_and_sets(trained):
    given, path, _ = trained
    predictor, rows = opened(given, path), rows_of(5)
    how = DecodingConfig(method="beam", beams=4, returns=3)
    found = predictor.decode_best(rows, 8, decoding=how, forced=(33, 34), batch_size=2)
    for each in found:
        assert len(each) == 3 and all(one[:2].tolist() == [33, 34] for one in each)
        assert len({tuple(one) for one in each}) == 3
    best = predictor.decode_tokens(rows, 8, decoding=how, forced=(33, 34))
    assert [b.tolist() for b in best] == [each[0].tolist() for each in found]
    labels = trie([[[5, 6], [7]], [[9]]])
    few = predictor.decode_best(rows, 8, decoding=how, trie=labels, label_sets=[0, 1, 0, 1, 0])
    assert [len(each) for each in few] == [2, 1, 2, 1, 2]  # no more than the set has
    assert {tuple(one) for each in few[::2] for one in each} == {(5, 6), (7,)}


def test_scores_are_those_of_the_program_for_any_number_of_rows(trained):
    given, path, result = trained
    batch = make_batch(8)
    params = {**result.state.frozen, **result.state.trainable}
    expected = jax.device_get(result.program.evaluate(params, batch))
    predictor = opened(given, path, devices=4)
    for count in (8, 5):
        found = predictor.score({n: v[:count] for n, v in batch.items()})
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values[:count], rtol=1e-5)


def test_an_encoder_alone_decodes_nothing(tmp_path):
    given = jobs.job(model={"decoder_layers": 0})
    predictor = opened(given, tmp_path, step=0)
    with pytest.raises(UserError, match="an encoder alone"):
        predictor.decode_tokens(rows_of(2), 4)


@pytest.mark.slow
def test_modules_on_a_frozen_base(tmp_path):
    routed = plug(Bottleneck, "lang", key="source", routes=3, reduction_factor=4)
    given = jobs.job(model={"plugs": (routed,)}, trainable=("modules/.*",))
    base = ArrayBase(random_params(make_config(scan_layers=True)))
    result = jobs.run(given, tmp_path, base=base)
    predictor = opened(given, tmp_path, base=base, devices=2)
    expected = jax.device_get({**result.state.frozen, **result.state.trainable})
    jobs.assert_identical(jax.device_get(predictor.params), expected)
    (module,) = predictor.modules
    assert (module.name, len(module.fingerprint)) == ("lang", 16) and predictor.is_routed
    assert predictor.language_id("bb") == 1

    # Each row through its own module: as if each language had come alone.
    rows = rows_of(6)
    ids = [0, 1, 2, 2, 1, 0]
    mixed = predictor.decode_tokens(rows, 8, languages=ids)
    for which in range(3):
        here = [i for i in range(6) if ids[i] == which]
        alone = predictor.decode_tokens([rows[i] for i in here], 8, languages=[which] * len(here))
        for i, tokens in zip(here, alone, strict=True):
            assert mixed[i].tolist() == tokens.tolist()

    with pytest.raises(UserError, match="each text needs one of aa, bb, cc"):
        predictor.decode_tokens(rows, 8)
    with pytest.raises(UserError, match="Language 3 has no slot"):
        predictor.decode_tokens(rows, 8, languages=[3] * 6)
    with pytest.raises(UserError, match=r"'ba'.*aa, bb, cc"):
        predictor.language_id("ba")
    other = ArrayBase(random_params(make_config(scan_layers=True), seed=1))
    with pytest.raises(UserError, match="The frozen base is not the one"):
        opened(given, tmp_path, base=other)
    assert Checkpoints(tmp_path).latest() == 6


@pytest.mark.parametrize("key", ["target", pytest.param("task", marks=pytest.mark.slow)])
def test_modules_by_the_language_of_the_output_or_the_task(tmp_path, key):
    routed = plug(Bottleneck, "lang", key=key, routes=3, reduction_factor=4)
    model = {"encoder_layers": 1, "decoder_layers": 1, "scan_layers": False}
    given = jobs.job(model=model | {"plugs": (routed,)})
    predictor = opened(given, tmp_path, step=0)
    rng = np.random.default_rng(0)
    moved = {  # up-projections start at zero: all slots would be equal
        n: v + rng.normal(size=v.shape).astype(np.float32) if n.startswith("modules/") else v
        for n, v in predictor.params.items()
    }
    predictor = dataclasses.replace(predictor, params=moved)
    assert predictor.is_routed and predictor.routed_by(key) and not predictor.routed_by("source")
    rows, ids = rows_of(6, (3, 12)), [0, 1, 2, 2, 1, 0]
    name = f"{key}s"
    mixed = [t.tolist() for t in predictor.decode_tokens(rows, 8, **{name: ids})]
    alone = [
        predictor.decode_tokens([row], 8, **{name: [i]})[0].tolist()
        for row, i in zip(rows, ids, strict=True)
    ]
    assert mixed == alone
    other = [t.tolist() for t in predictor.decode_tokens(rows, 8, **{name: [0] * 6})]
    assert mixed != other
    with pytest.raises(UserError, match=r"Plug 'lang' goes by .*(output|task), so each text needs"):
        predictor.decode_tokens(rows, 8, languages=ids)
    with pytest.raises(UserError, match="3 has no slot"):
        predictor.decode_tokens(rows, 8, **{name: [3] * 6})
