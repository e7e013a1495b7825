/* The worker's side of the preload table: what it makes of the file, and what it refuses to believe. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proxy/hints.h"
#include "preload/table.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SLOT 70000u /* any; its token is 127.65.17.112 */
#define NAME_SLOT 1234u

static char dir[] = "/tmp/test_hints.XXXXXX";
static char path[64];
static struct hints *hints;
static int raw; /* the programs' way to the file */

static int open_table(void **state)
{
    (void)state;
    struct err e = { { 0 } };
    hints = hints_open(path, &e);
    raw = open(path, O_RDWR | O_CLOEXEC);
    return hints && raw >= 0 ? 0 : -1;
}

static int close_table(void **state)
{
    (void)state;
    hints_close(hints);
    hints = NULL;
    close(raw);
    return unlink(path);
}

static void put_name(uint32_t index, struct table_name name)
{
    assert_int_equal(pwrite(raw, &name, sizeof name, (off_t)(offsetof(struct table, names) + index * sizeof name)),
                     sizeof name);
}

static void put_dest(uint32_t index, struct table_dest d)
{
    assert_int_equal(pwrite(raw, &d, sizeof d, (off_t)(offsetof(struct table, dests) + index * sizeof d)), sizeof d);
}

static bool is_proxy; /* what the last look-up said */

static int look_up(const char *local, char host[HINTS_HOST_SIZE], uint16_t *ret_port)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(8443) };
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(8443) };
    if (inet_pton(AF_INET, local, &in.sin_addr) == 1)
        return hints_lookup(hints, (struct sockaddr *)&in, host, ret_port, &is_proxy);
    assert_int_equal(inet_pton(AF_INET6, local, &in6.sin6_addr), 1);
    return hints_lookup(hints, (struct sockaddr *)&in6, host, ret_port, &is_proxy);
}

static const char *token_text(uint32_t index)
{
    static char text[INET_ADDRSTRLEN];
    struct in_addr a = { htonl(TABLE_TOKEN + index) };
    return inet_ntop(AF_INET, &a, text, sizeof text);
}

static const struct table_dest good_dest = {
    .state = TABLE_READY,
    .name = TABLE_NO_NAME,
    .port = 443,
    .kind = TABLE_VIA_US,
    .family = 4,
    .address = { [10] = 0xff, [11] = 0xff, 192, 0, 2, 7 },
};
static const struct table_name good_name = { .state = TABLE_READY, .length = 16, .text = "api.example.test" };

static void the_file_is_made_private_and_sparse(void **state)
{
    (void)state;
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_true((uint64_t)st.st_size == sizeof(struct table));
    assert_true(st.st_blocks * 512 < 1024 * 1024);
    uint64_t seed[2] = { 0 };
    assert_int_equal(pread(raw, seed, sizeof seed, offsetof(struct table, seed)), sizeof seed);
    assert_true(seed[0] && seed[1] && seed[0] != seed[1]);
}

static void an_existing_table_is_opened_with_what_it_holds(void **state)
{
    (void)state;
    struct err e;
    char host[HINTS_HOST_SIZE];
    uint16_t port;
    put_dest(SLOT, good_dest);
    hints_close(hints);
    hints = hints_open(path, &e);
    assert_non_null(hints);
    assert_int_equal(look_up(token_text(SLOT), host, &port), 0);
}

static void a_file_that_cannot_be_ours_is_refused(void **state)
{
    (void)state;
    struct err e;
    char other[80];
    snprintf(other, sizeof other, "%s/other", dir);
    static const struct {
        const char *what;
        mode_t mode;
        const char *content;
        const char *says;
    } table[] = {
        { "open to others", 0644, "", "0600" },
        { "another layout", 0600, "sktable0 and more", "not a table" },
        { "cut short", 0600, "sktable1", "not a table" },
        { "shorter than its magic", 0600, "skt", "not a table" },
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        int fd = open(other, O_RDWR | O_CREAT | O_TRUNC, 0600);
        assert_int_equal(write(fd, table[i].content, strlen(table[i].content)), strlen(table[i].content));
        assert_int_equal(fchmod(fd, table[i].mode), 0);
        close(fd);
        print_message("%s\n", table[i].what);
        assert_null(hints_open(other, &e));
        assert_non_null(strstr(e.text, table[i].says));
        assert_non_null(strstr(e.text, other));
        unlink(other);
    }
    assert_int_equal(symlink(path, other), 0);
    assert_null(hints_open(other, &e));
    unlink(other);
    assert_int_equal(mkfifo(other, 0600), 0);
    assert_null(hints_open(other, &e));
    unlink(other);
    assert_null(hints_open("/nowhere/at/all", &e));
    assert_null(hints_open("/nowhere/at/all", NULL));
}

