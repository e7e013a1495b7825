"""Every way to a token, against servers that really verify: oidc-provider with jose, and endpoints that are as strict as the vendors' own."""
import json
import os
import ssl
import stat
import subprocess
import time
import urllib.parse

import pytest

from harness import until
from idp import TlsFront

CLOUD = "/computeMetadata/v1/instance/service-accounts/default/token"


@pytest.fixture
def keys(auth):
    return auth.ask("/keys")


@pytest.fixture
def by_tls(auth, pki):
    """by_tls(url): what a credential needs to ask it by https; a Date in plain http is not believed."""
    front = TlsFront(pki, int(auth.token_url.split(":")[2].split("/")[0]))
    yield lambda url: {"token_url": front.url(url), "tls": {"ca_file": str(pki / "ca.pem")}}
    front.close()


@pytest.fixture
def with_credential(make_config):
    """A config whose one credential is the one given (required, so that "ready" means a token)."""
    def make(credential, **changes):
        config = make_config(**changes)
        config["credentials"] = {"crm": {"required": True, **credential}}
        return config
    return make


def impatient(config):
    """Who is told why there is no token need not wait for ten seconds."""
    config["limits"]["token_wait"] = "2s"
    return config


def base(auth):
    return auth.token_url.removesuffix("/token")


def works(sidekey):
    """A request of a program reaches the API with a live token."""
    status, _, body = sidekey.request()
    assert status == 200, (status, body[:500])


def refusal(sidekey):
    """What the program is told, when there is no token to be had."""
    status, headers, body = sidekey.request()
    assert status == 503 and "sidekey" in headers["proxy-status"], (status, body[:500])
    return body.decode()


def force(sidekey, name="crm"):
    """A new token by the operator's word."""
    status, body = sidekey.get_admin(f"/refresh/{name}", "POST")
    assert status in (200, 202), (status, body)


def events(auth, what):
    return [e for e in auth.ask("/events") if e["what"] == what]


def failures(sidekey):
    text = b"".join(sidekey.logs().values()).decode()
    return [line for line in text.splitlines() if "refresh failed" in line]


# --- assertions ---------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("client, key", [("sidekey-rsa", "rsa"), ("sidekey-ec", "ec")])
def test_a_client_proves_itself_with_a_private_key(auth, keys, make_config, with_credential, start, client, key):
    works(start(with_credential({
        "grant": "client_credentials", "token_url": auth.token_url, "client_id": client, "client_auth": "private_key_jwt",
        "assertion": {"key": make_config.write("key", keys[key]), "kid": "k1"},
    })))
    assert auth.counts["client_credentials"] == 1 and auth.counts["errors"] == 0


def test_a_wrong_key_is_a_matter_of_configuration(auth, keys, make_config, with_credential, start):
    sidekey = start(with_credential({
        "grant": "client_credentials", "token_url": auth.token_url, "client_id": "sidekey-ec",
        "assertion": {"key": make_config.write("key", keys["rsa"])},
    }))
    assert "invalid_client" in refusal(sidekey)
    assert "class=config" in failures(sidekey)[0] or '"class":"config' in failures(sidekey)[0], failures(sidekey)


class MtlsFront(TlsFront):
    """Asks for a certificate of the tests' CA, and says in fields of the request whose it is, as nginx does."""

    def __init__(self, pki, port):
        super().__init__(pki, port)
        self.context.verify_mode = ssl.CERT_OPTIONAL
        self.context.load_verify_locations(pki / "ca.pem")

    def _fields(self, front):
        name = front.getpeercert() or {}
        dn = ",".join(f"CN={value}" for part in name.get("subject", ()) for key, value in part if key == "commonName")
        pem = ssl.DER_cert_to_PEM_cert(front.getpeercert(binary_form=True)) if dn else ""
        return f"X-Client-DN: {dn}\r\nX-Client-Cert: {urllib.parse.quote(pem)}\r\n".encode()

    def changed(self, front, data):
        line, end, rest = data.partition(b"\r\n")
        return line + end + self._fields(front) + rest if data.startswith(b"POST ") else data


@pytest.fixture
def by_mtls(auth, pki):
    front = MtlsFront(pki, int(auth.token_url.split(":")[2].split("/")[0]))
    yield {"token_url": front.url(auth.token_url), "tls": {"ca_file": str(pki / "ca.pem")}}
    front.close()


