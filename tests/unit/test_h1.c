/* HTTP/1 heads and framing (docs/http.md §2): each row is fed whole, byte by byte, and cut in two at every place; the
 * answer must be the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "http/rules.h"
#include "tests/fuzz/h1_transcript.h"

#define RAW(literal) literal, sizeof(literal) - 1
#define H "Host: a\r\n"
#define GET "GET / HTTP/1.1\r\n" H
#define POST "POST / HTTP/1.1\r\n" H
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"
#define GET_SAYS "GET / 1.1 none {Host: a}"
#define CHUNKED_SAYS "POST / 1.1 chunked {Host: a} {Transfer-Encoding: chunked}"
#define OK "HTTP/1.1 200 OK\r\n"

struct row {
    const char *name, *raw;
    size_t len;
    const char *says, *answers;
};

static const struct row requests[] = {
    { "a plain GET has no body", RAW(GET "\r\n"), GET_SAYS " end", "" },
    { "a request whose last line has not come is cut", RAW(GET), "cut", "" },
    { "nothing at all is no error", RAW(""), "", "" },
    { "one empty line before a request is skipped", RAW("\r\n" GET "\r\n"), GET_SAYS " end", "" },
    { "two empty lines before a request are skipped", RAW("\r\n\r\n" GET "\r\n"), GET_SAYS " end", "" },
    { "eight are", RAW("\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n" GET "\r\n"), GET_SAYS " end", "" },
    { "nine are refused", RAW("\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n" GET "\r\n"), "bad 400 start_line_invalid", "" },
    { "an empty line and half of one are cut", RAW("\r\n\r"), "cut", "" },
    { "a bare CR behind an empty line is refused", RAW("\r\n\rGET / HTTP/1.1\r\n\r\n"), "bad 400 bare_cr", "" },
    { "half an empty line is cut", RAW("\r"), "cut", "" },
    { "a bare LF before a request is refused", RAW("\n" GET "\r\n"), "bad 400 bare_lf", "" },
    { "a bare CR before a request is refused", RAW("\rGET / HTTP/1.1\r\n\r\n"), "bad 400 bare_cr", "" },
    { "pipelined requests come one after the other",
      RAW(GET "\r\n" POST "Content-Length: 2\r\n\r\nhiGET /2 HTTP/1.1\r\n\r\n"),
      GET_SAYS " end POST / 1.1 length=2 {Host: a} {Content-Length: 2} \"hi\" end GET /2 1.1 none end", "" },
    { "an empty line behind a body belongs to no message", RAW(POST "Content-Length: 2\r\n\r\nhi\r\n" GET "\r\n"),
      "POST / 1.1 length=2 {Host: a} {Content-Length: 2} \"hi\" end " GET_SAYS " end", "" },
    { "HTTP/1.0 closes", RAW("GET / HTTP/1.0\r\n\r\n"), "GET / 1.0 none close end", "" },
    { "HTTP/1.0 with keep-alive stays open", RAW("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"),
      "GET / 1.0 none {Connection: Keep-Alive} end", "" },
    { "Connection: close ends the connection", RAW("GET / HTTP/1.1\r\nConnection: foo, Close\r\n\r\n"),
      "GET / 1.1 none close {Connection: foo, Close} end", "" },
    { "close wins over keep-alive", RAW("GET / HTTP/1.1\r\nConnection: keep-alive, close\r\n\r\n"),
      "GET / 1.1 none close {Connection: keep-alive, close} end", "" },
    { "nothing may follow Connection: close", RAW("GET / HTTP/1.1\r\nConnection: close\r\n\r\nGET"),
      "GET / 1.1 none close {Connection: close} end bad 400 data_after_close", "" },
    { "a GET may have a body", RAW("GET / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx"),
      "GET / 1.1 length=1 {Content-Length: 1} \"x\" end", "" },
    { "Content-Length: 0 is a body of no bytes", RAW(POST "Content-Length: 0\r\n\r\n"),
      "POST / 1.1 length=0 {Host: a} {Content-Length: 0} end", "" },
    { "leading zeros are digits", RAW(POST "Content-Length: 002\r\n\r\nhi"),
      "POST / 1.1 length=2 {Host: a} {Content-Length: 002} \"hi\" end", "" },
    { "a body that ends early is cut", RAW(POST "Content-Length: 3\r\n\r\nhi"),
      "POST / 1.1 length=3 {Host: a} {Content-Length: 3} \"hi\" cut", "" },
    { "order, case and duplicates of fields are kept", RAW("GET / HTTP/1.1\r\nb: 1\r\nA: 2\r\nB: 3\r\n\r\n"),
      "GET / 1.1 none {b: 1} {A: 2} {B: 3} end", "" },
    { "spaces around a value are not part of it", RAW("GET / HTTP/1.1\r\na: \t x  y\t \r\nb:z\r\n\r\n"),
      "GET / 1.1 none {a: x  y} {b: z} end", "" },
    { "a value may be empty", RAW("GET / HTTP/1.1\r\na:\r\nb: \r\nc:  \t \r\n\r\n"),
      "GET / 1.1 none {a: } {b: } {c: } end", "" },
    { "obs-text in a value is kept as it is", RAW("GET / HTTP/1.1\r\na: \x85\xa0\xff\r\n\r\n"),
      "GET / 1.1 none {a: \x85\xa0\xff} end", "" },
    { "every tchar may be in a name", RAW("GET / HTTP/1.1\r\n!#$%&'*+-.^_`|~09azAZ: 1\r\n\r\n"),
      "GET / 1.1 none {!#$%&'*+-.^_`|~09azAZ: 1} end", "" },
    { "percent-encoding in the target is untouched", RAW("GET /%2e%2E/a%00?q=%zz HTTP/1.1\r\n\r\n"),
      "GET /%2e%2E/a%00?q=%zz 1.1 none end", "" },
    { "absolute-form is read", RAW("GET http://h:81/p?q HTTP/1.1\r\n\r\n"), "GET http://h:81/p?q 1.1 none end", "" },
    { "OPTIONS * is read", RAW("OPTIONS * HTTP/1.1\r\n\r\n"), "OPTIONS * 1.1 none end", "" },
    { "CONNECT hands over what follows", RAW("CONNECT a:443 HTTP/1.1\r\n" H "\r\n\x16\x03\x01"),
      "CONNECT a:443 1.1 none {Host: a} end upgraded:\x16\x03\x01", "" },
    { "CONNECT with an IPv6 literal is read", RAW("CONNECT [::1]:443 HTTP/1.1\r\n\r\n"),
      "CONNECT [::1]:443 1.1 none end upgraded:", "" },
    { "CONNECT with Content-Length: 0 has no body", RAW("CONNECT a:443 HTTP/1.1\r\nContent-Length: 0\r\n\r\n"),
      "CONNECT a:443 1.1 none {Content-Length: 0} end upgraded:", "" },
    { "CONNECT with a length is refused", RAW("CONNECT a:443 HTTP/1.1\r\nContent-Length: 4\r\n\r\n"),
      "bad 400 connect_with_body", "" },
    { "CONNECT with chunks is refused", RAW("CONNECT a:443 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"),
      "bad 400 connect_with_body", "" },
    { "CONNECT with a path is refused", RAW("CONNECT /a HTTP/1.1\r\n\r\n"), "bad 400 target_invalid", "" },
    { "Expect: 100-continue is seen", RAW(POST "Content-Length: 1\r\nExpect: 100-Continue\r\n\r\nx"),
      "POST / 1.1 length=1 expect {Host: a} {Content-Length: 1} {Expect: 100-Continue} \"x\" end", "" },
    { "Expect in HTTP/1.0 is ignored", RAW("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n"),
      "GET / 1.0 none close {Expect: 100-continue} end", "" },
    { "Upgrade that Connection names is seen",
      RAW("GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
      "GET / 1.1 none upgrade {Connection: Upgrade} {Upgrade: websocket} end", "" },
    { "Upgrade that Connection does not name is none", RAW("GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"),
      "GET / 1.1 none {Upgrade: websocket} end", "" },
    { "Upgrade in HTTP/1.0 is ignored", RAW("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
      "GET / 1.0 none close {Connection: upgrade} {Upgrade: websocket} end", "" },
    { "PATCH, PROPFIND and M-SEARCH are methods",
      RAW("PATCH / HTTP/1.1\r\n\r\nPROPFIND / HTTP/1.1\r\n\r\nM-SEARCH * HTTP/1.1\r\n\r\n"),
      "PATCH / 1.1 none end PROPFIND / 1.1 none end bad 400 target_invalid", "" },

    { "any token is a method",
      RAW("FROB / HTTP/1.1\r\n\r\nget / HTTP/1.1\r\n\r\nQUERY / HTTP/1.1\r\n\r\n!#$%&'*+-.^_`|~9 / HTTP/1.1\r\n\r\n"),
      "FROB / 1.1 none end get / 1.1 none end QUERY / 1.1 none end !#$%&'*+-.^_`|~9 / 1.1 none end", "" },
    { "methods of other protocols are tokens too",
      RAW("SOURCE / HTTP/1.1\r\n\r\nDESCRIBE / HTTP/1.1\r\n\r\nVERSION-CONTROL / HTTP/1.1\r\n\r\n"),
      "SOURCE / 1.1 none end DESCRIBE / 1.1 none end VERSION-CONTROL / 1.1 none end", "" },
    { "an unknown method may have a body",
      RAW("ORDERPATCH / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiLIST / HTTP/1.1\r\n\r\n"),
      "ORDERPATCH / 1.1 length=2 {Content-Length: 2} \"hi\" end LIST / 1.1 none end", "" },
    { "connect is not CONNECT and has no such target", RAW("connect a:443 HTTP/1.1\r\n\r\n"), "bad 400 target_invalid",
      "" },
    { "a method that is no token is refused", RAW("GE(T / HTTP/1.1\r\n\r\n"), "bad 400 start_line_invalid", "" },
    { "an answer is no request", RAW("HTTP/1.1 200 OK\r\n\r\n"), "bad 400 start_line_invalid", "" },
    { "SOURCE with its own protocol is refused", RAW("SOURCE / ICE/1.0\r\n\r\n"), "bad 400 start_line_invalid", "" },
    { "RTSP is refused", RAW("OPTIONS / RTSP/1.0\r\n\r\n"), "bad 400 start_line_invalid", "" },
    { "the HTTP/2 preface is refused", RAW("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "bad 400 version_unsupported", "" },
    { "PRI as a method is refused", RAW("PRI * HTTP/1.1\r\n\r\n"), "bad 501 method_unknown", "" },
    { "HTTP/0.9 without a version is refused", RAW("GET /\r\n\r\n"), "bad 400 target_invalid", "" },
    { "HTTP/0.9 with a version is refused", RAW("GET / HTTP/0.9\r\n\r\n"), "bad 400 version_unsupported", "" },
    { "HTTP/2.0 is refused", RAW("GET / HTTP/2.0\r\n\r\n"), "bad 400 version_unsupported", "" },
    { "HTTP/1.2 is read as 1.1", RAW("GET / HTTP/1.2\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"),
      "GET / 1.1 none upgrade {Connection: Upgrade} {Upgrade: x} end", "" },
    { "HTTP/1.9 is read as 1.1", RAW("GET / HTTP/1.9\r\n\r\n"), "GET / 1.1 none end", "" },
    { "a letter as the minor version is refused", RAW("GET / HTTP/1.a\r\n\r\n"), "bad 400 version_unsupported", "" },
    { "HTTP/1.10 is refused", RAW("GET / HTTP/1.10\r\n\r\n"), "bad 400 start_line_invalid", "" },
    { "HTTP/01.1 is refused", RAW("GET / HTTP/01.1\r\n\r\n"), "bad 400 version_unsupported", "" },
    { "http/1.1 in lower case is refused", RAW("GET / http/1.1\r\n\r\n"), "bad 400 start_line_invalid", "" },
    { "two spaces before the target are refused", RAW("GET  / HTTP/1.1\r\n\r\n"), "bad 400 target_invalid", "" },
    { "two spaces before the version are refused", RAW("GET /  HTTP/1.1\r\n\r\n"), "bad 400 start_line_invalid", "" },
    { "a space behind the version is refused", RAW("GET / HTTP/1.1 \r\n\r\n"), "bad 400 start_line_invalid", "" },
    { "a space before the method is refused", RAW(" GET / HTTP/1.1\r\n\r\n"), "bad 400 start_line_invalid", "" },
    { "a tab between the parts is refused", RAW("GET\t/ HTTP/1.1\r\n\r\n"), "bad 400 start_line_invalid", "" },
    { "a tab in the target is refused", RAW("GET /a\tb HTTP/1.1\r\n\r\n"), "bad 400 target_invalid", "" },
    { "a form feed in the target is refused", RAW("GET /a\fb HTTP/1.1\r\n\r\n"), "bad 400 control_character", "" },
    { "bytes over 0x7f in the target are read as they came", RAW("GET /\xc3\xa4?\xff HTTP/1.1\r\n\r\n"),
      "GET /\xc3\xa4?\xff 1.1 none end", "" },
    { "a fragment in the target is refused", RAW("GET /a#b HTTP/1.1\r\n\r\n"), "bad 400 target_invalid", "" },
    { "a target that is no form is refused", RAW("GET foo HTTP/1.1\r\n\r\n"), "bad 400 target_invalid", "" },
    { "a star that is not alone is refused", RAW("OPTIONS *x HTTP/1.1\r\n\r\n"), "bad 400 target_invalid", "" },
    { "GET * is refused", RAW("GET * HTTP/1.1\r\n\r\n"), "bad 400 target_invalid", "" },
    { "a TLS hello is refused", RAW("\x16\x03\x01\x02"), "bad 400 control_character", "" },
    { "NUL in the target is refused", RAW("GET /\0 HTTP/1.1\r\n\r\n"), "bad 400 control_character", "" },

    { "a bare LF behind the request line is refused", RAW("GET / HTTP/1.1\nHost: a\r\n\r\n"), "bad 400 bare_lf", "" },
    { "a bare LF behind a value is refused", RAW("GET / HTTP/1.1\r\nHost: a\n\r\n"), "bad 400 bare_lf", "" },
    { "a bare LF behind an empty value is refused", RAW("GET / HTTP/1.1\r\nHost:\n\r\n"), "bad 400 bare_lf", "" },
    { "a bare LF as the last line is refused", RAW(GET "\n"), "bad 400 bare_lf", "" },
    { "a bare CR behind the request line is refused", RAW("GET / HTTP/1.1\rHost: a\r\n\r\n"), "bad 400 bare_cr", "" },
    { "a bare CR in a value is refused", RAW("GET / HTTP/1.1\r\na: b\rc\r\n\r\n"), "bad 400 bare_cr", "" },
    { "a bare CR in an empty value is refused", RAW("GET / HTTP/1.1\r\na: \rTransfer-Encoding: chunked\r\n\r\n"),
      "bad 400 bare_cr", "" },
    { "CR CR LF is refused", RAW("GET / HTTP/1.1\r\na: b\r\r\n\r\n"), "bad 400 bare_cr", "" },
    { "a bare CR as the last line is refused", RAW(GET "\rX"), "bad 400 bare_cr", "" },
    { "a folded line is refused", RAW(GET "a: b\r\n c\r\n\r\n"), "bad 400 folded_line", "" },
    { "a line folded with a tab is refused", RAW(GET "a: b\r\n\tc\r\n\r\n"), "bad 400 folded_line", "" },
    { "a fold of an empty value is refused", RAW(GET "a:\r\n b\r\n\r\n"), "bad 400 folded_line", "" },
    { "a space before the first name is refused", RAW("GET / HTTP/1.1\r\n Host: a\r\n\r\n"), "bad 400 folded_line",
      "" },
    { "a space before the colon is refused", RAW("GET / HTTP/1.1\r\nHost : a\r\n\r\n"), "bad 400 field_name_invalid",
      "" },
    { "a tab before the colon is refused", RAW("GET / HTTP/1.1\r\nHost\t: a\r\n\r\n"), "bad 400 field_name_invalid",
      "" },
    { "a space in a name is refused", RAW("GET / HTTP/1.1\r\nHo st: a\r\n\r\n"), "bad 400 field_name_invalid", "" },
    { "an empty name is refused", RAW("GET / HTTP/1.1\r\n: a\r\n\r\n"), "bad 400 field_name_invalid", "" },
    { "a line without a colon is refused", RAW("GET / HTTP/1.1\r\nHost\r\n\r\n"), "bad 400 field_name_invalid", "" },
    { "obs-text in a name is refused", RAW("GET / HTTP/1.1\r\nH\xf6st: a\r\n\r\n"), "bad 400 field_name_invalid", "" },
    { "NUL in a name is refused", RAW("GET / HTTP/1.1\r\nH\0st: a\r\n\r\n"), "bad 400 control_character", "" },
    { "NUL in a value is refused", RAW("GET / HTTP/1.1\r\na: b\0c\r\n\r\n"), "bad 400 control_character", "" },
    { "a control character in a value is refused", RAW("GET / HTTP/1.1\r\na: b\x01\r\n\r\n"),
      "bad 400 control_character", "" },
    { "DEL in a value is refused", RAW("GET / HTTP/1.1\r\na: b\x7f\r\n\r\n"), "bad 400 control_character", "" },
    { "a vertical tab in a value is refused", RAW("GET / HTTP/1.1\r\na: b\vc\r\n\r\n"), "bad 400 control_character",
      "" },

    { "a length with chunks is refused", RAW(POST "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nhi"),
      "bad 400 length_with_transfer_encoding", "" },
    { "chunks with a length are refused", RAW(POST "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\nhi"),
      "bad 400 length_with_transfer_encoding", "" },
    { "two lengths that differ are refused", RAW(POST "Content-Length: 2\r\nContent-Length: 3\r\n\r\n"),
      "bad 400 content_length_repeated", "" },
    { "two lengths that agree are refused", RAW(POST "Content-Length: 2\r\nContent-Length: 2\r\n\r\n"),
      "bad 400 content_length_repeated", "" },
    { "a list of lengths is refused", RAW(POST "Content-Length: 2, 2\r\n\r\nhi"), "bad 400 content_length_invalid",
      "" },
    { "a length with a sign is refused", RAW(POST "Content-Length: +2\r\n\r\nhi"), "bad 400 content_length_invalid",
      "" },
    { "a negative length is refused", RAW(POST "Content-Length: -2\r\n\r\nhi"), "bad 400 content_length_invalid", "" },
    { "a hexadecimal length is refused", RAW(POST "Content-Length: 0x2\r\n\r\nhi"), "bad 400 content_length_invalid",
      "" },
    { "a length with a space inside is refused", RAW(POST "Content-Length: 2 2\r\n\r\nhi"),
      "bad 400 content_length_invalid", "" },
    { "an empty length is refused", RAW(POST "Content-Length: \r\n\r\n"), "bad 400 content_length_invalid", "" },
    { "an empty length before a real one is refused", RAW(POST "Content-Length:\r\nContent-Length: 2\r\n\r\nhi"),
      "bad 400 content_length_invalid", "" },
    { "a length that overflows 64 bits is refused", RAW(POST "Content-Length: 18446744073709551617\r\n\r\n"),
      "bad 400 content_length_invalid", "" },
    { "a length beyond what can be counted is refused", RAW(POST "Content-Length: 9223372036854775808\r\n\r\n"),
      "bad 400 content_length_invalid", "" },
    { "a coding other than chunked is refused", RAW(POST "Transfer-Encoding: gzip\r\n\r\n"),
      "bad 400 transfer_encoding_invalid", "" },
    { "gzip, chunked is refused", RAW(POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
      "bad 400 transfer_encoding_invalid", "" },
    { "chunked twice is refused", RAW(POST "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
      "bad 400 transfer_encoding_invalid", "" },
    { "two fields of chunked are refused",
      RAW(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
      "bad 400 transfer_encoding_invalid", "" },
    { "a comma before chunked is refused", RAW(POST "Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n"),
      "bad 400 transfer_encoding_invalid", "" },
    { "a comma behind chunked is refused", RAW(POST "Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n"),
      "bad 400 transfer_encoding_invalid", "" },
    { "a parameter of chunked is refused", RAW(POST "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"),
      "bad 400 transfer_encoding_invalid", "" },
    { "xchunked is refused", RAW(POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
      "bad 400 transfer_encoding_invalid", "" },
    { "identity is refused", RAW(POST "Transfer-Encoding: identity\r\n\r\n"), "bad 400 transfer_encoding_invalid", "" },
    { "an empty coding is refused", RAW(POST "Transfer-Encoding:\r\n\r\n"), "bad 400 transfer_encoding_invalid", "" },
    { "obs-text around chunked is refused",
      RAW(POST "Transfer-Encoding: \x85"
               "chunked\r\n\r\n0\r\n\r\n"),
      "bad 400 transfer_encoding_invalid", "" },
    { "Chunked in any case is chunked", RAW(POST "transfer-encoding: CHUNKED\r\n\r\n0\r\n\r\n"),
      "POST / 1.1 chunked {Host: a} {transfer-encoding: CHUNKED} end", "" },
    { "a tab behind chunked is only space", RAW(POST "Transfer-Encoding: chunked\t\r\n\r\n0\r\n\r\n"),
      CHUNKED_SAYS " end", "" },
    { "chunks in HTTP/1.0 are refused", RAW("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
      "bad 400 transfer_encoding_in_1_0", "" },

    { "chunks are joined", RAW(CHUNKED "3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n"),
      CHUNKED_SAYS " \"abc0123456789\" end", "" },
    { "a size may have zeros before it", RAW(CHUNKED "0003\r\nabc\r\n000\r\n\r\n"), CHUNKED_SAYS " \"abc\" end", "" },
    { "chunk extensions are dropped", RAW(CHUNKED "3;a;b=c;d=\"x;\\\"\xff\"\r\nabc\r\n0;e\r\n\r\n"),
      CHUNKED_SAYS " \"abc\" end", "" },
    { "trailers are handed out", RAW(CHUNKED "1\r\nx\r\n0\r\nA: 1\r\nb: \r\n\r\n" GET "\r\n"),
      CHUNKED_SAYS " \"x\" {A: 1} {b: } end " GET_SAYS " end", "" },
    { "chunks without their end are cut", RAW(CHUNKED "3\r\nabc\r\n"), CHUNKED_SAYS " \"abc\" cut", "" },
    { "chunks without the last empty line are cut", RAW(CHUNKED "0\r\n"), CHUNKED_SAYS " cut", "" },
    { "an empty chunk size is refused", RAW(CHUNKED "\r\n"), CHUNKED_SAYS " bad 400 chunk_size_invalid", "" },
    { "0x before a chunk size is refused", RAW(CHUNKED "0x3\r\nabc\r\n"), CHUNKED_SAYS " bad 400 chunk_size_invalid",
      "" },
    { "a sign before a chunk size is refused", RAW(CHUNKED "+3\r\nabc\r\n"), CHUNKED_SAYS " bad 400 chunk_size_invalid",
      "" },
    { "a space before a chunk size is refused", RAW(CHUNKED " 3\r\nabc\r\n"),
      CHUNKED_SAYS " bad 400 chunk_size_invalid", "" },
    { "a space behind a chunk size is refused", RAW(CHUNKED "3 \r\nabc\r\n"),
      CHUNKED_SAYS " bad 400 chunk_size_invalid", "" },
    { "letters behind a chunk size are refused", RAW(CHUNKED "3g\r\nabc\r\n"),
      CHUNKED_SAYS " bad 400 chunk_size_invalid", "" },
    { "a chunk size that overflows is refused", RAW(CHUNKED "8000000000000000\r\n"),
      CHUNKED_SAYS " bad 400 chunk_size_overflow", "" },
    { "a chunk size of 17 digits is refused", RAW(CHUNKED "00000000000000003\r\nabc\r\n"),
      CHUNKED_SAYS " bad 400 chunk_size_overflow", "" },
    { "a bare LF behind a chunk size is refused", RAW(CHUNKED "3\nabc\r\n"), CHUNKED_SAYS " bad 400 bare_lf", "" },
    { "a bare CR behind a chunk size is refused", RAW(CHUNKED "3\rabc\r\n"), CHUNKED_SAYS " bad 400 bare_cr", "" },
    { "a bare LF behind a chunk extension is refused", RAW(CHUNKED "3;a\nabc\r\n"), CHUNKED_SAYS " bad 400 bare_lf",
      "" },
    { "a bare LF in a quoted extension is refused", RAW(CHUNKED "3;a=\"\n\"\r\nabc\r\n"),
      CHUNKED_SAYS " bad 400 chunk_extension_invalid", "" },
    { "an empty chunk extension is refused", RAW(CHUNKED "3;\r\nabc\r\n"),
      CHUNKED_SAYS " bad 400 chunk_extension_invalid", "" },
    { "an empty extension value is refused", RAW(CHUNKED "3;a=\r\nabc\r\n"),
      CHUNKED_SAYS " bad 400 chunk_extension_invalid", "" },
    { "words behind a quoted extension are refused", RAW(CHUNKED "3;a=\"b\"c\r\nabc\r\n"),
      CHUNKED_SAYS " bad 400 chunk_extension_invalid", "" },
    { "a chunk that is longer than its size is refused", RAW(CHUNKED "3\r\nabcd\r\n"),
      CHUNKED_SAYS " \"abc\" bad 400 chunk_end_invalid", "" },
    { "a bare LF behind chunk data is refused", RAW(CHUNKED "3\r\nabc\n0\r\n\r\n"),
      CHUNKED_SAYS " \"abc\" bad 400 chunk_end_invalid", "" },
    { "no line end behind chunk data is refused", RAW(CHUNKED "3\r\nabc0\r\n\r\n"),
      CHUNKED_SAYS " \"abc\" bad 400 chunk_end_invalid", "" },
    { "a bare CR behind chunk data is refused", RAW(CHUNKED "3\r\nabc\r0\r\n\r\n"),
      CHUNKED_SAYS " \"abc\" bad 400 chunk_end_invalid", "" },
    { "a bare LF behind the last chunk is refused", RAW(CHUNKED "0\r\n\n"), CHUNKED_SAYS " bad 400 bare_lf", "" },
    { "a bare CR in a trailer is refused", RAW(CHUNKED "0\r\na: b\rc\r\n\r\n"), CHUNKED_SAYS " bad 400 bare_cr", "" },
    { "a folded trailer is refused", RAW(CHUNKED "0\r\na: b\r\n c\r\n\r\n"), CHUNKED_SAYS " bad 400 folded_line", "" },
    { "trailers that reframe twice are refused",
      RAW(CHUNKED "0\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
      CHUNKED_SAYS " bad 400 length_with_transfer_encoding", "" },
    { "a length in the trailers frames nothing", RAW(CHUNKED "0\r\nContent-Length: 5\r\n\r\n" GET "\r\n"),
      CHUNKED_SAYS " {Content-Length: 5} end " GET_SAYS " end", "" },
};

static const struct row responses[] = {
    { "a length delimits the body", RAW(OK "Content-Length: 2\r\n\r\nhi"),
      "200 OK 1.1 length=2 {Content-Length: 2} \"hi\" end", "" },
    { "chunks delimit the body", RAW(OK "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nA: b\r\n\r\n"),
      "200 OK 1.1 chunked {Transfer-Encoding: chunked} \"hi\" {A: b} end", "" },
    { "without either the connection's end delimits the body", RAW(OK "\r\nhi"), "200 OK 1.1 eof close \"hi\" eof-end",
      "" },
    { "an empty body may be ended by the connection", RAW(OK "\r\n"), "200 OK 1.1 eof close eof-end", "" },
    { "a body that ends early is cut", RAW(OK "Content-Length: 3\r\n\r\nhi"),
      "200 OK 1.1 length=3 {Content-Length: 3} \"hi\" cut", "" },
    { "chunks that end early are cut", RAW(OK "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"),
      "200 OK 1.1 chunked {Transfer-Encoding: chunked} \"hi\" cut", "" },
    { "a head that ends early is cut", RAW(OK), "cut", "" },
    { "no answer is no error", RAW(""), "", "" },
    { "the reason may be empty", RAW("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"),
      "200  1.1 length=0 {Content-Length: 0} end", "" },
    { "the space before the reason may be missing", RAW("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"),
      "200  1.1 length=0 {Content-Length: 0} end", "" },
    { "obs-text in the reason is kept", RAW("HTTP/1.1 404 Nicht gef\xfcnden\r\nContent-Length: 0\r\n\r\n"),
      "404 Nicht gef\xfcnden 1.1 length=0 {Content-Length: 0} end", "" },
    { "HTTP/1.0 closes", RAW("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
      "200 OK 1.0 length=0 close {Content-Length: 0} end", "" },
    { "HTTP/1.0 with keep-alive stays open",
      RAW("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"),
      "200 OK 1.0 length=0 {Content-Length: 0} {Connection: keep-alive} end", "" },
    { "keep-alive cannot keep what the connection's end delimits",
      RAW("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n"), "200 OK 1.1 eof close {Connection: keep-alive} eof-end",
      "" },
    { "nothing may follow Connection: close", RAW(OK "Content-Length: 0\r\nConnection: close\r\n\r\nHTTP"),
      "200 OK 1.1 length=0 close {Content-Length: 0} {Connection: close} end bad 400 data_after_close", "" },
    { "the answer to HEAD keeps its length and has no body",
      RAW(OK "Content-Length: 5\r\n\r\n" OK "Content-Length: 1\r\n\r\nx"),
      "200 OK 1.1 length=5 {Content-Length: 5} end 200 OK 1.1 length=1 {Content-Length: 1} \"x\" end", "HEAD" },
    { "the answer to HEAD with chunks has no body", RAW(OK "Transfer-Encoding: chunked\r\n\r\n"),
      "200 OK 1.1 chunked {Transfer-Encoding: chunked} end", "HEAD" },
    { "the answer to HEAD without either does not close", RAW(OK "\r\n"), "200 OK 1.1 none end", "HEAD" },
    { "an interim answer does not use up HEAD", RAW("HTTP/1.1 103 Early Hints\r\n\r\n" OK "Content-Length: 5\r\n\r\n"),
      "103 Early Hints 1.1 none end 200 OK 1.1 length=5 {Content-Length: 5} end", "HEAD" },
    { "a 2xx to CONNECT is followed by the tunnel", RAW(OK "Content-Length: 5\r\n\r\nhello"),
      "200 OK 1.1 none {Content-Length: 5} end upgraded:hello", "CONNECT" },
    { "another answer to CONNECT has a body", RAW("HTTP/1.1 403 No\r\nContent-Length: 1\r\n\r\nx"),
      "403 No 1.1 length=1 {Content-Length: 1} \"x\" end", "CONNECT" },
    { "a 204 has no body", RAW("HTTP/1.1 204 No Content\r\n\r\n" OK "Content-Length: 0\r\n\r\n"),
      "204 No Content 1.1 none end 200 OK 1.1 length=0 {Content-Length: 0} end", "" },
    { "a 204 may say Content-Length: 0", RAW("HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n"),
      "204 No 1.1 none {Content-Length: 0} end", "" },
    { "a 204 has no body, whatever its length", RAW("HTTP/1.1 204 No\r\nContent-Length: 1\r\n\r\nx"),
      "204 No 1.1 none {Content-Length: 1} end bad 400 data_after_close", "" },
    { "a 204 has no chunks", RAW("HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n"),
      "204 No 1.1 none {Transfer-Encoding: chunked} end", "" },
    { "a 304 keeps its length and has no body",
      RAW("HTTP/1.1 304 Not\r\nContent-Length: 5\r\n\r\n" OK "Content-Length: 0\r\n\r\n"),
      "304 Not 1.1 length=5 {Content-Length: 5} end 200 OK 1.1 length=0 {Content-Length: 0} end", "" },
    { "a 304 without a length does not close", RAW("HTTP/1.1 304 Not\r\n\r\n"), "304 Not 1.1 none end", "" },
    { "a 100 is followed by the answer", RAW("HTTP/1.1 100 Continue\r\n\r\n" OK "Content-Length: 0\r\n\r\n"),
      "100 Continue 1.1 none end 200 OK 1.1 length=0 {Content-Length: 0} end", "" },
    { "Connection: close in an interim answer does not end the answer",
      RAW("HTTP/1.1 102 P\r\nConnection: close\r\n\r\n" OK "Content-Length: 0\r\n\r\n"),
      "102 P 1.1 none {Connection: close} end 200 OK 1.1 length=0 {Content-Length: 0} end", "" },
    { "a 1xx has no chunks",
      RAW("HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n" OK "Content-Length: 0\r\n\r\n"),
      "100 Continue 1.1 none {Transfer-Encoding: chunked} end 200 OK 1.1 length=0 {Content-Length: 0} end", "" },
    { "a 1xx has no body, whatever its length", RAW("HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\nhi"),
      "100 Continue 1.1 none {Content-Length: 2} end bad 400 start_line_invalid", "" },
    { "a 101 with a length is refused", RAW("HTTP/1.1 101 S\r\nContent-Length: 2\r\n\r\n"),
      "bad 400 framing_without_body", "" },
    { "a 101 hands over what follows",
      RAW("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05"),
      "101 Switching 1.1 none upgrade {Connection: upgrade} {Upgrade: websocket} end upgraded:\x81\x05", "" },
    { "Upgrade outside of a 101 is information",
      RAW(OK "Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n"),
      "200 OK 1.1 length=0 {Connection: upgrade} {Upgrade: h2c} {Content-Length: 0} end", "" },

    { "a length with chunks is refused", RAW(OK "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"),
      "bad 400 length_with_transfer_encoding", "" },
    { "chunks with a length are refused", RAW(OK "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n"),
      "bad 400 length_with_transfer_encoding", "" },
    { "two lengths that are one are taken", RAW(OK "Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi"),
      "200 OK 1.1 length=2 {Content-Length: 2} {Content-Length: 2} \"hi\" end", "" },
    { "two lengths that differ are refused", RAW(OK "Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi"),
      "bad 400 content_length_repeated", "" },
    { "two lengths beside a coding are refused",
      RAW(OK "Content-Length: 2\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"),
      "bad 400 length_with_transfer_encoding", "" },
    { "a list of one length is taken", RAW(OK "Content-Length: 2,\t2\r\n\r\nhi"),
      "200 OK 1.1 length=2 {Content-Length: 2,\t2} \"hi\" end", "" },
    { "a list of two lengths is refused", RAW(OK "Content-Length: 2, 3\r\n\r\nhi"), "bad 400 content_length_invalid",
      "" },
    { "a list with an empty member is refused", RAW(OK "Content-Length: 2,\r\n\r\nhi"),
      "bad 400 content_length_invalid", "" },
    { "an empty member before a length is refused", RAW(OK "Content-Length: ,2\r\n\r\nhi"),
      "bad 400 content_length_invalid", "" },
    { "a coding that is not chunked at last is refused", RAW(OK "Transfer-Encoding: chunked, gzip\r\n\r\n"),
      "bad 400 transfer_encoding_invalid", "" },
    { "a coding without chunked is refused", RAW(OK "Transfer-Encoding: gzip\r\n\r\nhi"),
      "bad 400 transfer_encoding_invalid", "" },
    { "gzip, chunked is refused", RAW(OK "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
      "bad 400 transfer_encoding_invalid", "" },
    { "chunks in HTTP/1.0 are chunks", RAW("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
      "200 OK 1.0 chunked close {Transfer-Encoding: chunked} \"hi\" end", "" },
    { "blanks around the parts of a chunk's line are dropped",
      RAW(OK "Transfer-Encoding: chunked\r\n\r\n2 \t; a\t = \"b c\" ; d\r\nhi\r\n1  \r\n!\r\n0 ;e = f \r\n\r\n"),
      "200 OK 1.1 chunked {Transfer-Encoding: chunked} \"hi!\" end", "" },
    { "a blank inside a chunk size is refused", RAW(OK "Transfer-Encoding: chunked\r\n\r\n1 0\r\n"),
      "200 OK 1.1 chunked {Transfer-Encoding: chunked} bad 400 chunk_extension_invalid", "" },
    { "HTTP/2 is refused", RAW("HTTP/2 200\r\n\r\n"), "bad 400 version_unsupported", "" },
    { "HTTP/2.0 is refused", RAW("HTTP/2.0 200 OK\r\n\r\n"), "bad 400 version_unsupported", "" },
    { "HTTP/0.9 is refused", RAW("HTTP/0.9 200 OK\r\n\r\n"), "bad 400 version_unsupported", "" },
    { "RTSP is refused", RAW("RTSP/1.0 200 OK\r\n\r\n"), "bad 400 start_line_invalid", "" },
    { "ICE is refused", RAW("ICE/1.0 200 OK\r\n\r\n"), "bad 400 start_line_invalid", "" },
    { "a body without a head is refused", RAW("<html>"), "bad 400 start_line_invalid", "" },
    { "an empty line before the status line is refused", RAW("\r\n" OK "\r\n"), "bad 400 start_line_invalid", "" },
    { "a status of two digits is refused", RAW("HTTP/1.1 20 OK\r\n\r\n"), "bad 400 status_invalid", "" },
    { "a status of four digits is refused", RAW("HTTP/1.1 2000 OK\r\n\r\n"), "bad 400 status_invalid", "" },
    { "a status below 100 is refused", RAW("HTTP/1.1 099 OK\r\n\r\n"), "bad 400 status_invalid", "" },
    { "a status above 599 is taken", RAW("HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n"),
      "600 OK 1.1 length=0 {Content-Length: 0} end", "" },
    { "two spaces before the status are refused", RAW("HTTP/1.1  200 OK\r\n\r\n"), "bad 400 status_invalid", "" },
    { "a bare LF behind the status line is refused", RAW("HTTP/1.1 200 OK\n\r\n"), "bad 400 bare_lf", "" },
    { "a bare CR in the reason is refused", RAW("HTTP/1.1 200 O\rK\r\n\r\n"), "bad 400 bare_cr", "" },
    { "a bare CR behind the status is refused", RAW("HTTP/1.1 200\rX: y\r\n\r\n"), "bad 400 bare_cr", "" },
    { "a bare LF behind a value is refused", RAW(OK "a: b\n\r\n"), "bad 400 bare_lf", "" },
    { "a folded line is refused", RAW(OK "a: b\r\n c\r\n\r\n"), "bad 400 folded_line", "" },
    { "blanks before the colon are dropped", RAW(OK "a \t: b\r\nContent-Length\t: 0\r\n\r\n"),
      "200 OK 1.1 length=0 {a: b} {Content-Length: 0} end", "" },
    { "a blank inside a name is refused", RAW(OK "a b: c\r\n\r\n"), "bad 400 field_name_invalid", "" },
    { "a blank alone is no name", RAW(OK "a: b\r\n : c\r\n\r\n"), "bad 400 folded_line", "" },
    { "blanks around a value are dropped", RAW(OK "a: \t b c \t\r\nd:\r\nContent-Length:0\r\n\r\n"),
      "200 OK 1.1 length=0 {a: b c} {d: } {Content-Length: 0} end", "" },
    { "NUL in a value is refused", RAW(OK "a: b\0\r\n\r\n"), "bad 400 control_character", "" },
    { "a control character in the reason is refused", RAW("HTTP/1.1 200 O\x1bK\r\n\r\n"), "bad 400 control_character",
      "" },
    { "chunk size garbage is refused", RAW(OK "Transfer-Encoding: chunked\r\n\r\n-1\r\n"),
      "200 OK 1.1 chunked {Transfer-Encoding: chunked} bad 400 chunk_size_invalid", "" },
    { "a chunk size that overflows is refused", RAW(OK "Transfer-Encoding: chunked\r\n\r\n11111111111111111\r\n"),
      "200 OK 1.1 chunked {Transfer-Encoding: chunked} bad 400 chunk_size_overflow", "" },
    { "an unbounded answer is never taken for chunks", RAW(OK "\r\n0\r\n\r\n"),
      "200 OK 1.1 eof close \"0\r\n\r\n\" eof-end", "" },
};

static void demand(const struct row *row, enum h1_role role, size_t step)
{
    struct buf got = transcript_of(role, row->answers, slice_of(row->raw, row->len), step);
    if (!slice_eq(buf_slice(&got), slice_str(row->says)))
        fail_msg("%s (pieces of %zu)\n  wanted: %s\n  got:    %.*s", row->name, step, row->says, (int)got.len,
                 got.len ? buf_slice(&got).ptr : "");
    buf_done(&got);
}

/* First piece of n bytes, then the rest. */
static void demand_cut(const struct row *row, enum h1_role role, size_t n)
{
    struct transcript t = { .in_data = false };
    struct h1 *p = h1_new(role);
    assert_non_null(p);
    buf_init(&t.text, SIZE_MAX / 2);
    if (*row->answers)
        h1_expect(p, slice_str(row->answers));
    transcript_feed(&t, p, slice_of(row->raw, n));
    if (!t.over)
        transcript_feed(&t, p, slice_of(row->raw + n, row->len - n));
    transcript_eof(&t, p);
    if (!slice_eq(buf_slice(&t.text), slice_str(row->says)))
        fail_msg("%s (cut at %zu)\n  wanted: %s\n  got:    %.*s", row->name, n, row->says, (int)t.text.len,
                 buf_slice(&t.text).ptr);
    buf_done(&t.text);
    h1_free(p);
}

