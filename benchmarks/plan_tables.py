"""What `benchmarks/plans.py` prints: markdown tables of plans, and of targets held or not."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks import plan_sets as sets
from benchmarks.plan_sets import Plan

GIB = 2**30
Found = Mapping[str, Mapping[str, Any]]  # name of a plan -> what was found


class Target(NamedTuple):
    """A figure that has to come to something."""

    text: str
    needs: tuple[Plan, ...]
    value: Callable[..., float]  # of the estimates of `needs`
    bound: float
    at_least: bool
    timed: bool = True  # it is about times


def figures(found: Mapping[str, Any]) -> dict[str, Any]:
    """What is recorded of a plan."""
    estimate = found["estimate"]
    names = ("machine", "devices", "mesh", "rows", "tokens", "fits", "needed", "limit", "step")
    names += ("tokens_per_second", "mfu", "reduced", "reduced_ideal", "model_flops")
    return {n: estimate[n] for n in names} | {k: found[k] for k in ("flags", "code", "seconds")}


def line_of(plan: Plan, found: Mapping[str, Any]) -> str:
    """One line of a plan that was just made."""
    if "error" in found:
        return f"{plan.name}: {' '.join(found['error'].split())[-300:]}"
    one = found["estimate"]
    fits = "fits" if one["fits"] else "DOES NOT FIT"
    timed = f", utilisation {bracket(one['mfu'])}" if one["step"][1] else ""
    moved = f", gradients {ratio(one):.2f} of the ideal bytes" if one["reduced"] else ""
    return f"{plan.name}: {fits}, {memory(one)}{timed}{moved}"


def memory(one: Mapping[str, Any]) -> str:
    """'8.4 of 15.8 GiB'."""
    return f"{one['needed'] / GIB:.1f} of {one['limit'] / GIB:.1f} GiB"


def bracket(pair: tuple[float, float]) -> str:
    """'0.36-0.43', the lower end first."""
    low, high = sorted(pair)
    return f"{low:.2f}-{high:.2f}"


def ratio(one: Mapping[str, Any]) -> float:
    """Bytes that gradients take, over those of a reduce-scatter."""
    return one["reduced"] / one["reduced_ideal"]


def per_chip(one: Mapping[str, Any]) -> float:
    """Tokens a second and chip, at the lower end of the bracket."""
    return min(one["tokens_per_second"]) / one["devices"]


def show(name: str, found: Found) -> bool:
    """Prints a set; False where something does not fit or a target does not hold."""
    return {"presets": presets, "hardware": hardware, "targets": targets, "weak": weak}[name](found)


def table(head: list[str], rows: list[list[str]]) -> None:
    """A markdown table."""
    print("| " + " | ".join(head) + " |")
    print("| " + " | ".join("---" for _ in head) + " |")
    for row in rows:
        print("| " + " | ".join(row) + " |")


def presets(found: Found) -> bool:
    """A row a size, a column a topology: memory, utilisation, tokens a second."""
    rows, held = [], True
    for size in sets.SIZES:
        row = [size.replace("_", "-").replace("mt5", "mT5").replace("byt5", "ByT5")]
        for name in sets.TOPOLOGIES:
            one = found.get(f"presets/{size}/{name}", {}).get("estimate")
            held = held and bool(one) and one["fits"]
            row.append(_cell(one))
        rows.append(row)
    limits = {f["estimate"]["machine"]: f["estimate"]["limit"] / GIB for f in found.values()}
    heads = [f"{t} ({limits[t]:.1f} GiB)" if t in limits else t for t in sets.TOPOLOGIES.values()]
    table(["size", *heads], rows)
    print("\nGiB a chip by the compiler's count; utilisation, lower and upper end; tokens a second")
    return held


def _cell(one: Mapping[str, Any] | None) -> str:
    if not one:
        return "-"
    size = f"{one['needed'] / GIB:.1f} GiB"
    if not one["fits"]:
        return f"does not fit: {size}"
    if not one["step"][1]:
        return size
    return f"{size}, {bracket(one['mfu'])}, {short(min(one['tokens_per_second']))}"


def short(value: float) -> str:
    """1234567 -> '1.2M'."""
    return f"{value / 1e6:.1f}M" if value >= 1e6 else f"{value / 1e3:.0f}k"


def hardware(found: Found) -> bool:
    """A row a machine: mT5-base with 16 languages, and the largest size that takes one."""
    rows, held = [], True
    for name, topology in sets.HARDWARE.items():
        base = found.get(f"hardware/mt5_base/16/{name}", {}).get("estimate")
        held = held and bool(base) and base["fits"]
        fitting = [
            (size, one["estimate"])
            for size in sets.LADDER
            if (one := found.get(f"hardware/{size}/1/{name}")) and one["estimate"]["fits"]
        ]
        size, one = fitting[-1] if fitting else ("none", None)
        largest = f"{size.replace('mt5_', 'mT5-')}: {memory(one)}" if one else size
        told = "-" if not base else memory(base) if base["fits"] else f"not: {memory(base)}"
        rows.append([f"`hardware/{name}.gin`", topology, told, largest])
    table(["preset", "machine", "mT5-base, 16 languages", "largest size, one language"], rows)
    print("\nGPUs: compiled for a CPU, an upper bound as a rule")
    return held


def weak(found: Found) -> bool:
    """A row a number of chips; the rate of a chip must stay above 0.85 of that on the fewest."""
    rows, first, held = [], None, True
    for chips, (sides, shared) in sets.WEAK.items():
        one = found.get(f"weak/{chips}", {}).get("estimate")
        if not one or not one["fits"] or not one["step"][1]:
            rows.append([f"{chips:,}", sides, f"{shared}", _cell(one), "-", "-"])
            held = False
            continue
        first = first or per_chip(one)
        kept = per_chip(one) / first
        held = held and kept >= 0.85
        row = [f"{chips:,}", sides, f"{shared}", memory(one), bracket(one["mfu"]), f"{kept:.3f}"]
        rows.append(row)
    table(["chips of v5p", "slice", "fsdp", "memory", "utilisation", "of the rate of a chip"], rows)
    print(f"\nat least 0.85 of the rate of a chip: {'held' if held else 'NOT HELD'}")
    return held


def lower_mfu(one: Mapping[str, Any]) -> float:
    """The lower end."""
    return min(one["mfu"])


def slower(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """Time of a step over another's, both as their programs are ordered."""
    return max(one["step"]) / max(other["step"])


