"""Real programs, unchanged, each with nothing but a proxy, a CA bundle and a placeholder."""
import json
import shutil
import sys
import textwrap

import pytest
from harness import API, PLACEHOLDER, program_environment, run

URL = f"https://{API}/v2/echo"


def needs(program):
    return pytest.mark.skipif(not shutil.which(program), reason=f"{program} is not installed")


def ran(sidekey, argv, **kw):
    done = run(argv, program_environment(sidekey), **kw)
    assert done.returncode == 0, (done.returncode, done.stdout[-1000:], done.stderr[-2000:])
    return done.stdout.decode()


def saw_token(text, auth):
    assert json.loads(text)["live"] is True
    assert PLACEHOLDER not in json.dumps(auth.requests[-1])


@needs("curl")
def test_curl_with_its_proxy_option(sidekey, auth):
    saw_token(ran(sidekey, ["curl", "-sS", "-x", sidekey.proxy_url, "--cacert", sidekey.ca, "-H", f"Authorization: {PLACEHOLDER}", URL]), auth)


@needs("curl")
def test_curl_with_nothing_but_its_environment(sidekey, auth):
    saw_token(ran(sidekey, ["curl", "-sS", "-H", f"Authorization: {PLACEHOLDER}", URL]), auth)


@needs("curl")
def test_curl_sends_a_form_and_a_file(sidekey, place):
    (place / "upload.bin").write_bytes(b"\0\1\2" * 100_000)
    assert json.loads(ran(sidekey, ["curl", "-sS", "-d", "a=1&b=2", f"https://{API}/upload"]))["body_bytes"] == 7
    assert json.loads(ran(sidekey, ["curl", "-sS", "-T", place / "upload.bin", f"https://{API}/upload"]))["body_bytes"] == 300_000


@needs("wget")
def test_wget(sidekey, auth):
    saw_token(ran(sidekey, ["wget", "-q", "-O-", f"--ca-certificate={sidekey.ca}", f"--header=Authorization: {PLACEHOLDER}", URL]), auth)


@needs("git")
def test_git_clones_and_fetches_over_https(sidekey, place):
    ran(sidekey, ["git", "clone", "-q", "https://git.sidekey.test/repo.git", place / "clone"])
    assert (place / "clone/hello.txt").read_text() == "hello from the repository\n"
    ran(sidekey, ["git", "-C", place / "clone", "fetch", "-q"])


def python(sidekey, place, code):
    script = place / "program.py"
    script.write_text(textwrap.dedent(code))
    return ran(sidekey, [sys.executable, script])


def test_python_urllib(sidekey, auth, place):
    saw_token(python(sidekey, place, f"""
        import urllib.request
        request = urllib.request.Request("{URL}", headers={{"Authorization": "{PLACEHOLDER}"}})
        print(urllib.request.urlopen(request, timeout=20).read().decode())
    """), auth)


def test_python_requests_with_a_session(sidekey, auth, place):
    pytest.importorskip("requests")
    saw_token(python(sidekey, place, f"""
        import requests
        with requests.Session() as session:
            session.headers["Authorization"] = "{PLACEHOLDER}"
            for _ in range(10):
                answer = session.get("{URL}", timeout=20)
                answer.raise_for_status()
            assert session.post("https://{API}/upload", json={{"a": 1}}, timeout=20).json()["body_bytes"] == 8
        print(answer.text)
    """), auth)


@needs("node")
def test_node_with_undici_and_its_proxy_agent(sidekey, auth, place):
    program = place / "program.cjs"
    program.write_text(textwrap.dedent(f"""
        const {{ ProxyAgent, fetch }} = require(require.resolve('undici', {{ paths: [process.env.SIDEKEY_NODE] }}));
        const dispatcher = new ProxyAgent(process.env.HTTPS_PROXY);
        (async () => {{
          const all = await Promise.all(Array.from({{ length: 10 }}, () =>
            fetch('{URL}', {{ dispatcher, headers: {{ authorization: '{PLACEHOLDER}' }} }}).then((r) => r.text())));
          console.log(all[9]);
          await dispatcher.close();
        }})();
    """))
    saw_token(ran(sidekey, ["node", program]), auth)


@needs("java")
@pytest.mark.slow
def test_java_with_its_proxy_properties(sidekey, auth, place):
    store = place / "trust.p12"
    made = run(["keytool", "-importcert", "-noprompt", "-alias", "sidekey", "-file", sidekey.ca, "-keystore", store, "-storetype", "PKCS12", "-storepass", "changeit"])
    assert made.returncode == 0, made.stderr
    (place / "Program.java").write_text(textwrap.dedent(f"""
        import java.net.URI;
        import java.net.http.*;
        public class Program {{
            public static void main(String[] args) throws Exception {{
                HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).proxy(java.net.ProxySelector.getDefault()).build();
                HttpRequest request = HttpRequest.newBuilder(URI.create("{URL}")).header("Authorization", "{PLACEHOLDER}").build();
                System.out.println(client.send(request, HttpResponse.BodyHandlers.ofString()).body());
            }}
        }}
    """))
    host, port = sidekey.proxy
    saw_token(ran(sidekey, ["java", f"-Dhttps.proxyHost={host}", f"-Dhttps.proxyPort={port}", f"-Djavax.net.ssl.trustStore={store}",
                            "-Djavax.net.ssl.trustStorePassword=changeit", place / "Program.java"]), auth)


@needs("perl")
def test_perl_http_tiny(sidekey, auth):
    if run(["perl", "-MIO::Socket::SSL", "-e1"]).returncode:
        pytest.skip("perl has no IO::Socket::SSL")
    saw_token(ran(sidekey, ["perl", "-MHTTP::Tiny", "-e", f"""
        my $r = HTTP::Tiny->new(verify_SSL => 1, SSL_options => {{SSL_ca_file => $ENV{{SSL_CERT_FILE}}}})
            ->get("{URL}", {{headers => {{authorization => "{PLACEHOLDER}"}}}});
        die $r->{{content}} unless $r->{{success}}; print $r->{{content}};"""]), auth)