static void demand_all(const struct row *rows, size_t count, enum h1_role role)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t step = 0; step < 8; step++)
            demand(&rows[i], role, step);
        for (size_t n = 1; n < rows[i].len; n++)
            demand_cut(&rows[i], role, n);
    }
}

static void every_request_row_says_the_same_however_it_is_cut(void **state)
{
    (void)state;
    demand_all(requests, sizeof requests / sizeof *requests, H1_REQUESTS);
}

static void every_response_row_says_the_same_however_it_is_cut(void **state)
{
    (void)state;
    demand_all(responses, sizeof responses / sizeof *responses, H1_RESPONSES);
}

/* --- caps: before, count times filler, after --- */

struct cap_row {
    const char *name;
    enum h1_role role;
    const char *before, *filler;
    size_t count;
    const char *after, *ends; /* how the transcript ends */
};

static const struct cap_row caps[] = {
    { "a request line of 16 KiB is read", H1_REQUESTS, "GET /", "a", 16384 - 14, " HTTP/1.1\r\n\r\n", " end" },
    { "a longer request line is 414", H1_REQUESTS, "GET /", "a", 16384 - 13, " HTTP/1.1\r\n\r\n",
      "bad 414 request_line_too_long" },
    { "a request line without end is 414", H1_REQUESTS, "GET /", "a", 17000, "", "bad 414 request_line_too_long" },
    { "a method without end is 414", H1_REQUESTS, "", "A", 17000, "", "bad 414 request_line_too_long" },
    { "200 fields are read", H1_REQUESTS, "GET / HTTP/1.1\r\n", "a: b\r\n", 200, "\r\n", "{a: b} end" },
    { "201 fields are 431", H1_REQUESTS, "GET / HTTP/1.1\r\n", "a: b\r\n", 201, "\r\n", "bad 431 too_many_fields" },
    { "a head of 64 KiB is read", H1_REQUESTS, "GET / HTTP/1.1\r\na: ", "b", 65536 - 23, "\r\n\r\n", " end" },
    { "a bigger head is 431", H1_REQUESTS, "GET / HTTP/1.1\r\na: ", "b", 65536 - 22, "\r\n\r\n",
      "bad 431 head_too_large" },
    { "a status line that is too long is refused", H1_RESPONSES, "HTTP/1.1 200 ", "a", 8192, "\r\n\r\n",
      "bad 400 status_line_too_long" },
    { "201 fields of a response are refused", H1_RESPONSES, "HTTP/1.1 200 OK\r\n", "a: b\r\n", 201, "\r\n",
      "bad 431 too_many_fields" },
    { "a big head of a response is refused", H1_RESPONSES, "HTTP/1.1 200 OK\r\na: ", "b", 65536, "\r\n\r\n",
      "bad 431 head_too_large" },
    { "201 trailers are refused", H1_REQUESTS, CHUNKED "0\r\n", "a: b\r\n", 201, "\r\n", "bad 431 too_many_fields" },
    { "trailers over 64 KiB are refused", H1_REQUESTS, CHUNKED "0\r\na: ", "b", 65536, "\r\n\r\n",
      "bad 431 head_too_large" },
    { "8 KiB of chunk extensions are dropped", H1_REQUESTS, CHUNKED "1;", "a", 8191, "\r\nx\r\n0\r\n\r\n",
      "\"x\" end" },
    { "more of one chunk are refused", H1_REQUESTS, CHUNKED "1;", "a", 8192, "\r\nx\r\n0\r\n\r\n",
      "bad 413 chunk_extensions_too_long" },
    { "more over many chunks are refused", H1_REQUESTS, CHUNKED, "1;ab\r\nx\r\n", 4096, "0\r\n\r\n",
      "bad 413 chunk_extensions_too_long" },
    { "many chunks without extensions are read", H1_REQUESTS, CHUNKED, "1\r\nx\r\n", 4096, "0\r\n\r\n", "x\" end" },
    { "32 interim answers are read", H1_RESPONSES, "", "HTTP/1.1 103 E\r\n\r\n", 32, OK "Content-Length: 0\r\n\r\n",
      "{Content-Length: 0} end" },
    { "33 interim answers are refused", H1_RESPONSES, "", "HTTP/1.1 103 E\r\n\r\n", 33, OK "Content-Length: 0\r\n\r\n",
      "bad 400 too_many_informational" },
};