static void a_destination_is_found_by_its_token(void **state)
{
    (void)state;
    char host[HINTS_HOST_SIZE] = "";
    uint16_t port = 0;
    struct table_dest d = good_dest;
    put_name(NAME_SLOT, good_name);
    d.name = NAME_SLOT;
    d.port = 8443;
    put_dest(SLOT, d);
    assert_string_equal(token_text(SLOT), "127.65.17.112");
    assert_int_equal(look_up("127.65.17.112", host, &port), 0);
    assert_string_equal(host, "api.example.test");
    assert_int_equal(port, 8443);
    assert_int_equal(look_up("::ffff:127.65.17.112", host, &port), 0);
    assert_string_equal(host, "api.example.test");
}

static void an_address_without_a_name_is_given_as_text(void **state)
{
    (void)state;
    static const struct {
        struct table_dest d;
        const char *host;
    } table[] = {
        { { TABLE_READY, TABLE_NO_NAME, 443, TABLE_VIA_US, 4, { [10] = 0xff, [11] = 0xff, 192, 0, 2, 7 }, 0 },
          "192.0.2.7" },
        { { TABLE_READY, TABLE_NO_NAME, 443, TABLE_VIA_US, 6, { [10] = 0xff, [11] = 0xff, 192, 0, 2, 7 }, 0 },
          "192.0.2.7" },
        { { TABLE_READY, TABLE_NO_NAME, 443, TABLE_VIA_US, 6, { 0x20, 1, 0xd, 0xb8, [15] = 9 }, 0 }, "2001:db8::9" },
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        char host[HINTS_HOST_SIZE];
        uint16_t port;
        put_dest((uint32_t)i, table[i].d);
        assert_int_equal(look_up(token_text((uint32_t)i), host, &port), 0);
        assert_string_equal(host, table[i].host);
    }
}

static void an_address_that_is_no_token_is_not_found(void **state)
{
    (void)state;
    static const char *const locals[] = { "127.0.0.1",      "127.63.255.255",      "127.80.0.0", "127.64.0.0",
                                          "127.79.255.255", "10.64.0.1",           "192.0.2.1",  "::1",
                                          "2001:db8::1",    "::ffff:10.65.17.112", "0.0.0.0",    "255.255.255.255" };
    char host[HINTS_HOST_SIZE];
    uint16_t port;
    put_dest(SLOT, good_dest);
    for (size_t i = 0; i < sizeof locals / sizeof locals[0]; i++)
        assert_int_equal(look_up(locals[i], host, &port), -ENOENT);
    struct sockaddr local = { .sa_family = AF_UNIX };
    assert_int_equal(hints_lookup(hints, &local, host, &port, &is_proxy), -ENOENT);
}

static void a_slot_that_is_not_finished_is_not_found(void **state)
{
    (void)state;
    char host[HINTS_HOST_SIZE];
    uint16_t port;
    struct table_dest d = good_dest;
    d.state = TABLE_CLAIMED;
    put_dest(SLOT, d);
    assert_int_equal(look_up(token_text(SLOT), host, &port), -ENOENT);
    d.state = TABLE_READY;
    d.kind = TABLE_DIRECT;
    put_dest(SLOT, d);
    assert_int_equal(look_up(token_text(SLOT), host, &port), -ENOENT);
}

