"""Loading is strict both ways; the two things that may differ differ on the caller's word."""

import jax
import numpy as np
import pytest

from cnn_jax import models
from cnn_jax.errors import InputError
from cnn_jax.weights import WeightsMismatch, load_weights, save_weights
from cnn_jax.weights.stem import adapt_stem
from tests.weights.random_weights import differing, random_variables, small_model, small_state


@pytest.fixture
def save(tmp_path):
    """Writes a `state_dict` and returns its path."""

    def write(state):
        np.savez(tmp_path / "w.npz", **state)
        return tmp_path / "w.npz"

    return write


def test_all_that_differs_is_listed_at_once(save):
    state = small_state()
    state["conv9.weight"] = state.pop("conv2.weight")
    state["fc2.weight"] = state["fc2.weight"][:, :7]
    state["fc2.bias"] = state["fc2.bias"].astype(np.int64)
    del state["fc1.bias"]
    with pytest.raises(WeightsMismatch) as caught:
        load_weights(small_model(), save(state))
    error = caught.value
    assert sorted(error.missing) == ["conv2.weight", "fc1.bias"]
    assert error.unexpected == ["conv9.weight"]
    assert sorted(error.mis_shaped) == ["fc2.bias", "fc2.weight"]
    for part in (
        "does not fit LeNet5",
        "2 missing: `conv2.weight`, `fc1.bias`",
        "1 unexpected: `conv9.weight`",
        "`fc2.weight` (84, 7) for (84, 120)",
        "`fc2.bias` of type int64",
    ):
        assert part in str(error)
    assert "\n" not in str(error)


def test_a_long_list_is_shortened_in_the_message_alone(save):
    state = {f"more{k}.bias": np.ones(1, np.float32) for k in range(30)}
    with pytest.raises(WeightsMismatch) as caught:
        load_weights(small_model(), save({**small_state(), **state}))
    assert len(caught.value.unexpected) == 30
    assert "30 unexpected: `more0.bias`" in str(caught.value)
    assert "and 10 more" in str(caught.value)


def test_weights_of_another_architecture_are_called_so(save):
    with pytest.raises(WeightsMismatch) as caught:
        load_weights(models.create_model("resnet20_cifar"), save(small_state()))
    assert len(caught.value.missing) == 96
    assert "96 missing" in str(caught.value) and "and 93 more" in str(caught.value)
    assert "weights of another architecture than resnet20_cifar, so" in str(caught.value)


def test_a_new_hidden_head_replaces_the_classifier_of_the_file(save):
    model = small_model(num_classes=7, head_hidden=5)
    with pytest.raises(WeightsMismatch, match="the file has no hidden head, and the model has: "):
        load_weights(model, save(small_state()))
    variables = load_weights(model, save(small_state()), new_head=jax.random.key(0))
    params = variables["params"]
    assert params["hidden_head"]["fc2"]["kernel"].shape == (5, 7)
    assert "fc3" not in params
    expected = load_weights(small_model(), save(small_state()))["params"]
    np.testing.assert_array_equal(params["fc2"]["kernel"], expected["fc2"]["kernel"])


def test_two_entries_for_one_place_are_refused(save):
    state = small_state()
    state["conv1.scale"] = state["conv1.bias"]
    state["conv1.0.weight"] = state["conv1.bias"]
    state["conv1_0.weight"] = state["conv1.bias"]
    with pytest.raises(InputError, match=r"`conv1\.0\.weight` and `conv1_0\.weight`"):
        load_weights(small_model(), save(state))


_ODD_SHAPES = [(), (0,), (3,), (0, 0), (7, 3), (2, 0, 3), (3, 3, 3, 3), (1,) * 8]


@pytest.mark.parametrize("odd", _ODD_SHAPES, ids=str)
@pytest.mark.parametrize(
    "name", ["conv1.weight", "conv2.bias", "fc1.weight", "fc3.bias", "fc3.weight"]
)
def test_no_shape_is_too_odd_to_be_listed(save, name, odd):
    """As `kernel` or as `scale`, whichever it then looks like."""
    path = save({**small_state(), name: np.zeros(odd, np.float32)})
    with pytest.raises(WeightsMismatch) as caught:
        load_weights(small_model(in_channels=3), path)
    assert name in (*caught.value.mis_shaped, *caught.value.unexpected)


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_other_floats_become_float32(save, kind):
    state = {name: array.astype(kind) for name, array in small_state().items()}
    variables = load_weights(small_model(), save(state))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(
        variables["params"]["fc2"]["kernel"], state["fc2.weight"].T.astype(np.float32)
    )


