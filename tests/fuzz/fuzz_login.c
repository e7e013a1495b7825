/* What a browser brings back, what login.sock gets and answers, and the ID token whose account is shown. */
#include <stdint.h>
#include <stdlib.h>

#include "refresh/login/login_message.h"
#include "refresh/login/login_private.h"
#include "refresh/login/redirect_query.h"

#define CHECK(truth) ((truth) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static bool is_printable(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return false;
    return true;
}

static void try_query(struct slice all)
{
    struct buf out;
    buf_init(&out, 256);
    int result = redirect_query_get(redirect_query_of(all), "code", &out);
    CHECK((result == 0) == (out.len > 0));
    for (size_t i = 0; i < out.len; i++)
        CHECK((unsigned char)buf_slice(&out).ptr[i] >= ' ');
    buf_done(&out);
}

static void try_message(struct slice all)
{
    struct login_message m = { .credential = NULL }, again = { .credential = NULL };
    struct buf out;
    struct err e;
    if (login_message_read(all, &m, &e) != 0)
        return;
    buf_init(&out, LOGIN_MESSAGE_MAX);
    CHECK(login_message_write(&m, &out) == 0 && login_message_read(buf_slice(&out), &again, &e) == 0);
    CHECK(strcmp(again.credential, m.credential) == 0 && again.status == m.status && again.act == m.act
          && again.wall_ms == m.wall_ms && slice_eq(buf_slice(&again.body), buf_slice(&m.body)));
    buf_done(&out);
    login_message_done(&m);
    login_message_done(&again);
}

static void try_answer(struct slice all)
{
    uint64_t generation;
    struct err note = { "" }, e = { "" };
    (void)!login_message_read_answer(all, &generation, &note, &e);
    CHECK(is_printable(note.text) && is_printable(e.text));
}

static void try_account(struct slice all)
{
    char text[LOGIN_ACCOUNT_MAX + 1];
    login_account(all, text);
    CHECK(strlen(text) <= LOGIN_ACCOUNT_MAX && is_printable(text));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct slice all = slice_of(bytes, len);
    try_query(all);
    try_message(all);
    try_answer(all);
    try_account(all);
    return 0;
}
