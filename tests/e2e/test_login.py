"""sidekey login and logout: a person signs in at a real authorization server, and unchanged programs get tokens."""
import base64
import http.cookiejar
import http.client
import http.server
import json
import os
import pty
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import harness
import pki as pki_maker
import pytest
from harness import PATIENCE_S, SIDEKEY, environment, until
from json_server import JsonHandler, serving
from redis_fixture import redis_server  # noqa: F401 (a fixture)

EX_USAGE, EX_UNAVAILABLE, EX_NOPERM, EX_CONFIG = 64, 69, 77, 78
URL = re.compile(r"^  (https?://\S+)$", re.M)


@pytest.fixture(scope="module")
def auth_server(folder, pki):
    server = harness.AuthServer(folder, pki, sign_in=True)
    yield server
    server.stop()


@pytest.fixture
def login_config(auth, make_config):
    """login_config(login={…}, **keys of the credential): one credential that has no refresh token yet."""
    def make(login=None, store=None, **more):
        config = make_config()
        issuer = auth.token_url.removesuffix("/token")
        config["credentials"] = {"crm": {
            "grant": "refresh_token", "token_url": auth.token_url, "client_id": "sidekey-native",
            "login": login or {"issuer": issuer, "scope": "openid offline_access", "params": {"prompt": "consent"}}, **more,
        }}
        config["store"].update(store or {})
        return config
    return make


class Login(harness.Process):
    """`sidekey login crm`, as a person sees it."""

    def __init__(self, place, config, *args, env=None, command="login", name="login", credential="crm", **kw):
        self.file = place / f"{name}.yaml"
        self.file.write_text(json.dumps(config))
        super().__init__(name, [SIDEKEY, command, credential, "-c", self.file, *args], place, environment(place, env), **kw)

    def url(self):
        """The address that a browser is to open."""
        return self.wait_line(URL.pattern, self.err)[1]

    def end(self, status=0):
        """What it said, once it has ended with this status."""
        code = self.popen.wait(PATIENCE_S)
        said = self.err.read_text()
        assert code == status, (code, said)
        assert not self.out.read_text()
        return said


@pytest.fixture
def login(place, request, auth):
    """login(config, *args): a running one.  At the end no secret stands in what any of them printed."""
    started = []

    def begin(config, *args, **kw):
        started.append(Login(place, config, *args, name=f"login{len(started)}", **kw))
        request.node.sidekey_processes.append(started[-1])
        return started[-1]
    yield begin
    for one in started:
        if one.popen.poll() is None:
            one.stop(signal.SIGKILL)
        for secret in auth.secrets:
            assert secret not in one.err.read_text(), "a secret was printed"


class Person:
    """Somebody with a browser: fills in whatever form there is."""

    def __init__(self, name="alice", *handlers):
        self.name = name
        self.opener = urllib.request.build_opener(*handlers, urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))

    def open(self, url, form=None):
        """(final URL, page)"""
        data = None if form is None else urllib.parse.urlencode(form).encode()
        with self.opener.open(url, data, timeout=PATIENCE_S) as answer:
            return answer.url, answer.headers, answer.read().decode()

    def go(self, url, form=None, until_page="Return to the terminal"):
        """Opens url and fills in forms, until a page says that it is done."""
        for _ in range(10):
            at, headers, page = self.open(url, form)
            if until_page in page:
                return at, headers, page
            action = re.search(r'<form[^>]*action="([^"]+)"', page)
            assert action, page
            url = urllib.parse.urljoin(at, action[1].replace("&amp;", "&"))
            form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
            if 'name="login"' in page:
                form.update(login=self.name, password="any")
        raise AssertionError(f"too many forms: {page}")


def sign_in(config, login, person=None):
    one = login(config, "--no-browser")
    (person or Person()).go(one.url())
    return one.end()


def test_a_browser_signs_in_and_a_program_that_knows_nothing_gets_rotated_tokens(auth, login, login_config, start):
    config = login_config()
    one = login(config, "--no-browser")
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(one.url()).query)
    assert query["code_challenge_method"] == ["S256"] and len(query["code_challenge"][0]) == 43 and len(query["state"][0]) == 43
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/callback", query["redirect_uri"][0])
    at, headers, _ = Person().go(one.url())
    assert headers["cache-control"] == "no-store" and "default-src 'none'" in headers["content-security-policy"] and "code=" in at
    said = one.end()
    assert "Signed in as alice." in said
    sidekey = start(config)
    assert sidekey.request()[0] == 200
    auth.revoke_access()
    assert sidekey.request()[0] == 200
    assert auth.healthy()["refreshes"] == 1


def test_a_running_sidekey_uses_what_was_signed_in_at_once(auth, login, login_config, start):
    config = login_config()
    config["limits"]["token_wait"] = "1s"
    sidekey = start(config)
    status, _, body = sidekey.request()
    assert status == 503 and "sidekey login crm" in body.decode(), body
    sign_in(config, login)
    until("a token", lambda: sidekey.request()[0] == 200)
    assert auth.healthy()["refreshes"] == 0


