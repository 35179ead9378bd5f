"""Every study that comes with jaxlt plans; the first of them runs to its end."""

import itertools
import math
import re
import shlex
from pathlib import Path

import pytest

from jaxlt import config
from jaxlt.errors import UserError
from jaxlt.experiments import study
from jaxlt.experiments.stage import asked
from jaxlt.experiments.verbs import VERBS

ROOT = config.shipped_configs()
FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("experiments/*.gin"))
ARMS = ("target", "source", "none", "another", "shuffled")
SMALL = {
    "laboratory": {
        "families": 2, "languages": 2, "dialects": 0, "sentences": 300, "annotated": 60,
        "labelled": 20, "pieces": 450, "width": 16, "mlp": 16, "layers": 1, "steps": 8,
    },
    "mad_x": {"languages": 2, "steps": 8, "epochs": 2, "beside": False},
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_the_header_says_what_for_and_how_to_run(name: str) -> None:
    lines = (ROOT / name).read_text().splitlines()
    head = "\n".join(line[1:].strip() for line in lines if line.startswith("#"))
    for label in ("For:", "Override:", "Command:"):
        assert label in head
    argv = shlex.split(head.partition("Command:")[2].replace("\\\n", " "))
    assert argv[:2] == ["jaxlt", "experiment"] and name in argv


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_every_study_plans_and_its_claims_speak_of_its_arms(name: str, quick: bool) -> None:
    loaded = study.load([name], seeds=1, quick=quick)
    assert loaded.question and loaded.claims
    stages = study.planned(loaded).stages
    assert {stage.verb for stage in stages} <= set(VERBS)
    kinds = {(one.name, *one.config.get("settings", ())): one for one in stages}
    assert all(asked(stage)["config"] for stage in kinds.values())
    methods = {stage.config.get("method") for stage in stages}
    for claim in loaded.claims:
        arms = set(re.findall(r"@(\w+)", claim.effect))
        assert quick or (arms and arms <= methods), claim.name


def test_mad_x_on_real_data_has_a_table_of_all_treebanks() -> None:
    loaded = study.load(["experiments/mad_x.gin", "lab/ud.gin"], seeds=1)
    assert loaded.name == "mad_x_ud" and loaded.laboratory.data == "$JAXLT_SHARED_DATA"
    stages = {stage.name: stage for stage in study.planned(loaded).stages}
    assert "languages" not in stages["zero-shot"].config
    assert stages["tags-target"].config["languages"] == ["wol_Latn"]
    assert all(claim.languages == ("wol_Latn",) for claim in loaded.claims)


def test_x_mod_compares_models_of_equal_active_parameters_and_equal_steps() -> None:
    loaded = study.load(["experiments/x_mod.gin"], ["study.vary={}"], seeds=1)
    stages = {stage.name: stage for stage in study.planned(loaded).stages}
    given = {name: stage.config.get("settings", {}) for name, stage in stages.items()}
    whole = ["shared", "x_mod", "met", "mlm-8x1600"]
    assert {given[name]["TRAIN_STEPS"] for name in whole} == {1600}
    assert given["shared"]["lang/plug.key"] is None and given["x_mod"]["LANGUAGES"] == 9
    assert (
        given["shared"]["lang/plug.reduction_factor"]
        == given["x_mod"]["lang/plug.reduction_factor"]
    )
    assert [need.name for need in stages["added"].needs if need.verb == "train"] == ["x_mod"]
    assert "qac_Latn" in given["met"]["DataConfig.rates"]
    assert "qac_Latn" not in given["x_mod"]["DataConfig.rates"]
    taught = {name: given[name] for name in ("tagger", "tagger-2", "tagger-8")}
    assert [one["EPOCHS"] for one in taught.values()] == [16, 8, 2]  # of 1, 2, 8 treebanks
    assert len(taught["tagger-8"]["SOURCES"]) == 8
    for name in ("tagger", "tagger-post_hoc", "tagger-met"):  # INIT_FROM alone brings no modules
        assert given[name]["run.modules"] == ["lang=*"]
    assert given["tagger-shared"]["run.modules"] == ["lang=one"]
    assert not any("qac_Latn" in one["SOURCES"] for one in taught.values())


def test_the_curse_counts_its_trainings_and_holds_the_core_s_part_of_an_update() -> None:
    loaded = study.load(["experiments/curse.gin"])
    lab = loaded.laboratory
    runs = [s for s in study.planned(loaded).stages if lab.text in s.config.get("files", ())]
    assert len(runs) == 119  # of 150 at most
    given = {run.path: run.config["settings"] for run in runs}
    rows = {path: g["TRAIN_STEPS"] * g["BATCH_SIZE"] for path, g in given.items()}
    assert round(sum(rows.values()) / rows["languages=1/0/shared"]) == 674
    for path, one in given.items():
        rates = one.get("DataConfig.rates", {lab.source: 1.0})
        part = one["BATCH_SIZE"] * rates[lab.source] / sum(rates.values())
        assert "how=fixed" in path or abs(part - lab.batch) < 1, path
    nested = [list(given[f"languages={n}/0/x_mod"]["DataConfig.rates"]) for n in (1, 2, 4, 8, 16)]
    assert all(more[: len(some)] == some for some, more in itertools.pairwise(nested))
    seeds = {run.seed for run in runs if run.cell == "languages=4,how=decay"}
    assert seeds == {0, 1, 2} and "languages=1,how=decay/0/shared" not in given


def test_lt_sft_changes_as_many_values_as_mad_x_has_and_takes_as_many_steps() -> None:
    from jaxlt.models.config import T5Config
    from jaxlt.models.init import describe
    from jaxlt.modules.bottleneck import Pfeiffer
    from jaxlt.modules.nice import Nice
    from jaxlt.modules.site import plug

    loaded = study.load(["experiments/lt_sft.gin"], ["study.vary={}"], seeds=1)
    stages = {stage.name: stage for stage in study.planned(loaded).stages}
    sizes: dict[str, int] = {"vocab_rows": 8, "emb_dim": 64, "mlp_dim": 8, "num_heads": 1}
    sizes |= {"head_dim": 8, "encoder_layers": 2, "decoder_layers": 0}
    language = (plug(Nice, "e", reduction_factor=2), plug(Pfeiffer, "l", reduction_factor=2))
    for what, plugs in (
        ("mask-qac_Latn-random", language),
        ("task-mask-lt_sft", (plug(Pfeiffer, "t", reduction_factor=1),)),
    ):
        leaves = describe(T5Config(**sizes, plugs=plugs))
        own = [math.prod(leaf.shape) for name, leaf in leaves.items() if "modules/" in name]
        assert stages[what].config["count"] == sum(own)
    steps = {
        n: s.config["settings"].get("TRAIN_STEPS") for n, s in stages.items() if s.verb == "train"
    }
    both = steps["full-qac_Latn"] + steps["sparse-qac_Latn-lt_sft"]
    assert both == steps["qac_Latn-mlm-4x2400-rf2x800"] == 800
    beneath = stages["tags-lt_sft"].config["settings"]["LANGUAGE_DELTA"]
    assert beneath.stage.name == "phi-qac_Latn-lt_sft" and stages["tags-mad_x"].config["modules"]
    assert (
        stages["task-lt_sft"].config["settings"]["LANGUAGE_DELTA"].stage.name
        == "phi-qaa_Latn-lt_sft"
    )


def test_embeddings_are_trained_with_modules_apart_alone() -> None:
    loaded = study.load(["experiments/mad_x.gin"], ["mad_x.embeddings=True"], seeds=1)
    with pytest.raises(UserError, match=r"mad_x\.embeddings is of modules"):
        study.planned(loaded)  # of which a cell has modules in turns
    alone = study.load(["experiments/mad_x.gin"], ["mad_x.embeddings=True", "study.vary={}"])
    stages = {stage.name: stage for stage in study.planned(alone).stages}
    files = {name: asked(stages[f"tags-{name}"])["config"]["settings"] for name in ARMS}
    assert files["target"] == files["shuffled"] != files["source"] != files["another"]
    assert files["none"] == {"new/delta.scale": 0}


@pytest.mark.slow
@pytest.mark.usefixtures("quick_compile")
def test_mad_x_runs_to_its_end_and_has_a_row_an_arm(tmp_path: Path) -> None:
    from jaxlt.experiments import states, worker
    from jaxlt.experiments.storage import Places

    small = [f"{of}.{name}={value}" for of, given in SMALL.items() for name, value in given.items()]
    loaded = study.load(["experiments/mad_x.gin"], ["study.vary={}", *small], seeds=(3,))
    stages = study.planned(loaded).stages
    places = Places(name=loaded.name, study=tmp_path / "mad_x", lab=tmp_path / "lab")
    survey = worker.run(stages, places)
    assert survey.status == 0, survey.said()
    rows = states.rows(survey)
    target = [row for row in rows if row.target == "qab_Latn" and row.aggregate == "none"]
    arms = {row.method: row for row in target if row.metric == "accuracy" and row.task != "mlm"}
    assert set(ARMS) <= arms.keys()
    assert all(row.seed == 3 and row.cell == "all" and row.references for row in arms.values())
    assert len({row.references for row in arms.values()}) == 1
    heard = {row.method: row.value for row in target if row.metric == "bpb"}
    assert heard["with"] < heard["without"]
    before = [(path, path.stat().st_mtime_ns) for path in sorted(tmp_path.rglob("rows.jsonl"))]
    assert worker.run(stages, places).status == 0
    assert before == [(path, path.stat().st_mtime_ns) for path, _ in before]
