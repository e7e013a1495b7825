"""The rows of the table of programs: a name, the Debian packages that it needs, and its command.

To add one: a line in ROWS.  {url} is https://up.test/, {host} up.test, {code} the file that the row's code is written to (its suffix is the third word of "code"),
{dir} a folder of the row's own, {node24} Node 24 of the tests.  "build" is run once before.  A command is not run by a shell, so what sidekey sees is the program.
"""
from dataclasses import dataclass, field

TOKEN = "placeholder-of-the-program"
HEADER = f"Authorization: Bearer {TOKEN}"
REQUEST = f"GET / HTTP/1.1\r\nHost: up.test\r\n{HEADER}\r\nConnection: close\r\n\r\n"


@dataclass
class Row:
    name: str
    packages: str
    argv: list
    code: str = ""
    suffix: str = ".txt"
    build: list = field(default_factory=list)
    stdin: str = ""
    env: dict = field(default_factory=dict)


def py(name, code, packages="python3"):
    return Row(name, packages, ["/usr/bin/python3", "{code}"], f"URL = '{{url}}'\nHEADERS = {{'Authorization': 'Bearer {TOKEN}'}}\n" + code, ".py")


def js(name, code, packages="nodejs", node="node"):
    head = f"const url = '{{url}}', headers = {{ authorization: 'Bearer {TOKEN}' }}, token = '{TOKEN}';\nconst fail = (e) => {{ console.error(e); process.exit(1); }};\n"
    return Row(name, packages, [node, "{code}"], head + code, ".mjs", env={"NODE_OPTIONS": "--use-openssl-ca"})


def both(name, code, packages="nodejs"):
    """In Debian's Node and in Node 24, which reads proxy variables when it is told to."""
    return [js(f"node {name}", code, packages), js(f"node24 {name}", code, packages, "{node24}")]


def c(name, flags, packages="gcc libssl-dev"):
    return Row(name, packages, ["{dir}/program", "{host}"], C_CLIENT, ".c", ["gcc", "-w", "-o", "{dir}/program", "{code}", *flags])


C_CLIENT = r"""
#include <netdb.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <fcntl.h>
int main(int argc, char **argv)
{
    struct addrinfo *a, hints = { .ai_socktype = SOCK_STREAM };
    if (getaddrinfo(argv[1], "443", &hints, &a) != 0) { fputs("no address\n", stderr); return 1; }
    int fd = socket(a->ai_family, SOCK_STREAM, 0);
#ifdef EPOLL
    struct epoll_event e = { .events = EPOLLOUT | EPOLLET };
    int ep = epoll_create1(0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
    if (connect(fd, a->ai_addr, a->ai_addrlen) != 0 && epoll_wait(ep, &e, 1, 10000) < 1) { fputs("no event\n", stderr); return 1; }
    fcntl(fd, F_SETFL, 0);
#else
    if (connect(fd, a->ai_addr, a->ai_addrlen) != 0) { perror("connect"); return 1; }
#endif
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_default_verify_paths(context);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL *tls = SSL_new(context);
    SSL_set_tlsext_host_name(tls, argv[1]);
    SSL_set1_host(tls, argv[1]);
    SSL_set_fd(tls, fd);
    if (SSL_connect(tls) != 1) { fputs("TLS failed\n", stderr); return 1; }
    char text[4096];
    int n = snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer placeholder\r\nConnection: close\r\n\r\n", argv[1]);
    SSL_write(tls, text, n);
    while ((n = SSL_read(tls, text, sizeof text)) > 0) fwrite(text, 1, n, stdout);
    return 0;
}
"""

LIBCURL = f"""
#include <curl/curl.h>
#include <stdio.h>
int main(int argc, char **argv)
{{
    CURL *c = curl_easy_init();
    struct curl_slist *fields = curl_slist_append(NULL, "{HEADER}");
    curl_easy_setopt(c, CURLOPT_URL, argv[1]);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, fields);
    CURLcode code = curl_easy_perform(c);
    if (code) fprintf(stderr, "%s\\n", curl_easy_strerror(code));
    return code;
}}
"""

