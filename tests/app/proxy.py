"""A small reverse proxy that offers a server under a prefix, and passes streams on as they come."""

import contextlib
import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"}


class Proxy:
    """`with Proxy(port, "/ddpm", strips=True) as proxy:`; the server is then at `proxy.url`.

    It strips the prefix, or leaves it; any other path is a 404 of its own.
    """

    def __init__(self, port: int, prefix: str, *, strips: bool) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self) -> None:
                path = self.path.partition("?")[0]
                if path != prefix and not path.startswith(f"{prefix}/"):
                    self.send_error(404, "not the proxy's prefix")
                    return
                target = self.path.removeprefix(prefix) if strips else self.path
                target = target if target.startswith("/") else f"/{target}"
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_BY_HOP}
                upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                with contextlib.closing(upstream):
                    upstream.request(self.command, target, body or None, headers)
                    with upstream.getresponse() as answer, contextlib.suppress(ConnectionError):
                        self.answer_with(answer)
                self.close_connection = True

            def answer_with(self, answer: http.client.HTTPResponse) -> None:
                """Pass it on. Raises ConnectionError where the client has left."""
                self.send_response_only(answer.status, answer.reason)
                for name, value in answer.getheaders():
                    if name.lower() not in HOP_BY_HOP:
                        self.send_header(name, value)
                self.send_header("Connection", "close")  # whatever the answer's length
                self.end_headers()
                while block := answer.read1():
                    self.wfile.write(block)

            do_GET = do_HEAD = do_POST = do_DELETE = do_OPTIONS = pass_on

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}{prefix}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