static void a_destination_that_lies_is_refused(void **state)
{
    (void)state;
    struct table_dest bad[7];
    for (size_t i = 0; i < 7; i++)
        bad[i] = good_dest;
    bad[0].port = 0;
    bad[1].family = 5;
    bad[2].address[10] = 0; /* an IPv4 socket with an IPv6 address */
    bad[3].name = TABLE_NAMES;
    bad[4].name = TABLE_NO_NAME - 1;
    bad[5].name = NAME_SLOT + 1; /* never written */
    bad[6].state = 0x7fffffff;
    for (size_t i = 0; i < 7; i++) {
        char host[HINTS_HOST_SIZE] = "untouched";
        uint16_t port = 7;
        put_dest(SLOT, bad[i]);
        assert_int_equal(look_up(token_text(SLOT), host, &port), -EBADMSG);
        assert_string_equal(host, "untouched");
        assert_int_equal(port, 7);
    }
}

static void a_name_that_lies_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = { "",
                                         "API.example.test",
                                         "a b",
                                         "a..b",
                                         ".a",
                                         "a.",
                                         "10.0.0.1",
                                         "1",
                                         "a/../b",
                                         "a:443",
                                         "user@host",
                                         "a\r\nb",
                                         "\xc3\xa9.test",
                                         "a%00b",
                                         "[::1]",
                                         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.test" };
    struct table_dest d = good_dest;
    char host[HINTS_HOST_SIZE];
    uint16_t port;
    d.name = NAME_SLOT;
    put_dest(SLOT, d);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct table_name name = { .state = TABLE_READY, .length = (uint8_t)strlen(texts[i]) };
        memcpy(name.text, texts[i], strlen(texts[i]));
        put_name(NAME_SLOT, name);
        assert_int_equal(look_up(token_text(SLOT), host, &port), -EBADMSG);
    }
    struct table_name name = good_name;
    name.length = 15; /* text and length disagree */
    put_name(NAME_SLOT, name);
    assert_int_equal(look_up(token_text(SLOT), host, &port), -EBADMSG);
    name = good_name;
    name.state = TABLE_CLAIMED;
    put_name(NAME_SLOT, name);
    assert_int_equal(look_up(token_text(SLOT), host, &port), -EBADMSG);
}

static void a_name_without_its_nul_is_refused(void **state)
{
    (void)state;
    struct table_name name = { .state = TABLE_READY, .length = 254 };
    struct table_dest d = good_dest;
    char host[HINTS_HOST_SIZE];
    uint16_t port;
    for (size_t i = 0; i < sizeof name.text; i++)
        name.text[i] = i % 60 == 59 ? '.' : 'a';
    put_name(NAME_SLOT, name);
    d.name = NAME_SLOT;
    put_dest(SLOT, d);
    assert_int_equal(look_up(token_text(SLOT), host, &port), -EBADMSG);
}

static void the_longest_name_is_found(void **state)
{
    (void)state;
    struct table_name name = { .state = TABLE_READY, .length = 253 };
    struct table_dest d = good_dest;
    char host[HINTS_HOST_SIZE];
    uint16_t port;
    for (size_t i = 0; i < 253; i++)
        name.text[i] = i % 60 == 59 ? '.' : 'a';
    put_name(NAME_SLOT, name);
    d.name = NAME_SLOT;
    put_dest(SLOT, d);
    assert_int_equal(look_up(token_text(SLOT), host, &port), 0);
    assert_int_equal(strlen(host), 253);
}

static void a_file_cut_short_by_a_program_does_not_kill_the_worker(void **state)
{
    (void)state;
    char host[HINTS_HOST_SIZE];
    uint16_t port;
    put_dest(SLOT, good_dest);
    assert_int_equal(ftruncate(raw, 4096), 0);
    assert_int_equal(look_up(token_text(SLOT), host, &port), -EBADMSG);
}

static const char *text_of(const uint8_t address[16], bool v6)
{
    static char text[INET6_ADDRSTRLEN];
    return inet_ntop(v6 ? AF_INET6 : AF_INET, address, text, sizeof text);
}

static int place_of(const char *local, char host[HINTS_HOST_SIZE], uint16_t *ret_port)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(8443) };
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(8443) };
    if (inet_pton(AF_INET, local, &in.sin_addr) == 1)
        return hints_place(hints, (struct sockaddr *)&in, host, ret_port);
    assert_int_equal(inet_pton(AF_INET6, local, &in6.sin6_addr), 1);
    return hints_place(hints, (struct sockaddr *)&in6, host, ret_port);
}

