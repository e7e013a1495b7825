/* The preload library's pure half: its policy, and the table that all processes of a run share.   The sources are taken
 * in whole, so that they run under the sanitizers too; the library itself is never built with them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "preload/decide.c"
#include "preload/shared.c"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static struct policy policy_of(const char *ports, const char *bypass)
{
    struct policy p = { .port_count = 0 };
    decide_set_ports(&p, ports);
    decide_set_bypass(&p, bypass);
    return p;
}

static struct target target_of(const char *text, uint16_t port)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
    struct target t = { .family = 0 };
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1) {
        assert_true(decide_target((struct sockaddr *)&in, sizeof in, &t));
    } else {
        assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
        assert_true(decide_target((struct sockaddr *)&in6, sizeof in6, &t));
    }
    return t;
}

static void ports_are_read_from_a_list(void **state)
{
    (void)state;
    static const struct {
        const char *list;
        uint16_t yes, no;
    } table[] = {
        { NULL, 443, 8443 },          { "", 80, 81 },         { "80,443", 443, 8080 },
        { " 8443 , 80 ", 8443, 443 }, { "443x,80", 80, 443 }, { "65536,65535", 65535, 0 },
        { ",,443,", 443, 80 },        { "0,1", 1, 0 },        { "-1,22", 22, 1 },
    };
    for (size_t i = 0; i < COUNT(table); i++) {
        struct policy p = policy_of(table[i].list, NULL);
        assert_true(decide_port(&p, table[i].yes));
        assert_false(decide_port(&p, table[i].no));
    }
    struct policy none = policy_of("none", NULL);
    assert_int_equal(none.port_count, 0);
}

static void a_list_of_more_ports_than_fit_does_no_harm(void **state)
{
    (void)state;
    char list[4096] = "";
    for (int i = 1; i <= 200; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%d,", i);
    struct policy p = policy_of(list, NULL);
    assert_int_equal(p.port_count, POLICY_PORTS_MAX);
}

static void a_service_outside_the_policy_needs_the_true_address(void **state)
{
    (void)state;
    static const struct {
        const char *service;
        bool ours;
    } table[] = { { NULL, true },    { "", true },     { "0", true },     { "443", true },
                  { "https", true }, { "http", true }, { "5432", false }, { "smtp", false },
                  { "4430", false }, { "x", false },   { "99999", false } };
    struct policy p = policy_of(NULL, NULL), only443 = policy_of("443", NULL);
    for (size_t i = 0; i < COUNT(table); i++)
        assert_int_equal(decide_service(&p, table[i].service), table[i].ours);
    assert_false(decide_service(&only443, "http"));
}

static void names_are_sorted_into_ours_direct_and_as_is(void **state)
{
    (void)state;
    static const struct {
        const char *node;
        enum name_class c;
        const char *name;
    } table[] = {
        { "api.example.test", NAME_OURS, "api.example.test" },
        { "API.Example.TEST.", NAME_OURS, "api.example.test" },
        { "db", NAME_OURS, "db" },
        { "a_b-c.test", NAME_OURS, "a_b-c.test" },
        { "1.2.3.example", NAME_OURS, "1.2.3.example" },
        { "localhost", NAME_DIRECT, "localhost" },
        { "LOCALHOST.", NAME_DIRECT, "localhost" },
        { "a.localhost", NAME_DIRECT, "a.localhost" },
        { "notlocalhost", NAME_OURS, "notlocalhost" },
        { "localhost.test", NAME_OURS, "localhost.test" },
        { "localhost.localdomain", NAME_DIRECT, "localhost.localdomain" },
        { "ip6-localhost", NAME_DIRECT, "ip6-localhost" },
        { "direct.test", NAME_DIRECT, "direct.test" },
        { "Direct.TEST", NAME_DIRECT, "direct.test" },
        { "xdirect.test", NAME_OURS, "xdirect.test" },
        { "a.below.test", NAME_DIRECT, "a.below.test" },
        { "a.b.below.test", NAME_DIRECT, "a.b.below.test" },
        { "below.test", NAME_OURS, "below.test" },
        { "a.star.test", NAME_DIRECT, "a.star.test" },
        { NULL, NAME_AS_IS, "" },
        { "", NAME_AS_IS, "" },
        { ".", NAME_AS_IS, "" },
        { "a..b", NAME_AS_IS, "" },
        { ".a", NAME_AS_IS, "" },
        { "192.0.2.1", NAME_AS_IS, "" },
        { "127.1", NAME_AS_IS, "" },
        { "2130706433", NAME_AS_IS, "" },
        { "0x7f000001", NAME_AS_IS, "" },
        { "0X7F.1", NAME_AS_IS, "" },
        { "::1", NAME_AS_IS, "" },
        { "fe80::1%eth0", NAME_AS_IS, "" },
        { "a b", NAME_AS_IS, "" },
        { "b\xc3\xbc"
          "cher.test",
          NAME_AS_IS, "" },
        { "a/b", NAME_AS_IS, "" },
        { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.test", NAME_AS_IS, "" },
    };
    struct policy p = policy_of(NULL, " direct.test, .below.test,*.star.test ");
    for (size_t i = 0; i < COUNT(table); i++) {
        char name[TABLE_TEXT] = "";
        assert_int_equal(decide_name(&p, table[i].node, name), table[i].c);
        assert_string_equal(name, table[i].name);
    }
}

static void a_name_may_have_253_bytes_and_a_dot(void **state)
{
    (void)state;
    struct policy p = policy_of(NULL, NULL);
    char node[300], name[TABLE_TEXT];
    for (size_t i = 0; i < 299; i++)
        node[i] = i % 60 == 59 ? '.' : 'a';
    node[253] = '.';
    node[254] = '\0';
    assert_int_equal(decide_name(&p, node, name), NAME_OURS);
    assert_int_equal(strlen(name), 253);
    node[253] = 'a';
    assert_int_equal(decide_name(&p, node, name), NAME_AS_IS);
}

static void a_bypass_list_that_is_too_long_is_cut_between_names(void **state)
{
    (void)state;
    static char list[2 * POLICY_BYPASS_MAX];
    for (int i = 0; strlen(list) < sizeof list - 40; i++)
        snprintf(list + strlen(list), 40, "name-%05d.example.test,", i);
    struct policy p = policy_of(NULL, list);
    assert_true(strlen(p.bypass) < POLICY_BYPASS_MAX);
    assert_true(decide_bypassed(&p, "name-00000.example.test"));
    assert_false(decide_bypassed(&p, "name-00300.example.test"));
    const char *last = strrchr(p.bypass, ',');
    assert_int_equal(strlen(last + 1), strlen("name-00000.example.test"));
}

static void a_literal_address_may_be_bypassed(void **state)
{
    (void)state;
    struct policy p = policy_of(NULL, "192.0.2.1,2001:db8:0:0:0:0:0:1");
    static const struct {
        const char *address, *text;
        bool bypassed;
    } table[] = {
        { "192.0.2.1", "192.0.2.1", true },        { "192.0.2.10", "192.0.2.10", false },
        { "::ffff:192.0.2.1", "192.0.2.1", true }, { "2001:db8::1", "2001:db8:0:0:0:0:0:1", true },
        { "255.10.0.255", "255.10.0.255", false }, { "fd00:1:20:300:4000::", "fd00:1:20:300:4000:0:0:0", false }
    };
    for (size_t i = 0; i < COUNT(table); i++) {
        char text[48];
        struct target t = target_of(table[i].address, 443);
        decide_text(&t, text);
        assert_string_equal(text, table[i].text);
        assert_int_equal(decide_bypassed(&p, text), table[i].bypassed);
    }
}

static void local_addresses_are_left_alone(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool local;
    } table[] = {
        { "127.0.0.1", true },
        { "127.64.0.1", true },
        { "0.0.0.0", true },
        { "224.0.0.1", true },
        { "255.255.255.255", true },
        { "::1", true },
        { "::", true },
        { "::ffff:127.0.0.1", true },
        { "ff02::1", true },
        { "::ffff:0.0.0.0", true },
        { "192.0.2.1", false },
        { "::ffff:192.0.2.1", false },
        { "2001:db8::1", false },
        { "10.0.0.1", false },
        { "198.18.0.1", false },
        { "128.0.0.1", false },
        { "fd73:6964:656b:6579::1", false },
    };
    for (size_t i = 0; i < COUNT(table); i++) {
        struct target t = target_of(table[i].text, 443);
        assert_int_equal(decide_local(&t), table[i].local);
    }
}

static void a_socket_address_is_taken_apart_only_when_whole(void **state)
{
    (void)state;
    struct sockaddr_storage sa = { .ss_family = AF_INET };
    struct target t;
    assert_false(decide_target(NULL, 16, &t));
    assert_false(decide_target((struct sockaddr *)&sa, 0, &t));
    assert_false(decide_target((struct sockaddr *)&sa, 15, &t));
    assert_true(decide_target((struct sockaddr *)&sa, 16, &t));
    sa.ss_family = AF_INET6;
    assert_false(decide_target((struct sockaddr *)&sa, 23, &t));
    assert_true(decide_target((struct sockaddr *)&sa, 24, &t)); /* RFC 2133 programs */
    sa.ss_family = AF_UNIX;
    assert_false(decide_target((struct sockaddr *)&sa, sizeof sa, &t));
    sa.ss_family = AF_UNSPEC;
    assert_false(decide_target((struct sockaddr *)&sa, sizeof sa, &t));
}

