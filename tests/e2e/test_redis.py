"""Several machines, one Redis: one expiry is one token request, and what happens to Redis does not reach the program."""
import asyncio
import contextlib
import json
import shutil
import socket
import ssl
import threading
import time

import pytest
from harness import PATIENCE_S, AsyncClient, Process, until
from redis_fixture import PASSWORD, Monitor, Talk, free_port, machines, make_cluster, make_sentinels, redis_server  # noqa: F401 (fixtures)


def echo(sidekey):
    status, _, body = sidekey.request()
    assert status == 200, (status, body[:500])
    seen = json.loads(body)
    assert seen["live"] is True
    return seen["headers"]["authorization"]


async def together(sidekeys, count):
    clients = [AsyncClient(sidekeys[i % len(sidekeys)]) for i in range(count)]
    await asyncio.gather(*[c.open() for c in clients])
    answers = await asyncio.gather(*[c.request("GET", "/v2/echo") for c in clients])
    for client in clients:
        client.close()
    return answers


def error_log(sidekey):
    return b"".join(sidekey.logs().values()).decode()


def stored(redis, generation):
    """A token is served before it is stored."""
    until(f"generation {generation} is stored", lambda: redis.field("crm", "gen") == generation)


def clients(talk):
    return [dict(word.partition("=")[::2] for word in line.split()) for line in talk.ask("CLIENT", "LIST").splitlines()]


def wait_log(sidekey, text, seconds=PATIENCE_S):
    until(f"{sidekey.name} logs {text!r}", lambda: text in error_log(sidekey), seconds)


def test_two_machines_that_start_together_make_one_token_request(redis_server, machines, auth):
    redis = redis_server()
    auth.faults({"delay_ms": 700})
    pair = machines(2, {"url": redis.url})
    answers = asyncio.run(together(pair, 20))
    assert {status for status, _, _ in answers} == {200}
    assert auth.healthy()["token_requests"] == 1
    stored(redis, "1")


def test_fifty_parallel_calls_at_expiry_on_two_machines_cause_one_token_request(redis_server, machines, auth):
    auth.access_ttl(2, then=3600)
    auth.faults({"delay_ms": 0}, {"delay_ms": 2500})
    pair = machines(2, {"url": redis_server().url})
    echo(pair[0]), echo(pair[1])
    time.sleep(2.2)
    answers = asyncio.run(together(pair, 50))
    assert {status for status, _, _ in answers} == {200}
    assert auth.healthy()["token_requests"] == 2
    assert echo(pair[0]) == echo(pair[1])


def test_no_token_and_no_secret_is_readable_in_redis(redis_server, machines, auth):
    redis = redis_server()
    echo(machines(1, {"url": redis.url})[0])
    with redis.connect() as talk:  # the token is in use before it is stored: lease and intent go with the commit
        until("the refresh is over", lambda: talk.ask("KEYS", "*") == ["{sidekey:crm}:state"])
        stored = str(talk.ask("HGETALL", "{sidekey:crm}:state"))
    assert all(secret not in stored for secret in auth.secrets)


@pytest.mark.serial
def test_a_refresh_costs_few_round_trips_and_a_fresh_token_none(redis_server, machines, auth):
    redis = redis_server()
    pair = machines(2, {"url": redis.url})
    echo(pair[0]), echo(pair[1])
    before = auth.counts["token_requests"]
    with Monitor(redis) as calm:
        for _ in range(50):
            echo(pair[0])
    assert not calm.of("evalsha", "eval"), calm.asked
    auth.revoke_access()
    with Monitor(redis) as busy:
        began = time.monotonic()
        answers = asyncio.run(together(pair, 20))
        looks = 2 * (time.monotonic() - began)  # who waits looks now and then
        time.sleep(1)
    assert {status for status, _, _ in answers} == {200}
    assert auth.healthy()["token_requests"] == before + 1
    costs = sorted(len(commands) for commands in busy.of("evalsha", "eval", "hget").values())
    # one more where Redis does not know the script yet: EVALSHA, then EVAL
    assert len(costs) == 2 and costs[0] <= 4 + looks and costs[1] <= 6 + looks, busy.asked


