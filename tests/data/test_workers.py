"""Tasks in processes of their own."""

import os
import signal
import time

import pytest

from cnn_jax.data.workers import share_out, workers_for


def squarer(offset):
    def do(number):
        if number == "print":
            print("this is no reply")
            return os.getpid()
        if number == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if number == "wait":
            time.sleep(60)
        return number**2 + offset

    return do


def test_each_result_comes_with_the_position_of_its_task():
    for workers in (1, 2):
        results = dict(share_out(squarer, 1, list(range(20)), workers=workers))
        assert results == {number: number**2 + 1 for number in range(20)}
    assert not list(share_out(squarer, 1, [], workers=2))


def test_other_processes_do_it_and_may_print(capfd):
    (_, one), (_, other) = share_out(squarer, 1, ["print", "print"], workers=2)
    assert os.getpid() not in (one, other)
    assert capfd.readouterr().err == "this is no reply\n" * 2


def test_errors_come_back():
    with pytest.raises(TypeError, match="unsupported operand"):
        list(share_out(squarer, 1, [1, None], workers=2))


def test_a_crash_is_an_error_here():
    with pytest.raises(RuntimeError, match=r"a process that decodes images died \(code -11\)"):
        list(share_out(squarer, 1, [1, "crash"], workers=2))


def test_leaving_early_ends_the_processes():
    began = time.monotonic()
    results = share_out(squarer, 1, [3, "wait", "wait"], workers=2)
    assert next(results) == (0, 10)
    results.close()
    assert time.monotonic() - began < 30


def test_few_files_are_not_worth_a_process():
    assert workers_for(1999) == 1
    assert workers_for(2000) == len(os.sched_getaffinity(0))