static void limits_are_as_they_are_set(void **state)
{
    (void)state;
    static const char three[] = "GET /long HTTP/1.1\r\na: b\r\na: b\r\nHost: a\r\n\r\n";
    static const struct {
        unsigned fields, line;
        const char *reason;
    } rows[] = { { 3, 18, NULL }, { 2, 18, "too_many_fields" }, { 3, 17, "request_line_too_long" } };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct h1 *p = h1_new(H1_REQUESTS);
        struct slice in = slice_str(three), data;
        h1_limit(p, rows[i].fields, rows[i].line);
        enum h1_event event = h1_next(p, &in, &data);
        assert_int_equal(event, rows[i].reason ? H1_BAD : H1_HEAD);
        if (rows[i].reason)
            assert_string_equal(h1_reason(p), rows[i].reason);
        h1_free(p);
    }
}

static void a_response_that_was_cleaned_is_told_so(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        bool cleaned;
    } rows[] = {
        { OK "Content-Length: 2\r\n\r\nhi", false },
        { OK "Transfer-Encoding: chunked\r\n\r\n2;a=b\r\nhi\r\n0\r\nc: d\r\n\r\n", false },
        { "HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n", false },
        { "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", true },
        { OK "Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi", true },
        { OK "Content-Length: 2, 2\r\n\r\nhi", true },
        { "HTTP/1.1 601 Odd\r\nContent-Length: 0\r\n\r\n", true },
        { OK "a : b\r\nContent-Length: 0\r\n\r\n", true },
        { OK "Transfer-Encoding: chunked\r\n\r\n2; a=b\r\nhi\r\n0\r\n\r\n", true },
        { OK "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0 \r\n\r\n", true },
        { OK "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nc : d\r\n\r\n", true },
        { "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", true },
        { "HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n", true },
        { "HTTP/1.1 103 E\r\nContent-Length: 5\r\n\r\n" OK "Content-Length: 0\r\n\r\n", true },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct h1 *p = h1_new(H1_RESPONSES);
        struct slice in = slice_str(rows[i].bytes), data;
        enum h1_event event;
        h1_expect(p, SLICE("GET"));
        do
            event = h1_next(p, &in, &data);
        while (event != H1_MORE && event != H1_BAD);
        assert_int_equal(event, H1_MORE);
        assert_int_equal(h1_cleaned(p), rows[i].cleaned);
        h1_free(p);
    }
}