static void the_hosts_file_names_this_machine(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        bool loopback;
    } table[] = {
        { "127.0.0.1 localhost box", true },
        { "127.0.1.1\tBOX.example box", true },
        { "::1 box", true },
        { "  127.0.0.1   a  box  ", true },
        { "10.0.0.1 box", false },
        { "127.0.0.1 boxer", false },
        { "# 127.0.0.1 box", false },
        { "127.0.0.1 a # box", false },
        { "", false },
        { "box", false },
        { "127.0.0.1", false },
        { "::11 box", false },
        { "127.0.0.1 box\r", true },
        { "10.0.0.1 me.example me box", true },
        { "10.0.0.1 box me # x", true },
        { "10.0.0.1 box # me", false },
        { "me box", false },
    };
    for (size_t i = 0; i < COUNT(table); i++)
        assert_int_equal(decide_hosts_line(table[i].line, strlen(table[i].line), "box", "me"), table[i].loopback);
}

static void a_copy_of_the_public_roots_is_known_by_its_certificates(void **state)
{
    static const struct {
        const char *path;
        bool may;
    } names[] = { { "/x/stripe/data/ca-certificates.crt", true },
                  { "/x/roots.pem", true },
                  { "/etc/corp/all.pem", false },
                  { "/x/roots.txt", false },
                  { "x/roots.pem", false },
                  { "/x.pem", false },
                  { NULL, false } };
    static const char one[] = "# a root\n-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    static const char old[] = "-----BEGIN TRUSTED CERTIFICATE-----\nMIIB\n-----END TRUSTED CERTIFICATE-----\n";
    static const char key[] = "-----BEGIN EC PRIVATE KEY-----\nMIIB\n-----END EC PRIVATE KEY-----\n";
    static char file[64 * 1024];
    size_t size = 0;
    (void)state;
    for (size_t i = 0; i < COUNT(names); i++)
        assert_int_equal(decide_may_be_roots(names[i].path), names[i].may);
    for (int i = 0; i < 100; i++)
        size += (size_t)sprintf(file + size, "%s", i % 3 ? one : old);
    /* Whatever the size of the parts that are read, each certificate counts once. */
    for (size_t part = DECIDE_ROOTS_OVERLAP + 1; part < 400; part += 7) {
        unsigned count = 0;
        for (size_t at = 0; at + DECIDE_ROOTS_OVERLAP < size;) {
            size_t n = size - at < part ? size - at : part;
            assert_true(decide_count_roots(file + at, n, &count));
            at += n - DECIDE_ROOTS_OVERLAP;
        }
        assert_int_equal(count, 100);
    }
    unsigned count = 0;
    memcpy(file + size, key, sizeof key);
    assert_false(decide_count_roots(file, size + sizeof key, &count));
    assert_true(decide_count_roots("", 0, &count));
    assert_true(decide_count_roots("-----BEGIN CERTIFI", 18, &count));
}

