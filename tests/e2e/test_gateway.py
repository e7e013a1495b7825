"""docs/http.md 1.16: listen.gateway, base-URL mode."""
import http.client
import json
import re
import subprocess

import pytest
import wire
from harness import API, SIDEKEY
from wire import OTHER_TOKEN, TOKEN

PASSWORD, MARK = "client-password-of-ci", "sk-placeholder-0123456789"


def answer(peer):
    while True:
        request = peer.read()
        if request is None:
            return
        fields = [value for key, value in request.fields if key.lower() == "x-answer"]
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + "".join(f"{f}\r\n" for f in fields).encode() + b"\r\nok")


@pytest.fixture(scope="module")
def scene(folder, pki):
    world = wire.World(folder / "gateway", pki, "gateway")
    world.a0 = world.server(answer)
    marked = world.rule("marked.sidekey.test", only_if={"header": "x-api-key", "equals": MARK}, inject=[{"in": "header", "name": "x-api-key", "format": "{access_token}"}])
    query = world.rule("query.sidekey.test", inject=[{"in": "query", "name": "key", "format": "{access_token}"}], match={"paths": ["/v1/*"]})
    config = world.config(world.a0, hosts=(API, "other.sidekey.test", "marked.sidekey.test", "query.sidekey.test"))
    config["credentials"]["other"] = {"grant": "static", "token": world.secret("other-token", OTHER_TOKEN)}
    config["rules"][1:] = [{**world.rule("other.sidekey.test", "other"), "name": "other"}, marked, query]
    config["rules"][2]["name"], config["rules"][3]["name"] = "marked", "query"
    config["listen"]["gateway"] = "127.0.0.1:0"
    config["gateway"] = {"hosts": ["sidekey.internal.test"]}
    config["clients"] = {"ci": {"password": world.secret("ci", PASSWORD), "rules": [API, "marked", "query"]}}
    world.sidekey = world.start(config)
    world.port = int(re.search(rb"gateway=127\.0\.0\.1:(\d+)", b"".join(world.sidekey.logs().values()))[1])
    world.configuration = config
    yield world
    world.close()


SHOWN = {"Authorization": f"Bearer {PASSWORD}"}


def call(scene, path=f"/{API}/v1/things?x=1", headers=None, method="GET", host=None):
    connection = http.client.HTTPConnection("127.0.0.1", scene.port, timeout=20)
    headers = {**(SHOWN if headers is None else headers)}
    if host:
        headers["Host"] = host.replace("PORT", str(scene.port))
    connection.request(method, path, headers=headers)
    found = connection.getresponse()
    body = found.read().decode()
    connection.close()
    return found, body


def test_1_16_the_rule_that_the_path_names_is_applied(scene):
    found, body = call(scene)
    request = scene.a0.requests[-1]
    assert (found.status, body, request.target, request.get("host")) == (200, "ok", "/v1/things?x=1", API)
    assert request.all("authorization") == [f"Bearer {TOKEN}"] and PASSWORD.encode() not in request.head


@pytest.mark.parametrize("path, target", [(f"/{API}", "/"), (f"/{API}/", "/"), (f"/{API}?a=b", "/?a=b"), (f"/{API}//x/../y", "//x/../y"), (f"/{API}/%2e%2e/other", "/%2e%2e/other")])
def test_1_16_what_follows_the_name_is_the_target_as_it_came(path, target, scene):
    assert call(scene, path)[0].status == 200 and scene.a0.requests[-1].target == target


# The field that the rule replaces, and what it holds.
@pytest.mark.parametrize("path, headers, status", [
    (f"/{API}/v1/x", {}, 403), (f"/{API}/v1/x", {"Authorization": "Bearer wrong"}, 403), (f"/{API}/v1/x", {"Authorization": PASSWORD}, 403),
    (f"/{API}/v1/x", {"Authorization": f"bearer {PASSWORD}"}, 403), (f"/{API}/v1/x", {"Proxy-Authorization": f"Bearer {PASSWORD}"}, 403), (f"/{API}/v1/x", {"Authorization": "Bearer "}, 403),
    ("/marked/v1/x", {"X-Api-Key": MARK}, 200), ("/marked/v1/x", {"X-Api-Key": PASSWORD}, 403), ("/marked/v1/x", {"X-Api-Key": MARK + "0"}, 403), ("/marked/v1/x", {"Authorization": MARK}, 403),
    (f"/query/v1/x?key={PASSWORD}", {}, 200), ("/query/v1/x?key=wrong", {}, 403), (f"/query/v1/x?other={PASSWORD}", {}, 403),
    (f"/query/v2/x?key={PASSWORD}", {}, 403),  # the rule does not take this path
    ("/other/v1/x", SHOWN, 403),               # a rule that is not this client's
    ("/nobody/v1/x", SHOWN, 404), ("/", SHOWN, 404), (f"http://{API}/v1/x", SHOWN, 421), (f"/{API}x/v1", SHOWN, 404),
])
def test_1_16_without_the_placeholder_or_a_clients_password_nothing_is_served(path, headers, status, scene):
    before = len(scene.a0.requests)
    assert call(scene, path, headers)[0].status == status
    assert len(scene.a0.requests) == before + (status == 200)