def test_the_device_flow(auth, login, login_config, start):
    config = login_config()
    one = login(config, "--device")
    code = one.wait_line(r"enter the code:  (\S+)", one.err)[1]
    person = Person("bob")
    person.go(one.url() + "?" + urllib.parse.urlencode({"user_code": code}), until_page="Sign-in Success")
    assert "Signed in as bob." in one.end()
    assert start(config).request()[0] == 200
    assert auth.healthy()["refreshes"] == 0


def test_signing_in_again_replaces_the_grant_and_a_dead_one_is_told(auth, login, login_config, start):
    config = login_config()
    config["limits"]["token_wait"] = "1s"
    sign_in(config, login)
    sidekey = start(config)
    assert sidekey.request()[0] == 200
    auth.ask("/revoke_all", {})
    assert sidekey.request()[0] == 401  # the API's own: there is no newer token
    until("the grant is dead", lambda: "run sidekey login crm" in sidekey.get_admin("/status")[1])
    sign_in(config, login)
    until("a token", lambda: sidekey.request()[0] == 200)


def get(url):
    """(status, page) without following anything."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE_S)
    connection.request("GET", f"{parts.path}?{parts.query}", headers={"Host": parts.netloc})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def redirect_of(url):
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
    return query["redirect_uri"], query["state"]


def test_a_redirect_with_another_state_changes_nothing(auth, login, login_config):
    one = login(login_config(), "--no-browser")
    url = one.url()
    to, _ = redirect_of(url)
    assert get(f"{to}?code=stolen&state=other")[0] == 400
    assert get(f"{to}?code=stolen")[0] == 400
    assert get(f"{to.replace('/callback', '/favicon.ico')}?x=y")[0] == 404
    one.wait_line("another state", one.err)
    Person().go(url)
    said = one.end()
    assert "Signed in as alice." in said and auth.counts["token_requests"] == 1


def test_another_host_name_that_leads_here_is_refused(auth, login, login_config):
    one = login(login_config(), "--no-browser")
    to, state = redirect_of(one.url())
    port = urllib.parse.urlsplit(to).port
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    connection.request("GET", f"/callback?code=x&state={state}", headers={"Host": f"evil.example:{port}"})
    assert connection.getresponse().status == 400
    assert auth.counts["token_requests"] == 0


def test_the_redirect_is_taken_once(auth, login, login_config):
    one = login(login_config(), "--no-browser")
    at, _, _ = Person().go(one.url())
    one.end()
    with pytest.raises(OSError):
        get(at)
    assert auth.counts["token_requests"] == 1


def test_a_second_redirect_that_waits_already_is_refused(auth, login, login_config):
    """Another tab, or somebody who saw the address: connected before the first one was taken."""
    one = login(login_config(), "--no-browser")
    to, _ = redirect_of(one.url())
    second = http.client.HTTPConnection(urllib.parse.urlsplit(to).netloc, timeout=PATIENCE_S)
    second.connect()
    at, _, _ = Person().go(one.url())
    try:
        second.request("GET", at.removeprefix(f"http://{urllib.parse.urlsplit(to).netloc}"))
        answer = second.getresponse()
        assert answer.status == 410 and b"completed before" in answer.read()
    except OSError:
        pass  # sidekey was done before it came
    assert "Signed in as alice." in one.end() and auth.counts["token_requests"] == 1


def test_a_person_who_says_no_is_told_so(auth, login, login_config):
    one = login(login_config(), "--no-browser")
    to, state = redirect_of(one.url())
    issuer = auth.token_url.removesuffix("/token")
    status, page = get(f"{to}?" + urllib.parse.urlencode({"error": "access_denied", "state": state, "iss": issuer}))
    assert status == 400 and "refused" in page
    assert "refused (access_denied)" in one.end(EX_NOPERM)


@pytest.mark.parametrize("iss", [None, "https://evil.example"])
def test_a_response_of_another_issuer_is_not_used(auth, login, login_config, iss):
    """RFC 9207: this server says that it always names itself."""
    one = login(login_config(), "--no-browser")
    to, state = redirect_of(one.url())
    get(f"{to}?" + urllib.parse.urlencode({"code": "x", "state": state, **({"iss": iss} if iss else {})}))
    assert "another issuer" in one.end(EX_UNAVAILABLE)
    assert auth.counts["token_requests"] == 0


def test_a_browser_that_never_comes(auth, login, login_config):
    one = login(login_config(), "--no-browser", "--timeout", "1s")
    assert "did not come back in time" in one.end(EX_UNAVAILABLE)


def test_a_provider_without_a_refresh_token(auth, login, login_config, place):
    issuer = auth.token_url.removesuffix("/token")
    config = login_config(client_id="sidekey-without-refresh", login={"issuer": issuer, "scope": "openid"})
    one = login(config, "--no-browser")
    Person().go(one.url())
    assert "gave no refresh token" in one.end(EX_UNAVAILABLE)
    assert not list((place / "state").glob("*.state"))


def test_a_device_code_that_is_refused(auth, login, login_config):
    one = login(login_config(), "--device")
    code = one.wait_line(r"enter the code:  (\S+)", one.err)[1]
    auth.ask("/deny", {"user_code": code})
    assert "refused (access_denied)" in one.end(EX_NOPERM)


def test_the_address_is_pasted_when_the_browser_runs_elsewhere(auth, login, login_config):
    one = login(login_config(), "--no-browser", stdin=subprocess.PIPE)
    url = one.url()
    to, _ = redirect_of(url)
    final = {}

    class Elsewhere(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, req, fp, code, msg, headers, newurl):
            if newurl.startswith(to):
                final["url"] = newurl
                raise StopIteration
            return super().redirect_request(req, fp, code, msg, headers, newurl)
    with pytest.raises(StopIteration):
        Person("alice", Elsewhere).go(url)
    one.popen.stdin.write(f"{final['url']}\n".encode())
    one.popen.stdin.flush()
    assert "Signed in as alice." in one.end()


def test_on_a_terminal_it_shows_how_long_there_is_and_cleans_up(auth, login_config, place):
    file = place / "terminal.yaml"
    file.write_text(json.dumps(login_config()))
    ours, theirs = pty.openpty()
    env = environment(place, {"BROWSER": "/bin/true"})
    one = subprocess.Popen([SIDEKEY, "login", "-c", file], stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    shown = b""
    while b"waiting for you to sign in, 9:5" not in shown:
        shown += os.read(ours, 4096)
    assert b"Your browser opens this address" in shown
    Person().go(URL.search(shown.decode().replace("\r\n", "\n"))[1])
    try:
        while True:
            shown += os.read(ours, 4096)
    except OSError:  # the terminal's other end is closed
        os.close(ours)
    assert one.wait(PATIENCE_S) == 0
    assert shown.endswith(b"\r\x1b[KSigned in as alice. The token is stored for crm, and refreshed from now on.\r\n"), shown[-200:]


def test_logout_revokes_and_forgets_and_login_works_again(auth, login, login_config, start):
    config = login_config()
    config["limits"]["token_wait"] = "1s"
    sign_in(config, login)
    sidekey = start(config)
    assert sidekey.request()[0] == 200
    out = login(config, command="logout")
    assert "Signed out" in out.end() and auth.counts["grants_revoked"] == 1
    until("no token", lambda: sidekey.request()[0] == 503)
    assert b"sidekey login crm" in sidekey.request()[2]
    sign_in(config, login)
    until("a token", lambda: sidekey.request()[0] == 200)


def test_logout_forgets_although_the_provider_is_away(auth, login, login_config, server, start):
    config = login_config()
    sign_in(config, login)
    config["credentials"]["crm"]["login"] = {"issuer": server.url}
    said = login(config, command="logout").end()
    assert "has no metadata" in said and "end the session there as well" in said
    config["limits"]["token_wait"] = "1s"
    assert start(config).request()[0] == 503


def test_a_credential_that_cannot_be_signed_in_says_what_is_missing(auth, login, make_config):
    assert "has no login" in login(make_config()).end(EX_CONFIG)


def test_a_configured_refresh_token_does_not_come_back(auth, login, login_config, make_config, start):
    config = login_config()
    sign_in(config, login)
    old = auth.mint(client="sidekey-native")
    config["credentials"]["crm"]["refresh_token"] = make_config.write("late", old["refresh_token"])
    sign_in(config, login)
    sidekey = start(config)
    assert sidekey.request()[0] == 200
    assert login(config, command="logout").end()
    until("no token", lambda: sidekey.request()[0] == 503)
    assert auth.counts["refreshes"] == 0 and auth.counts["reuse"] == 0


class Server(http.server.ThreadingHTTPServer):
    """A server that says what a test wants: answers[path] = (status, members), or a function of the form."""
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Speaker)
        self.answers, self.asked, self.challenge = {}, [], None
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()


class Speaker(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers.get("content-length", 0))).decode()))
        self.server.asked.append((time.monotonic(), self.path, form))
        answer = self.server.answers.get(self.path, (404, {}))
        status, members = answer(form) if callable(answer) else answer
        text = json.dumps(members).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        if status == 401 and self.server.challenge:
            self.send_header("www-authenticate", self.server.challenge)
        self.end_headers()
        self.wfile.write(text)
    do_GET = do_POST

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    one = Server()
    yield one
    one.shutdown()
    one.server_close()


@pytest.mark.parametrize("metadata, status, says", [
    ({"issuer": "https://evil.example"}, EX_CONFIG, "another issuer"),
    ({"token_endpoint": "https://evil.example/token"}, EX_CONFIG, "another token endpoint"),
    ({"code_challenge_methods_supported": ["plain"]}, EX_UNAVAILABLE, "does not support PKCE with S256"),
    ({"authorization_endpoint": "ftp://127.0.0.1/auth"}, EX_UNAVAILABLE, "not https"),
])
def test_metadata_of_another_issuer_or_with_another_token_endpoint_is_refused(login, login_config, server, metadata, status, says):
    server.answers["/.well-known/openid-configuration"] = (200, {
        "issuer": server.url, "authorization_endpoint": f"{server.url}/auth", "token_endpoint": f"{server.url}/token", **metadata})
    config = login_config(token_url=f"{server.url}/token", login={"issuer": server.url})
    assert says in login(config, "--no-browser").end(status)


def test_a_server_without_metadata_is_told(login, login_config, server):
    config = login_config(token_url=f"{server.url}/token", login={"issuer": server.url})
    assert "has no metadata" in login(config).end(EX_UNAVAILABLE)
    assert [path for _, path, _ in server.asked] == ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"]


def device_server(server, answers, **more):
    """answers: what the token endpoint says, one after the other."""
    left = list(answers)
    server.answers["/device"] = (200, {"device_code": "dc-1", "user_code": "ABCD-EFGH", "verification_uri": f"{server.url}/enter", "expires_in": 600, "interval": 1, **more})
    server.answers["/token"] = lambda form: left.pop(0) if len(left) > 1 else left[0]
    return {"device_authorization_url": f"{server.url}/device", "scope": "a b"}


def test_a_device_code_is_asked_for_at_the_pace_that_the_server_wants(login, login_config, server):
    token = (200, {"access_token": "at-1", "refresh_token": "rt-0123456789", "expires_in": 3600})
    keys = device_server(server, [(400, {"error": "authorization_pending"}), (400, {"error": "slow_down"}), token])
    one = login(login_config(token_url=f"{server.url}/token", login=keys))
    assert "Signed in." in one.end()
    first, pending, slow, last = [at for at, _, _ in server.asked]
    assert pending - first >= 1 and slow - pending >= 1 and last - slow >= 6
    assert server.asked[0][2] == {"client_id": "sidekey-native", "scope": "a b"}
    assert server.asked[1][2] == {"client_id": "sidekey-native", "grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": "dc-1"}


def test_a_device_code_expires(login, login_config, server):
    keys = device_server(server, [(400, {"error": "authorization_pending"})], expires_in=2)
    one = login(login_config(token_url=f"{server.url}/token", login=keys))
    assert "expired before it was used" in one.end(EX_UNAVAILABLE)


PUBLIC = "login.sidekey.test"
INSIDE = ["https://10.0.0.1/x", "https://169.254.169.254/latest/meta-data", "https://[fd00::1]/x", "https://127.0.0.1/x", "https://localhost/x", "http://login.sidekey.test/x"]


class Metadata(JsonHandler):
    def do_GET(self):
        self.say(200, self.server.metadata)

    def do_POST(self):
        self.body()
        self.say(200, {})


@pytest.fixture
def public(pki):
    """The issuer https://login.sidekey.test, whose metadata says what a test wants; network.resolve leads to it."""
    if not (pki / "issuer.pem").exists():
        pki_maker.leaf(pki, "issuer", [PUBLIC])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "issuer.pem", pki / "issuer.key")
    with serving(Metadata, context, metadata={"issuer": f"https://{PUBLIC}", "token_endpoint": f"https://{PUBLIC}/token"}) as server:
        server.resolve = {f"{PUBLIC}:443": f"127.0.0.1:{server.server_address[1]}"}
        yield server


