"""What token endpoints say of a refresh token, in their own words, and the way back: docs/refresh-rules.md 3.1."""
import base64
import json
import pathlib
import re
import time

import harness
import pytest
from harness import SIDEKEY, environment, run, until
from token_server import TokenServer

WORDS = {
    "hubspot": (400, {"status": "BAD_REFRESH_TOKEN", "message": "missing or unknown refresh token"}),
    "strava": (400, {"message": "Bad Request", "errors": [{"resource": "RefreshToken", "field": "refresh_token", "code": "invalid"}]}),
    "fitbit": (400, {"errors": [{"errorType": "invalid_grant", "message": "Refresh token invalid: x"}], "success": False}),
    "twitch": (400, {"status": 400, "message": "Invalid refresh token"}),
    "atlassian": (403, {"error": "unauthorized_client", "error_description": "refresh_token is invalid"}),
    "uaa": (401, {"error": "invalid_token", "error_description": "The token expired, was revoked, or the token ID is incorrect."}),
    "slack": (200, {"ok": False, "error": "invalid_refresh_token"}),
    "wechat": (200, {"errcode": 42002, "errmsg": "refresh_token expired"}),
    "form": (400, "error=invalid_grant&error_description=gone"),
}


@pytest.fixture
def server(request):
    made = []

    def make(**kw):
        made.append(TokenServer(**kw))
        return made[-1]
    yield make
    for one in made:
        one.stop()


@pytest.fixture
def config_for(make_config):
    """config_for(server, token): a sidekey whose one credential has that refresh token."""
    def make(server, token, **more):
        config = make_config()
        spec = config["credentials"]["crm"]
        spec.update(token_url=server.url, refresh_token=make_config.write("refresh-token", token), **more)
        return config
    return make


def credential(sidekey):
    return json.loads(sidekey.get_admin("/status")[1])["credentials"][0]


def put(config, token):
    path = pathlib.Path(config["credentials"]["crm"]["refresh_token"]["file"])
    beside = path.with_suffix(".new")
    beside.write_text(token)
    beside.chmod(0o600)
    beside.rename(path)


@pytest.mark.parametrize("words", WORDS)
def test_a_dead_refresh_token_is_known_by_its_providers_words(start, server, config_for, words):
    endpoint = server(refusal=WORDS[words])
    sidekey = start(config_for(endpoint, "t-old"))
    until("the verdict", lambda: credential(sidekey)["state"] == "reauth_required")
    assert endpoint.sent() == ["t-old"]
    now = credential(sidekey)
    assert now["last_error_class"] == "dead" and "t-old" not in now["last_error"], now
    answer = sidekey.request()
    assert answer[0] == 503 and harness.problem(answer)["reason"] == "credential_dead" and now["last_error"] in harness.problem(answer)["detail"]


def test_what_a_gateway_may_have_said_is_asked_once_more(start, server, config_for):
    said = iter([(401, {"error": "invalid_token"})])
    endpoint = server(good=["t-old"])
    endpoint.answer = lambda form, headers: next(said, None) or endpoint.rotate(form, headers)
    sidekey = start(config_for(endpoint, "t-old"))
    until("a token", lambda: credential(sidekey)["state"] == "usable")
    assert endpoint.sent() == ["t-old", "t-old"]


@pytest.mark.parametrize("words", ["hubspot", "unknown", "empty"])
def test_a_new_refresh_token_in_the_file_is_taken_whatever_the_words(start, server, config_for, words):
    """The stored token is refused by known words, by others, and by an empty body; another one is put in place."""
    refusal = {**WORDS, "unknown": (400, {"error": "no_such_thing"}), "empty": (400, "")}[words]
    endpoint = server(good=["t-1"], refusal=refusal, lifetime=2)
    config = config_for(endpoint, "t-1")
    sidekey = start(config)
    until("the first token", lambda: credential(sidekey)["generation"] >= 1)
    endpoint.good.clear()
    until("a refusal", lambda: credential(sidekey)["last_error_class"] in ("dead", "config"))
    endpoint.good.add("t-2")
    endpoint.lifetime = 3600
    put(config, "t-2")
    until("the new token", lambda: credential(sidekey)["state"] == "usable" and credential(sidekey)["last_error"] is None)
    assert endpoint.sent().count("t-2") == 1


