"""django-oauth-toolkit as an authorization server (see foreign_serve.py): foreign_django.py '{"client_id": "…", "client_secret": "…", "folder": "…"}'."""
import datetime
import secrets
import uuid

import django
from django.conf import settings
from foreign_serve import OPTIONS, serve

settings.configure(
    SECRET_KEY=secrets.token_hex(), ALLOWED_HOSTS=["*"], USE_TZ=True, ROOT_URLCONF="__main__", DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "oauth2_provider"],
    MIDDLEWARE=["__main__.signed_in"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{OPTIONS['folder']}/db.sqlite3"}},
    OAUTH2_PROVIDER={"OAUTH2_VALIDATOR_CLASS": "__main__.Validator", "SCOPES": {"api": "all"}, "ACCESS_TOKEN_EXPIRE_SECONDS": 3600, "REFRESH_TOKEN_REUSE_PROTECTION": True})
django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import connections  # noqa: E402
from django.urls import include, path  # noqa: E402
from django.utils import timezone  # noqa: E402
from oauth2_provider.models import AccessToken, Application, RefreshToken  # noqa: E402
from oauth2_provider.oauth2_validators import OAuth2Validator  # noqa: E402
from oauth2_provider.settings import DEFAULTS  # noqa: E402

PERSON = "alice"


def signed_in(get_response):
    """Everybody is the same person, whom nobody asks for a password."""
    def answer(request):
        request.user = User.objects.filter(username=PERSON).first()
        return get_response(request)
    return answer


urlpatterns = [path("o/", include("oauth2_provider.urls", namespace="oauth2_provider"))]
COUNTS = {"rotations": 0, "reuse": 0}
ENDS = "REFRESH_TOKEN_REUSE_PROTECTION" in DEFAULTS  # since 3.0 a token that comes twice ends its grant


class Validator(OAuth2Validator):
    """Counts, and decides nothing."""

    def validate_refresh_token(self, refresh_token, client, request, *args, **kwargs):
        COUNTS["reuse"] += RefreshToken.objects.filter(token=refresh_token, revoked__isnull=False).exists()
        return super().validate_refresh_token(refresh_token, client, request, *args, **kwargs)

    def save_bearer_token(self, token, request, *args, **kwargs):
        super().save_bearer_token(token, request, *args, **kwargs)
        COUNTS["rotations"] += 1


call_command("migrate", verbosity=0)
User.objects.create_user(PERSON)
application = Application.objects.create(
    client_id=OPTIONS["client_id"], client_secret=OPTIONS["client_secret"], name="sidekey", redirect_uris=OPTIONS.get("redirect_uri", "https://client.sidekey.test/cb"), skip_authorization=True,
    client_type=Application.CLIENT_CONFIDENTIAL, authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE)


def mint():
    user = User.objects.create_user(secrets.token_hex(8))  # one for each grant
    access = AccessToken.objects.create(user=user, application=application, scope="api", token=secrets.token_hex(16), expires=timezone.now() + datetime.timedelta(hours=1))
    refresh = RefreshToken.objects.create(user=user, application=application, token=secrets.token_urlsafe(30), access_token=access, **({"token_family": uuid.uuid4()} if ENDS else {}))
    connections.close_all()
    return refresh.token


def end(refresh_token):
    user = RefreshToken.objects.get(token=refresh_token).user
    for token in RefreshToken.objects.filter(user=user, revoked__isnull=True):
        token.revoke()
    connections.close_all()


def live():
    count = RefreshToken.objects.filter(revoked__isnull=True).count()
    connections.close_all()
    return count


serve(get_wsgi_application(), mint, end, lambda: COUNTS, token_url="/o/token/", ends=ENDS, live=live, login=[("authorization_url", "/o/authorize/"), ("revocation_url", "/o/revoke_token/")])