def test_bfloat16_becomes_float32(tmp_path):
    torch = pytest.importorskip("torch")
    state = {name: torch.from_numpy(array).bfloat16() for name, array in small_state().items()}
    torch.save(state, tmp_path / "w.pth")
    kernel = load_weights(small_model(), tmp_path / "w.pth")["params"]["conv1"]["kernel"]
    assert kernel.dtype == np.float32
    expected = state["conv1.weight"].float().numpy().transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(kernel, expected)


def test_another_number_of_classes_is_an_error_that_says_the_option(save):
    with pytest.raises(
        WeightsMismatch, match=r"for 2 classes and the model's for 7.*`new_head=jax"
    ):
        load_weights(small_model(num_classes=7), save(small_state()))


@pytest.mark.parametrize("classes", [2, 7])
def test_a_new_head_is_initialised_as_the_model_would(save, classes):
    model, key = small_model(num_classes=classes), jax.random.key(3)
    variables = load_weights(model, save(small_state()), new_head=key)
    old = load_weights(small_model(), save(small_state()))
    fresh = model.init(key, np.zeros((1, 28, 28, 1), np.float32))
    assert differing(variables["params"]["fc3"], fresh["params"]["fc3"]) == []
    for name in ("conv1", "conv2", "fc1", "fc2"):
        assert differing(variables["params"][name], old["params"][name]) == []


def test_a_new_head_does_not_hide_what_else_differs(save):
    state = small_state()
    del state["fc2.bias"]
    with pytest.raises(WeightsMismatch) as caught:
        load_weights(small_model(num_classes=7), save(state), new_head=jax.random.key(0))
    assert caught.value.missing == ["fc2.bias"]
    assert not caught.value.mis_shaped


def test_a_new_head_for_a_model_without_one_is_refused(save):
    with pytest.raises(InputError, match="no classifier"):
        load_weights(small_model(num_classes=0), save(small_state()), new_head=jax.random.key(0))


def test_without_classes_the_classifier_stays_in_the_file(save):
    variables = load_weights(small_model(num_classes=0), save(small_state()))
    assert sorted(variables["params"]) == ["conv1", "conv2", "fc1", "fc2"]
    with pytest.raises(WeightsMismatch, match=r"1 unexpected: `fc4\.bias`"):
        load_weights(
            small_model(num_classes=0), save({**small_state(), "fc4.bias": np.ones(3, np.float32)})
        )


def test_entries_are_left_out_by_name_only(save):
    path = save({**small_state(), "aux1.fc.bias": np.ones(3, np.float32)})
    with pytest.raises(WeightsMismatch, match=r"unexpected: `aux1\.fc\.bias`"):
        load_weights(small_model(), path)
    assert load_weights(small_model(), path, ignore=["aux1.*"])
    with pytest.raises(InputError, match=r"`ignore` \(='aux2\.\*'\) matches no name"):
        load_weights(small_model(), path, ignore=["aux1.*", "aux2.*"])
    with pytest.raises(InputError, match="must be a list"):
        load_weights(small_model(), path, ignore="aux1.*")


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 9])
def test_the_stem_is_folded_or_repeated_as_by_timm(tmp_path, channels):
    parity = pytest.importorskip("tests.parity")
    from timm.models._manipulate import adapt_input_conv

    kernel = np.random.default_rng(0).normal(size=(3, 5, 3, 4)).astype(np.float32)
    theirs = adapt_input_conv(channels, parity.torch.from_numpy(kernel).permute(3, 2, 0, 1))
    theirs = theirs.permute(2, 3, 1, 0).numpy()
    np.testing.assert_allclose(adapt_stem(kernel, channels), theirs, rtol=1e-6)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "vit_tiny_patch32"])