static void only_bundles_and_only_reading_are_redirected(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        bool bundle;
    } table[] = {
        { "/etc/ssl/certs/ca-certificates.crt", true },
        { "/usr/lib/ssl/cert.pem", true },
        { "/etc/ssl/cert.pem", true },
        { "/etc/pki/tls/certs/ca-bundle.crt", true },
        { "/etc/ssl/ca-bundle.pem", true },
        { "/venv/lib/python3/site-packages/certifi/cacert.pem", true },
        { "/venv/lib/python3/site-packages/pip/_vendor/certifi/cacert.pem", true },
        { "/x/botocore/cacert.pem", true },
        { "/opt/conda/ssl/cacert.pem", true },
        { "/etc/ssl/certs/ISRG_Root_X1.pem", false },
        { "/etc/ssl/certs/ca-certificates.crt.bak", false },
        { "etc/ssl/cert.pem", false },
        { "certifi/cacert.pem", false },
        { "/cert.pem", false },
        { "/home/me/cert.pem", false },
        { "/home/me/mycertifi/cacert.pem", false },
        { "", false },
        { NULL, false },
        { "/a.pem", false },
    };
    for (size_t i = 0; i < COUNT(table); i++)
        assert_int_equal(decide_bundle(table[i].path) == BUNDLE_PEM, table[i].bundle);
    assert_int_equal(decide_bundle("/usr/lib/jvm/java-17-openjdk-amd64/lib/security/cacerts"), BUNDLE_JKS);
    assert_int_equal(decide_bundle("/etc/ssl/certs/java/cacerts"), BUNDLE_JKS);
    assert_int_equal(decide_bundle("/opt/app/cacerts"), BUNDLE_NONE);
    assert_true(decide_read_only(O_RDONLY | O_CLOEXEC));
    static const int writing[] = { O_WRONLY,           O_RDWR, O_RDONLY | O_CREAT,
                                   O_RDONLY | O_TRUNC, O_PATH, O_RDONLY | O_DIRECTORY };
    for (size_t i = 0; i < COUNT(writing); i++)
        assert_false(decide_read_only(writing[i]));
    assert_true(decide_read_mode("r") && decide_read_mode("rb") && decide_read_mode("rce"));
    assert_false(decide_read_mode("r+") || decide_read_mode("rb+") || decide_read_mode("w") || decide_read_mode("a")
                 || decide_read_mode(NULL));
}

