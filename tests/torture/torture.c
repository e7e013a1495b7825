#include "tests/torture/torture.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"

static struct {
    const char *name;
    unsigned long at, seen; /* which one fails; how many there were */
    bool all, on, struck, running;
    long live; /* allocations that were not given back */
} t;

/* ---- the hooks ---- */

/* For a breakpoint. */
static void __attribute__((noinline)) torture_strike_here(void)
{
    t.struck = true;
    errno = ENOMEM;
    __asm__ volatile("");
}

static bool strikes(void)
{
    if (!t.on)
        return false;
    t.seen++;
    bool now = t.at && (t.all ? t.seen >= t.at : t.seen == t.at);
    if (now)
        torture_strike_here();
    return now;
}

static void *counted(void *p)
{
    t.live += p != NULL;
    return p;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);
void __wrap_free(void *p);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t n);
int __wrap_vasprintf(char **ret, const char *format, va_list args);
int __wrap_asprintf(char **ret, const char *format, ...);
int __wrap___vasprintf_chk(char **ret, int flag, const char *format, va_list args); /* as _FORTIFY_SOURCE names them */
int __wrap___asprintf_chk(char **ret, int flag, const char *format, ...);
void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *p, size_t size);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
/* its name with 64-bit offsets */
void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int __wrap_munmap(void *p, size_t size);

void *__wrap_malloc(size_t size)
{
    return strikes() ? NULL : counted(__real_malloc(size));
}

void *__wrap_calloc(size_t n, size_t size)
{
    return strikes() ? NULL : counted(__real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t size)
{
    if (strikes())
        return NULL;
    void *moved = __real_realloc(p, size);
    t.live += !p && moved;
    return moved;
}

void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
    return size && n > (size_t)-1 / size ? NULL : __wrap_realloc(p, n * size);
}

void __wrap_free(void *p)
{
    t.live -= p != NULL;
    __real_free(p);
}

char *__wrap_strndup(const char *text, size_t n)
{
    size_t len = strnlen(text, n);
    char *copy = __wrap_malloc(len + 1);
    if (copy) {
        memcpy(copy, text, len);
        copy[len] = '\0';
    }
    return copy;
}

char *__wrap_strdup(const char *text)
{
    return __wrap_strndup(text, strlen(text));
}

int __wrap_vasprintf(char **ret, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    char *text = len < 0 ? NULL : __wrap_malloc((size_t)len + 1);
    if (text)
        vsnprintf(*ret = text, (size_t)len + 1, format, again);
    va_end(again);
    return text ? len : -1;
}

int __wrap_asprintf(char **ret, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = __wrap_vasprintf(ret, format, args);
    va_end(args);
    return len;
}

int __wrap___vasprintf_chk(char **ret, int flag, const char *format, va_list args)
{
    (void)flag;
    return __wrap_vasprintf(ret, format, args);
}

int __wrap___asprintf_chk(char **ret, int flag, const char *format, ...)
{
    va_list args;
    (void)flag;
    va_start(args, format);
    int len = __wrap_vasprintf(ret, format, args);
    va_end(args);
    return len;
}

/* Where secrets live (base/secret.h). */
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    void *p = strikes() ? MAP_FAILED : __real_mmap(at, size, protection, flags, fd, offset);
    t.live += p != MAP_FAILED;
    return p;
}

void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    return __wrap_mmap(at, size, protection, flags, fd, offset);
}

int __wrap_munmap(void *p, size_t size)
{
    t.live--;
    return __real_munmap(p, size);
}

/* OpenSSL keeps caches of its own: its memory fails like ours, but is not counted. */
static void *crypto_malloc(size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return strikes() ? NULL : __real_malloc(size);
}

static void *crypto_realloc(void *p, size_t size, const char *file, int line)
{
    (void)file, (void)line;
    if (size == 0)
        __real_free(p);
    return size == 0 || strikes() ? NULL : __real_realloc(p, size);
}

