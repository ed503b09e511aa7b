import gc
import itertools
import subprocess
import sys
import threading
import time

import pytest

from mpitrain.data.prefetch import Prefetcher


def input_threads():
    return [thread for thread in threading.enumerate() if thread.name == "mpitrain-input"]


def test_order_and_end():
    prefetcher = Prefetcher(iter(range(20)), 3)
    assert list(prefetcher) == list(range(20))
    assert not input_threads()
    assert list(prefetcher) == []


def test_it_stays_no_further_ahead_than_its_depth():
    made = []
    prefetcher = Prefetcher((made.append(k) or k for k in itertools.count()), 2)
    for k in range(3):
        assert next(prefetcher) == k
        time.sleep(0.02)
        assert len(made) <= k + 1 + 2 + 1  # taken, queued, being put
    prefetcher.close()


def test_an_error_comes_in_its_place():
    def items():
        yield 1
        raise OSError("disk")

    prefetcher = Prefetcher(items(), 2)
    assert next(prefetcher) == 1
    with pytest.raises(OSError, match="disk"):
        next(prefetcher)
    assert not input_threads()


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_close_ends_the_thread(taken):
    prefetcher = Prefetcher(itertools.count(), 1)
    for _ in range(taken):
        next(prefetcher)
    prefetcher.close()
    prefetcher.close()
    assert not input_threads()


def test_dropping_it_ends_the_thread():
    prefetcher = Prefetcher(itertools.count(), 2)
    assert input_threads()
    del prefetcher
    gc.collect()
    assert not input_threads()


def test_it_does_not_keep_the_process():
    program = (
        "import itertools\n"
        "from mpitrain.data.prefetch import Prefetcher\n"
        "kept = Prefetcher(itertools.count(), 2)\n"
        "print(next(kept))\n"
        "raise KeyError('kept')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.returncode) == ("0\n", 1)
    assert done.stderr.splitlines()[-1] == "KeyError: 'kept'"