/* --- the table --- */

static char path[] = "/tmp/test_preload.XXXXXX";
static struct table *table;

static int map(void **state)
{
    (void)state;
    const uint64_t magic = TABLE_MAGIC;
    strcpy(path + strlen(path) - 6, "XXXXXX");
    int fd = mkstemp(path);
    if (fd < 0 || ftruncate(fd, sizeof(struct table)) != 0 || pwrite(fd, &magic, sizeof magic, 0) != sizeof magic)
        return -1;
    close(fd);
    return (table = shared_map(path)) ? 0 : -1;
}

static int unmap(void **state)
{
    (void)state;
    munmap(table, sizeof *table);
    return unlink(path);
}

/* No other user can compute the address of a token from the name of its host. */
static void where_things_stand_depends_on_the_seed_of_the_table(void **state)
{
    (void)state;
    struct target to = { .family = 4, .port = 443, .address = { [10] = 0xff, [11] = 0xff, 192, 0, 2, 7 } };
    uint32_t first[3], second[3];
    for (unsigned seed = 0; seed < 3; seed++) {
        table->seed[0] = seed & 1;
        table->seed[1] = seed >> 1;
        assert_true(shared_name_put(table, "api.example.test", &first[seed]));
        assert_true(shared_dest_put(table, &to, TABLE_NO_NAME, TABLE_VIA_US, &second[seed]));
    }
    assert_true(first[0] != first[1] && first[0] != first[2] && first[1] != first[2]);
    assert_true(second[0] != second[1] && second[0] != second[2] && second[1] != second[2]);
}

