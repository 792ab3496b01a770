"""The small CNN on CIFAR-10: where courses begin with colour photographs.

    python experiments/cifar10_simple_cnn.py --data cifar10-jpeg.zip
    python experiments/cifar10_simple_cnn.py --data tfds:cifar10

Measured on 2 CPU cores that other work shared, on CIFAR-10's images as JPEG files of quality 75:
68.23 % test accuracy after 8 epochs (`--epochs 8`) in 480 s; the 20 epochs of the recipe have not
been run.
"""

from functools import partial

from cnn_jax import augment, create_model, optim, schedules
from cnn_jax.cli import experiment
from cnn_jax.recipe import Recipe


def make_recipe(data, *, epochs: int = 20, seed: int = 0) -> Recipe:
    """Make the recipe: Adam and a cosine, images mirrored and shifted by up to 4 pixels."""
    return Recipe(
        model=create_model("simple_cnn", num_classes=data.num_classes),
        data=data,
        optimizer=partial(optim.adam, weight_decay=1e-4),
        schedule=partial(schedules.cosine, learning_rate=1e-3),
        augment=(augment.random_flip, partial(augment.shifted_crop, padding=4)),
        epochs=epochs,
        batch_size=64,
        seed=seed,
    )


if __name__ == "__main__":
    experiment(make_recipe, data="tfds:cifar10", name="cifar10_simple_cnn")
