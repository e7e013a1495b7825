"""Many accounts on one host: the placeholder that a program sends chooses the credential, and no placeholder reaches a server."""
import asyncio
import base64
import json

import pytest
from harness import API, SIDEKEY, AsyncClient, environment, run

ECHO = "/open/v2/echo"  # the API shows what it got, whatever the token
TEAMS = [f"team-{n}" for n in range(20)]


def bearer(team):
    return {"Authorization": f"Bearer sk-placeholder-{team}"}


def basic(user, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def config(make_config, pki):
    def rule(name, host=API, **more):
        return {"name": name, "match": {"host": host}, "credential": name, "tls": {"ca_file": str(pki / "ca.pem")}, **more}
    names = [*TEAMS, "key", "query", "git", "good"]
    config = make_config()
    config["credentials"] = {name: {"grant": "static", "token": make_config.write(name, f"token-of-{name}")} for name in names}
    config["rules"] = [
        *(rule(team, when={"header": "authorization", "equals": bearer(team)["Authorization"]}) for team in TEAMS),
        rule("key", when={"header": "x-api-key", "equals": "sk-placeholder-key"}),
        rule("query", when={"query": "key", "equals": "sk placeholder"}, inject=[{"in": "query", "name": "key", "format": "{access_token}"}]),
        rule("git", when={"basic_password": "ghp_placeholder"}, inject=[{"in": "userinfo", "format": "x:{access_token}"}]),
        rule("good", host="good.sidekey.test", when={"header": "authorization", "equals": "Bearer sk-placeholder-good"}, others="pass"),
    ]
    api = next(iter(config["network"]["resolve"].values()))
    config["network"]["resolve"] = {f"{API}:443": api, "good.sidekey.test:443": api}
    return config


@pytest.fixture
def sidekey(start, config):
    return start(config)


def echo(sidekey, path=ECHO, host=API, **headers):
    status, _, body = sidekey.request(path=path, host=host, headers={name.replace("_", "-"): value for name, value in headers.items()})
    return status, json.loads(body)


def test_a_thousand_mixed_requests_of_twenty_accounts_are_kept_apart(sidekey):
    async def ask(client, n):
        team = TEAMS[n % len(TEAMS)]
        status, _, body = await client.request("GET", f"{ECHO}?n={n}", authorization=bearer(team)["Authorization"])
        return status == 200 and json.loads(body)["headers"]["authorization"] == f"Bearer token-of-{team}"

    async def scene():
        clients = [AsyncClient(sidekey) for _ in range(25)]

        async def many(which, client):
            return [await ask(client, which * 41 + n) for n in range(40)]
        answers = await asyncio.gather(*[many(which, client) for which, client in enumerate(clients)])
        for client in clients:
            client.close()
        return [answer for each in answers for answer in each]
    answers = asyncio.run(scene())
    assert len(answers) == 1000 and all(answers)


def test_every_place_of_a_placeholder_works_and_the_placeholder_is_gone(sidekey):
    status, seen = echo(sidekey, x_api_key="sk-placeholder-key")
    assert status == 200 and seen["headers"]["authorization"] == "Bearer token-of-key" and "placeholder" not in json.dumps(seen)
    status, seen = echo(sidekey, path=f"{ECHO}?a=1&key=sk+placeholder&b=2")
    assert status == 200 and seen["path"] == f"{ECHO}?a=1&b=2&key=token-of-query"
    status, seen = echo(sidekey, **basic("anyone", "ghp_placeholder"))
    assert status == 200 and seen["headers"]["authorization"] == basic("x", "token-of-git")["Authorization"]


def test_a_placeholder_among_the_trailers_takes_them_with_it(sidekey, auth):
    for trailers in ("X-Sum: 1\r\n", "X-Sum: 1\r\nX-Api-Key: sk-placeholder-key\r\n"):
        head = f"POST {ECHO} HTTP/1.1\r\nHost: {API}\r\nAuthorization: {bearer('team-1')['Authorization']}\r\nTransfer-Encoding: chunked\r\n"
        answer = sidekey.raw(f"{head}\r\n1\r\nx\r\n0\r\n{trailers}\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 200 "), answer
    assert [request["trailers"] for request in auth.requests[-2:]] == [{"x-sum": "1"}, {}]


REFUSED = {
    "nothing": ({"Authorization": ""}, "placeholder_missing"),
    "another credential": ({"Authorization": "Bearer sk-real"}, "placeholder_missing"),
    "one of another host": ({"Authorization": "Bearer sk-placeholder-good"}, "placeholder_stray"),
    "two at once": ({**bearer("team-1"), "x_api_key": "sk-placeholder-key"}, "placeholder_stray"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_request_that_no_rule_takes_is_refused_with_the_reason(sidekey, auth, what):
    headers, reason = REFUSED[what]
    before = len(auth.requests)
    status, problem = echo(sidekey, **headers)
    assert status == 403 and problem["reason"] == reason, problem
    assert len(auth.requests) == before, "nothing of it reached the server"
    assert f'sidekey_refused_total{{reason="{reason}"}} 1' in sidekey.get_admin("/metrics")[1]


def test_others_pass_untouched_but_no_placeholder_does(sidekey):
    status, seen = echo(sidekey, host="good.sidekey.test", Authorization="Bearer sk-real", x_other="kept")
    assert status == 200 and seen["headers"]["authorization"] == "Bearer sk-real" and seen["headers"]["x-other"] == "kept"
    status, seen = echo(sidekey, host="good.sidekey.test", Authorization="Bearer sk-placeholder-good")
    assert status == 200 and seen["headers"]["authorization"] == "Bearer token-of-good"
    status, problem = echo(sidekey, host="good.sidekey.test", **bearer("team-1"))
    assert status == 403 and problem["reason"] == "placeholder_stray"


def test_a_preflight_gets_no_token(sidekey):
    status, _, body = sidekey.request("OPTIONS", ECHO, headers={**bearer("team-1"), "access-control-request-method": "PUT", "origin": "https://app.example"})
    seen = json.loads(body)["headers"]
    assert status == 200 and "authorization" not in seen and seen["access-control-request-method"] == "PUT"
    status, _, body = sidekey.request("OPTIONS", ECHO, headers=bearer("team-1"))
    assert json.loads(body)["headers"]["authorization"] == "Bearer token-of-team-1"


def test_why_says_which_placeholder_is_wanted_and_which_rule_takes_the_request(sidekey, place, config):
    path = place / "why.yaml"
    path.write_text(json.dumps(config))

    def why(*args):
        done = run([SIDEKEY, "why", "-c", path, *args], environment(place))
        return done.returncode, done.stdout.decode()
    code, said = why("-H", "authorization: bearer sk-placeholder-team-3", "GET", f"https://{API}/")
    assert code == 0 and "<access_token of team-3>" in said and "strip   authorization, the placeholder" in said
    code, said = why("GET", f"https://{API}/")
    assert code == 1 and 'needs authorization "Bearer sk-placeholder-team-3"' in said and "403" in said
    code, said = why("--header", "authorization: Bearer sk-placeholder-good", "GET", f"https://{API}/")
    assert code == 1 and "a placeholder that no rule uses" in said
    code, said = why("-H", "no colon", "GET", f"https://{API}/")
    assert code == 64


MADE = {"gh": ("ghp_{36}", ["GH_TOKEN"], None), "ai": ("sk-ant-api03-{93}AA", ["ANTHROPIC_API_KEY"], "x-api-key"), "goog": ("AIzaSy{33}", ["GEMINI_API_KEY"], "x-goog-api-key")}


@pytest.fixture
def made(make_config, pki):
    """Three credentials whose placeholders sidekey makes, for one host; a fourth for another."""
    config = make_config()

    def rule(name, host, field, **more):
        inject = {"inject": [{"in": "header", "name": field, "format": "{access_token}"}]} if field else {}
        return {"name": name, "match": {"host": host}, "credential": name, "tls": {"ca_file": str(pki / "ca.pem")}, **inject, **more}
    config["credentials"] = {name: {"grant": "static", "token": make_config.write(f"made-{name}", f"token-of-{name}"), "placeholder": "auto",
                                    "placeholder_format": shape, "placeholder_variables": variables} for name, (shape, variables, _) in MADE.items()}
    config["credentials"]["far"] = {"grant": "static", "token": make_config.write("made-far", "token-of-far"), "placeholder": "auto"}
    config["rules"] = [*(rule(name, API, field) for name, (_, _, field) in MADE.items()), rule("far", "good.sidekey.test", None, others="pass"),
                       rule("agent", API, None, placeholder="auto") | {"credential": "gh"}]
    api = next(iter(config["network"]["resolve"].values()))
    config["network"]["resolve"] = {f"{API}:443": api, "good.sidekey.test:443": api}
    return config


def printed(place, config, *flags):
    """What `sidekey env` prints, as a dictionary, and what it says."""
    path = place / "made.yaml"
    path.write_text(json.dumps(config))
    done = run([SIDEKEY, "env", "-c", path, "--format", "json", "--proxy", "127.0.0.1:1", *flags], environment(place))
    return json.loads(done.stdout or "{}"), done.stderr.decode(), done.returncode


def test_made_placeholders_are_printed_choose_their_credential_and_never_arrive(start, made, place):
    sidekey = start(made)
    env, said, _ = printed(place, made, "--placeholder", "AGENT=@agent")
    assert not said and env["GH_TOKEN"].startswith("ghp_") and len(env["GH_TOKEN"]) == 40 and env["ANTHROPIC_API_KEY"].startswith("sk-ant-api03-")
    ways = [("gh", {"Authorization": f"Bearer {env['GH_TOKEN']}"}), ("gh", {"Authorization": f"token {env['GH_TOKEN']}"}), ("gh", basic("git", env["GH_TOKEN"])),
            ("gh", basic(env["GH_TOKEN"], "")), ("ai", {"x-api-key": env["ANTHROPIC_API_KEY"]}), ("ai", {"Authorization": f"Bearer {env['ANTHROPIC_API_KEY']}"}),
            ("goog", {"x-goog-api-key": env["GEMINI_API_KEY"]}), ("gh", {"Authorization": f"Bearer {env['AGENT']}"})]
    for name, headers in ways:
        status, seen = echo(sidekey, **headers)
        field = MADE[name][2]
        assert status == 200 and (seen["headers"][field] == f"token-of-{name}" if field else seen["headers"]["authorization"] == f"Bearer token-of-{name}"), (name, headers, seen)
        assert not any(value in json.dumps(seen) for value in (env["GH_TOKEN"], env["ANTHROPIC_API_KEY"], env["GEMINI_API_KEY"], env["AGENT"]))
        assert field is None or "Authorization" not in headers or "authorization" not in seen["headers"]
    status, seen = echo(sidekey, path=f"{ECHO}?a=1&key={env['GEMINI_API_KEY']}")
    assert status == 200 and seen["path"] == f"{ECHO}?a=1" and seen["headers"]["x-goog-api-key"] == "token-of-goog"


def test_a_made_placeholder_that_no_rule_takes_is_refused_wherever_it_stands(start, made, place, auth):
    sidekey = start(made)
    env, _, _ = printed(place, made, "--placeholder", "FAR=@far")
    far, own = env["FAR"], env["GH_TOKEN"]
    right = {"Authorization": f"Bearer {own}"}
    before = len(auth.requests)
    strays = [("?key=" + far, {}), ("", basic("x", far)), ("", {"x-api-key": far}), ("", {"Authorization": f"Bearer {far}"}), ("", {"Cookie": f"t={far}"}),
              ("/" + far, right), ("", {**right, "Cookie": f"a=b; t={own}"}), ("", {**right, "x-api-key": far})]
    for path, headers in strays:
        status, problem = echo(sidekey, path=ECHO + path, **headers)
        assert status == 403 and problem["reason"] == "placeholder_stray", (path, headers, problem)
    status, problem = echo(sidekey, host="good.sidekey.test", **right)
    assert status == 403 and problem["reason"] == "placeholder_stray", "others: pass lets none through either"
    status, problem = echo(sidekey, Authorization="Bearer " + own[:-1])
    assert status == 403 and problem["reason"] == "placeholder_missing"
    assert len(auth.requests) == before, "nothing of it reached the server"


def test_made_placeholders_outlive_a_restart_and_a_new_token(start, made, place, make_config):
    del made["store"]["seal_key"]  # it is made in the state directory
    sidekey = start(made)
    first = printed(place, made)[0]["GH_TOKEN"]
    sidekey.stop()
    make_config.write("made-gh", "token-after")
    sidekey = start(made)
    assert printed(place, made)[0]["GH_TOKEN"] == first
    status, seen = echo(sidekey, Authorization=f"Bearer {first}")
    assert status == 200 and seen["headers"]["authorization"] == "Bearer token-after"


def test_run_sets_them_and_says_when_two_want_one_variable(place, made):
    path = place / "run.yaml"
    path.write_text(json.dumps(made))
    script = 'printf "%s %s\\n" "$GH_TOKEN" "$MINE"; curl -sS -H "Authorization: Bearer $GH_TOKEN" https://api.sidekey.test/open/v2/echo'
    done = run([SIDEKEY, "run", "-c", path, "--placeholder", "MINE=@agent", "--", "sh", "-c", script], environment(place, {"GH_TOKEN": "a real one"}))
    words, _, seen = done.stdout.decode().partition("\n")
    assert done.returncode == 0 and words.split()[0].startswith("ghp_") and words.split()[1].startswith("ghp_") and words.split()[0] != words.split()[1], done.stderr
    assert json.loads(seen)["headers"]["authorization"] == "Bearer token-of-gh"
    made["credentials"]["far"]["placeholder_variables"] = ["GH_TOKEN"]
    path.write_text(json.dumps(made))
    done = run([SIDEKEY, "run", "-c", path, "--", "sh", "-c", 'echo "$GH_TOKEN"'], environment(place, {"GH_TOKEN": "as it was"}))
    assert done.stdout == b"as it was\n" and b"both gh and far want it" in done.stderr
    done = run([SIDEKEY, "run", "-c", path, "--placeholder", "X=@nobody", "--", "true"], environment(place))
    assert done.returncode == 64 and b'no credential or rule "nobody"' in done.stderr


def test_env_without_the_key_says_so_and_why_names_the_credential(place, made):
    del made["store"]["seal_key"]
    env, said, code = printed(place, made)
    assert code == 0 and "GH_TOKEN" not in env and "seal.key" in said
    done = run([SIDEKEY, "why", "-c", place / "made.yaml", "GET", f"https://{API}/"], environment(place))
    assert done.returncode == 1 and b"needs the placeholder of gh (sidekey env prints it)" in done.stdout and b"placeholder_missing" not in done.stdout