def test_models_for_other_images_load_rgb_weights(tmp_path, name, channels):
    options = {} if name != "vit_tiny_patch32" else {"image_size": 32}
    variables = random_variables(models.create_model(name, **options))
    save_weights(variables, tmp_path / "w.safetensors")
    model = models.create_model(name, in_channels=channels, **options)
    loaded = load_weights(model, tmp_path / "w.safetensors")
    changed = differing(loaded, variables)
    assert len(changed) == 1
    assert loaded["params"].keys() == variables["params"].keys()


def test_a_grey_image_gives_what_its_rgb_copy_gave(tmp_path):
    variables = random_variables(models.create_model("resnet20_cifar"))
    save_weights(variables, tmp_path / "w.safetensors")
    grey = models.create_model("resnet20_cifar", in_channels=1)
    loaded = load_weights(grey, tmp_path / "w.safetensors")
    image = np.random.default_rng(0).normal(size=(1, 8, 8, 1)).astype(np.float32)
    three = models.create_model("resnet20_cifar").apply(variables, image.repeat(3, axis=-1))
    np.testing.assert_allclose(grey.apply(loaded, image), three, rtol=1e-4)


def test_grey_weights_are_not_stretched(tmp_path):
    grey = models.create_model("resnet20_cifar", in_channels=1)
    save_weights(random_variables(grey), tmp_path / "w.safetensors")
    with pytest.raises(WeightsMismatch) as caught:
        load_weights(models.create_model("resnet20_cifar"), tmp_path / "w.safetensors")
    assert list(caught.value.mis_shaped) == ["conv1.weight"]


def test_a_model_from_elsewhere_says_the_shape_of_its_images(save):
    import flax.linen as nn

    class Elsewhere(nn.Module):
        @nn.compact
        def __call__(self, images):
            return nn.Dense(3, name="fc")(images.mean((1, 2)))

    path = save({"fc.weight": np.ones((3, 5), np.float32), "fc.bias": np.ones(3, np.float32)})
    with pytest.raises(InputError, match=r"no `image_size`.*`image_shape"):
        load_weights(Elsewhere(), path)
    variables = load_weights(Elsewhere(), path, image_shape=(4, 4, 5))
    assert variables["params"]["fc"]["kernel"].shape == (5, 3)


def test_what_is_saved_is_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    variables = random_variables(small_model())
    save_weights(variables, path)
    content = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        save_weights(random_variables(small_model(), seed=1), path)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_who_reads_the_old_file_goes_on_reading_it(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(random_variables(small_model()), path)
    content = path.read_bytes()
    with path.open("rb") as old:
        save_weights(random_variables(small_model(), seed=1), path)
        assert old.read() == content
    assert path.read_bytes() != content


def test_a_file_can_be_saved_over_the_one_that_was_loaded(tmp_path):
    path, model = tmp_path / "w.safetensors", small_model()
    save_weights(random_variables(model), path)
    variables = load_weights(model, path)
    save_weights(variables, path)
    assert differing(load_weights(model, path), variables) == []


@pytest.mark.parametrize(
    ("variables", "name", "words"),
    [
        ({"params": {"fc": {"bias": np.ones(2)}}}, "w.pth", r"must end in \.safetensors"),
        ({"params": {"fc": {"bias": np.ones(2)}}}, "no/w.safetensors", "cannot be written"),
        ({"fc": {"bias": np.ones(2)}}, "w.safetensors", r"\(with fc\) must have `params`"),
        ({}, "w.safetensors", r"\(with nothing\) must have `params`"),
        ({"params": {"a": {"b_0": {"x": 1.0}}, "a_0": 1}, "cache": {}}, "w.safetensors", "only"),
        (
            {"params": {"a": {"kernel": np.ones((2, 2)), "scale": np.ones(2)}}},
            "w.safetensors",
            r"two variables would be saved as `a\.weight`",
        ),
        ({"params": {"a": np.ones(2, complex)}}, "w.safetensors", "`a` is of type complex128"),
    ],
)
def test_what_cannot_be_saved(tmp_path, variables, name, words):
    with pytest.raises(InputError, match=words):
        save_weights(variables, tmp_path / name)
    assert list(tmp_path.iterdir()) == []
