#include "net/tls/tls_staple.h"

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <time.h>

#define SECURITY_BITS 112        /* as TLS_SECURITY_LEVEL 2: no SHA-1 */
#define SECURITY_LEVEL 2         /* … of a responder's certificate */
#define FEATURE_STATUS_REQUEST 5 /* RFC 6066 §8 */

/* --- who signed --- */

/* A signature over SHA-1 proves nothing.  Algorithms that name no digest of their own (EdDSA, RSA-PSS) are none of the
 * old ones. */
static bool strong_digest(const OCSP_BASICRESP *basic)
{
    const ASN1_OBJECT *oid;
    int digest = NID_undef, key;
    X509_ALGOR_get0(&oid, NULL, NULL, OCSP_resp_get0_tbs_sigalg(basic));
    if (!OBJ_find_sigid_algs(OBJ_obj2nid(oid), &digest, &key))
        return false;
    const EVP_MD *md = digest == NID_undef ? NULL : EVP_get_digestbynid(digest);
    return digest == NID_undef || (md && EVP_MD_get_size(md) * 4 >= SECURITY_BITS);
}

/* Only the issuer is a trust anchor: no root and no directory is used. */
static X509_STORE *only(X509 *issuer, int64_t now_s)
{
    X509_STORE *store = X509_STORE_new();
    if (!store || X509_STORE_add_cert(store, issuer) != 1) {
        X509_STORE_free(store);
        return NULL;
    }
    X509_VERIFY_PARAM *param = X509_STORE_get0_param(store);
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN); /* it may be an intermediate */
    X509_VERIFY_PARAM_set_auth_level(param, SECURITY_LEVEL);
    X509_VERIFY_PARAM_set_time(param, (time_t)now_s);
    return store;
}

/* RFC 6960 §4.2.2.2: the issuer, or a certificate by the issuer with id-kp-OCSPSigning. */
static bool signed_for(OCSP_BASICRESP *basic, X509 *issuer, int64_t now_s)
{
    X509_STORE *store = only(issuer, now_s);
    STACK_OF(X509) *known = sk_X509_new_null();
    bool ok = store && known && sk_X509_push(known, issuer) > 0 && strong_digest(basic)
              && OCSP_basic_verify(basic, known, store, 0) == 1;
    sk_X509_free(known);
    X509_STORE_free(store);
    return ok;
}

/* --- about whom --- */

static bool is_about(OCSP_SINGLERESP *single, X509 *cert, X509 *issuer)
{
    OCSP_CERTID *id = (OCSP_CERTID *)(uintptr_t)OCSP_SINGLERESP_get0_id(single);
    ASN1_OBJECT *digest = NULL;
    if (OCSP_id_get0_info(NULL, &digest, NULL, NULL, id) != 1)
        return false;
    const EVP_MD *md = EVP_get_digestbyobj(digest);
    OCSP_CERTID *ours = md ? OCSP_cert_to_id(md, cert, issuer) : NULL;
    bool same = ours && OCSP_id_cmp(ours, id) == 0;
    OCSP_CERTID_free(ours);
    return same;
}

static OCSP_SINGLERESP *answer_about(OCSP_BASICRESP *basic, X509 *cert, X509 *issuer)
{
    int count = OCSP_resp_count(basic);
    for (int i = 0; i < count && i < STAPLE_ANSWERS_MAX; i++)
        if (is_about(OCSP_resp_get0(basic, i), cert, issuer))
            return OCSP_resp_get0(basic, i);
    return NULL;
}

/* --- when --- */

/* false: no time. */
static bool seconds_of(const ASN1_GENERALIZEDTIME *time, int64_t *ret_s)
{
    struct tm tm;
    if (!time || ASN1_GENERALIZEDTIME_check(time) != 1 || ASN1_TIME_to_tm(time, &tm) != 1)
        return false;
    *ret_s = (int64_t)timegm(&tm);
    return true;
}

/* NULL: current; else why not.  *ret_until_s: the last second in which it is. */
static const char *not_current(const ASN1_GENERALIZEDTIME *from, const ASN1_GENERALIZEDTIME *until, int64_t now_s,
                               int64_t *ret_until_s)
{
    int64_t from_s, until_s;
    if (!seconds_of(from, &from_s))
        return "it has no date";
    until_s = from_s + STAPLE_AGE_MAX_S;
    if (until && !seconds_of(until, &until_s))
        return "it has no date";
    if (from_s > now_s + STAPLE_SKEW_S)
        return "it is not valid yet";
    if (until_s < now_s - STAPLE_SKEW_S || until_s < from_s)
        return "it has expired";
    *ret_until_s = until_s + STAPLE_SKEW_S;
    return NULL;
}

