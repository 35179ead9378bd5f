"""Two or more sides of a comparison, as processes that take turns.

Each side is a command that sets itself up, prints `ready {json}`, then answers every line `go` on
its standard input with `done {json}` of what it measured. Turns alternate, so a drift of the
machine's speed meets all sides alike. Ratios of medians are what is reported.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any


class Side:
    """One running side."""

    def __init__(self, name: str, command: Sequence[str], cores: Sequence[int]):
        self.name = name
        threads = str(len(cores))
        own = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        self._process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | own,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        self.ready = self._read("ready")
        self.turns: list[dict[str, float]] = []

    def _read(self, word: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(word + " "):
                return json.loads(line[len(word) + 1 :])
        raise SystemExit(f"The side '{self.name}' ended before it said '{word}'.")

    def turn(self) -> None:
        """Lets the side do one round of work."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        self.turns.append(self._read("done"))

    def median(self, key: str) -> float:
        """Median over the turns of what the side reported."""
        return statistics.median(t[key] for t in self.turns)

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def serve(step: Callable[[], None], facts: Mapping[str, Any], rounds: int = 1) -> None:
    """The worker's half: warms up, then does `rounds` steps a turn and reports process time."""
    step()
    step()
    print("ready " + json.dumps(dict(facts)), flush=True)
    for line in sys.stdin:
        if line.strip() != "go":
            break
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(rounds):
            step()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        done = {"cpu_s": cpu / rounds, "wall_s": wall / rounds, "peak_bytes": peak}
        print("done " + json.dumps(done), flush=True)
