"""How the file is laid out in which a worker marks what it runs, for the runner to read.

Values alone: neither side's work is done here.
"""

import signal
import struct

MARK = struct.Struct("<BBIIdII")
SECTIONS, STACK = 64, 1 << 20
PHASES = ("setup", "call", "teardown")
SIGNAL = signal.SIGRTMIN + 9 if hasattr(signal, "SIGRTMIN") else signal.SIGUSR2
