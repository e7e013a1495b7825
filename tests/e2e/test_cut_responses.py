"""A token response that is cut at each of its bytes, by close_notify, FIN or RST, from a server that rotates and takes a second use for theft.

Behind the end of its refresh token everything is as with a whole response: it is kept, used, and nothing is sent again.  Before it the outcome is unknown (rule 2.13): the
same refresh token goes out once more, and after its refusal a last time (rule 2.13c), not oftener."""
import contextlib
import http.server
import json
import socket
import ssl
import struct
import threading
import urllib.parse

import harness
import pytest
from harness import until

ENDS = ["close_notify", "FIN", "RST"]


class Cutter(http.server.ThreadingHTTPServer):
    """Refresh tokens are WHERE.SERIAL: the first response of each WHERE ends behind so many bytes of its body, in so many writes."""
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, pki, end):
        super().__init__(("127.0.0.1", 0), Handler)
        self.end, self.lock, self.sent = end, threading.Lock(), {}
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pki / "good.pem", pki / "good.key")
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self):
        return f"https://127.0.0.1:{self.server_address[1]}/token"

    def handle_error(self, request, client_address):
        pass

    def finish_request(self, request, client_address):
        request.settimeout(harness.PATIENCE_S)
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else a reset takes back what was written
        with self.context.wrap_socket(request, server_side=True) as sock:
            Handler(sock, client_address, self)

    def redeem(self, token):
        """(body, where it is cut); a token that comes twice ends its grant."""
        where, serial = token.split(".")
        with self.lock:
            history = self.sent.setdefault(where, [])
            history.append(int(serial))
            spent = sorted(set(history)) != sorted(history) or int(serial) != len(set(history))
            count = len(history)
        if spent:
            return json.dumps({"error": "invalid_grant"}).encode(), None
        return body_of(where, int(serial) + 1), int(where) if count == 1 else None


def body_of(where, serial):
    return json.dumps({"access_token": f"at-{where}", "refresh_token": f"{where}.{serial}", "expires_in": 3600}).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_POST(self):
        form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["content-length"])).decode()))
        body, cut = self.server.redeem(form["refresh_token"])
        self.send_response(400 if cut is None and b"error" in body else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut])
        if cut is None:
            return
        self.close_connection = True
        with contextlib.suppress(OSError):
            if self.server.end == "close_notify":
                self.connection.settimeout(5)
                self.connection.unwrap()
            elif self.server.end == "RST":
                with socket.socket(fileno=self.connection.detach()) as raw:
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.fixture(params=ENDS)
def cutter(request, pki):
    server = Cutter(pki, request.param)
    yield server
    server.shutdown()
    server.server_close()


def statuses(sidekey):
    return {c["name"]: c for c in json.loads(sidekey.get_admin("/status")[1])["credentials"]}


def test_a_token_response_that_is_cut_at_any_byte_costs_no_refresh_token_that_has_come(start, make_config, pki, cutter):
    config = make_config()
    crm, rule = config["credentials"].pop("crm"), config["rules"][0]
    config["rules"] = []
    whole = body_of("000", 2)
    complete = whole.index(b'", "expires_in"') + 1  # behind the quote of the refresh token
    places = range(len(whole) + 1)
    for where in places:
        name = f"c{where}"
        config["credentials"][name] = {**crm, "token_url": cutter.url, "tls": {"ca_file": str(pki / "ca.pem")}, "required": False,
                                       "forced_refresh_floor": "1s", "refresh_token": make_config.write(name, f"{where:03d}.1")}
        config["rules"].append({**rule, "match": {"host": harness.API, "paths": [f"/v2/echo/{name}"]}, "credential": name})
    sidekey = start(config)

    def settled():
        now = statuses(sidekey)
        return all(c["generation"] or c["last_error"] for c in now.values()) and now
    until("each has had its answer", settled, seconds=harness.PATIENCE_S)
    wrong = {}
    for where in places:
        now, sent = statuses(sidekey)[f"c{where}"], cutter.sent[f"{where:03d}"]
        if where >= complete and (sent != [1] or now["generation"] != 1 or now["state"] != "usable"):
            wrong[where] = sent, now
        if where < complete and (not 2 <= len(sent) <= 5 or set(sent) != {1} or now["state"] != "reauth_required"):  # a slow machine asks more often
            wrong[where] = sent, now
    assert not wrong, (complete, wrong)
    for where in range(complete, len(whole) + 1):
        sidekey.get_admin(f"/refresh/c{where}", "POST")
    assert all(cutter.sent[f"{where:03d}"] == [1, 2] for where in range(complete, len(whole) + 1)), cutter.sent