@pytest.mark.parametrize("inside", INSIDE)
def test_metadata_leads_no_request_to_a_private_address(auth, login, login_config, public, pki, inside):
    """A public issuer is believed in what is its own, not in where to knock behind the firewall."""
    config = login_config(token_url=f"https://{PUBLIC}/token", login={"issuer": f"https://{PUBLIC}"})
    config["network"] = {"resolve": public.resolve}
    env = {"SSL_CERT_FILE": str(pki / "ca.pem")}
    public.metadata["device_authorization_endpoint"] = inside
    said = login(config, "--device", env=env).end(EX_UNAVAILABLE)
    assert "is not allowed" in said or "names a device_authorization_endpoint that is not https" in said, said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a hosts file")
def test_an_mcp_server_whose_name_leads_to_a_private_address_is_not_asked(auth, place, mcp):
    """As a rebinding name would; nothing is listed as allowed when init asks."""
    server = mcp()
    (place / "hosts").write_text("127.0.0.1 mcp.sidekey.test\n10.0.0.1 ten.sidekey.test\n")
    for name in ("mcp", "ten"):
        script = f"mount --bind {place}/hosts /etc/hosts && exec {SIDEKEY} init mcp -o {place}/mcp.yaml resource=https://{name}.sidekey.test:{server.server_address[1]}/mcp"
        done = harness.run(["unshare", "-m", "sh", "-c", script], environment(place))
        if b"mount" in done.stderr:
            pytest.skip("this machine allows no mounts")
        assert done.returncode == EX_UNAVAILABLE and b"is not allowed" in done.stderr, done
    assert not server.asked and not (place / "mcp.yaml").exists()


