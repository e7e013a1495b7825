"""A small HTTPS API that takes nothing but a live access token."""
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from idp import reply


class Api:
    def __init__(self, name, folder, is_live):
        self.certificate, key = folder / "api.pem", folder / "api.key"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                        "-addext", f"subjectAltName=DNS:{name}", "-keyout", key, "-out", self.certificate], check=True, capture_output=True)
        self.is_live = is_live
        self.lock = threading.Lock()
        self.served = self.refused = 0
        self.last_authorization = None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self.server = Server(("127.0.0.1", 0), self.handler())
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def judge(self, authorization):
        live = self.is_live((authorization or "").removeprefix("Bearer "))
        with self.lock:
            self.last_authorization = authorization
            if live:
                self.served += 1
            else:
                self.refused += 1
        return live

    def handler(self):
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                if api.judge(self.headers.get("authorization")):
                    reply(self, 200, {"orders": [17, 42]})
                else:
                    reply(self, 401, {"error": "invalid_token"}, [("www-authenticate", "Bearer")])

            def log_message(self, *_):
                pass

        return Handler


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass  # a connection that ends in the middle is part of the show
