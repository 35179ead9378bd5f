"""Memory of the host on machines without accelerators: kept from one step to the next.

A compiled step asks for its temporaries anew each time, hundreds of megabytes in one piece. Left to
itself glibc maps such a piece and gives it back after use, and the next step has the system clear
every page of it again: a sixth of a full step's time on a CPU, a fifth of a module's.
"""

import ctypes
import glob
import sys

# glibc's names: pieces are never mapped on their own, the heap's end is never cut off, and all
# threads share one heap (the others' are too small for such pieces, which are mapped then).
_SETTINGS = ((-4, 0), (-1, -1), (-8, 1))  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_ARENA_MAX
_ACCELERATORS = ("/dev/nvidia[0-9]*", "/dev/kfd", "/dev/accel*", "/dev/vfio/[0-9]*")


def keep() -> bool:
    """Has freed memory stay with the process; returns whether it does so from now on.

    To be called before JAX makes its threads. With accelerators nothing is changed: there steps
    need little of the host's memory, and what reads a checkpoint may as well give it back.
    """
    if sys.platform != "linux" or any(glob.glob(pattern) for pattern in _ACCELERATORS):
        return False
    try:
        libc = ctypes.CDLL("libc.so.6")
        return all(libc.mallopt(name, value) for name, value in _SETTINGS)
    except (OSError, AttributeError):  # another libc
        return False