def jwt(claims, typ="JWT"):
    """One that nobody has signed."""
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "none", "typ": typ}, claims)) + ".eA"


API_URL = "https://api.example/v1"
FOR_OTHERS = {
    "an ID token of another client": ({"id_token": {"aud": "somebody", "sub": "alice"}}, 'for another client, "somebody"'),
    "an ID token for several others": ({"id_token": {"aud": ["a", "b"], "sub": "alice"}}, "for another client"),
    "an ID token of another issuer": ({"id_token": {"aud": "sidekey-native", "iss": "https://evil.example"}}, 'of another issuer, "https://evil.example"'),
    "an access token for another resource": ({"access_token": {"aud": "https://other.example"}}, 'for another audience, "https://other.example", not "https://api.example/v1"'),
    "an ID token that speaks to the terminal": ({"id_token": {"aud": "\x1b[2J"}}, '"?[2J"'),
    "an ID token for us and others": ({"id_token": {"aud": ["sidekey-native", "b"], "email": "alice@api.example"}}, "Signed in as alice@api.example."),
    "an access token for our resource": ({"access_token": {"aud": ["x", API_URL + "/"]}}, "Signed in."),
}


@pytest.mark.parametrize("what", FOR_OTHERS)
def test_a_token_for_another_audience_is_not_stored(login, login_config, server, place, what):
    tokens, says = FOR_OTHERS[what]
    types = {"access_token": "at+jwt", "id_token": "JWT"}
    made = {name: jwt(claims, types[name]) for name, claims in tokens.items()}
    keys = device_server(server, [(200, {"access_token": "at-1", "refresh_token": "rt-0123456789", "expires_in": 3600, **made})])
    server.answers["/.well-known/oauth-authorization-server"] = (200, {"issuer": server.url, "token_endpoint": f"{server.url}/token"})
    one = login(login_config(token_url=f"{server.url}/token", login={**keys, "issuer": server.url}, resource=API_URL))
    good = says.startswith("Signed in")
    said = one.end(0 if good else EX_UNAVAILABLE)
    assert says in said and "rt-0123456789" not in said and not any(token in said for token in made.values())
    assert bool(list((place / "state").glob("*.state"))) == good


