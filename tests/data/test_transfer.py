"""Settings of transfer: what trains, what stops training, and what is scored."""

from dataclasses import replace

import numpy as np
import pytest

from jaxlt.data.config import DataConfig
from jaxlt.data.inventory import Inventory
from jaxlt.data.mixtures import open_evaluation, open_mixture
from jaxlt.data.seqio_tasks import mixtures
from jaxlt.data.synth.families import FactoryConfig, Family
from jaxlt.data.task_config import TaskConfig
from jaxlt.data.transfer import TransferConfig, TransferRoles
from jaxlt.errors import UserError

EVERY = ("eng_Latn", "fin_Latn", "swa_Latn", "tur_Latn")


def trees(path, count, word):
    """A treebank whose sentences are all different."""
    rows = (f"1\t{word}{i}\t_\tNOUN\t_\t_\t0\troot\t_\t_\n\n" for i in range(count))
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(rows))


@pytest.fixture
def config(tmp_path):
    counts = {"en_a-train": 40, "en_a-dev": 5, "sw_b-train": 20, "sw_b-dev": 4, "sw_c-train": 12}
    counts |= {"tr_d-dev": 20, "tr_d-test": 3, "fi_e-train": 30, "fi_e-dev": 6}
    for name, count in counts.items():
        trees(tmp_path / "ud" / f"{name}.conllu", count, name[:4])
    return DataConfig(
        objective="text_to_text",
        inputs_length=24,
        targets_length=8,
        mixture="run",
        batch_size=4,
        tasks=TaskConfig("tagging", str(tmp_path / "ud")),
        cache_dir=str(tmp_path / "cache"),
    )


def under(config, setting, sources="eng_Latn", **more):
    return replace(config, transfer=TransferConfig(setting, sources, **more))


def trained(config):
    """How many examples of each task train."""
    return {i.name.removeprefix("tagging."): i.documents for i in open_mixture(config).info()}


def scored(config, split="validation", languages=None):
    """The inputs of a pass, by task."""
    found = {}
    for text, inputs, _ in open_evaluation(config, split, languages=languages).examples():
        found.setdefault(text.task.removeprefix("tagging."), set()).add(bytes(inputs - 3).decode())
    return found


def counts(config, *args):
    return {name: len(inputs) for name, inputs in scored(config, *args).items()}


ENGLISH, FINNISH = {"en_a.eng_Latn": 40}, {"fi_e.fin_Latn": 30}
SWAHILI = {"sw_b.swa_Latn": 20, "sw_c.swa_Latn": 12}


def test_zero_shot(config):
    zero = under(config, "zero_shot")
    assert trained(zero) == ENGLISH
    assert open_mixture(zero).languages == EVERY  # targets keep their ids, with or without text
    assert counts(zero) == {"en_a.eng_Latn": 5}
    assert counts(zero, "validation", EVERY) == {
        "en_a.eng_Latn": 5,
        "sw_b.swa_Latn": 4,
        "tr_d.tur_Latn": 20,
        "fi_e.fin_Latn": 6,
    }
    on_targets = under(config, "zero_shot", targets=("swa_Latn",), stop_on="target")
    assert open_mixture(on_targets).languages == ("eng_Latn", "swa_Latn")
    assert counts(on_targets) == {"sw_b.swa_Latn": 4}
    tokenised = {p.name for p in (config.cache_root / "tokens").iterdir()}
    assert not [n for n in tokenised if "fi_e" in n and "-train-" in n]  # nobody asked for it


def test_several_sources_joint_and_in_language(config):
    several = under(config, "multi_source", ("fin_Latn", "eng_Latn"), targets="swa_Latn")
    assert trained(several) == {**ENGLISH, **FINNISH}
    assert counts(several) == {"en_a.eng_Latn": 5, "fi_e.fin_Latn": 6}
    assert trained(under(config, "joint")) == {**ENGLISH, **FINNISH, **SWAHILI}
    own = under(config, "in_language", targets=("swa_Latn",))
    assert trained(own) == SWAHILI and counts(own) == {"sw_b.swa_Latn": 4}
    assert trained(under(config, "in_language")) == {**FINNISH, **SWAHILI}
    assert own.transfer.stopped_on == "target"


