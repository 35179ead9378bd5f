"""Standard error without TensorFlow's news, and with everything else."""

import os
import subprocess
import sys

import pytest

from jaxlt.data.quietly import without_news

NEWS = (
    b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n",
    b"I0000 00:00:1795887602.732179    5201 port.cc:153] oneDNN custom operations are on.\n",
    b"To enable the following instructions: AVX2 AVX512F FMA, in other operations, rebuild\n",
)
OTHER = (
    b"E0000 00:00:1795887602.733255    5201 cuda_dnn.cc:31] Cannot load the library.\n",
    b"W0000 00:00:1795887602.733255    5201 port.cc:1] A warning.\n",
    b"a line of somebody else's\n",
)


def test_news_is_held_back_and_nothing_else(capfd):
    with without_news():
        os.write(2, b"".join((*NEWS, *OTHER)))
        print("of Python's own", file=sys.__stderr__, flush=True)
    os.write(2, b"after\n")
    said = capfd.readouterr().err
    assert said == b"".join(OTHER).decode() + "of Python's own\nafter\n"


def test_what_fails_inside_shows_all_that_was_said(capfd):
    with pytest.raises(ImportError), without_news():
        os.write(2, OTHER[0])
        raise ImportError
    assert capfd.readouterr().err == OTHER[0].decode()


@pytest.mark.slow
def test_tensorflow_is_imported_in_silence():
    code = "import jaxlt.data.seqio_tasks, tensorflow; print(tensorflow.constant(1) + 1)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (out.returncode, out.stderr) == (0, "") and "2" in out.stdout
