"""A memory of decoded clips with a limit in bytes."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any


class Memory:
    """Least recently used values are forgotten first; a value is anything with ``nbytes``. Threads may share it."""

    def __init__(self, max_bytes: int):
        self.max_bytes, self.num_bytes = max_bytes, 0
        self._values: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value of ``key``, made now unless it is still remembered."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()  # two threads may make the same; one of the two is kept
        with self._lock:
            if value.nbytes <= self.max_bytes and key not in self._values:
                self._values[key] = value
                self.num_bytes += value.nbytes
            while self.num_bytes > self.max_bytes:
                _, forgotten = self._values.popitem(last=False)
                self.num_bytes -= forgotten.nbytes
        return value

    def __getstate__(self) -> dict:
        """For loaders that start workers anew: a lock is not pickled."""
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state, _lock=threading.Lock())
