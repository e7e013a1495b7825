"""Authlib's authorization server on Flask (see foreign_serve.py): foreign_authlib.py '{"client_id": "…", "client_secret": "…"}'."""
import os
import secrets

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # http on loopback

import flask  # noqa: E402
from authlib.integrations.flask_oauth2 import AuthorizationServer  # noqa: E402
from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin, grants  # noqa: E402
from foreign_serve import OPTIONS, serve  # noqa: E402

TOKENS = {}
COUNTS = {"rotations": 0, "reuse": 0}
OVER = set()  # grants


class Client(ClientMixin):
    def get_client_id(self):
        return OPTIONS["client_id"]

    def check_client_secret(self, client_secret):
        return secrets.compare_digest(client_secret.encode(), OPTIONS["client_secret"].encode())

    def check_endpoint_auth_method(self, method, endpoint):
        return method in ("client_secret_basic", "client_secret_post")

    check_token_endpoint_auth_method = check_endpoint_auth_method

    def check_grant_type(self, grant_type):
        return grant_type == "refresh_token"

    def get_allowed_scope(self, scope):
        return scope


class Token(TokenMixin):
    def __init__(self, grant, refresh_token):
        self.grant, self.refresh_token, self.spent = grant, refresh_token, False

    def check_client(self, client):
        return True

    def get_scope(self):
        return "api"

    def get_expires_in(self):
        return 3600

    def is_expired(self):
        return False

    is_revoked = is_expired


class RefreshTokenGrant(grants.RefreshTokenGrant):
    INCLUDE_NEW_REFRESH_TOKEN = True
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]

    def authenticate_refresh_token(self, refresh_token):
        token = TOKENS.get(refresh_token)
        if token and token.spent:
            COUNTS["reuse"] += 1
            OVER.add(token.grant)
        return token if token and token.grant not in OVER else None

    def authenticate_user(self, credential):
        return credential.grant

    def revoke_old_credential(self, credential):
        credential.spent = True
        COUNTS["rotations"] += 1


def save_token(token, request):
    TOKENS[token["refresh_token"]] = Token(request.user, token["refresh_token"])


app = flask.Flask(__name__)
app.config["OAUTH2_REFRESH_TOKEN_GENERATOR"] = True
server = AuthorizationServer(app, query_client=lambda name: Client() if name == OPTIONS["client_id"] else None, save_token=save_token)
server.register_grant(RefreshTokenGrant)
app.add_url_rule("/token", view_func=server.create_token_response, methods=["POST"])


def mint():
    token = Token(secrets.token_hex(4), secrets.token_urlsafe(30))
    TOKENS[token.refresh_token] = token
    return token.refresh_token


serve(app, mint, lambda refresh_token: OVER.add(TOKENS[refresh_token].grant), lambda: COUNTS)