def shots(config):
    """The inputs that train, by task."""
    mixture = open_mixture(config)
    found = {}
    for text in mixture._make.texts:
        column = text.cache.columns["inputs"]
        inputs = {bytes(column.whole(i) - 3).decode() for i in range(text.cache.examples)}
        found.setdefault(text.language, set()).update(inputs)
    return found


def test_few_shot_is_the_same_whatever_else_changes(config):
    few = under(config, "few_shot", k=5, targets=("swa_Latn", "tur_Latn"))
    found = shots(few)
    assert {name: len(inputs) for name, inputs in found.items()} == {
        "eng_Latn": 40,
        "swa_Latn": 5,  # of both treebanks together
        "tur_Latn": 5,
    }
    other = replace(few, seed=7, batch_size=2, shuffle=False, inputs_length=30)
    other = replace(other, transfer=replace(few.transfer, sources="fin_Latn"))
    assert shots(other)["swa_Latn"] == found["swa_Latn"]
    smaller = replace(few, transfer=replace(few.transfer, k=3))
    assert shots(smaller)["swa_Latn"] < found["swa_Latn"]
    drawn = [replace(few, transfer=replace(few.transfer, k=4, draw=d)) for d in range(5)]
    each = [shots(d)["tur_Latn"] for d in drawn]
    assert len(set().union(*each)) == 20  # all of them: draws are disjoint
    assert len({open_mixture(d).fingerprint for d in drawn}) == 5


def test_few_shot_never_scores_what_it_trained_on(config):
    few = under(config, "few_shot", k=5, targets=("swa_Latn", "tur_Latn"), stop_on="target")
    assert counts(few) == {"sw_b.swa_Latn": 4}  # Turkish trains on its validation split
    rest = scored(few, "validation", EVERY)
    assert len(rest["tr_d.tur_Latn"]) == 15
    assert not rest["tr_d.tur_Latn"] & shots(few)["tur_Latn"]
    assert counts(few, "test", EVERY) == {"tr_d.tur_Latn": 3}
    alone = under(config, "few_shot", k=5, targets=("tur_Latn",), stop_on="target")
    with pytest.raises(UserError, match="nothing is left of it to stop on"):
        open_evaluation(alone)


def test_translate_train(config, tmp_path):
    trees(tmp_path / "mt" / "sw_mt-train.conllu", 17, "mt")
    trees(tmp_path / "mt" / "tr_mt-train.conllu", 9, "mt")
    made = under(config, "translate_train", translated=str(tmp_path / "mt"))
    assert trained(made) == {"sw_mt.swa_Latn": 17, "tr_mt.tur_Latn": 9}
    assert open_mixture(made).languages == ("eng_Latn", "swa_Latn", "tur_Latn")
    real = {"en_a.eng_Latn": 5, "sw_b.swa_Latn": 4, "tr_d.tur_Latn": 20}
    assert counts(made, "validation", EVERY) == real
    with pytest.raises(UserError, match="into which nothing is translated"):
        open_mixture(replace(made, transfer=replace(made.transfer, targets=("fin_Latn",))))


def test_rates_are_of_what_trains(config):
    two = under(config, "multi_source", ("eng_Latn", "swa_Latn"))
    rated = replace(two, rates={"eng_Latn": 3.0, "swa_Latn": 1.0})
    shares = {i.name: i.rate for i in open_mixture(rated).info()}
    assert shares["tagging.en_a.eng_Latn"] == 0.75 and shares["tagging.sw_b.swa_Latn"] == 0.125
    assert len(counts(rated)) == 2  # evaluation knows no rates
    with pytest.raises(UserError, match=r"names 'fin_Latn', which .* does not train on"):
        open_mixture(replace(two, rates={"eng_Latn": 1.0, "swa_Latn": 1.0, "fin_Latn": 1.0}))
    with pytest.raises(UserError, match=r"leaves out 'tagging\.sw_b\.swa_Latn'"):
        open_mixture(replace(two, rates={"eng_Latn": 1.0}))


