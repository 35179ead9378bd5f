"""The command line: verbs, flags, worded errors and exit statuses."""

import os
import subprocess
import sys
import time
import types

import pytest

import jaxlt
from jaxlt.commands import main as cli
from jaxlt.errors import UserError


@pytest.fixture
def verb(monkeypatch):
    """Puts a verb of the test's own in the place of `train`; returns what it was called with."""
    calls = types.SimpleNamespace(args=None, error=None)

    def add_arguments(parser):
        parser.add_argument("--dry_run", action="store_true", help="stop before training")

    def main(args):
        calls.args = args
        if calls.error:
            raise calls.error
        return 0

    module = types.ModuleType("jaxlt_test_verb", "A verb of the test.")
    module.add_arguments, module.main = add_arguments, main
    monkeypatch.setitem(sys.modules, "jaxlt_test_verb", module)
    monkeypatch.setitem(cli.VERBS, "train", cli.Verb("jaxlt_test_verb", True, "test"))
    return calls


def test_help_and_version(capsys):
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name}" in out for name in cli.VERBS)
    assert cli.main([]) == 2
    capsys.readouterr()
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"jaxlt {jaxlt.__version__}"


def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys; from jaxlt.commands.main import main; main(['--help']);"
        "heavy = ('gin', 'jax', 'flax', 'numpy', 'tensorflow', 'rich');"
        "print([m for m in heavy if m in sys.modules])"
    )
    start = time.perf_counter()
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert time.perf_counter() - start < 1.0
    assert out.stdout.splitlines()[-1] == "[]"


def test_the_help_of_a_verb_needs_none_of_what_its_work_needs():
    code = (
        "import sys; from jaxlt.commands.main import main; main(['infer', '--help']);"
        "print([m for m in ('jax', 'scipy', 'sacrebleu', 'tensorflow') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines()[-1] == "[]"


def test_python_m_jaxlt_gives_the_exit_status():
    out = subprocess.run([sys.executable, "-m", "jaxlt", "trian"], capture_output=True, text=True)
    assert out.returncode == 2 and out.stdout == ""
    assert out.stderr.startswith("jaxlt: error: There is no verb 'trian'. Did you mean 'train'?")


def test_flags_reach_the_verb(verb):
    argv = ["train", "--gin_file=a.gin", "--gin.TEXT=my folder", "--gin_file", "b.gin", "--dry_run"]
    argv += [
        "--gin_search_paths=x,y",
        "--gin_search_paths",
        "z",
        "--gin.scope/T5Config.dropout=0.1",
    ]
    assert cli.main(argv) == 0
    args = verb.args
    assert args.gin_file == ["a.gin", "b.gin"] and args.gin_search_paths == ["x", "y", "z"]
    assert args.gin_overrides == ["TEXT=my folder", "scope/T5Config.dropout=0.1"]
    assert args.dry_run and not args.debug
    assert cli.main(["train", "--debug"]) == 0 and verb.args.debug
    assert cli.main(["--debug", "train"]) == 0


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        (["--hlep"], ["no flag '--hlep'", "'--help'"]),
        (["train", "--dry_rum"], ["no flag '--dry_rum'", "'--dry_run'"]),
        (["train", "--gin_fil=a"], ["no flag '--gin_fil'", "'--gin_file'"]),
        (["train", "--dry"], ["no flag '--dry'"]),
        (["train", "here"], ["does not expect 'here'"]),
        (["train", "--gin_file"], ["--gin_file", "expected one argument"]),
    ],
)
def test_unknown_flags_name_the_nearest(verb, capsys, argv, parts):
    assert cli.main(argv) == 2
    err = " ".join(capsys.readouterr().err.split())
    assert err.startswith("jaxlt: error: ") and "Traceback" not in err
    assert all(part in err for part in parts)
    assert verb.args is None


def test_a_user_error_is_one_wrapped_paragraph(verb, capsys):
    verb.error = UserError("A long story. " * 30)
    assert cli.main(["train"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("jaxlt: error: A long story.") and "Traceback" not in err
    assert "\n\n" not in err and max(map(len, err.splitlines())) <= 100
    with pytest.raises(UserError):
        cli.main(["train", "--debug"])


def test_other_errors_keep_their_traceback(verb, capsys):
    verb.error = RuntimeError("broken")
    assert cli.main(["train"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err and "RuntimeError: broken" in err and "please report" in err


def test_interrupt(verb, capsys):
    verb.error = KeyboardInterrupt()
    assert cli.main(["train"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_gin_errors_exit_with_2(verb, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys.modules["jaxlt_test_verb"], "main", lambda args: cli.load_run(args) and 0
    )
    assert cli.main(["train", "--gin_file=no_such.gin"]) == 2
    err = capsys.readouterr().err
    assert "There is no gin file 'no_such.gin'" in err and "Traceback" not in err


def test_logs_of_the_libraries_are_silenced_whatever_imports_jaxlt():
    env = {n: v for n, v in os.environ.items() if n != "TF_CPP_MIN_LOG_LEVEL"}
    env["GRPC_VERBOSITY"] = "DEBUG"  # the user's own choice stands
    code = "import os, jaxlt; print(*(os.environ[n] for n in "
    code += "('TF_CPP_MIN_LOG_LEVEL', 'GRPC_VERBOSITY')))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert out.stdout.split() == ["3", "DEBUG"]


WRONG = """
import sys, time
from jaxlt.commands.main import main
sizes = ["--gin_file=models/byt5_small.gin"]
for argv in (
    ["runs/pretrain.gin", "TEXTT=x", "WORKDIR=w"],
    ["runs/pretrain.gin", "WORKDIR=w"],
    ["runs/pretrain.gin", "TEXT=x", "WORKDIR=w", "OptimizerConfig.name='adamx'"],
    ["runs/adapt.gin", "modules/mad_x.gin", "TEXT=x", "WORKDIR=w"],
):
    flags = ["--gin_file=" + a if a.endswith(".gin") else "--gin." + a for a in argv]
    assert main(["train", *sizes, *flags]) == 2
heavy = ("jax", "flax", "optax", "orbax", "tensorflow", "seqio", "tensorstore")
print([name for name in heavy if name in sys.modules], time.process_time())
"""


def output(code):
    """What a process of that code writes, and says."""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return out.stdout, " ".join(out.stderr.split())


def test_what_is_wrong_in_a_configuration_is_said_before_anything_heavy_is_imported():
    """The README's first errors; four of them cost less than `import jax` does."""
    out, errors = output(WRONG)
    for said in ("Did you mean", "--gin.TEXT=VALUE", "name is 'adamx'", "--gin.INIT_FROM="):
        assert said in errors
    heavy, _, seconds = out.rpartition(" ")
    assert heavy == "[]"
    jax = float(output("import time, jax; print(time.process_time())")[0])
    # A busy machine may slow the one and not the other: then the errors' better of two turns.
    if not float(seconds) < jax:
        seconds = output(WRONG)[0].rpartition(" ")[2]
    assert float(seconds) < jax
