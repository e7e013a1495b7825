#include "base/json_safe.h"

#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

/* What a parse may need for each byte of its text: "{}," is 3 bytes and two blocks of 208 together; and for 2048
 * levels, jansson's limit. */
#define RESERVE_PER_BYTE 96
#define RESERVE_LEAST ((size_t)1024 * 1024)

static struct {
    char *at; /* NULL: none */
    size_t size, used;
    bool touched; /* memory ran short: what comes of it is not to be trusted */
} reserve;

static bool is_reserve(const void *ptr)
{
    return reserve.at && (uintptr_t)ptr - (uintptr_t)reserve.at < reserve.size;
}

static void *get(size_t size)
{
    void *ptr = malloc(size);
    size_t need = (size + 15) & ~(size_t)15;
    if (ptr)
        return ptr;
    reserve.touched = true;
    if (!reserve.at || need > reserve.size - reserve.used)
        return NULL;
    ptr = reserve.at + reserve.used;
    reserve.used += need;
    return ptr;
}

static void wipe_and_free(void *ptr)
{
    if (!ptr || is_reserve(ptr))
        return; /* wiped as a whole */
    explicit_bzero(ptr, malloc_usable_size(ptr));
    free(ptr);
}

void json_safe_init(void)
{
    static bool done;
    if (!done)
        json_set_alloc_funcs(get, wipe_and_free); /* this may also free memory that came from plain malloc before */
    done = true;
}

/* NULL when memory ran short. */
static json_t *whole(json_t *root)
{
    if (!reserve.touched)
        return root;
    json_decref(root);
    return NULL;
}

/* Untouched pages cost nothing. */
static bool open_reserve(size_t text_bytes)
{
    size_t size = RESERVE_LEAST + text_bytes * RESERVE_PER_BYTE;
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
        return false;
    reserve.at = at;
    reserve.size = size;
    reserve.used = 0;
    return true;
}

static void close_reserve(void)
{
    explicit_bzero(reserve.at, reserve.used);
    munmap(reserve.at, reserve.size);
    reserve.at = NULL;
}

json_t *json_safe_load(struct slice text, size_t flags, json_error_t *where)
{
    json_error_t unused;
    if (where)
        *where = (json_error_t){ .line = -1 };
    json_safe_init();
    if (!open_reserve(text.len))
        return NULL;
    reserve.touched = false;
    json_t *root = whole(json_loadb(text.ptr ? text.ptr : "", text.len, flags, where ? where : &unused));
    close_reserve();
    return root;
}

json_t *json_safe_copy(const json_t *from)
{
    json_safe_init();
    reserve.touched = false;
    return whole(json_deep_copy(from));
}

/* Takes the first reference token off *pointer and undoes its escapes in place (RFC 6901 §4).  NULL without memory. */
static char *take_token(struct slice *pointer)
{
    struct slice rest, token = slice_cut(slice_skip(*pointer, 1), '/', &rest);
    char *text = slice_dup(token), *to = text;
    *pointer = slice_skip(*pointer, 1 + token.len);
    for (const char *from = text; from && *from; from++) {
        if (*from == '~')
            *to++ = *++from == '1' ? '/' : '~';
        else
            *to++ = *from;
    }
    if (text)
        *to = '\0';
    return text;
}

static const json_t *element(const json_t *list, const char *token)
{
    uint64_t i;
    if ((token[0] == '0' && token[1]) || slice_u64(slice_str(token), UINT32_MAX, &i) != 0)
        return NULL; /* no leading zeros */
    return json_array_get(list, (size_t)i);
}

const json_t *json_safe_at(const json_t *root, const char *pointer)
{
    const json_t *node = root;
    struct slice left = slice_str(pointer);
    while (node && left.len) {
        char *token = take_token(&left);
        if (!token)
            node = NULL;
        else if (json_is_array(node))
            node = element(node, token);
        else
            node = json_object_get(node, token);
        free(token);
    }
    return node;
}
