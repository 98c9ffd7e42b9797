"""What tests ask the kernel about processes."""

from __future__ import annotations

import subprocess
import threading

from tests.processes import children


def test_threads_that_end_meanwhile_do_no_harm() -> None:
    over = threading.Event()

    def churn() -> None:
        while not over.is_set():
            thread = threading.Thread(target=lambda: None)
            thread.start()
            thread.join()

    child = subprocess.Popen(["sleep", "infinity"])
    churner = threading.Thread(target=churn)
    churner.start()
    try:
        assert all(child.pid in children() for _ in range(1000))
    finally:
        over.set()
        churner.join()
        child.kill()
        child.wait()


def test_a_process_that_has_ended_has_no_children() -> None:
    with subprocess.Popen(["true"]) as child:
        pass
    assert children(child.pid) == set()
