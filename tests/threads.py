"""Work of a thread for as long as a test needs it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def running(work: Callable[[threading.Event], object]) -> Iterator[None]:
    """Have work, which is given the event that ends it, run beside the test."""
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()