def test_a_client_proves_itself_with_a_tls_certificate(auth, by_mtls, pki, place, with_credential, start):
    """RFC 8705 §2.1: tls_client_auth; the token is bound to the certificate (§3)."""
    for line in ("req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout mtls.key -out mtls.csr -subj /CN=sidekey-mtls",
                 f"x509 -req -in mtls.csr -CA {pki}/ca.pem -CAkey {pki}/ca.key -set_serial 7 -days 30 -extfile ext -out mtls.pem"):
        (place / "ext").write_text("extendedKeyUsage = clientAuth\n")
        subprocess.run(["openssl", *line.split()], cwd=place, check=True, capture_output=True)
    (place / "mtls.key").chmod(0o600)
    ours = {**by_mtls["tls"], "cert_file": str(place / "mtls.pem"), "key_file": str(place / "mtls.key")}
    without = start(with_credential({"grant": "client_credentials", **by_mtls, "client_id": "sidekey-mtls", "client_auth": "none"}), name="without")
    assert "invalid_client" in refusal(without)
    without.stop()
    works(start(with_credential({"grant": "client_credentials", **by_mtls, "tls": ours, "client_id": "sidekey-mtls", "client_auth": "none"})))


@pytest.mark.parametrize("key", ["rsa", "ec"])
@pytest.mark.parametrize("body", ["form"])
def test_a_jwt_bearer_grant_signs_a_new_assertion_each_time(auth, keys, make_config, with_credential, start, key, body):
    sidekey = start(with_credential({
        "grant": "jwt_bearer", "token_url": auth.token_url, "client_id": "sidekey-bearer", "body": body, "forced_refresh_floor": "1s",
        "assertion": {"key": make_config.write("key", keys[key]), "subject": "someone", "lifetime": "5m", "claims": {"tenant": "t1"}},
    }))
    works(sidekey)
    auth.revoke_access()
    works(sidekey)
    claims = [e["claims"] for e in events(auth, "assertion")]
    assert len(claims) == 2 and len({c["jti"] for c in claims}) == 2
    assert all(c["sub"] == "someone" and c["tenant"] == "t1" and c["exp"] - c["iat"] == 300 for c in claims), claims


def test_google_service_account_key_file(auth, keys, make_config, with_credential, start):
    works(start(with_credential({
        "grant": "jwt_bearer", "token_url": base(auth) + "/google/token", "scope": keys["google_scope"],
        "assertion": {"key": make_config.write("sa.json", keys["google"])},
    })))
    (event,) = events(auth, "assertion")
    assert event["header"] == {"alg": "RS256", "typ": "JWT", "kid": "gk1"}


def test_github_app_installation_token(auth, keys, make_config, with_credential, start):
    works(start(with_credential({
        "grant": "github_app", "token_url": base(auth) + "/app/installations/42/access_tokens", "client_id": keys["app"],
        "assertion": {"key": make_config.write("key", keys["rsa"])},
    })))


@pytest.mark.parametrize("offset_s", [-900, 900, -7200, 7200])
def test_a_clock_that_is_off_costs_one_more_signature(auth, by_tls, keys, make_config, with_credential, start, offset_s):
    auth.ask("/clock", {"offset_s": offset_s})
    sidekey = start(with_credential({
        "grant": "jwt_bearer", **by_tls(auth.token_url), "client_id": "sidekey-bearer",
        "assertion": {"key": make_config.write("key", keys["ec"]), "lifetime": "5m", "audience": auth.token_url},
    }))
    works(sidekey)
    assert auth.counts["token_requests"] == 2 and not failures(sidekey)


def test_github_refuses_a_clock_by_status_alone(auth, by_tls, keys, make_config, with_credential, start):
    auth.ask("/clock", {"offset_s": -600})
    works(start(with_credential({
        "grant": "github_app", **by_tls(base(auth) + "/app/installations/42/access_tokens"), "client_id": keys["app"],
        "assertion": {"key": make_config.write("key", keys["rsa"])},
    })))


def test_a_refused_assertion_with_a_good_clock_is_not_signed_again(auth, keys, make_config, with_credential, start):
    sidekey = start(with_credential({
        "grant": "jwt_bearer", "token_url": auth.token_url, "client_id": "sidekey-bearer",
        "assertion": {"key": make_config.write("key", keys["ec"]), "issuer": "somebody-else"},
    }))
    assert "invalid_grant" in refusal(sidekey)
    assert auth.counts["token_requests"] == 1


def test_a_signing_key_that_is_mended_is_used_at_once(auth, keys, make_config, with_credential, start, place):
    reference = make_config.write("key", "not a key\n")
    sidekey = start(with_credential({
        "grant": "jwt_bearer", "token_url": auth.token_url, "client_id": "sidekey-bearer", "assertion": {"key": reference},
    }))
    assert "not a private key in PEM form" in refusal(sidekey)
    fresh = place / "key.new"
    fresh.write_text(keys["rsa"])
    os.rename(fresh, reference["file"])
    until("a token", lambda: sidekey.request()[0] == 200)


