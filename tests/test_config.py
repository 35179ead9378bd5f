"""Gin files and overrides become one frozen RunConfig, or an error with place and cure."""

import dataclasses
import subprocess
import sys
import textwrap

import pytest

from jaxlt import config
from jaxlt.config import renamed
from jaxlt.errors import UserError

MODEL = """
T5Config.vocab_rows = 384
T5Config.emb_dim = 64
T5Config.mlp_dim = 128
T5Config.num_heads = 2
T5Config.encoder_layers = 2
T5Config.decoder_layers = 1
"""
RUN = """\
WORKDIR = %gin.REQUIRED
TRAIN_STEPS = 1e3
run.workdir = %WORKDIR
TrainConfig.steps = %TRAIN_STEPS
DataConfig:
    mixture = %MIXTURE
    batch_size = 8
    inputs_length = 16
    targets_length = 8
MIXTURE = 'm'
"""
PLUGS = """
T5Config.plugs = [@lang/plug(), @task/plug()]
lang/plug:
    method = 'bottleneck'
    reduction_factor = 8
    key = 'source'
    routes = 4
task/plug.method = @Bottleneck
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a model and a run, in which the test stands."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.gin").write_text(MODEL)
    (tmp_path / "run.gin").write_text(RUN)
    (tmp_path / "plugs.gin").write_text(PLUGS)
    return tmp_path


FILES = ("model.gin", "run.gin")


def load(*overrides, files=FILES, **kwargs):
    return config.load(files, ["WORKDIR=out", *overrides], **kwargs)


def refused(*overrides, files=FILES, **kwargs):
    """Returns the error's text; it is one paragraph and tells of no gin internals."""
    with pytest.raises(UserError) as error:
        load(*overrides, files=files, **kwargs)
    text = str(error.value)
    assert "\n" not in text and "In call to" not in text
    return text


def test_instances_are_the_dataclasses_themselves(folder):
    from jaxlt.modules.bottleneck import Bottleneck
    from jaxlt.modules.site import Plug

    run = load(files=("model.gin", "run.gin", "plugs.gin"))
    assert type(run) is config.RunConfig
    for name, entry in config.build.SECTIONS.items():
        assert type(getattr(run, name)) is config.build.load_object(config.build.TABLE[entry])
    lang, task = run.model.plugs
    assert type(lang) is Plug and lang.method is Bottleneck and task.method is Bottleneck
    assert (lang.name, task.name) == ("lang", "task")
    assert dict(lang.settings) == {"reduction_factor": 8.0} and lang.routes == 4
    again = load(files=("model.gin", "run.gin", "plugs.gin"))
    assert run == again and hash(run) == hash(again) and {run: 1}[again] == 1


def test_values_are_made_to_fit(folder):
    run = load("T5Config.mlp_activations=['relu','linear']", "T5Config.dropout=0")
    assert run.train.steps == 1000 and type(run.train.steps) is int  # from 1e3
    assert run.model.mlp_activations == ("relu", "linear")
    assert type(run.model.dropout) is float
    assert load("LossConfig.normalize=193536").loss.normalize == 193536.0
    assert load("LossConfig.normalize=sequences").loss.normalize == "sequences"


TEXTS = {raw: raw for raw in ("data/my folder", "data#1", "gs://bucket/a=b", "2024-05-01", "")}
TEXTS |= {"'quoted'": "quoted", "it's": "it's", "(open": "(open", "bare": "bare"}


def test_overrides_take_texts_and_lists_without_quotes(folder):
    for raw, value in TEXTS.items():
        assert load(f"MIXTURE={raw}").data.mixture == value
    for raw in ("modules/.*", "[modules/.*]", "['modules/.*']", "('modules/.*',)"):
        assert load(f"TrainConfig.trainable={raw}").train.trainable == ("modules/.*",)


