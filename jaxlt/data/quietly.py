"""TensorFlow imported without what its libraries tell of themselves.

Some lines on the processor and on CUDA go straight to file descriptor 2, before any setting of a
log's level is read. Here they are held back, and whatever else was written there is passed on.
"""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

# What is told for information: never a warning or an error (whose lines begin with W or E).
_NEWS = re.compile(
    rb"I\d{4} [\d:.]+ +\d+ \w+\.cc:\d+\] "
    rb"|WARNING: All log messages before absl::InitializeLog\(\)"
    rb"|To enable the following instructions: "
)


@contextlib.contextmanager
def without_news() -> Iterator[None]:
    """Holds back what is written to standard error inside; afterwards all but news is passed on."""
    try:
        sys.stderr.flush()
        real = os.dup(2)
    except OSError:  # there is no such descriptor
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(real, 2)
            held.seek(0)
            kept = [line for line in held if not _NEWS.match(line)]
            with os.fdopen(real, "wb") as stderr, contextlib.suppress(OSError):
                stderr.writelines(kept)


def import_tensorflow() -> None:
    """Imports TensorFlow quietly, unless seqio, which needs it, is there already."""
    if "seqio" not in sys.modules:
        with without_news():
            import tensorflow  # noqa: F401
