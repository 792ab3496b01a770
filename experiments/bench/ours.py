"""Ours: the training step, the logits, and the pooling, compiled as a run compiles them."""

import functools
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from cnn_jax import create_model, layers, make_train_step, optim
from cnn_jax.many_steps import many_steps
from cnn_jax.precision import with_precision
from cnn_jax.state import init_state
from cnn_jax.xla_flags import compile_options
from experiments.bench.cases import Case, Program, example


def programs(case: Case) -> Iterator[tuple[str, Program]]:
    """Make what is measured.

    Args:
        case: what to measure.

    Yields:
        The one name, and the program.
    """
    if case.work == "pool":
        yield "cnn_jax", pooling(case, lambda x: layers.max_pool(x, window=3, stride=2, padding=1))
        return
    model = with_precision(create_model(case.model, num_classes=case.classes), case.precision)
    yield "cnn_jax", network(case, model)


def pooling(case: Case, pool) -> Program:
    """Compile a pooling of images and its gradient."""
    images = jnp.asarray(example(case)[0])

    @functools.partial(jax.jit, compiler_options=compile_options())
    def function(images):
        output, backward = jax.vjp(pool, images)
        return output, backward(output)

    return started(lambda: jax.block_until_ready(function(images)))


def network(case: Case, model) -> Program:
    """Compile the training step or the logits of a linen module that takes `train`."""
    images, labels = map(jnp.asarray, example(case))
    if case.work == "infer":
        variables = jax.jit(model.init)(jax.random.key(0), images[:1])
        apply = jax.jit(model.apply, compiler_options=compile_options())
        return started(lambda: jax.block_until_ready(apply(variables, images)))
    state, step = training(case, model)
    batch = {"image": images, "label": labels}

    def run() -> None:
        nonlocal state
        state, metrics = step(state, batch)
        # All outputs are of one program: once one is there, all are.
        metrics["loss"].block_until_ready()

    return started(run)


def looped(case: Case, count: int) -> dict[str, Program]:
    """Compile so many training steps twice: dispatched one by one, and in one loop."""
    images, labels = example(case)
    batch = {"image": jnp.asarray(images), "label": jnp.asarray(labels)}
    batches = jax.tree.map(lambda array: jnp.stack([array] * count), batch)
    model = create_model(case.model, num_classes=case.classes)
    states = [training(case, model)[0] for _ in range(2)]
    single = training(case, model)[1]
    step = make_train_step(model, optim.sgd(0.01, momentum=0.9))
    together = jax.jit(many_steps(step), donate_argnums=0, compiler_options=compile_options())

    def one_by_one() -> None:
        for _ in range(count):
            states[0], metrics = single(states[0], batch)
        metrics["loss"].block_until_ready()

    def in_a_loop() -> None:
        states[1], metrics = together(states[1], batches)
        metrics["loss"].block_until_ready()

    return {"one by one": started(one_by_one), "in a loop": started(in_a_loop)}


def training(case: Case, model):
    """Make the state and the compiled training step of a module."""
    tx = optim.sgd(0.01, momentum=0.9)
    state = jax.jit(lambda key: init_state(model, tx, key, image_shape=case.shape[1:]))(
        jax.random.key(0)
    )
    step = make_train_step(model, tx)
    return state, jax.jit(step, donate_argnums=0, compiler_options=compile_options())


def started(run) -> Program:
    """Take the first step of a program, which compiles it."""
    began = time.perf_counter()
    run()
    return Program(run, time.perf_counter() - began)
