"""The documented method is a method: its code and its gin text, as they stand there."""

import re
import sys
import types

import pytest

from jaxlt import config
from tests.conftest import REPOSITORY, forward
from tests.modules import test_contract as contract

pytestmark = pytest.mark.usefixtures("quick_compile")


def blocks():
    """The code and the gin text of the page's section."""
    text = (REPOSITORY / "docs" / "extending.md").read_text().split("\n## Adding a method\n")[1]
    return re.findall(r"```(?:python)?\n(.*?)```", text.split("\n## ")[0], re.DOTALL)


@pytest.fixture(scope="module")
def gate():
    """The class, made by executing the page's code."""
    code, _ = blocks()
    assert len(code.splitlines()) < 30
    module = types.ModuleType("my_methods")
    exec(code, module.__dict__)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "my_methods", module)  # imported, as a user of it has done
        yield module.Gate


@pytest.fixture(scope="module")
def case(gate):
    return contract.Case(contract.Row("readme", gate, {"rank": 3}))


def test_it_keeps_the_contract(case, tmp_path):
    run = contract.outcome_of(case.config)
    plain = contract.make_config()
    logits = forward(plain, contract.random_params(plain), contract.BATCH)
    whole = run(case.flat, contract.BATCH, contract.WEIGHT)
    contract.test_base_is_the_same_with_and_without(case)
    contract.test_starts_as_identity(case, run, logits)
    contract.test_it_does_something(case, whole, logits)
    contract.test_a_batch_equals_one_example_at_a_time(case, run, whole)
    contract.test_an_absent_language_has_no_gradient(case, whole)
    contract.test_save_and_load(case, run, whole, tmp_path)


@pytest.mark.slow
def test_it_trains_as_the_contract_says(case):
    case = contract.Case(*case.rows, decoder_layers=0)
    plain = contract.outcome_of(case.config)(case.flat, contract.MASKED, contract.WEIGHT)
    contract.test_scan_equals_unrolled(case, plain)
    program = contract.build(case.spec(languages=len(contract.PRESENT)))
    before = program.jitted._cache_size()
    state, losses = contract.steps(program, case.flat, contract.LANGUAGES)
    trained = (program, before, state, losses)
    contract.test_only_its_own_subtree_trains(case, trained)
    contract.test_compiles_once(trained)
    contract.test_an_absent_language_is_bit_unchanged(case, trained)
    contract.check_devices(case, trained, "mixed")


def test_gin_finds_it(tmp_path, monkeypatch):
    code, gin = blocks()
    (tmp_path / "my_methods.py").write_text(code)
    (tmp_path / "gate.gin").write_text(gin)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_methods", raising=False)
    files = ["models/tiny.gin", "runs/adapt.gin", str(tmp_path / "gate.gin")]
    run = config.load(files, ["TEXT='t'", "INIT_FROM='c'", "WORKDIR='w'"])
    (plug,) = run.model.plugs
    assert (plug.name, plug.key, plug.routes) == ("gate", "source", 16)
    assert plug.method.__name__ == "Gate" and dict(plug.settings) == {"rank": 8}
