"""A token endpoint in this process, for tests that need several of them, or one that says strange things: it rotates refresh tokens, and a reuse revokes the grant."""
import contextlib
import http.server
import json
import socket
import ssl
import threading
import time
import urllib.parse

import pytest


class Idp(http.server.ThreadingHTTPServer):
    """Idp(pki) speaks https on 127.0.0.1, Idp() http.  Each has tokens of its own: NAME-rt-N, NAME-at-N."""
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, pki=None, name="a", rotates=True):
        super().__init__(("127.0.0.1", 0), Handler)
        self.context = None
        if pki:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(pki / "good.pem", pki / "good.key")
        self.name, self.rotates = name, rotates
        self.lock = threading.Lock()
        self.live, self.spent, self.asked, self.reuse, self.revoked, self.made = set(), [], [], 0, False, 0
        self.at_once = self.most_at_once = 0
        self.answer = {"expires_in": 3600}
        self.date = self.delay = 0
        self.on_request = None
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def port(self):
        return self.server_address[1]

    def url(self, path="/token", host="127.0.0.1"):
        return f"{'https' if self.context else 'http'}://{host}:{self.port}{path}"

    def mint(self):
        """A new grant's refresh token."""
        with self.lock:
            self.made += 1
            token = f"{self.name}-rt-{self.made}-0123456789abcdefghijklmnop"
            self.live.add(token)
            return token

    def handle_error(self, request, client_address):
        pass  # a client that goes away is part of the tests

    def get_request(self):
        sock, address = super().get_request()
        return sock, address

    def finish_request(self, request, client_address):
        if self.context:
            request.settimeout(30)
            request = self.context.wrap_socket(request, server_side=True)
        self.RequestHandlerClass(request, client_address, self)
        if self.context:
            with contextlib.suppress(OSError):
                request.unwrap()
            request.close()

    def redeem(self, form):
        """(status, members)"""
        token = form.get("refresh_token")
        with self.lock:
            self.asked.append((time.monotonic(), token, form))
            if token is None:
                self.made += 1
                return 200, {"access_token": f"{self.name}-at-{self.made}", "token_type": "Bearer", **self.answer}
            if token in self.spent:
                self.reuse += 1
                self.revoked = True
            if self.revoked or token not in self.live:
                return 400, {"error": "invalid_grant"}
            self.made += 1
            answer = {"access_token": f"{self.name}-at-{self.made}", "token_type": "Bearer", **self.answer}
            if self.rotates:
                self.live.discard(token)
                self.spent.append(token)
                answer["refresh_token"] = f"{self.name}-rt-{self.made}-0123456789abcdefghijklmnop"
                self.live.add(answer["refresh_token"])
            return 200, answer


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def date_time_string(self, timestamp=None):
        return super().date_time_string(time.time() + self.server.date)

    def do_POST(self):
        idp = self.server
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        form = dict(urllib.parse.parse_qsl(body))
        with idp.lock:
            idp.at_once += 1
            idp.most_at_once = max(idp.most_at_once, idp.at_once)
        try:
            time.sleep(idp.delay)
            status, answer = idp.redeem(form)
            if idp.on_request and idp.on_request(form, status, answer) is False:
                self.close_connection = True
                with contextlib.suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)
                return
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.send_header("cache-control", "no-store")
            self.end_headers()
            self.wfile.write(text)
        finally:
            with idp.lock:
                idp.at_once -= 1


class TlsFront:
    """TLS in front of a plain http port on loopback; nothing in it is read."""

    def __init__(self, pki, port):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pki / "good.pem", pki / "good.key")
        self.behind = port
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, plain):
        """The same URL through this front."""
        return urllib.parse.urlsplit(plain)._replace(scheme="https", netloc=f"127.0.0.1:{self.port}").geturl()

    def close(self):
        self.listener.close()

    def changed(self, front, data):
        """What is sent on of a piece of a request."""
        return data

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        with contextlib.suppress(OSError), self.context.wrap_socket(sock, server_side=True) as front, \
                socket.create_connection(("127.0.0.1", self.behind)) as back:
            def pump():
                with contextlib.suppress(OSError):
                    while data := back.recv(65536):
                        front.sendall(data)
                    front.unwrap()
            answers = threading.Thread(target=pump, daemon=True)
            answers.start()
            while data := front.recv(65536):
                back.sendall(self.changed(front, data))
            back.shutdown(socket.SHUT_WR)
            answers.join()


@pytest.fixture
def idps(pki):
    """idps(pki, name=…, …): a token endpoint that ends with the test."""
    made = []

    def make(*args, **kw):
        made.append(Idp(*args, **kw))
        return made[-1]
    yield make
    for one in made:
        one.shutdown()
        one.server_close()
