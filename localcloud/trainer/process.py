"""
How the process treats the machine: one thread for numpy, and memory that is kept between steps.

Two BLAS threads beside other work made a training eight times slower. Importing this module pins the threads; it has to be imported
before numpy is, and only by the process that trains or scores.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

THREAD_SETTINGS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # glibc's mallopt, malloc.h
KEPT_BYTES = 512 * 1024 * 1024  # freed memory that is not given back to the system

os.environ.update(dict.fromkeys(THREAD_SETTINGS, "1"))


def keep_memory() -> None:
    """
    Let glibc reuse freed arrays: else each step's arrays come as fresh pages from the kernel, up to a quarter of the time.

    Where there is no glibc, nothing happens.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            libc = ctypes.CDLL(None)
            libc.mallopt(MMAP_THRESHOLD, KEPT_BYTES)
            libc.mallopt(TRIM_THRESHOLD, KEPT_BYTES)