static void put_time(char *dst, size_t size, const ASN1_GENERALIZEDTIME *time)
{
    struct tm tm;
    if (!time || ASN1_TIME_to_tm(time, &tm) != 1 || strftime(dst, size, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
        snprintf(dst, size, "an unknown date");
}

/* --- the judgement --- */

static struct staple unusable(const char *why)
{
    return (struct staple){ .status = STAPLE_UNUSABLE, .why = why };
}

static struct staple judge_answer(OCSP_SINGLERESP *answer, int64_t now_s)
{
    struct staple s = { .status = STAPLE_GOOD };
    ASN1_GENERALIZEDTIME *revoked = NULL, *from = NULL, *until = NULL;
    int reason = OCSP_REVOKED_STATUS_NOSTATUS;
    int status = OCSP_single_get0_status(answer, &reason, &revoked, &from, &until);
    const char *late = not_current(from, until, now_s, &s.good_until_s);
    if (status == V_OCSP_CERTSTATUS_REVOKED && (!late || reason != OCSP_REVOKED_STATUS_CERTIFICATEHOLD)) {
        s.status = STAPLE_REVOKED;
        s.why = reason == OCSP_REVOKED_STATUS_NOSTATUS ? "not given" : OCSP_crl_reason_str(reason);
        put_time(s.revoked_at, sizeof s.revoked_at, revoked);
        return s;
    }
    if (late)
        return unusable(late);
    if (status != V_OCSP_CERTSTATUS_GOOD)
        s.status = STAPLE_UNKNOWN;
    return s;
}

static struct staple judge_basic(OCSP_BASICRESP *basic, X509 *cert, X509 *issuer, int64_t now_s)
{
    OCSP_SINGLERESP *answer = answer_about(basic, cert, issuer);
    if (!answer)
        return unusable("it is about another certificate");
    if (!signed_for(basic, issuer, now_s))
        return unusable("it is not signed by the issuer or its responder");
    return judge_answer(answer, now_s);
}

struct staple tls_staple_judge(struct slice der, X509 *cert, X509 *issuer, int64_t now_s)
{
    const unsigned char *p = (const unsigned char *)der.ptr;
    if (der.len == 0)
        return (struct staple){ .status = STAPLE_NONE };
    if (der.len > STAPLE_MAX)
        return unusable("it is too large");
    if (!cert || !issuer)
        return unusable("the chain does not name an issuer");
    struct staple s = unusable("it is not an OCSP response");
    OCSP_RESPONSE *response = d2i_OCSP_RESPONSE(NULL, &p, (long)der.len);
    OCSP_BASICRESP *basic = NULL;
    if (response && p == (const unsigned char *)der.ptr + der.len) {
        if (OCSP_response_status(response) != OCSP_RESPONSE_STATUS_SUCCESSFUL)
            s = unusable("the responder gave no status");
        else if ((basic = OCSP_response_get1_basic(response)) != NULL)
            s = judge_basic(basic, cert, issuer, now_s);
    }
    OCSP_BASICRESP_free(basic);
    OCSP_RESPONSE_free(response);
    ERR_clear_error();
    return s;
}

static bool promises(const X509 *cert)
{
    int critical;
    TLS_FEATURE *features = X509_get_ext_d2i(cert, NID_tlsfeature, &critical, NULL);
    bool found = !features && critical != -1; /* there, but not to be read: it may have been this promise */
    for (int i = 0; i < sk_ASN1_INTEGER_num(features); i++)
        found |= ASN1_INTEGER_get(sk_ASN1_INTEGER_value(features, i)) == FEATURE_STATUS_REQUEST;
    TLS_FEATURE_free(features);
    ERR_clear_error();
    return found;
}

bool tls_staple_promised(const STACK_OF(X509) * chain)
{
    for (int i = 0; i < sk_X509_num(chain); i++)
        if (promises(sk_X509_value(chain, i)))
            return true;
    return false;
}

X509 *tls_staple_issuer(const STACK_OF(X509) * chain)
{
    X509 *cert = sk_X509_num(chain) > 0 ? sk_X509_value(chain, 0) : NULL;
    if (sk_X509_num(chain) > 1)
        return sk_X509_value(chain, 1);
    return cert && X509_check_issued(cert, cert) == X509_V_OK ? cert : NULL;
}