def test_files_of_pairs_and_running_text(tmp_path):
    for ending, form in ((".tsv", "in {0}{1}\tout {0}{1}"), (".txt", "{0} says {1} and {1}")):
        folder = tmp_path / ending[1:]
        folder.mkdir()
        for code in ("aaa_Latn", "bbb_Latn", "ccc_Latn"):
            lines = [form.format(code, i) for i in range(60)]
            (folder / f"{code}{ending}").write_text("\n".join(lines) + "\n")
    transfer = TransferConfig("few_shot", "aaa_Latn", k=3)
    config = DataConfig(
        sources=str(tmp_path / "tsv"),
        objective="text_to_text",
        inputs_length=32,
        held_out=0.2,
        cache_dir=str(tmp_path / "cache"),
        transfer=transfer,
    )
    assert [i.documents for i in open_mixture(config).info()][1:] == [3, 3]
    pass_ = open_evaluation(config, languages=("bbb_Latn",))
    assert {text.language for text, *_ in pass_.examples()} == {"bbb_Latn"}
    text = replace(config, sources=str(tmp_path / "txt"), objective="span_corruption")
    mixture = open_mixture(text)
    assert mixture.languages == ("aaa_Latn", "bbb_Latn", "ccc_Latn")
    assert mixture.rows(0, 0, 4)["encoder_input_tokens"].any()
    with pytest.raises(UserError, match="seqio's tasks know no setting"):
        mixtures.register(text)
    with pytest.raises(UserError, match="translation is of two"):
        open_mixture(replace(config, objective="translation"))


def test_made_languages(tmp_path):
    factory = FactoryConfig((Family(3),), annotated=40, opinions=40, parallel=40)
    config = DataConfig(
        objective="text_to_text",
        inputs_length=64,
        tasks=TaskConfig("synthetic_sentiment", factory=factory),
        held_out=0.2,
        cache_dir=str(tmp_path),
        transfer=TransferConfig("zero_shot", "qaa_Latn"),
    )
    assert [i.languages[0] for i in open_mixture(config).info()] == ["qaa_Latn"]
    choice = TransferRoles.of(config)
    assert choice.targets == ("qab_Latn", "qac_Latn")
    assert open_evaluation(config, languages=choice.every).languages == choice.every
    with pytest.raises(UserError, match=r"'synthetic_parallel\.qaa_Latn:qab_Latn' is of two"):
        open_mixture(replace(config, tasks=TaskConfig("synthetic_parallel", factory=factory)))
    with pytest.raises(UserError, match="none that reads files"):
        open_mixture(under(config, "translate_train", "qaa_Latn", translated="mt"))


def test_heads_read_the_same_shots(config, tmp_path):
    row = "{}\tw{}\t_\tNOUN\t_\t_\t0\troot\t_\t_\n"
    long = "".join("".join(row.format(n + 1, i) for n in range(9)) + "\n" for i in range(10))
    (tmp_path / "ud" / "tr_d-dev.conllu").write_text(long)
    few = under(config, "few_shot", k=4, targets=("tur_Latn",))
    few = replace(
        few, objective="heads", targets_length=None, inputs_length=12, overlength="window"
    )
    inventory = Inventory({"tagging": ("NOUN",)})
    parts = {i.name: i.documents for i in open_mixture(few, inventory=inventory).info()}
    assert parts["tagging.en_a.eng_Latn"] == 40
    assert parts["tagging.tr_d.tur_Latn"] > 4 and parts["tagging.tr_d.tur_Latn"] % 4 == 0
    rest = open_evaluation(few, languages=("tur_Latn",), inventory=inventory)
    ((_, numbers),) = rest.numbers()
    assert len(set(numbers)) == 6  # of ten sentences, none of them in pieces


