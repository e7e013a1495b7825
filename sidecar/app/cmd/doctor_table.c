#include "app/cmd/doctor_table.h"

#include <stdio.h>

#include "app/cmd/target.h"

#define NAMES(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define BOTH NAMES("https_proxy", "HTTPS_PROXY")
#define REQUEST "printf 'GET / HTTP/1.1\\r\\nHost: %s\\r\\nConnection: close\\r\\n\\r\\n' \"$2\""

static const char curl[] = "exec \"$1\" -sS ${3:+-k} \"https://$2/\"";

static const char openssl[] = "verify=-verify_return_error; [ -z \"$3\" ] || verify=\n" REQUEST
                              " | \"$1\" s_client -quiet $verify -servername \"$2\" -connect \"$2:443\"";

static const char gnutls[] = REQUEST " | \"$1\" ${3:+--insecure} -p 443 \"$2\"";

static const char git[] = "GIT_TERMINAL_PROMPT=0 exec \"$1\" ${3:+-c http.sslVerify=false} ls-remote "
                          "\"https://$2/doctor.git\"";

static const char python[] = "exec \"$1\" -c '\n"
                             "import ssl, sys, urllib.request\n"
                             "context = ssl._create_unverified_context() if sys.argv[2] else None\n"
                             "answer = urllib.request.urlopen(\"https://\" + sys.argv[1] + \"/\", context=context)\n"
                             "print(answer.read().decode())' \"$2\" \"$3\"";

static const char node[] = "exec \"$1\" -e '\n"
                           "const [host, insecure] = process.argv.slice(1);\n"
                           "const failed = (e) => {\n"
                           "  if (process.allowedNodeEnvironmentFlags.has(\"--use-env-proxy\"))\n"
                           "    console.error(\"" DOCTOR_WISH "NODE_USE_ENV_PROXY=1\");\n"
                           "  console.error(String(e));\n"
                           "  process.exit(1);\n"
                           "};\n"
                           "require(\"https\").get({ host, path: \"/\", rejectUnauthorized: !insecure }, (answer) =>\n"
                           "  answer.pipe(process.stdout)).on(\"error\", failed);' \"$2\" \"$3\"";

static const char java[] =
    "cat >\"$4/Probe.java\" <<'END'\n"
    "import java.net.URL;\n"
    "import java.security.cert.X509Certificate;\n"
    "import javax.net.ssl.*;\n"
    "class Probe {\n"
    "    public static void main(String[] args) throws Exception {\n"
    "        HttpsURLConnection c = (HttpsURLConnection) new URL(\"https://\" + args[0] + \"/\").openConnection();\n"
    "        if (args.length > 1) {\n"
    "            SSLContext context = SSLContext.getInstance(\"TLS\");\n"
    "            context.init(null, new TrustManager[] { new X509TrustManager() {\n"
    "                public void checkClientTrusted(X509Certificate[] chain, String type) { }\n"
    "                public void checkServerTrusted(X509Certificate[] chain, String type) { }\n"
    "                public X509Certificate[] getAcceptedIssuers() { return new X509Certificate[0]; }\n"
    "            } }, null);\n"
    "            c.setSSLSocketFactory(context.getSocketFactory());\n"
    "        }\n"
    "        System.out.write(c.getInputStream().readAllBytes());\n"
    "        System.out.flush();\n"
    "    }\n"
    "}\n"
    "END\n"
    "\"$1\" -XX:TieredStopAtLevel=1 \"$4/Probe.java\" \"$2\" $3 && exit\n"
    "\"$1\" --list-modules | grep -q '^jdk.compiler' || echo '" DOCTOR_CANNOT "this Java has no compiler (a JRE)'";

static const char go[] =
    "cat >\"$4/probe.go\" <<'END'\n"
    "package main\n"
    "import (\"crypto/tls\"; \"fmt\"; \"io\"; \"net/http\"; \"os\")\n"
    "func main() {\n"
    "    if len(os.Args) > 2 {\n"
    "        http.DefaultTransport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}\n"
    "    }\n"
    "    answer, err := http.Get(\"https://\" + os.Args[1] + \"/\")\n"
    "    if err != nil {\n"
    "        fmt.Fprintln(os.Stderr, err)\n"
    "        os.Exit(1)\n"
    "    }\n"
    "    io.Copy(os.Stdout, answer.Body)\n"
    "}\n"
    "END\n"
    "[ -n \"${HOME:-}${GOCACHE:-}\" ] || export GOCACHE=\"$4/go-cache\"\n"
    "[ -x \"$4/probe\" ] || GO111MODULE=off GOFLAGS= \"$1\" build -o \"$4/probe\" \"$4/probe.go\" ||\n"
    "    { echo '" DOCTOR_CANNOT "go build fails'; exit 1; }\n"
    "exec \"$4/probe\" \"$2\" $3";

