"""From gin files to a study, from a study to its stages; a recipe of one's own."""

import dataclasses
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxlt.errors import UserError
from jaxlt.experiments import study

RECIPE = '''
from jaxlt.experiments.recipe import recipe
from jaxlt.experiments.stage import Cell

@recipe("word_order.gin")
def word_order(at: Cell, lab, languages: int = 2, arms: tuple[str, ...] = ("a", "b")):
    """Does word order matter?"""
    settings = {"TEXT": "x", "VOCABULARY": "v", "SEED": at.seed, "TRAIN_STEPS": 10 * languages}
    files = ("models/lab_mlm.gin", "runs/lab_mlm.gin")
    base = at.stage("base", "train", files=files, settings=settings)
    return [at.stage(f"tags-{arm}", "answers", run=base, method=arm) for arm in arms]
'''
GIN = """
import my_word_order

study.name = 'word_order'
study.question = 'Does word order matter?'
study.recipe = @word_order()
study.cross = {'word_order.languages': [1, 2, 4]}
study.claims = [@better/claim()]
study.quick = {'word_order.arms': ['a'], 'study.cross': {'word_order.languages': [4]}}
better/claim:
    text = 'a beats b'
    metric = 'accuracy'
    effect = '@a - @b'
"""


@pytest.fixture
def gin_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A recipe and its gin file in a folder of one's own."""
    (tmp_path / "my_word_order.py").write_text(RECIPE)
    (tmp_path / "word_order.gin").write_text(GIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return str(tmp_path / "word_order.gin")


def test_a_study_is_planned_from_a_recipe_of_ones_own(gin_file: str) -> None:
    loaded = study.load([gin_file])
    assert loaded.claims[0].name == "better"
    plan = study.planned(loaded)
    assert len(plan.settings) == 15 and len(plan.stages) == 45
    assert [stage.path for stage in plan.stages[:3]] == [
        f"languages=1/0/{name}" for name in ("base", "tags-a", "tags-b")
    ]
    quick = study.planned(study.load([gin_file], quick=True))
    assert quick.study.name == "word_order-quick" and len(quick.stages) == 2 * 2
    assert {setting.name for setting in quick.settings} == {"languages=4"}
    with pytest.raises(UserError, match=r"'study.corss', and no study has it.*'study.cross'"):
        study.load([gin_file], ["study.quick={'study.corss': {}}"], quick=True)


def test_a_thousand_stages_are_planned_in_two_seconds(gin_file: str) -> None:
    loaded = dataclasses.replace(study.load([gin_file]), seeds=112)
    began = time.process_time()
    stages = study.planned(loaded).stages
    assert len(stages) == 1008
    assert {study.asked(stage)["seed"] for stage in stages} == set(range(112))
    assert time.process_time() - began < 2


def test_planning_brings_no_jax(gin_file: str) -> None:
    heads = ["models/lab_mlm.gin", "runs/lab_mlm.gin", "heads/tagging.gin"]
    code = (
        "import sys; from jaxlt.config.bound import bound; "
        "from jaxlt.experiments import claims, pages, study; "
        f"[study.asked(s) for s in study.planned(study.load([{gin_file!r}])).stages]; "
        f"bound({heads}, {{'TaggerConfig.task': 'pos', 'TEXT': 'x'}}); "
        "print([name for name in ('jax', 'tensorflow', 'seqio') if name in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": f"{Path(study.__file__).parents[2]}:{Path(gin_file).parent}"},
    )
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("study.cross={'word_order.language': [1]}", "'word_order.language'.*'languages'"),
        ("study.cross={'other.languages': [1]}", "names no setting.*word_order.languages"),
        ("study.cross={'word_order.languages': ['x']}", "has to be a whole number, not 'x'"),
        ("study.recipe=None", "study.recipe is not set"),
        ("study.name='Word Order'", "name of a folder"),
        ("word_order.language=3", "word_order has no 'language'.*'languages'"),
    ],
)
def test_what_is_wrong_is_named(gin_file: str, binding: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        study.planned(study.load([gin_file], [binding]))


def test_stages_that_cells_share_are_the_same(gin_file: str, tmp_path: Path) -> None:
    shared = RECIPE.replace('"train", files', '"train", shared=True, files')
    (tmp_path / "my_shared_order.py").write_text(shared.replace("word_order(", "shared_order("))
    text = GIN.replace("word_order", "shared_order")
    (tmp_path / "word_order.gin").write_text(text)
    with pytest.raises(UserError, match=r"'shared/0/base' differently .*steps 10 -> 20"):
        study.planned(study.load([gin_file]))