# --- token exchange -----------------------------------------------------------------------------------------------------------

def test_a_token_exchange_reads_the_subject_token_anew(auth, make_config, with_credential, start, place):
    subject = make_config.write("subject", auth.ask("/subject", {"serial": "first"})["token"])
    sidekey = start(with_credential({
        "grant": "token_exchange", "token_url": auth.token_url, "client_id": "sidekey-bearer", "subject_token": subject,
        "audience": "https://aud.test", "resource": "https://api.test/", "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "forced_refresh_floor": "1s",
    }))
    works(sidekey)
    fresh = place / "subject.new"
    fresh.write_text(auth.ask("/subject", {"serial": "second"})["token"] + "\n")
    os.rename(fresh, subject["file"])
    auth.revoke_access()
    works(sidekey)
    seen = events(auth, "exchange")
    assert [e["serial"] for e in seen] == ["first", "second"]
    assert seen[0]["params"]["audience"] == "https://aud.test" and seen[0]["params"]["resource"] == "https://api.test/"


def test_a_subject_token_that_comes_late_is_taken_at_once(auth, make_config, with_credential, start, place):
    """The kubelet may write the projected token after sidekey has begun."""
    path = place / "projected"
    sidekey = start(with_credential({
        "grant": "token_exchange", "token_url": auth.token_url, "client_id": "sidekey-bearer", "subject_token": {"file": str(path)},
    }))
    assert "cannot read the secret" in refusal(sidekey)
    (place / "late").write_text(auth.ask("/subject", {})["token"])
    os.rename(place / "late", path)
    until("a token", lambda: sidekey.request()[0] == 200)


def test_google_workload_identity_takes_two_steps(auth, keys, make_config, with_credential, start):
    works(start(with_credential({
        "grant": "token_exchange", "token_url": base(auth) + "/google/token", "scope": "https://sts.test",
        "subject_token": make_config.write("subject", auth.ask("/subject", {})["token"]),
        "impersonate": {"url": base(auth) + "/google/impersonate", "scope": f"{keys['google_scope']} https://other.test", "lifetime": "1h"},
    })))
    (step,) = events(auth, "impersonate")
    assert step["scope"] == [keys["google_scope"], "https://other.test"] and step["lifetime"] == "3600s"


def test_a_refused_second_step_says_so(auth, make_config, with_credential, start):
    auth.ask("/settings", {"impersonate_status": 403})
    sidekey = start(with_credential({
        "grant": "token_exchange", "token_url": base(auth) + "/google/token",
        "subject_token": make_config.write("subject", auth.ask("/subject", {})["token"]),
        "impersonate": {"url": base(auth) + "/google/impersonate", "scope": "x"},
    }))
    text = refusal(sidekey)
    assert "impersonation: HTTP 403" in text and "PERMISSION_DENIED" in text


# --- metadata -----------------------------------------------------------------------------------------------------------------

def metadata_network(auth, config):
    config["network"]["resolve"]["169.254.169.254:80"] = base(auth).removeprefix("http://")
    return config


def test_the_metadata_server_is_asked_as_google_wants_it(auth, with_credential, start):
    works(start(metadata_network(auth, with_credential({"grant": "metadata"}))))
    assert len(events(auth, "metadata")) == 1


@pytest.mark.slow
def test_the_same_token_again_is_no_reason_to_hurry(auth, with_credential, start):
    """The server keeps one token until 3 s before its end: no storm of requests, no gap, no dead token."""
    auth.access_ttl(10)
    sidekey = start(metadata_network(auth, with_credential({"grant": "metadata"})))
    end = time.monotonic() + 22
    while time.monotonic() < end:
        works(sidekey)
        time.sleep(0.1)
    assert 3 <= len(events(auth, "metadata")) <= 14
    assert auth.counts["api_unauthorized"] == 0


# --- command ------------------------------------------------------------------------------------------------------------------

