"""Who may use which rules (clients), and answers that refuse a token without a 401 (on_unauthorized.also, replay)."""
import base64
import http.client
import json
import time

import pytest
import wire
from harness import PATIENCE_S
from wire import TOKEN

ONE, OTHER, BAND, ONCE = (f"{name}.sidekey.test" for name in ("one", "other", "band", "once"))
CLIENTS = {"ci": "ci-password-5f0e", "guest": "guest-password-77aa"}
REFUSED = b'{"error": "invalid_token"}'


class Scene:
    """ci has all rules, guest the one of one.sidekey.test.  The APIs of band and once refuse every token but the second and later ones."""

    def __init__(self, folder, pki):
        self.world = wire.World(folder, pki, "clients")
        self.minted = {"band": 0, "once": 0}
        self.endpoint = self.world.server(tls=False)
        self.endpoint.answer = self.mint
        self.upstream = self.world.server()
        self.upstream.answer = self.judge
        config = self.world.config(self.upstream, hosts=(ONE, OTHER, BAND, ONCE))
        secret = self.world.secret("client-secret", "clients-secret")
        for name in self.minted:
            config["credentials"][name] = {"grant": "client_credentials", "token_url": f"http://127.0.0.1:{self.endpoint.port}/{name}", "client_id": "x",
                                           "client_secret": secret, "forced_refresh_floor": "1s", "required": True}
        config["rules"][2] |= {"credential": "band", "on_unauthorized": {"also": [{"status": 200, "json": {"pointer": "/error", "equals": "invalid_token"}}]}}
        config["rules"][3] |= {"credential": "once", "on_unauthorized": {"replay": False}}
        rules = {"ci": [ONE, OTHER, BAND, ONCE], "guest": [ONE]}
        config["clients"] = {name: {"password": self.world.secret(f"{name}-password", word), "rules": rules[name]} for name, word in CLIENTS.items()}
        config["unmatched"] = "deny"
        self.world.secrets += [*CLIENTS.values(), "clients-secret"]
        self.sidekey = self.world.start(config)
        time.sleep(1.2)  # the floor of forced refreshes

    def mint(self, request):
        name = request.target.strip("/")
        self.minted[name] += 1
        body = json.dumps({"access_token": f"{name}-token-g{self.minted[name]}", "token_type": "Bearer", "expires_in": 3600}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    def judge(self, request):
        token = request.get("authorization")
        if token.endswith("-g1"):
            status = b"200 OK" if "band" in token else b"401 Unauthorized"
            return b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (status, len(REFUSED), REFUSED)
        return wire.OK

    def get(self, host, client=None, password=None):
        """(status, body); the status of the CONNECT when that is refused."""
        connection = http.client.HTTPSConnection(*self.sidekey.proxy, timeout=PATIENCE_S, context=self.sidekey.context())
        word = base64.b64encode(f"{client}:{password or CLIENTS.get(client)}".encode()).decode()
        connection.set_tunnel(host, 443, {"Proxy-Authorization": f"Basic {word}"} if client else {})
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            return answer.status, answer.read()
        except OSError as error:
            return int(str(error).split(": ")[1].split()[0]), b""
        finally:
            connection.close()

    def seen(self, host):
        return [request.get("authorization") for request in self.upstream.requests if request.get("host") == host]


@pytest.fixture(scope="module")
def scene(folder, pki):
    made = Scene(folder / "clients", pki)
    yield made
    made.world.close()


def test_each_client_has_its_own_rules(scene):
    assert scene.get(ONE, "ci")[0] == 200
    assert scene.get(OTHER, "ci")[0] == 200
    assert scene.get(ONE, "guest")[0] == 200
    assert scene.get(OTHER, "guest")[0] == 403
    assert scene.seen(ONE) == [f"Bearer {TOKEN}"] * 2 and scene.seen(OTHER) == [f"Bearer {TOKEN}"]


@pytest.mark.parametrize("client, password", [(None, None), ("guest", "wrong"), ("guest", CLIENTS["ci"]), ("nobody", CLIENTS["ci"])])
def test_nobody_else_gets_in(scene, client, password):
    before = len(scene.upstream.requests)
    assert scene.get(ONE, client, password)[0] == 407
    assert len(scene.upstream.requests) == before


def test_a_refusal_in_a_200_is_refreshed_and_never_seen(scene):
    assert scene.get(BAND, "ci") == (200, b"ok")
    assert scene.seen(BAND) == ["Bearer band-token-g1", "Bearer band-token-g2"]


def test_who_opts_out_gets_the_401_and_then_the_new_token(scene):
    assert scene.get(ONCE, "ci") == (401, REFUSED)
    for _ in range(50):
        if scene.minted["once"] > 1:
            break
        time.sleep(0.1)
    for _ in range(20):
        if scene.get(ONCE, "ci")[0] == 200:
            break
        time.sleep(0.1)
    assert scene.seen(ONCE)[-1] == "Bearer once-token-g2"
