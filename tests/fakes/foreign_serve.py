"""How an authorization server of others, in this process, is asked by a test: a WSGI application, with JSON control beside its token endpoint.

serve(app, mint, end, counts) prints {"url", "token_url", "ends", "login"} when ready, and ends when its stdin ends.  ends: a token that comes twice ends its grant.
login: {"authorization_url", "revocation_url"}, for those where a person can sign in (option redirect_uri), with any form filled in.
  POST /mint                 a refresh token of a new grant -> {refresh_token}
  POST /end {refresh_token}  the grant of that token is over
  POST /counts               counts: {rotations, reuse}
  POST /live                 how many refresh tokens may still be spent, of those with a login
All other paths are the application's, its token endpoint (/token, or token_url) among them.
"""
import json
import socketserver
import sys
import threading
import urllib.parse
import wsgiref.simple_server

OPTIONS = json.loads(sys.argv[1])


class Server(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True


class Handler(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *_):
        pass


def serve(app, mint, end, counts, token_url="/token", ends=True, login=(), live=None):
    ways = {"/mint": lambda _: {"refresh_token": mint()}, "/end": lambda form: end(form["refresh_token"]) or {}, "/counts": lambda _: counts(), "/live": lambda _: live()}
    one = threading.Lock()

    def handle(environ, start_response):
        way = ways.get(environ["PATH_INFO"])
        with one:  # their stores are of the simplest kind
            if not way:
                return list(app(environ, start_response))
            form = json.loads(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)) or b"{}")
            body = json.dumps(way(form)).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    server = wsgiref.simple_server.make_server("127.0.0.1", 0, handle, Server, Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    print(json.dumps({"url": url, "token_url": urllib.parse.urljoin(url, token_url), "ends": ends, "login": {name: urllib.parse.urljoin(url, path) for name, path in login}}), flush=True)
    sys.stdin.read()
    raise SystemExit(0)
