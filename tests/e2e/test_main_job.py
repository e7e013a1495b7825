"""The main job: a program holds a placeholder, the API sees a fresh token, and nothing that happens to either end gets in between."""
import asyncio
import json
import pathlib
import random
import signal
import time

import harness
import pytest
from harness import API, AsyncClient, until


def echo(sidekey, **kw):
    status, _, body = sidekey.request(**kw)
    assert status == 200, (status, body[:500])
    return json.loads(body)


async def together(sidekey, count, method="GET", path="/v2/echo", body=b""):
    clients = [AsyncClient(sidekey) for _ in range(count)]
    await asyncio.gather(*[c.open() for c in clients])
    answers = await asyncio.gather(*[c.request(method, path, body) for c in clients])
    for client in clients:
        client.close()
    return answers


def test_the_api_sees_a_live_token_where_the_program_sent_a_placeholder(sidekey, auth):
    seen = echo(sidekey)
    assert seen["live"] is True
    assert seen["headers"]["authorization"] != harness.PLACEHOLDER
    assert [v for v in seen["raw"] if v.lower() == "authorization"] == ["Authorization"] or seen["raw"].count("authorization") == 1
    assert seen["sni"] == API
    assert auth.healthy()["token_requests"] == 1


def test_a_placeholder_in_any_case_and_number_is_replaced_by_one_token(sidekey):
    answer = sidekey.raw(f"GET /v2/echo HTTP/1.1\r\nHost: {API}\r\nAUTHORIZATION: Bearer one\r\nauthorization: Bearer two\r\n"
                         "Connection: authorization, keep-alive\r\n\r\n".encode())
    seen = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert seen["live"] is True
    assert [v.lower() for v in seen["raw"][::2]].count("authorization") == 1


def test_a_hundred_requests_need_one_token_request(sidekey, auth):
    connection = sidekey.connection()
    for _ in range(100):
        assert sidekey.request(connection=connection)[0] == 200
    connection.close()
    assert auth.healthy()["token_requests"] == 1


def test_fifty_parallel_calls_at_expiry_cause_one_token_request(start, auth):
    # The first token lives two seconds, the others an hour; the one refresh takes so long that all fifty calls meet it under way.
    auth.access_ttl(2, then=3600)
    auth.faults({"delay_ms": 0}, {"delay_ms": 2500})
    sidekey = start()
    echo(sidekey)
    time.sleep(2.2)
    answers = asyncio.run(together(sidekey, 50))
    assert {status for status, _, _ in answers} == {200}
    assert auth.healthy()["token_requests"] == 2


def test_fifty_parallel_calls_before_the_first_token_cause_one_token_request(start, auth):
    auth.faults({"delay_ms": 700})
    answers = asyncio.run(together(start(), 50))
    assert {status for status, _, _ in answers} == {200}
    assert auth.healthy()["token_requests"] == 1


def test_a_token_revoked_at_the_server_is_replaced_and_the_program_never_sees_the_401(sidekey, auth):
    echo(sidekey)
    assert auth.revoke_access() >= 1
    assert echo(sidekey)["live"] is True
    counts = auth.healthy()
    assert counts["api_unauthorized"] == 1 and counts["refreshes"] == 2, counts


def test_fifty_parallel_calls_with_a_revoked_token_cause_one_refresh(sidekey, auth):
    echo(sidekey)
    auth.revoke_access()
    answers = asyncio.run(together(sidekey, 50))
    assert {status for status, _, _ in answers} == {200}
    assert auth.healthy()["refreshes"] == 2


def test_a_post_is_sent_again_with_its_whole_body(sidekey, auth):
    echo(sidekey)
    auth.revoke_access()
    body = random.Random(1).randbytes(900_000)
    seen = echo(sidekey, method="POST", path="/upload", body=body)
    assert (seen["body_bytes"], seen["body_sha256"]) == (len(body), __import__("hashlib").sha256(body).hexdigest())
    posts = [r for r in auth.requests if r["method"] == "POST"]
    assert [p["live"] for p in posts] == [False, True]


def test_a_chunked_post_is_sent_again_with_its_whole_body(sidekey, auth):
    echo(sidekey)
    auth.revoke_access()
    status, _, body = sidekey.request("POST", "/upload", body=iter([b"one ", b"two ", b"three"]))
    assert status == 200 and json.loads(body)["body_bytes"] == len(b"one two three")


def test_a_body_over_the_limit_passes_the_401_and_the_next_call_works(sidekey, auth):
    echo(sidekey)
    auth.revoke_access()
    status, _, body = sidekey.request("POST", "/upload?late=1", body=b"x" * (3 << 20))
    assert status == 401 and json.loads(body)["error"] == "invalid_token"
    assert echo(sidekey)["live"] is True
    auth.healthy()


