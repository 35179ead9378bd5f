"""Matrix products in a program's text are counted as the compiler counts them."""

import jax
import jax.numpy as jnp
import pytest

from jaxlt.plan.hlo_flops import product_flops
from jaxlt.plan.hlo_text import parse


def counted(text: str) -> float:
    """Products of all computations of a program without loops."""
    module = parse(text)
    return sum(product_flops(c, i) for c in module.computations.values() for i in c.instructions)


@pytest.mark.parametrize(
    ("spec", "left", "right"),
    [
        ("ij,jk->ik", (6, 8), (8, 10)),
        ("bqhd,bkhd->bhqk", (2, 5, 3, 4), (2, 7, 3, 4)),
        ("bij,ij->b", (2, 6, 8), (6, 8)),
    ],
)
def test_dots_cost_two_flops_a_product(spec, left, right):
    def multiply(a, b):
        return jnp.einsum(spec, a, b)

    sizes = dict(zip(spec.replace(",", "").split("->")[0], left + right, strict=True))
    wanted = 2
    for size in sizes.values():
        wanted *= size
    text = jax.jit(multiply).lower(jnp.ones(left), jnp.ones(right)).compile().as_text()
    assert counted(text) == wanted


@pytest.mark.parametrize("padding", [((0, 0), (0, 0)), ((1, 2), (0, 3))], ids=str)
@pytest.mark.parametrize("options", [{}, {"rhs_dilation": (2, 1)}, {"lhs_dilation": (1, 2)}])
def test_convolutions_leave_the_padding_out(padding, options):
    def convolve(x, w):
        return jax.lax.conv_general_dilated(
            x, w, (2, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options
        )

    compiled = jax.jit(convolve).lower(jnp.ones((2, 9, 8, 3)), jnp.ones((3, 3, 3, 5))).compile()
    assert counted(compiled.as_text()) == pytest.approx(compiled.cost_analysis()["flops"], rel=1e-6)


def test_a_product_that_a_tpu_writes_as_a_convolution():
    """A batched product [8,512,384] x [384,64] with a window of one position."""
    text = """
ENTRY %main (a: bf16[8,512,384], b: bf16[1,384,64]) -> bf16[8,512,64] {
  %a = bf16[8,512,384]{2,1,0} parameter(0)
  %b = bf16[1,384,64]{1,0} parameter(1)
  ROOT %c = bf16[8,512,64]{2,1,0} convolution(%a, %b), window={size=1}, dim_labels=b0f_0io->b0f
}
"""
    assert counted(text) == 2 * 8 * 512 * 384 * 64


def test_a_product_that_a_library_does():
    text = """
ENTRY %main (a: bf16[8,512], b: bf16[512,64]) -> bf16[8,64] {
  %a = bf16[8,512]{1,0} parameter(0)
  %b = bf16[512,64]{1,0} parameter(1)
  %c = (bf16[8,64]{1,0}, s8[4096]{0}) custom-call(%a, %b), custom_call_target="__cublas$gemm", \
backend_config={"gemm_backend_config":{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"]}}}
  ROOT %d = bf16[8,64]{1,0} get-tuple-element(%c), index=0
}
"""
    assert counted(text) == 2 * 8 * 512 * 64
    assert counted(text.replace("__cublas$gemm", "other")) == 0
