"""Flags, help, messages, questions, and --dry-run, which calls nothing."""

import os
import pty
import subprocess

import pytest

from .conftest import SCRIPTS, Cloud

COMMAND = ("--", "jaxlt", "train", "--gin.TEXT=it's a text")
VERBS = {
    "create.sh": (),
    "setup.sh": (),
    "launch.sh": COMMAND,
    "watch.sh": (),
    "stop.sh": (),
    "delete.sh": (),
    "run.sh": COMMAND,
    "sweep.sh": ("--runs=runs.txt", "--slices=2"),
}


def test_every_script_is_known() -> None:
    scripts = {path.name for path in SCRIPTS.glob("*.sh")}
    assert scripts == {*VERBS, "common.sh", "host.sh"}
    for name in {*VERBS, "host.sh", "slurm.sbatch"}:
        assert os.access(SCRIPTS / name, os.X_OK)
        assert (SCRIPTS / name).read_text().startswith("#!/bin/sh\n")


@pytest.mark.parametrize("script", VERBS)
def test_help_names_the_flags(cloud: Cloud, script: str) -> None:
    said = cloud.run(script, "--help")
    assert said.startswith(script) and "--name=NAME" in said and "--dry-run" in said
    takes = [line for line in (SCRIPTS / script).read_text().splitlines() if line[:6] == "TAKES="]
    for flag in takes[0].removeprefix('TAKES="').rstrip('"').split():
        assert f"  --{flag}" in said  # each is in the table of common.sh


@pytest.mark.parametrize("script", VERBS)
def test_a_dry_run_prints_and_calls_nothing(cloud: Cloud, script: str) -> None:
    (cloud.folder / "runs.txt").write_text("a jaxlt train\nb jaxlt train\nc jaxlt train\n")
    said = cloud.run(script, "--dry-run", *VERBS[script])
    assert said.count("gcloud compute tpus") >= 1 and cloud.calls() == []
    for line in said.splitlines():
        assert line.startswith("gcloud compute tpus ") and line.endswith("--quiet"), line
        assert "--project=a-project --zone=a-zone" in line
    assert not (cloud.folder / "logs").exists() and not (cloud.folder / "installed").exists()


@pytest.mark.slow
def test_what_a_dry_run_prints_are_the_calls(cloud: Cloud) -> None:
    flags = ("--num-slices=2", "--spot", "--accelerator-type=v5e:16x16")
    dry = cloud.run("create.sh", "--dry-run", *flags)
    cloud.run("create.sh", *flags)
    assert dry.split("gcloud compute tpus ")[1].strip() == cloud.calls()[0]
    said = cloud.run("launch.sh", "--dry-run", *COMMAND).splitlines()[-1]
    script = f"set -- {said}\nfor word; do printf '<%s>' \"$word\"; done"
    words = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    inner = "jaxlt train '--gin.TEXT=it'\\''s a text'"
    quoted = "'" + inner.replace("'", "'\\''") + "'"
    assert f"<--command=sh jaxlt_host/host.sh start pod {quoted}>" in words


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--acelerator-type=v4-8"],
            "no flag --acelerator-type here. Did you mean --accelerator-type?",
        ),
        (["--zon", "b"], "Did you mean --zone?"),
        (["--grace=3"], "there is no flag --grace here. --help lists them."),
        (["--name"], "--name wants a value"),
        (["v4-8"], "'v4-8' is no flag"),
        (["--name=Pod_1"], "--name begins with a small letter"),
        (["--num-slices=two"], "NUM_SLICES is a whole number, not 'two'"),
        (["--num-slices=0"], "--num-slices is at least 1"),
        (["--accelerator-type=v5e-16"], "v5litepod-16"),
        (["--accelerator-type=v4:2x"], "has no topology like 16x16"),
        (["--accelerator-type=h100"], "no --runtime-version is known"),
        (["--accelerator-type=v4", "--runtime-version=x"], "--accelerator-type is like"),
        (["--", "jaxlt"], "nothing follows '--' here"),
    ],
)
def test_what_makes_no_sense_is_named(cloud: Cloud, arguments: list[str], said: str) -> None:
    assert said in cloud.run("create.sh", *arguments, status=2)
    assert cloud.calls() == []


