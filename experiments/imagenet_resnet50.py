"""ResNet-50 on ImageNet: as in 2017, and with what was learnt since. For accelerators.

    python experiments/imagenet_resnet50.py --data imagenet/ --recipe classic
    python experiments/imagenet_resnet50.py --data imagenet/ --recipe modern

`imagenet/` holds train/CLASS/*.JPEG and test/CLASS/*.JPEG. `classic`: 90 epochs, SGD at 0.1 for 256
images, divided by 10 at epochs 30, 60 and 80, after a warm-up of 5 (Goyal et al. 2017, sections
2.2 and 5.1, whose ResNet-50 has 23.6 % error). `modern`: 100 epochs of a cosine at 0.5 for 1,024
images, smoothed labels, TrivialAugment, erasing, Mixup or CutMix, parameters averaged.

One thing differs from the paper's: files of several sizes are first brought to one, 224x224 by
default (the shorter side to 224, then the middle), and random crops are taken from that, where the
paper takes them from the whole photograph. What lies beyond the middle square is never seen, a
small crop has fewer pixels to be enlarged from, and the test is on that whole square, where the
paper's takes 224 of 256 pixels (0.875). `--image-size 256` crops from, trains and tests on 256x256.

Measured: nothing. There was neither ImageNet nor an accelerator where this was written; a shrunk
copy of each recipe is trained by the tests. By the multiply-adds, 90 epochs on two CPU cores would
take about a year.
"""

from functools import partial

from cnn_jax import augment, averaging, create_model, losses, optim, schedules
from cnn_jax.cli import experiment
from cnn_jax.recipe import Recipe


def classic(data, *, epochs: int = 90, seed: int = 0) -> Recipe:
    """Make the recipe of 2017."""
    falling = partial(
        schedules.multi_step, learning_rate=0.1, milestones=(25 / 85, 55 / 85, 75 / 85)
    )
    return Recipe(
        model=create_model("resnet50", num_classes=data.num_classes, zero_init_last=True),
        data=data,
        optimizer=partial(optim.sgd, momentum=0.9, nesterov=True, weight_decay=1e-4),
        schedule=partial(schedules.warmup, schedule=falling, steps=5 / 90, start=0.1),
        augment=(augment.random_resized_crop, augment.random_flip),
        precision="bfloat16",
        epochs=epochs,
        batch_size=256,
        seed=seed,
    )


def modern(data, *, epochs: int = 100, seed: int = 0) -> Recipe:
    """Make the recipe with what was learnt since."""
    falling = partial(schedules.cosine, learning_rate=0.5)
    momentum = partial(optim.sgd, momentum=0.9, weight_decay=5e-5)
    return Recipe(
        model=create_model("resnet50", num_classes=data.num_classes, zero_init_last=True),
        data=data,
        optimizer=partial(averaging.ema, decay=0.9998, optimizer=momentum),
        schedule=partial(schedules.warmup, schedule=falling, steps=0.05),
        loss=partial(losses.cross_entropy, smoothing=0.1),
        augment=(
            partial(augment.random_resized_crop, scale=(0.25, 1.0)),
            augment.random_flip,
            augment.trivial_augment,
            partial(augment.random_erasing, probability=0.1),
        ),
        mix=partial(augment.mix_one_of, mixers=(augment.mixup, augment.cutmix), chances=(0.5, 0.5)),
        precision="bfloat16",
        epochs=epochs,
        batch_size=1024,
        seed=seed,
    )


RECIPES = {"classic": classic, "modern": modern}

if __name__ == "__main__":
    experiment(RECIPES, data="imagenet", name="imagenet_resnet50")
