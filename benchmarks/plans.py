"""Plans of many runs, one after the other: what fits where, how fast, and what the targets say.

    python benchmarks/plans.py --set=presets     # every size of mT5 and ByT5 on five topologies
    python benchmarks/plans.py --set=hardware    # MAD-X on small hardware, and what fits at most
    python benchmarks/plans.py --set=targets     # mT5-XXL: utilisation, modules, gradients' bytes
    python benchmarks/plans.py --set=weak        # 256 to 4,096 chips of v5p
    python benchmarks/plans.py --set=presets --show    # the tables of what is kept, nothing is run

Nothing runs on a device: each plan is `jaxlt plan --topology`, in a process of its own, which needs
libtpu (`pip install 'jaxlt[plan]'`). Its figures are kept in --folder at once, and a second call
makes only those that are missing, or were made by other code. A set that is whole is written to
benchmarks/results/plans.json and printed as a table. --quick leaves times out, ten times as fast.
"""

import argparse
import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
sys.path.insert(0, str(REPOSITORY))

from benchmarks import plan_sets as sets
from benchmarks import plan_tables as tables
from benchmarks.plan_sets import Plan

# What a figure depends on, beside the gin files of its plan and the compiler.
SOURCES = ("jaxlt/engine", "jaxlt/models", "jaxlt/modules", "jaxlt/config")
RESULTS = HERE / "results" / "plans.json"


@dataclasses.dataclass(frozen=True)
class Keep:
    """The folder of what was found, a file a plan."""

    folder: Path
    quick: bool
    any_code: bool = False

    def path(self, plan: Plan) -> Path:
        """Where a plan's figures are, or will be."""
        quick = ".quick" if self.quick or plan.quick else ""
        return self.folder / f"{plan.name.replace('/', '.')}{quick}.json"

    def read(self, plan: Plan) -> dict[str, Any] | None:
        """What was found of this very plan by this very code, or None."""
        path = self.path(plan)
        if not path.exists():
            return None
        found = json.loads(path.read_text(encoding="utf-8"))
        same = found["flags"] == list(plan.flags) and found["versions"] == versions()
        return found if same and (self.any_code or found["code"] == code(plan)) else None

    def write(self, plan: Plan, found: dict[str, Any]) -> None:
        """Keeps it, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.path(plan).with_suffix(".part")
        part.write_text(json.dumps(found, indent=1), encoding="utf-8")
        part.replace(self.path(plan))


def versions() -> dict[str, str]:
    """Of the compilers; '' of what is not installed."""
    out = {}
    for name in ("jax", "libtpu"):
        try:
            out[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            out[name] = ""
    return out


def code(plan: Plan) -> str:
    """Digest of the code and the gin files that a plan's figures depend on."""
    files = [p for folder in SOURCES for p in (REPOSITORY / folder).rglob("*.py")]
    files += [REPOSITORY / "gin_configs" / name for name in plan.files]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.relative_to(REPOSITORY).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def run(plan: Plan, quick: bool) -> dict[str, Any]:
    """Plans in a process of its own; {'estimate': ...}, or {'error': what it said}."""
    flags = [*plan.flags, *(["--quick"] if quick or plan.quick else [])]
    before, begun = code(plan), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "jaxlt", "plan", "--json", *flags],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    taken = {"seconds": round(time.monotonic() - begun, 1)}
    if done.returncode > 1 or not done.stdout.strip():
        return {"error": done.stderr.strip()[-2000:], **taken}
    estimate = json.loads(done.stdout)
    if estimate["failure"]:
        return {"error": estimate["failure"][-2000:], **taken}
    facts = {"flags": list(plan.flags), "code": before, "versions": versions()}
    return {"estimate": estimate, **facts, **taken}


def make(plans: Sequence[Plan], keep: Keep, show: bool, jobs: int) -> dict[str, dict[str, Any]]:
    """{name: what was found}, kept or made now, told line by line."""
    known = {p.name: keep.read(p) for p in plans}
    missing = [p for p in plans if known[p.name] is None]
    if len(known) > 1:
        kept = len(known) - len(missing)
        print(f"{kept} plans are kept in {keep.folder}, {len(missing)} are missing", flush=True)
    if missing and not show:
        with ThreadPoolExecutor(max(1, jobs)) as pool:
            for number, (plan, found) in enumerate(pool.map(lambda p: _one(p, keep), missing), 1):
                known[plan.name] = found
                line = tables.line_of(plan, found)
                print(f"  {number}/{len(missing)} {line} ({found['seconds']:.0f} s)", flush=True)
    return {name: found for name, found in known.items() if found and "estimate" in found}


def _one(plan: Plan, keep: Keep) -> tuple[Plan, dict[str, Any]]:
    found = run(plan, keep.quick)
    if "estimate" in found:
        keep.write(plan, found)
    return plan, found


def climb(keep: Keep, show: bool, jobs: int) -> tuple[dict[str, dict[str, Any]], bool]:
    """The hardware's plans, and whether none is missing.

    Sizes are tried upwards, up to the first that does not fit.
    """
    bases = sets.hardware_bases()
    found = make(bases, keep, show, jobs)
    whole = len(found) == len(bases)
    for ladder in sets.hardware_ladders():
        for plan in ladder:
            step = make([plan], keep, show, 1)
            found |= step
            whole = whole and plan.name in step
            if plan.name not in step or not step[plan.name]["estimate"]["fits"]:
                break
    return found, whole


def record(name: str, found: dict[str, dict[str, Any]], quick: bool) -> None:
    """Writes the figures of a whole set beside those of the others."""
    whole = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    whole[f"{name} (quick)" if quick else name] = {
        "versions": versions(),
        "plans": {n: tables.figures(f) for n, f in found.items()},
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", required=True, choices=[*sets.SETS, "hardware"])
    cache = Path(os.environ.get("JAXLT_CACHE") or "~/.cache/jaxlt").expanduser()
    parser.add_argument("--folder", type=Path, default=cache / "plans", help="where plans are kept")
    parser.add_argument("--only", default="", help="plans whose names hold this text")
    parser.add_argument("--quick", action="store_true", help="memory and traffic, without times")
    parser.add_argument("--show", action="store_true", help="run nothing, print what is kept")
    parser.add_argument("--any_code", action="store_true", help="take what other code has made")
    parser.add_argument("--jobs", type=int, default=1, help="plans at a time (1)")
    return parser.parse_args()


def main() -> int:
    """Status 1 where a plan is missing, or a target does not hold."""
    args = arguments()
    keep = Keep(args.folder, args.quick, args.any_code)
    if importlib.util.find_spec("libtpu") is None and not args.show:
        print(
            "Plans for TPUs need their compiler, libtpu, and no TPU: pip install 'jaxlt[plan]'. "
            "Without it --show prints what is kept."
        )
        return 2
    if args.set == "hardware":
        found, whole = climb(keep, args.show, args.jobs)
    else:
        plans = [p for p in sets.SETS[args.set]() if args.only in p.name]
        found = make(plans, keep, args.show, args.jobs)
        whole = not args.only and len(found) == len(plans)
    print()
    held = tables.show(args.set, found)
    if whole and not args.show and not args.any_code:
        record(args.set, found, args.quick)
    return 0 if held and (whole or args.only) else 1


if __name__ == "__main__":
    sys.exit(main())