def test_cached_tokens_are_served_while_redis_is_away_and_it_is_found_again(redis_server, machines, auth):
    redis = redis_server("redis", "--appendonly", "yes", "--appendfsync", "always")
    sidekey = machines(1, {"url": redis.url})[0]
    token = echo(sidekey)
    stored(redis, "1")
    assert sidekey.get_admin("/readyz")[0] == 200
    redis.kill()
    for _ in range(20):
        assert echo(sidekey) == token
    until("/readyz tells", lambda: "[!]store degraded: " in sidekey.get_admin("/readyz")[1])
    assert sidekey.get_admin("/readyz")[0] == 200  # or a Redis fault would take every app pod out of its Service
    assert "sidekey_store_up 0" in sidekey.get_admin("/metrics")[1]
    redis.again()
    until("/readyz is good again", lambda: "[+]store ok" in sidekey.get_admin("/readyz")[1])
    auth.revoke_access()
    assert echo(sidekey) != token
    assert auth.healthy()["refreshes"] == 2
    stored(redis, "2")


def test_a_redis_that_forgot_everything_gets_the_state_back(redis_server, machines, auth):
    redis = redis_server()
    pair = machines(2, {"url": redis.url})
    assert echo(pair[0]) == echo(pair[1])
    redis.kill()
    redis.again()
    assert until("the state is back", lambda: redis.field("crm", "gen")) == "1"
    until("both have found it", lambda: all(sidekey.get_admin("/readyz")[0] == 200 for sidekey in pair))
    auth.revoke_access()
    assert echo(pair[0]) == echo(pair[1])
    assert auth.healthy()["refreshes"] == 2


def test_a_grant_that_spends_nothing_proceeds_without_redis_and_is_stored_afterwards(redis_server, machines, auth):
    redis = redis_server("redis", "--appendonly", "yes", "--appendfsync", "always")
    sidekey = machines(1, {"url": redis.url}, {"on_lock_error": "proceed"}, {"grant": "client_credentials"})[0]
    token = echo(sidekey)
    stored(redis, "1")
    redis.kill()
    auth.revoke_access()
    assert echo(sidekey) != token
    redis.again()
    stored(redis, "2")
    assert auth.healthy()["client_credentials"] == 2


@pytest.mark.parametrize("policy", ["proceed", "wait", "fail"])
def test_a_refresh_token_is_never_spent_without_redis(redis_server, machines, auth, policy):
    redis = redis_server("redis", "--appendonly", "yes", "--appendfsync", "always")
    auth.access_ttl(6)
    sidekey = machines(1, {"url": redis.url}, {"on_lock_error": policy}, limits={"drain": "1s", "token_wait": "2s"})[0]
    echo(sidekey)
    stored(redis, "1")
    redis.kill()
    asked = auth.counts["token_requests"]
    time.sleep(6.2)
    status, headers, _ = sidekey.request()
    assert status == 503 and headers["retry-after"], (status, headers.items())
    assert auth.counts["token_requests"] == asked
    redis.again()
    auth.access_ttl(3600)
    until("tokens come again", lambda: sidekey.request()[0] == 200)
    auth.healthy()


def test_a_wrong_password_is_named_and_a_right_one_is_taken_without_a_restart(redis_server, machines, auth, make_config, place):
    redis = redis_server(password=PASSWORD)
    file = make_config.write("redis-password", "nobody-knows-it")
    sidekey = machines(1, {"url": redis.url, "password": file}, {"on_lock_error": "fail"})[0]
    wait_log(sidekey, "WRONGPASS")
    assert "store.redis.password" in error_log(sidekey)
    assert sidekey.request()[0] == 503 and auth.counts["token_requests"] == 0
    assert "[!]store" in sidekey.get_admin("/readyz")[1]
    make_config.write("redis-password", PASSWORD)
    until("tokens come", lambda: sidekey.request()[0] == 200)
    for secret in (PASSWORD, "nobody-knows-it"):
        assert secret not in error_log(sidekey)


def test_an_acl_user_needs_no_more_than_the_documents_say(redis_server, machines, auth, make_config):
    redis = redis_server()
    rules = next(line for line in open("docs/configuration.md", encoding="utf-8") if line.startswith("ACL SETUSER sidekey"))
    assert redis.ask(*rules.replace(">PASSWORD", f">{PASSWORD}").split()) == "OK"
    pair = machines(2, {"url": redis.url.replace("://", "://sidekey@") + "/0", "password": make_config.write("redis-password", PASSWORD)},
                    {"on_lock_error": "fail"})
    assert echo(pair[0]) == echo(pair[1])
    auth.revoke_access()
    assert echo(pair[0]) == echo(pair[1])
    assert auth.healthy()["refreshes"] == 2
    assert all("NOPERM" not in error_log(s) for s in pair)