static void a_table_of_another_layout_is_not_mapped(void **state)
{
    (void)state;
    int fd = open(path, O_RDWR);
    assert_int_equal(pwrite(fd, "x", 1, 0), 1);
    assert_null(shared_map(path));
    assert_int_equal(ftruncate(fd, 100), 0);
    assert_null(shared_map(path));
    close(fd);
    assert_null(shared_map("/nowhere/at/all"));
    assert_null(shared_map("/dev/null"));
}

static void a_name_has_one_index_and_the_index_the_name(void **state)
{
    (void)state;
    uint32_t a, b, again;
    assert_true(shared_name_put(table, "a.test", &a));
    assert_true(shared_name_put(table, "b.test", &b));
    assert_true(shared_name_put(table, "a.test", &again));
    assert_int_equal(a, again);
    assert_int_not_equal(a, b);
    assert_string_equal(shared_name_get(table, a), "a.test");
    assert_string_equal(shared_name_get(table, b), "b.test");
    assert_null(shared_name_get(table, TABLE_NAMES));
    assert_null(shared_name_get(table, TABLE_NO_NAME));
}

static void a_slot_that_someone_died_in_is_passed_by(void **state)
{
    (void)state;
    uint32_t before, after;
    assert_true(shared_name_put(table, "a.test", &before));
    table->names[before].state = TABLE_CLAIMED;
    assert_null(shared_name_get(table, before));
    assert_true(shared_name_put(table, "a.test", &after));
    assert_int_not_equal(before, after);
    assert_string_equal(shared_name_get(table, after), "a.test");
}

static void fake_addresses_lead_back_to_their_index(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool fake;
        uint32_t index;
    } cases[] = {
        { "198.18.0.1", true, 1 },
        { "198.19.255.254", true, 131070 },
        { "::ffff:198.18.1.0", true, 256 },
        { "198.20.0.0", false, 0 },
        { "198.17.255.255", false, 0 },
        { "fd73:6964:656b:6579::1:2", true, 65538 },
        { "10.0.0.1", false, 0 },
        { "fd73:6964:656b:6579::2:0", false, 0 },
        { "fd73:6964:656b:6578::1", false, 0 },
        { "::1", false, 0 },
        { "fd73:6964:656b:6579:0:1:0:1", false, 0 },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct target t = target_of(cases[i].text, 1);
        uint32_t index = 0;
        assert_int_equal(shared_fake_index(t.address, &index), cases[i].fake);
        assert_int_equal(index, cases[i].index);
    }
}

static void a_full_table_of_names_says_so(void **state)
{
    (void)state;
    uint32_t index;
    for (uint32_t i = 0; i < TABLE_NAMES; i++) /* all but one are taken by others */
        table->names[i].state = i == 777 ? TABLE_EMPTY : TABLE_CLAIMED;
    assert_true(shared_name_put(table, "a.test", &index));
    assert_int_equal(index, 777);
    assert_true(shared_name_put(table, "a.test", &index));
    assert_false(shared_name_put(table, "b.test", &index));
}

static void a_destination_has_one_token(void **state)
{
    (void)state;
    struct target a = target_of("198.18.0.1", 443), b = target_of("198.18.0.1", 80),
                  c = target_of("::ffff:198.18.0.1", 443), back;
    uint32_t at[4], again;
    assert_true(shared_dest_put(table, &a, 1, TABLE_VIA_US, &at[0]));
    assert_true(shared_dest_put(table, &b, 1, TABLE_VIA_US, &at[1]));
    assert_true(shared_dest_put(table, &c, 1, TABLE_VIA_US, &at[2]));
    assert_true(shared_dest_put(table, &a, TABLE_NO_NAME, TABLE_VIA_US, &at[3]));
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < i; j++)
            assert_int_not_equal(at[i], at[j]);
    assert_true(shared_dest_put(table, &a, 1, TABLE_VIA_US, &again));
    assert_int_equal(again, at[0]);
    assert_true(shared_dest_get(table, at[2], &back));
    assert_int_equal(back.family, 6);
    assert_int_equal(back.port, 443);
    assert_memory_equal(back.address, c.address, 16);
    assert_false(shared_dest_get(table, (at[0] + 12345) % TABLE_DESTS, &back));
}