@pytest.mark.parametrize("page", ["http://evil.example/enter", "javascript:alert(1)", "https://127.0.0.1\x1b[2J/"])
def test_a_page_that_is_not_safe_to_show_is_refused(login, login_config, server, page):
    keys = device_server(server, [(400, {"error": "authorization_pending"})], verification_uri=page)
    one = login(login_config(token_url=f"{server.url}/token", login=keys))
    assert "cannot be used" in one.end(EX_UNAVAILABLE)


def grants(auth, kind):
    return [event["grant"] for event in auth.ask("/events") if event["what"] == "grant.success" and event["type"] == kind]


@pytest.fixture
def replicas(login_config, place, redis_server):  # noqa: F811
    """replicas(n): n configurations with directories of their own, and one Redis."""
    redis = redis_server()

    def make(count):
        for i in range(count):
            (place / f"state{i}").mkdir(mode=0o700)
            config = login_config(store={"file": str(place / f"state{i}"), "redis": {"url": redis.url}})
            config["ca"]["publish"] = str(place / f"ca{i}")
            yield config
    return lambda count: list(make(count))


def test_a_sign_in_while_three_replicas_refresh_leaves_one_grant_and_no_reuse(auth, login, replicas, start):
    *three, by_hand = replicas(4)
    auth.access_ttl(2)
    sign_in(by_hand, login)
    running = [start(config, name=f"replica{i}") for i, config in enumerate(three)]
    over = threading.Event()
    failed = []

    def use(sidekey):
        while not over.is_set():
            status, _, body = sidekey.request()
            if status != 200:
                failed.append((status, body))
            time.sleep(0.05)
    users = [threading.Thread(target=use, args=(sidekey,)) for sidekey in running]
    for user in users:
        user.start()
    try:
        until("the first grant was refreshed", lambda: grants(auth, "refresh_token"))
        sign_in(by_hand, login)
        first, second = grants(auth, "authorization_code")
        until("the second grant was refreshed", lambda: grants(auth, "refresh_token").count(second) >= 2)
    finally:
        over.set()
        for user in users:
            user.join()
    spent = grants(auth, "refresh_token")
    assert first not in spent[spent.index(second):] and not failed, (spent, failed[:3])
    auth.healthy()


