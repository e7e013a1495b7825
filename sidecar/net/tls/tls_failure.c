/* Failures in words.  OpenSSL's error queue is read here and in no other file of this room. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "net/tls/tls_private.h"

#define LABEL_ALERT "tls_alert_received"
#define LABEL_CERTIFICATE "tls_certificate_error"
#define LABEL_PROTOCOL "tls_protocol_error"
#define LABEL_CUT "connection_terminated"

void tls_fail(struct tls_session *t, const char *label, const char *format, ...)
{
    bool better = t->label && strcmp(t->label, LABEL_CUT) == 0 && strcmp(label, LABEL_ALERT) == 0;
    if (t->label && !better)
        return;
    t->label = label;
    if (!t->text && !(t->text = malloc(TLS_FAILURE_TEXT)))
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(t->text, TLS_FAILURE_TEXT, format, args);
    va_end(args);
}

static void fail_errno(struct tls_session *t)
{
    const char *during = t->established ? "" : " during the TLS handshake";
    switch (t->io_errno) {
    case 0: tls_fail(t, LABEL_CUT, "connection closed by peer%s", during); break;
    case EPIPE: tls_fail(t, LABEL_CUT, "connection closed by peer%s", during); break;
    case ECONNRESET: tls_fail(t, LABEL_CUT, "connection reset by peer%s", during); break;
    default: tls_fail(t, LABEL_CUT, "%s%s", strerror(t->io_errno), during); break;
    }
}

/* OpenSSL says "tlsv1 alert unknown ca" (SSL_alert_desc_string_long() does not know the alerts of TLS 1.3). */
static const char *alert_words(const char *words)
{
    const char *name = words ? strstr(words, "alert ") : NULL;
    return name ? name + strlen("alert ") : "unknown";
}

static void fail_library(struct tls_session *t, unsigned long code)
{
    int reason = ERR_GET_REASON(code);
    const char *words = ERR_reason_error_string(code);
    if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        tls_fail(t, LABEL_CUT,
                 t->established ? "connection closed by peer without close_notify: data may be missing"
                                : "connection closed by peer during the TLS handshake");
    else if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET)
        tls_fail(t, LABEL_ALERT, "peer sent the TLS alert %d (%s)", reason - SSL_AD_REASON_OFFSET, alert_words(words));
    else if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) /* without the callback's words: no certificate at all */
        tls_fail(t, LABEL_CERTIFICATE, "certificate of %s could not be verified", t->host);
    else
        tls_fail(t, LABEL_PROTOCOL, "TLS: %s", words ? words : "unknown error");
}

void tls_fail_io(struct tls_session *t, int ssl_error)
{
    unsigned long code = ERR_peek_error();
    if (ssl_error == SSL_ERROR_SSL && code != 0)
        fail_library(t, code);
    else
        fail_errno(t);
    ERR_clear_error();
}

const char *tls_queue_text(char *text, size_t size)
{
    unsigned long code = ERR_peek_error();
    const char *words = ERR_reason_error_string(code);
    snprintf(text, size, "%s", words ? words : "unknown reason");
    ERR_clear_error();
    return text;
}

bool tls_session_renegotiation(const struct tls_session *t)
{
    return t->renegotiation;
}

struct tls_failure tls_session_failure(const struct tls_session *t)
{
    return (struct tls_failure){
        .text = t->text ? t->text : "TLS failed, and there is not enough memory for the reason",
        .label = t->label ? t->label : LABEL_PROTOCOL,
        .verify = t->verify_failed,
    };
}
