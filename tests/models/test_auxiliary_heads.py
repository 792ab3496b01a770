"""The auxiliary heads of the Inception networks, which only training uses.

Everything is in training mode, so batch statistics are compared too.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models import create_model
from cnn_jax.models.inception_v3 import AuxiliaryHead
from tests import parity
from tests.models.parity_rows_classic import ROWS
from tests.parity import torch, torchvision

_ROWS = {row.variant: row for row in ROWS}


def _without_dropout(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model.train()


def _for_small_images(head):
    """Give torchvision's head the pooling that ours has for maps below 17x17."""

    def forward(x):
        x = torch.nn.functional.adaptive_avg_pool2d(x, 5)
        return head.fc(head.conv1(head.conv0(x)).flatten(1))

    head.forward = forward


@pytest.mark.parametrize(
    ("variant", "heads", "options"),
    [
        ("googlenet", ("aux2", "aux1"), {"drop_rate": 0.0, "auxiliary_drop_rate": 0.0}),
        ("inception_v3", ("AuxLogits",), {"drop_rate": 0.0}),
    ],
)
def test_training_gives_pytorchs_logits_and_statistics(variant, heads, options):
    row = _ROWS[variant]
    torch_model = _without_dropout(parity.randomise(row.build()))
    if variant == "inception_v3":
        _for_small_images(torch_model.AuxLogits)
    model = create_model(variant, **options)
    # A copy: training changes the tensors of the state in place.
    variables = jax.tree.map(
        np.copy, parity.to_variables(row.translate(parity.numpy_state(torch_model)))
    )
    # Of four images, the last maps leave BatchNorm four values a channel, whose deviation may be so
    # small that both frameworks end 7e-4 off what float64 gives.
    images = parity.random_images(row.image_size, count=8)

    with torch.no_grad():
        theirs = [logits.numpy() for logits in torch_model(parity.to_torch(images))]
    logits, updates = parity.jax.jit(
        lambda variables, images: model.apply(
            variables, images, train=True, mutable=["batch_stats", "auxiliary"]
        )
    )(variables, images)

    ours = [logits, *(updates["auxiliary"][head] for head in heads)]
    for our_logits, their_logits in zip(ours, theirs, strict=True):
        assert parity.relative_difference(np.asarray(our_logits), their_logits) < 1e-3
    after = parity.to_variables(row.translate(parity.numpy_state(torch_model)))
    assert parity.gradient_difference(updates["batch_stats"], after["batch_stats"]) < 1e-3


def test_the_head_of_inception_v3_is_torchvisions_at_full_size():
    torch_head = parity.randomise(torchvision.models.inception.InceptionAux(768, 10))
    maps = np.random.default_rng(0).normal(size=(2, 17, 17, 768)).astype(np.float32)
    ours = AuxiliaryHead(10).apply(
        parity.to_variables(parity.numpy_state(torch_head)), maps, train=False
    )
    with torch.no_grad():
        theirs = torch_head(parity.to_torch(maps)).numpy()
    assert parity.relative_difference(np.asarray(ours), theirs) < 1e-4


@pytest.mark.parametrize("variant", ["googlenet", "inception_v3"])
def test_heads_are_made_by_initialisation_unless_left_out(variant):
    heads = {"aux1", "aux2", "AuxLogits"}

    def parameters(**options):
        model = create_model(variant, **options)
        images = jnp.zeros((1, 96, 96, 3))
        return set(jax.eval_shape(model.init, jax.random.key(0), images)["params"])

    assert parameters() & heads
    assert not parameters(auxiliary=False) & heads
    assert not parameters(num_classes=0) & heads