static bool ends_with(struct slice text, struct slice end)
{
    return text.len >= end.len && slice_eq(slice_skip(text, text.len - end.len), end);
}

static void everything_that_a_peer_can_make_long_has_a_cap(void **state)
{
    (void)state;
    static const size_t steps[] = { 0, 1, 7, 4096, 65536 };
    for (size_t i = 0; i < sizeof caps / sizeof *caps; i++) {
        struct buf raw;
        buf_init(&raw, SIZE_MAX / 2);
        assert_int_equal(buf_add_str(&raw, caps[i].before), 0);
        for (size_t n = 0; n < caps[i].count; n++)
            assert_int_equal(buf_add_str(&raw, caps[i].filler), 0);
        assert_int_equal(buf_add_str(&raw, caps[i].after), 0);
        for (size_t n = 0; n < sizeof steps / sizeof *steps; n++) {
            struct buf got = transcript_of(caps[i].role, "", buf_slice(&raw), steps[n]);
            if (!ends_with(buf_slice(&got), slice_str(caps[i].ends)))
                fail_msg("%s (pieces of %zu): …%s", caps[i].name, steps[n],
                         got.len > 60 ? buf_slice(&got).ptr + got.len - 60 : buf_slice(&got).ptr);
            buf_done(&got);
        }
        buf_done(&raw);
    }
}

