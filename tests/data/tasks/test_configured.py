"""Tasks that a DataConfig describes: real corpora and made languages, by kind."""

import json
from collections import Counter
from dataclasses import replace
from itertools import permutations

import pytest

from jaxlt.data.config import DataConfig
from jaxlt.data.mixtures import open_evaluation, open_mixture, training_forms
from jaxlt.data.synth.concepts import concepts
from jaxlt.data.synth.families import FactoryConfig, Family, languages
from jaxlt.data.synth.lexicon import lexicon
from jaxlt.data.task_config import TaskConfig
from jaxlt.errors import UserError

ROW = "{}\t{}\t_\tNOUN\t_\t_\t{}\tdep\t_\t_\n"
TREE = ROW.format(1, "a", 0) + ROW.format(2, "b", 1) + "\n"
FACTORY = FactoryConfig((Family(2),), sentences=80, annotated=40, opinions=40, parallel=40)
MADE = ("qaa_Latn", "qab_Latn")


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
    [("tagging", 1), ("parallel", 2), ("text", 1)],
)
def test_made_languages(config, kind, languages):
    task = TaskConfig(f"synthetic_{kind}", factory=FACTORY)
    objective = "span_corruption" if kind == "text" else "text_to_text"
    made = replace(config, tasks=task, objective=objective, held_out=0.2)
    mixture = open_mixture(made)
    assert mixture.languages == ("qaa_Latn", "qab_Latn")
    assert len(mixture.info()) == 2 and open_evaluation(made).num_rows > 0
    assert {len(set(i.languages)) for i in mixture.info()} == {languages}


def asked(config):
    """The (inputs, targets) that a config trains on, by the names of its tasks."""
    open_mixture(config)
    found = {text.name: [form for _, form in forms] for text, forms in training_forms(config)}
    return {name: forms for name, forms in found.items() if forms}


def test_words_of_made_languages_both_ways(config):
    task = TaskConfig("synthetic_dictionary", factory=FACTORY)
    found = asked(replace(config, tasks=task, held_out=0.2))
    there, back = (found[f"synthetic_dictionary.{a}:{b}"] for a, b in permutations(MADE))
    assert 100 < len(there) == len(back) < len(concepts())
    assert all(pair[0].startswith("<2qab_Latn> ") for pair in there)
    turned = {(answer, inputs.partition(" ")[2]) for inputs, answer in back}
    assert turned == {(inputs.partition(" ")[2], answer) for inputs, answer in there}
    roots = {word.sounds for word in lexicon(languages(FACTORY)[0]).roots.values()}
    assert {inputs.partition(" ")[2] for inputs, _ in there} <= roots
    one = replace(task, pairs=("qab_Latn:qaa_Latn",))
    assert open_mixture(replace(config, tasks=one)).languages == ("qaa_Latn", "qab_Latn")
    with pytest.raises(UserError, match="Did you mean 'qaa_Latn'"):
        open_mixture(replace(config, tasks=replace(task, pivot="qaa_Latm")))


def test_the_language_of_each_word_of_mixed_speech(config):
    task = TaskConfig("synthetic_mixed", factory=FACTORY)
    with pytest.raises(UserError, match=r"set Family\.mixed"):
        open_mixture(replace(config, tasks=task))
    factory = replace(FACTORY, families=(Family(2, mixed=0.3),))
    found = asked(replace(config, tasks=replace(task, factory=factory)))
    assert list(found) == ["synthetic_mixed.qab_Latn"]  # the other one lends and mixes nothing
    lender, _ = languages(factory)
    seen = Counter()
    for inputs, targets in found["synthetic_mixed.qab_Latn"]:
        words, codes = inputs.removeprefix("languages: ").split(), targets.split()
        assert len(words) == len(codes)
        assert {c for w, c in zip(words, codes, strict=True) if w in ".,?"} == {"other"}
        seen.update(codes)
    assert seen.keys() == {lender.code, "qab_Latn", "other"}
    assert 0.1 < seen[lender.code] / (seen[lender.code] + seen["qab_Latn"]) < 0.3


def table(path, *rows):
    path.write_text("".join("\t".join(row.split()) + "\n" for row in rows))
    return str(path)


def test_translation_from_aligned_files(config, tmp_path):
    folder = tmp_path / "bible"
    folder.mkdir()
    for code in ("eng_Latn", "swh_Latn", "uig_Arab"):
        (folder / f"{code}.txt").write_text("".join(f"{code} {i}\n" for i in range(60)))
    ids = tmp_path / "ids"
    ids.write_text("".join(f"M{i}\n" for i in range(60)))
    task = TaskConfig("translation", str(folder), pivot="eng_Latn", ids=str(ids))
    both = replace(config, tasks=task, held_out=0.2)
    names = [i.name for i in open_mixture(both).info()]
    assert len(names) == 4 and all("eng_Latn" in name for name in names)
    only = replace(task, name="bible", pivot=None, pairs="swh_Latn:uig_Arab")
    found = asked(replace(both, tasks=only))
    pairs = found["bible.swh_Latn:uig_Arab"]
    numbers = [inputs.removeprefix("<2uig_Arab> swh_Latn ") for inputs, _ in pairs]
    assert [f"uig_Arab {n}" for n in numbers] == [answer for _, answer in pairs]
    held = open_evaluation(replace(both, tasks=only)).num_rows
    assert held > 0 and held + len(pairs) == 60
    wanted = replace(task, languages=("eng_Latn", "swh_Latn"))
    names = [i.name for i in open_mixture(replace(both, tasks=wanted)).info()]
    assert names == ["translation.eng_Latn:swh_Latn", "translation.swh_Latn:eng_Latn"]