def test_a_large_body_is_whole_when_the_401_comes_before_it_all_went(sidekey, auth):
    """Either answer is right, the second send or the 401; half a body never is."""
    echo(sidekey)
    auth.revoke_access()
    status, _, body = sidekey.request("POST", "/upload", body=b"x" * (3 << 20))
    assert status in (200, 401)
    assert status == 401 or json.loads(body)["body_bytes"] == 3 << 20
    assert echo(sidekey)["live"] is True
    auth.healthy()


def test_a_401_that_a_new_token_does_not_cure_is_passed_on_once_refreshed(sidekey, auth):
    echo(sidekey)
    answers = [sidekey.request(path="/always401")[0] for _ in range(5)]
    assert answers == [401] * 5
    assert auth.healthy()["refreshes"] == 2  # the first token, and one that was tried; the floor stops the rest
    assert len([r for r in auth.requests if r["path"] == "/always401"]) <= 6


def test_a_403_is_not_a_reason_to_refresh(sidekey, auth):
    assert sidekey.request(path="/always403")[0] == 403
    assert auth.counts["refreshes"] == 1


def test_expect_continue_costs_no_body_when_the_token_is_refused(sidekey, auth):
    echo(sidekey)
    auth.revoke_access()
    with sidekey.tls() as sock:
        sock.sendall(f"POST /upload HTTP/1.1\r\nHost: {API}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n".encode())
        head = harness.read_head(sock)
        assert head.startswith(b"HTTP/1.1 100"), head
        sock.sendall(b"hello")
        answer = harness.read_answer(sock)
    assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["body_bytes"] == 5


def test_a_dead_worker_is_replaced_and_no_token_is_lost(sidekey, auth):
    echo(sidekey)
    for _ in range(3):
        sidekey.kill_child("worker")
        until("requests work again", lambda: worked(sidekey))
    counts = auth.healthy()
    assert counts["api_unauthorized"] == 0 and counts["token_requests"] == 1, counts


def test_a_dead_keeper_costs_no_request_and_no_token(start, auth):
    auth.access_ttl(6)
    sidekey = start()
    echo(sidekey)
    began = time.monotonic()
    sidekey.kill_child("keeper")
    connection = sidekey.connection()
    answers = []
    while time.monotonic() < began + 8:  # beyond the life of the token that the dead keeper left
        answers.append(sidekey.request(connection=connection)[0])
        time.sleep(0.01)
    connection.close()
    assert set(answers) == {200} and len(answers) > 10
    assert 2 <= auth.healthy()["token_requests"] <= 12


def test_worker_and_keeper_killed_in_mid_traffic_lose_nothing(start, auth):
    auth.access_ttl(5)
    sidekey = start(workers=2)
    echo(sidekey)
    statuses, broken = asyncio.run(traffic_with_kills(sidekey, ["worker", "keeper", "worker", "keeper"]))
    assert set(statuses) == {200}, {s: statuses.count(s) for s in set(statuses)}
    assert len(statuses) > 50 and broken < 60, (len(statuses), broken)
    assert sidekey.request()[0] == 200
    assert auth.healthy()["token_requests"] < 40


async def traffic_with_kills(sidekey, roles):
    statuses, broken, stop = [], 0, asyncio.Event()

    async def program():
        nonlocal broken
        client = AsyncClient(sidekey)
        while not stop.is_set():
            try:
                statuses.append((await client.request("GET", "/v2/echo"))[0])
            except (OSError, asyncio.IncompleteReadError, EOFError):
                broken += 1  # a connection of a dead process; a program dials again
                client.close()
                await asyncio.sleep(0.05)
        client.close()

    programs = [asyncio.create_task(program()) for _ in range(8)]
    for role in roles:
        await asyncio.sleep(0.8)
        await asyncio.to_thread(sidekey.kill_child, role)
    await asyncio.sleep(1.5)
    stop.set()
    await asyncio.gather(*programs)
    return statuses, broken


def test_tokens_survive_a_restart_of_the_whole_program(start, make_config, auth):
    config = make_config()
    first = start(config, name="first")
    echo(first)
    assert first.stop() == 0
    auth.revoke_access()
    second = start(config, name="second")
    assert echo(second)["live"] is True  # with the rotated refresh token: the one in the file is burned
    auth.healthy()


def test_tokens_survive_a_kill_of_the_whole_program(start, make_config, auth):
    config = make_config()
    first = start(config, name="first")
    echo(first)
    first.expected_dead = True
    children = list(first.children())
    first.popen.kill()
    first.popen.wait()
    until("the children follow", lambda: not any(harness.process_name(p) and "Z" not in state(p) for p in children))
    second = start(config, name="second")
    auth.revoke_access()
    assert echo(second)["live"] is True
    auth.healthy()