def test_routing_ids_cover_all(config):
    zero = under(replace(config, languages=("eng_Latn", "swa_Latn")), "zero_shot")
    with pytest.raises(UserError, match="'fin_Latn' is a source or target"):
        open_mixture(zero)
    named = replace(config, languages=("tur_Latn", "swa_Latn", "eng_Latn", "fin_Latn"))
    rows = open_mixture(under(named, "zero_shot")).rows(0, 0, 4)
    assert np.all(rows["language"] == 2)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"setting": "zeroshot"}, "Did you mean 'zero_shot'"),
        ({"sources": ("eng_Latn", "fin_Latn")}, "exactly one language.*'multi_source'"),
        ({"setting": "multi_source"}, "2 or more languages, not eng_Latn"),
        ({"setting": "joint", "sources": ()}, "not none"),
        ({"targets": ("eng_Latn",)}, "is one of its sources"),
        ({"stop_on": "targets"}, "Did you mean 'target'"),
        ({"k": 0}, "k is at least 1"),
        ({"translated": ("mt",)}, "files of the setting 'translate_train'"),
        ({"setting": "translate_train"}, "is empty: give a folder"),
    ],
)
def test_what_a_setting_cannot_be(changes, told):
    given = {"setting": "zero_shot", "sources": ("eng_Latn",)} | changes
    with pytest.raises(UserError, match=told):
        TransferConfig(**given)


def test_what_the_data_has_not(config):
    for transfer, told in (
        (TransferConfig("zero_shot", "eng_Lat"), "Did you mean 'eng_Latn'"),
        (TransferConfig("zero_shot", "eng_Latn", ("swh_Latn",)), "Did you mean 'swa_Latn'"),
        (TransferConfig("few_shot", "eng_Latn", k=25), "'tagging tur_Latn'.* has 20"),
        (TransferConfig("few_shot", "eng_Latn", k=8, draw=2), r"draw 2 \(examples 16 to 23"),
    ):
        with pytest.raises(UserError, match=told):
            open_mixture(replace(config, transfer=transfer))
    english = replace(config, tasks=replace(config.tasks[0], languages=("eng_Latn",)))
    with pytest.raises(UserError, match="'joint' needs a target"):
        open_mixture(under(english, "joint"))
    assert trained(under(english, "zero_shot")) == ENGLISH
    with pytest.raises(UserError, match="stop_on 'target' needs a target"):
        open_mixture(under(english, "zero_shot", stop_on="target"))


@pytest.mark.parametrize("more", [{"alpha": 0.3}, {"alpha": 1.0}, {"mixing": "equal"}])
def test_few_shot_examples_have_one_share_however_the_rest_is_mixed(config, more):
    few = under(replace(config, **more), "few_shot", ("eng_Latn", "fin_Latn"), k=2)

    def share(config):
        rates = {i.languages[0]: 0.0 for i in open_mixture(config).info()}
        for i in open_mixture(config).info():
            rates[i.languages[0]] += i.rate
        return rates

    rates = share(few)
    assert rates["swa_Latn"] + rates["tur_Latn"] == pytest.approx(0.1)
    assert rates["eng_Latn"] + rates["fin_Latn"] == pytest.approx(0.9)
    more = replace(few, transfer=replace(few.transfer, share=0.4))
    assert share(more)["eng_Latn"] == pytest.approx(rates["eng_Latn"] * 0.6 / 0.9)
    said = replace(
        few, rates=(("swa_Latn", 1.0), ("eng_Latn", 1.0), ("fin_Latn", 1.0), ("tur_Latn", 1.0))
    )
    assert share(said)["swa_Latn"] == pytest.approx(0.25)  # rates that are given hold
    assert sum(share(replace(few, revision=1)).values()) == pytest.approx(1)


def test_a_share_is_between_0_and_1():
    with pytest.raises(UserError, match=r"TransferConfig\.share is between 0 and 1, not 1"):
        TransferConfig("few_shot", "eng_Latn", share=1.0)
