"""Holds one thread of a process as a fault would: the others go on. Only a tracer can, and it must be a program of its own."""

import ctypes
import pathlib
import subprocess
import sys

SEIZE, INTERRUPT = 0x4206, 0x4207
ALL_THREADS = 0x40000000  # __WALL


class Stuck:
    """One thread, by its name, until the end of the block."""

    def __init__(self, pid, name):
        threads = pathlib.Path(f"/proc/{pid}/task").iterdir()
        (self.thread,) = (one.name for one in threads if (one / "comm").read_text().strip() == name)

    def __enter__(self):
        self.holder = subprocess.Popen(
            [sys.executable, __file__, self.thread], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.holder.stdout.readline() == "held\n", "the thread cannot be held"

    def __exit__(self, *_):
        self.holder.kill()
        self.holder.wait()


def hold(thread):
    library = ctypes.CDLL(None, use_errno=True)
    library.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    for request in (SEIZE, INTERRUPT):
        if library.ptrace(request, thread, None, None) != 0:
            raise OSError(ctypes.get_errno(), "ptrace")
    library.waitpid(thread, None, ALL_THREADS)
    print("held", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    hold(int(sys.argv[1]))