static void a_name_that_we_gave_an_address_is_found_by_it_in_both_families(void **state)
{
    (void)state;
    char host[HINTS_HOST_SIZE], again[INET_ADDRSTRLEN], mapped[INET6_ADDRSTRLEN];
    uint8_t address[16];
    uint16_t port = 0;
    assert_int_equal(hints_address_of(hints, "api.example.test", false, address), 0);
    snprintf(again, sizeof again, "%s", text_of(address, false));
    assert_int_equal(strncmp(again, "198.1", 5), 0);
    assert_int_equal(place_of(again, host, &port), 0);
    assert_string_equal(host, "api.example.test");
    assert_int_equal(port, 8443);
    snprintf(mapped, sizeof mapped, "::ffff:%s", again);
    assert_int_equal(place_of(mapped, host, &port), 0);
    assert_string_equal(host, "api.example.test");
    assert_int_equal(hints_address_of(hints, "api.example.test", true, address), 0);
    assert_int_equal(place_of(text_of(address, true), host, &port), 0);
    assert_string_equal(host, "api.example.test");
    assert_int_equal(hints_address_of(hints, "api.example.test", false, address), 0);
    assert_string_equal(text_of(address, false), again); /* one name, one address */
}

static void many_names_have_addresses_of_their_own_that_no_network_has(void **state)
{
    (void)state;
    char name[32], host[HINTS_HOST_SIZE];
    uint8_t address[16];
    uint16_t port;
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "n%d.example", i);
        assert_int_equal(hints_address_of(hints, name, false, address), 0);
        assert_true(address[3] != 0 && address[3] != 255);
        assert_int_equal(place_of(text_of(address, false), host, &port), 0);
        assert_string_equal(host, name);
    }
}

static void an_address_that_we_gave_nobody_is_refused_and_any_other_is_itself(void **state)
{
    (void)state;
    char host[HINTS_HOST_SIZE];
    uint16_t port;
    uint8_t address[16];
    assert_int_equal(place_of("198.18.0.9", host, &port), -EBADMSG);
    assert_int_equal(place_of("fd73:6964:656b:6579::9", host, &port), -EBADMSG);
    static const char *const as_they_are[] = { "192.0.2.7", "198.20.0.1", "2001:db8::7", "127.64.0.1" };
    for (size_t i = 0; i < sizeof as_they_are / sizeof *as_they_are; i++) {
        assert_int_equal(place_of(as_they_are[i], host, &port), 0);
        assert_string_equal(host, as_they_are[i]);
    }
    assert_int_equal(place_of("::ffff:192.0.2.7", host, &port), 0);
    assert_string_equal(host, "192.0.2.7");
    static const char *const no_names[] = { "", ".", "a..b", "UPPER", "what?", "192.0.2.7" };
    for (size_t i = 0; i < sizeof no_names / sizeof *no_names; i++)
        assert_int_equal(hints_address_of(hints, no_names[i], false, address), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(fn) cmocka_unit_test_setup_teardown(fn, open_table, close_table)
        T(the_file_is_made_private_and_sparse),
        T(an_existing_table_is_opened_with_what_it_holds),
        T(a_file_that_cannot_be_ours_is_refused),
        T(a_destination_is_found_by_its_token),
        T(an_address_without_a_name_is_given_as_text),
        T(an_address_that_is_no_token_is_not_found),
        T(a_slot_that_is_not_finished_is_not_found),
        T(a_destination_that_lies_is_refused),
        T(a_name_that_lies_is_refused),
        T(a_name_without_its_nul_is_refused),
        T(the_longest_name_is_found),
        T(a_file_cut_short_by_a_program_does_not_kill_the_worker),
        T(a_name_that_we_gave_an_address_is_found_by_it_in_both_families),
        T(many_names_have_addresses_of_their_own_that_no_network_has),
        T(an_address_that_we_gave_nobody_is_refused_and_any_other_is_itself),
    };
    if (!mkdtemp(dir))
        return 1;
    snprintf(path, sizeof path, "%s/table", dir);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(dir);
    return rc;
}
