"""Tasks that a DataConfig describes: real corpora and made languages, by kind."""

from dataclasses import replace

import pytest

from jaxlt.data.mixtures import DataConfig, open_evaluation, open_mixture
from jaxlt.data.synth.families import FactoryConfig, Family
from jaxlt.data.task_config import TaskConfig
from jaxlt.errors import UserError

ROW = "{}\t{}\t_\tNOUN\t_\t_\t{}\tdep\t_\t_\n"
TREE = ROW.format(1, "a", 0) + ROW.format(2, "b", 1) + "\n"
FACTORY = FactoryConfig((Family(2),), sentences=80, annotated=40, opinions=40, parallel=40)


@pytest.fixture
def config(tmp_path):
    (tmp_path / "ud").mkdir()
    for name, count in (
        ("en_x-train", 40),
        ("en_y-train", 20),
        ("sw_z-train", 10),
        ("en_x-dev", 3),
    ):
        (tmp_path / "ud" / f"{name}.conllu").write_text(TREE * count)
    return DataConfig(
        objective="text_to_text",
        inputs_length=64,
        mixture="run",
        tasks=TaskConfig("tagging", (str(tmp_path / "ud"),)),
        cache_dir=str(tmp_path / "cache"),
    )


def test_two_corpora_of_one_language(config):
    mixture = open_mixture(config)
    assert mixture.languages == ("eng_Latn", "swa_Latn")
    names = [i.name for i in mixture.info()]
    assert names == ["tagging.en_x.eng_Latn", "tagging.en_y.eng_Latn", "tagging.sw_z.swa_Latn"]
    assert {i.languages for i in mixture.info()} == {("eng_Latn",) * 2, ("swa_Latn",) * 2}
    by_language = replace(config, rates={"eng_Latn": 3.0, "tagging.sw_z.swa_Latn": 1.0})
    assert [i.rate for i in open_mixture(by_language).info()] == [0.375, 0.375, 0.25]
    alone = open_mixture(replace(config, rates={"tagging.en_y.eng_Latn": 1.0}))
    assert [i.documents for i in alone.info()] == [20]
    assert open_evaluation(config).num_rows == 3
    with pytest.raises(UserError, match="has anything in the split 'test'"):
        open_mixture(config, "test")


@pytest.mark.parametrize(
    ("kind", "languages"),
    [
        ("tagging", 1),
        ("parsing", 1),
        ("entities", 1),
        ("sentiment", 1),
        ("facts", 1),
        ("parallel", 2),
        ("text", 1),
    ],
)
def test_made_languages(config, kind, languages):
    task = TaskConfig(f"synthetic_{kind}", factory=FACTORY)
    objective = "span_corruption" if kind == "text" else "text_to_text"
    made = replace(config, tasks=task, objective=objective, held_out=0.2)
    mixture = open_mixture(made)
    assert mixture.languages == ("qaa_Latn", "qab_Latn")
    assert len(mixture.info()) == 2 and open_evaluation(made).num_rows > 0
    assert {len(set(i.languages)) for i in mixture.info()} == {languages}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"kind": "taging"}, "Did you mean 'tagging'"),
        ({"kind": "tagging"}, "sources of the kind 'tagging' is empty"),
        ({"kind": "tagging", "sources": "ud", "pivot": "en"}, "pivot is not for the kind"),
        ({"kind": "synthetic_text"}, "factory of 'synthetic_text' lacks"),
        ({"kind": "facts", "sources": "f.tsv"}, "templates is the table"),
    ],
)
def test_what_a_task_cannot_be(given, told):
    with pytest.raises(UserError, match=told):
        TaskConfig(**given)


def test_what_a_run_cannot_have(config):
    task = config.tasks[0]
    for changed, told in (
        ({"sources": "text"}, "both say what to read"),
        ({"tasks": (task, task)}, "Two tasks are named 'tagging'"),
        ({"objective": "span_corruption"}, "needs another DataConfig.objective"),
    ):
        with pytest.raises(UserError, match=told):
            replace(config, **changed)
    for changed, told in (
        ({"tasks": replace(task, names=("en_w",))}, "no corpus 'en_w'.*Did you mean 'en_"),
        ({"tasks": replace(task, languages=("swh_Latn",))}, "Did you mean 'swa_Latn'"),
        ({"rates": {"eng_Lat": 1.0}}, "Did you mean 'eng_Latn'"),
    ):
        with pytest.raises(UserError, match=told):
            open_mixture(replace(config, **changed))


def test_what_is_wrong_in_a_file_is_said_in_its_own_words(config, tmp_path):
    path = tmp_path / "broken" / "en_bad-train.conllu"
    path.parent.mkdir()
    path.write_text("1\tword\t_\tNOUN\t_\t_\t1\tdep\t_\t_\n\n", encoding="utf-8")
    task = TaskConfig("parsing", sources=(str(path.parent),))
    with pytest.raises(UserError, match=r"en_bad-train.conllu', line 1"):
        open_mixture(replace(config, tasks=(task,)))


def test_an_empty_language_is_refused(config):
    with pytest.raises(UserError, match="languages has an empty name"):
        replace(config, languages=("aaa", ""))
