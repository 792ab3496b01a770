"""Evaluation: every image counted exactly once."""

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from cnn_jax.data import Source
from cnn_jax.data.batches import Batch, eval_batches
from cnn_jax.evaluate.calibration import softmax
from cnn_jax.metrics import Tally


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a network makes of a source.

    Attributes:
        tally: losses and correct predictions, summed over all images.
        logits: float32 [N, K], what the network answers to each image.
    """

    tally: Tally
    logits: np.ndarray

    @property
    def predictions(self) -> np.ndarray:
        """The most probable class of each image; of equal ones the first. int64 [N]."""
        return self.logits.argmax(-1)

    @functools.cached_property
    def probabilities(self) -> np.ndarray:
        """What each class is given, the softmax of the logits. float64 [N, K]."""
        return softmax(self.logits)

    @property
    def confidences(self) -> np.ndarray:
        """The probability of the most probable class. float64 [N]."""
        return self.probabilities.max(-1)


def evaluate(
    eval_step: Callable,
    variables: dict,
    source: Source,
    *,
    batch_size: int,
    place: Callable[[Batch], Batch] = lambda batch: batch,
    part: tuple[int, int] = (0, 1),
    progressed: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Evaluate a network on a source.

    Args:
        eval_step: a compiled `make_eval_step`.
        variables: parameters and statistics of the network.
        source: the images.
        batch_size: images in a batch; a ragged last batch is filled up and masked.
        place: brings a batch, or this process's part of it, to the devices.
        part: (k, n) for the k-th of n processes that evaluate together.
        progressed: called after each batch.

    Returns:
        The evaluation.
    """
    results = (
        eval_step(variables, place(batch))
        for batch in eval_batches(source, batch_size=batch_size, part=part)
    )
    tally, logits = Tally(), []
    for result in _lagging(results):
        tally += Tally(float(result["loss"]), int(result["correct"]), int(result["count"]))
        logits.append(np.asarray(result["logits"], np.float32))
        progressed()
    # What fills up the last batch comes last.
    return Evaluation(tally, np.concatenate(logits)[: len(source)])


def _lagging(items: Iterable, *, by: int = 4) -> Iterator:
    """Yield items late, so that the devices have work while the host waits for a result."""
    waiting = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) > by:
            yield waiting.popleft()
    yield from waiting
