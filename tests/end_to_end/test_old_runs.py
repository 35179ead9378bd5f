"""Runs and modules made before Results had types: they open, and go on bit for bit.

tests/fixtures/old_runs/make.py made them, by the commit that it names.
"""

import json
import re
import shlex
import shutil
import tarfile
from pathlib import Path

import pytest

from jaxlt.commands.main import main
from jaxlt.config import recorded
from jaxlt.metrics.result_file import read
from tests.conftest import REPOSITORY
from tests.fixtures.old_runs import make

FOLDER = REPOSITORY / "tests" / "fixtures" / "old_runs"
REFERENCES = json.loads((FOLDER / "references.json").read_text())
CLOSE = 1e-5  # relative: other processors add in another order

pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory):
    """A copy of the folder, with its runs and library."""
    folder = tmp_path_factory.mktemp("old")
    for name in ("text", "pairs"):
        shutil.copytree(FOLDER / name, folder / name)
    with tarfile.open(FOLDER / make.ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(autouse=True)
def there(old: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    """Paths of old configurations are relative to their folder."""
    monkeypatch.chdir(old)
    monkeypatch.setenv("JAXLT_CACHE", str(old / "cache"))


@pytest.mark.parametrize(
    "name",
    [n if n != "heads" else pytest.param(n, marks=pytest.mark.slow) for n in make.RUNS],
)
def test_the_configuration_is_read_and_gives_the_same_batches(name):
    run = make.run_of(name, fallbacks=recorded.behind(f"runs/{name}"))
    assert run.workdir == f"runs/{name}"
    assert make.batches_of(run) == REFERENCES[name]["batches"]


def test_the_library_has_the_same_modules():
    from jaxlt.modules.library import find

    found = {saved.name: make.digest(saved.tensors()) for saved in find(make.LIBRARY)}
    assert found == {name: known["values"] for name, known in REFERENCES["library"].items()}


def test_a_recipe_that_has_changed_is_said_with_the_command_that_goes_on(old, capsys):
    assert main(["train", *make.RUNS["bank"], "--gin.WORKDIR=runs/bank", "--dry_run"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "ScheduleConfig.learning_rate: 0.001 -> 0.003" in said
    (command,) = re.findall("`jaxlt (train .*?)`", said)
    assert shlex.split(command) == ["train", f"--gin_file={old}/runs/bank/config.gin"]
    more = ("--gin.MeshConfig.tensor=2", "--dry_run")  # 4 rows; the test below takes the steps
    assert main([*shlex.split(command), *more]) == 0
    assert f"The run would go on from step {make.SAVED}." in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", make.RUNS)
def test_a_run_goes_on_as_it_did(shell, name, tmp_path):
    copy = tmp_path / name
    shutil.copytree(Path("runs", name), copy)
    where = (f"--gin_file={copy}/config.gin", f"--gin.run.workdir='{copy}'")
    more = ("--gin.TrainConfig.eval_every=0", f"--gin.TrainConfig.steps={make.END}")
    status, _, errors = shell.run(["train", *where, *more])  # on one device, as it was
    assert status == 0, errors
    found = make.told_after(copy)
    assert found["losses"] == pytest.approx(REFERENCES[name]["losses"], rel=CLOSE)
    known = REFERENCES[name]["evaluation"]
    assert {n: found["evaluation"][n] for n in known} == pytest.approx(known, rel=CLOSE)


@pytest.mark.slow
def test_a_run_scores_as_it_did_with_modules_of_the_library_too():
    asked = [("bank", (), REFERENCES["bank"]["scores"])]
    for name, known in REFERENCES["library"].items():
        language = name.partition("/")[2]
        flags = (f"--modules=lang={language}", f"--library={make.LIBRARY}")
        asked.append(("pretrained", (*flags, f"--languages={language}"), known["scores"]))
    modules = set()
    for run, flags, known in asked:
        path = Path("runs", run, "results.jsonl")
        before = len(read(path))
        assert main(["eval", f"--workdir=runs/{run}", *flags]) == 0
        rows = read(path)[before:]
        names = {"macro": "mean", "pooled": "all"}  # as they were called
        found = {f"{r.metric}/{names.get(r.aggregate, r.target)}": r.value for r in rows}
        assert found == pytest.approx(known, rel=CLOSE)
        modules.update(row.modules for row in rows)
    names = sorted(module.name for (module,) in modules)
    assert names == ["lang", *(f"lang={name.partition('/')[2]}" for name in REFERENCES["library"])]
    assert len({module.fingerprint for (module,) in modules}) == 4
