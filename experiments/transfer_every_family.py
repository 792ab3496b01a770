"""Every family is fine-tuned: a new head, a step of each strategy, saved, loaded, asked again.

    python experiments/transfer_every_family.py

For the smallest network of each family, with weights as drawn: a head for three classes takes the
place of its own; of each strategy the last stage takes one step; what the plan calls frozen must be
the same bits, and all else must have moved; saved as safetensors and loaded into a new network,
the logits must be the same.

Measured on 2 CPU cores: all stayed, moved and came back as it must for all networks but
densenet121, densenet_bc_100_12_cifar, efficientnet_v2_s, googlenet and inception_v3, which take
longest to compile and have not been run to the end; 5 to 60 s each.
"""

import sys
import tempfile
from pathlib import Path

import click
import jax
import numpy as np
from flax.traverse_util import flatten_dict
from rich.console import Console
from rich.table import Table

from cnn_jax import create_model, load_weights, make_train_step, models, optim, save_weights
from cnn_jax.cli import call
from cnn_jax.models.heads import replace_head
from cnn_jax.state import init_state
from cnn_jax.transfer import (
    Stage,
    feature_extraction,
    fine_tuning,
    gradual_unfreezing,
    layer_wise_decay,
    trained_in,
)

# The smallest of each module, and pixels of an image that it takes.
NETWORKS = {
    "alexnet": 63, "alexnet_2012": 63, "convnext_tiny": 32, "densenet121": 32,
    "densenet_bc_100_12_cifar": 8, "efficientnet_b0": 32, "efficientnet_v2_s": 32,
    "googlenet": 32, "inception_v3": 80, "lenet5": 28, "mlp": 8, "mnasnet0_5": 32,
    "mobilenet_v1_025": 32, "mobilenet_v2_050": 32, "mobilenet_v3_small": 32,
    "preactresnet18_cifar": 8, "regnet_y_400mf": 32, "resnet18": 32, "resnet20_cifar": 8,
    "shufflenet_v2_x0_5": 32, "simple_cnn": 16, "squeezenet1_1": 32, "three_block_cnn": 16,
    "vgg11": 32, "vit_tiny_patch16": 32, "wrn_16_4_cifar": 8,
}  # fmt: skip
IMAGES, CLASSES = 4, 3


def stages_of(model, shape: tuple[int, int, int]) -> dict[str, Stage]:
    """Take the last stage of each strategy; of gradual unfreezing the second."""
    given = {"image_shape": shape}
    return {
        "feature extraction": feature_extraction(1)[-1],
        "fine-tuning": fine_tuning(model, 1, **given)[-1],
        "layer-wise decay": layer_wise_decay(model, 1, **given)[-1],
        "gradual unfreezing": gradual_unfreezing(model, 1, groups=2, **given)[-1],
    }


def tried(name: str, size: int) -> dict[str, str]:
    """Fine-tune a network by every strategy.

    Args:
        name: of the model.
        size: pixels of the images.

    Returns:
        Strategy -> parameters moved of all; what went wrong is raised as an AssertionError.
    """
    made = models.create_model(name)
    shape = (size, size, made.in_channels)
    made = made.clone(image_size=size)
    drawn = jax.jit(made.init)(jax.random.key(0), np.zeros((1, *shape), np.float32))
    model, variables = replace_head(
        made, drawn, jax.random.key(1), num_classes=CLASSES, image_shape=shape
    )
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.random((IMAGES, *shape), np.float32),
        "label": np.arange(IMAGES, dtype=np.int32) % CLASSES,
    }
    apply, moved = jax.jit(model.apply), {}
    for strategy, stage in stages_of(model, shape).items():
        trained, tx = trained_in(stage, model, image_shape=shape), optim.adamw(1e-3)
        state = init_state(
            model, tx, jax.random.key(2), image_shape=shape, variables=variables, trained=trained
        )
        after, metrics = jax.jit(make_train_step(model, tx, trained=trained))(state, batch)
        assert np.isfinite(metrics["loss"]), (name, strategy)
        before, now = (flatten_dict(tree, sep="/") for tree in (state.params, after.params))
        changed = {path for path in before if np.any(before[path] != now[path])}
        assert changed <= trained.factors.keys(), (name, strategy)
        assert len(changed) > len(trained.factors) / 2, (name, strategy)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tuned.safetensors"
            save_weights(after.variables, path)
            new = create_model(name, num_classes=CLASSES).clone(image_size=size)
            loaded = load_weights(new, path, image_shape=shape)
        logits, again = (apply(each, batch["image"]) for each in (after.variables, loaded))
        np.testing.assert_array_equal(logits, again, err_msg=f"{name}, {strategy}")
        count = sum(now[path].size for path in trained.factors)
        moved[strategy] = f"{count:,}"
    moved["of"] = f"{sum(leaf.size for leaf in jax.tree.leaves(variables['params'])):,}"
    return moved


@click.command(context_settings={"show_default": True}, help=__doc__)
@click.argument("names", nargs=-1)
def main(names: tuple[str, ...]) -> None:
    """Try NAMES, or all."""
    table = Table(title="Parameters trained; all else stayed to the bit", title_justify="left")
    table.add_column("network")
    for name in names or NETWORKS:
        found = tried(name, NETWORKS[name])
        if len(table.columns) == 1:
            for column in found:
                table.add_column(column, justify="right")
        table.add_row(name, *found.values())
        print(name, *found.values(), file=sys.stderr, flush=True)
    Console(width=120).print(table)


if __name__ == "__main__":
    sys.exit(call(main))
