"""Find out within seconds, not minutes, whether the downloads of other packages have a chance."""

import contextlib
import socket
import threading
import urllib.request

TIMEOUT = 3  # seconds
# Where tensorflow-datasets and keras.applications keep their files.
_HOST = ("storage.googleapis.com", 443)


def has_internet() -> bool:
    """Return whether a download has a chance; behind a proxy only the download itself can tell."""
    if urllib.request.getproxies():
        return True
    reached = threading.Event()

    def connect():
        with contextlib.suppress(OSError):
            socket.create_connection(_HOST, timeout=TIMEOUT).close()
            reached.set()

    # In a thread, since looking up a name and trying each of its addresses all take time of their own.
    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(TIMEOUT)
    return reached.is_set()
