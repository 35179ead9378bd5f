"""Does a checkpoint fit the config? If not: which parameter, both shapes, and the gin binding."""

import re
from collections.abc import Mapping

from jaxlt.engine.checkpoint.tree import Leaf, relaid, scanned_layers
from jaxlt.errors import UserError
from jaxlt.modules import layout
from jaxlt.modules.int8 import PARTS as INT8_PARTS
from jaxlt.modules.site import owner

Shape = tuple[int, ...]
_HEADS = "num_heads * T5Config.head_dim"
# (end of a parameter's name, the T5Config fields of its axes without the layers' one)
_AXES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"token_embedder/embedding", ("vocab_rows", "emb_dim")),
    (r"positions/embedding", ("max_positions", "emb_dim")),
    (r"(logits_dense|mlm_head)/kernel", ("emb_dim", "vocab_rows")),
    (r"relpos_bias/rel_embedding", ("num_heads", "relpos_buckets")),
    (r"attention/(query|key|value)/kernel", ("emb_dim", _HEADS)),
    (r"attention/(query|key|value)/bias", (_HEADS,)),
    (r"attention/out/kernel", (_HEADS, "emb_dim")),
    (r"mlp/wi(_\d+)?/kernel", ("emb_dim", "mlp_dim")),
    (r"mlp/wi(_\d+)?/bias", ("mlp_dim",)),
    (r"mlp/wo/kernel", ("mlp_dim", "emb_dim")),
    (r"(norm/(scale|bias)|out/bias|wo/bias)", ("emb_dim",)),
)
# (part of a name, the setting that decides whether such a parameter exists), first match wins
_PRESENCE: tuple[tuple[str, str], ...] = (
    (r"logits_dense/|mlm_head/", "T5Config.tie_logits"),
    (r"layers(_\d+)?/relpos_bias/", "T5Config.relpos_per_layer"),
    (r"relpos_bias/|/positions/", "T5Config.positions"),
    (r"mlp/wi", "T5Config.mlp_activations"),
    (r"embedding_norm/|(en|de)coder_norm/", "T5Config.norm_place"),
    (r"norm/bias", "T5Config.norm"),
    (r"/bias$", "T5Config.bias"),
    (r"^decoder/(?!layers_)", "T5Config.decoder_layers"),
)


def explain(name: str, saved_shape: Shape | None, wanted_shape: Shape | None) -> str:
    """The gin binding that makes a parameter fit, as 'T5Config.emb_dim = 512 (now 768)'.

    A shape of None means that the parameter is missing on that side. The value given is the
    checkpoint's. "" where nothing is known to help.
    """
    part, base = _strip(name)
    if part == "modules":
        return f"the settings, sites and routes of plug '{owner(base) or base}' in T5Config.plugs"
    if part == "losses":
        return "LossConfig.auxiliary"
    if part == "deltas":
        return f"the mask and the patterns of delta '{base.partition('/')[0]}' in T5Config.deltas"
    if saved_shape is None or wanted_shape is None:
        return _explain_presence(part, base)
    hints: list[str] = []
    stack = base.partition("/")[0]
    if layout.is_scanned(base) and len(saved_shape) == len(wanted_shape) > 1:
        if saved_shape[0] != wanted_shape[0] and stack in ("encoder", "decoder"):
            hints.append(_binding(f"{stack}_layers", saved_shape[0], wanted_shape[0]))
        saved_shape, wanted_shape = saved_shape[1:], wanted_shape[1:]
    for pattern, fields in _AXES if part == "params" else ():
        if re.search(rf"(^|/|_){pattern}$", base):
            if not len(fields) == len(saved_shape) == len(wanted_shape):
                return "T5Config.scan_layers"
            sizes = zip(fields, saved_shape, wanted_shape, strict=True)
            hints += [_binding(f, s, w) for f, s, w in sizes if s != w]
            break
    if part == "optimizer" and not hints:
        return "OptimizerConfig.name, OptimizerConfig.min_factored"
    return ", ".join(hints)


def _binding(field: str, saved: int, wanted: int) -> str:
    return f"T5Config.{field} = {saved} (now {wanted})"


def _strip(name: str) -> tuple[str, str]:
    """'trainable/params/encoder/x' -> ('params', 'encoder/x'); optimizer states are 'optimizer'."""
    if name.startswith("optimizer/"):
        return "optimizer", re.sub(r"^optimizer/(.*?/)?(params|modules|deltas|losses)/", "", name)
    for part in ("losses", "params", "modules", "deltas"):
        found = re.match(rf"(?:(?:trainable|frozen)/)?{part}/(.*)", name)
        if found:
            return part, found.group(1)
    return ("extra", name) if name.startswith("extra/") else ("params", name)


def _explain_presence(part: str, base: str) -> str:
    if part == "optimizer":
        return "OptimizerConfig.name"
    if part == "extra":
        return "the engine's settings (TrainConfig, T5Config.dtype)"
    for pattern, setting in _PRESENCE:
        if re.search(pattern, base):
            return f"{setting} or TrainConfig.trainable"
    layer, stack = layout.split_layer(base)[1], base.partition("/")[0]
    if layer is not None and stack in ("encoder", "decoder"):
        return f"T5Config.{stack}_layers (layer {layer}) or TrainConfig.trainable"
    return "TrainConfig.trainable"