static const char ruby[] = "exec \"$1\" -rnet/http -ropenssl -e '\n"
                           "http = Net::HTTP.new(ARGV[0], 443)\n"
                           "http.use_ssl = true\n"
                           "http.verify_mode = ARGV[1].empty? ? OpenSSL::SSL::VERIFY_PEER : OpenSSL::SSL::VERIFY_NONE\n"
                           "puts http.get(\"/\").body' \"$2\" \"$3\"";

static const char php[] =
    "exec \"$1\" -r '\n"
    "if (!extension_loaded(\"openssl\")) { echo \"" DOCTOR_CANNOT "this PHP has no openssl\\n\"; exit(1); }\n"
    "$verify = $argv[2] === \"\";\n"
    "$tls = [\"ssl\" => [\"verify_peer\" => $verify, \"verify_peer_name\" => $verify]];\n"
    "$body = file_get_contents(\"https://$argv[1]/\", false, stream_context_create($tls));\n"
    "echo $body;\n"
    "exit($body === false ? 1 : 0);' -- \"$2\" \"$3\"";

static const char perl[] =
    "\"$1\" -MIO::Socket::SSL -e1 2>/dev/null ||\n"
    "    { echo '" DOCTOR_CANNOT "Perl has no IO::Socket::SSL, and no https:// without it'; exit 1; }\n"
    "exec \"$1\" -MHTTP::Tiny -e '\n"
    "my $answer = HTTP::Tiny->new(verify_SSL => !$ARGV[1])->get(\"https://$ARGV[0]/\");\n"
    "print $answer->{content};\n"
    "exit !$answer->{success};' \"$2\" \"$3\"";

const struct doctor_runtime doctor_runtimes[] = {
    { "curl", NAMES("curl"), curl, BOTH, "CURL_CA_BUNDLE", "%s/bundle.pem" },
    { "OpenSSL", NAMES("openssl"), openssl, NULL, "SSL_CERT_FILE", "%s/bundle.pem" },
    { "GnuTLS", NAMES("gnutls-cli"), gnutls, NULL, NULL, NULL },
    { "git", NAMES("git"), git, BOTH, "GIT_SSL_CAINFO", "%s/bundle.pem" },
    { "Python", NAMES("python3", "python", "pypy3"), python, BOTH, "SSL_CERT_FILE", "%s/bundle.pem" },
    { "Node", NAMES("node", "nodejs"), node, BOTH, "NODE_EXTRA_CA_CERTS", "%s/ca.pem" },
    { "Java", NAMES("java"), java, NULL, "JDK_JAVA_OPTIONS", "-Djavax.net.ssl.trustStore=%s/bundle.jks" },
    { "Go", NAMES("go"), go, BOTH, "SSL_CERT_FILE", "%s/bundle.pem" },
    { "Ruby", NAMES("ruby"), ruby, NAMES("http_proxy", "HTTP_PROXY"), "SSL_CERT_FILE", "%s/bundle.pem" },
    { "PHP", NAMES("php"), php, NULL, "SSL_CERT_FILE", "%s/bundle.pem" },
    { "Perl", NAMES("perl"), perl, BOTH, "SSL_CERT_FILE", "%s/bundle.pem" },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};

bool doctor_table_find(const struct doctor_runtime *runtime, char ret_path[PATH_MAX])
{
    struct target t;
    struct err ignored;
    for (const char *const *name = runtime->programs; *name; name++)
        if (target_inspect(*name, &t, &ignored) == 0) {
            snprintf(ret_path, PATH_MAX, "%s", *t.script ? t.script : t.path);
            return true;
        }
    return false;
}

const struct doctor_runtime *doctor_table_of(const char *path)
{
    const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;
    for (const struct doctor_runtime *r = doctor_runtimes; r->name; r++)
        for (const char *const *name = r->programs; *name; name++) {
            size_t len = strlen(*name);
            if (strncmp(file, *name, len) == 0 && strspn(file + len, "0123456789.") == strlen(file + len))
                return r;
        }
    return NULL;
}
