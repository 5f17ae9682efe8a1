// Certificates and ticket keys of a pool. Why the master has no OpenSSL, and who looks at
// certificates in its place: docs/decisions/007-tls.md.
#include "master/certificates.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "master/child.h"
#include "master/engine_program.h"
#include "master/state.h"
#include "master/words.h"
#include "process/bundle.h"
#include "process/keyring.h"

#include "base/banned.h"

#define LOOK (60 * BK_SEC)  // between two looks at the files
#define TICKET_KEY_AGE                                                                             \
    (12 * 3600 * BK_SEC)  // a key is used for so long, and accepted for as long again
#define DAY 86400
#define SOON                                                                                       \
    (14 * DAY)  // or a third of its life: a certificate that expires so soon was not renewed
#define ANSWER 65536

struct bk_certificates {
    struct bk_master_pool *pool;  // borrows
    struct bk_keyring *keyring;   // owns
    char *made;                   // owns: --tls-selfsigned
    int bundle_fd;                // owns
    uint64_t stamp;               // of the files in the bundle
    uint64_t refused;             // of files that were not good, 0: none
    char *answer;                 // owns: what the check said of the bundle
    struct bk_timer timer;
    uint64_t next_key, next_word;  // monotonic ns
};

// What is wrong, for a person.
struct complaint {
    enum bk_key key;
    char text[900];
    char detail[300];
};

static bool wanted(const struct bk_config *config);
static bool fits(struct bk_master_pool *pool);
static int read_and_check(struct bk_certificates *self, struct complaint *complaint);
static void look(struct bk_timer *timer);
static void warn_of_dates(const struct bk_certificates *self);
static void hand_out(const struct bk_certificates *self);

bool
bk_certificates_open(struct bk_master_pool *pool)
{
    struct bk_certificates *self;
    struct complaint complaint = {.key = BK_KEY_INTERNAL, .text = "out of memory"};

    if (!fits(pool))
        return false;
    if (!wanted(pool->config))
        return true;
    self = pool->certificates = calloc(1, sizeof *self);
    if (self) {
        *self = (struct bk_certificates){.pool = pool, .bundle_fd = -1};
        bk_timer_init(&self->timer, look);
    }
    if (!self || bk_keyring_new(&self->keyring) < 0 || read_and_check(self, &complaint) < 0) {
        bk_master_fail(pool->master, complaint.key, complaint.detail, "%s", complaint.text);
        return false;
    }
    uint64_t now = bk_clock_mono();
    self->next_key = now + TICKET_KEY_AGE;
    self->next_word = now + DAY * BK_SEC;
    warn_of_dates(self);
    bk_timer_set(&pool->master->loop.wheel, &self->timer, now + LOOK);
    return true;
}

void
bk_certificates_close(struct bk_master_pool *pool)
{
    struct bk_certificates *self = pool->certificates;

    if (!self)
        return;
    bk_timer_cancel(&pool->master->loop.wheel, &self->timer);
    bk_keyring_free(self->keyring);
    if (self->bundle_fd >= 0)
        close(self->bundle_fd);
    if (self->made)
        explicit_bzero(self->made, strlen(self->made));
    free(self->made);
    free(self->answer);
    free(self);
    pool->certificates = NULL;
}

enum bk_scheme
bk_certificates_scheme(const struct bk_config *config, enum bk_scheme asked)
{
    if (asked != BK_SCHEME_DEFAULT)
        return asked;
    return config->certfile.count || config->tls_selfsigned ? BK_SCHEME_HTTPS : BK_SCHEME_HTTP;
}

// Is one of the addresses https?
static bool
wanted(const struct bk_config *config)
{
    struct bk_bind bind;
    const char *why;
    bool found = config->bind.count == 0 &&
                 bk_certificates_scheme(config, BK_SCHEME_DEFAULT) == BK_SCHEME_HTTPS;

    for (unsigned i = 0; i < config->bind.count; i++)
        if (bk_bind_parse(bk_str_of(config->bind.items[i]), &bind, &why) == 0)
            found |= bk_certificates_scheme(config, bind.scheme) == BK_SCHEME_HTTPS;
    return found;
}

