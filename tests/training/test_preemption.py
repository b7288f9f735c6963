import os
import signal
import subprocess
import sys
import threading

import pytest

from sublim_jax.training import Preempted, preemption


def test_sigterm_is_a_request_to_stop():
    before = signal.getsignal(signal.SIGTERM)
    with preemption.listening() as requested:
        assert not requested()
        os.kill(os.getpid(), signal.SIGTERM)
        assert requested()
        assert requested()
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_handler_before_is_restored_after_a_fault_too():
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    try:
        with pytest.raises(KeyboardInterrupt), preemption.listening():
            raise KeyboardInterrupt
        assert not heard
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard == [1]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_one_request_does_not_reach_the_next_run():
    with preemption.listening():
        os.kill(os.getpid(), signal.SIGTERM)
    with preemption.listening() as requested:
        assert not requested()


def test_in_a_thread_no_request_is_ever_heard():
    heard = []

    def run():
        with preemption.listening() as requested:
            heard.append(requested())

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert heard == [False]
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_process_that_does_not_listen_any_more_ends_as_before():
    program = """
import os, signal
from sublim_jax.training import preemption
with preemption.listening():
    os.kill(os.getpid(), signal.SIGTERM)
os.kill(os.getpid(), signal.SIGTERM)
"""
    ended = subprocess.run([sys.executable, "-c", program], check=False)
    assert ended.returncode == -signal.SIGTERM


def test_what_was_asked_for_is_told():
    assert str(Preempted("0000-0003x4/teacher", 12, saved=True)) == (
        "asked to stop at step 12 of 0000-0003x4/teacher"
    )
    assert preemption.EXIT_STATUS == os.EX_TEMPFAIL
