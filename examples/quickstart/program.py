#!/usr/bin/env python3
"""An ordinary program: it knows a URL and a placeholder, and nothing of sidekey.  Proxy and CA come from the environment, as always.

program.py URL                    one call, prints the answer
program.py URL CALLS              that many calls at once, prints {"status": count}
program.py URL CALLS SECONDS      that many callers, again and again
"""
import collections
import http.client
import json
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request


CONTEXT = ssl.create_default_context()  # what it trusts is read once, at its start


def call(url):
    request = urllib.request.Request(url, headers={"Authorization": "Bearer placeholder"})
    try:
        with urllib.request.urlopen(request, timeout=20, context=CONTEXT) as answer:
            return str(answer.status), answer.read().decode()
    except urllib.error.HTTPError as error:
        return str(error.code), error.read().decode()
    except urllib.error.URLError as error:
        untrusted = isinstance(error.reason, ssl.SSLCertVerificationError)
        return "not trusted" if untrusted else "redialled", str(error)
    except (OSError, http.client.HTTPException) as error:  # the connection itself: a program dials again
        return "redialled", str(error)


def caller(url, until, counts):
    while True:
        counts[call(url)[0]] += 1
        if time.monotonic() >= until:
            return
        time.sleep(0.01)


def main():
    url, calls, seconds = sys.argv[1], int((sys.argv + ["0", "0"])[2]), float((sys.argv + ["0", "0"])[3])
    if not calls:
        status, body = call(url)
        print(body)
        return 0 if status == "200" else 1
    counts = collections.Counter()
    until = time.monotonic() + seconds if len(sys.argv) > 3 else 0
    threads = [threading.Thread(target=caller, args=(url, until, counts)) for _ in range(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(counts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