/* --- the pull --- */

static void body_bytes_are_handed_out_where_they_lie(void **state)
{
    (void)state;
    const char raw[] = POST "Content-Length: 5\r\n\r\nhelloGET";
    struct slice in = slice_str(raw), data;
    struct h1 *p = h1_new(H1_REQUESTS);
    assert_non_null(p);
    assert_true(h1_idle(p));
    assert_int_equal(h1_next(p, &in, &data), H1_HEAD);
    assert_false(h1_idle(p));
    assert_int_equal(h1_next(p, &in, &data), H1_DATA);
    assert_ptr_equal(data.ptr, raw + strlen(raw) - 8);
    assert_int_equal(data.len, 5);
    assert_int_equal(h1_next(p, &in, &data), H1_END);
    assert_true(h1_idle(p));
    assert_int_equal(in.len, 3); /* the next request has not been touched */
    assert_true(slice_eq(message_method(h1_head(p)), SLICE("POST")));
    h1_park(p);
    assert_int_equal(h1_head(p)->text.space, 0);
    h1_free(p);
}

static void the_end_of_input_ends_what_was_complete_already(void **state)
{
    (void)state;
    struct slice in = SLICE(GET "\r\n"), data;
    struct h1 *p = h1_new(H1_REQUESTS);
    assert_non_null(p);
    assert_int_equal(h1_next(p, &in, &data), H1_HEAD);
    assert_int_equal(h1_eof(p), H1_END);
    assert_int_equal(h1_eof(p), H1_MORE);
    h1_free(p);
}

