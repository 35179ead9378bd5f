"""What `jaxlt convert --inspect` shows of a checkpoint."""

from typing import TYPE_CHECKING, Any

from jaxlt.inference.backbone import Backbone, content_hash, count, gin_lines, shipped_models
from jaxlt.screen import plain_table

if TYPE_CHECKING:
    from rich.table import Table

_FORMATS = {
    "t5x-legacy": "T5X, legacy form",
    "t5x-orbax": "T5X, orbax form",
    "hf-safetensors": "Hugging Face, safetensors",
    "hf-msgpack": "Hugging Face, flax msgpack",
    "jaxlt": "jaxlt",
}


def show(backbone: Backbone, path: str) -> None:
    """Prints format, counts, vocabulary, content hash, and the T5Config as gin lines."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    console.print(Text(path, style="bold"), soft_wrap=True)
    facts = Table.grid(padding=(0, 2))
    with console.status("reading every tensor for the content hash"):
        hash_, dtypes = content_hash(backbone)
    equal = shipped_models(backbone.settings)
    for name, value in _facts(backbone, hash_, dtypes, equal):
        facts.add_row(f"  {name}", Text(value, overflow="fold"))
    console.print(facts)
    console.print()
    console.print(_groups(backbone))
    console.print("\nAs gin:\n")
    for line in gin_lines(backbone.settings):
        console.print(f"  {line}", markup=False, soft_wrap=True)
    model = f"models/{equal[0]}" if equal else "YOUR_MODEL.gin"
    pieces = backbone.vocabulary not in (None, "bytes")
    console.print("\nTo fine-tune it:\n")
    console.print(
        f"  jaxlt train --gin_file={model} --gin_file=runs/finetune.gin \\\n"
        f"    --gin.INIT_FROM={path} "
        + (f"--gin.VOCABULARY={backbone.vocabulary} " if pieces else "")
        + "\\\n    --gin.TEXT=MY_PAIRS --gin.WORKDIR=runs/finetuned",
        markup=False,
        soft_wrap=True,
    )


def _facts(
    backbone: Backbone, hash_: str, dtypes: dict[str, int], equal: list[str]
) -> list[tuple[str, str]]:
    meta: dict[str, Any] = getattr(backbone.base, "meta", {})
    form = _FORMATS.get(backbone.base.origin["format"], backbone.base.origin["format"])
    stored = ", ".join(f"{size / 2**20:,.1f} MiB {name}" for name, size in sorted(dtypes.items()))
    facts = [("format", form)]
    if backbone.base.origin.get("note"):
        facts.append(("note", backbone.base.origin["note"]))
    if "step" in meta:
        facts.append(("trained", f"{meta['step']:,} steps on {', '.join(meta['languages'])}"))
        origin = meta["base_origin"]
        facts.append(("started from", origin.get("path") or origin.get("format", "?")))
    if backbone.modules:
        facts.append(("modules", f"{', '.join(backbone.modules)} (not counted here)"))
    facts += [
        ("parameters", f"{count(backbone.shapes):,} in {len(backbone.shapes)} tensors"),
        ("stored", stored),
        ("vocabulary", _vocabulary(backbone)),
        ("content hash", hash_),
        (
            "same sizes as",
            ", ".join(f"models/{name}" for name in equal) or "no model of jaxlt's own",
        ),
    ]
    return facts


def _vocabulary(backbone: Backbone) -> str:
    if backbone.vocabulary is None:
        return "none lies with it"
    if backbone.vocabulary == "bytes":
        return "bytes (UTF-8, id = byte + 3)"
    from jaxlt.data.vocabulary.vocabularies import VocabularyConfig, open_vocabulary

    size = open_vocabulary(VocabularyConfig("sentencepiece", backbone.vocabulary)).size
    return f"{backbone.vocabulary} (SentencePiece, {size:,} pieces)"


def _groups(backbone: Backbone) -> "Table":
    """A table of counts: embedding, encoder, decoder, logits."""
    groups: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in backbone.shapes.items():
        top = name.split("/")[0]
        top = "logits" if "logits_dense" in name or top == "mlm_head" else top
        groups.setdefault("embedding" if top == "token_embedder" else top, {})[name] = shape
    layers = {s: backbone.settings.get(f"{s}_layers") for s in ("encoder", "decoder")}
    table = plain_table("  group", ">layers", ">tensors", ">parameters", padding=(0, 3, 0, 0))
    for group in ("embedding", "encoder", "decoder", "logits", *sorted(groups)):
        if group not in groups:
            continue
        members = groups.pop(group)
        depth = str(layers.get(group) or "")
        table.add_row(f"  {group}", depth, f"{len(members):,}", f"{count(members):,}")
    return table
