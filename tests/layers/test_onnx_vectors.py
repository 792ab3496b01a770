"""Another suite's vectors: ONNX's own node tests, by name."""

import functools
import math
import warnings

import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from onnx.backend.test.case.node import collect_testcases

from cnn_jax import layers

CASES = {
    "Conv": """
        test_basic_conv_with_padding test_basic_conv_without_padding
        test_conv_with_strides_padding test_conv_with_strides_no_padding
        test_conv_with_strides_and_asymmetric_padding test_conv_with_autopad_same
    """,
    "ConvTranspose": """
        test_convtranspose test_convtranspose_1d test_convtranspose_output_shape
        test_convtranspose_pad test_convtranspose_kernel_shape test_convtranspose_pads
        test_convtranspose_dilations test_convtranspose_autopad_same test_convtranspose_group_2
        test_convtranspose_group_2_image_3
    """,
    "MaxPool": """
        test_maxpool_2d_precomputed_pads test_maxpool_with_argmax_2d_precomputed_pads
        test_maxpool_2d_precomputed_strides test_maxpool_with_argmax_2d_precomputed_strides
        test_maxpool_2d_precomputed_same_upper test_maxpool_1d_default test_maxpool_2d_default
        test_maxpool_2d_same_upper test_maxpool_2d_same_lower test_maxpool_2d_pads
        test_maxpool_2d_strides test_maxpool_2d_ceil
        test_maxpool_2d_ceil_output_size_reduce_by_one
    """,
    "AveragePool": """
        test_averagepool_2d_precomputed_pads
        test_averagepool_2d_precomputed_pads_count_include_pad
        test_averagepool_2d_precomputed_strides test_averagepool_2d_precomputed_same_upper
        test_averagepool_1d_default test_averagepool_2d_default test_averagepool_2d_same_upper
        test_averagepool_2d_same_lower test_averagepool_2d_pads
        test_averagepool_2d_pads_count_include_pad test_averagepool_2d_strides
        test_averagepool_2d_ceil test_averagepool_2d_ceil_last_window_starts_on_pad
    """,
    "GlobalAveragePool": "test_globalaveragepool test_globalaveragepool_precomputed",
    "GlobalMaxPool": "test_globalmaxpool test_globalmaxpool_precomputed",
    "LRN": "test_lrn test_lrn_default",
    "BatchNormalization": """
        test_batchnorm_example test_batchnorm_epsilon
        test_batchnorm_example_training_mode test_batchnorm_epsilon_training_mode
    """,
    "Softmax": """
        test_softmax_example test_softmax_large_number test_softmax_axis_0 test_softmax_axis_1
        test_softmax_axis_2 test_softmax_negative_axis test_softmax_default_axis
    """,
    "Elu": "test_elu_example test_elu test_elu_default",
    "LeakyRelu": "test_leakyrelu_example test_leakyrelu test_leakyrelu_default",
    "HardSwish": "test_hardswish",
}
NAMES = {name: operator for operator, names in CASES.items() for name in names.split()}


@functools.cache
def _suite() -> dict[str, onnx.backend.test.case.test_case.TestCase]:
    """Collect the node tests of the operators above; expanded ones are the same vectors."""
    with warnings.catch_warnings():
        # They overflow on purpose, in other operators.
        warnings.simplefilter("ignore")
        everything = collect_testcases()
    single = [case for case in everything if case.model and len(case.model.graph.node) == 1]
    return {case.name: case for case in single if case.model.graph.node[0].op_type in CASES}


def _left_out(case) -> str | None:
    """Say why a case cannot be asked of the layers."""
    images = case.data_sets[0][0][0]
    attributes = _attributes(case)
    if images.ndim == 5:
        return "volumes: there is no 3-D convolution or pooling"
    if images.dtype == np.uint8:
        return "integers: pooling takes floats"
    if "Pool" in case.model.graph.node[0].op_type and "dilations" in attributes:
        return "pooling has no dilation"
    return None


def _attributes(case) -> dict:
    attributes = case.model.graph.node[0].attribute
    return {each.name: onnx.helper.get_attribute_value(each) for each in attributes}


def test_the_list_is_complete():
    possible = {name for name, case in _suite().items() if _left_out(case) is None}
    assert possible == set(NAMES)


def _last(array: np.ndarray) -> np.ndarray:
    """Bring channels to the end; signals become images of height 1."""
    array = array[:, :, None] if array.ndim == 3 else array
    return np.moveaxis(array, 1, -1)


def _first(array, ndim: int) -> np.ndarray:
    array = np.moveaxis(np.asarray(array), -1, 1)
    return array[:, :, 0] if ndim == 3 else array


def _two(values, default: int) -> tuple[int, int]:
    """Read an attribute in both directions; a signal has one value, for the width."""
    values = tuple(values or (default, default))
    return (default, *values) if len(values) == 1 else values