static void a_refused_parser_stays_refused(void **state)
{
    (void)state;
    struct slice in = SLICE("\n"), data;
    struct h1 *p = h1_new(H1_REQUESTS);
    assert_non_null(p);
    assert_int_equal(h1_next(p, &in, &data), H1_BAD);
    in = SLICE(GET "\r\n");
    assert_int_equal(h1_next(p, &in, &data), H1_BAD);
    assert_int_equal(h1_eof(p), H1_BAD);
    assert_int_equal(h1_status(p), 400);
    assert_string_equal(h1_reason(p), "bare_lf");
    h1_free(p);
}

static void a_second_request_uses_the_memory_of_the_first(void **state)
{
    (void)state;
    struct h1 *p = h1_new(H1_REQUESTS);
    const void *text = NULL, *fields = NULL;
    assert_non_null(p);
    for (size_t i = 0; i < 3; i++) {
        struct slice in = SLICE(GET "Authorization: Bearer x\r\nAccept: */*\r\n\r\n"), data;
        assert_int_equal(h1_next(p, &in, &data), H1_HEAD);
        assert_int_equal(h1_next(p, &in, &data), H1_END);
        assert_true(i == 0 || (text == h1_head(p)->text.data && fields == h1_head(p)->fields));
        text = h1_head(p)->text.data;
        fields = h1_head(p)->fields;
    }
    h1_free(p);
}

