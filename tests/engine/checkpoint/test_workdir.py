"""A workdir belongs to one run at a time and to one config."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from jaxlt.engine.checkpoint.workdir import Workdir, bindings
from jaxlt.errors import UserError

CONFIG = """
# Macros:
RATE = 1e-3
STEPS = 100

# Parameters for TrainConfig:
TrainConfig.seed = 0
TrainConfig.steps = %STEPS
TrainConfig.trainable = \\
    ('.*norm.*',
     'modules/.*')
ScheduleConfig.learning_rate = %RATE  # a comment
DataConfig.mixture = 'a # b'
"""


def reopen(path, old, new, **kwargs):
    with Workdir.open(path, CONFIG, "hash"):
        pass
    assert old in CONFIG
    return Workdir.open(path, CONFIG.replace(old, new), "other", **kwargs)


def test_bindings_are_read_with_macros_and_long_values():
    assert bindings(CONFIG) == {
        "TrainConfig.seed": "0",
        "TrainConfig.steps": "100",
        "TrainConfig.trainable": "('.*norm.*', 'modules/.*')",
        "ScheduleConfig.learning_rate": "1e-3",
        "DataConfig.mixture": "'a # b'",
    }


def test_config_and_versions_are_saved_and_the_same_run_may_come_again(tmp_path):
    for _ in range(2):
        with Workdir.open(tmp_path / "new" / "run", CONFIG, "hash") as workdir:
            assert workdir.changed == {}
            assert (workdir.path / "config.gin").read_text() == CONFIG
            facts = json.loads((workdir.path / "versions.json").read_text())
    assert facts["config_hash"] == "hash"
    assert {"python", "jax", "flax", "numpy"} <= set(facts["versions"])


def test_another_config_lists_what_differs_and_what_to_do(tmp_path):
    with pytest.raises(UserError) as told:
        reopen(tmp_path, "RATE = 1e-3", "RATE = 5e-4")
    text = str(told.value)
    assert "  ScheduleConfig.learning_rate: 1e-3 -> 5e-4\n" in text
    assert text.count("->") == 2 and str(tmp_path / "config.gin") in text
    assert "another run.workdir" in text
    assert (tmp_path / "config.gin").read_text() == CONFIG  # untouched
    with Workdir.open(tmp_path, CONFIG, "hash"):  # and the lock is free again
        pass


def test_a_binding_that_is_gone_and_one_that_is_new_are_listed(tmp_path):
    with pytest.raises(UserError) as told:
        reopen(tmp_path, "TrainConfig.seed = 0", "TrainConfig.accumulate = 2")
    assert "TrainConfig.seed: 0 -> (not set)" in str(told.value)
    assert "TrainConfig.accumulate: (not set) -> 2" in str(told.value)


def test_harmless_differences_are_allowed_and_told(tmp_path):
    may = ("TrainConfig.st*",)
    with reopen(tmp_path, "STEPS = 100", "STEPS = 200", harmless=may) as workdir:
        assert workdir.changed == {"TrainConfig.steps": "100 -> 200"}
    with pytest.raises(UserError, match=r"TrainConfig\.steps"):
        reopen(tmp_path / "b", "STEPS = 100", "STEPS = 200")


HOLD = """
import sys
from jaxlt.engine.checkpoint.workdir import Workdir
Workdir.open(sys.argv[1], "", "hash")
print("open", flush=True)
sys.stdin.read()
"""


def test_a_second_run_is_refused_until_the_first_is_dead(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    with process.stdin, process.stdout:
        assert process.stdout.readline() == "open\n"
        with pytest.raises(UserError, match=f"in use by another run .process {process.pid} on "):
            Workdir.open(tmp_path, "", "hash")
        process.send_signal(signal.SIGKILL)
        process.wait()
    ours = f"process {os.getpid()} on "
    with (
        Workdir.open(tmp_path, "", "hash"),  # the kernel freed the lock
        pytest.raises(UserError, match=ours),
    ):
        Workdir.open(tmp_path, "", "hash")


def test_a_path_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=f"'{tmp_path / 'file'}' is a file"):
            Workdir.open(path, "", "hash")


def test_a_folder_that_cannot_be_written(tmp_path):
    if os.geteuid() == 0:  # root may write anywhere but on a read-only mount
        made = shutil.which("mount") and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "ro,size=64k", "tmpfs", tmp_path], capture_output=True
        )
        if not made or made.returncode:
            pytest.skip("root, and mounting is not permitted here")
    else:
        tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match="is not writable"):
            Workdir.open(tmp_path, "", "hash")
        with pytest.raises(UserError, match="cannot be made"):
            Workdir.open(tmp_path / "below", "", "hash")
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", tmp_path], check=True)
        else:
            tmp_path.chmod(0o700)
