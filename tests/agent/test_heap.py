"""What an agent's process keeps of memory that was freed."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys, threading
from roundtrip.agent.heap import keep_small

if sys.argv[1] == "small":
    keep_small()

def work():
    # Large blocks come and go; a little of what was made meanwhile stays.
    for size in range(200_000, 1_000_000, 100_000):
        blocks = []
        for number in range(20):
            blocks.append(bytearray(size))
            kept.append(bytearray(2_000))
        blocks.clear()

kept = []
for _ in range(4):
    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads: each.start()
    for each in threads: each.join()
[line] = [line for line in open("/proc/self/status") if line.startswith("RssAnon")]
print(int(line.split()[1]) // 1024 - sum(map(len, kept)) // 2**20)
"""


def after(mode: str) -> int:
    """MiB that a process holds at the end, without what it still uses."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=True
    )
    return int(ran.stdout)


def test_large_blocks_that_threads_have_freed_go_back_to_the_kernel() -> None:
    assert after("small") < after("as it comes") / 2