/* --- writing --- */

static struct message read_head(enum h1_role role, const char *answers, const char *raw)
{
    struct slice in = slice_str(raw), data;
    struct message copy;
    struct h1 *p = h1_new(role);
    assert_non_null(p);
    if (*answers)
        h1_expect(p, slice_str(answers));
    if (h1_next(p, &in, &data) != H1_HEAD)
        fail_msg("%s: %s", h1_reason(p), raw);
    message_init(&copy);
    assert_int_equal(message_copy(&copy, h1_head(p)), 0);
    h1_free(p);
    return copy;
}

static const struct {
    const char *name;
    enum h1_role role;
    const char *raw, *written;
    bool head_only;
} writes[] = {
    { "a request is written as it was read", H1_REQUESTS, "GET /a HTTP/1.1\r\nHost: a\r\nx-Y: z\r\n\r\n",
      "GET /a HTTP/1.1\r\nHost: a\r\nx-Y: z\r\n\r\n", false },
    { "the framing fields are written anew behind the others", H1_REQUESTS,
      "POST / HTTP/1.1\r\ncontent-length: 02\r\na: b\r\n\r\n", "POST / HTTP/1.1\r\na: b\r\nContent-Length: 2\r\n\r\n",
      false },
    { "chunks are announced anew", H1_REQUESTS, "POST / HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\n",
      "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", false },
    { "a POST without a body says so", H1_REQUESTS, "POST / HTTP/1.1\r\n\r\n",
      "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", false },
    { "a GET without a body says nothing", H1_REQUESTS, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
      "GET / HTTP/1.1\r\n\r\n", false },
    { "close is written anew", H1_REQUESTS, "GET / HTTP/1.1\r\nConnection: x, close\r\n\r\n",
      "GET / HTTP/1.1\r\nConnection: close\r\n\r\n", false },
    { "TE is named by Connection", H1_REQUESTS, "GET / HTTP/1.1\r\nTE: trailers\r\n\r\n",
      "GET / HTTP/1.1\r\nTE: trailers\r\nConnection: TE\r\n\r\n", false },
    { "an upgrade is named by Connection", H1_REQUESTS,
      "GET / HTTP/1.1\r\nConnection: Upgrade, foo\r\nUpgrade: websocket\r\n\r\n",
      "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", false },
    { "a response keeps its length", H1_RESPONSES, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", false },
    { "what the connection's end delimits closes", H1_RESPONSES, "HTTP/1.1 200 OK\r\n\r\n",
      "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", false },
    { "a 204 has no framing fields", H1_RESPONSES, "HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n",
      "HTTP/1.1 204 No\r\n\r\n", false },
    { "a 103 has no framing fields", H1_RESPONSES, "HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n",
      "HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n", false },
    { "a 101 names its upgrade", H1_RESPONSES, "HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
      "HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", false },
    { "a 304 keeps its length", H1_RESPONSES, "HTTP/1.1 304 Not\r\nContent-Length: 7\r\n\r\n",
      "HTTP/1.1 304 Not\r\nContent-Length: 7\r\n\r\n", true },
    { "HTTP/1.0 is told that the connection stays", H1_RESPONSES,
      "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", false },
};

static void heads_are_written_anew(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof writes / sizeof *writes; i++) {
        struct message m = read_head(writes[i].role, "", writes[i].raw);
        struct buf out;
        buf_init(&out, 4096);
        assert_int_equal(writes[i].role == H1_REQUESTS ? h1_write_request(&out, &m)
                                                       : h1_write_response(&out, &m, writes[i].head_only),
                         0);
        if (!slice_eq(buf_slice(&out), slice_str(writes[i].written)))
            fail_msg("%s: %.*s", writes[i].name, (int)out.len, buf_slice(&out).ptr);
        buf_done(&out);
        message_done(&m);
    }
}

