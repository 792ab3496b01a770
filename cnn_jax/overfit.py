"""Whether a network can learn one batch by heart: the first test of a recipe."""

from dataclasses import dataclass, replace
from functools import partial

from cnn_jax import ranges, schedules
from cnn_jax.data import ArraySource
from cnn_jax.data.batches import train_batch
from cnn_jax.data.statistics import channel_statistics
from cnn_jax.recipe import Recipe, check
from cnn_jax.train import make_engine


@dataclass(frozen=True)
class Overfit:
    """What came of training on one batch.

    Attributes:
        losses: of each step, but for the overflows of float16, which take none.
        accuracy: on the batch afterwards, in evaluation mode.
        images: in the batch.
    """

    losses: tuple[float, ...]
    accuracy: float
    images: int

    @property
    def learnt(self) -> bool:
        """Whether every image of the batch is classified as its label says."""
        return self.accuracy == 1.0


def overfit_batch(recipe: Recipe, *, steps: int = 200) -> Overfit:
    """Train on the first batch alone, at the highest rate, without augmentation and mixing.

    A network, loss and optimizer that fit together learn a batch by heart. One that does not has a
    defect, or too low or too high a learning rate.

    Args:
        recipe: the recipe; its schedule is replaced by the highest rate that it comes to.
        steps: how often the batch is shown.

    Returns:
        The losses and the accuracy.

    Raises:
        InputError: the recipe cannot be run, or `steps` is no whole number of at least 1.
    """
    ranges.whole("steps", steps, remedy="200 is usual")
    check(recipe)
    normalization = recipe.normalization or channel_statistics(recipe.data.train)
    batch = train_batch(recipe.data.train, recipe.seed, 0, batch_size=recipe.batch_size)
    rates = recipe.schedule(steps)
    highest = max(float(rates(step)) for step in range(steps))
    engine = make_engine(
        replace(
            recipe,
            normalization=normalization,
            augment=(),
            mix=None,
            schedule=partial(schedules.constant, learning_rate=highest),
        )
    )
    state, losses = engine.fresh_state(), []
    placed = engine.place(batch)
    for _ in range(steps):
        state, metrics = engine.train_step(state, placed)
        if metrics["count"]:  # else an overflow of float16
            losses.append(float(metrics["loss"] / metrics["count"]))
    source = ArraySource(batch["image"], batch["label"])
    evaluation = engine.evaluate(state.variables, source)
    return Overfit(tuple(losses), evaluation.tally.accuracy, len(source))