GO = f"""
package main
import ("fmt"; "io"; "net/http"; "os")
func main() {{
    request, _ := http.NewRequest("GET", os.Args[1], nil)
    request.Header.Set("Authorization", "Bearer {TOKEN}")
    answer, err := http.DefaultClient.Do(request)
    if err != nil {{ fmt.Fprintln(os.Stderr, err); os.Exit(1) }}
    io.Copy(os.Stdout, answer.Body)
}}
"""

HTTP_URL_CONNECTION = f"""
import java.net.*;
public class Code {{
    public static void main(String[] args) throws Exception {{
        HttpURLConnection c = (HttpURLConnection) new URL(args[0]).openConnection();
        c.setRequestProperty("Authorization", "Bearer {TOKEN}");
        System.out.write(c.getInputStream().readAllBytes());
    }}
}}
"""

HTTP_CLIENT = f"""
import java.net.URI;
import java.net.http.*;
public class Code {{
    public static void main(String[] args) throws Exception {{
        HttpRequest request = HttpRequest.newBuilder(URI.create(args[0])).header("Authorization", "Bearer {TOKEN}").build();
        System.out.println(HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build().send(request, HttpResponse.BodyHandlers.ofString()).body());
    }}
}}
"""

TCL = f"""
package require http
package require tls
http::register https 443 [list ::tls::socket -autoservername true -require true -cafile /etc/ssl/certs/ca-certificates.crt]
puts [http::data [http::geturl {{url}} -headers [list Authorization "Bearer {TOKEN}"]]]
"""

ERLANG = f"""ssl:start(), inets:start(), {{ok, R}} = httpc:request(get, {{"{{url}}", [{{"Authorization", "Bearer {TOKEN}"}}]}},
    [{{ssl, [{{verify, verify_peer}}, {{cacertfile, "/etc/ssl/certs/ca-certificates.crt"}},
        {{customize_hostname_check, [{{match_fun, public_key:pkix_verify_hostname_match_fun(https)}}]}}]}}], []), io:format("~p~n", [R]), halt().""".replace("\n", " ")

APT = ["apt-get", "-o", "Dir::Etc::sourcelist={dir}/sources.list", "-o", "Dir::Etc::sourceparts=-", "-o", "Dir::State={dir}/state", "-o", "Dir::Cache={dir}/cache",
       "-o", "Acquire::Retries=0", "-o", "APT::Update::Error-Mode=any", "update"]

