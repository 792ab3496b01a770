"""A network of which a part is trained: the rest costs no gradient, and stays as it is."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import flax.linen as nn

from cnn_jax import layers


@dataclass(frozen=True)
class Trained:
    """Which part of a network is trained.

    Attributes:
        factors: path of each parameter that is trained -> factor of its learning rate.
        evaluating: paths of the modules that work as in evaluation: BatchNorm with its running
            statistics, which stay as they are, and Dropout not at all.
    """

    factors: Mapping[str, float]
    evaluating: frozenset[str] = frozenset()


def trained_part(params: dict, trained: Trained | None) -> dict:
    """Cut a tree of parameters down to those that are trained.

    Args:
        params: tree of arrays.
        trained: what is; None for everything.

    Returns:
        The tree without the others.

    >>> trained_part({"fc": {"bias": 1, "kernel": 2}}, Trained({"fc/bias": 1.0}))
    {'fc': {'bias': 1}}
    """
    if trained is None:
        return params
    return _kept(params, lambda path: path in trained.factors)


def moving_part(batch_stats: dict, trained: Trained | None) -> dict:
    """Cut a tree of running statistics down to those that a training step moves.

    >>> statistics = {"bn1": {"mean": 0}, "bn2": {"mean": 1}}
    >>> moving_part(statistics, Trained({}, frozenset({"bn1"})))
    {'bn2': {'mean': 1}}
    """
    if trained is None:
        return batch_stats
    return _kept(batch_stats, lambda path: path.rpartition("/")[0] not in trained.evaluating)


def put_back(tree: dict, part: dict) -> dict:
    """Put a part of a tree, as `trained_part` gives it, in its place; the rest is the tree's.

    >>> put_back({"fc": {"bias": 1, "kernel": 2}}, {"fc": {"bias": 3}})
    {'fc': {'bias': 3, 'kernel': 2}}
    """
    if not (isinstance(tree, Mapping) and isinstance(part, Mapping)):
        return part
    inside = {
        name: put_back(tree[name], part[name]) if name in part else tree[name] for name in tree
    }
    return type(tree)(inside)


def frozen_evaluating(trained: Trained | None) -> AbstractContextManager:
    """Have the modules that are to work as in evaluation do so, whatever the network asks of them.

    Args:
        trained: says which; None for none.

    Returns:
        The context to apply the network in.

    >>> import jax, jax.numpy as jnp
    >>> norm, x = layers.BatchNorm(), jnp.array([[1.0], [3.0]])
    >>> variables = norm.init(jax.random.key(0), x)
    >>> with frozen_evaluating(Trained({}, frozenset({""}))):
    ...     y, updates = norm.apply(variables, x, train=True, mutable=["batch_stats"])
    >>> y.round().tolist(), updates["batch_stats"]["mean"].item()
    ([[1.0], [3.0]], 0.0)
    """
    if trained is None or not trained.evaluating:
        return nullcontext()

    def intercept(call, args, kwargs, context):
        module = context.module
        if context.method_name != "__call__" or "/".join(module.path) not in trained.evaluating:
            return call(*args, **kwargs)
        if isinstance(module, layers.Dropout):
            return args[0]
        if isinstance(module, layers.BatchNorm):
            kwargs = {**kwargs, "train": False}
        return call(*args, **kwargs)

    return nn.intercept_methods(intercept)


def _kept(tree: dict, keep: Callable[[str], bool]) -> dict:
    def cut(branch: Mapping, above: str) -> dict:
        parts = {}
        for name, value in branch.items():
            path = f"{above}{name}"
            if isinstance(value, Mapping):
                if inside := cut(value, f"{path}/"):
                    parts[name] = inside
            elif keep(path):
                parts[name] = value
        return parts

    return cut(tree, "")
