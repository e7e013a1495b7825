"""A token endpoint that says what a test wants it to say: plain http on loopback, one thread for each request."""
import http.server
import json
import threading
import urllib.parse


class TokenServer:
    """answer(form, headers) gives (status, body) or (status, body, fields); a body that is no text becomes JSON.

    Without one it takes the tokens of good and rotates them: t-1 becomes t-1.1, t-1.2 …; others are refused with refusal."""

    def __init__(self, good=(), rotates=True, refusal=(400, {"error": "invalid_grant"}), answer=None, lifetime=3600):
        self.good, self.rotates, self.refusal, self.lifetime = set(good), rotates, refusal, lifetime
        self.answer = answer or self.rotate
        self.requests = []  # forms, with their "authorization" and "user-agent"
        self.issued = 0
        self.lock = threading.Lock()
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                text = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
                form = dict(urllib.parse.parse_qsl(text, keep_blank_values=True))
                with owner.lock:
                    owner.requests.append({**form, "authorization": self.headers.get("authorization"), "user-agent": self.headers.get("user-agent")})
                    status, body, *fields = owner.answer(form, self.headers)
                body = (body if isinstance(body, str) else json.dumps(body)).encode()
                self.send_response(status)
                for name, value in (fields[0] if fields else {"Content-Type": "application/json"}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/token"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def rotate(self, form, _headers):
        token = form.get("refresh_token")
        if token not in self.good:
            return self.refusal
        self.issued += 1
        answer = {"access_token": f"at-{self.issued}", "token_type": "Bearer", "expires_in": self.lifetime}
        if self.rotates:
            answer["refresh_token"] = f"{token.partition('.')[0]}.{self.issued}"
            self.good.discard(token)
            self.good.add(answer["refresh_token"])
        return 200, answer

    def sent(self):
        """The refresh tokens that came, in order."""
        with self.lock:
            return [r.get("refresh_token") for r in self.requests]

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