def test_tls_to_redis_is_verified(redis_server, machines, auth, pki):
    context = ssl.create_default_context(cafile=pki / "ca.pem")
    tls = lambda name: ["--tls-cert-file", pki / f"{name}.pem", "--tls-key-file", pki / f"{name}.key", "--tls-ca-cert-file", pki / "ca.pem",
                        "--tls-auth-clients", "no"]
    redis = redis_server("good", *tls("good"), tls=context)
    good = machines(1, {"url": redis.url, "ca_file": str(pki / "ca.pem")}, {"on_lock_error": "fail"})[0]
    echo(good)
    stored(redis, "1")


def test_a_certificate_for_another_name_is_refused(redis_server, machines, auth, pki):
    redis = redis_server("wrong", "--tls-cert-file", pki / "wrong.pem", "--tls-key-file", pki / "wrong.key", "--tls-ca-cert-file", pki / "ca.pem",
                         "--tls-auth-clients", "no", tls=True)
    sidekey = machines(1, {"url": redis.url, "ca_file": str(pki / "ca.pem")}, {"on_lock_error": "fail"})[0]
    wait_log(sidekey, "check the host in store.redis.url")
    assert sidekey.request()[0] == 503 and auth.counts["token_requests"] == 0


def test_a_unix_socket_will_do(redis_server, machines, place, auth):
    redis_server("redis", "--unixsocket", place / "redis.sock")
    echo(machines(1, {"url": f"unix://{place}/redis.sock"}, {"on_lock_error": "fail"})[0])
    assert auth.healthy()["refreshes"] == 1


def test_another_seal_key_is_named_and_keeps_no_lease(redis_server, machines, auth, make_config):
    redis = redis_server()
    first = machines(1, {"url": redis.url})[0]
    echo(first)
    config = json.loads(json.dumps(first.config))
    config["store"].update(seal_key=make_config.write("seal2", "c0ffee0123456789" * 3 + "0f1e2d3c4b5a6978"), on_lock_error="fail")
    first.stop()
    stranger = first.__class__(first.folder, config, name="stranger").ready()
    try:
        assert stranger.request()[0] == 503
        wait_log(stranger, "sealed with another key")
        assert redis.ask("EXISTS", "{sidekey:crm}:lease") == 0
    finally:
        stranger.stop()


def is_primary(server):
    """A sentinel that makes it the primary ends its clients' connections, ours too."""
    with contextlib.suppress(OSError):
        return server.ask("ROLE")[0] == "master"


@pytest.mark.slow
def test_a_sentinel_failover_loses_no_refresh(redis_server, machines, auth):
    primary = redis_server("primary")
    replica = redis_server("replica", "--replicaof", "127.0.0.1", primary.port, "--repl-diskless-sync-delay", "0")
    until("the replica follows", lambda: "master_link_status:up" in replica.ask("INFO", "replication"))
    sentinels = make_sentinels(redis_server, primary)
    nodes = [f"127.0.0.1:{s.port}" for s in sentinels]
    pair = machines(2, {"url": "redis://unused", "sentinel": {"master": "main", "nodes": [f"127.0.0.1:{free_port()}", *nodes]}}, {"on_lock_error": "wait"})
    assert echo(pair[0]) == echo(pair[1])
    stored(replica, "1")
    primary.kill()
    until("the replica is primary", lambda: is_primary(replica))
    until("both have found it", lambda: all(s.get_admin("/readyz")[0] == 200 for s in pair))
    auth.revoke_access()
    assert echo(pair[0]) == echo(pair[1])
    assert auth.healthy()["refreshes"] == 2
    stored(replica, "2")