def check_fit(saved: Mapping[str, Leaf], wanted: Mapping[str, Leaf], where: str) -> None:
    """Raises UserError unless `saved` has the names, shapes and dtypes of `wanted`.

    Layers saved scanned and wanted unrolled (or the other way) fit if they can be converted.
    `where` names the checkpoint. Parameters are judged before optimizer states, which follow them.
    """
    scanned = scanned_layers(saved)
    saved, converted = relaid(saved, wanted), scanned != scanned_layers(wanted)
    for chosen in (lambda n: not n.startswith("optimizer/"), lambda n: n.startswith("optimizer/")):
        have = {n: leaf for n, leaf in saved.items() if chosen(n)}
        want = {n: leaf for n, leaf in wanted.items() if chosen(n)}
        faults, hints = _faults(have, want)
        if not faults:
            continue
        stuck = any(layout.split_layer(n)[1] is not None for n in have.keys() - want.keys())
        if converted and scanned is not None and (stuck or next(iter(have), "").startswith("opt")):
            hints = [f"T5Config.scan_layers = {scanned}"]
        more = f" ({len(faults) - 3} more differ)" if len(faults) > 3 else ""
        remedy = "; ".join(dict.fromkeys(h for h in hints if h)) or "the config it was saved with"
        raise UserError(
            f"Checkpoint '{where}' does not fit this config: {'; '.join(faults[:3])}{more}. "
            f"To go on from it, mend: {remedy}. Or give this config a workdir of its own."
        )


def _faults(saved: Mapping[str, Leaf], wanted: Mapping[str, Leaf]) -> tuple[list[str], list[str]]:
    """What differs, one sentence each, and the bindings that would mend it."""
    faults: list[str] = []
    hints: list[str] = []
    for here, there, said in ((saved, wanted, "checkpoint"), (wanted, saved, "config")):
        ending = f"/{INT8_PARTS[0]}"
        halves = sorted(n.removesuffix(ending) for n in here if n.endswith(ending))
        found = next((n for n in halves if n in there), None)
        if found is not None:
            fault = f"'{found}' is in int8 in the {said}, and in floats on the other side"
            return [fault], ["TrainConfig.frozen_dtype"]
    for name in sorted(saved.keys() & wanted.keys(), key=_order):
        old, new = saved[name], wanted[name]
        if old.shape != new.shape:
            faults.append(
                f"'{name}' is {list(old.shape)} in the checkpoint and {list(new.shape)} in "
                f"the config"
            )
            hints.append(explain(name, old.shape, new.shape))
        elif old.dtype != new.dtype:
            faults.append(
                f"'{name}' is {old.dtype} in the checkpoint, the config wants {new.dtype}"
            )
            hints.append("TrainConfig.frozen_dtype or the optimizer's dtypes")
    counted = _layer_counts(saved, wanted, hints)
    lone = _lone_stack(saved, wanted)
    if lone:
        hints.append(f"T5Config.{lone}_layers (0 layers: no {lone}) or TrainConfig.trainable")
    for here, there, lacking in (
        (wanted, saved, "is not in the checkpoint"),
        (saved, wanted, "of the checkpoint is not in the config"),
    ):
        for name in sorted(here.keys() - there.keys(), key=_order):
            shapes = [side[name].shape if name in side else None for side in (saved, wanted)]
            faults.append(f"'{name}' {list(here[name].shape)} {lacking}")
            if not lone and (not counted or layout.split_layer(name)[1] is None):
                hints.append(explain(name, *shapes))
    if any("relpos_per_layer" in h for h in hints):  # says it all
        hints = [h for h in hints if "T5Config.positions" not in h]
    return faults, hints


def _order(name: str) -> tuple[bool, str]:
    return ("layers" in name, name)  # the embedding says more than a layer's norm


def _lone_stack(saved: Mapping[str, Leaf], wanted: Mapping[str, Leaf]) -> str:
    """'decoder' if the one side has parameters of the base's decoder and the other none, or ''."""
    for stack in ("decoder", "encoder"):
        sides = [any(f"params/{stack}/" in n for n in names) for names in (saved, wanted)]
        others = [any("params/" in n for n in names) for names in (saved, wanted)]
        if sides[0] != sides[1] and all(others):
            return stack
    return ""


def _layer_counts(saved: Mapping[str, Leaf], wanted: Mapping[str, Leaf], hints: list[str]) -> bool:
    """Compares the numbers of unrolled layers; adds the bindings that differ and says if any do."""
    differ = False
    for stack in ("encoder", "decoder"):
        counts = []
        for names in (saved, wanted):
            mine = [n for n in names if re.search(rf"(^|/){stack}/layers_\d+/", n)]
            counts.append(1 + max((layout.split_layer(n)[1] or 0 for n in mine), default=-1))
        if counts[0] != counts[1] and any(n.startswith(("trainable", "params")) for n in wanted):
            hints.append(_binding(f"{stack}_layers", *counts))
            differ = True
    return differ
