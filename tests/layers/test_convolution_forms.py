"""The fast forms of a convolution: equal to the compiler's, in every derivative."""

from functools import partial

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jax.extend.core import jaxprs_in_params

from cnn_jax import layers, reference
from cnn_jax.layers import convolution_forms as forms
from cnn_jax.layers.winograd import winograd

CASES = {
    "dense": ((7, 8, 3), (3, 3, 3, 4), {"padding": 1}),
    "strided, with pixels that no position sees": ((8, 9, 3), (3, 2, 3, 4), {"stride": (2, 3)}),
    "all at once": (
        (11, 9, 2),
        (3, 2, 2, 3),
        {"stride": (1, 2), "padding": ((2, 1), (0, 1)), "dilation": (2, 1)},
    ),
    "even kernel": ((6, 6, 2), (4, 4, 2, 3), {"stride": 2, "padding": 1}),
    "many positions": ((9, 8, 3), (2, 3, 3, 4), {"padding": ((1, 0), (2, 1))}),
    "1x1": ((5, 4, 3), (1, 1, 3, 4), {}),
    "1x1 strided": ((5, 4, 3), (1, 1, 3, 4), {"stride": (2, 3)}),
    "1x1 padded": ((5, 4, 3), (1, 1, 3, 4), {"padding": 1}),
    "few positions": ((2, 2, 3), (3, 3, 3, 4), {"padding": 1}),
    "few positions, strided and dilated": (
        (5, 6, 3),
        (2, 3, 3, 4),
        {"stride": (2, 1), "dilation": (3, 2), "padding": ((0, 1), (0, 0))},
    ),
    "side by side": ((7, 8, 3), (3, 4, 3, 4), {"stride": (3, 4)}),
    "large kernel": ((9, 9, 2), (9, 8, 2, 3), {}),
    "depthwise": ((6, 7, 3), (3, 3, 1, 6), {"stride": 2, "padding": 1, "groups": 3}),
}
LITERAL = ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def check_values_and_derivatives(size, kernel_shape, options):
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


@pytest.mark.parametrize("name", CASES)
def test_each_form_is_the_compilers_in_value_and_derivatives(name):
    check_values_and_derivatives(*CASES[name])


def test_fewer_multiplications_come_to_the_same(monkeypatch):
    """Uneven paddings, one so large that the gradient of the images cuts off, and odd sizes."""
    monkeypatch.setattr(forms, "_CHANNELS_FOR_WINOGRAD", 1)
    monkeypatch.setattr(forms, "_WORK_FOR_WINOGRAD", 1)
    size, kernel_shape, options = (9, 8, 2), (3, 3, 2, 3), {"padding": ((3, 0), (1, 2))}
    check_values_and_derivatives(size, kernel_shape, options)

    def value(*arrays):
        return (layers.convolution(*arrays, **options) ** 2).sum()

    program = jax.make_jaxpr(jax.grad(value, (0, 1)))(jnp.ones((1, *size)), jnp.ones(kernel_shape))
    # Forward once, and the gradients with their transposes' transposes: but one is a convolution.
    assert len(convolutions(program.jaxpr)) == 1


@settings(max_examples=8, deadline=None)
@given(
    sizes=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    pads=st.tuples(*[st.tuples(st.integers(-1, 3), st.integers(0, 3))] * 2),
)
def test_winograds_form_by_the_reference(sizes, pads):
    sums = [size + sum(pad) for size, pad in zip(sizes, pads, strict=True)]
    assume(min(sums) >= 3)
    images, kernel = drawn(2, *sizes, 3), drawn(3, 3, 3, 2, seed=1)
    padded = jax.lax.pad(images, np.float32(0), [(0, 0, 0), *((*p, 0) for p in pads), (0, 0, 0)])
    expected = np.stack([reference.convolution(np.float64(image), kernel) for image in padded])
    found = jax.jit(winograd, static_argnums=2)(jnp.asarray(images), jnp.asarray(kernel), pads)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


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
    special = {
        "1x1": forms._product,
        "few": forms._patches_product,
        "side by side": forms._tiles_product,
        "depthwise": forms._shifted,
    }
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
    assert bool(found) == (not name.startswith(("few", "side by side", "depthwise")))


@pytest.mark.parametrize("stride", [1, 16])
def test_at_few_positions_no_large_kernel_is_unrolled(stride):
    """A transformer's patch embedding on small images would be 256 slices, or 1,024."""
    images, kernel = jnp.ones((1, 16 + stride, 16 + stride, 3)), jnp.ones((16, 16, 3, 4))
    program = jax.make_jaxpr(partial(layers.convolution, stride=stride))(images, kernel)
    assert str(program).count("= slice") <= 1


def test_a_frozen_kernel_costs_no_gradient():
    images, kernel = jnp.ones((1, 10, 10, 2)), jnp.ones((3, 3, 2, 2))
    gradient = jax.grad(lambda images: (layers.convolution(images, kernel) ** 2).sum())
    program = jax.make_jaxpr(gradient)(images)
    assert len(convolutions(program.jaxpr)) == 2


def test_a_batch_of_any_size_can_be_exported():
    """Large enough for each form whose choice looks at the shape."""
    (count,) = jax.export.symbolic_shape("b")
    kernel = jnp.ones((3, 3, 64, 64))
    images = jax.ShapeDtypeStruct((count, 24, 24, 64), jnp.float32)
    program = jax.jit(lambda images: layers.convolution(images, kernel, padding=1))
    assert jax.export.export(program)(images).out_avals[0].shape == (count, 24, 24, 64)
