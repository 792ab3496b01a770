"""What an optimizer does to each parameter, chosen by its path: rules, their table, their effect.

A path is the names down to an array, `layer1_0/conv1/kernel`; in a pattern `*` stands for anything.

    optimizer=partial(by_path, optimizer=optim.sgd, weight_decay=5e-4, rules=(
        Rule("stem/*", frozen=True), Rule("fc/*", learning_rate=10.0)))
"""

import difflib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial

import jax
import jax.numpy as jnp
import optax

from cnn_jax import ranges
from cnn_jax.errors import InputError

Mask = Callable[[optax.Params], optax.Params]


@dataclass(frozen=True)
class Rule:
    """What holds for the parameters whose path matches.

    Attributes:
        pattern: of paths, as a shell matches names.
        learning_rate: factor of the learning rate.
        decay: whether weight decay applies; None for what the mask says.
        frozen: whether to leave them as they are.
    """

    pattern: str
    learning_rate: float = 1.0
    decay: bool | None = None
    frozen: bool = False


@dataclass(frozen=True)
class ParameterRow:
    """A line of the table: what is done to one parameter.

    Attributes:
        path: names joined by slashes.
        shape: of the array.
        learning_rate: factor of the learning rate; 0 where frozen.
        decay: coefficient of the weight decay; 0 where there is none.
        frozen: whether it stays as it is.
    """

    path: str
    shape: tuple[int, ...]
    learning_rate: float
    decay: float
    frozen: bool