def test_words_of_a_dictionary(config, tmp_path):
    rows = [f"tr-fi train su{i} vesi{i}" for i in range(9)]
    path = table(tmp_path / "d.tsv", "pair split source target", *rows, "tr-fi dev ve ja")
    words = replace(config, tasks=TaskConfig("words", path))
    found = asked(words)
    assert found["words.tur_Latn:fin_Latn"][0] == ("<2fin_Latn> su0", "vesi0")
    assert found["words.fin_Latn:tur_Latn"][8] == ("<2tur_Latn> vesi8", "su8")
    assert {len(pairs) for pairs in found.values()} == {9}
    assert open_evaluation(words).num_rows == 2


def test_pairs_of_texts(config, tmp_path):
    rows = [f"{code} {i} {code}{i} so{i} {i % 3}" for i in range(30) for code in ("en", "swh_Latn")]
    path = table(tmp_path / "x.tsv", "lang id premise hypothesis label", *rows)
    pairs = replace(config, tasks=TaskConfig("pairs", path), held_out=0.2)
    found = asked(pairs)
    assert list(found) == ["pairs.eng_Latn", "pairs.swh_Latn"]
    assert len(found["pairs.eng_Latn"]) == len(found["pairs.swh_Latn"]) < 30  # by their ids
    assert open_evaluation(pairs).num_rows == 60 - 2 * len(found["pairs.eng_Latn"])
    (inputs, label), *_ = found["pairs.swh_Latn"]
    number = inputs.rpartition("so")[2]
    assert inputs == f"xnli: premise: swh_Latn{number} hypothesis: so{number}"
    assert label == str(int(number) % 3)


def test_questions_about_a_text(config, tmp_path):
    path = tmp_path / "q.jsonl"
    rows = [
        {"lang": "eng_Latn", "id": str(i), "question": "Who?", "context": f"By Ada{i}.", "split": s}
        | {"answers": [f"Ada{i}", f"Ada{i}", f"By Ada{i}"]}
        for i, s in enumerate(("train", "train", "dev"))
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    task = TaskConfig("questions", str(path))
    found = asked(replace(config, tasks=task))["questions.eng_Latn"]
    assert found == [(f"question: Who ? context: By Ada{i} . ", f"Ada{i}") for i in range(2)]
    assert open_evaluation(replace(config, tasks=task)).num_rows == 2  # one a right answer
    path.write_text(json.dumps(rows[0] | {"answers": ["Eve"]}) + "\n")
    with pytest.raises(UserError, match=r"q.jsonl', line 1: 'Eve' of the column 'answers'"):
        open_mixture(replace(config, mixture="bad", tasks=task))


def test_running_text_of_a_table(config, tmp_path):
    rows = [f"{code} {i} {code}{i}" for i in range(60) for code in ("eng", "swh_Latn")]
    path = table(tmp_path / "t.tsv", "lang id text", *rows)
    task = TaskConfig("texts", path)
    with pytest.raises(UserError, match=r"texts needs another DataConfig\.objective"):
        replace(config, tasks=task)
    text = replace(config, objective="span_corruption", tasks=task, held_out=0.2)
    parts = [open_mixture(text, split).info() for split in ("train", "validation")]
    for infos in parts:
        assert [i.name for i in infos] == ["texts.eng_Latn", "texts.swh_Latn"]
    counts = [{i.documents for i in infos} for infos in parts]  # equal ids are on one side
    assert len(counts[0]) == len(counts[1]) == 1 and sum(map(sum, counts)) == 60


def test_facts_in_templates(config, tmp_path):
    templates = tmp_path / "said.tsv"
    header = "lang\trelation\tpattern\tchecked_by_human\n"
    said = ("[X] does [Y]", "[Y] is done by [X]")
    templates.write_text(header + "".join(f"en\tP\t{one}\t1\n" for one in said))
    rows = [f"en P Q{i} R{i} Ada{i} maths{i}" for i in range(40)]
    path = table(tmp_path / "f.tsv", "lang relation sub_uri obj_uri sub_label obj_label", *rows)
    task = TaskConfig("facts", path, templates=str(templates))
    every = asked(replace(config, tasks=task, held_out=0.0))["facts.eng_Latn"]
    assert len(every) == 80 and ("fact: [Y] is done by Ada7", "maths7") in every
    config = replace(config, tasks=replace(task, name="asked", most=1), held_out=0.25)
    found = asked(config)["asked.eng_Latn"]
    assert len(found) + open_evaluation(config).num_rows == 40 and len(found) < 40


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"kind": "taging"}, "Did you mean 'tagging'"),
        ({"kind": "tagging"}, "sources of the kind 'tagging' is empty"),
        ({"kind": "tagging", "sources": "ud", "pivot": "en"}, "pivot is not for the kind"),
        ({"kind": "synthetic_text"}, "factory of 'synthetic_text' lacks"),
        ({"kind": "facts", "sources": "f.tsv"}, "templates is the table"),
        ({"kind": "translation", "sources": "b", "pairs": "eng_Latn"}, "source:target, not 'eng"),
        ({"kind": "translation", "sources": "b", "pairs": "a:a"}, "two languages"),
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
