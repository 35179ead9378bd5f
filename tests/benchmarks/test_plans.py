"""Plans of many runs: all of them can be read, what is kept is not made again, tables are true."""

import dataclasses
import json
import math

import pytest

from benchmarks import plan_sets as sets
from benchmarks import plan_tables as tables
from benchmarks import plans
from jaxlt import config
from jaxlt.plan.compile import FALLBACKS
from jaxlt.plan.topologies import parse_target

ALL = [
    *sets.presets(),
    *sets.targets(),
    *sets.weak(),
    *sets.hardware_bases(),
    *(plan for ladder in sets.hardware_ladders() for plan in ladder),
]
PLAN = sets.Plan("presets/mt5_small/v5e_16x16", "v5e:16x16", ("models/mt5_small.gin",))
ESTIMATE = {
    "failure": "",
    "machine": "v5e:16x16",
    "devices": 256,
    "mesh": {},
    "rows": 1024,
    "tokens": 1000,
    "fits": True,
    "needed": 2**33,
    "limit": 2**34,
    "step": [1.0, 2.0],
    "tokens_per_second": [2.56e6, 1.28e6],
    "mfu": [0.5, 0.25],
    "reduced": 3.0,
    "reduced_ideal": 2.0,
    "model_flops": 1e9,
}


@pytest.mark.parametrize("plan", {p.name: p for p in ALL}.values(), ids=lambda p: p.name)
def test_a_plan_can_be_read_and_its_rows_divide(plan):
    run = config.load(list(plan.files), list(plan.overrides), (), FALLBACKS)
    target = parse_target(plan.topology)
    sizes = run.mesh.sizes()
    fixed = math.prod(s for s in sizes if s != -1)
    assert target.chips % fixed == 0 if -1 in sizes else fixed == target.chips
    rows = run.data.batch_size
    assert rows % (target.chips * run.train.accumulate) == 0
    assert run.model.remat != "none" and run.model.dtype in ("bfloat16", "float16")


def test_every_preset_is_planned():
    names = {f"topologies/{n}.gin" for n in sets.TOPOLOGIES}
    names |= {f"hardware/{n}.gin" for n in sets.HARDWARE}
    root = config.shipped_configs()
    there = {
        p.relative_to(root).as_posix()
        for folder in ("topologies", "hardware")
        for p in (root / folder).glob("*.gin")
    }
    assert names == there and len(sets.presets()) == 50


def test_a_second_call_makes_only_what_is_missing(tmp_path, monkeypatch):
    made = []

    def run(plan, quick):
        made.append((plan.name, quick))
        if plan.name == "b":
            return {"error": "no room", "seconds": 1.0}
        facts = {"flags": list(plan.flags), "code": plans.code(plan), "versions": plans.versions()}
        return {"estimate": ESTIMATE, "seconds": 1.0, **facts}

    monkeypatch.setattr(plans, "run", run)
    two = [dataclasses.replace(PLAN, name=name) for name in ("a", "b")]
    keep = plans.Keep(tmp_path, quick=False)
    assert plans.make(two, keep, show=False, jobs=1).keys() == {"a"}
    assert plans.make(two, keep, show=False, jobs=1).keys() == {"a"}
    assert [name for name, _ in made] == ["a", "b", "b"]  # what failed is tried again
    assert plans.make(two, keep, show=True, jobs=1).keys() == {"a"} and len(made) == 3
    plans.make(two[:1], plans.Keep(tmp_path, quick=True), show=False, jobs=1)
    assert made[-1] == ("a", True)


def test_what_other_code_made_is_made_again(tmp_path, monkeypatch):
    found = {"estimate": ESTIMATE, "flags": list(PLAN.flags), "versions": plans.versions()}
    keep = plans.Keep(tmp_path, quick=False)
    keep.write(PLAN, found | {"code": plans.code(PLAN)})
    assert keep.read(PLAN) and not keep.read(dataclasses.replace(PLAN, topology="v5e:4x4"))
    monkeypatch.setattr(plans, "code", lambda plan: "other")
    assert not keep.read(PLAN) and plans.Keep(tmp_path, False, any_code=True).read(PLAN)


def test_a_failed_call_is_told(monkeypatch):
    def said(code, out, err=""):
        done = type("Done", (), {"returncode": code, "stdout": out, "stderr": err})
        monkeypatch.setattr(plans.subprocess, "run", lambda *a, **k: done)
        return plans.run(PLAN, quick=True)

    assert said(2, "", "jaxlt: error: no")["error"] == "jaxlt: error: no"
    assert said(1, json.dumps(ESTIMATE | {"failure": "died"}))["error"] == "died"
    found = said(1, json.dumps(ESTIMATE | {"fits": False}))
    assert not found["estimate"]["fits"] and found["flags"] == list(PLAN.flags)


def test_the_presets_table(capsys):
    found = {PLAN.name: {"estimate": ESTIMATE}}
    assert not tables.show("presets", found)  # 49 are missing
    text = capsys.readouterr().out
    assert "| mT5-small | 8.0 GiB, 0.25-0.50, 1.3M | - |" in text
    assert "v5e:16x16 (16.0 GiB)" in text


def test_targets_hold_or_not(capsys):
    fast = ESTIMATE | {"mfu": [0.6, 0.5], "reduced": 2.0, "step": [0.5, 1.0]}
    full = ESTIMATE | {"mfu": [0.6, 0.5], "reduced": 2.0, "step": [1.0, 2.0]}
    found = {p.name: {"estimate": full} for p in sets.targets()}
    names = (sets.MODULES.name, sets.ONE.name, sets.HALF.name)
    found |= {name: {"estimate": fast} for name in names}
    assert tables.show("targets", found)
    found[sets.MODULES.name] = {"estimate": full}
    assert not tables.show("targets", found)
    text = capsys.readouterr().out.split("asked")[2]
    assert "| modules over full, time of a step | <= 0.7 | 1.000 | NO |" in text
    assert "| modules in half the encoder over full | <= 0.62 | 0.500 | yes |" in text


def test_weak_scaling_is_by_the_rate_of_a_chip(capsys):
    def rate(chips, kept):
        return ESTIMATE | {"devices": chips, "tokens_per_second": [9e9, chips * 1000.0 * kept]}

    found = {f"weak/{c}": {"estimate": rate(c, 1.0)} for c in sets.WEAK}
    assert tables.show("weak", found)
    found["weak/4096"] = {"estimate": rate(4096, 0.8)}
    assert not tables.show("weak", found)
    assert "0.800" in capsys.readouterr().out


def test_the_largest_size_that_fits(capsys):
    found = {f"hardware/mt5_base/16/{h}": {"estimate": ESTIMATE} for h in sets.HARDWARE}
    for size, fits in (("mt5_base", True), ("mt5_large", True), ("mt5_xl", False)):
        found[f"hardware/{size}/1/v5e_1"] = {"estimate": ESTIMATE | {"fits": fits}}
    assert tables.show("hardware", found)
    row = "| `hardware/v5e_1.gin` | v5e:1x1 | 8.0 of 16.0 GiB | mT5-large: 8.0 of 16.0 GiB |"
    assert row in capsys.readouterr().out