@pytest.mark.parametrize("way", ["restart", "reload"])
def test_a_new_refresh_token_is_taken_by_restart_and_reload(start, server, config_for, make_config, way):
    endpoint = server(good=["t-1", "t-2"])
    config = config_for(endpoint, "t-1")
    sidekey = start(config)
    until("the first token", lambda: credential(sidekey)["generation"] == 1)
    if way == "restart":
        assert sidekey.stop() == 0
        sidekey.expected_dead = True
        put(config, "t-2")
        sidekey = start(config)
    else:
        config["credentials"]["crm"]["refresh_token"] = make_config.write("refresh-token-2", "t-2")
        sidekey.file.write_text(json.dumps(config))
        sidekey.get_admin("/reload", "POST")
    until("the new token", lambda: endpoint.sent() == ["t-1", "t-2"])
    until("generation 2", lambda: credential(sidekey)["generation"] == 2)


def test_a_bad_new_refresh_token_does_no_harm(start, server, config_for):
    endpoint = server(good=["t-1"])
    config = config_for(endpoint, "t-1")
    sidekey = start(config)
    until("the first token", lambda: credential(sidekey)["generation"] == 1)
    put(config, "t-bad")
    until("its refusal", lambda: "t-bad" in endpoint.sent())
    until("its end", lambda: credential(sidekey)["generation"] == 2)
    assert credential(sidekey)["state"] == "usable"
    assert sidekey.get_admin("/refresh/crm", "POST")[0] == 200
    assert endpoint.sent() == ["t-1", "t-bad", "t-1.1"]


def test_a_restart_sends_no_tried_token_again_and_reset_does(start, server, config_for, place):
    endpoint = server(good=["t-1"])
    config = config_for(endpoint, "t-1")
    sidekey = start(config)
    until("the first token", lambda: credential(sidekey)["generation"] == 1)
    endpoint.good.clear()
    put(config, "t-2")
    until("its refusal", lambda: credential(sidekey)["generation"] == 2)
    assert sidekey.get_admin("/refresh/crm", "POST")[0] == 503
    until("the verdict", lambda: credential(sidekey)["state"] == "reauth_required")
    sent = ["t-1", "t-2", "t-1.1"]
    assert endpoint.sent() == sent
    for _ in range(2):
        assert sidekey.stop() == 0
        sidekey.expected_dead = True
        sidekey = start(config)
        until("the verdict again", lambda: credential(sidekey)["state"] == "reauth_required")
        assert sidekey.get_admin("/refresh/crm", "POST")[0] == 503
        assert endpoint.sent() == sent
    endpoint.good.add("t-2")
    asked = {**config, "listen": {**config["listen"], "admin": f"{sidekey.admin[0]}:{sidekey.admin[1]}"}}
    (place / "ask.yaml").write_text(json.dumps(asked))
    done = run([SIDEKEY, "reset", "-c", place / "ask.yaml", "crm"], environment(place))
    assert done.returncode == 0 and b"forgotten" in done.stdout, done
    until("the configured token", lambda: endpoint.sent() == [*sent, "t-2"])
    until("its answer", lambda: credential(sidekey)["state"] == "usable")


def test_a_file_beside_the_secrets_is_no_new_secret(start, server, config_for, place):
    endpoint = server()
    sidekey = start(config_for(endpoint, "t-1"))
    until("the verdict", lambda: credential(sidekey)["state"] == "reauth_required")
    for n in range(3):
        (place / f"beside-{n}").write_text("not a secret")
        time.sleep(0.3)
    assert endpoint.sent() == ["t-1"]


