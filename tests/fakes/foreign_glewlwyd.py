"""Glewlwyd, from Debian's package, behind a door that counts (see foreign_serve.py): foreign_glewlwyd.py '{"client_id": "…", "client_secret": "…", "folder": "…"}'.

Each refresh token is for one use.  What it refuses, it refuses by 400 with an empty body."""
import contextlib
import ctypes
import http.cookiejar
import json
import pathlib
import secrets
import signal
import socket
import sqlite3
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

from foreign_serve import OPTIONS, serve

FOLDER = pathlib.Path(OPTIONS["folder"]) / "glewlwyd"
SCHEMA = pathlib.Path("/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3")
LIBRARIES = pathlib.Path("/usr/lib/glewlwyd")
USER, PASSWORD = "alice", secrets.token_hex(12)
COUNTS = {"rotations": 0, "reuse": 0}
SPENT = set()
PR_SET_PDEATHSIG = 1


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


PORT = free_port()
URL = f"http://127.0.0.1:{PORT}/"
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))


def ask(path, body, headers):
    """(status, bytes)"""
    try:
        with OPENER.open(urllib.request.Request(URL + path, body, headers), timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()


def manage(path, **body):
    status, said = ask(path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    assert status == 200, (path, status, said)


def end_with_us():
    """The test ends this process by a signal, and none of it runs then."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def begin():
    FOLDER.mkdir()
    with contextlib.closing(sqlite3.connect(FOLDER / "db")) as db:
        db.executescript(SCHEMA.read_text())
    (FOLDER / "conf").write_text(f'''port={PORT}
bind_address="127.0.0.1"
external_url="{URL}"
api_prefix="api"
log_mode="file"
log_level="WARNING"
log_file="{FOLDER}/log"
cookie_secure=0
session_key="S"
admin_scope="g_admin"
profile_scope="g_profile"
user_module_path="{LIBRARIES}/user"
client_module_path="{LIBRARIES}/client"
user_auth_scheme_module_path="{LIBRARIES}/scheme"
plugin_module_path="{LIBRARIES}/plugin"
hash_algorithm="SHA256"
database = {{ type = "sqlite3"; path = "{FOLDER}/db"; }};
''')
    process = subprocess.Popen(["glewlwyd", "--config-file", str(FOLDER / "conf")], stdin=subprocess.DEVNULL, preexec_fn=end_with_us)
    until = time.monotonic() + 90
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", PORT), 1):
            return
        time.sleep(0.05)
    raise SystemExit((FOLDER / "log").read_text())


begin()
manage("api/auth", username="admin", password="password")
manage("api/scope", name="api", display_name="api", password_required=True, password_max_age=0)
manage("api/user?source=database", username=USER, password=PASSWORD, scope=["api"], enabled=True)
manage("api/client?source=database", client_id=OPTIONS["client_id"], client_secret=OPTIONS["client_secret"], confidential=True, enabled=True, scope=["api"],
       authorization_type=["password", "code", "refresh_token"], redirect_uri=[OPTIONS.get("redirect_uri", "http://127.0.0.1/")], token_endpoint_auth_method=["client_secret_basic", "client_secret_post"])
manage("api/mod/plugin", module="oidc", name="oidc", display_name="oidc", parameters={
    "iss": URL, "jwt-type": "sha", "jwt-key-size": "256", "key": secrets.token_hex(32), "access-token-duration": 3600, "refresh-token-duration": 1209600,
    "code-duration": 600, "refresh-token-rolling": True, "refresh-token-one-use": "always", "allow-non-oidc": True, "auth-type-code-enabled": True, "pkce-allowed": True, "pkce-required": False, "introspection-revocation-allowed": True,
    "introspection-revocation-allow-target-client": True,
    "auth-type-token-enabled": False, "auth-type-none-enabled": False, "auth-type-password-enabled": True, "auth-type-client-enabled": False,
    "auth-type-device-enabled": False, "auth-type-id-token-enabled": False, "auth-type-refresh-enabled": True, "scope": []})


def token(form, authorization=None):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    if authorization:
        headers["Authorization"] = authorization
    return ask("api/oidc/token", urllib.parse.urlencode(form).encode(), headers)


def answer(start_response, status, body, *headers):
    start_response(f"{status} said", [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers])
    return [body]


class Stay(urllib.request.HTTPRedirectHandler):
    """What leads away is for the person's browser."""

    def redirect_request(self, *_):
        return None


def sign_in(query, start_response):
    """Its pages need a browser with scripts: this is what they ask for a person who signs in, and consents."""
    browser = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()), Stay)
    for method, path, body in (("POST", "api/auth", {"username": USER, "password": PASSWORD}), ("PUT", f"api/auth/grant/{OPTIONS['client_id']}", {"scope": "api"})):
        browser.open(urllib.request.Request(URL + path, json.dumps(body).encode(), {"Content-Type": "application/json"}, method=method), timeout=60).close()
    try:
        browser.open(f"{URL}api/oidc/auth?{query}&g_continue", timeout=60).close()
    except urllib.error.HTTPError as left:
        return answer(start_response, left.code, b"{}", ("Location", left.headers["location"]))
    raise AssertionError("glewlwyd asks for more")


def app(environ, start_response):
    """The token endpoint, and the one that revokes."""
    if environ["PATH_INFO"] == "/sign-in":
        return sign_in(environ["QUERY_STRING"], start_response)
    form = dict(urllib.parse.parse_qsl(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode()))
    if environ["PATH_INFO"] == "/revoke":
        return answer(start_response, *ask("api/oidc/revoke", urllib.parse.urlencode(form).encode(), {
            "Content-Type": "application/x-www-form-urlencoded", **({"Authorization": environ["HTTP_AUTHORIZATION"]} if "HTTP_AUTHORIZATION" in environ else {})}))
    status, body = token(form, environ.get("HTTP_AUTHORIZATION"))
    if status == 200 and form["grant_type"] != "refresh_token":
        pass
    elif status == 200:
        COUNTS["rotations"] += 1
        SPENT.add(form["refresh_token"])
    elif form.get("refresh_token") in SPENT:
        COUNTS["reuse"] += 1
    return answer(start_response, status, body)


def mint():
    status, body = token({"grant_type": "password", "username": USER, "password": PASSWORD, "scope": "api", "client_id": OPTIONS["client_id"],
                          "client_secret": OPTIONS["client_secret"]})
    assert status == 200, (status, body)
    return json.loads(body)["refresh_token"]


def end(_refresh_token):
    """All that there are: it keeps hashes only."""
    with contextlib.closing(sqlite3.connect(FOLDER / "db", timeout=30)) as db, db:
        db.execute("UPDATE gpo_refresh_token SET gpor_enabled = 0")


def live():
    with contextlib.closing(sqlite3.connect(FOLDER / "db", timeout=30)) as db:
        return db.execute("SELECT count(*) FROM gpo_refresh_token WHERE gpor_enabled = 1").fetchone()[0]


serve(app, mint, end, lambda: COUNTS, ends=OPTIONS.get("ends", True), live=live, login=[("authorization_url", "/sign-in"), ("revocation_url", "/revoke")])