def test_overrides_take_references_and_scopes(folder):
    run = load("run.model=@big/T5Config()", "big/T5Config.emb_dim=128", "run.loss=@LossConfig")
    assert run.model.emb_dim == 128 and run.model.mlp_dim == 128
    run = load("run.eval_data=@eval/DataConfig()", "eval/DataConfig.split=validation")
    assert run.eval_data == dataclasses.replace(run.data, split="validation")
    assert load("jaxlt.models.config.T5Config.emb_dim=32").model.emb_dim == 32


def test_later_files_win_and_overrides_win_over_files(folder):
    (folder / "late.gin").write_text("TRAIN_STEPS = 5\nDataConfig.batch_size = 4\n")
    run = load("DataConfig.batch_size=2", files=(*FILES, "late.gin"))
    assert (run.train.steps, run.data.batch_size) == (5, 2)


def test_files_are_found_here_then_in_search_paths_then_shipped(folder):
    other = folder / "other"
    other.mkdir()
    (other / "run.gin").write_text("syntax error here")
    (other / "tiny.gin").write_text("T5Config.emb_dim = 7\n")
    assert load(search_paths=["other"]).model.emb_dim == 64
    mine = load(files=(*FILES, "tiny.gin"), search_paths=["other"])
    assert mine.model.emb_dim == 7
    assert load(files=("run.gin", "models/tiny.gin"), search_paths=["."]).model.emb_dim == 256


def test_includes_are_expanded_where_they_stand(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "all.gin").write_text(
        "include 'model.gin'\ninclude 'near.gin'\ninclude 'run.gin'\n"
    )
    (folder / "sub" / "near.gin").write_text("T5Config.emb_dim = 32\n\nT5Config.dropot = 1\n")
    assert "sub/near.gin, line 3: T5Config has no 'dropot'." in refused(files=["sub/all.gin"])
    (folder / "sub" / "near.gin").write_text("T5Config.emb_dim = 32\n")
    assert load(files=["sub/all.gin"]).model.emb_dim == 32
    (folder / "a.gin").write_text("include 'b.gin'\n")
    (folder / "b.gin").write_text("include 'a.gin'\n")
    assert "a.gin -> b.gin -> a.gin" in refused(files=["a.gin"])


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["T5Config.droput=0.1"], ["--gin.T5Config.droput=0.1", "no 'droput'", "'dropout'"]),
        (["T5Cofnig.dropout=1"], ["knows no 'T5Cofnig'", "'T5Config'"]),
        (["TRAIN_STEP=5"], ["macro 'TRAIN_STEP' is used by nothing", "'TRAIN_STEPS'"]),
        (["emb_dim=5"], ["macro 'emb_dim' is used by nothing", "'T5Config.emb_dim'"]),
        (["MIXTURE=%MIXTRE"], ["%MIXTRE is not defined", "'MIXTURE'", "--gin.MIXTRE=VALUE"]),
        (["WORKDIR=%WORKDIR"], ["in a circle: WORKDIR -> WORKDIR"]),
        (["T5Config.dropout=@T5Config()"], ["in a circle"]),
        (["run.loss=@LosConfig()"], ["'@LosConfig' refers to nothing", "'LossConfig'"]),
        (["run.loss=None"], ["run.loss has to be @LossConfig(), not None"]),
        (["plug.routes=1"], ["nothing builds 'plug'"]),
        (["lnag/T5Config.emb_dim=1"], ["nothing enters the scope 'lnag'"]),
        (["TRAIN_STEPS=3", "TrainConfig.steps=4"], ["TRAIN_STEPS=3", "no effect", "steps=4"]),
        (["WORKDIR"], ["--gin.WORKDIR=VALUE"]),
        (["a b=3"], ["names no gin binding"]),
        (["T5Config.bias=true"], ["T5Config.bias has to be True or False", "not 'true'"]),
        (["T5Config.bias=1"], ["True or False", "not 1"]),
        (["T5Config.emb_dim=True"], ["a whole number, not True"]),
        (["T5Config.emb_dim=64.5"], ["a whole number, not 64.5"]),
        (["T5Config.dropout=1e999"], ["a finite number"]),
        (["T5Config.plugs=None"], ["a list, each @plug(), not None"]),
        (["MIXTURE=3"], ["DataConfig.mixture has to be a text, not 3", "run.gin, line 6"]),
        (["T5Config.norm=rns"], ["'rms'", "--gin.T5Config.norm=rns on the command line"]),
    ],
)
def test_misspelt_and_misfitting_bindings(folder, overrides, parts):
    text = refused(*overrides)
    for part in parts:
        assert part in text


