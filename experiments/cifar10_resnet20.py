"""ResNet-20 on CIFAR-10 as its paper trains it (He et al. 2016, section 4.2): 91.25 % there.

    python experiments/cifar10_resnet20.py --data tfds:cifar10
    python experiments/cifar10_resnet20.py --data cifar10-jpeg.zip --epochs 8

SGD at 0.1 with momentum 0.9 and a decay of 1e-4, batches of 128, the rate divided by 10 after
32,000 and 48,000 of 64,000 steps, images mirrored and shifted by up to 4 pixels. 64,000 steps are
182 epochs of the 45,000 images that are left without the validation images. Fewer epochs shorten
the whole schedule in proportion.

Measured on 2 CPU cores that much other work shared, on CIFAR-10's images as JPEG files of quality
75 and with the schedule shortened to 4 epochs (1,410 steps): 69.78 % test accuracy (validation
69.75 %) in 917 s. A step takes about 0.43 s with the cores to itself, so that the full 64,000 would
take an estimated 7.6 hours; they have not been run.
"""

from functools import partial

from cnn_jax import augment, create_model, optim, schedules
from cnn_jax.cli import experiment
from cnn_jax.recipe import Recipe


def make_recipe(data, *, epochs: int = 182, seed: int = 0) -> Recipe:
    """Make the recipe."""
    return Recipe(
        model=create_model("resnet20_cifar", num_classes=data.num_classes),
        data=data,
        optimizer=partial(optim.sgd, momentum=0.9, weight_decay=1e-4),
        schedule=partial(schedules.multi_step, learning_rate=0.1, milestones=(0.5, 0.75)),
        augment=(augment.random_flip, partial(augment.shifted_crop, padding=4)),
        epochs=epochs,
        batch_size=128,
        seed=seed,
    )


if __name__ == "__main__":
    experiment(make_recipe, data="tfds:cifar10", name="cifar10_resnet20")
