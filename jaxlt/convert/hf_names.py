"""Names of Hugging Face's T5, mT5 and umT5 beside the canonical ones, both ways.

`torch` names end in `.weight` with Linear weights [out, in]; `flax` names end in `.kernel`,
`.embedding` or `.weight` with kernels [in, out]. Canonical kernels are [in, out] and relative
position tables [heads, buckets].
"""

import re
from collections.abc import Iterable

from jaxlt.errors import UserError, some_of

_BLOCK = re.compile(
    r"(encoder|decoder)\.block\.(\d+)\.layer\.(\d)\.(.+)\.(weight|kernel|embedding)"
)
_ENDS = {
    "shared": "token_embedder/embedding",
    "encoder.final_layer_norm": "encoder/encoder_norm/scale",
    "decoder.final_layer_norm": "decoder/decoder_norm/scale",
    "lm_head": "decoder/logits_dense/kernel",
}
_TABLE = "relative_attention_bias"
# stack -> number of the sublayer -> (canonical part, its norm, Hugging Face's part)
_SUBLAYERS = {
    "encoder": (
        ("attention", "pre_attention_layer_norm", "SelfAttention"),
        ("mlp", "pre_mlp_layer_norm", "DenseReluDense"),
    ),
    "decoder": (
        ("self_attention", "pre_self_attention_layer_norm", "SelfAttention"),
        ("encoder_decoder_attention", "pre_cross_attention_layer_norm", "EncDecAttention"),
        ("mlp", "pre_mlp_layer_norm", "DenseReluDense"),
    ),
}
_INNER = {"q": "query", "k": "key", "v": "value", "o": "out"} | {
    name: name for name in ("wi", "wi_0", "wi_1", "wo")
}
_OUTER = {canonical: hf for hf, canonical in _INNER.items()}
# Copies of the embedding, a bias table that no model uses, and heads of other tasks.
_IGNORED = re.compile(
    r"(encoder|decoder)\.embed_tokens\..*"
    r"|decoder\.block\.\d+\.layer\.1\.EncDecAttention\.relative_attention_bias\..*"
    r"|(classification_head|classifier|qa_outputs|score)\..*"
)


def _canonical_block(
    stack: str, layer: str, number: int, inner: str, table_per_layer: bool
) -> str | None:
    if number >= len(_SUBLAYERS[stack]):
        return None
    part, norm, hf_part = _SUBLAYERS[stack][number]
    if inner == "layer_norm":
        return f"{stack}/layers_{layer}/{norm}/scale"
    owner, _, leaf = inner.partition(".")
    if owner != hf_part:
        return None
    if leaf == _TABLE:
        return f"{stack}/{f'layers_{layer}/' if table_per_layer else ''}relpos_bias/rel_embedding"
    return f"{stack}/layers_{layer}/{part}/{_INNER[leaf]}/kernel" if leaf in _INNER else None


def to_canonical(names: Iterable[str], path: str, umt5: bool) -> dict[str, tuple[str, bool]]:
    """Maps canonical name -> (name in the file, whether to transpose).

    Args:
      names: all names of the folder, torch's or flax's, joined by dots.
      path: for messages.
      umt5: one relative position table a layer even where there is only one layer.

    Raises:
      UserError: names that no T5 has.
    """
    names = sorted(names)
    bare = {name: name.removeprefix("params.").removeprefix("transformer.") for name in names}
    per_layer = umt5 or any(
        (m := _BLOCK.fullmatch(n)) and m[2] != "0" and _TABLE in n for n in bare.values()
    )
    out: dict[str, tuple[str, bool]] = {}
    unknown = []
    for name, short in bare.items():
        if _IGNORED.fullmatch(short):
            continue
        stem, _, kind = short.rpartition(".")
        match = _BLOCK.fullmatch(short)
        if match:
            canonical = _canonical_block(match[1], match[2], int(match[3]), match[4], per_layer)
        else:
            canonical = _ENDS.get(stem)
        if canonical is None:
            unknown.append(name)
            continue
        table = canonical.endswith("rel_embedding")
        out[canonical] = (name, table or (kind == "weight" and canonical.endswith("/kernel")))
    if unknown:
        raise UserError(
            f"The folder '{path}' holds tensors that no T5, mT5 or umT5 has: "
            f"{some_of(unknown, 4)}. It is another kind of model."
        )
    if "token_embedder/embedding" not in out:
        for name, short in bare.items():
            if short.startswith("encoder.embed_tokens."):
                out["token_embedder/embedding"] = (name, False)
    return out


def to_torch(name: str) -> tuple[str, bool]:
    """Maps a canonical name to (Hugging Face's torch name, whether to transpose)."""
    ends = {canonical: hf for hf, canonical in _ENDS.items()}
    if name in ends:
        return f"{ends[name]}.weight", name.endswith("/kernel")
    match = re.fullmatch(
        r"(encoder|decoder)/(?:layers_(\d+)/)?(.+?)/(?:(\w+)/)?(kernel|scale|rel_embedding)", name
    )
    if match:
        stack, layer, part, leaf, _ = match.groups()
        block = f"{stack}.block.{layer or 0}.layer"
        if part == "relpos_bias":
            return f"{block}.0.SelfAttention.{_TABLE}.weight", True
        for number, (ours, norm, hf_part) in enumerate(_SUBLAYERS[stack]):
            if part == norm:
                return f"{block}.{number}.layer_norm.weight", False
            if part == ours and leaf in _OUTER:
                return f"{block}.{number}.{hf_part}.{_OUTER[leaf]}.weight", True
    raise UserError(
        f"The parameter '{name}' has no place in Hugging Face's T5; only a plain T5 model can be "
        "exported."
    )
