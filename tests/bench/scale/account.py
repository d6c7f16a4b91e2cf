"""Runs a command and writes what it took into a file: wall clock, CPU, and the memory that it held at most."""

import json
import os
import sys
import time

target, *command = sys.argv[1:]
began = time.monotonic()
pid = os.posix_spawn(command[0], command, os.environ)
_, status, usage = os.wait4(pid, 0)
told = {
    "wall": time.monotonic() - began,
    "cpu": usage.ru_utime + usage.ru_stime,
    "memory": usage.ru_maxrss << 10,
}
with open(target, "w", encoding="utf-8") as file:
    json.dump(told, file)
sys.exit(os.waitstatus_to_exitcode(status))
