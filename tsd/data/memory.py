"""A memory of decoded clips with a limit in bytes."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any


class Memory:
    """Least recently used values are forgotten first; a value is anything with ``nbytes``."""

    def __init__(self, max_bytes: int):
        self.max_bytes, self.num_bytes = max_bytes, 0
        self._values: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value of ``key``, made now unless it is still remembered."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        value = make()
        if value.nbytes <= self.max_bytes:
            self._values[key] = value
            self.num_bytes += value.nbytes
        while self.num_bytes > self.max_bytes:
            _, forgotten = self._values.popitem(last=False)
            self.num_bytes -= forgotten.nbytes
        return value
