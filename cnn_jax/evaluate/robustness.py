"""Accuracy on corrupted images."""

from collections.abc import Callable, Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax import ranges
from cnn_jax.data import Source, Subset
from cnn_jax.data.batches import eval_batches
from cnn_jax.errors import InputError, nearest
from cnn_jax.evaluate.corruptions import (
    CORRUPTIONS,
    SEVERITIES,
    check_severity,
    corrupt,
    corruption_names,
)
from cnn_jax.ranking_metrics import mean_where_defined
from cnn_jax.steps import to_float


def corruption_accuracy(
    eval_step: Callable,
    variables: dict,
    source: Source,
    *,
    names: Sequence[str] | None = None,
    severities: Iterable[int] = range(SEVERITIES + 1),
    limit: int | None = None,
    batch_size: int = 256,
    seed: int = 0,
) -> list[dict]:
    """Measure a network's accuracy under each corruption and severity.

    Each batch is read once, and corrupted on the device. A corruption is compiled once for all
    severities, and the network once for all of them.

    Args:
        eval_step: a compiled `make_eval_step`.
        variables: parameters and statistics of the network.
        source: the images.
        names: of `CORRUPTIONS`; None for those that change images of as many channels.
        severities: 0, which is the images as they are, to 5.
        limit: how many images, evenly spread over the source; None for all.
        batch_size: images in a batch.
        seed: of the corruptions.

    Returns:
        A record for each name and severity, in this order: `corruption`, `family`, `severity`,
        `images`, `correct` and `accuracy` (None for no images).

    Raises:
        InputError: there is no such corruption or severity, it takes no images of as many channels,
            or an option is out of range.
    """
    names = _checked_names(names, channels=source.image_shape[-1])
    severities = list(severities)
    for severity in severities:
        check_severity(severity)
    source = _spread(source, limit)
    root = jax.random.key(seed)
    # A key for each corruption, whichever others are measured.
    keys = {name: jax.random.fold_in(root, list(CORRUPTIONS).index(name)) for name in names}

    spoil = jax.jit(corrupt, static_argnames="name")
    correct = {(name, severity): 0 for name in names for severity in severities}
    for number, batch in enumerate(eval_batches(source, batch_size=batch_size)):
        images = to_float(jnp.asarray(batch["image"]))
        identities = number * batch_size + np.arange(batch_size, dtype=np.int32)
        results = {None: eval_step(variables, {**batch, "image": images})["correct"]}
        for name, severity in correct:
            if severity:
                spoilt = spoil(
                    keys[name], images, name=name, severity=jnp.int32(severity),
                    identities=identities,
                )  # fmt: skip
                result = eval_step(variables, {**batch, "image": spoilt})
                results[name, severity] = result["correct"]
        for name, severity in correct:
            correct[name, severity] += int(results[(name, severity) if severity else None])
    images = len(source)
    return [
        {
            "corruption": name,
            "family": CORRUPTIONS[name].family,
            "severity": severity,
            "images": images,
            "correct": count,
            "accuracy": count / images if images else None,
        }
        for (name, severity), count in correct.items()
    ]


def mean_accuracy(
    records: Iterable[dict], *, family: str | None = None, severity: int | None = None
) -> float:
    """Average accuracies under corruption, each corruption and severity alike.

    Args:
        records: of `corruption_accuracy`.
        family: of corruptions; None for all.
        severity: None for all but 0: the mean corruption accuracy.

    Returns:
        The mean, 0 to 1; NaN for none.

    >>> records = [{"family": "blur", "severity": k, "accuracy": 0.9 - 0.1 * k} for k in range(3)]
    >>> round(mean_accuracy(records), 3), round(mean_accuracy(records, severity=2), 3)
    (0.75, 0.7)
    """
    chosen = [
        np.nan if record["accuracy"] is None else record["accuracy"]
        for record in records
        if family in (None, record["family"])
        and (record["severity"] > 0 if severity is None else record["severity"] == severity)
    ]
    return mean_where_defined(np.array(chosen, np.float64))


def _checked_names(names: Sequence[str] | None, *, channels: int) -> tuple[str, ...]:
    if names is None:
        return corruption_names(channels)
    for name in names:
        if name not in CORRUPTIONS:
            raise InputError(f"`name` (={name!r}) is no corruption: {nearest(name, CORRUPTIONS)}")
        if not CORRUPTIONS[name].takes(channels):
            raise InputError(
                f"`name` (={name!r}) takes images of 1 or 3 channels, and these have {channels}: "
                "leave it out"
            )
    return tuple(dict.fromkeys(names))


def _spread(source: Source, limit: int | None) -> Source:
    """Take some images from all over a source, which may be in the order of the classes."""
    if limit is None:
        return source
    ranges.whole("limit", limit, remedy="leave it out for all images")
    count = min(limit, len(source))
    return Subset(source, np.arange(count, dtype=np.int64) * len(source) // max(count, 1))