@pytest.mark.slow
def test_a_primary_that_is_cut_off_from_its_sentinels_is_left_although_it_answers(redis_server, machines, auth, make_config):
    primary = redis_server("primary")
    replica = redis_server("replica", "--replicaof", "127.0.0.1", primary.port, "--repl-diskless-sync-delay", "0")
    until("the replica follows", lambda: "master_link_status:up" in replica.ask("INFO", "replication"))
    sentinels = make_sentinels(redis_server, primary)
    rules = [line for line in open("docs/configuration.md", encoding="utf-8") if line.startswith("ACL SETUSER sidekey") and "switch-master" in line]
    assert all(s.ask(*rules[0].replace(">PASSWORD", f">{PASSWORD}").split()) == "OK" for s in sentinels)
    pair = machines(2, {"url": "redis://unused", "sentinel": {
        "master": "main", "nodes": [f"127.0.0.1:{s.port}" for s in sentinels], "username": "sidekey",
        "password": make_config.write("sentinel-password", PASSWORD)}}, {"on_lock_error": "fail"})
    assert echo(pair[0]) == echo(pair[1])
    stored(replica, "1")
    until("both listen to all sentinels", lambda: all(len([c for c in clients(s.connect()) if c["name"] == "sidekey" and c["sub"] == "1"]) == 2
                                                      for s in sentinels))
    talk = primary.connect()  # who is logged in stays logged in; who comes anew is refused
    talk.ask("CONFIG", "SET", "requirepass", PASSWORD)
    for client in clients(talk):
        if client["name"].startswith("sentinel-"):
            talk.ask("CLIENT", "KILL", "ID", client["id"])
    until("the replica is primary", lambda: is_primary(replica))
    assert talk.ask("ROLE")[0] == "master"  # two of them: nobody could tell the old one
    for sidekey in pair:
        wait_log(sidekey, f"the sentinel reports 127.0.0.1:{replica.port} as the new primary")
        until("it is at the new one", lambda s=sidekey: s.get_admin("/readyz")[0] == 200)
    auth.revoke_access()
    assert echo(pair[0]) == echo(pair[1])
    stored(replica, "2")
    assert auth.healthy()["refreshes"] == 2
    assert all("NOPERM" not in error_log(s) for s in pair)
    assert talk.ask("HGET", "{sidekey:crm}:state", "gen") == "1"  # what went there would be lost


LIES = [b"main 127.0.0.1 1 127.0.0.1 9", b"main 127.0.0.1 1 169.254.1.1 6379", b"main", b"other 1.2.3.4 1 1.2.3.4 1", b"main a a a a", b"\xff\x00" * 400, b""]


class Liar(threading.Thread):
    """A sentinel that knows the primary, and shouts nonsense to all who subscribe."""

    def __init__(self, redis):
        super().__init__(daemon=True)
        self.server, self.redis, self.shouted, self.over = socket.create_server(("127.0.0.1", 0)), redis, 0, False
        self.port = self.server.getsockname()[1]

    def run(self):
        while not self.over:
            with contextlib.suppress(OSError):
                threading.Thread(target=self.serve, args=(self.server.accept()[0],), daemon=True).start()

    def serve(self, sock):
        bulk = lambda text: b"$%d\r\n%s\r\n" % (len(text), text)
        data = b""
        with contextlib.suppress(OSError), sock:
            while piece := sock.recv(4096):
                data += piece
                sock.sendall(b"+OK\r\n" * data.count(b"SETNAME"))
                if b"get-master-addr" in data:
                    sock.sendall(b"*2\r\n" + bulk(b"127.0.0.1") + bulk(b"%d" % self.redis.port))
                if b"SUBSCRIBE" in data:
                    sock.sendall(b"*3\r\n" + bulk(b"subscribe") + bulk(b"+switch-master") + b":1\r\n")
                    self.shout(sock, bulk)
                data = b""

    def shout(self, sock, bulk):
        while not self.over:
            for lie in LIES:
                sock.sendall(b"*3\r\n" + bulk(b"message") + bulk(b"+switch-master") + bulk(lie))
                self.shouted += 1
            time.sleep(0.002)


def test_a_sentinel_that_shouts_nonsense_costs_a_look_now_and_then_and_nothing_else(redis_server, machines, auth):
    redis = redis_server()
    liar = Liar(redis)
    liar.start()
    sidekey = machines(1, {"url": "redis://unused", "sentinel": {"master": "main", "nodes": [f"127.0.0.1:{liar.port}", f"127.0.0.1:{free_port()}"]}},
                       {"on_lock_error": "fail"}, {"forced_refresh_floor": "1s"})[0]
    connections = lambda: int(dict(line.split(":") for line in redis.ask("INFO", "stats").splitlines() if ":" in line)["total_connections_received"])
    echo(sidekey)
    before, begin = connections(), time.monotonic()
    for _ in range(3):
        auth.revoke_access()
        echo(sidekey)
        time.sleep(1.2)
    seconds = time.monotonic() - begin
    liar.over = True
    assert liar.shouted > 200
    looks = connections() - before
    assert looks <= 2 * (1 + seconds / 1.0) + 2, (looks, seconds)  # two connections for each look, a look a second at most
    assert auth.healthy()["refreshes"] == 4