@pytest.mark.world
@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
def test_from_nothing_to_a_program_that_works_in_three_commands_and_a_real_browser(auth, place, pki):
    """init, login, run: no file that a person wrote holds a secret."""
    began = time.monotonic()
    env = environment(place, {"HOME": str(place), "STATE_DIRECTORY": str(place / "state"), "XDG_RUNTIME_DIR": str(place / "runtime")})
    (place / "runtime").mkdir(mode=0o700)
    (place / "state").mkdir(mode=0o700)
    file = place / "sidekey.yaml"
    done = harness.run([SIDEKEY, "init", "generic-login", "-o", file, "--name", "crm", f"provider={auth.token_url.removesuffix('/token')}", f"token_url={auth.token_url}",
                        "client_id=sidekey-native", "login_scope=openid offline_access"], env)
    assert done.returncode == 0, done.stderr
    file.write_text(file.read_text() + f"""
rules:
  - match: {{host: {harness.API}}}
    credential: crm
    tls: {{ca_file: {pki}/ca.pem}}
network:
  resolve: {{"{harness.API}:443": "127.0.0.1:{auth.api_port}"}}
""")
    browser = place / "browser"
    browser.write_text(f'#!/bin/sh\nexec node {harness.ROOT}/tests/fakes/browser.mjs "$1" carol {place}/profile >{place}/browser.out 2>&1\n')
    browser.chmod(0o755)
    done = harness.run([SIDEKEY, "login", "-c", file], {**env, "BROWSER": str(browser), "SIDEKEY_NODE": str(harness.NODE_DIR)})
    assert done.returncode == 0 and b"Signed in as carol." in done.stderr, (done.stderr, [f.read_text() for f in place.glob("browser.out")])
    done = harness.run([SIDEKEY, "run", "-c", file, "--", "curl", "-sS", f"https://{harness.API}/v2/echo"], env)
    assert done.returncode == 0 and json.loads(done.stdout)["live"] is True, (done.stdout, done.stderr)
    assert time.monotonic() - began < 300
    assert not [secret for secret in auth.secrets if secret in file.read_text()]
    assert auth.healthy()["token_requests"] == 1


def without_seal_key(config, place):
    """The same configuration, seen by somebody who cannot read the seal key."""
    return {**config, "store": {**config["store"], "seal_key": {"file": str(place / "nowhere")}}}


def test_the_keeper_that_runs_takes_the_token_and_login_needs_no_seal_key(auth, login, login_config, start, place):
    config = login_config()
    sidekey = start(config)
    assert (place / "state/login.sock").stat().st_mode & 0o777 == 0o600
    said = sign_in(without_seal_key(config, place), login)
    assert "Signed in as alice." in said
    assert sidekey.request()[0] == 200
    log = sidekey.logs()["sidekey.out"].decode()
    assert '"msg":"signed in","credential":"crm","generation":1' in log
    sign_in(config, login)
    until("the second sign-in", lambda: '"msg":"signed in","credential":"crm","generation":2' in sidekey.logs()["sidekey.out"].decode())
    assert auth.healthy()["refreshes"] == 0


def test_the_keeper_that_runs_revokes_and_forgets(auth, login, login_config, start, place):
    config = login_config()
    config["limits"]["token_wait"] = "1s"
    sidekey = start(config)
    sign_in(config, login)
    assert sidekey.request()[0] == 200
    said = login(without_seal_key(config, place), command="logout").end()
    assert said.endswith("is forgotten.\n")
    until("no token", lambda: sidekey.request()[0] == 503)
    counts = auth.counts
    assert counts["grants_revoked"] == 1 and counts["refreshes"] == 0


class Revocation(JsonHandler):
    def do_GET(self):
        self.say(200, {"secret": "fetched-secret"})

    def do_POST(self):
        self.server.asked.append(dict(urllib.parse.parse_qsl(self.body().decode())))
        self.say(200, {})


def certified(place):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=app", "-keyout", place / "app.key", "-out", place / "app.pem"], check=True, capture_output=True)
    (place / "app.key").chmod(0o600)
    return {"client_auth": "private_key_jwt", "assertion": {"key": {"file": str(place / "app.key")}, "certificate": {"file": str(place / "app.pem")}}}