def test_wrong_types_name_the_file_and_line_of_macro_and_use(folder):
    (folder / "late.gin").write_text("\n\nTRAIN_STEPS = 'many'\n")
    text = refused(files=(*FILES, "late.gin"))
    assert "TrainConfig.steps has to be a whole number, not 'many'" in text
    assert "late.gin, line 3; used by TrainConfig.steps at run.gin, line 4" in text


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["lang/plug.reduction_facto=1"], ["no setting 'reduction_facto'", "'reduction_factor'"]),
        (["lang/plug.sitse=embed"], ["no setting 'sitse'", "'sites'"]),
        (["lang/plug.reduction_factor=x"], ["lang/plug.reduction_factor has to be a number"]),
        (["lang/plug.method=botleneck"], ["no method 'botleneck'", "'bottleneck'"]),
        (["lang/plug.method=no_such:Thing"], ["cannot be imported"]),
        (["lang/plug.method=@T5Config"], ["lang/plug.method has to be"]),
        (["lnag/plug.routes=1"], ["scope 'lnag'", "'lang'"]),
        (["lang/plug.routes=0"], ["routes = 0", "--gin.lang/plug.routes=0 on the command line"]),
        (["task/plug.name=lang"], ["two plugs share a name"]),
    ],
)
def test_misspelt_plugs(folder, overrides, parts):
    text = refused(*overrides, files=(*FILES, "plugs.gin"))
    for part in parts:
        assert part in text


def test_all_that_is_missing_is_told_at_once(folder):
    (folder / "need.gin").write_text("MIXTURE = %gin.REQUIRED\n")
    with pytest.raises(UserError) as error:
        config.load([*FILES, "need.gin"])
    text = str(error.value)
    assert "--gin.WORKDIR=VALUE (a text, for run.workdir at run.gin, line 3)" in text
    assert "--gin.MIXTURE=VALUE (a text, for DataConfig.mixture at run.gin, line 6)" in text
    (folder / "eval.gin").write_text("run.eval_data = @eval/DataConfig()\n")
    assert refused(files=[*FILES, "need.gin", "eval.gin"]).count("--gin.MIXTURE") == 1
    assert refused("MIXTURE=3", files=[*FILES, "eval.gin"]).count("DataConfig.mixture has to") == 1
    text = refused(files=["run.gin"])
    assert "--gin.T5Config.vocab_rows=VALUE (a whole number)" in text
    assert "--gin.T5Config.emb_dim=VALUE" in text


def test_a_required_macro_that_nothing_needs_any_more_is_not_asked_for(folder):
    (folder / "need.gin").write_text("MIXTURE = %gin.REQUIRED\n")
    run = load("DataConfig.mixture=mine", files=[*FILES, "need.gin"])
    assert run.data.mixture == "mine"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("A = 1\nTrainConfig.steps = = 3\n", 2),
        ("A = 1\nTrainConfig.steps = [1,\n   2\n\n", 3),
        ("A = 1\n\nTrainConfig.steps 3\n", 3),
        ("A = bare\n", 1),
        ("A = 'open\n", 1),
        ("T5Config:\nemb_dim = 3\n", 2),
    ],
)
def test_syntax_errors_name_the_line(folder, text, line):
    (folder / "bad.gin").write_text(text)
    message = refused(files=[*FILES, "bad.gin"])
    assert f"bad.gin, line {line} (" in message and "is not valid gin" in message