static void the_answer_to_head_is_written_with_its_length(void **state)
{
    (void)state;
    struct message m = read_head(H1_RESPONSES, "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
    struct message none = read_head(H1_RESPONSES, "HEAD", "HTTP/1.1 200 OK\r\n\r\n");
    struct buf out;
    buf_init(&out, 4096);
    assert_int_equal(h1_write_response(&out, &m, true), 0);
    assert_int_equal(h1_write_response(&out, &none, true), 0);
    assert_true(
        slice_eq(buf_slice(&out), SLICE("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")));
    buf_done(&out);
    message_done(&m);
    message_done(&none);
}

static int write_with(struct slice method, struct slice target, struct slice name, struct slice value)
{
    struct message m;
    struct buf out;
    message_init(&m);
    buf_init(&out, 4096);
    assert_int_equal(message_start_request(&m, method, target), 0);
    assert_int_equal(message_add(&m, name, value), 0);
    int failed = h1_write_request(&out, &m);
    assert_true(failed == 0 || out.len == 0);
    buf_done(&out);
    message_done(&m);
    return failed;
}

static void a_head_cannot_be_split_by_what_is_put_into_it(void **state)
{
    (void)state;
    static const struct {
        const char *method, *target, *name, *value;
        size_t value_len;
        int wanted;
    } rows[] = {
        { "GET", "/", "a", "b", 1, 0 },
        { "GET", "/", "a", "b\r\nc: d", 7, -EINVAL },
        { "GET", "/", "a", "b\rc", 3, -EINVAL },
        { "GET", "/", "a", "b\nc", 3, -EINVAL },
        { "GET", "/", "a", "b\0c", 3, -EINVAL },
        { "GET", "/", "a", "b\x7f", 2, -EINVAL },
        { "GET", "/", "", "b", 1, -EINVAL },
        { "GET", "/", "a b", "b", 1, -EINVAL },
        { "GET", "/", "a:", "b", 1, -EINVAL },
        { "GET", "/", ":path", "b", 1, -EINVAL },
        { "GET", "/ HTTP/1.1\r\nx: y", "a", "b", 1, -EINVAL },
        { "GET", "/a b", "a", "b", 1, -EINVAL },
        { "GET", "", "a", "b", 1, -EINVAL },
        { "", "/", "a", "b", 1, -EINVAL },
        { "G T", "/", "a", "b", 1, -EINVAL },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(write_with(slice_str(rows[i].method), slice_str(rows[i].target), slice_str(rows[i].name),
                                    slice_of(rows[i].value, rows[i].value_len)),
                         rows[i].wanted);
}

static void a_response_that_cannot_be_delimited_is_not_written(void **state)
{
    (void)state;
    static const struct {
        int status;
        enum framing framing;
        uint64_t length;
        const char *reason;
        bool head_only;
        int wanted;
    } rows[] = {
        { 200, FRAMING_LENGTH, 1, "OK", false, 0 },       { 99, FRAMING_NONE, 0, "OK", false, -EINVAL },
        { 1000, FRAMING_NONE, 0, "OK", false, -EINVAL },  { 200, FRAMING_NONE, 0, "O\r\nK", false, -EINVAL },
        { 204, FRAMING_LENGTH, 1, "No", false, -EINVAL }, { 204, FRAMING_CHUNKED, 0, "No", false, -EINVAL },
        { 103, FRAMING_EOF, 0, "Hints", false, -EINVAL }, { 304, FRAMING_LENGTH, 1, "Not", false, -EINVAL },
        { 304, FRAMING_LENGTH, 1, "Not", true, 0 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct message m;
        struct buf out;
        message_init(&m);
        buf_init(&out, 4096);
        assert_int_equal(message_start_response(&m, rows[i].status, slice_str(rows[i].reason)), 0);
        m.framing = rows[i].framing;
        m.length = rows[i].length;
        assert_int_equal(h1_write_response(&out, &m, rows[i].head_only), rows[i].wanted);
        buf_done(&out);
        message_done(&m);
    }
}

static void chunks_are_written_and_the_cap_is_kept(void **state)
{
    (void)state;
    struct message trailers;
    struct buf out;
    char big[300] = "";
    message_init(&trailers);
    assert_int_equal(message_add(&trailers, SLICE("grpc-status"), SLICE("0")), 0);
    buf_init(&out, 100);
    assert_int_equal(h1_write_chunk(&out, SLICE("0123456789abcdef!")), 0);
    assert_int_equal(h1_write_chunk(&out, SLICE("")), 0);
    assert_int_equal(h1_write_last_chunk(&out, NULL), 0);
    assert_int_equal(h1_write_last_chunk(&out, &trailers), 0);
    assert_true(slice_eq(buf_slice(&out), SLICE("11\r\n0123456789abcdef!\r\n0\r\n\r\n0\r\ngrpc-status: 0\r\n\r\n")));
    size_t before = out.len;
    assert_int_equal(h1_write_chunk(&out, slice_of(big, sizeof big)), -ENOBUFS);
    assert_int_equal(out.len, before);
    buf_done(&out);
    message_done(&trailers);
}

static void a_head_beyond_the_cap_leaves_the_buffer_as_it_was(void **state)
{
    (void)state;
    struct message m = read_head(H1_REQUESTS, "", GET "\r\n");
    struct buf out;
    buf_init(&out, 27);
    assert_int_equal(h1_write_request(&out, &m), 0);
    buf_clear(&out);
    assert_int_equal(buf_add_str(&out, "x"), 0);
    assert_int_equal(h1_write_request(&out, &m), -ENOBUFS);
    assert_int_equal(out.len, 1);
    buf_done(&out);
    message_done(&m);
}

/* --- round trip --- */

static void say_model(struct transcript *t, struct message *m)
{
    /* written anew, so in another place and spelling */
    message_remove(m, SLICE("connection"));
    message_remove(m, SLICE("content-length"));
    message_remove(m, SLICE("transfer-encoding"));
    m->minor = 1;
    say_head(t, m);
}

static void demand_same(enum h1_role role, const char *answers, const char *raw, bool head_only)
{
    struct authority a0;
    struct transcript before = { .in_data = false }, after = { .in_data = false };
    struct message m = read_head(role, answers, raw);
    struct buf out;
    buf_init(&out, SIZE_MAX / 2);
    buf_init(&before.text, SIZE_MAX / 2);
    buf_init(&after.text, SIZE_MAX / 2);
    assert_int_equal(authority_parse(SLICE("a"), SCHEME_HTTPS, 443, &a0), 0);
    struct rules_verdict verdict =
        role == H1_REQUESTS ? rules_forward_request(&m, &a0, true, NULL) : rules_forward_response(&m, true);
    assert_int_equal(verdict.status, 0);
    assert_int_equal(role == H1_REQUESTS ? h1_write_request(&out, &m) : h1_write_response(&out, &m, head_only), 0);
    assert_int_equal(buf_add(&out, slice_of("", 1)), 0);
    struct message again = read_head(role, answers, buf_slice(&out).ptr);
    say_model(&before, &m);
    say_model(&after, &again);
    if (!slice_eq(buf_slice(&before.text), buf_slice(&after.text)))
        fail_msg("%s\n  before: %.*s\n  after:  %.*s", raw, (int)before.text.len, buf_slice(&before.text).ptr,
                 (int)after.text.len, buf_slice(&after.text).ptr);
    buf_done(&out);
    buf_done(&before.text);
    buf_done(&after.text);
    message_done(&m);
    message_done(&again);
}

static void what_was_read_forwarded_and_written_reads_as_the_same_model(void **state)
{
    (void)state;
    demand_same(H1_REQUESTS, "",
                "GET /a%20b?c HTTP/1.1\r\nHost: a:443\r\nAccept: */*\r\nX-b: 1\r\nx-B: 2\r\nConnection: x-b\r\n\r\n",
                false);
    demand_same(H1_REQUESTS, "", "DELETE / HTTP/1.1\r\nHost: a\r\nTE: trailers, gzip\r\nConnection: TE, close\r\n\r\n",
                false);
    demand_same(H1_REQUESTS, "", "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n",
                false);
    demand_same(H1_REQUESTS, "", "PATCH / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n",
                false);
    demand_same(H1_REQUESTS, "",
                "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c, websocket\r\nConnection: upgrade, "
                "http2-settings\r\nHTTP2-Settings: x\r\n\r\n",
                false);
    demand_same(H1_REQUESTS, "", "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", false);
    demand_same(H1_RESPONSES, "",
                "HTTP/1.1 200 Fine \xe4\r\nSet-Cookie: a\r\nset-cookie: b\r\nContent-Length: 3\r\nKeep-Alive: "
                "timeout=5\r\n\r\n",
                false);
    demand_same(H1_RESPONSES, "", "HTTP/1.0 404 \r\nAlt-Svc: h3=\":443\"\r\n\r\n", false);
    demand_same(H1_RESPONSES, "",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nProxy-Status: sidekey; error=x, b\r\n\r\n", false);
    demand_same(
        H1_RESPONSES, "",
        "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
        false);
    demand_same(H1_RESPONSES, "", "HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n", false);
    demand_same(H1_RESPONSES, "", "HTTP/1.1 204 No\r\n\r\n", false);
    demand_same(H1_RESPONSES, "", "HTTP/1.1 304 Not\r\nContent-Length: 7\r\nETag: x\r\n\r\n", true);
    demand_same(H1_RESPONSES, "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_request_row_says_the_same_however_it_is_cut),
        cmocka_unit_test(every_response_row_says_the_same_however_it_is_cut),
        cmocka_unit_test(everything_that_a_peer_can_make_long_has_a_cap),
        cmocka_unit_test(limits_are_as_they_are_set),
        cmocka_unit_test(a_response_that_was_cleaned_is_told_so),
        cmocka_unit_test(body_bytes_are_handed_out_where_they_lie),
        cmocka_unit_test(the_end_of_input_ends_what_was_complete_already),
        cmocka_unit_test(a_refused_parser_stays_refused),
        cmocka_unit_test(a_second_request_uses_the_memory_of_the_first),
        cmocka_unit_test(heads_are_written_anew),
        cmocka_unit_test(the_answer_to_head_is_written_with_its_length),
        cmocka_unit_test(a_head_cannot_be_split_by_what_is_put_into_it),
        cmocka_unit_test(a_response_that_cannot_be_delimited_is_not_written),
        cmocka_unit_test(chunks_are_written_and_the_cap_is_kept),
        cmocka_unit_test(a_head_beyond_the_cap_leaves_the_buffer_as_it_was),
        cmocka_unit_test(what_was_read_forwarded_and_written_reads_as_the_same_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
