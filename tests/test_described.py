"""What a description tells apart, and that it is the same in another process."""

import threading
from functools import partial

import jax
import numpy as np
import pytest

from cnn_jax import models, optim
from cnn_jax.recipe import describe, differences


class Operation:
    """A plain class: its `repr` is where it lies in memory."""

    def __init__(self, strength):
        """Hold a number."""
        self.strength = strength

    def __call__(self, key, image):
        """Multiply."""
        return self.strength * image

    def apply(self, key, image):
        """Multiply."""
        return self(key, image)


def closure(strength):
    return lambda key, image: strength * image


def default(strength):
    return lambda key, image, by=strength: by * image


def recursive(strength):
    def function(depth):
        return other(depth - 1) if depth else strength

    def other(depth):
        return function(depth)

    return function


def of_variables(value):
    variables = {"params": {"kernel": np.full((2, 2), value)}}
    return partial(lambda variables, images: images, variables)


@pytest.mark.parametrize(
    "make",
    [
        Operation,
        closure,
        default,
        recursive,
        of_variables,
        lambda value: Operation(value).apply,
        lambda value: jax.jit(closure(value)),
        lambda value: closure(np.full(3, value)),
        lambda value: closure(jax.random.key(value)),
        lambda value: partial(closure(value), key=1),
        lambda value: closure({str(value), "a", "b"}),
        lambda value: closure({"key": value}.get),
        lambda value: closure({closure(value), closure(3)}),
        lambda value: closure({frozenset({str(value), "a", "b"})}),
    ],
)
def test_what_differs_in_effect_is_described_differently_and_the_same_alike(make):
    one, again, two = describe(make(1)), describe(make(1)), describe(make(2))
    assert one == again
    assert one != two
    assert differences(one, two)
    assert " at 0x" not in str(one)


def test_a_description_of_before_is_still_the_same():
    model = models.create_model("mlp", num_classes=3)
    parts = (optim.sgd, partial(optim.sgd, momentum=0.5), len, jax.nn.relu, model)
    assert [describe(part) for part in parts] == [
        "cnn_jax.optim.sgd",
        {"function": "cnn_jax.optim.sgd", "momentum": 0.5},
        "builtins.len",
        "jax._src.nn.functions.relu",
        {"name": "mlp", "num_classes": 3},
    ]
    assert describe(lambda image: image).endswith(".<lambda>")


def test_a_run_of_before_goes_on_where_a_closure_was_its_name_alone():
    here = describe({"loss": closure(1), "augment": (optim.sgd, partial(closure(2), key=1))})
    name = f"{__name__}.closure.<locals>.<lambda>"
    there = {"loss": name, "augment": ["cnn_jax.optim.sgd", {"function": name, "key": 1}]}
    assert differences(there, here) == []
    assert differences({**there, "loss": "another"}, here)
    other = describe({"loss": closure(1), "augment": (optim.sgd, partial(closure(2), key=2))})
    assert differences(there, other)
    # Options are no capture.
    assert differences("cnn_jax.optim.sgd", describe(partial(optim.sgd, momentum=0.5)))


@pytest.mark.parametrize(
    ("make", "described"),
    [
        (lambda: np.random.default_rng(0), "Generator(PCG64)"),
        (threading.Lock, "<unlocked _thread.lock object>"),
        (lambda: {len, closure(1).__class__}, ["'builtins.function'", "'builtins.len'"]),
        (lambda: {1, "a", None}, ["'a'", "1", "None"]),
        (lambda: {}.get, {"function": "builtins.dict.get", "captured": {"of": {}}}),
    ],
    ids=["generator", "lock", "set_of_functions", "set_of_plain_values", "builtin_method"],
)
def test_no_description_says_where_a_thing_lies_in_memory(make, described):
    assert describe(make()) == described


def test_a_generator_that_is_captured_is_described_without_its_address():
    described = describe(closure(letter for letter in "abc"))
    assert " at 0x" not in str(described)
    assert "<generator object " in described["captured"]["strength"]


def test_a_run_of_before_goes_on_where_positional_arguments_were_not_described():
    here = describe({"loss": partial(closure(1), 3, key=1)})
    name = f"{__name__}.closure.<locals>.<lambda>"
    assert differences({"loss": {"function": name, "key": 1}}, here) == []
    assert differences({"loss": {"function": name, "key": 2}}, here)
    # Arguments that were described count, and so do those that are gone.
    assert differences(describe({"loss": partial(closure(1), 4, key=1)}), here)
    assert differences(here, describe({"loss": partial(closure(1), key=1)}))
    # They are forgiven to functions alone.
    assert differences({"key": 1}, {"key": 1, "arguments": [3]})
