"""Jobs beside the writing of samples: none is lost, none fails in silence."""

from __future__ import annotations

import threading

import pytest

from dotpe_exec.inference.output import _jobs_beside


def test_one_thread_does_its_jobs_at_once():
    done = []
    with _jobs_beside(1) as start:
        start(lambda: done.append(threading.current_thread()))
        assert done == [threading.main_thread()]


def test_jobs_of_other_threads_have_ended_at_the_end():
    go_on, done = threading.Event(), []
    with _jobs_beside(2) as start:
        for number in range(5):
            start(lambda n: (go_on.wait(60), done.append(n)), number)
        assert done == []
        go_on.set()
    assert sorted(done) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("n_threads", [1, 2])
def test_error_of_a_job_is_raised(n_threads):
    def fail():
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"), _jobs_beside(n_threads) as start:
        start(fail)
