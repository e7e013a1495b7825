"""What a person sees in a real terminal: tmux plays it, and Chromium the browser."""
import json
import os
import shutil
import subprocess
import time

import harness
import pytest
from harness import SIDEKEY, environment, until

pytestmark = [pytest.mark.world, pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not installed")]


@pytest.fixture(scope="module")
def auth_server(folder, pki):
    server = harness.AuthServer(folder, pki, sign_in=True)
    yield server
    server.stop()


class Terminal:
    """A shell in tmux, 100 columns wide."""

    def __init__(self, place, env):
        self.socket, self.env = place / "tmux", {**env, "PS1": "status=$? > ", "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "60", "-c", str(place), "bash", "--norc", "--noprofile")

    def tmux(self, *words):
        return subprocess.run(["tmux", "-S", str(self.socket), *words], env=self.env, check=True, capture_output=True, timeout=harness.PATIENCE_S).stdout.decode()

    def screen(self):
        return self.tmux("capture-pane", "-p", "-J", "-S", "-500").rstrip()

    def type(self, text):
        self.tmux("send-keys", "-l", text)
        self.tmux("send-keys", "Enter")

    def key(self, name):
        self.tmux("send-keys", name)

    def sees(self, text):
        """Waits for a text in the last lines."""
        until(f"the terminal shows {text!r}", lambda: any(text in line for line in self.screen().splitlines()[-12:]))

    def asks(self, key):
        """Waits for the question of init, with the cursor behind it."""
        until(f"init asks for {key}", lambda: self.screen().splitlines()[-1].startswith(f"{key} (") and self.screen().endswith(":"))

    def runs(self, command):
        """Starts a command on an empty screen."""
        self.tmux("send-keys", "-R")
        self.tmux("clear-history")
        self.type(command)

    def ends(self, status):
        """Waits for the prompt behind the command, which says its exit status."""
        until(f"the command ends with {status}", lambda: self.screen().splitlines()[-1] == f"status={status} >")

    def close(self):
        self.tmux("kill-server")


@pytest.fixture
def terminal(place, auth, pki):
    for name in ("runtime", "state"):
        (place / name).mkdir(mode=0o700)
    browser = place / "browser"
    browser.write_text(f'#!/bin/sh\nexec node {harness.ROOT}/tests/fakes/browser.mjs "$1" carol {place}/profile >{place}/browser.out 2>&1\n')
    browser.chmod(0o755)
    env = environment(place, {"HOME": str(place), "STATE_DIRECTORY": str(place / "state"), "XDG_RUNTIME_DIR": str(place / "runtime"), "BROWSER": str(browser),
                              "SIDEKEY_NODE": str(harness.NODE_DIR), "SSL_CERT_FILE": str(pki / "ca.pem"), "PATH": f"{SIDEKEY.parent}:{os.environ['PATH']}"})
    one = Terminal(place, env)
    yield one
    one.close()


def test_from_an_account_to_a_program_that_works_in_five_minutes(terminal, auth, place):
    """init asks, login opens the browser, run works; what a person typed or edited holds no secret."""
    if not shutil.which("chromium"):
        pytest.skip("chromium is not installed")
    began = time.monotonic()
    typed = [("preset", "generic"), ("preset", "generic-login"), ("provider", auth.token_url.removesuffix("/token")), ("token_url", auth.token_url), ("client_id", "sidekey-native"),
             ("client_secret", ""), ("login_scope", "openid offline_access"), ("host", f"https://{harness.API}/v1"), ("host", harness.API)]
    terminal.runs("sidekey init")
    for key, answer in typed:
        terminal.asks(key)
        terminal.type(answer)
    terminal.ends(0)
    assert "did you mean one of generic-" in terminal.screen() and "host: write only the host" in terminal.screen()
    file = place / "sidekey.yaml"
    file.write_text(file.read_text() + f'network: {{resolve: {{"{harness.API}:443": "127.0.0.1:{auth.api_port}"}}}}\n')  # the test has no DNS
    shown = terminal.screen()
    terminal.runs("sidekey login")
    terminal.ends(0)
    assert "Signed in as carol. The token is stored for generic-login, and refreshed from now on." in terminal.screen().splitlines(), terminal.screen()
    written = file.read_text() + json.dumps(typed) + shown + terminal.screen()
    assert not [secret for secret in auth.secrets if secret in written]
    terminal.runs(f"sidekey run -- curl -sSw '\\n' https://{harness.API}/v2/echo")
    terminal.ends(0)
    assert '"live":true' in terminal.screen().replace(" ", "").replace("\n", ""), terminal.screen()
    assert time.monotonic() - began < 300
    assert auth.healthy()["token_requests"] == 1


def test_a_sign_in_that_is_interrupted_leaves_the_terminal_and_the_account_as_they_were(terminal, auth, place):
    file = place / "sidekey.yaml"
    file.write_text(f"credentials: {{crm: {{preset: generic-login, provider: '{auth.token_url.removesuffix('/token')}', token_url: '{auth.token_url}', client_id: sidekey-native}}}}\n")
    file.chmod(0o600)
    terminal.env["BROWSER"] = "/bin/true"
    terminal.runs("BROWSER=/bin/true sidekey login")
    terminal.sees("waiting for you to sign in, 9:")
    assert len([line for line in terminal.screen().splitlines() if "waiting for you" in line]) == 1
    terminal.key("C-c")
    terminal.ends(130)
    terminal.type("stty -a | grep -c ' echo '; tput cols")
    terminal.sees("100")
    assert auth.counts["token_requests"] == 0 and not list((place / "state").glob("*.state"))
    terminal.runs("sidekey login --device")
    terminal.sees("enter the code:")
    terminal.sees("waiting for you to sign in")
    terminal.key("C-c")
    terminal.ends(130)


def test_init_that_is_interrupted_writes_nothing(terminal, place):
    for key, status in (("C-c", 130), ("C-d", 64)):
        terminal.runs("sidekey init keycloak")
        terminal.asks("client_id")
        terminal.key(key)
        terminal.ends(status)
        assert not (place / "sidekey.yaml").exists()
