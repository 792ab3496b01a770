"""Soups: one network whose weights are the average of several networks' weights.

It costs what one network costs. The networks must lie in one valley of the loss: fine-tuned from
the same weights, or taken from one run. Networks that began at different random weights do not,
and their average knows nothing. The running statistics of BatchNorm are averaged as well, which
they are not in truth when the weights differ much: what one layer sends on is not the average of
what it sent. Where a soup disappoints, gather the statistics anew (Izmailov et al. 2018, "Averaging
Weights Leads to Wider Optima", section 3.2).
"""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from cnn_jax.errors import InputError


def soup(variables: Sequence[dict], *, weights: Sequence[float] | None = None) -> dict:
    """Average the weights of networks: the uniform soup, or one with weights.

    Wortsman et al. 2022, "Model soups", section 2, table 2. Averages are taken in float64; that of
    one network is the network, bit by bit.

    Args:
        variables: parameters and statistics of each network; all of one structure.
        weights: of the networks, 0 or above, in any unit; None for equal ones.

    Returns:
        A tree like each, of NumPy arrays of the same types.

    Raises:
        InputError: there are no networks, they differ in structure or shapes, or the weights are
            not one for each, 0 or above, and not all 0.

    >>> soup([{"params": {"bias": np.float32([1, 4])}}, {"params": {"bias": np.float32([3, 0])}}])
    {'params': {'bias': array([2., 2.], dtype=float32)}}
    """
    check_alike(variables)
    given = np.ones(len(variables)) if weights is None else np.asarray(weights, np.float64)
    if given.shape != (len(variables),) or not np.all(given >= 0) or not 0 < given.sum() < np.inf:
        raise InputError(
            f"`weights` (={weights}) must be {len(variables)} numbers of at least 0, one for each "
            "network, and not all 0"
        )
    # So that one alone is multiplied by 1 and divided by 1.
    given = given / given.max()

    def average(*leaves: np.ndarray) -> np.ndarray:
        first, total = np.asarray(leaves[0]), 0.0
        for weight, leaf in zip(given, leaves, strict=True):
            if weight:
                total = total + weight * np.asarray(leaf).astype(np.float64)
        return np.asarray(total / given.sum()).astype(first.dtype)

    return jax.tree.map(average, *jax.device_get(list(variables)))


def greedy_soup(
    variables: Sequence[dict], *, score: Callable[[dict], float]
) -> tuple[dict, tuple[int, ...]]:
    """Average the weights of those networks that together score best, added one by one.

    The best network alone comes first; each next one, in the order of their scores, is taken in
    where the soup does not get worse. Wortsman et al. 2022, "Model soups", recipe 1.

    Args:
        variables: parameters and statistics of each network; all of one structure.
        score: variables -> a number, the higher the better: the accuracy on validation images,
            not on those that the soup is tested on.

    Returns:
        The soup, and which networks are in it, in the order in which they were taken.

    Raises:
        InputError: there are no networks, they differ, or a network's score is NaN.

    >>> networks = [{"params": {"x": np.float32(x)}} for x in (0.0, 3.0, 5.0, 9.0)]
    >>> best, taken = greedy_soup(networks, score=lambda tree: -abs(tree["params"]["x"] - 4))
    >>> float(best["params"]["x"]), taken
    (4.0, (1, 2))
    """
    check_alike(variables)
    scores = [float(score(each)) for each in variables]
    if any(np.isnan(scores)):
        raise InputError(
            f"`score` of network {int(np.isnan(scores).argmax())} is NaN: leave out networks that "
            "have diverged"
        )
    first, *others = sorted(range(len(variables)), key=lambda number: -scores[number])
    taken, best = (first,), scores[first]
    for number in others:
        with_it = score(soup([variables[k] for k in (*taken, number)]))
        if with_it >= best:
            taken, best = (*taken, number), with_it
    return soup([variables[k] for k in taken]), taken


def check_alike(variables: Sequence[dict]) -> None:
    """Require variables of networks of one architecture.

    Args:
        variables: parameters and statistics of each network.

    Raises:
        InputError: there are none, or one differs from the first in a name or a shape.
    """
    if not len(variables):
        raise InputError("`variables` (=()) are of no network: give those of one at least")
    shapes = [
        {path: np.shape(leaf) for path, leaf in flatten_dict(dict(each), sep="/").items()}
        for each in variables
    ]
    for number, other in enumerate(shapes[1:], 1):
        for path in sorted({**shapes[0], **other}):
            if path not in other or path not in shapes[0]:
                lacking, having = (number, 0) if path in shapes[0] else (0, number)
                raise InputError(
                    f"`variables` of network {lacking} lack {path}, which network {having} has: "
                    "average runs of one architecture"
                )
            if other[path] != shapes[0][path]:
                raise InputError(
                    f"`variables` of network {number} have {path} of shape {other[path]}, and "
                    f"network 0 of shape {shapes[0][path]}: average runs of one architecture"
                )
