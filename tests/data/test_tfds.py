"""TFDS datasets on array_record, read in an environment without TensorFlow."""

import io
import sys

import numpy as np
import pytest

from cnn_jax import data
from cnn_jax.errors import InputError
from tests.conftest import ROOT, python, scans

# Hides TensorFlow, where it is installed, as if it were not.
NO_TENSORFLOW = """
import sys

class WithoutTensorFlow:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        hidden = name.partition(".")[0] == "tensorflow"
        return None if hidden else self.finder.find_spec(name, path, target)

sys.meta_path = [WithoutTensorFlow(finder) for finder in sys.meta_path]
"""


def prepare(directory, *, splits=(("train", 60), ("test", 30)), features=None, name="scans"):
    """Write a prepared dataset with TFDS's own writer; it needs no TensorFlow for PNG bytes."""
    import tensorflow_datasets as tfds
    from PIL import Image

    features = features or {
        "image": tfds.features.Image(shape=(8, 8, 1), dtype=np.uint8),
        "label": tfds.features.ClassLabel(names=["low", "middle", "high"]),
    }

    def png(image):
        encoded = io.BytesIO()
        Image.fromarray(image.squeeze(-1)).save(encoded, "png")
        return io.BytesIO(encoded.getvalue())

    version = directory / name / "1.0.0"
    version.mkdir(parents=True)
    identity = tfds.core.dataset_info.DatasetIdentity(
        name=name, version=tfds.core.Version("1.0.0"), data_dir=str(version), module_name="made_up"
    )
    info = tfds.core.DatasetInfo(builder=identity, features=tfds.features.FeaturesDict(features))
    writer = tfds.core.SequentialWriter(info, 1000, file_format="array_record")
    writer.initialize_splits([split for split, _ in splits])
    for seed, (split, count) in enumerate(splits):
        images, labels = scans(count, seed=seed)
        examples = [
            {"image": png(image), "label": int(label)}
            for image, label in zip(images, labels, strict=True)
        ]
        writer.add_examples({split: [{k: e[k] for k in features if k in e} for e in examples]})
    writer.close_all()
    return directory


def test_reading(tmp_path):
    loaded = data.load("tfds:scans", data_dir=prepare(tmp_path), validation=6)
    assert (len(loaded.train), len(loaded.validation), len(loaded.test)) == (54, 6, 30)
    assert loaded.class_names == ("low", "middle", "high")
    images, labels = scans(30, seed=1)
    np.testing.assert_array_equal(loaded.test.read(np.arange(30)), images)
    np.testing.assert_array_equal(loaded.test.labels, labels)


def test_training_without_tensorflow(tmp_path):
    """The whole command, in a process where TensorFlow cannot be imported."""
    prepare(tmp_path / "data")
    arguments = ["train", "--data", "tfds:scans", "--data-dir", str(tmp_path / "data")]
    arguments += ["--model", "mlp_512_256", "--epochs", "2", "--batch-size", "16"]
    program = (
        f"{NO_TENSORFLOW}sys.argv = ['cnn-jax', *{arguments!r}]\n"
        "from cnn_jax.cli import main\nmain()"
    )
    done = python("-c", program, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stdout
    assert (tmp_path / "runs" / "tfds-scans-mlp_512_256" / "result.json").is_file()


def test_a_dataset_that_is_not_prepared_names_the_extra(tmp_path):
    program = (
        f"{NO_TENSORFLOW}import cnn_jax\n"
        f"cnn_jax.load_data('tfds:mnist', data_dir={str(tmp_path)!r})"
    )
    done = python("-c", program, cwd=ROOT)
    assert done.returncode == 1
    assert "`data` (=tfds:mnist) is not prepared in" in done.stderr
    assert "pip install 'cnn_jax[tfds]'" in done.stderr
    assert not list(tmp_path.iterdir())


def test_unknown_datasets(tmp_path):
    with pytest.raises(
        InputError, match=r"`data` \(=tfds:mnits\) is neither .* did you mean 'mnist"
    ):
        data.load("tfds:mnits", data_dir=tmp_path)


def test_a_dataset_without_a_training_split(tmp_path):
    prepare(tmp_path, splits=[("test", 30)])
    with pytest.raises(InputError, match="has the splits test: one must be `train`"):
        data.load("tfds:scans", data_dir=tmp_path)


def test_a_dataset_of_something_else(tmp_path):
    import tensorflow_datasets as tfds

    prepare(tmp_path, features={"label": tfds.features.ClassLabel(num_classes=3)})
    with pytest.raises(InputError, match="has the features label: it must have `image` and"):
        data.load("tfds:scans", data_dir=tmp_path)


def test_reading_imports_no_tensorflow(tmp_path):
    program = (
        "import sys, cnn_jax\n"
        f"cnn_jax.load_data('tfds:scans', data_dir={str(prepare(tmp_path))!r})\n"
        "assert 'tensorflow' not in sys.modules, 'imported'"
    )
    done = python("-c", program, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "tensorflow" not in sys.modules