def kernels_only(params: optax.Params) -> optax.Params:
    """Mark what weight decay applies to: kernels, and neither biases nor normalisation.

    Args:
        params: a tree of arrays.

    Returns:
        The same tree of booleans, True where an array has more than one dimension.
    """
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def kernels_except(params: optax.Params, *, patterns: Sequence[str]) -> optax.Params:
    """Mark the kernels but for those whose path matches.

    Args:
        params: a tree of arrays.
        patterns: of paths. One that matches nothing is not noticed here, since an optimizer hands
            a mask parts of the tree; a `Rule` with `decay=False` is checked.

    Returns:
        The same tree of booleans.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf.ndim > 1 and not _any_match(_name(path), patterns), params
    )


def parameter_table(
    params: optax.Params,
    *,
    rules: Sequence[Rule] = (),
    weight_decay: float = 0.0,
    mask: Mask = kernels_only,
) -> tuple[ParameterRow, ...]:
    """Say what `by_path` with the same options does to each parameter.

    Args:
        params: a tree of arrays, or of their shapes and types.
        rules: the first one that matches a parameter holds for it.
        weight_decay: coefficient of the weight decay.
        mask: tree -> tree of booleans, for parameters whose rule says nothing of decay.

    Returns:
        A row for each parameter, in the order of the tree.

    Raises:
        InputError: a pattern matches nothing, or only what an earlier one has taken; a factor is
            not positive.

    >>> import numpy as np
    >>> params = {"fc": {"kernel": np.zeros((4, 2)), "bias": np.zeros(2)}}
    >>> for row in parameter_table(params, rules=[Rule("*/bias", frozen=True)], weight_decay=0.1):
    ...     print(row.path, row.learning_rate, row.decay, row.frozen)
    fc/bias 0.0 0.0 True
    fc/kernel 1.0 0.1 False
    """
    ranges.not_negative("weight_decay", weight_decay, remedy="0 is none")
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    masks, paths = jax.tree.leaves(mask(params)), [_name(path) for path, _ in leaves]
    _check_rules(rules, paths)
    rows = []
    for path, (_, leaf), masked in zip(paths, leaves, masks, strict=True):
        rule = _rule(path, rules)
        decays = bool(masked) if rule.decay is None else rule.decay
        rows.append(
            ParameterRow(
                path=path,
                shape=tuple(leaf.shape),
                learning_rate=0.0 if rule.frozen else float(rule.learning_rate),
                decay=float(weight_decay) if decays and not rule.frozen else 0.0,
                frozen=rule.frozen,
            )
        )
    return tuple(rows)


def table_of(optimizer: Callable, params: optax.Params) -> tuple[ParameterRow, ...] | None:
    """Say what a recipe's optimizer does to each parameter.

    Args:
        optimizer: a function of this package, or a partial of one, or of one around another:
            `partial(averaging.ema, optimizer=partial(by_path, ...))`.
        params: a tree of arrays, or of their shapes and types.

    Returns:
        The table, or None for a function that does not say what it decays, as one of yours may.

    Raises:
        InputError: as `parameter_table`.

    >>> import numpy as np
    >>> from functools import partial
    >>> from cnn_jax import optim
    >>> rows = table_of(partial(optim.sgd, weight_decay=0.1), {"kernel": np.zeros((2, 2))})
    >>> rows[0].decay
    0.1
    """
    given = getattr(optimizer, "keywords", {})
    function = getattr(optimizer, "func", optimizer)
    if function is not by_path and "optimizer" in given:
        return table_of(given["optimizer"], params)
    options = inspect.signature(function).parameters
    if not {"weight_decay", "mask"} <= set(options):
        return None
    values = {name: given.get(name, option.default) for name, option in options.items()}
    if callable(values["weight_decay"]) or not (values["mask"] is None or callable(values["mask"])):
        return None
    if values["mask"] is None:  # as Optax's own have it: everything decays
        values["mask"] = partial(jax.tree.map, lambda _: True)
    own = {name: values[name] for name in ("rules", "weight_decay", "mask") if name in values}
    rows = parameter_table(params, **own)
    if "rest" not in values:
        return rows
    others = table_of(values["rest"], params)
    if others is None:
        return None
    mine, factor = jax.tree.leaves(values["filters"](params)), values["rest_factor"]
    return tuple(
        row if is_mine else replace(other, learning_rate=factor * other.learning_rate)
        for row, other, is_mine in zip(rows, others, mine, strict=True)
    )


def without_frozen(optimizer: Callable, gradients: optax.Updates) -> optax.Updates:
    """Have the gradients be 0 of what an optimizer's rules freeze.

    Args:
        optimizer: as of `table_of`.
        gradients: tree of arrays, like the parameters that the optimizer gets.

    Returns:
        The tree; the very same where the optimizer has no rules, or none that freezes.

    >>> from functools import partial
    >>> from cnn_jax import optim
    >>> frozen = partial(by_path, optimizer=optim.sgd, rules=(Rule("a", frozen=True),))
    >>> without_frozen(frozen, {"a": jnp.ones(1), "b": jnp.ones(1)})
    {'a': Array([0.], dtype=float32), 'b': Array([1.], dtype=float32)}
    """
    given = getattr(optimizer, "keywords", {})
    if getattr(optimizer, "func", optimizer) is not by_path:
        inner = given.get("optimizer")
        return gradients if inner is None else without_frozen(inner, gradients)
    rules = given.get("rules", ())
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.zeros_like(leaf) if _rule(_name(path), rules).frozen else leaf,
        gradients,
    )


def by_path(
    learning_rate: optax.ScalarOrSchedule,
    *,
    optimizer: Callable[..., optax.GradientTransformation],
    rules: Sequence[Rule] = (),
    weight_decay: float = 0.0,
    mask: Mask = kernels_only,
) -> optax.GradientTransformationExtraArgs:
    """Treat each parameter as `parameter_table` with the same options says.

    Args:
        learning_rate: a number, or step -> learning rate.
        optimizer: one of `optim`'s, or one that takes its `weight_decay` and `mask`; what is
            frozen it neither sees nor keeps anything of.
        rules: the first one that matches a parameter holds for it.
        weight_decay: coefficient of the weight decay, in the sense of the optimizer.
        mask: tree -> tree of booleans, for parameters whose rule says nothing of decay.

    Returns:
        The transformation. Its `init` raises InputError as `parameter_table` does.

    >>> import jax.numpy as jnp
    >>> from cnn_jax import optim
    >>> params = {"a": jnp.ones(1), "b": jnp.ones(1)}
    >>> tx = by_path(0.5, optimizer=optim.sgd, rules=(Rule("a", frozen=True),))
    >>> updates, _ = tx.update(params, tx.init(params), params)
    >>> optax.apply_updates(params, updates)
    {'a': Array([1.], dtype=float32), 'b': Array([0.5], dtype=float32)}
    """
    ranges.not_negative("weight_decay", weight_decay, remedy="0 is none")

    def labels(tree):
        return jax.tree_util.tree_map_with_path(
            lambda path, _: "frozen" if _rule(_name(path), rules).frozen else "trained", tree
        )

    def decays(tree):  # which has holes where parameters are frozen
        def one(path, masked):
            decay = _rule(_name(path), rules).decay
            return bool(masked) if decay is None else decay

        return jax.tree_util.tree_map_with_path(one, mask(tree))

    def scale(updates):
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: leaf * _rule(_name(path), rules).learning_rate, updates
        )

    inner = optimizer(learning_rate, weight_decay=weight_decay, mask=decays)
    scaled = optax.chain(inner, optax.stateless(lambda updates, _: scale(updates)))
    tx = optax.partition({"trained": scaled, "frozen": optax.set_to_zero()}, labels)

    def init(params):
        parameter_table(params, rules=rules, weight_decay=weight_decay, mask=mask)
        return tx.init(params)

    return optax.GradientTransformationExtraArgs(init, tx.update)


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _any_match(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def _rule(path: str, rules: Sequence[Rule]) -> Rule:
    return next((rule for rule in rules if fnmatchcase(path, rule.pattern)), Rule("*"))


def _check_rules(rules: Sequence[Rule], paths: Sequence[str]) -> None:
    taken: set[str] = set()
    for rule in rules:
        ranges.positive(
            f"learning_rate of {rule.pattern}", rule.learning_rate, remedy="freeze it instead"
        )
        matched = {path for path in paths if fnmatchcase(path, rule.pattern)}
        if not matched:
            word = rule.pattern.replace("*", "")
            near = difflib.get_close_matches(word, paths, n=3, cutoff=0.0)
            raise InputError(
                f"`pattern` (={rule.pattern}) matches no parameter: the nearest are "
                + ", ".join(near)
            )
        if matched <= taken:
            raise InputError(
                f"`pattern` (={rule.pattern}) matches only what an earlier rule has taken, and the "
                "first one holds: write the narrower pattern first"
            )
        taken |= matched
