"""ResNet-18 for small images on Fashion-MNIST: for a GPU.

    apt-get install dataset-fashion-mnist
    python experiments/fashion_mnist_resnet18.py

The aim is 94.9 % test accuracy. It could not be measured: there was no GPU where this was written.
A shrunk copy is trained by the tests.
"""

from functools import partial

from cnn_jax import augment, create_model, losses, one_cycle, optim
from cnn_jax.cli import experiment
from cnn_jax.recipe import Recipe


def make_recipe(data, *, epochs: int = 30, seed: int = 0) -> Recipe:
    """Make the recipe: SGD, one cycle, bfloat16, mirrored, shifted and partly erased images."""
    return Recipe(
        model=create_model(
            "resnet18_cifar", num_classes=data.num_classes, in_channels=1, image_size=28
        ),
        data=data,
        optimizer=partial(optim.sgd, momentum=0.9, nesterov=True, weight_decay=5e-4),
        schedule=partial(one_cycle.one_cycle, learning_rate=0.2),
        loss=partial(losses.cross_entropy, smoothing=0.1),
        augment=(
            augment.random_flip,
            partial(augment.shifted_crop, padding=2),
            augment.random_erasing,
        ),
        precision="bfloat16",
        epochs=epochs,
        batch_size=128,
        seed=seed,
    )


if __name__ == "__main__":
    experiment(make_recipe, data="/usr/share/datasets/fashion-mnist", name="fashion_mnist_resnet18")
