"""A port of this machine, and what is served there."""

import http.client
import socket


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("0.0.0.0", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def fetch(port: int, address: str = "127.0.0.1") -> str:
    """The page at / of a web server; nothing where none answers."""
    connection = http.client.HTTPConnection(address, port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    except OSError:
        return ""
    finally:
        connection.close()