@pytest.mark.parametrize("client", ["a certificate", "a fetched secret"])
def test_a_revocation_is_authenticated_as_a_token_request_is(login, login_config, place, client):
    with serving(Revocation, asked=[]) as provider:
        config = login_config()
        sign_in(config, login)
        crm = config["credentials"]["crm"]
        crm["login"]["revocation_url"] = f"{provider.url}/revoke"
        crm |= certified(place) if client == "a certificate" else {"client_auth": "body", "client_secret": {"http": {"url": f"{provider.url}/secret", "pointer": "/secret"}}}
        assert "Signed out" in login(config, command="logout").end()
    asked = provider.asked[0]
    assert len(provider.asked) == 1 and asked["token_type_hint"] == "refresh_token", asked
    if client == "a certificate":
        head = asked["client_assertion"].partition(".")[0]
        assert {"x5t", "x5t#S256"} <= set(json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))), asked
    else:
        assert asked["client_secret"] == "fetched-secret", asked


def test_the_keeper_sends_a_token_to_be_revoked_only_where_it_belongs(auth, login, login_config, start, place, server):
    config = login_config()
    sidekey = start(config)
    sign_in(config, login)
    assert sidekey.request()[0] == 200
    message = {"credential": "crm", "token_url": auth.token_url, "client_id": "sidekey-native", "store": str(place / "state"), "act": 2,
               "revocation_url": f"{server.url}/revoke", "status": 0, "wall_ms": 0, "body": ""}
    assert b"end the session there as well" in say(place / "state/login.sock", json.dumps(message).encode())
    assert not server.asked and auth.counts["grants_revoked"] == 0


def test_a_keeper_that_dies_meanwhile_costs_no_sign_in(auth, login, login_config, start, place):
    config = login_config()
    sidekey = start(config)
    one = login(without_seal_key(config, place), "--no-browser")
    url = one.url()
    sidekey.kill_child("keeper")
    sidekey.reload()
    Person().go(url)
    assert "Signed in as alice." in one.end()
    assert sidekey.request()[0] == 200


def test_a_sidekey_with_another_configuration_takes_nothing(auth, login, login_config, start, place):
    config = login_config()
    start(config)
    other = without_seal_key(config, place)
    other["credentials"] = {"crm": {**config["credentials"]["crm"], "client_id": "sidekey-without-refresh"}}
    assert "nowhere" in login(other, "--no-browser").end(EX_CONFIG)


def say(path, message):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE_S)
        sock.connect(str(path))
        sock.sendall(message)
        sock.shutdown(socket.SHUT_WR)
        return sock.recv(4096)


def test_nonsense_on_the_login_socket_harms_nobody(auth, login, login_config, start, place):
    config = login_config()
    sidekey = start(config)
    path = place / "state/login.sock"
    keeper = sidekey.child("keeper")
    for message in (b"", b"{", b"[]", b"{}", b"null", b'{"credential":"crm"}', b"x" * 100_000,
                    json.dumps({"credential": "crm", "token_url": auth.token_url, "client_id": "sidekey-native", "store": str(place / "state"), "act": 1, "revocation_url": "",
                                "status": 200, "wall_ms": 1, "body": "e30="}).encode()):
        assert b"error" in say(path, message), message
    mute = [socket.socket(socket.AF_UNIX) for _ in range(6)]
    for sock in mute:
        sock.connect(str(path))
    until("too many are turned away", lambda: any(turned_away(sock) for sock in mute))
    for sock in mute:
        sock.close()
    sign_in(without_seal_key(config, place), login)
    assert sidekey.request()[0] == 200 and sidekey.child("keeper") == keeper


def turned_away(sock):
    sock.setblocking(False)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can play another user")
def test_another_user_cannot_hand_over_a_token(auth, login_config, start, place):
    open_to_all = place / "open"
    open_to_all.mkdir(mode=0o755)
    for folder in (place, *place.parents[:1]):
        folder.chmod(0o755)
    config = login_config()
    config["listen"]["admin_socket"] = str(open_to_all / "admin.sock")
    sidekey = start(config)
    path = open_to_all / "login.sock"
    path.chmod(0o666)
    script = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({str(path)!r}); s.sendall(b'{{}}'); s.shutdown(1); print(s.recv(99))"
    done = harness.run([harness.PYTHON, "-c", f"import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n{script}"])
    assert done.stdout == b"b''\n" or b"Reset" in done.stderr or b"Broken pipe" in done.stderr, done
    until("it is told", lambda: "neither root nor sidekey's own tried to sign in" in sidekey.logs()["sidekey.out"].decode())


class Mcp(Server):
    """An MCP server as far as signing in goes: a protected resource (RFC 9728) that names its authorization server."""

    def __init__(self, issuer, where="/.well-known/oauth-protected-resource/mcp"):
        super().__init__()
        self.resource = f"{self.url}/mcp"
        self.document = {"resource": self.resource, "authorization_servers": [issuer], "scopes_supported": ["tools"]}
        self.answers[where] = lambda form: (200, self.document)
        self.answers["/mcp"] = (401, {"error": "invalid_token"})


@pytest.fixture
def mcp(auth):
    made = []

    def make(**kw):
        made.append(Mcp(auth.token_url.removesuffix("/token"), **kw))
        return made[-1]
    yield make
    for one in made:
        one.shutdown()
        one.server_close()


