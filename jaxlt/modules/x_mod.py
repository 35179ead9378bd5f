"""X-MOD and mmT5: a bottleneck a language after each layer's MLP, there from pretraining on."""

from typing import ClassVar

from jaxlt.modules.bottleneck import Bottleneck


class XMod(Bottleneck):
    """y + up(gelu(down(norm(h + r)))) after the MLP: what the residual stream then holds, normed.

    2 * m * D parameters a layer and language, and for the norm's scale D a language ('own') or D
    for all ('shared', which belongs to the shared body, though it is kept with the modules: its
    name is `.../norm/scale`). Up starts at zero. Give it `key` and `routes`; which parts train in
    pretraining, in fine-tuning and for a new language is said in `modules/x_mod.gin`.
    """

    reduction_factor: float = 2
    activation: str = "gelu"
    source: str = "residual"
    norm: str = "own"

    places: ClassVar[tuple[str, ...]] = ("mlp_out",)