@pytest.mark.parametrize("host, status", [("127.0.0.1:PORT", 200), ("localhost:PORT", 200), ("LOCALHOST:PORT", 200), ("sidekey.internal.test", 200), ("sidekey.internal.test:8000", 200),
                                          ("127.0.0.1", 421), ("localhost:1", 421), ("evil.test:PORT", 421), (f"{API}", 421), ("127.0.0.1.evil.test:PORT", 421), ("", 421)])
def test_1_16_host_names_the_listener_itself(host, status, scene):
    """Or a page could reach it by a name of its own that leads to this address (DNS rebinding)."""
    assert call(scene, host=host or " ")[0].status == status


@pytest.mark.parametrize("headers, status", [({"Origin": "https://evil.test"}, 403), ({"Origin": "null"}, 403), ({"Sec-Fetch-Site": "cross-site"}, 403), ({"Sec-Fetch-Site": "same-site"}, 403),
                                             ({"Sec-Fetch-Site": "none"}, 200), ({"Sec-Fetch-Site": "same-origin"}, 200)])
def test_1_16_what_a_page_of_another_site_makes_a_browser_send_is_403(headers, status, scene):
    assert call(scene, headers={**SHOWN, **headers})[0].status == status


@pytest.mark.parametrize("field, seen", [
    (f"Location: https://{API}/v2/next?a=b", "BASE/v2/next?a=b"), (f"Location: https://{API}:443", "BASE/"), ("Location: /v2/next", "BASE/v2/next"), (f"Location: //{API}/x", "BASE/x"),
    ("Location: next", "next"), (f"Location: http://{API}/x", f"http://{API}/x"), ("Location: https://elsewhere.test/x", "https://elsewhere.test/x"), (f"Location: https://{API}.evil.test/x", f"https://{API}.evil.test/x"),
    (f"Content-Location: https://{API}/doc", "BASE/doc"),
    (f'Link: <https://{API}/?page=2>; rel="next", </?page=9>; rel="last", <https://x.test/>; rel=help', 'Link', ),
    (f"Set-Cookie: a=b; Path=/; Domain={API}; Secure; HttpOnly", "a=b; Path=/; HttpOnly"), ("Set-Cookie: secure=1; SameSite=Lax", "secure=1; SameSite=Lax"),
])
def test_1_16_what_leads_to_the_host_leads_to_the_listener_and_cookies_lose_what_names_the_host(field, seen, scene):
    base = f"http://127.0.0.1:{scene.port}/{API}"
    if seen == "Link":
        seen = '<BASE/?page=2>; rel="next", <BASE/?page=9>; rel="last", <https://x.test/>; rel=help'
    found, _ = call(scene, headers={**SHOWN, "X-Answer": field})
    assert found.getheader(field.split(":")[0]) == seen.replace("BASE", base)


def test_1_16_each_request_of_a_connection_is_judged_by_itself(scene):
    connection = http.client.HTTPConnection("127.0.0.1", scene.port, timeout=20)
    for path, headers, status in ((f"/{API}/a", SHOWN, 200), ("/marked/b", {"X-Api-Key": MARK}, 200), (f"/{API}/c", SHOWN, 200), (f"/{API}/d", {}, 403)):
        connection.request("GET", path, headers=headers)
        found = connection.getresponse()
        found.read()
        assert found.status == status
    assert [r.target for r in scene.a0.requests[-3:]] == ["/a", "/b", "/c"]


def test_1_16_open_it_asks_for_nothing_and_check_says_so(scene):
    config = {**scene.configuration, "gateway_open": True, "store": {**scene.configuration["store"], "file": str(scene.folder / "open")}}
    (scene.folder / "open").mkdir(mode=0o700)
    sidekey = scene.start(config)
    scene_port, scene.port = scene.port, int(re.search(rb"gateway=127\.0\.0\.1:(\d+)", b"".join(sidekey.logs().values()))[1])
    try:
        assert call(scene, headers={})[0].status == 200
        assert call(scene, headers={"Origin": "https://evil.test"})[0].status == 403
    finally:
        scene.port = scene_port
    file = scene.folder / "open.yaml"
    file.write_text(json.dumps(config))
    done = subprocess.run([SIDEKEY, "check", "-c", file], capture_output=True, text=True, check=False)
    assert "gateway_open: every program that can connect to listen.gateway can use the credentials" in done.stdout + done.stderr
