"""Running text as pairs among tasks with answers."""

from dataclasses import replace

import numpy as np
import pytest
import seqio

from jaxlt.data.config import DataConfig
from jaxlt.data.mixtures import open_evaluation, open_mixture
from jaxlt.data.objectives.denoised import PIECE
from jaxlt.data.objectives.objectives import corrupted_lengths
from jaxlt.data.rows.batches import uniforms
from jaxlt.data.seqio_tasks import mixtures
from jaxlt.data.seqio_tasks.configured import denoising
from jaxlt.data.task_config import TaskConfig
from jaxlt.data.text.settings import TextConfig
from jaxlt.data.transfer import TransferConfig
from jaxlt.data.vocabulary.vocabularies import open_vocabulary
from jaxlt.errors import UserError

TREE = "1\t{0}\t_\tNOUN\t_\t_\t0\troot\t_\t_\n\n"


@pytest.fixture
def config(tmp_path):
    (tmp_path / "ud").mkdir()
    for name in ("en_a-train", "en_a-dev", "sw_b-dev"):
        rows = "".join(TREE.format(f"word{i}") for i in range(20))
        (tmp_path / "ud" / f"{name}.conllu").write_text(rows)
    (tmp_path / "text").mkdir()
    for code in ("eng_Latn", "sw", "deu_Latn"):
        lines = "".join(f"{code} sentence number {i} of some\n" for i in range(80))
        (tmp_path / "text" / f"{code}.txt").write_text(lines)
    tasks = TaskConfig("tagging", str(tmp_path / "ud")), TaskConfig("denoise", f"{tmp_path}/text")
    return DataConfig(
        objective="text_to_text",
        inputs_length=40,
        targets_length=16,
        mixture="run",
        batch_size=16,
        held_out=0.2,
        tasks=tasks,
        cache_dir=str(tmp_path / "cache"),
    )


def test_pairs_fit_and_spell_the_text(config):
    mixture = open_mixture(replace(config, rates={"denoise": 1.0}))
    names = [i.name for i in mixture.info()]
    assert names == ["denoise.deu_Latn", "denoise.eng_Latn", "denoise.swa_Latn"]
    objective, vocabulary = denoising(config), open_vocabulary(config.vocabulary_config)
    ins, outs = corrupted_lengths(objective.window, 0.15, config.span)
    assert ins == 40 and outs <= 16
    short = denoising(replace(config, targets_length=7))
    asked = [corrupted_lengths(short.window + more, 0.15, config.span)[1] for more in (0, 1)]
    assert asked[0] <= 7 < asked[1]
    text = mixture._make.texts[1]
    inputs, targets = (text.cache.columns[n].whole(0) for n in ("inputs", "targets"))
    assert len(inputs) == ins - 1 and len(targets) == outs - 1  # the end comes with the row
    sentinels = set(vocabulary.sentinels(6).tolist())
    pieces, spans = [], []
    for ids, out in ((inputs, pieces), (targets, spans)):
        for token in ids.tolist():
            if token in sentinels:
                out.append([])
            elif not out:
                out.append([token])
            else:
                out[-1].append(token)
    said = pieces[0] + [t for a, b in zip(spans, [*pieces[1:], []], strict=False) for t in a + b]
    lines = "".join(f"eng_Latn sentence number {i} of some\n" for i in range(80))
    assert vocabulary.decode(said) in lines
    row = mixture.rows(0, 0, 16)
    assert np.all(row["encoder_input_tokens"].max(axis=1) > 0)


def test_spans_are_drawn_anew_at_each_visit(config):
    once = replace(config, rates={"denoise": 1.0})
    anew = replace(once, text=TextConfig(anew=True))
    mixture, usual = open_mixture(anew), open_mixture(once)
    assert mixture.fingerprint != usual.fingerprint
    assert [i.tokens for i in mixture.info()] == [i.tokens for i in usual.info()]
    objective, seen = denoising(config), {}
    for step in range(12):
        batch, row = mixture.rows(step, 0, 16), step * 16 + np.arange(16)
        stored = usual.rows(step, 0, 16)
        for i, (text, index) in enumerate(zip(*mixture._drawn(row), strict=True)):
            piece = mixture._make.texts[text].cache.columns[PIECE].whole(index)
            # The plain reference: span corruption of running text, its draws at the global row.
            draw = lambda rows, n, at=row[i]: uniforms(0, "spans", np.array([at]), n)  # noqa: E731
            wanted = objective({"targets": (piece[None], np.array([len(piece)]))}, draw)
            for name in ("encoder_input_tokens", "decoder_target_tokens"):
                assert np.array_equal(batch[name][i], wanted[name][0])
                assert (batch[name][i] > 0).sum() == (stored[name][i] > 0).sum()
            seen.setdefault((text, index), set()).add(batch["encoder_input_tokens"][i].tobytes())
    assert max(map(len, seen.values())) > 1
    with pytest.raises(UserError, match="leave TextConfig's noise out"):
        mixtures.register(anew)


def test_it_mixes_into_a_task_and_is_never_evaluated(config):
    both = replace(config, rates={"tagging": 3.0, "denoise": 1.0})
    shares = {i.name: i.rate for i in open_mixture(both).info()}
    assert shares["tagging.en_a.eng_Latn"] == 0.75
    assert shares["denoise.swa_Latn"] == pytest.approx(0.25 / 3)
    asked = {text.task for text, *_ in open_evaluation(config).examples()}
    assert asked == {"tagging.en_a.eng_Latn", "tagging.sw_b.swa_Latn"}
    others = replace(config, noise_density=0.3)
    assert open_mixture(others).fingerprint != open_mixture(config).fingerprint


def test_documents_that_are_held_out_stay_out(config):
    counts = []
    for held_out in (0.0, 0.5):
        root = f"{config.cache_dir}{held_out}"
        given = replace(config, held_out=held_out, cache_dir=root, rates={"denoise": 1.0})
        counts.append(sum(i.tokens for i in open_mixture(given).info()))
    assert 0.3 * counts[0] < counts[1] < 0.7 * counts[0]


def test_text_of_the_targets_trains_under_zero_shot(config, caplog):
    named = replace(config, transfer=TransferConfig("zero_shot", "eng_Latn"))
    mixture = open_mixture(named)
    text = {"denoise.eng_Latn", "denoise.swa_Latn"}
    assert {i.name for i in mixture.info()} == {"tagging.en_a.eng_Latn", *text}
    assert mixture.languages == ("eng_Latn", "swa_Latn")  # German has text, but no task
    assert "left out: denoise.deu_Latn" in caplog.text
    rated = replace(named, rates={"tagging": 9.0, "denoise": 1.0})
    rates = {i.name: i.rate for i in open_mixture(rated).info()}
    assert rates == {"tagging.en_a.eng_Latn": 0.9} | dict.fromkeys(text, 0.05)
    assert next(t.task for t, *_ in open_evaluation(rated).examples()) == "tagging.en_a.eng_Latn"


def test_seqio_has_it_too(config):
    mixtures.register(config)
    task = seqio.get_mixture_or_task("run.denoise.eng_Latn")
    (first, *_) = task.get_dataset({"inputs": 40, "targets": 16}, "train").as_numpy_iterator()
    assert first["inputs"][-1] == 1 and 1 not in first["inputs"][:-1]
    assert task.splits == ("train",)


def test_what_it_does_not_go_with(config):
    with pytest.raises(UserError, match=r"denoise needs another DataConfig\.objective"):
        replace(config, objective="span_corruption", tasks=config.tasks[1:])
