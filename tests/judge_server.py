"""A server that speaks as OpenAI's does, and behaves as a test wants."""

import contextlib
import json
import math
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def completion(text, alternatives=None):
    choice = {"message": {"role": "assistant", "content": text}}
    if alternatives is not None:
        tops = [{"token": token, "logprob": math.log(p)} for token, p in alternatives.items()]
        choice["logprobs"] = {"content": [{"token": text, "top_logprobs": tops}]}
    return {"choices": [choice]}


class Server:
    """Answers what ``behave(number of the request, content)`` gives: status, body, headers."""

    def __init__(self, behave):
        self.requests, self.headers, self.times = [], [], []
        self.busy = self.busiest = 0
        lock, server = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    number = len(server.requests)
                    server.requests.append((self.path, content))
                    server.headers.append(dict(self.headers))
                    server.times.append(time.monotonic())
                    server.busy += 1
                    server.busiest = max(server.busiest, server.busy)
                try:
                    self._reply(*behave(number, content))
                finally:
                    with lock:
                        server.busy -= 1

            def _reply(self, status=200, body=b"", headers=()):
                if status is None:  # hangs up
                    self.close_connection = True
                    return
                body = body if isinstance(body, bytes) else json.dumps(body).encode()
                with contextlib.suppress(OSError):  # the client has given up
                    self.send_response(status)
                    for name, value in dict(headers).items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
