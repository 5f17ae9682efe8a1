// Reading the files of --certfile, --keyfile and --ca-certs. Called by the master, or by a worker
// that is alone.
#include "process/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int add_file(struct bk_heritage *bundle, enum bk_heritage_tag tag, const char *name);
static int add_settings(struct bk_heritage *bundle, const struct bk_bundle_want *want);
static int add_named(struct bk_heritage *bundle, enum bk_heritage_tag tag, const char *name,
                     struct bk_str bytes);

int
bk_bundle_read(const struct bk_bundle_want *want, struct bk_heritage **ret,
               struct bk_bundle_fault *fault)
{
    struct bk_heritage *bundle = bk_heritage_new();
    if (!bundle)
        return -ENOMEM;
    int error = bk_heritage_add(bundle, BK_HERITAGE_VERSION, BK_STR(BK_VERSION));
    if (error == 0)
        error = add_settings(bundle, want);
    *fault = (struct bk_bundle_fault){0};
    for (unsigned i = 0; error == 0 && i < want->certificate_count; i++) {
        *fault = (struct bk_bundle_fault){.option = "certfile", .name = want->certificates[i]};
        error = add_file(bundle, BK_HERITAGE_CERTIFICATE, want->certificates[i]);
        if (error < 0)
            break;
        *fault = (struct bk_bundle_fault){0};
        if (i < want->key_count)
            *fault = (struct bk_bundle_fault){.option = "keyfile", .name = want->keys[i]};
        error = i < want->key_count
                    ? add_file(bundle, BK_HERITAGE_KEY, want->keys[i])
                    : add_named(bundle, BK_HERITAGE_KEY, "", (struct bk_str){NULL, 0});
    }
    if (error == 0 && want->made) {
        error = add_named(bundle, BK_HERITAGE_CERTIFICATE, "self-signed", bk_str_of(want->made));
        if (error == 0)
            error = add_named(bundle, BK_HERITAGE_KEY, "", (struct bk_str){NULL, 0});
    }
    if (error == 0 && want->ca) {
        *fault = (struct bk_bundle_fault){.option = "ca-certs", .name = want->ca};
        error = add_file(bundle, BK_HERITAGE_CA, want->ca);
    }
    if (error < 0) {
        bk_heritage_free(bundle);
        fault->error = -error;
        return error == -ENOMEM || !fault->option ? -ENOMEM : -EINVAL;
    }
    *ret = bundle;
    return 0;
}

static int
add_settings(struct bk_heritage *bundle, const struct bk_bundle_want *want)
{
    const char *const settings[][2] = {
        {"ciphers", want->ciphers ? want->ciphers : ""},
        {"cert_reqs", want->verify},
        {"tls_min_version", want->least},
        {"tls_tickets", want->tickets ? "on" : "off"},
    };
    int error = 0;
    for (unsigned i = 0; error == 0 && i < BK_COUNT(settings); i++)
        error = bk_heritage_addf(bundle, BK_HERITAGE_SETTING, "%s%c%s%c", settings[i][0], 0,
                                 settings[i][1], 0);
    return error;
}

static int
add_named(struct bk_heritage *bundle, enum bk_heritage_tag tag, const char *name,
          struct bk_str bytes)
{
    size_t len = strlen(name) + 1;
    char *record = malloc(len + bytes.len);
    if (!record)
        return -ENOMEM;
    memcpy(record, name, len);
    if (bytes.len)
        memcpy(record + len, bytes.at, bytes.len);
    int error = bk_heritage_add(bundle, tag, (struct bk_str){record, len + bytes.len});
    explicit_bzero(record, len + bytes.len);
    free(record);
    return error;
}

static int
add_file(struct bk_heritage *bundle, enum bk_heritage_tag tag, const char *name)
{
    struct stat facts;
    size_t len = 0;
    // Not to hang on a pipe.
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK), error = fd < 0 ? -errno : 0;
    char *bytes = NULL;
    if (error == 0 && fstat(fd, &facts) < 0)
        error = -errno;
    if (error == 0 && S_ISDIR(facts.st_mode))
        error = -EISDIR;
    if (error == 0 && !(bytes = malloc(BK_BUNDLE_FILE_MAX + 1)))
        error = -ENOMEM;
    while (error == 0 && len <= BK_BUNDLE_FILE_MAX) {
        ssize_t n = read(fd, bytes + len, BK_BUNDLE_FILE_MAX + 1 - len);
        if (n == 0)
            break;
        if (n < 0 && errno != EINTR)
            error = -errno;
        len += n > 0 ? (size_t)n : 0;
    }
    if (error == 0)
        error = len > BK_BUNDLE_FILE_MAX ? -EFBIG : len == 0 ? -ENODATA : 0;
    if (error == 0)
        error = add_named(bundle, tag, name, (struct bk_str){bytes, len});
    if (bytes)
        explicit_bzero(bytes, len);
    free(bytes);
    if (fd >= 0)
        close(fd);
    return error;
}

static uint64_t
mix(uint64_t stamp, uint64_t number)
{
    return (stamp ^ number) * UINT64_C(0x9e3779b97f4a7c15) + (stamp >> 29);
}

static uint64_t
stamp_text(uint64_t stamp, const char *text)
{
    for (; text && *text; text++)
        stamp = mix(stamp, (unsigned char)*text);
    return stamp;
}

static uint64_t
stamp_file(uint64_t stamp, const char *name)
{
    struct stat facts;
    stamp = stamp_text(stamp, name);
    if (stat(name, &facts) < 0)
        return mix(stamp, (uint64_t)errno);
    stamp = mix(stamp, facts.st_ino);
    stamp = mix(stamp, facts.st_dev);
    stamp = mix(stamp, (uint64_t)facts.st_size);
    stamp = mix(stamp, (uint64_t)facts.st_mtim.tv_sec);
    return mix(stamp, (uint64_t)facts.st_mtim.tv_nsec);
}

uint64_t
bk_bundle_stamp(const struct bk_bundle_want *want)
{
    const char *const words[] = {want->ciphers, want->verify, want->least};
    uint64_t stamp = 1 + want->tickets;
    for (unsigned i = 0; i < BK_COUNT(words); i++)
        stamp = stamp_text(stamp + 1, words[i]);
    for (unsigned i = 0; i < want->certificate_count; i++)
        stamp = stamp_file(stamp + 1, want->certificates[i]);
    for (unsigned i = 0; i < want->key_count; i++)
        stamp = stamp_file(stamp + 1, want->keys[i]);
    return want->ca ? stamp_file(stamp + 1, want->ca) : stamp;
}

void
bk_bundle_split(struct bk_str record, struct bk_str *ret_name, struct bk_str *ret_bytes)
{
    const char *end = record.len ? memchr(record.at, 0, record.len) : NULL;
    size_t len = end ? (size_t)(end - record.at) : record.len;
    *ret_name = (struct bk_str){record.at, len};
    *ret_bytes = end ? (struct bk_str){end + 1, record.len - len - 1} : (struct bk_str){NULL, 0};
}

const char *
bk_bundle_setting(const struct bk_heritage *bundle, const char *key)
{
    struct bk_str record, name, value;
    for (unsigned n = 0; bk_heritage_get(bundle, BK_HERITAGE_SETTING, n, &record); n++) {
        bk_bundle_split(record, &name, &value);
        if (value.len && bk_str_equal(name, bk_str_of(key)) && memchr(value.at, 0, value.len))
            return value.at;
    }
    return "";
}