// Rules between the settings of TLS that need no file.
static bool
fits(struct bk_master_pool *pool)
{
    const struct bk_config *config = pool->config;
    bool https = wanted(config),
         asks = strcmp(config->cert_reqs, "none") != 0 && strcmp(config->cert_reqs, "0") != 0;

    if (https && !config->certfile.count && !config->tls_selfsigned) {
        const char *which = "https://...";
        for (unsigned i = config->bind.count; i-- > 0;)
            if (strncmp(config->bind.items[i], "https://", 8) == 0)
                which = config->bind.items[i];
        bk_master_fail(pool->master, BK_KEY_TLS_CERTIFICATE_MISSING,
                       "try: --certfile cert.pem --keyfile key.pem, or --tls-selfsigned while "
                       "developing",
                       "--bind %s needs a certificate", which);
    } else if (config->keyfile.count && config->keyfile.count != config->certfile.count) {
        bk_master_fail(pool->master, BK_KEY_OPTION_CONFLICT, "",
                       "%u --certfile and %u --keyfile: each certificate needs its key, in the "
                       "same order",
                       config->certfile.count, config->keyfile.count);
    } else if (config->certfile.count && config->tls_selfsigned) {
        bk_master_fail(pool->master, BK_KEY_OPTION_CONFLICT, "",
                       "--tls-selfsigned makes a certificate, --certfile brings one: choose");
    } else if (https && asks && !config->ca_certs) {
        bk_master_fail(pool->master, BK_KEY_OPTION_CONFLICT, "",
                       "--cert-reqs %s needs --ca-certs: whose certificates are good?",
                       config->cert_reqs);
    } else {
        if (!https && (config->certfile.count || config->ca_certs || asks))
            bk_log(BK_LOG_WARNING, BK_MASTER_KEY(TLS_UNUSED),
                   "no --bind address is https: the TLS settings do nothing");
        else if (https && config->ca_certs && !asks)
            bk_log(BK_LOG_WARNING, BK_MASTER_KEY(TLS_UNUSED),
                   "--ca-certs does nothing without --cert-reqs optional or required");
        return true;
    }
    return false;
}

static struct bk_bundle_want
want_of(const struct bk_certificates *self)
{
    const struct bk_config *config = self->pool->config;
    return (struct bk_bundle_want){
        .certificates = (const char *const *)config->certfile.items,
        .certificate_count = config->certfile.count,
        .keys = (const char *const *)config->keyfile.items,
        .key_count = config->keyfile.count,
        .ca = config->ca_certs,
        .made = config->certfile.count ? NULL : self->made,
        .ciphers = config->ciphers,
        .verify = config->cert_reqs,
        .least = config->tls_min_version,
        .tickets = config->tls_tickets,
    };
}

// ---- reading and checking ----

static int make_certificate(struct bk_certificates *self, struct complaint *complaint);
static void cannot_read(const struct bk_bundle_fault *fault, struct complaint *complaint);
static int check(const struct bk_certificates *self, int bundle_fd, char *answer,
                 struct complaint *complaint);
static int no_answer(int error, struct complaint *complaint);

// The files into a new bundle; on success it takes the old one's place.
static int
read_and_check(struct bk_certificates *self, struct complaint *complaint)
{
    struct bk_heritage *bundle = NULL;
    struct bk_bundle_fault fault;
    char *answer = malloc(ANSWER);
    int fd = -1, error = answer ? 0 : -ENOMEM;

    *complaint = (struct complaint){.key = BK_KEY_INTERNAL, .text = "out of memory"};
    if (error == 0 && !self->pool->config->certfile.count && !self->made)
        error = make_certificate(self, complaint);
    struct bk_bundle_want want = want_of(self);
    uint64_t stamp = bk_bundle_stamp(&want);
    if (error == 0 && (error = bk_bundle_read(&want, &bundle, &fault)) == -EINVAL)
        cannot_read(&fault, complaint);
    if (error == 0)
        error = bk_heritage_seal(bundle, &fd);
    bk_heritage_free(bundle);
    if (error == 0)
        error = fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -errno : 0;
    if (error == 0)
        error = check(self, fd, answer, complaint);
    if (error < 0) {
        if (fd >= 0)
            close(fd);
        free(answer);
        return error;
    }
    if (self->bundle_fd >= 0)
        close(self->bundle_fd);
    self->bundle_fd = fd;
    self->stamp = stamp;
    free(self->answer);
    self->answer = answer;
    return 0;
}

