"""The fast forms of a convolution: equal to the compiler's, in every derivative."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from cnn_jax import layers
from cnn_jax.layers import convolution_forms as forms

CASES = {
    "dense": ((7, 8, 3), (3, 3, 3, 4), {"padding": 1}),
    "strided, with pixels that no position sees": ((8, 9, 3), (3, 2, 3, 4), {"stride": (2, 3)}),
    "all at once": (
        (11, 9, 2),
        (3, 2, 2, 3),
        {"stride": (1, 2), "padding": ((2, 1), (0, 1)), "dilation": (2, 1)},
    ),
    "even kernel": ((6, 6, 2), (4, 4, 2, 3), {"stride": 2, "padding": 1}),
    "1x1": ((5, 4, 3), (1, 1, 3, 4), {}),
    "1x1 strided": ((5, 4, 3), (1, 1, 3, 4), {"stride": (2, 3)}),
    "1x1 padded": ((5, 4, 3), (1, 1, 3, 4), {"padding": 1}),
    "few positions": ((2, 2, 3), (3, 3, 3, 4), {"padding": 1}),
    "few positions, strided and dilated": (
        (5, 6, 3),
        (2, 3, 3, 4),
        {"stride": (2, 1), "dilation": (3, 2), "padding": ((0, 1), (0, 0))},
    ),
    "depthwise": ((6, 7, 3), (3, 3, 1, 6), {"stride": 2, "padding": 1, "groups": 3}),
}
LITERAL = ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("name", CASES)
def test_each_form_is_the_compilers_in_value_and_derivatives(name):
    size, kernel_shape, options = CASES[name]
    arrays = drawn(2, *size), drawn(*kernel_shape, seed=1)
    tangents = drawn(2, *size, seed=2), drawn(*kernel_shape, seed=3)

    @partial(jax.jit, static_argnums=0)
    def everything(plain, arrays, tangents):
        def value(*arrays):
            output = layers.convolution(*arrays, plain=plain, **options)
            return (jnp.sin(output) ** 2).sum(), output

        def gradient(*arrays):
            return jax.grad(value, argnums=(0, 1), has_aux=True)(*arrays)[0]

        backwards = jax.grad(lambda *arrays: jnp.vdot(gradient(*arrays)[1], tangents[1]), (0, 1))
        return (
            value(*arrays),
            jax.jvp(value, arrays, tangents),
            jax.jvp(gradient, arrays, tangents),
            backwards(*arrays),
        )

    near = partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-4)
    jax.tree.map(near, everything(False, arrays, tangents), everything(True, arrays, tangents))


def chosen(size, kernel_shape, options):
    seen = []
    fastest = forms.fastest

    def noted(*call):
        seen.append(fastest(*call))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forms, "fastest", noted)
        jax.eval_shape(
            partial(layers.convolution, **options), jnp.ones((1, *size)), jnp.ones(kernel_shape)
        )
    return seen[0]


def test_the_choice(monkeypatch):
    special = {"1x1": forms._product, "few": forms._patches_product, "depthwise": forms._shifted}
    for name, case in CASES.items():
        found = [form for start, form in special.items() if name.startswith(start)]
        assert [chosen(*case)] == (found or [forms._dense]), name
    assert chosen((5, 4, 4), (3, 3, 2, 4), {"groups": 2}) is forms.compiled
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert {chosen(*case) for case in CASES.values()} == {forms.compiled}


def convolutions(jaxpr) -> list:
    """The dimension numbers of all convolutions of a program, those of inner ones too."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            found.append(tuple(equation.params["dimension_numbers"]))
        for inner in jaxprs_in_params(equation.params):
            found += convolutions(inner)
    return found


@pytest.mark.parametrize("name", [name for name in CASES if "1x1" not in name])
def test_gradients_lie_as_loops_want_them(name):
    """Else a convolution in `lax.scan` takes tens of times as long on a CPU."""
    size, kernel_shape, options = CASES[name]

    def gradients(images, kernel):
        def value(*arrays):
            return (layers.convolution(*arrays, **options) ** 2).sum()

        return jax.lax.scan(
            lambda kernel, images: (jax.grad(value, 1)(images, kernel), jax.grad(value)(
                images, kernel)), kernel, images,
        )  # fmt: skip

    program = jax.make_jaxpr(gradients)(jnp.ones((2, 1, *size)), jnp.ones(kernel_shape))
    found = convolutions(program.jaxpr)
    assert set(found) <= {LITERAL}
    assert bool(found) == (not name.startswith(("few", "depthwise")))


def test_a_frozen_kernel_costs_no_gradient():
    images, kernel = jnp.ones((1, 10, 10, 2)), jnp.ones((3, 3, 2, 2))
    gradient = jax.grad(lambda images: (layers.convolution(images, kernel) ** 2).sum())
    program = jax.make_jaxpr(gradient)(images)
    assert len(convolutions(program.jaxpr)) == 2
