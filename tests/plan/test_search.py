"""What `jaxlt plan --search` tries, and which of it is best."""

import pytest

from jaxlt.config import load
from jaxlt.errors import UserError
from jaxlt.plan.compile import failed
from jaxlt.plan.estimate import Estimate
from jaxlt.plan.search import (
    Candidate,
    Found,
    candidates,
    default_meshes,
    frontier,
    parse_mesh,
    search,
)
from jaxlt.plan.table import search_table, short
from jaxlt.plan.topologies import parse_topology

V5E = parse_topology("v5e:4x4")
FILES = ("models/tiny.gin", "runs/pretrain.gin")


def came_to(needed: int, rate: float = 0.0, fits: bool = True) -> Estimate:
    return Estimate(
        machine="v5e:4x4",
        devices=16,
        mesh={},
        rows=1,
        tokens=1,
        fits=fits,
        limit=100,
        needed=needed,
        memory={},
        step=(1.0, 2.0),
        mfu=(0.4, 0.2),
        days=(1.0, 2.0),
        tokens_per_second=(2 * rate, rate),
    )


def test_meshes_are_read():
    assert parse_mesh("fsdp=4,tensor=2", V5E) == (1, 2, 4, 2)
    assert parse_mesh("fsdp=16", parse_topology("2*v5e:4x4")) == (2, 1, 16, 1)
    with pytest.raises(UserError, match="does not come to the 16 chips"):
        parse_mesh("fsdp=3", V5E)
    with pytest.raises(UserError, match="'model=2' is not an axis"):
        parse_mesh("model=2", V5E)


def test_the_usual_meshes_use_every_chip():
    for topology in (V5E, parse_topology("2*v5e:4x4")):
        for mesh in default_meshes(topology):
            assert mesh[0] * mesh[1] * mesh[2] * mesh[3] == topology.chips
            assert mesh[0] == topology.slices


def test_candidates_divide_their_rows():
    run = load(FILES, ["BATCH_SIZE=32"], (), {"WORKDIR": "", "TEXT": ""})
    found = candidates(run, V5E, [], [], [])
    assert {c.rows for c in found} == {16, 32, 64} and {c.remat for c in found} == {
        "none",
        "dots",
        "full",
    }
    given = candidates(run, V5E, ["fsdp=16"], ["full"], [32, 40])
    assert given == [Candidate((1, 1, 16, 1), "full", 32)]
    assert "MeshConfig.fsdp=16" in given[0].overrides
    assert "DataConfig.batch_size=32" in given[0].overrides
    with pytest.raises(UserError, match="--batch_sizes"):
        candidates(run, V5E, [], [], [3])


def test_the_overrides_are_what_a_run_reads():
    one = Candidate((1, 2, 4, 2), "dots", 24)
    run = load(FILES, one.overrides, (), {"WORKDIR": "", "TEXT": ""})
    given = load(FILES, ["BATCH_SIZE=32"], (), {"WORKDIR": "", "TEXT": ""})
    changed = one.applied(given)
    assert (changed.mesh, changed.model, changed.data) == (run.mesh, run.model, run.data)
    assert run.mesh.sizes() == one.mesh
    assert (run.model.remat, run.data.batch_size) == ("dots", 24)


def test_larger_batches_of_what_did_not_fit_are_not_tried():
    tried = []

    def compile_one(candidate):
        tried.append(candidate)
        return came_to(10 * candidate.rows, candidate.rows, fits=candidate.rows < 8)

    tries = [Candidate((1, 1, 16, 1), r, n) for r in ("none", "full") for n in (32, 4, 8, 16)]
    found = search(tries, compile_one, jobs=2)
    assert sorted(c.rows for c in tried) == [4, 4, 8, 8]
    assert [f.candidate.rows for f in found] == [4, 4, 8, 8]  # what fits comes first


def test_the_frontier_is_what_nothing_beats_in_both():
    one = Candidate((1, 1, 16, 1), "full", 4)
    tried = [(50, 3.0, True), (60, 2.0, True), (40, 1.0, True), (9, 9.0, False)]
    found = frontier([Found(one, came_to(*t)) for t in tried])
    assert [(f.estimate.needed, f.best) for f in found] == [
        (50, True),
        (60, False),
        (40, True),
        (9, False),
    ]


def test_what_was_tried_is_told_in_a_line():
    one = Candidate((1, 1, 16, 1), "full", 4)
    assert "utilisation 0.200 to 0.400" in short(Found(one, came_to(2**30, 1.0)))
    assert "does not fit" in short(Found(one, came_to(2**30, fits=False)))
    assert "does not compile: why" in short(Found(one, failed("v5e:4x4", "why\nmore")))
    found = [Found(one, came_to(2**30, 1.0)), Found(one, failed("v5e:4x4", "why"))]
    assert search_table(found).row_count == 2
