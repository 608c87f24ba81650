"""Making the next batches in a thread while the last one is used."""

import queue
import threading
from collections.abc import Generator, Iterator
from typing import NamedTuple, TypeVar

_Item = TypeVar("_Item")


class _End(NamedTuple):
    """There are no more items, because of an error or because all are made."""

    error: BaseException | None = None


def prefetched(items: Iterator[_Item], depth: int) -> Iterator[_Item]:
    """The same items, up to ``depth`` of them made ahead in a thread.

    An error in the making is raised where the item is asked for, as it is. The thread
    starts with the first request and ends with the last item, or when the iterator is
    closed or dropped; then what was made ahead is lost.

    Args:
        items: Made one after the other, in the thread.
        depth: How many may wait; 0 makes them in the caller's thread when asked.

    >>> list(prefetched(iter("abc"), 2))
    ['a', 'b', 'c']
    """
    if depth == 0:
        yield from items
        return
    ready: queue.Queue[_Item | _End] = queue.Queue(maxsize=depth)
    stop = threading.Event()
    thread = threading.Thread(target=_fill, args=(items, ready, stop), name="prefetch", daemon=True)
    thread.start()
    try:
        while not isinstance(made := ready.get(), _End):
            yield made
        if made.error is not None:
            raise made.error
    finally:
        stop.set()
        thread.join()


def _fill(items: Iterator[_Item], ready: "queue.Queue[_Item | _End]", stop: threading.Event) -> None:
    """Put items into the queue until there are no more, one fails or nobody wants them."""
    try:
        for item in items:
            if not _put(ready, item, stop):
                return
        _put(ready, _End(), stop)
    except BaseException as error:  # whatever it is belongs to who waits for the item
        _put(ready, _End(error), stop)
    finally:
        if isinstance(items, Generator):
            items.close()  # here, not where it is collected: what it holds may belong to this thread


def _put(ready: "queue.Queue[_Item | _End]", made: _Item | _End, stop: threading.Event) -> bool:
    """Wait for room in the queue; False when told to stop first."""
    while not stop.is_set():
        try:
            ready.put(made, timeout=0.05)
        except queue.Full:
            continue
        return True
    return False