def init(place, *words, status=0):
    done = harness.run([SIDEKEY, "init", "mcp", "-o", place / "mcp.yaml", *words], environment(place))
    assert done.returncode == status, done
    return done.stderr.decode()


def test_an_mcp_server_needs_only_its_url(auth, login, mcp, place, make_config, start):
    server = mcp()
    said = init(place, f"resource={server.resource}")
    assert "where sidekey is registered now" in said
    written = (place / "mcp.yaml").read_text()
    assert f'resource: "{server.resource}"' in written and 'login_scope: "tools offline_access"' in written and "secret" not in written
    base = make_config()
    base["rules"][0]["credential"] = "mcp"  # the API that the test has; the preset's own rule is for the server's host
    config = {**base, "rules": base["rules"][:1], "credentials": {"mcp": {"preset": "mcp", **values_of(written)}}}
    one = login(config, "--no-browser", credential="mcp")
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(one.url()).query)
    assert query["resource"] == [server.resource]
    Person().go(one.url())
    one.end()
    sidekey = start(config)
    assert sidekey.get_admin("/status")[0] == 200
    until("a token", lambda: '"state": "usable"' in json.dumps(json.loads(sidekey.get_admin("/status")[1])))
    assert json.loads(sidekey.request()[2])["headers"]["authorization"].startswith("Bearer ")
    auth.revoke_access()
    sidekey.request()
    assert auth.healthy()["refreshes"] == 1  # with the resource again: else the server would refuse


def values_of(text):
    """The values of the credential in what init has written."""
    lines = [line.split("   #")[0] for line in text.splitlines() if re.match(r"    \w+: ", line)]
    return {key.strip(): json.loads(value) for key, value in (line.split(": ", 1) for line in lines) if key.strip() != "preset"}


def test_the_401_of_an_mcp_server_says_where_its_metadata_is(auth, mcp, place):
    server = mcp(where="/elsewhere")
    server.challenge = f'Bearer error="invalid_token", resource_metadata="{server.url}/elsewhere"'
    assert "is registered now" in init(place, f"resource={server.resource}")


def test_metadata_of_another_resource_is_refused(auth, mcp, place):
    server = mcp()
    server.document["resource"] = "https://mcp.example/mcp"
    assert "that of another resource" in init(place, f"resource={server.resource}", status=EX_UNAVAILABLE)
    server.document = {"resource": server.resource, "authorization_servers": ["http://evil.example"]}
    assert "names no authorization server that is https" in init(place, f"resource={server.resource}", status=EX_UNAVAILABLE)
    assert not (place / "mcp.yaml").exists()


@pytest.mark.parametrize("client, status, says", [
    ({"client_id": "c-1", "client_secret": "s-0123456789", "token_endpoint_auth_method": "client_secret_post"}, 0, "holds the client secret"),
    ({}, EX_UNAVAILABLE, "has no client_id"),
])
def test_what_a_registration_brings_is_written_down(mcp, place, server, client, status, says):
    resource = mcp()
    resource.document["authorization_servers"] = [server.url]
    server.answers["/.well-known/oauth-authorization-server"] = (200, {
        "issuer": server.url, "authorization_endpoint": f"{server.url}/auth", "token_endpoint": f"{server.url}/token",
        "registration_endpoint": f"{server.url}/register", "code_challenge_methods_supported": ["S256"]})
    server.answers["/register"] = (201, client)
    assert says in init(place, f"resource={resource.resource}", status=status)
    if status == 0:
        secret = place / "mcp.yaml.client-secret"
        assert secret.read_text() == "s-0123456789" and secret.stat().st_mode & 0o777 == 0o600
        assert 'client_auth: "body"' in (place / "mcp.yaml").read_text() and "s-0123" not in (place / "mcp.yaml").read_text()


@pytest.mark.parametrize("metadata, says", [
    ({"code_challenge_methods_supported": None}, "does not support PKCE with S256"),
    ({"registration_endpoint": None}, "add client_id=ID"),
    ({"issuer": "https://evil.example"}, "that of another issuer"),
])
def test_an_authorization_server_that_will_not_do_is_refused(mcp, place, server, metadata, says):
    resource = mcp()
    resource.document["authorization_servers"] = [server.url]
    whole = {"issuer": server.url, "authorization_endpoint": f"{server.url}/auth", "token_endpoint": f"{server.url}/token",
             "registration_endpoint": f"{server.url}/register", "code_challenge_methods_supported": ["S256"], **metadata}
    server.answers["/.well-known/oauth-authorization-server"] = (200, {key: value for key, value in whole.items() if value})
    done = harness.run([SIDEKEY, "init", "mcp", "-o", place / "mcp.yaml", f"resource={resource.resource}"], environment(place))
    assert done.returncode and says in done.stderr.decode()