def test_a_server_that_says_when_to_come_again_gets_one_request(start, server, config_for):
    endpoint = server(answer=lambda form, headers: (503, "", {"Retry-After": "120"}))
    sidekey = start(config_for(endpoint, "t-1"))
    until("the pause", lambda: credential(sidekey)["last_error_class"] == "throttle")
    for _ in range(5):
        assert sidekey.request()[0] == 503
    assert endpoint.sent() == ["t-1"]


def test_a_refresh_token_that_ends_before_its_access_token_is_used_before_its_end(start, server, config_for):
    """Keycloak's sessions: without a request of any program."""
    endpoint = server(good=["t-1"])

    def answer(form, headers):
        status, body, *fields = endpoint.rotate(form, headers)
        return status, {**body, "refresh_expires_in": 8}, *fields
    endpoint.answer = answer
    began = time.time()
    sidekey = start(config_for(endpoint, "t-1"))
    until("it is used three times", lambda: endpoint.sent()[:3] == ["t-1", "t-1.1", "t-1.2"])
    found = re.search(r'(?m)^sidekey_refresh_token_expiry_timestamp_seconds\{credential="crm"\} (\S+)$', sidekey.get_admin("/metrics")[1])
    assert began < float(found[1]) < time.time() + 9, found
    assert credential(sidekey)["refresh_token_expires_at"] < credential(sidekey)["expires_at"]


def test_what_editors_and_shells_add_to_secret_files_is_not_sent(start, server, config_for, make_config):
    endpoint = server(good=["t-1"])
    seen = []
    endpoint.answer = lambda form, headers: seen.append(form.get("client_secret")) or endpoint.rotate(form, headers)
    config = config_for(endpoint, "t-1\r\n\r\n", client_auth="body", client_secret=make_config.write("spoilt-secret", "\ufeffs 1\r\n"))
    sidekey = start(config)
    until("a token", lambda: credential(sidekey)["generation"] == 1)
    assert endpoint.sent() == ["t-1"] and seen == ["s 1"]


def test_a_server_that_does_not_decode_basic_is_told_and_basic_raw_serves_it(start, server, config_for, make_config):
    secret = "s+e/c=r%et"
    endpoint = server(good=["t-1"])

    def judge(form, headers):
        given = base64.b64decode((headers.get("authorization") or "Basic ").split()[1]).decode()
        return endpoint.rotate(form, headers) if given == f"me:{secret}" else (401, {"error": "invalid_client"})
    endpoint.answer = judge
    config = config_for(endpoint, "t-1", client_id="me")
    config["credentials"]["crm"]["client_secret"] = make_config.write("odd-secret", secret)
    sidekey = start(config)
    until("the refusal", lambda: credential(sidekey)["last_error_class"] == "config")
    problem = harness.problem(sidekey.request())
    for said in (credential(sidekey)["last_error"], problem["detail"], sidekey.out.read_text()):
        assert "try client_auth: body, or basic_raw" in said and secret not in said, said
    config["credentials"]["crm"]["client_auth"] = "basic_raw"
    sidekey.file.write_text(json.dumps(config))
    sidekey.get_admin("/reload", "POST")
    until("a token", lambda: credential(sidekey)["state"] == "usable")


def test_a_redirect_is_a_matter_of_configuration_and_its_host_is_named(start, server, config_for):
    endpoint = server(answer=lambda form, headers: (302, "", {"Location": "https://login.elsewhere.test/hunter2?code=hunter3"}))
    sidekey = start(config_for(endpoint, "t-1"))
    until("the refusal", lambda: credential(sidekey)["last_error_class"] == "config")
    said = credential(sidekey)["last_error"]
    assert "HTTP 302" in said and "a redirect to login.elsewhere.test:443" in said and "hunter" not in said + sidekey.out.read_text(), said


def test_the_user_agent_of_a_token_request_can_be_chosen(start, server, config_for):
    endpoint = server(good=["t-1"])
    sidekey = start(config_for(endpoint, "t-1", headers={"user-agent": "linux:app:v1 (by /u/me)"}))
    until("a token", lambda: credential(sidekey)["generation"] == 1)
    assert [r["user-agent"] for r in endpoint.requests] == ["linux:app:v1 (by /u/me)"]
