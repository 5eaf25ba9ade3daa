"""Tables written beside the making of the next: none is lost, none fails in silence."""

from __future__ import annotations

import threading

import pytest

from dotpe_exec.inference import output
from dotpe_exec.inference.output import SampleWriter
from dotpe_exec.rundir.files import RunFiles


@pytest.fixture
def writer(tmp_path):
    return lambda n_threads: SampleWriter(RunFiles(tmp_path), n_threads)


def replace_writing(monkeypatch, write):
    monkeypatch.setattr(output, "_write_bank", write)


def test_one_thread_writes_at_once(writer, monkeypatch):
    done = []
    replace_writing(monkeypatch, lambda *_: done.append(threading.current_thread()))
    with writer(1) as write:
        write.bank(None)
        assert done == [threading.main_thread()]


def test_tables_of_other_threads_are_written_at_the_end(writer, monkeypatch):
    go_on, done = threading.Event(), []
    replace_writing(
        monkeypatch, lambda files, number: (go_on.wait(60), done.append(number))
    )
    with writer(2) as write:
        for number in range(5):
            write.bank(number)
        assert done == []
        go_on.set()
    assert sorted(done) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("n_threads", [1, 2])
def test_error_of_writing_is_raised(writer, monkeypatch, n_threads):
    def fail(*_):
        raise OSError("the disk is full")

    replace_writing(monkeypatch, fail)
    with pytest.raises(OSError, match="disk is full"), writer(n_threads) as write:
        write.bank(None)
