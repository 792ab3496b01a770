"""Checkpoints: which are kept, what comes back, what is told when it cannot."""

import errno
import shutil

import jax
import numpy as np
import optax
import pytest

from cnn_jax import checkpoints as checkpoints_module
from cnn_jax import manifest, models
from cnn_jax.checkpoints import Checkpoints
from cnn_jax.errors import InputError
from cnn_jax.state import init_state

MODEL = models.create_model("simple_cnn", num_classes=3, widths=(4,), hidden=4)


def state_at(step: int):
    state = init_state(MODEL, optax.adam(1e-3), jax.random.key(step), image_shape=(8, 8, 1))
    return state.replace(step=jax.numpy.int32(step))


def steps_kept(directory):
    return sorted(int(path.name) for path in directory.iterdir() if path.name.isdigit())


def test_the_state_comes_back_to_the_bit(tmp_path):
    state, record = state_at(3), {"epoch": {"loss": 0.1 + 0.2}, "best_step": None}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, record, best_step=None)
    with Checkpoints(tmp_path) as checkpoints:
        restored, restored_record = checkpoints.restore(3, state_at(0))
        variables = checkpoints.restore_variables(3)
        assert checkpoints.restore_record(3) == record
    assert restored_record == record
    assert jax.random.key_data(restored.key).tolist() == jax.random.key_data(state.key).tolist()
    for ours, theirs in (
        (state.replace(key=0), restored.replace(key=0)),
        (state.params, variables["params"]),
        (state.batch_stats, variables["batch_stats"]),
    ):
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)
        assert jax.tree.structure(ours) == jax.tree.structure(theirs)


def test_the_last_two_and_the_best_are_kept(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        for step in range(1, 7):
            checkpoints.save(state_at(step), {}, best_step=min(step, 2))
            checkpoints.wait()
    assert steps_kept(tmp_path) == [2, 5, 6]
    assert {path.name for path in tmp_path.iterdir()} == {"2", "5", "6"}


def test_a_step_that_is_not_there(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state_at(1), {}, best_step=None)
        checkpoints.wait()
        with pytest.raises(InputError, match=r"the checkpoint of step 9 in .* cannot be restored"):
            checkpoints.restore(9, state_at(0))


def files_of(directory):
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Checkpoints of steps 1 (the best), 2 and 3."""
    directory = tmp_path_factory.mktemp("three")
    with Checkpoints(directory) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(state_at(step), {"best_step": 1}, best_step=1)
    return directory


DAMAGES = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "deleted": lambda path: path.unlink(),
    "flipped": lambda path: path.write_bytes(
        (content := path.read_bytes())[:-1] + bytes([content[-1] ^ 1])
    ),
}


@pytest.mark.parametrize("way", list(DAMAGES))
def test_whichever_file_is_damaged_the_step_before_is_found(three, tmp_path, way):
    names = [name for name in files_of(three) if name.startswith("3/")]
    assert len(names) > 10
    for number, name in enumerate(names):
        directory = tmp_path / str(number)
        shutil.copytree(three, directory)
        DAMAGES[way](directory / name)
        before, said = files_of(directory), []
        checkpoints = Checkpoints(directory)
        with pytest.raises(InputError, match=r"step 3 in .* is damaged \(.*--resume"):
            checkpoints.restore_record(3)
        assert files_of(directory) == before, "reading has touched something"
        assert checkpoints.recover(said.append) == checkpoints.latest_step == 2
        (line,) = said
        assert line.startswith("the checkpoint of step 3 is damaged (")
        assert line.endswith(f"): it is now {directory}/damaged/3")
        assert name.removeprefix("3/") in line or "manifest.json" in name
        assert files_of(directory) == {
            f"damaged/{path}" if path.startswith("3/") else path: content
            for path, content in before.items()
        }


def test_the_step_before_comes_back_to_the_bit(three, tmp_path):
    shutil.copytree(three, tmp_path / "copy")
    DAMAGES["flipped"](max((tmp_path / "copy" / "3" / "state" / "d").iterdir()))
    with Checkpoints(tmp_path / "copy") as checkpoints:
        restored, _ = checkpoints.restore(checkpoints.recover(print), state_at(0))
    jax.tree.map(np.testing.assert_array_equal, state_at(2).params, restored.params)


def test_several_damaged_steps_and_one_half_removed(three, tmp_path):
    directory, said = tmp_path / "copy", []
    shutil.copytree(three, directory)
    shutil.rmtree(directory / "1" / "state")  # as a removal leaves it that was killed
    DAMAGES["flipped"](directory / "3" / "record" / "metadata")
    (directory / "damaged" / "3").mkdir(parents=True)  # of a time before
    (directory / "scrap" / "4").mkdir(parents=True)
    checkpoints = Checkpoints(directory)
    assert checkpoints.recover(said.append) == 2
    assert "step 1 is damaged (state/_METADATA is missing)" in said[0]
    assert "step 3 is damaged (record/metadata has other bytes" in said[1]
    assert steps_kept(directory) == [2]
    assert {path.name for path in (directory / "damaged").iterdir()} == {"1", "3", "3-2"}
    assert not (directory / "scrap").exists()


def test_where_all_are_damaged_nothing_is_touched(three, tmp_path):
    directory = tmp_path / "copy"
    shutil.copytree(three, directory)
    for step in "123":
        (directory / step / "manifest.json").unlink()
    before = files_of(directory)
    with pytest.raises(InputError) as refused:
        Checkpoints(directory).recover(pytest.fail)
    assert str(refused.value) == (
        f"every checkpoint in {directory} is damaged (of step 1, it has no manifest.json; "
        "of step 2, it has no manifest.json; of step 3, it has no manifest.json): put a copy of "
        "one in its place, or begin the run anew (--overwrite)"
    )
    assert files_of(directory) == before


def test_without_a_checkpoint_there_is_none_to_find(tmp_path):
    with Checkpoints(tmp_path / "none") as checkpoints:
        assert checkpoints.recover(pytest.fail) is None
    assert not (tmp_path / "none").exists()


def test_the_best_is_kept_until_two_steps_know_a_better_one(tmp_path):
    """Were the newest one damaged, the one before would still have its best."""
    kept = []
    for best_at, step in ((1, 1), (1, 2), (1, 3), (4, 4), (4, 5)):
        with Checkpoints(tmp_path) as checkpoints:  # anew, as after a kill
            if step > 1:
                checkpoints.restore(step - 1, state_at(0))
            checkpoints.save(state_at(step), {"best_step": best_at}, best_step=best_at)
        kept.append(steps_kept(tmp_path))
    assert kept == [[1], [1, 2], [1, 2, 3], [1, 3, 4], [4, 5]]


def test_nothing_is_removed_before_the_next_is_whole(tmp_path, monkeypatch):
    seen, full = [], OSError(errno.ENOSPC, "No space left on device")

    def watched(folder):
        seen.append(steps_kept(tmp_path))
        if folder.name == "4":
            raise full
        manifest.write_manifest(folder)

    monkeypatch.setattr(checkpoints_module, "write_manifest", watched)
    with pytest.raises(OSError, match="No space left"), Checkpoints(tmp_path) as checkpoints:
        for step in (1, 2, 3, 4):
            checkpoints.save(state_at(step), {}, best_step=None)
    assert seen == [[], [1], [1, 2], [2, 3]]
    assert {path.name for path in tmp_path.iterdir()} == {"2", "3"}