def state(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


@pytest.mark.slow
def test_ten_thousand_mixed_requests_with_tokens_of_two_seconds_never_see_a_401(start, auth):
    auth.access_ttl(2)
    sidekey = start()
    echo(sidekey)
    began = time.monotonic()
    statuses = asyncio.run(mixed(sidekey, connections=20, each=500))
    assert len(statuses) == 10_000 or time.monotonic() - began > MIXED_S
    assert set(statuses) == {200}, {s: statuses.count(s) for s in set(statuses)}
    counts = auth.healthy()
    assert counts["token_requests"] >= 3, counts


MIXED_S = 90  # fewer requests will do on a machine that needs longer


async def mixed(sidekey, connections, each):
    end = time.monotonic() + MIXED_S
    small, big = b"s" * 2_000, b"b" * 50_000
    kinds = [("GET", "/v2/echo", b""), ("GET", "/big?bytes=20000", b""), ("POST", "/upload", small), ("GET", "/chunked?n=5", b""),
             ("POST", "/upload", big), ("GET", "/v2/echo?a=1&b=%20", b"")]
    statuses = []

    async def program(seed):
        client, dice = AsyncClient(sidekey), random.Random(seed)
        for _ in range(each):
            status, _, _ = await client.request(*dice.choice(kinds))
            statuses.append(status)
            if time.monotonic() > end:
                break
            await asyncio.sleep(dice.random() * 0.04)  # long enough in all for several tokens to come and go
        client.close()

    await asyncio.gather(*[program(seed) for seed in range(connections)])
    return statuses


def worked(sidekey):
    try:
        return sidekey.request()[0] == 200
    except OSError:
        return False


# --- a token endpoint that does not do its part ------------------------------------------------------------------------------------

FAULTS = {  # what a whole 2xx response without tokens does: test_answers.py
    "a web page with 403": {"kind": "html", "status": 403},
    "500": {"kind": "status", "status": 500},
    "nothing at all": {"kind": "refuse"},
    "half of a response": {"kind": "half_early"},
    "429": {"kind": "status", "status": 429, "retry_after": 1},
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_token_endpoint_that_answers_wrongly_gives_503_and_recovers(start, auth, what):
    auth.faults(*[FAULTS[what]] * 500)
    sidekey = start(limits={"drain": "3s", "token_wait": "1500ms"})
    pids = sidekey.children()
    answer = sidekey.request()
    assert answer[0] == 503
    members = harness.problem(answer)
    assert members["credential"] == "crm" and members["reason"] and members["hint"], members
    assert 1 <= int(answer[1]["retry-after"]) <= 900
    auth.clear_faults()
    # backoff may have grown, but never beyond what a waiting caller can bear
    until("it recovers", lambda: sidekey.request()[0] == 200, every=0.2)
    assert sidekey.children() == pids, "a process died"
    auth.healthy()


def test_a_valid_token_outlives_an_outage_of_the_token_endpoint(start, auth):
    sidekey = start()
    echo(sidekey)
    auth.faults(*[{"kind": "status", "status": 500}] * 500)
    for _ in range(20):
        assert sidekey.request()[0] == 200
    assert sidekey.get_admin("/readyz")[0] == 200


def test_an_expired_token_is_never_sent(start, auth):
    auth.access_ttl(2)
    sidekey = start(limits={"drain": "3s", "token_wait": "1s"})
    echo(sidekey)
    auth.faults(*[{"kind": "status", "status": 500}] * 500)
    time.sleep(2.2)
    before = auth.counts["api_requests"]
    answer = sidekey.request()
    assert answer[0] == 503 and harness.problem(answer)["credential"] == "crm"
    assert auth.counts["api_requests"] == before


def test_a_dead_credential_says_which_why_and_what_to_do(start, make_config, auth):
    config = make_config()
    auth.ask("/revoke_grant", {"grant": make_config.grant})
    sidekey = start(config)
    answer = until("the verdict", lambda: dead(sidekey))
    members = harness.problem(answer)
    assert members["credential"] == "crm" and members["reason"] and members["hint"], members
    requests = auth.counts["token_requests"]
    assert sidekey.request()[0] == 503
    assert auth.counts["token_requests"] == requests, "a dead credential is left in peace"
    assert sidekey.get_admin("/readyz")[0] == 503
    assert sidekey.get_admin("/livez")[0] == 200


def dead(sidekey):
    answer = sidekey.request()
    assert answer[0] == 503
    return answer if b"reauth" in answer[2] or b"invalid_grant" in answer[2] else None


def test_client_credentials_work_the_same_way(start, make_config, auth):
    config = make_config()
    spec = config["credentials"]["crm"]
    spec.update(grant="client_credentials")
    del spec["refresh_token"]
    sidekey = start(config)
    assert echo(sidekey)["live"] is True
    auth.revoke_access()
    assert echo(sidekey)["live"] is True
    assert auth.counts["client_credentials"] == 2


def test_a_static_token_is_injected_as_it_is(start, make_config, auth):
    config = make_config()
    made = auth.ask("/mint", {})
    config["credentials"]["crm"] = {"grant": "static", "token": make_config.write("static", "a-static-token-of-the-operator")}
    assert made
    sidekey = start(config)
    status, _, _ = sidekey.request(path="/open/v2/echo")
    assert status == 200
    assert auth.requests[-1]["headers"]["authorization"] == "Bearer a-static-token-of-the-operator"


def test_a_static_token_that_is_refused_is_told_at_once_and_asked_for_no_more(start, make_config):
    config = make_config()
    config["credentials"]["crm"] = {"grant": "static", "token": make_config.write("static", "a-static-token-that-is-refused")}
    sidekey = start(config)
    assert sidekey.request()[0] == 401
    lease = lambda: [line for line in sidekey.get_admin("/metrics")[1].splitlines() if line.startswith("sidekey_lease_total")]
    before = lease()
    assert sidekey.request()[0] == 401
    assert lease() == before, "nothing has changed: there was nothing to look for"
    assert "still holds the same token" in sidekey.get_admin("/status")[1]
    make_config.write("static", "another-token")
    until("the new secret is there", lambda: '"generation":2' in sidekey.get_admin("/status")[1])


# --- signals --------------------------------------------------------------------------------------------------------------------------

def test_sigterm_lets_a_request_in_flight_finish(start, auth):
    sidekey = start(limits={"drain": "1m"})
    echo(sidekey)

    async def scene():
        client = AsyncClient(sidekey)
        await client.open()
        slow = asyncio.create_task(client.request("GET", "/slow?ms=1500"))
        while not any(r["path"].startswith("/slow") for r in auth.requests):
            await asyncio.sleep(0.05)
        sidekey.popen.send_signal(signal.SIGTERM)
        return await slow
    assert asyncio.run(scene())[0] == 200
    assert sidekey.popen.wait(harness.PATIENCE_S) == 0


def test_sigterm_during_a_refresh_loses_no_token(start, make_config, auth):
    """What the identity provider has rotated by then is stored before sidekey ends."""
    config = make_config(limits={"drain": "1s"})
    sidekey = start(config)
    echo(sidekey)
    auth.revoke_access()
    auth.faults({"delay_ms": 1500})
    asked = auth.counts["token_requests"]
    sock = sidekey.tls()
    sock.sendall(f"GET /v2/echo HTTP/1.1\r\nHost: {harness.API}\r\n\r\n".encode())
    until("the refresh is out", lambda: auth.counts["token_requests"] > asked)
    assert sidekey.stop() == 0
    sock.close()
    auth.clear_faults()
    again = start(config)
    echo(again)
    auth.healthy()  # nothing was redeemed twice


def test_a_secret_file_that_vanishes_is_told_and_costs_nothing_while_the_token_is_valid(start, make_config, auth):
    config = make_config()
    sidekey = start(config)
    echo(sidekey)
    secret = pathlib.Path(config["credentials"]["crm"]["client_secret"]["file"])
    text = secret.read_text()
    secret.unlink()
    assert sidekey.get_admin("/refresh/crm", "POST")[0] == 503
    echo(sidekey)
    assert sidekey.get_admin("/readyz")[0] == 200
    said = until("it is told", lambda: [line for line in sidekey.out.read_text().splitlines() if str(secret) in line])
    assert "No such file" in said[0], said[0]
    make_config.write("client-secret", text)
    until("it is refreshed", lambda: sidekey.get_admin("/refresh/crm", "POST")[0] == 200, 60)


def test_health_metrics_and_status_speak_without_secrets(sidekey, auth):
    echo(sidekey)
    assert sidekey.get_admin("/livez")[0] == 200
    status, ready = sidekey.get_admin("/readyz?verbose")
    assert status == 200 and "crm" in ready
    def counted():
        metrics = sidekey.get_admin("/metrics")[1]
        return metrics if "sidekey_requests_total{" in metrics else None
    metrics = until("the worker's counters arrive", counted)
    for name in ("sidekey_build_info", "sidekey_refreshes_total", "sidekey_token_expiry_timestamp_seconds", "process_resident_memory_bytes"):
        assert name in metrics, name
    shown = metrics + sidekey.get_admin("/status")[1] + ready
    assert not [s for s in auth.secrets if s in shown]