static void crypto_free(void *p, const char *file, int line)
{
    (void)file, (void)line;
    __real_free(p);
}

/* ---- a run ---- */

void torture_pause(void)
{
    t.on = false;
}

void torture_go_on(void)
{
    t.on = true;
}

bool torture_struck(void)
{
    return t.struck;
}

static void say_place(const char *what)
{
    char text[256];
    int len = snprintf(text, sizeof text, "torture: %s: %s at allocation %lu of %lu%s\n", t.name, what, t.at, t.seen,
                       t.all ? " all" : "");
    if (len > 0 && write(STDERR_FILENO, text, (size_t)len) < 0)
        _exit(2);
}

void torture_fail(const char *file, int line, const char *truth)
{
    fprintf(stderr, "%s:%d: not true: %s\n", file, line, truth);
    say_place("FAILED");
    abort();
}

static void on_alarm(int number)
{
    (void)number;
    say_place("HANGS");
    abort();
}

/* Of our own code, a sanitizer's or libc's abort: which run was it? */
static void on_crash(int number)
{
    say_place("CRASHES");
    signal(number, SIG_DFL);
    raise(number);
}

/* A failed assertion of cmocka, outside its tests, ends the program in silence. */
static void on_exit_inside(void)
{
    if (t.running)
        say_place("ENDS");
}

static void run(const struct torture *scenario, unsigned long at, bool all)
{
    long before = t.live;
    t.at = at;
    t.all = all;
    t.seen = 0;
    t.struck = false;
    alarm(TORTURE_RUN_S);
    t.on = t.running = true;
    scenario->run();
    t.on = t.running = false;
    alarm(0);
    ERR_clear_error();
    if (t.live != before)
        fprintf(stderr, "%ld allocations are left\n", t.live - before);
    CHECK(t.live == before);
}

static unsigned long step_of(unsigned long total)
{
    const char *max = getenv("TORTURE_MAX");
    unsigned long most = max ? strtoul(max, NULL, 10) : 0;
    return most && total > most ? (total + most - 1) / most : 1;
}

static void torture(const struct torture *scenario)
{
    unsigned long places = 0;
    t.name = scenario->name;
    long before = t.live;
    t.on = true; /* the first run fills caches, and nothing fails */
    t.at = 0;
    t.struck = false;
    scenario->run();
    t.on = false;
    (void)before;
    run(scenario, 0, false);
    unsigned long total = t.seen, step = step_of(total);
    for (unsigned long at = 1; at <= total + step; at += step) {
        run(scenario, at, false);
        if (!t.struck)
            break; /* it needs no more */
        places++;
        run(scenario, at, true);
    }
    printf("  %-7s %-64s %lu of %lu places\n", "ok", scenario->name, places, total);
    fflush(stdout);
}

void torture_prepare(void)
{
    static bool done;
    static const int crashes[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT };
    if (done)
        return;
    done = true;
    if (CRYPTO_set_mem_functions(crypto_malloc, crypto_realloc, crypto_free) != 1)
        fprintf(stderr, "torture: OpenSSL's memory cannot be made to fail\n");
    json_set_alloc_funcs(__wrap_malloc, __wrap_free);
    log_setup("torture", LOG_ERROR, LOG_LOGFMT, open("/dev/null", O_WRONLY | O_CLOEXEC));
    atexit(on_exit_inside);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGALRM, on_alarm);
    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++)
        signal(crashes[i], on_crash);
}

int torture_main(int argc, char **argv, const struct torture *list, size_t count)
{
    bool found = false;
    torture_prepare();
    for (size_t i = 0; i < count; i++) {
        if (argc > 1 && strcmp(argv[1], list[i].name) != 0)
            continue;
        found = true;
        t.name = list[i].name;
        if (argc > 2)
            run(&list[i], strtoul(argv[2], NULL, 10), argc > 3);
        else
            torture(&list[i]);
    }
    return found ? 0 : 64;
}