@pytest.mark.parametrize("missing", ["PROJECT", "ZONE", "NAME", "ACCELERATOR_TYPE"])
def test_what_is_missing_is_named(cloud: Cloud, missing: str) -> None:
    flag = "--" + missing.lower().replace("_", "-")
    said = cloud.run("create.sh", status=2, **{missing: ""})
    assert f"not given: {flag}," in said and f"set {missing} in the environment" in said
    if missing != "ACCELERATOR_TYPE":
        assert flag in cloud.run("delete.sh", status=2, **{missing: ""})
    assert "not given: --command" in cloud.run("launch.sh", status=2)


def test_flags_win_over_the_environment(cloud: Cloud) -> None:
    said = cloud.run("create.sh", "--dry-run", "--zone=b-zone", "--num-slices", "2", SPOT="1")
    assert "--zone=b-zone" in said and "--node-count=2" in said and "--spot" in said
    assert "--spot" not in cloud.run("create.sh", "--dry-run", SPOT="0")
    assert "SPOT is 1 or 0" in cloud.run("create.sh", status=2, SPOT="maybe")


@pytest.mark.parametrize(
    ("kind", "flags"),
    [
        (
            "v5litepod-256",
            "--accelerator-type=v5litepod-256 .* --runtime-version=v2-alpha-tpuv5-lite",
        ),
        ("v5e:16x16", "--accelerator-type=v5litepod-256 .*=v2-alpha-tpuv5-lite"),
        ("v4:8x8x4", "--type=v4 --topology=8x8x4 .*=tpu-ubuntu2204-base"),
        ("v5p:4x4x8", "--accelerator-type=v5p-256 .*=v2-alpha-tpuv5 "),
        ("v6e:8x16", "--accelerator-type=v6e-128 .*=v2-alpha-tpuv6e"),
    ],
)
def test_accelerator_types(cloud: Cloud, kind: str, flags: str) -> None:
    said = cloud.run("create.sh", "--dry-run", f"--accelerator-type={kind}")
    before, after = flags.split(" .*")
    assert before in said and after in said.split(before)[1]


@pytest.mark.slow
@pytest.mark.parametrize("script", ["stop.sh", "delete.sh", "run.sh", "sweep.sh"])
def test_nothing_is_destroyed_unasked(cloud: Cloud, script: str) -> None:
    (cloud.folder / "runs.txt").write_text("a jaxlt train\n")
    cloud.run("create.sh", "--wait")
    before = [call for call in cloud.calls() if "describe" not in call]
    said = cloud.run(script, *VERBS[script], status=2, YES="1")  # the environment cannot say yes
    assert "This needs --yes, as there is no terminal to ask on." in said
    assert [call for call in cloud.calls() if "describe" not in call] == before


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "deleted"), [("y", True), ("n", False), ("", False)])
def test_on_a_terminal_it_asks(cloud: Cloud, answer: str, deleted: bool) -> None:
    cloud.run("create.sh", "--wait")
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    done = subprocess.run(
        ["sh", str(SCRIPTS / "delete.sh")],
        env=cloud.environment,
        stdin=theirs,
        capture_output=True,
        text=True,
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    assert "Delete pod (ACTIVE) in a-zone of a-project" in done.stderr
    assert (done.returncode == 0) == deleted == (cloud.state["resources"] == {})


@pytest.mark.slow
def test_packages(cloud: Cloud) -> None:
    cloud.run("create.sh", "--wait")
    assert "--package=no.whl is not there" in cloud.run("setup.sh", "--package=no.whl", status=2)
    assert "source folder" in cloud.run("setup.sh", f"--package={cloud.workdir}", status=2)
    assert "--files=no is not there" in cloud.run("setup.sh", "--files=no", status=2)
    builder = cloud.folder / "bin" / "builder"  # in place of `python3 -m pip wheel`
    builder.write_text(
        '#!/bin/sh\nmkdir -p "$7" && echo built "$8" >"$7/jaxlt-1-py3-none-any.whl"\n'
    )
    builder.chmod(0o755)
    said = cloud.run("setup.sh", PACKAGE="", PYTHON=str(builder))
    assert "pod is set up: jaxlt-1-py3-none-any.whl" in said
    wheel = cloud.folder / "hosts/pod/0/jaxlt_host/jaxlt-1-py3-none-any.whl"
    assert wheel.read_text() == f"built {SCRIPTS.parent}\n"
