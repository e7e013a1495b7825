#include "tests/fakes/staples.h"

#include <openssl/ocsp.h>
#include <stdlib.h>
#include <time.h>

static void add(OCSP_BASICRESP *basic, const struct staple_spec *spec, const ASN1_INTEGER *serial)
{
    time_t now = spec->now_s ? (time_t)spec->now_s : time(NULL);
    bool default_times = spec->from_s == 0 && spec->until_s == 0;
    ASN1_TIME *from = ASN1_TIME_adj(NULL, now, 0, default_times ? -3600 : spec->from_s);
    ASN1_TIME *until = spec->no_until ? NULL : ASN1_TIME_adj(NULL, now, 0, default_times ? 3600 : spec->until_s);
    ASN1_TIME *revoked = ASN1_TIME_set(NULL, 1700000000);
    const X509 *issuer = spec->issuer->x509;
    OCSP_CERTID *id = OCSP_cert_id_new(spec->id_md ? spec->id_md : EVP_sha1(), X509_get_subject_name(issuer),
                                       X509_get0_pubkey_bitstr(issuer), serial);
    assert_non_null(id);
    assert_non_null(OCSP_basic_add1_status(basic, id, spec->status, spec->reason,
                                           spec->status == V_OCSP_CERTSTATUS_REVOKED ? revoked : NULL, from, until));
    OCSP_CERTID_free(id);
    ASN1_TIME_free(from);
    ASN1_TIME_free(until);
    ASN1_TIME_free(revoked);
}

struct slice staple_make(struct staple_spec spec)
{
    OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
    const struct cert *by = spec.by ? spec.by : spec.issuer;
    ASN1_INTEGER *other = ASN1_INTEGER_new();
    assert_non_null(basic);
    for (int i = 0; i < spec.before; i++) {
        ASN1_INTEGER_set(other, 77000 + i);
        add(basic, &spec, other);
    }
    ASN1_INTEGER_free(other);
    add(basic, &spec, X509_get0_serialNumber(spec.about->x509));
    assert_int_equal(
        OCSP_basic_sign(basic, by->x509, by->key, spec.md ? spec.md : EVP_sha256(), NULL, spec.bare ? OCSP_NOCERTS : 0),
        1);
    OCSP_RESPONSE *response = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
    unsigned char *der = NULL;
    int len = i2d_OCSP_RESPONSE(response, &der);
    assert_true(len > 0);
    OCSP_RESPONSE_free(response);
    OCSP_BASICRESP_free(basic);
    return slice_of(der, (size_t)len);
}