def test_unknown_and_unreadable_files(folder):
    text = refused(files=["modle.gin"])
    assert "no gin file 'modle.gin'" in text and "'model.gin'" in text and str(folder) in text
    assert "'models/byt5_small.gin'" in refused(files=["models/byt5_smal.gin"])
    assert "'models/byt5_small.gin'" in refused(files=["byt5_small.gin"])
    (folder / "latin.gin").write_bytes("A = 'é'".encode("latin-1"))
    assert "latin.gin cannot be read as UTF-8" in refused(files=["latin.gin"])
    (folder / "inc.gin").write_text("\ninclude 'modle.gin'\n")
    assert "inc.gin, line 2: There is no gin file" in refused(files=["inc.gin"])


def test_imports_register_a_users_own(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    (folder / "my_gin_things.py").write_text(
        textwrap.dedent("""
        import gin
        from jaxlt.modules.bottleneck import Bottleneck

        @gin.configurable
        def my_steps(n=2):
            return n * 100

        class Mine(Bottleneck):
            width: int = 3
        """)
    )
    (folder / "mine.gin").write_text(
        "import my_gin_things\nTrainConfig.steps = @my_steps()\nmy_steps.n = 4\n"
    )
    run = load(files=(*FILES, "mine.gin"))
    assert run.train.steps == 400
    (folder / "saved.gin").write_text(config.operative_config(run))
    assert config.load(["saved.gin"]) == run
    assert "my_steps" in refused("my_steps.m=1", files=(*FILES, "mine.gin"))
    plugged = ("task/plug.method=my_gin_things:Mine", "task/plug.width=9")
    run = load(*plugged, files=(*FILES, "plugs.gin"))
    assert run.model.plugs[1].method.__name__ == "Mine"
    (folder / "saved.gin").write_text(config.text.render(run))
    assert config.load(["saved.gin"]) == run
    (folder / "bad.gin").write_text("\nimport no_such_module_here\n")
    assert "bad.gin, line 2" in refused(files=(*FILES, "bad.gin"))


def test_dynamic_registration_names_whatever_is_imported(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    (folder / "dynamic").mkdir()
    (folder / "dynamic" / "things.py").write_text(
        textwrap.dedent("""
        from jaxlt.modules.bottleneck import Bottleneck

        def doubled(n=2):
            return n * 2

        class Mine(Bottleneck):
            width: int = 3
        """)
    )
    lines = """
        from __gin__ import dynamic_registration
        from dynamic import things
        import jaxlt.engine.config as engine
        TrainConfig.steps = @things.doubled()
        things.doubled.n = 4
        engine.OptimizerConfig.clip_norm = 2.0
        task/plug.method = @things.Mine
        task/plug.width = 9
        """
    (folder / "mine.gin").write_text(textwrap.dedent(lines))
    run = load(files=(*FILES, "plugs.gin", "mine.gin"))
    assert (run.train.steps, run.optimizer.clip_norm) == (8, 2.0)
    assert run.model.plugs[1].method.__name__ == "Mine"
    (folder / "saved.gin").write_text(config.operative_config(run))
    assert config.load(["saved.gin"]) == run
    assert load("doubled.n=5", files=(*FILES, "plugs.gin", "mine.gin")).train.steps == 10
    (folder / "mine.gin").write_text(textwrap.dedent(lines).replace("@things.d", "@things.boub"))
    text = refused(files=(*FILES, "plugs.gin", "mine.gin"))
    assert "mine.gin, line 5: 'things.bouboubled'" in text and "'doubled'" in text
    for line in ("from __gin__ import more", "import no_such_module_here"):
        (folder / "bad.gin").write_text(f"from __gin__ import dynamic_registration\n{line}\n")
        assert "bad.gin, line 2" in refused(files=(*FILES, "bad.gin"))


def test_a_later_layer_wins_in_whatever_order_files_are_given(folder):
    """The model's file is the first, the run's next, and one that declares none the last."""
    (folder / "deep.gin").write_text("# Deep.\n# Layer: model\nT5Config.emb_dim = 32\n")
    (folder / "long.gin").write_text(
        "# Layer: over run\ninclude 'deep.gin'\nTRAIN_STEPS = 9\nT5Config.mlp_dim = 96\n"
    )
    (folder / "run.gin").write_text(f"# Layer: run\n{RUN}T5Config.mlp_dim = 64\n")
    (folder / "mine.gin").write_text("include 'long.gin'\nT5Config.mlp_dim = 80\n")
    declared = ("long.gin", "run.gin", "deep.gin")
    base = (MODEL.replace("64", "48"), "model.gin")
    (folder / base[1]).write_text(f"# Layer: model\n{base[0]}".replace("T5Config.emb_dim = 48", ""))
    run = load(files=(*declared, "model.gin"))
    assert (run.train.steps, run.model.emb_dim, run.model.mlp_dim) == (9, 32, 96)
    assert load(files=("mine.gin", "run.gin", "model.gin")).model.mlp_dim == 80
    shipped = ["modules/prefix.gin", "runs/adapt.gin", "models/tiny.gin"]
    given = ["TEXT=texts", "INIT_FROM=base", "WORKDIR=w"]
    orders = [shipped, shipped[::-1], [shipped[1], shipped[0], shipped[2]]]
    (run,) = {config.load(files, given) for files in orders}
    assert run.schedule.learning_rate == 3e-2  # the module's, not the recipe's


def test_a_copy_has_the_layer_of_its_original(tmp_path, caplog):
    """By the header that it was copied with, or by the folder that it lies in."""
    given = ["TEXT=texts", "INIT_FROM=base", "WORKDIR=w"]
    files = ["models/byt5_small.gin", "runs/adapt.gin", "modules/bottleneck.gin"]
    shipped = config.load(files, given)
    for i, name in enumerate(files):
        text = (config.shipped_configs() / name).read_text()
        copy = tmp_path / (name if i else "mysize.gin")
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(text)
        assert config.load([*files[:i], str(copy), *files[i + 1 :]], given) == shipped
    assert shipped.loss.normalize == "tokens" and not caplog.records


def test_a_file_without_a_layer_that_wins_over_later_ones_is_said(tmp_path, caplog):
    mine, other = tmp_path / "mine.gin", tmp_path / "other.gin"
    mine.write_text("include 'runs/adapt.gin'\nLEARNING_RATE = 5e-4\nTRAIN_STEPS = 7\n")
    given = ["TEXT=texts", "INIT_FROM=base", "WORKDIR=w"]
    files = ["models/tiny.gin", str(mine), "modules/prefix.gin"]
    assert config.load(files, given).schedule.learning_rate == 5e-4
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"{mine} has no layer and so stands over ")
    assert "modules/prefix.gin, given after it, in LEARNING_RATE. " in line and "# Layer: " in line
    caplog.clear()
    renamed.tell.cache_clear()
    config.load(files, [*given, "LEARNING_RATE=1"])  # neither's
    config.load([files[0], files[2], str(mine)], given)  # as the order says
    other.write_text("LEARNING_RATE = 6e-4\n")
    config.load([*files, str(other)], given)
    config.load(["tiny.gin", *files[:1], "runs/adapt.gin"], given)  # the last by what it is for
    assert not caplog.records


def test_two_files_of_one_layer_that_say_different_things(folder):
    (folder / "one.gin").write_text("# Layer: run\nTRAIN_STEPS = 1\nDataConfig.seed = 3\n")
    (folder / "two.gin").write_text("# Layer: run\nTRAIN_STEPS = 2\nDataConfig.seed = 3\n")
    files = (*FILES, "one.gin", "two.gin")
    (folder / "run.gin").write_text(f"# Layer: model\n{RUN}")
    text = refused(files=files)
    assert "one.gin, line 2 and two.gin, line 2 both set TRAIN_STEPS" in text
    assert "'run'" in text and "`# Layer: over run`" in text
    assert load("TRAIN_STEPS=5", files=files).train.steps == 5
    assert load(files=(*files, "three.gin")[:3]).train.steps == 1
    (folder / "two.gin").write_text("# Layer: rnu\nTRAIN_STEPS = 2\n")
    assert "two.gin, line 1: there is no layer 'rnu'" in refused(files=files)
    with pytest.raises(UserError, match=r"runs/finetune.gin, line \d+ and .*runs/adapt.gin, line"):
        config.load(["models/tiny.gin", "runs/finetune.gin", "runs/adapt.gin"], ["WORKDIR=w"])


def test_operative_config_reads_back_as_the_same_run(folder):
    files = (*FILES, "plugs.gin")
    chain = "{'trace': {'nesterov': True, 'decay': %KEPT}, 'clip': {'max_delta': 1.0}}"  # in order
    of_chain = ("KEPT=0.5", "OptimizerConfig.name='chain'", f"OptimizerConfig.chain={chain}")
    own = ("run.eval_data=@eval/DataConfig()", "eval/DataConfig.split=x'y\"z", *of_chain)
    run = load(*own, files=files)
    trace = ("trace", (("decay", 0.5), ("nesterov", True)))
    assert run.optimizer.chain == (trace, ("clip", (("max_delta", 1.0),)))
    text = config.operative_config(run)
    assert text == config.operative_config()
    for package in ("jaxlt", "python", "jax", "flax", "optax"):
        assert f"# {package} " in text
    (folder / "config.gin").write_text(text)
    assert config.load(["config.gin"]) == run
    assert config.load(["config.gin"], ["TRAIN_STEPS=7"]).train.steps == 7  # macros are kept
    changed = dataclasses.replace(
        run,
        workdir="elsewhere",
        train=dataclasses.replace(run.train, steps=9),
        model=dataclasses.replace(run.model, plugs=run.model.plugs[:1]),
    )
    (folder / "config.gin").write_text(config.operative_config(changed))
    assert config.load(["config.gin"]) == changed


def test_hash_is_of_values_and_not_of_the_workdir(folder):
    run = load()
    assert config.config_hash(run) == config.config_hash(load("WORKDIR=other", "TRAIN_STEPS=1000"))
    assert config.config_hash(run) != config.config_hash(load("TRAIN_STEPS=1001"))


def test_nothing_leaks_from_one_reading_into_the_next(folder):
    import gin

    first = load("T5Config.dropout=0.5", "OptimizerConfig.clip_norm=1.0")
    assert gin.config_str() == "" and gin.operative_config_str() == ""
    second = load()
    assert second.model.dropout == 0.0 and second.optimizer.clip_norm is None
    refused("T5Config.dropout=0.5", "T5Config.bias=3")
    assert load() == second != first
    assert "dropout = 0.0" in config.operative_config(second)
    assert "dropout = 0.5" in config.operative_config(first)
    assert not gin.config_is_locked()


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        (["models/tiny.gin", "runs/mlm.gin"], ["'mlm'", "T5Config.decoder_layers=0"]),
        (["models/mlm_tiny.gin", "runs/pretrain.gin"], ["'span_corruption'", "runs/mlm.gin"]),
    ],
)
def test_an_objective_that_the_model_has_no_stack_for(files, parts):
    with pytest.raises(UserError) as error:
        config.load(files, ["TEXT=texts", "WORKDIR=run"])
    assert all(part in str(error.value) for part in parts)


def test_fallbacks_stand_behind_everything(folder):
    run = config.load(FILES, fallbacks={"WORKDIR": "w", "UNUSED": 1, "T5Config.dropout": 0.3})
    assert (run.workdir, run.model.dropout) == ("w", 0.3)
    assert load("T5Config.dropout=0.1", fallbacks={"T5Config.dropout": 0.3}).model.dropout == 0.1


def test_importing_costs_neither_gin_nor_jax():
    heavy = "[m for m in ('gin', 'jax', 'tensorflow') if m in sys.modules]"
    code = f"import sys, jaxlt.config; print({heavy})"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
