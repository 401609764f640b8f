"""python -m keytether doctor."""

from __future__ import annotations

import os
import subprocess
import sys


def test_a_reader_that_has_seen_enough(tmp_path):
    env = {k: v for k, v in os.environ.items() if not k.startswith("KEYTETHER_")}
    env["KEYTETHER_SOCKET"] = str(tmp_path / "none" / "agent.sock")
    read, write = os.pipe()
    os.close(read)  # before the first line is written
    try:
        done = subprocess.run([sys.executable, "-m", "keytether", "doctor"], stdout=write, stderr=subprocess.PIPE, env=env, timeout=60)
    finally:
        os.close(write)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