static int
make_certificate(struct bk_certificates *self, struct complaint *complaint)
{
    const struct bk_config *config = self->pool->config;
    char names[1024] = "localhost,127.0.0.1,::1";
    size_t len = strlen(names);
    struct bk_bind bind;
    const char *why;
    char *pem = malloc(ANSWER);

    for (unsigned i = 0; i < config->bind.count; i++)
        if (bk_bind_parse(bk_str_of(config->bind.items[i]), &bind, &why) == 0 &&
            bind.kind == BK_BIND_TCP && *bind.host && len + strlen(bind.host) + 2 < sizeof names)
            len += (size_t)snprintf(names + len, sizeof names - len, ",%s", bind.host);
    const char *const arguments[] = {"--make-certificate", names, NULL};
    int error = pem ? bk_engine_program_run(arguments, self->pool->master->surroundings.envp, -1,
                                            pem, ANSWER)
                    : -ENOMEM;
    if (error < 0) {
        free(pem);
        return no_answer(error, complaint);
    }
    self->made = pem;
    return 0;
}

static void
cannot_read(const struct bk_bundle_fault *fault, struct complaint *complaint)
{
    char why[BK_WORDS_ROOM];
    const char *text = fault->error == ENOENT    ? "no such file"
                       : fault->error == EACCES  ? "permission denied"
                       : fault->error == EISDIR  ? "is a directory"
                       : fault->error == ENODATA ? "is empty"
                       : fault->error == EFBIG   ? "is larger than 1 MiB"
                                                 : bk_words_error(fault->error, why);

    complaint->key = BK_KEY_TLS_CERTIFICATE_FILE;
    snprintf(complaint->text, sizeof complaint->text, "--%s '%s': %s", fault->option, fault->name,
             text);
}

// By the child: the text of a fault and its key come from the same table.
static int
check(const struct bk_certificates *self, int bundle_fd, char *answer, struct complaint *complaint)
{
    char number[16];
    const char *const arguments[] = {"--check-tls", number, NULL};
    struct bk_str said;

    snprintf(number, sizeof number, "%d", bundle_fd);
    int error = bk_engine_program_run(arguments, self->pool->master->surroundings.envp, bundle_fd,
                                      answer, ANSWER);
    if (error < 0)
        return no_answer(error, complaint);
    said = bk_str_of(answer);
    if (bk_str_starts(said, BK_STR("ok\n")))
        return 0;
    struct bk_str key = bk_channel_field(said, "fault"), text = bk_channel_field(said, "text");
    complaint->key = bk_str_equal(key, BK_STR("tls-key-mismatch")) ? BK_KEY_TLS_KEY_MISMATCH
                     : bk_str_equal(key, BK_STR("tls-certificate-file"))
                         ? BK_KEY_TLS_CERTIFICATE_FILE
                     : bk_str_equal(key, BK_STR("option-value")) ? BK_KEY_OPTION_VALUE
                                                                 : BK_KEY_TLS_CHECK_FAILED;
    while (text.len && text.at[text.len - 1] == '\n')
        text.len--;
    snprintf(complaint->text, sizeof complaint->text, "%.*s", (int)text.len, text.at);
    return -EINVAL;
}

static int
no_answer(int error, struct complaint *complaint)
{
    char why[BK_WORDS_ROOM];

    complaint->key = BK_KEY_TLS_CHECK_FAILED;
    snprintf(complaint->text, sizeof complaint->text, "cannot check the certificates: %s",
             error == -ENOENT  ? "the program barkeep-engine is not beside barkeep"
             : error == -ETIME ? "barkeep-engine does not answer"
                               : bk_words_error(-error, why));
    return -EINVAL;
}

// ---- later ----

static void
look(struct bk_timer *timer)
{
    struct bk_certificates *self = BK_OUTER(timer, struct bk_certificates, timer);
    uint64_t now = bk_clock_mono();

    if (now >= self->next_key) {
        if (bk_keyring_turn(self->keyring) < 0)
            bk_log(BK_LOG_ERROR, BK_MASTER_KEY(INTERNAL), "no new key for TLS session tickets");
        self->next_key = now + TICKET_KEY_AGE;
    }
    bk_certificates_refresh(self->pool, false);
    if (now >= self->next_word) {
        warn_of_dates(self);
        self->next_word = now + DAY * BK_SEC;
    }
    bk_timer_set(&self->pool->master->loop.wheel, &self->timer, now + LOOK);
}

