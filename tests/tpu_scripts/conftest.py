"""A cloud in a folder: fake `gcloud`, `curl` and `uv` first on PATH, hosts that are folders."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..conftest import REPOSITORY

SCRIPTS = REPOSITORY / "tpu_scripts"

# What `jaxlt` is on a fake host: counts steps in a workdir, and resumes. The first host counts, the
# others wait for it; a fourth argument names the queued resource where it has several slices. On
# reaching the step in $workdir/preempt or $workdir/crash it meets that, once.
JAXLT = """#!/bin/sh
trap 'echo "Stopped by SIGTERM"; exit 75' TERM
verb=$1 workdir=$2 steps=$3
[ "$verb" = train ] || { echo "jaxlt: error: no verb $verb" >&2; exit 2; }
slice=$(basename "$(dirname "$FAKE_NODE")")
case $slice in "${4:-$slice}" | "${4:-}-0") first=$FAKE_HOST ;; *) first= ;; esac
step=$(cat "$workdir/step" 2>/dev/null || echo 0)
echo "host $FAKE_HOST begins at step $step"
while [ "$step" -lt "$steps" ]; do
  if [ "$first" = 0 ]; then
    step=$((step + 1))
    echo "$step" >"$workdir/step.new"
    mv "$workdir/step.new" "$workdir/step"
    echo "step $step"
    for event in crash preempt; do
      [ "$(cat "$workdir/$event" 2>/dev/null)" = "$step" ] || continue
      rm "$workdir/$event"
      [ "$event" = preempt ] || exit 1
      : >"$FAKE_CLOUD/preempt-${4:-$slice}"
      sleep 60
    done
  else
    step=$(cat "$workdir/step" 2>/dev/null || echo 0)
  fi
  sleep 0.02
done
"""

UV = f"""#!/bin/sh
set -eu
echo "uv $*" >>"$FAKE_CLOUD/installed"
case "$1 $2" in
  "venv -q") mkdir -p env/bin ;;
  "pip install")
    for wheel; do :; done
    [ -f "${{wheel%\\[tpu\\]}}" ]
    cat >env/bin/jaxlt <<'JAXLT'
{JAXLT}JAXLT
    chmod +x env/bin/jaxlt ;;
  *) exit 2 ;;
esac
"""


class Cloud:
    """The fake cloud of one test, and the scripts run against it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen] = []
        self.workdir = folder / "workdir"
        self.workdir.mkdir(parents=True)
        wheel = folder / "jaxlt-0-py3-none-any.whl"
        wheel.write_text("a wheel")
        tools = folder / "bin"
        tools.mkdir()
        fake = Path(__file__).with_name("fake_gcloud.py")
        for name, text in {
            "gcloud": f'#!/bin/sh\nexec "{sys.executable}" -S -E "{fake}" "$@"\n',
            "curl": '#!/bin/sh\necho "$FAKE_HOST"\n',
            "uv": UV,
        }.items():
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)
        self.environment = {
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "FAKE_CLOUD": str(folder),
            "PROJECT": "a-project",
            "ZONE": "a-zone",
            "NAME": "pod",
            "ACCELERATOR_TYPE": "v4-16",
            "PACKAGE": str(wheel),
            "LOGS": str(folder / "logs"),
            "POLL": "0.2",
            "BACKOFF": "0",
            "GRACE": "10",
        }
        self.set(resources={}, nodes={}, failures=[], states=["ACTIVE"], dead=[], hosts=2)
        self.set(message="")

    @property
    def state(self) -> dict:
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return json.loads((self.folder / "state.json").read_text())

    def set(self, **changes) -> None:
        """Changes the state of the cloud."""
        path = self.folder / "state.json"
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = json.loads(path.read_text()) if path.exists() else {}
            path.write_text(json.dumps(state | changes))

    def fail(self, match: str, error: str, times: int = 1, status: int = 1) -> None:
        """The next calls with `match` among their words fail."""
        new = {"match": match, "error": error, "times": times, "status": status}
        self.set(failures=[*self.state["failures"], new])

    def calls(self, match: str = "") -> list[str]:
        """Calls so far, without `compute tpus`, that contain `match`."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        calls = [" ".join(json.loads(line)[2:]) for line in lines]
        return [call for call in calls if match in call]

    def start(self, script: str, *arguments: str, **changes: str) -> subprocess.Popen:
        process = subprocess.Popen(
            ["sh", str(SCRIPTS / script), *arguments],
            env=self.environment | changes,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def run(self, script: str, *arguments: str, status: int = 0, **changes: str) -> str:
        """Runs a script to its end, checks its exit status, returns all that it said."""
        process = self.start(script, *arguments, **changes)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == status, (process.returncode, said)
        return said

    def train(self, steps: int, name: str = "pod") -> list[str]:
        """The command of a run that counts to `steps`."""
        return ["--", "jaxlt", "train", str(self.workdir), str(steps), name]

    def step(self) -> int:
        path = self.workdir / "step"
        return int(path.read_text()) if path.exists() else 0

    def until(self, condition, seconds: float = 50) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not come"
            time.sleep(0.02)

    def close(self) -> None:
        """Kills what still runs, here and on hosts."""
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        for path in self.folder.glob("hosts/*/*/jaxlt_host/runs/*/pid"):
            try:
                os.killpg(int(path.read_text()), signal.SIGKILL)
            except (ProcessLookupError, ValueError, PermissionError):
                continue


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    cloud = Cloud(tmp_path / "cloud")
    yield cloud
    cloud.close()
