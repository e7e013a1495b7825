# syntax=docker/dockerfile:1
# A build whose downloads need a token (a private package registry, for example).  sidekey runs on the machine that builds:
#   sidekey serve -c sidekey.yaml &
#   docker build --network=host --secret id=sidekey-ca,src=/run/sidekey/bundle.pem \
#       --build-arg HTTPS_PROXY=http://127.0.0.1:8118 -f build-behind-sidekey.Dockerfile .
# HTTPS_PROXY is a build argument that BuildKit knows: it stands neither in the image nor in its history.  The CA is there during this one RUN.  The build never
# sees a token, and no layer holds a secret.
FROM debian:13
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates curl && rm -rf /var/lib/apt/lists/*
RUN --mount=type=secret,id=sidekey-ca,target=/run/sidekey/bundle.pem \
    CURL_CA_BUNDLE=/run/sidekey/bundle.pem curl -fsS -o /tmp/package.tar.gz https://packages.example.com/package.tar.gz
