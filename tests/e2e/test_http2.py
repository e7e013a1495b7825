"""docs/http.md §8: HTTP/2 and gRPC, mirrored."""
import json

import harness
import pytest

H2 = "h2.sidekey.test"


class Scene:
    """An upstream that speaks HTTP/2, and a sidekey with a rule for it."""

    def __init__(self, auth, make_config, start, pki, **changes):
        self.auth = auth
        port = auth.ask("/h2/start", {})["port"]
        auth.ask("/h2/listen", {"mode": "h2"})
        config = make_config()
        config["rules"].append({"match": {"host": H2}, "credential": "crm", "http2": "mirror", "tls": {"ca_file": str(pki / "ca.pem")}, **changes.pop("rule", {})})
        config["network"]["resolve"][f"{H2}:443"] = f"127.0.0.1:{port}"
        config["limits"].update(changes.pop("limits", {}))
        config.update(changes)
        self.grant = make_config.grant
        self.sidekey = start(config)

    def ask(self, *steps, host=H2):
        proxy = "{}:{}".format(*self.sidekey.proxy)
        done = harness.run(["node", harness.ROOT / "tests/e2e/h2_client.mjs", proxy, host, self.sidekey.ca, json.dumps(steps)])
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    def one(self, path, **step):
        return self.ask({"path": path, **step})["results"][0]

    @property
    def counts(self):
        return self.auth.ask("/h2/counts")

    @property
    def seen(self):
        return self.auth.ask("/h2/seen")


@pytest.fixture
def scene(auth, make_config, start, pki):
    return lambda **changes: Scene(auth, make_config, start, pki, **changes)


def test_a_request_gets_its_token_and_stays_http_2(scene):
    here = scene()
    answer = here.ask({"path": "/echo", "method": "POST", "body": "hello", "headers": {"x-own": "1", "cookie": "a=1; b=2"}})
    assert answer["alpn"] == "h2"
    got = answer["results"][0]
    assert got["status"] == 200, got
    said = json.loads(got["body"])
    assert said["bytes"] == 5 and said["headers"]["x-own"] == "1" and said["headers"][":authority"] == H2
    assert said["headers"]["authorization"] != harness.PLACEHOLDER and said["headers"]["via"] == "2 sidekey"
    assert got["headers"]["via"] == "2 sidekey"


GRPC = {"content-type": "application/grpc", "te": "trailers"}
MESSAGE = "\0\0\0\0\5hello"


def grpc(path, body=MESSAGE, **headers):
    return {"path": path, "method": "POST", "headers": {**GRPC, **headers}, "body": body}


def test_bodies_trailers_hints_and_statuses_pass_unchanged(scene):
    got = scene().ask({"path": "/upload", "method": "POST", "body": 3_000_000}, {"path": "/big?bytes=5000000"}, {"path": "/trailers"}, {"path": "/hints"},
                      {"path": "/status/204"}, {"path": "/echo", "method": "HEAD"}, {"path": "/status/503"})["results"]
    assert json.loads(got[0]["body"])["bytes"] == 3_000_000
    assert got[1]["bytes"] == 5_000_000 and got[1]["status"] == 200
    assert got[2]["body"] == "body" and got[2]["trailers"]["x-sum"] == "42"
    assert got[3]["interim"] == [103] and got[3]["status"] == 200
    assert got[4]["status"] == 204 and got[5]["status"] == 200 and got[5]["bytes"] == 0 and got[6]["status"] == 503


def test_grpc_calls_pass_unchanged(scene):
    got = scene().ask(grpc("/rpc/unary"), grpc("/rpc/server?n=5"), grpc("/rpc/bidi", MESSAGE * 4), grpc("/rpc/unary", ""))["results"]
    for one, messages in zip(got, (1, 5, 4, 0)):
        assert one["status"] == 200 and one["body"] == MESSAGE * messages and one["trailers"]["grpc-status"] == "0", one


@pytest.mark.parametrize("step, each", [
    ({"path": "/echo"}, None), (grpc("/rpc/unary"), 1), (grpc("/rpc/server?n=4"), 4), (grpc("/rpc/bidi", MESSAGE * 3), 3),
], ids=["GET", "unary", "server streaming", "bidi"])
def test_a_token_that_was_revoked_is_seen_by_no_program(scene, step, each):
    here = scene()
    assert here.one("/echo")["status"] == 200
    before = here.auth.counts["refreshes"]
    here.auth.revoke_access(here.grant)
    got = here.ask({**step, "count": 40})["results"][0]
    assert got["statuses"] == {"200": 40} and (each is None or got["bytes"] == 40 * each * len(MESSAGE)), got
    assert here.counts["unauthorized"] > 0 and here.auth.counts["refreshes"] == before + 1
    here.auth.healthy()


def test_256_streams_share_one_connection(scene):
    here = scene()
    got = here.ask({"path": "/echo", "count": 256})["results"][0]
    assert got["statuses"] == {"200": 256}
    assert here.counts["sessions"] == 1