ROWS = [
    Row("curl", "curl", ["curl", "-sS", "-H", HEADER, "{url}"]),
    Row("wget", "wget", ["wget", "-qO-", "--tries=1", f"--header={HEADER}", "{url}"]),
    Row("git clone https", "git", ["git", "clone", "-q", "{url}repository.git", "{dir}/clone-{n}"]),
    py("python urllib", "import urllib.request as u; print(u.urlopen(u.Request(URL, headers=HEADERS)).read())"),
    py("python requests", "import requests; print(requests.get(URL, headers=HEADERS).text)", "python3-requests"),
    py("python httpx", "import httpx; print(httpx.get(URL, headers=HEADERS).text)", "python3-httpx"),
    *(py(f"python aiohttp {name}", f"""
import asyncio, aiohttp
async def main():
    async with aiohttp.ClientSession(trust_env={trust}) as session, session.get(URL, headers=HEADERS) as answer:
        print(await answer.text())
asyncio.run(main())""", "python3-aiohttp") for name, trust in (("(default)", False), ("trust_env", True))),
    py("python asyncio streams", f"""
import asyncio
async def main():
    reader, writer = await asyncio.open_connection('{{host}}', 443, ssl=True)
    writer.write({REQUEST!r}.encode())
    print(await reader.read())
asyncio.run(main())"""),
    py("python http.client", "import http.client as h; c = h.HTTPSConnection('{host}'); c.request('GET', '/', headers=HEADERS); print(c.getresponse().read())"),
    py("python urllib3", "import urllib3; print(urllib3.PoolManager().request('GET', URL, headers=HEADERS, retries=False).data)", "python3-urllib3"),
    py("python pycurl", "import pycurl; c = pycurl.Curl(); c.setopt(c.URL, URL); c.setopt(c.HTTPHEADER, [k + ': ' + v for k, v in HEADERS.items()]); c.perform()", "python3-pycurl"),
    py("python boto3", "import boto3; print(boto3.client('s3', endpoint_url=URL, region_name='x', aws_access_key_id='x', aws_secret_access_key='x').list_buckets())", "python3-boto3"),
    py("python httplib2", "import httplib2; print(httplib2.Http().request(URL, headers=HEADERS))", "python3-httplib2"),
    py("python stripe", "import stripe; stripe.api_key = 'x'; stripe.api_base = URL.rstrip('/'); print(stripe.Customer.list())", "python3-stripe"),
    Row("pip download", "python3-pip", ["/usr/bin/python3", "-m", "pip", "download", "--no-cache-dir", "--retries=0", "--disable-pip-version-check", "-d", "{dir}", "-i", "{url}simple", "anything"]),
    Row("httpie", "httpie", ["/usr/bin/http", "--ignore-stdin", "{url}", f"Authorization:Bearer {TOKEN}"]),
    Row("aws s3 ls", "awscli", ["/usr/bin/aws", "--endpoint-url", "{url}", "s3", "ls"], env={"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "x"}),
    *both("https", "(await import('node:https')).get(url, { headers }, (a) => a.pipe(process.stdout)).on('error', fail);"),
    *both("fetch", "console.log(await (await fetch(url, { headers }).catch(fail)).text());"),
    *both("undici", "const { request } = await import('undici'); console.log(await (await request(url, { headers }).catch(fail)).body.text());"),
    *both("axios", "const { default: axios } = await import('axios'); console.log((await axios.get(url, { headers }).catch(fail)).data);"),
    js("node axios 1.7", "const { default: axios } = await import('axios-old'); console.log((await axios.get(url, { headers }).catch(fail)).data);"),
    js("node needle", "const { default: needle } = await import('needle'); console.log((await needle('get', url, { headers }).catch(fail)).body);"),
    *both("openai", "const { default: OpenAI } = await import('openai'); console.log(await new OpenAI({ apiKey: token, baseURL: url + 'v1', maxRetries: 0 }).models.list().catch(fail));"),
    *both("anthropic", """const { default: Anthropic } = await import('@anthropic-ai/sdk');
console.log(await new Anthropic({ apiKey: token, baseURL: url, maxRetries: 0 }).messages.create({ model: 'x', max_tokens: 1, messages: [{ role: 'user', content: 'x' }] }).catch(fail));"""),
    *both("slack", """const { WebClient } = await import('@slack/web-api');
console.log(await new WebClient(token, { slackApiUrl: url + 'api/', retryConfig: { retries: 0 } }).auth.test().catch(fail));"""),
    *both("stripe", "const { default: Stripe } = await import('stripe'); console.log(await new Stripe(token, { host: '{host}', maxNetworkRetries: 0 }).customers.list().catch(fail));"),
    *both("octokit", "const { Octokit } = await import('@octokit/core'); console.log(await new Octokit({ auth: token, baseUrl: url.replace(/.$/, '') }).request('GET /user').catch(fail));"),
    *both("got", "const { default: got } = await import('got'); console.log(await got(url, { headers, retry: { limit: 0 } }).text().catch(fail));"),
    *both("gaxios", "const { request } = await import('gaxios'); console.log((await request({ url, headers, retry: false }).catch(fail)).data);"),
    Row("npm view", "npm", ["npm", "view", "anything", "--registry={url}", "--fetch-retries=0", "--no-update-notifier"], env={"NODE_OPTIONS": "--use-openssl-ca"}),
    Row("Java HttpURLConnection", "default-jdk-headless", ["java", "-XX:TieredStopAtLevel=1", "-cp", "{dir}", "Code", "{url}"], HTTP_URL_CONNECTION, "Code.java", ["javac", "-d", "{dir}", "{code}"]),
    Row("Java HttpClient", "default-jdk-headless", ["java", "-XX:TieredStopAtLevel=1", "-cp", "{dir}", "Code", "{url}"], HTTP_CLIENT, "Code.java", ["javac", "-d", "{dir}", "{code}"]),
    Row("Go static", "golang-go", ["{dir}/program", "{url}"], GO, ".go", ["env", "CGO_ENABLED=0", "go", "build", "-o", "{dir}/program", "{code}"]),
    Row("Go cgo (netcgo)", "golang-go", ["{dir}/program", "{url}"], GO, ".go", ["go", "build", "-tags", "netcgo", "-o", "{dir}/program", "{code}"]),
    Row("Ruby net/http", "ruby", ["ruby", "-rnet/http", "-e", f"puts Net::HTTP.get(URI('{{url}}'), {{'Authorization' => 'Bearer {TOKEN}'}})"]),
    Row("Ruby open-uri", "ruby", ["ruby", "-ropen-uri", "-e", f"puts URI.open('{{url}}', 'Authorization' => 'Bearer {TOKEN}').read"]),
    Row("Ruby faraday", "ruby-faraday", ["ruby", "-rfaraday", "-e", f"puts Faraday.get('{{url}}', nil, {{'Authorization' => 'Bearer {TOKEN}'}}).body"]),
    Row("Ruby rest-client", "ruby-rest-client", ["ruby", "-rrest-client", "-e", f"puts RestClient.get('{{url}}', {{'Authorization' => 'Bearer {TOKEN}'}})"]),
    Row("Ruby excon", "ruby-excon", ["ruby", "-rexcon", "-e", f"puts Excon.get('{{url}}', headers: {{'Authorization' => 'Bearer {TOKEN}'}}).body"]),
    Row("PHP streams", "php-cli", ["php", "-r", f"echo file_get_contents('{{url}}', false, stream_context_create(['http' => ['header' => '{HEADER}']]));"]),
    Row("PHP curl", "php-curl", ["php", "-r", f"$c = curl_init('{{url}}'); curl_setopt($c, CURLOPT_HTTPHEADER, ['{HEADER}']); curl_exec($c) || fwrite(STDERR, curl_error($c));"]),
    Row("Perl LWP", "libwww-perl", ["perl", "-MLWP::UserAgent", "-e", f"my $r = LWP::UserAgent->new->get('{{url}}', Authorization => 'Bearer {TOKEN}'); print $r->status_line; exit !$r->is_success"]),
    Row("Perl HTTP::Tiny", "libio-socket-ssl-perl", ["perl", "-MHTTP::Tiny", "-e", f"my $r = HTTP::Tiny->new(verify_SSL => 1)->get('{{url}}', {{headers => {{Authorization => 'Bearer {TOKEN}'}}}}); print $r->{{content}}; exit !$r->{{success}}"]),
    Row("Perl Mojolicious", "libmojolicious-perl", ["perl", "-MMojo::UserAgent", "-e", f"print Mojo::UserAgent->new->get('{{url}}', {{Authorization => 'Bearer {TOKEN}'}})->result->body"]),
    Row("Tcl http, tls", "tcl-tls", ["tclsh", "{code}"], TCL, ".tcl"),
    Row("Erlang httpc", "erlang-inets", ["erl", "-noshell", "-eval", ERLANG]),
    Row("busybox wget", "busybox", ["busybox", "wget", "-qO-", "--header", HEADER, "{url}"]),
    Row("gnutls-cli", "gnutls-bin", ["gnutls-cli", "-p", "443", "{host}"], stdin=REQUEST),
    Row("openssl s_client", "openssl", ["openssl", "s_client", "-quiet", "-verify_return_error", "-servername", "{host}", "-connect", "{host}:443"], stdin=REQUEST),
    Row("aria2c", "aria2", ["aria2c", "--console-log-level=error", "--summary-interval=0", "--max-tries=1", "--allow-overwrite=true", "-d", "{dir}", f"--header={HEADER}", "{url}file"]),
    Row("aria2c --async-dns=false", "aria2", ["aria2c", "--console-log-level=error", "--summary-interval=0", "--max-tries=1", "--allow-overwrite=true", "--async-dns=false", "-d", "{dir}", f"--header={HEADER}", "{url}file"]),
    Row("C libcurl", "gcc libcurl4-openssl-dev", ["{dir}/program", "{url}"], LIBCURL, ".c", ["gcc", "-w", "-o", "{dir}/program", "{code}", "-lcurl"]),
    Row("lynx", "lynx", ["lynx", "-dump", "{url}"]),
    Row("w3m", "w3m", ["w3m", "-dump", "{url}"]),
    Row("elinks", "elinks", ["elinks", "-dump", "1", "-no-home", "1", "{url}"]),
    Row("gh api", "gh", ["gh", "api", "user", "--hostname", "{host}"], env={"GH_ENTERPRISE_TOKEN": TOKEN, "GH_CONFIG_DIR": "{dir}"}),
    Row("kubectl get --raw", "kubernetes-client", ["kubectl", "--server={url}", f"--token={TOKEN}", "get", "--raw", "/version"]),
    Row("skopeo list-tags", "skopeo", ["skopeo", "list-tags", "docker://{host}/x/y"]),
    Row("rclone http", "rclone", ["rclone", "lsd", ":http:", "--http-url", "{url}", "--retries=1", "--low-level-retries=1", "--config={dir}/rclone.conf"]),
    Row("restic rest", "restic", ["restic", "--no-cache", "--no-lock", "-r", "rest:{url}", "cat", "config"], env={"RESTIC_PASSWORD": "x"}),
    Row("apt-get update", "apt", APT, "deb [trusted=yes] {url} stable main\n", "sources.list", ["mkdir", "-p", "{dir}/state/lists/partial", "{dir}/cache/archives/partial"]),
    Row("svn ls", "subversion", ["svn", "--non-interactive", "ls", "{url}svn"]),
    c("C OpenSSL, blocking", ["-lssl", "-lcrypto"]),
    c("C OpenSSL, epoll", ["-DEPOLL", "-lssl", "-lcrypto"]),
    c("static glibc", ["-static", "-lssl", "-lcrypto", "-pthread", "-ldl"]),
    c("static-pie glibc", ["-static-pie", "-fPIE", "-lssl", "-lcrypto", "-pthread", "-ldl"]),
    Row("env -i curl", "curl", ["env", "-i", "curl", "-sS", "-H", HEADER, "{url}"]),
    Row("sh -c 'env -i curl'", "curl", ["sh", "-c", f"env -i curl -sS -H '{HEADER}' {{url}}; exit $?"]),
    py("python subprocess env={}", f"import subprocess; subprocess.run(['curl', '-sS', '-H', '{HEADER}', URL], env={{}}, check=True)"),
    Row("su nobody -c curl", "util-linux curl", ["su", "-s", "/bin/sh", "nobody", "-c", f"curl -sS -H '{HEADER}' {{url}}; exit $?"]),
    Row("runuser -u nobody curl", "util-linux curl", ["runuser", "-u", "nobody", "--", "curl", "-sS", "-H", HEADER, "{url}"]),
    Row("setpriv --reuid=nobody curl", "util-linux curl", ["setpriv", "--reuid=nobody", "--clear-groups", "curl", "-sS", "-H", HEADER, "{url}"]),
]
