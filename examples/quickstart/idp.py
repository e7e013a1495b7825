"""A small authorization server: refresh tokens rotate at each use, and one that is used twice costs the whole grant (RFC 9700 §4.14.2)."""
import base64
import json
import secrets
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class AuthorizationServer:
    def __init__(self):
        self.client_id, self.client_secret = "demo-client", secrets.token_urlsafe(24)
        self.lock = threading.Lock()
        self.refresh = {}          # token -> "live" or "used"
        self.access = {}           # token -> dead from this moment on (monotonic)
        self.lifetime_s = 5        # of the access tokens made from now on
        self.pause_s = 0           # how long a token request takes
        self.token_requests = self.reused = 0
        self.issued_at = 0         # when the last access token was made (monotonic)
        self.first_refresh_token = self.mint()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.server.daemon_threads = True
        self.token_url = f"http://127.0.0.1:{self.server.server_port}/token"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def mint(self):
        token = "rt-" + secrets.token_urlsafe(24)
        self.refresh[token] = "live"
        return token

    def is_live(self, token):
        return time.monotonic() < self.access.get(token, 0)

    def revoke_access(self):
        with self.lock:
            self.access.clear()

    def redeem(self, form, authorization):
        expected = "Basic " + base64.b64encode(f"{self.client_id}:{self.client_secret}".encode()).decode()
        with self.lock:
            self.token_requests += 1
            if authorization != expected:
                return 401, {"error": "invalid_client"}
            presented = form.get("refresh_token", "")
            if form.get("grant_type") != "refresh_token" or self.refresh.get(presented) != "live":
                if presented in self.refresh:  # used before: somebody has a copy, so nobody keeps anything
                    self.reused += 1
                    self.refresh.clear()
                    self.access.clear()
                return 400, {"error": "invalid_grant"}
            self.refresh[presented] = "used"
            access = "at-" + secrets.token_urlsafe(24)
            self.issued_at = time.monotonic()
            self.access[access] = self.issued_at + self.lifetime_s
            return 200, {"access_token": access, "token_type": "Bearer", "expires_in": self.lifetime_s, "refresh_token": self.mint()}

    def handler(self):
        idp = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
                time.sleep(idp.pause_s)
                status, answer = idp.redeem(dict(urllib.parse.parse_qsl(body)), self.headers.get("authorization"))
                reply(self, status, answer)

            def log_message(self, *_):
                pass

        return Handler


def reply(handler, status, answer, headers=()):
    text = json.dumps(answer).encode()
    handler.send_response(status)
    for name, value in (("content-type", "application/json"), ("content-length", str(len(text))), *headers):
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(text)