static void a_full_table_of_destinations_says_so(void **state)
{
    (void)state;
    struct target a = target_of("192.0.2.1", 443);
    uint32_t index;
    for (uint32_t i = 0; i < TABLE_DESTS; i++)
        table->dests[i].state = TABLE_CLAIMED;
    assert_false(shared_dest_put(table, &a, TABLE_NO_NAME, TABLE_VIA_US, &index));
    shared_direct_put(table, a.address);
    assert_false(shared_direct(table, a.address));
}

static void an_address_marked_direct_is_no_token(void **state)
{
    (void)state;
    struct target a = target_of("192.0.2.1", 443), b = target_of("192.0.2.2", 443), back;
    assert_false(shared_direct(table, a.address));
    shared_direct_put(table, a.address);
    assert_true(shared_direct(table, a.address));
    assert_false(shared_direct(table, b.address));
    for (uint32_t i = 0; i < TABLE_DESTS; i++)
        assert_false(shared_dest_get(table, i, &back));
}

static void *intern_many(void *failed)
{
    for (unsigned i = 0; i < 2000; i++) {
        char name[32];
        uint32_t index, dest;
        snprintf(name, sizeof name, "host-%u.test", i);
        struct target t = { .family = 4,
                            .port = 443,
                            .address = { [10] = 0xff, 0xff, 10, 0, (uint8_t)(i >> 8), (uint8_t)i } };
        if (!shared_name_put(table, name, &index) || strcmp(shared_name_get(table, index), name) != 0
            || !shared_dest_put(table, &t, index, TABLE_VIA_US, &dest))
            return failed;
    }
    return NULL;
}

static void threads_and_processes_insert_at_once(void **state)
{
    (void)state;
    pthread_t threads[8];
    pid_t child = fork();
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, intern_many, threads), 0);
    bool failed = false;
    for (int i = 0; i < 8; i++) {
        void *result;
        pthread_join(threads[i], &result);
        failed |= result != NULL;
    }
    if (child == 0)
        _exit(failed);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_false(failed);
    uint32_t ready = 0, claimed = 0;
    for (uint32_t i = 0; i < TABLE_NAMES; i++) {
        ready += table->names[i].state == TABLE_READY;
        claimed += table->names[i].state == TABLE_CLAIMED;
    }
    assert_int_equal(claimed, 0);
    assert_in_range(ready, 2000, 2000 * 16); /* more than one slot only where some met in the same instant */
}

static void only_names_on_the_list_go_through_us_when_there_is_one(void **state)
{
    static const struct {
        const char *list, *name;
        enum name_class want;
    } rows[] = {
        { "", "a.test", NAME_OURS },
        { "a.test", "a.test", NAME_OURS },
        { "a.test", "A.TEST.", NAME_OURS },
        { "a.test", "b.test", NAME_DIRECT },
        { "a.test", "x.a.test", NAME_DIRECT },
        { "b.test,*.a.test", "x.a.test", NAME_OURS },
        { "*.a.test", "a.test", NAME_DIRECT },
        { "localhost", "localhost", NAME_DIRECT },
        { "127.0.0.1", "127.0.0.1", NAME_AS_IS },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        static struct policy p;
        char name[TABLE_TEXT];
        decide_set_names(&p, rows[i].list);
        if (decide_name(&p, rows[i].name, name) != rows[i].want)
            fail_msg("%s with names %s", rows[i].name, rows[i].list);
    }
    static char too_long[POLICY_NAMES_MAX + 1];
    static struct policy p;
    char name[TABLE_TEXT];
    memset(too_long, 'a', POLICY_NAMES_MAX);
    decide_set_names(&p, too_long);
    assert_int_equal(decide_name(&p, "b.test", name), NAME_OURS);
}

