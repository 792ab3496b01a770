"""Networks that answer together: an average over members, or over views of the image.

Everything is a function `(variables, images) -> logits`, as `model.apply` is one, so that the two
go together, compile, and are evaluated as a model is:

    answer = of_members(with_views(model.apply, (as_it_is, flipped)))
    result = many.run_many(recipe, seeds=range(5))
    eval_step = jax.jit(make_eval_step(Applied(answer), preprocess=preprocess))
    evaluate(eval_step, result.states.averaged_variables, source, batch_size=256)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from cnn_jax import ranges
from cnn_jax.errors import InputError
from cnn_jax.layers.convolution import pad
from cnn_jax.layers.many_kernels import fast_over_kernels
from cnn_jax.soups import check_alike

Apply = Callable[[dict, jax.Array], jax.Array]
Average = Callable[[jax.Array], jax.Array]
View = Callable[[jax.Array], jax.Array]


@dataclass(frozen=True, eq=False)
class Applied:
    """A function in the place of a model, for `make_eval_step`.

    Attributes:
        apply: (variables, images [N, H, W, C]) -> logits [N, K].
    """

    apply: Apply


def average_probabilities(logits: jax.Array) -> jax.Array:
    """Average what the members give each class.

    Lakshminarayanan, Pritzel and Blundell 2017, "Deep Ensembles", section 2.4.

    Args:
        logits: [M, ..., K], of M members.

    Returns:
        float32 [..., K], the logarithm of the mean probability: logits themselves.

    Raises:
        InputError: there is no member, or no class.

    >>> logits = jnp.log(jnp.array([[0.9, 0.1], [0.5, 0.5]]))
    >>> [f"{chance:.2f}" for chance in jnp.exp(average_probabilities(logits))]
    ['0.70', '0.30']
    """
    logits = _members(logits)
    chances = jax.nn.log_softmax(logits)
    return jax.nn.logsumexp(chances, axis=0) - jnp.log(len(logits))


def average_logits(logits: jax.Array) -> jax.Array:
    """Average the members' logits: the geometric mean of their probabilities.

    Args:
        logits: [M, ..., K], of M members.

    Returns:
        float32 [..., K].

    Raises:
        InputError: there is no member, or no class.

    >>> average_logits(jnp.array([[2.0, 0.0], [0.0, 1.0]])).tolist()
    [1.0, 0.5]
    """
    return _members(logits).mean(0)


AVERAGES = {"probabilities": average_probabilities, "logits": average_logits}


def stacked(variables: Sequence[dict]) -> dict:
    """Put the variables of several networks into one tree, for `of_members`.

    Args:
        variables: of each network; all of one structure.

    Returns:
        A tree like each, with a leading axis.

    Raises:
        InputError: there are none, or they differ in structure or shapes.

    >>> jax.tree.map(jnp.shape, stacked([{"params": {"bias": jnp.ones(3)}}] * 2))
    {'params': {'bias': (2, 3)}}
    """
    check_alike(variables)
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *variables)


def of_members(apply: Apply, *, average: Average = average_probabilities) -> Apply:
    """Make the function of many networks of one architecture, in one program.

    Args:
        apply: `model.apply`, or a function of it.
        average: logits [M, N, K] -> [N, K].

    Returns:
        The function; its variables have a leading axis, as those of `stacked`, or
        `result.states.averaged_variables` of `many.run_many`.

    >>> from cnn_jax import create_model
    >>> model, images = create_model("mlp", num_classes=3), jnp.ones((2, 4, 4, 1))
    >>> variables = [model.init(jax.random.key(seed), images) for seed in range(5)]
    >>> jax.jit(of_members(model.apply))(stacked(variables), images).shape
    (2, 3)
    """
    together = fast_over_kernels(jax.vmap(apply, in_axes=(0, None)))
    return lambda variables, images: average(together(variables, images))


def with_views(
    apply: Apply, views: Sequence[View], *, average: Average = average_probabilities
) -> Apply:
    """Make the function of several views of each image: test-time augmentation.

    Krizhevsky, Sutskever and Hinton 2012, "ImageNet Classification", section 4.1.

    Args:
        apply: `model.apply`, or a function of it.
        views: functions [N, H, W, C] -> [N, h, w, C] of images as the model gets them, all to the
            same size.
        average: logits [V, N, K] -> [N, K].

    Returns:
        The function.

    Raises:
        InputError: there is no view; or, when it is called, they are not of one size.

    >>> answer = with_views(lambda variables, images: images[:, 0, :, 0], (as_it_is, flipped),
    ...                     average=average_logits)
    >>> answer({}, jnp.array([[[[1.0], [3.0]]]])).tolist()
    [[2.0, 2.0]]
    """
    if not len(views):
        raise InputError("`views` (=()) must be one at least: (as_it_is, flipped) for instance")

    def answer(variables: dict, images: jax.Array) -> jax.Array:
        seen = [view(images) for view in views]
        shapes = {one.shape for one in seen}
        if len(shapes) > 1:
            raise InputError(
                f"`views` make images of {' and '.join(map(str, sorted(shapes)))}: they must all "
                "be of one size"
            )
        # As one batch, so that the network is in the program once.
        logits = apply(variables, jnp.concatenate(seen))
        return average(logits.reshape(len(views), len(images), *logits.shape[1:]))

    return answer


def as_it_is(images: jax.Array) -> jax.Array:
    """The view that changes nothing."""
    return images


def flipped(images: jax.Array) -> jax.Array:
    """Mirror images, left to right: [N, H, W, C] -> [N, H, W, C]."""
    return images[:, :, ::-1]


def shifted(images: jax.Array, *, down: int, right: int, mode: str = "edge") -> jax.Array:
    """Shift images; where they leave something free, the border is repeated.

    Args:
        images: float [N, H, W, C].
        down: pixels; up where negative.
        right: pixels; to the left where negative.
        mode: what comes in, as for `cnn_jax.layers.pad`; edge is the border.

    Returns:
        [N, H, W, C].

    Raises:
        InputError: the mode is unknown, or reflect or wrap finds too few pixels.

    >>> shifted(jnp.arange(4.0).reshape(1, 1, 4, 1), down=0, right=1).ravel().tolist()
    [0.0, 0.0, 1.0, 2.0]
    """
    rows, columns = ((max(by, 0), max(-by, 0)) for by in (down, right))
    height, width = images.shape[1:3]
    padded = pad(images, (rows, columns), mode=mode)
    return padded[:, rows[1] : rows[1] + height, columns[1] : columns[1] + width]


def shifts(pixels: int) -> tuple[View, ...]:
    """Make the view that changes nothing, and those of a shift up, down, left and right.

    Args:
        pixels: how far.

    Returns:
        Five views.

    Raises:
        InputError: `pixels` is below 1.
    """
    ranges.whole("pixels", pixels, remedy="1 for instance")
    ways = ((-pixels, 0), (pixels, 0), (0, -pixels), (0, pixels))
    return as_it_is, *(partial(shifted, down=down, right=right) for down, right in ways)


def mirrored_too(views: Sequence[View]) -> tuple[View, ...]:
    """Add the mirror image of each view.

    >>> len(mirrored_too(shifts(1)))
    10
    """
    return *views, *(lambda images, view=view: flipped(view(images)) for view in views)


def ten_crops(height: int, width: int) -> tuple[View, ...]:
    """Make the views of the four corners and the middle, and their mirror images.

    Krizhevsky, Sutskever and Hinton 2012, section 4.1.

    Args:
        height: of the crops, in pixels; that of the images at most.
        width: the same.

    Returns:
        Ten views.

    Raises:
        InputError: a side is below 1; or, when a view is called, above the image's.
    """
    ranges.whole("height", height, remedy="224 for images of 256 for instance")
    ranges.whole("width", width, remedy="224 for images of 256 for instance")

    def crop(images: jax.Array, *, down: float, right: float) -> jax.Array:
        free = images.shape[1] - height, images.shape[2] - width
        if min(free) < 0:
            raise InputError(
                f"crops of {height}x{width} are larger than the images, "
                f"{images.shape[1]}x{images.shape[2]}: take smaller ones"
            )
        top, left = round(down * free[0]), round(right * free[1])
        return images[:, top : top + height, left : left + width]

    ways = ((0, 0), (0, 1), (1, 0), (1, 1), (0.5, 0.5))
    return mirrored_too([partial(crop, down=down, right=right) for down, right in ways])


def _members(logits: jax.Array) -> jax.Array:
    logits = jnp.asarray(logits, jnp.float32)
    if logits.ndim < 2 or not logits.shape[0] or not logits.shape[-1]:
        raise InputError(
            f"`logits` {logits.shape} must be [M, ..., K], of one member and one class at least"
        )
    return logits