@pytest.fixture
def program(place, auth):
    """A program that prints what is in a file, and says on standard error what nobody may see."""
    def make(body, name="helper"):
        path = place / name
        path.write_text(f"#!/bin/sh\necho oops-{auth.client_secret} >&2\necho run >> {place}/{name}.runs\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)
    make.runs = lambda name="helper": len((place / f"{name}.runs").read_text().split())
    return make


def access_token(auth):
    return auth.ask("/makeaccess", {})["token"]


def test_a_command_prints_the_token(auth, with_credential, start, program, place):
    (place / "out").write_text(json.dumps({"access_token": access_token(auth), "expires_in": 3600}))
    sidekey = start(with_credential({"grant": "command", "command": [program('[ "$1 $2" = "a b;c" ] || [ "$2" = "b;c" ] && cat "$3"'), "a", "b;c", str(place / "out")],
                                     "forced_refresh_floor": "1s"}))
    works(sidekey)
    (place / "out").write_text(json.dumps({"access_token": access_token(auth), "expires_in": 3600}))
    auth.revoke_access()
    (place / "out").write_text(json.dumps({"access_token": access_token(auth), "expires_in": 3600}))
    works(sidekey)
    assert program.runs() == 2


def test_an_exec_credential_plugin_works_as_it_is(auth, with_credential, start, program):
    answer = {"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1", "spec": {},
              "status": {"token": access_token(auth), "expirationTimestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))}}
    works(start(with_credential({"grant": "command", "command": [program(
        f"case $KUBERNETES_EXEC_INFO in *client.authentication.k8s.io/v1*) printf '%s' '{json.dumps(answer)}';; esac")]})))


@pytest.mark.parametrize("body, why", [
    ("exit 3", "exit status 3"),
    ("kill -9 $$", "ended by signal 9"),
    ("echo not a token", "neither one JSON object nor a form"),
    ("head -c 1100000 /dev/zero | tr '\\0' x", "larger than 1 MiB"),
    ("true", "empty"),
])
def test_a_command_that_fails_is_named(auth, with_credential, start, program, body, why):
    sidekey = start(impatient(with_credential({"grant": "command", "command": [program(body)]})))
    assert why in refusal(sidekey)


def test_a_command_that_is_not_there_is_named(auth, with_credential, start, place):
    sidekey = start(impatient(with_credential({"grant": "command", "command": [str(place / "nothing")]})))
    assert "cannot be started" in refusal(sidekey)


def test_a_slow_command_blocks_nobody_and_its_children_end_with_it(auth, make_config, with_credential, start, program, place):
    """Two credentials of one keeper: while one command hangs, the other one is refreshed; SIGTERM ends what hangs."""
    config = with_credential({"grant": "command", "command": [program("echo $$ > " + str(place / "pid") + "; sleep 600 & sleep 600")]})
    config["credentials"]["crm"]["required"] = False
    (place / "out").write_text(json.dumps({"access_token": access_token(auth), "expires_in": 3600}))
    config["credentials"]["quick"] = {"grant": "command", "command": [program("cat " + str(place / "out"), "quick")]}
    for rule in config["rules"][1:]:
        rule["credential"] = "quick"
    sidekey = start(config)
    group = until("the command runs", lambda: (place / "pid").exists() and (place / "pid").read_text().strip())
    assert sidekey.request(host="git.sidekey.test")[0] == 200
    assert os.path.exists(f"/proc/{group}"), "all that while the other one hung"
    sidekey.stop()

    def gone():
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                fields = open(f"/proc/{pid}/stat", encoding="ascii", errors="replace").read().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[2] == group and fields[0] != "Z":
                return False
        return True
    until("the whole process group is gone", gone)


# --- secrets that programs print ------------------------------------------------------------------------------------------------

def test_a_slow_program_keeps_nobody_but_its_own_credential_waiting(auth, make_config, start, place):
    config = make_config()
    crm = config["credentials"]["crm"]
    running = place / "running"
    script = f"touch {running}; while [ ! -e {place}/go ]; do sleep 0.1; done; cat {crm['client_secret']['file']}; rm {running}"
    config["credentials"]["slow"] = {**crm, "required": False, "refresh_token": make_config.write("slow-token", auth.mint()["refresh_token"]),
                                     "client_secret": {"command": ["sh", "-c", script]}}
    config["rules"].append({"match": {"host": "slow.sidekey.test"}, "credential": "slow"})
    sidekey = start(config)
    until("the program runs", running.exists)
    works(sidekey)  # a first token, and a leaf of the keeper
    force(sidekey)
    works(sidekey)
    assert sidekey.get_admin("/readyz")[0] == 200
    assert running.exists(), "all that happened while it ran"
    (place / "go").touch()
    until("its credential has a token", lambda: "[+]credential/slow" in sidekey.get_admin("/readyz")[1])


def test_a_program_that_fails_is_told_and_its_output_is_not(auth, make_config, with_credential, start):
    sidekey = start(with_credential({
        "grant": "client_credentials", "token_url": auth.token_url, "client_id": auth.client_id,
        "client_secret": {"command": ["sh", "-c", "echo half-a-secret; echo half-a-secret >&2; exit 3"]},
    }))
    assert "cannot read the secret from command sh: exit status 3" in refusal(sidekey)
    assert not [text for text in sidekey.logs().values() if b"half-a-secret" in text]