static void what_another_proxy_is_asked_for_is_read_from_the_first_bytes(void **state)
{
#define TEXT(text) text, sizeof text - 1
    static const struct {
        const char *bytes;
        size_t size;
        enum ask want;
    } rows[] = {
        { TEXT("CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n"), ASK_OURS },
        { TEXT("CONNECT API.test.:443 HTTP/1.0\r\n\r\n"), ASK_OURS },
        { TEXT("CONNECT api.test HTTP/1.0\r\n\r\n"), ASK_OURS },
        { TEXT("CONNECT api.test:8443 HTTP/1.1\r\n\r\n"), ASK_OURS },
        { TEXT("CONNECT api.test:22 HTTP/1.1\r\n\r\n"), ASK_NOTHING },
        { TEXT("CONNECT api.test:99999 HTTP/1.1\r\n\r\n"), ASK_NOTHING },
        { TEXT("CONNECT other.test:443 HTTP/1.1\r\n\r\n"), ASK_NOTHING },
        { TEXT("CONNECT proxy.test:8443 HTTP/1.1\r\n\r\n"), ASK_NOTHING },
        { TEXT("GET https://api.test/v2 HTTP/1.1\r\n\r\n"), ASK_OURS },
        { TEXT("DELETE https://api.test:8443/ HTTP/1.1\r\n\r\n"), ASK_OURS },
        { TEXT("GET http://api.test/ HTTP/1.1\r\n\r\n"), ASK_NOTHING },
        { TEXT("GET /https://api.test/ HTTP/1.1\r\n\r\n"), ASK_NOTHING },
        { TEXT("CONNECT "), ASK_NOTHING },
        { TEXT("CONNECT api.test"), ASK_OURS },
        { TEXT("\5\1\0"), ASK_LATER },
        { TEXT("\5\2\0\2"), ASK_LATER },
        { TEXT("\1\4user\4pass"), ASK_LATER },
        { TEXT("\5\1\0\3\10api.test\1\273"), ASK_OURS },
        { TEXT("\5\1\0\3\10api.test\0\26"), ASK_NOTHING },
        { TEXT("\5\1\0\3\11api.test\1\273"), ASK_NOTHING },
        { TEXT("\5\1\0\1\1\2\3\4\1\273"), ASK_NOTHING },
        { TEXT("\x16\3\1\2\0\1"), ASK_NOTHING },
        { TEXT("\1"), ASK_NOTHING },
    };
    static struct policy p;
    char name[TABLE_TEXT];
    (void)state;
    decide_set_ports(&p, "443,8443");
    decide_set_names(&p, "api.test");
    decide_set_proxies(&p, "proxy.test:8443");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *exact = memcpy(malloc(rows[i].size), rows[i].bytes, rows[i].size); /* a sanitizer sees a byte too far */
        enum ask got = decide_ask(&p, exact, rows[i].size, name);
        free(exact);
        if (got != rows[i].want)
            fail_msg("row %zu, %s: %d", i, rows[i].bytes, got);
    }
}

/* A ClientHello as OpenSSL sends it, with one extension before the name. */
static size_t make_hello(char *at, const char *host)
{
    size_t n = strlen(host), names = n + 3, extensions = 4 + 2 + 4 + 2 + names,
           hello = 2 + 32 + 1 + 4 + 2 + 2 + extensions;
    char *start = at;
    memcpy(at, "\x16\3\1", 3), at += 3;
    *at++ = (char)((hello + 4) >> 8), *at++ = (char)(hello + 4);
    *at++ = 1, *at++ = 0, *at++ = (char)(hello >> 8), *at++ = (char)hello;
    memset(at, 3, 2 + 32), at += 2 + 32;
    memcpy(at, "\0\0\2\x13\1\1\0", 7), at += 7;
    *at++ = (char)(extensions >> 8), *at++ = (char)extensions;
    memcpy(at, "\0\x2b\0\2\3\4", 6), at += 6;
    memcpy(at, "\0\0\0", 3), at += 3;
    *at++ = (char)(names + 2), *at++ = 0, *at++ = (char)names;
    *at++ = 0, *at++ = 0, *at++ = (char)n;
    memcpy(at, host, n);
    return (size_t)(at + n - start);
}