@pytest.mark.slow
def test_a_cluster_is_followed_to_the_node_that_has_the_key(redis_server, machines, auth):
    nodes = make_cluster(redis_server)
    slot = nodes[0].ask("CLUSTER", "KEYSLOT", "{sidekey:crm}:state")
    home = next(n for n in nodes for low, high, at, *_ in n.ask("CLUSTER", "SLOTS") if low <= slot <= high and at[1] == n.port)
    away = next(n for n in nodes if n is not home)
    pair = machines(2, {"url": away.url}, {"on_lock_error": "fail"}, spec={"forced_refresh_floor": "1s"})
    assert echo(pair[0]) == echo(pair[1])
    stored(home, "1")
    assert away.field("crm", "gen").startswith("-MOVED")
    auth.revoke_access()
    assert echo(pair[0]) == echo(pair[1])
    assert auth.healthy()["refreshes"] == 2
    # The slot moves to another node.
    ids = {n.port: n.ask("CLUSTER", "MYID") for n in (home, away)}
    away.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[home.port])
    home.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[away.port])
    with Talk(home.port) as talk:
        assert talk.ask("MIGRATE", "127.0.0.1", away.port, "{sidekey:crm}:state", 0, 5000) == "OK"
    def finish():
        for node in nodes:
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", ids[away.port])
    time.sleep(1.1)
    auth.revoke_access()
    threading.Timer(0.7, finish).start()
    assert echo(pair[0]) == echo(pair[1])  # ASK, TRYAGAIN and in the end MOVED
    assert auth.healthy()["refreshes"] == 3
    stored(away, "3")


class Proxy(threading.Thread):
    """Redis behind a proxy that ends a connection at a command that it does not know, after an error or without a word."""

    UNKNOWN = (b"CLIENT", b"SUBSCRIBE", b"ROLE", b"SELECT")

    def __init__(self, redis, says):
        super().__init__(daemon=True)
        self.server, self.redis, self.says, self.ended = socket.create_server(("127.0.0.1", 0)), redis, says, []
        self.url = "redis://127.0.0.1:%d" % self.server.getsockname()[1]

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.serve, args=(self.server.accept()[0],), daemon=True).start()

    def serve(self, front):
        with contextlib.suppress(OSError), front, socket.create_connection(("127.0.0.1", self.redis.port)) as back:
            threading.Thread(target=self.answers, args=(back, front), daemon=True).start()
            while data := front.recv(65536):
                unknown = [word for word in self.UNKNOWN if b"\r\n" + word + b"\r\n" in data]
                if unknown:
                    self.ended += unknown
                    front.sendall(self.says)
                    front.shutdown(socket.SHUT_RDWR)
                    return
                back.sendall(data)

    @staticmethod
    def answers(back, front):
        with contextlib.suppress(OSError):
            while data := back.recv(65536):
                front.sendall(data)


@pytest.fixture(params=["closes", "errors", pytest.param("twemproxy", marks=pytest.mark.world)])
def proxied(request, redis_server, place):
    """(the server, the URL of a proxy before it)"""
    redis = redis_server()
    if request.param != "twemproxy":
        proxy = Proxy(redis, b"" if request.param == "closes" else b"-ERR unknown command\r\n")
        proxy.start()
        yield redis, proxy.url
        proxy.server.close()
        assert b"CLIENT" in proxy.ended
        return
    if not shutil.which("nutcracker"):
        pytest.skip("there is no package nutcracker")
    port, folder = free_port(), place / "twemproxy"
    folder.mkdir()
    (folder / "conf.yml").write_text(f'pool:\n  listen: 127.0.0.1:{port}\n  redis: true\n  hash_tag: "{{}}"\n  servers:\n   - 127.0.0.1:{redis.port}:1\n')
    process = Process("twemproxy", ["nutcracker", "-c", folder / "conf.yml", "-s", str(free_port())], folder)
    request.node.sidekey_processes.append(process)

    def listens():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
    until("twemproxy listens", listens)
    yield redis, f"redis://127.0.0.1:{port}"
    process.stop()


def test_a_proxy_that_ends_connections_at_commands_that_it_does_not_know_is_used_all_the_same(proxied, machines, auth):
    redis, url = proxied
    pair = machines(2, {"url": url}, {"on_lock_error": "fail"}, {"forced_refresh_floor": "1s"})
    answers = asyncio.run(together(pair, 20))
    assert {status for status, _, _ in answers} == {200}
    stored(redis, "1")
    auth.revoke_access()
    assert echo(pair[0]) == echo(pair[1])
    stored(redis, "2")
    assert auth.healthy()["refreshes"] == 2 and auth.healthy()["reuse"] == 0
    for sidekey in pair:
        assert error_log(sidekey).count("store not connected") <= 1  # an error alone is no reason to leave
        assert error_log(sidekey).count("sidekey polls it instead") <= 1
        until("its store is up", lambda: "sidekey_store_up 1" in sidekey.get_admin("/metrics")[1])