def _targets() -> list[Target]:
    full, long, pods = sets.FULL_512, sets.FULL_1024, sets.FULL_V5P
    modules, half, one = sets.MODULES, sets.HALF, sets.ONE
    fits = [p for p in sets.presets() if "/mt5_xxl/" in p.name]
    return [
        *(
            Target(f"fits {p.topology}", (p,), lambda e: float(e["fits"]), 1, True, False)
            for p in fits
        ),
        Target("MFU v5e:16x16, 512/128, full", (full,), lower_mfu, 0.45, True),
        Target("MFU v5e:16x16, 512/128, modules alone", (modules,), lower_mfu, 0.50, True),
        Target("MFU v5e:16x16, 1024/256, full", (long,), lower_mfu, 0.42, True),
        Target("MFU v5p:8x8x8, 1024/256, full", (pods,), lower_mfu, 0.45, True),
        Target("modules over full, time of a step", (modules, full), slower, 0.70, False),
        Target("modules in half the encoder over full", (half, full), slower, 0.62, False),
        Target("64 languages' modules over one's", (modules, one), slower, 1.05, False),
        *(
            Target(f"gradients' bytes over the ideal, {where(p)}", (p,), ratio, 1.2, False, False)
            for p in (full, long, pods)
        ),
    ]


def where(plan: Plan) -> str:
    """'v5e:16x16, 512/128' of 'targets/full/512_128/v5e_16x16'."""
    return f"{plan.topology}, {plan.name.split('/')[2].replace('_', '/')}"


def targets(found: Found) -> bool:
    """A row a target: what is asked, what was found."""
    rows, held = [], True
    for target in _targets():
        estimates = [found.get(p.name, {}).get("estimate") for p in target.needs]
        sign = ">=" if target.at_least else "<="
        asked = f"{sign} {target.bound:g}"
        if not all(estimates) or any(target.timed and not _timed(e) for e in estimates):
            rows.append([target.text, asked, _why(estimates), "NO"])
            held = False
            continue
        value = target.value(*estimates)
        good = value >= target.bound if target.at_least else value <= target.bound
        held = held and good
        rows.append([target.text, asked, f"{value:.3f}", "yes" if good else "NO"])
    table(["mT5-XXL, Adafactor", "asked", "found", "held"], rows)
    return held


def _timed(one: Mapping[str, Any]) -> bool:
    return one["step"][1] > 0


def _why(estimates: Sequence[Mapping[str, Any] | None]) -> str:
    """Why a target has no value."""
    if any(e and not e["fits"] for e in estimates):
        return "does not fit"
    return "not planned" if not all(estimates) else "planned without times"