static void the_name_in_a_client_hello_is_found_and_nothing_is_read_beyond_it(void **state)
{
    static struct policy p, every;
    char hello[256], name[TABLE_TEXT];
    (void)state;
    decide_set_ports(&p, "443");
    decide_set_names(&p, "api.test,*.b.test");
    size_t size = make_hello(hello, "API.test");
    for (size_t n = 0; n <= size; n++) {
        char *exact = memcpy(malloc(n + 1), hello, n); /* a sanitizer sees a byte too far */
        exact = realloc(exact, n ? n : 1);
        bool found = decide_hello(&p, exact, n, name);
        free(exact);
        assert_int_equal(found, n == size);
    }
    assert_string_equal(name, "api.test");
    assert_true(decide_hello(&p, hello, make_hello(hello, "x.b.test"), name));
    assert_false(decide_hello(&p, hello, make_hello(hello, "other.test"), name));
    assert_false(decide_hello(&p, hello, make_hello(hello, ""), name));
    assert_false(decide_hello(&every, hello, make_hello(hello, "api.test"), name)); /* then no name is direct */
    memset(hello, 0xff, sizeof hello);
    memcpy(hello, "\x16\3\1\xff\xff\1", 6);
    assert_false(decide_hello(&p, hello, sizeof hello, name));
}

static void another_proxy_is_known_by_name_or_address_and_port(void **state)
{
    static struct policy p;
    char name[TABLE_TEXT], list[POLICY_PROXIES_MAX + 100];
    (void)state;
    decide_set_ports(&p, "443");
    decide_set_names(&p, "api.test");
    decide_set_proxies(&p, "proxy.test:3128, 10.1.2.3:8080,broken");
    assert_true(decide_proxy(&p, "proxy.test", 3128) && decide_proxy(&p, "PROXY.test", 0));
    assert_true(decide_proxy(&p, "10.1.2.3", 8080));
    assert_false(decide_proxy(&p, "proxy.test", 80) || decide_proxy(&p, "10.1.2.3", 80)
                 || decide_proxy(&p, "broken", 0));
    assert_int_equal(decide_name(&p, "proxy.test", name), NAME_OURS);
    assert_int_equal(decide_name(&p, "other.test", name), NAME_DIRECT);
    memset(list, 'a', sizeof list - 1);
    memcpy(list, "proxy.test:3128,", 16);
    list[sizeof list - 1] = '\0';
    decide_set_proxies(&p, list);
    assert_string_equal(p.proxies, "proxy.test:3128");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ports_are_read_from_a_list),
        cmocka_unit_test(a_list_of_more_ports_than_fit_does_no_harm),
        cmocka_unit_test(a_service_outside_the_policy_needs_the_true_address),
        cmocka_unit_test(names_are_sorted_into_ours_direct_and_as_is),
        cmocka_unit_test(a_name_may_have_253_bytes_and_a_dot),
        cmocka_unit_test(a_bypass_list_that_is_too_long_is_cut_between_names),
        cmocka_unit_test(only_names_on_the_list_go_through_us_when_there_is_one),
        cmocka_unit_test(what_another_proxy_is_asked_for_is_read_from_the_first_bytes),
        cmocka_unit_test(the_name_in_a_client_hello_is_found_and_nothing_is_read_beyond_it),
        cmocka_unit_test(another_proxy_is_known_by_name_or_address_and_port),
        cmocka_unit_test(a_literal_address_may_be_bypassed),
        cmocka_unit_test(local_addresses_are_left_alone),
        cmocka_unit_test(a_socket_address_is_taken_apart_only_when_whole),
        cmocka_unit_test(the_hosts_file_names_this_machine),
        cmocka_unit_test(only_bundles_and_only_reading_are_redirected),
        cmocka_unit_test(a_copy_of_the_public_roots_is_known_by_its_certificates),
#define T(fn) cmocka_unit_test_setup_teardown(fn, map, unmap)
        T(where_things_stand_depends_on_the_seed_of_the_table),
        T(a_table_of_another_layout_is_not_mapped),
        T(a_name_has_one_index_and_the_index_the_name),
        T(a_slot_that_someone_died_in_is_passed_by),
        T(fake_addresses_lead_back_to_their_index),
        T(a_full_table_of_names_says_so),
        T(a_destination_has_one_token),
        T(a_full_table_of_destinations_says_so),
        T(an_address_marked_direct_is_no_token),
        T(threads_and_processes_insert_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
