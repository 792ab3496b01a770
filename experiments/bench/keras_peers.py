"""Keras on JAX: the same networks of its layers and applications, by `train_on_batch`."""

import os
import time
from collections.abc import Iterator

from experiments.bench.cases import Case, Program, example

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
from keras import layers

if keras.backend.backend() != "jax":
    raise ImportError(f"Keras runs on {keras.backend.backend()}, not on JAX")


def _three_blocks(inputs, classes: int):
    x = inputs
    for width in (32, 64, 128):
        for _ in range(2):
            x = layers.Conv2D(width, 3, padding="same")(x)
            x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        x = layers.SpatialDropout2D(0.25)(layers.MaxPooling2D()(x))
    x = layers.Dense(512)(layers.Flatten()(x))
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    return layers.Dense(classes)(layers.Dropout(0.5)(x))


def _cifar_resnet(inputs, classes: int):
    def conv_norm(x, width, stride=1):
        x = layers.Conv2D(width, 3, stride, padding="same", use_bias=False)(x)
        return layers.BatchNormalization(momentum=0.9)(x)

    x = layers.ReLU()(conv_norm(inputs, 16))
    for width in (16, 32, 64):
        for block in range(3):
            stride = 2 if width > 16 and block == 0 else 1
            y = conv_norm(layers.ReLU()(conv_norm(x, width, stride)), width)
            if stride > 1:
                x, added = x[:, ::2, ::2], (width - x.shape[-1]) // 2
                x = keras.ops.pad(x, ((0, 0), (0, 0), (0, 0), (added, added)))
            x = layers.ReLU()(layers.add([x, y]))
    return layers.Dense(classes)(layers.GlobalAveragePooling2D()(x))


def build(case: Case):
    """Make the network of a case; None where Keras has it in no comparable form."""
    inputs = layers.Input(case.shape[1:])
    own = {"three_block_cnn": _three_blocks, "resnet20_cifar": _cifar_resnet}.get(case.model)
    if own is not None:
        return keras.Model(inputs, own(inputs, case.classes))
    name = {"resnet50": "ResNet50", "mobilenet_v2": "MobileNetV2"}.get(case.model)
    if name is None:
        return None
    return getattr(keras.applications, name)(
        weights=None, input_shape=case.shape[1:], classes=case.classes, classifier_activation=None
    )


def programs(case: Case, **_) -> Iterator[tuple[str, Program]]:
    """Make what is measured, where Keras has such a network, in float32.

    Args:
        case: what to measure.

    Yields:
        The one name, and the program.
    """
    if case.work == "pool" or case.precision != "float32":
        return
    keras.utils.set_random_seed(0)
    model = build(case)
    if model is None:
        return
    images, labels = example(case)
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )

    def run() -> None:
        if case.work == "train":
            model.train_on_batch(images, labels)
        else:
            model.predict_on_batch(images)

    began = time.perf_counter()
    run()
    yield "Keras on JAX", Program(run, time.perf_counter() - began)