def test_more_streams_than_the_upstream_takes_get_as_many_connections_as_they_need(scene):
    here = scene()
    here.auth.ask("/h2/settings", {"maxConcurrentStreams": 100})
    try:
        sessions = here.counts["sessions"]
        got = here.ask({"path": "/big?bytes=200000", "count": 256})["results"][0]
        assert got["statuses"] == {"200": 256} and got["bytes"] == 256 * 200000
        assert here.counts["sessions"] - sessions <= 3
    finally:
        here.auth.ask("/h2/settings", {"maxConcurrentStreams": 1000})


@pytest.mark.parametrize("code", [0x1, 0x2, 0x8, 0xb])
def test_a_reset_by_the_upstream_reaches_the_program_with_its_code(scene, code):
    got = scene().ask({"path": f"/reset?code={code}"}, {"path": "/after-head"}, {"path": "/echo"})["results"]
    assert got[0]["status"] == 0 and got[0]["code"] == code
    assert got[1]["status"] == 200 and got[1]["code"] == 0x2
    assert got[2]["status"] == 200


def test_a_request_that_was_certainly_not_processed_is_sent_again(scene):
    here = scene()
    got = here.one("/refuse?n=2", method="POST", body="x")
    assert got["status"] == 200, got


def test_a_program_that_gives_up_frees_the_upstream_stream_alone(scene):
    here = scene()
    got = here.ask({"path": "/hold", "cancel_after": 50}, {"path": "/echo"}, {"path": "/big?bytes=100000000", "cancel_after": "head"}, {"path": "/echo"})["results"]
    assert got[1]["status"] == 200 and got[3]["status"] == 200
    harness.until("both were reset upstream", lambda: here.counts["resets"] >= 2)
    assert here.counts["sessions"] == 1


def test_an_upstream_that_takes_http_2_back_is_spoken_to_in_http_1_1(scene):
    here = scene()
    assert here.one("/echo")["status"] == 200
    here.auth.ask("/h2/listen", {"mode": "h1"})
    first = here.ask({"path": "/echo"})
    assert first["alpn"] == "http/1.1" or first["results"][0]["code"] == 0xd, first
    assert here.ask({"path": "/echo"})["alpn"] == "http/1.1"
    status, _, body = here.sidekey.request(host=H2)
    assert status == 200 and json.loads(body) == {"version": "1.1"}


def test_http2_off_and_an_upstream_without_it_leave_http_1_1(scene):
    here = scene(rule={"http2": "off"})
    assert here.ask({"path": "/"})["alpn"] == "http/1.1"
    assert here.ask({"path": "/"}, host=harness.API)["alpn"] == "http/1.1"


def test_a_stream_with_another_authority_is_answered_421_alone(scene):
    got = scene().ask({"path": "/echo", "headers": {":authority": "other.sidekey.test"}}, {"path": "/echo", "headers": {":scheme": "http"}}, {"path": "/echo"})["results"]
    assert [one["status"] for one in got] == [421, 421, 200]


def test_refusals_of_calls_are_in_the_words_of_grpc(scene):
    here = scene(unmatched="deny", rule={"match": {"host": H2, "paths": ["/rpc/*"]}})
    got = here.ask(grpc("/other"), grpc("/rpc/unary"))["results"]
    assert got[0]["status"] == 200 and got[0]["headers"]["grpc-status"] == "7", got[0]
    assert "method_or_path_not_allowed" in got[0]["headers"]["grpc-message"]
    assert got[1]["trailers"]["grpc-status"] == "0"
    assert 'sidekey_refused_total{reason="method_or_path_not_allowed"} 1' in here.sidekey.get_admin("/metrics")[1]


def test_an_upstream_that_is_down_is_told_request_by_request(scene):
    here = scene()
    assert here.ask({"path": "/echo"})["alpn"] == "h2"
    here.auth.ask("/h2/listen", {"mode": "deaf"})
    got = here.ask({"path": "/echo"}, grpc("/rpc/unary"))["results"]
    assert got[0]["status"] == 502 and "upstream_" in got[0]["body"], got[0]
    assert got[1]["headers"]["grpc-status"] == "14", got[1]


def test_after_goaway_the_next_request_has_another_connection(scene):
    here = scene()
    assert here.one("/echo")["status"] == 200
    here.auth.ask("/h2/goaway", {})
    assert here.one("/echo")["status"] == 200
    assert here.counts["sessions"] == 2


def test_a_quiet_call_outlives_the_limits_of_time(scene):
    here = scene(limits={"first_byte": "300ms", "idle": "300ms"})
    got = here.ask({**grpc("/rpc/bidi", MESSAGE), "rest_after": 1500, "rest": MESSAGE}, {"path": "/hold"})["results"]
    assert got[0]["status"] == 200 and got[0]["body"] == MESSAGE * 2, got[0]
    assert got[1]["status"] == 504, got[1]  # no call, and its answer has not begun