void
bk_certificates_refresh(struct bk_master_pool *pool, bool anew)
{
    struct bk_certificates *self = pool->certificates;
    struct complaint complaint;

    if (!self || !pool->config->certfile.count)
        return;
    struct bk_bundle_want want = want_of(self);
    uint64_t stamp = bk_bundle_stamp(&want);
    if (stamp == self->stamp || (stamp == self->refused && !anew))
        return;
    if (read_and_check(self, &complaint) < 0) {
        // Both files of a pair are seldom replaced in one moment: the second is the next change.
        self->refused = stamp;
        bk_log_detail(BK_LOG_ERROR, BK_MASTER_KEY(TLS_CERTIFICATE_KEPT),
                      bk_str_of(complaint.detail), "%s; the certificates in use stay in use",
                      complaint.text);
        return;
    }
    self->refused = 0;
    hand_out(self);
    bk_log(BK_LOG_INFO, NULL,
           "the files of certificates have changed: new connections get the "
           "new ones");
    warn_of_dates(self);
}

// To those that serve; who boots now has the old ones and learns it too.
static void
hand_out(const struct bk_certificates *self)
{
    const struct bk_master_pool *pool = self->pool;

    for (struct bk_list *at = pool->members.next; at != &pool->members; at = at->next) {
        struct bk_member *member = BK_OUTER(at, struct bk_member, link);
        if (member->channel.fd >= 0)
            (void)bk_channel_send_fd(member->channel.fd, BK_MESSAGE_BUNDLE,
                                     (struct bk_str){NULL, 0}, self->bundle_fd);
    }
}

static int64_t
number_of(struct bk_str text, const char *key)
{
    uint64_t value;
    return bk_str_parse_u64(bk_channel_field(text, key), INT64_MAX, &value) < 0 ? 0
                                                                                : (int64_t)value;
}

// Each certificate of the answer is a block of lines that begins with its name.
static void
warn_of_dates(const struct bk_certificates *self)
{
    const char *at = self->answer ? strstr(self->answer, "name=") : NULL;
    int64_t now = (int64_t)(bk_clock_wall() / BK_SEC);
    char words[BK_WORDS_ROOM];

    for (; at; at = strstr(at + 1, "\nname=") ? strstr(at + 1, "\nname=") + 1 : NULL) {
        struct bk_str block = bk_str_of(at), name = bk_channel_field(block, "name");
        int64_t from = number_of(block, "from"), until = number_of(block, "until");
        int64_t life = until - from, soon = life / 3 < SOON ? life / 3 : SOON;
        uint64_t left = until > now ? (uint64_t)(until - now) : (uint64_t)(now - until);
        if (left >= 2 * DAY)
            snprintf(words, sizeof words, "%u days", (unsigned)(left / DAY));
        else
            bk_words_duration(left * BK_SEC, words);
        if (now < from)
            bk_log(BK_LOG_WARNING, BK_MASTER_KEY(TLS_CERTIFICATE_EXPIRES),
                   "certificate %.*s is not valid yet", (int)name.len, name.at);
        else if (now >= until)
            bk_log(BK_LOG_WARNING, BK_MASTER_KEY(TLS_CERTIFICATE_EXPIRES),
                   "certificate %.*s expired %s ago", (int)name.len, name.at, words);
        else if (until - now < soon)
            bk_log(BK_LOG_WARNING, BK_MASTER_KEY(TLS_CERTIFICATE_EXPIRES),
                   "certificate %.*s expires in %s", (int)name.len, name.at, words);
    }
}

// ---- for workers ----

int
bk_certificates_leave(const struct bk_master_pool *pool, struct bk_heritage *heritage)
{
    const struct bk_certificates *self = pool->certificates;

    if (!self)
        return 0;
    int error = bk_heritage_addf(heritage, BK_HERITAGE_BUNDLE, "%d", self->bundle_fd);
    if (error == 0)
        error = bk_heritage_addf(heritage, BK_HERITAGE_KEYRING, "%d", bk_keyring_fd(self->keyring));
    return error;
}

void
bk_certificates_keep(const struct bk_master_pool *pool)
{
    const struct bk_certificates *self = pool->certificates;

    if (!self)
        return;
    bk_child_keep(self->bundle_fd);
    bk_child_keep(bk_keyring_fd(self->keyring));
}