def _pads(attributes, sizes, window, stride, dilation=(1, 1)):
    """Read explicit padding, or work out what `auto_pad` asks for: ceil(size / stride) outputs."""
    upper = {b"SAME_UPPER": True, b"SAME_LOWER": False}.get(attributes.get("auto_pad"))
    if upper is None:
        *begin, _, _ = pads = attributes.get("pads", (0, 0, 0, 0))
        return tuple(zip(begin, pads[2:], strict=True))
    pads = []
    for size, length, step, gap in zip(sizes, window, stride, dilation, strict=True):
        reach = (math.ceil(size / step) - 1) * step + gap * (length - 1) + 1
        needed = max(reach - size, 0)
        small, large = needed // 2, needed - needed // 2
        pads.append((small, large) if upper else (large, small))
    return tuple(pads)


def _conv(attributes, images, kernel):
    stride = _two(attributes.get("strides"), 1)
    kernel = np.transpose(kernel, (2, 3, 1, 0))
    pads = _pads(attributes, images.shape[2:], kernel.shape[:2], stride)
    return layers.convolution(_last(images), kernel, stride=stride, padding=pads)


def _conv_transpose(attributes, images, kernel):
    kernel = kernel[:, :, None] if kernel.ndim == 3 else kernel
    kernel = np.transpose(kernel, (2, 3, 0, 1))
    images = _last(images)
    stride, dilation = _two(attributes.get("strides"), 1), _two(attributes.get("dilations"), 1)
    extra = _two(attributes.get("output_padding"), 0)
    wanted = attributes.get("output_shape")
    if attributes.get("auto_pad") == b"SAME_UPPER":
        wanted = [size * step for size, step in zip(images.shape[1:3], stride, strict=True)]
    pads = _pads({"pads": attributes.get("pads", (0, 0, 0, 0))}, None, None, None)
    options = {"stride": stride, "dilation": dilation, "groups": attributes.get("group", 1)}
    if wanted is not None:
        whole = layers.transposed_convolution(images, kernel, **options).shape[1:3]
        pads, extra = _to_reach(wanted, whole, extra)
    return layers.transposed_convolution(
        images, kernel, padding=pads, output_padding=extra, **options
    )


def _to_reach(wanted, whole, extra):
    """Split what is too much over both sides, less in front; add what is missing behind."""
    pads, added = [], []
    for target, size, more in zip(wanted, whole, extra, strict=True):
        surplus = max(size + more - target, 0)
        pads.append((surplus // 2, surplus - surplus // 2))
        added.append(max(more, target - size))
    return tuple(pads), tuple(added)


def _pool(pool, attributes, images, **options):
    window = _two(attributes["kernel_shape"], 1)
    stride = _two(attributes.get("strides"), 1)
    return pool(
        _last(images),
        window=window,
        stride=stride,
        padding=_pads(attributes, _last(images).shape[1:3], window, stride),
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
        **options,
    )


def _average_pool(attributes, images):
    count = bool(attributes.get("count_include_pad", 0))
    return _pool(layers.average_pool, attributes, images, count_include_pad=count)


def _lrn(attributes, images):
    size = attributes["size"]
    return layers.local_response_norm(
        _last(images),
        size=size,
        alpha=attributes.get("alpha", 1e-4) / size,
        beta=attributes.get("beta", 0.75),
        k=attributes.get("bias", 1.0),
    )


def _batch_norm(attributes, images, scale, bias, mean, var):
    images, epsilon = _last(images), attributes.get("epsilon", 1e-5)
    if not attributes.get("training_mode", 0):
        return layers.batch_norm_eval(images, scale, bias, mean, var, epsilon=epsilon)
    output, *moments = layers.batch_norm(images, scale, bias, epsilon=epsilon)
    return output, *layers.batch_norm_statistics(
        mean, var, *moments, momentum=attributes.get("momentum", 0.9)
    )


def _global(pool):
    return lambda attributes, images: pool(_last(images))[:, None, None]


SPATIAL = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MaxPool": functools.partial(_pool, layers.max_pool),
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global(layers.global_average_pool),
    "GlobalMaxPool": _global(layers.global_max_pool),
    "LRN": _lrn,
    "BatchNormalization": _batch_norm,
}
POINTWISE = {
    "Softmax": lambda attributes, x: layers.softmax(x, axis=attributes.get("axis", -1)),
    "Elu": lambda attributes, x: layers.elu(x, alpha=attributes.get("alpha", 1.0)),
    "LeakyRelu": lambda attributes, x: layers.leaky_relu(
        x, negative_slope=attributes.get("alpha", 0.01)
    ),
    "HardSwish": lambda attributes, x: layers.hard_swish(x),
}


@pytest.mark.parametrize("name", NAMES)
def test_vectors(name):
    case, operator = _suite()[name], NAMES[name]
    assert case.data_sets
    for inputs, expected in case.data_sets:
        arrays = [np.asarray(array) for array in inputs]
        call = SPATIAL.get(operator) or POINTWISE[operator]
        outputs = call(_attributes(case), *arrays)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        # MaxPool's second output, the places of the maxima, is not a layer's to give.
        for actual, vector in zip(outputs, expected, strict=False):
            if operator in SPATIAL and actual.ndim == 4:
                actual = _first(actual, vector.ndim)
            assert actual.shape == vector.shape
            np.testing.assert_allclose(jnp.asarray(actual), vector, rtol=case.rtol, atol=1e-6)
