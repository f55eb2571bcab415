"""A plain file server that counts what it sends: a static host with a folder below a path."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Sent:
    """Where a folder is served, and the bytes of every answer so far, without its head."""

    address: str
    sizes: list[int] = field(default_factory=list)


@contextmanager
def hosted(root: Path, below: str = "") -> Iterator[Sent]:
    """Serve the folder ``root`` from a thread of this process, on this machine alone. The address ends in ``below``, a
    path in ``root``."""
    sent = Sent("")

    class Handler(SimpleHTTPRequestHandler):
        def copyfile(self, source, out):
            content = source.read()
            sent.sizes.append(len(content))
            out.write(content)

        def log_message(self, *_):
            """A count is all that is asked."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(root))) as server:
        sent.address = f"http://127.0.0.1:{server.server_port}/{below}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield sent
        server.shutdown()
