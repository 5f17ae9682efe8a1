// Ticket keys in shared memory, and files of certificates as bytes.
#include "process/keyring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "process/bundle.h"
#include "process/channel.h"

TEST(keys_turn)
{
    struct bk_keyring *owner, *reader;
    unsigned char first[BK_KEYRING_KEY], key[BK_KEYRING_KEY];
    CHECK(bk_keyring_new(&owner) == 0);
    CHECK(bk_keyring_open(dup(bk_keyring_fd(owner)), &reader) == 0);
    CHECK(bk_keyring_get(reader, 0, first) && !bk_keyring_get(reader, 1, key));
    CHECK(bk_keyring_turn(owner) == 0);
    CHECK(bk_keyring_get(reader, 1, key) && memcmp(first, key, sizeof key) == 0);
    CHECK(bk_keyring_get(reader, 0, key) && memcmp(first, key, sizeof key) != 0);
    CHECK(bk_keyring_turn(owner) == 0);
    CHECK(bk_keyring_get(reader, 1, key) && memcmp(first, key, sizeof key) != 0);
    CHECK(!bk_keyring_get(reader, 2, key));
    bk_keyring_free(reader);
    bk_keyring_free(owner);
    bk_keyring_free(NULL);
}

static void
write_file(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");
    fputs(text, file);
    fclose(file);
}

TEST(files_become_a_bundle)
{
    char directory[] = "/tmp/barkeep-bundle-XXXXXX", certificate[64], key[64], missing[64];
    CHECK(mkdtemp(directory) != NULL);
    snprintf(certificate, sizeof certificate, "%s/c.pem", directory);
    snprintf(key, sizeof key, "%s/k.pem", directory);
    snprintf(missing, sizeof missing, "%s/no.pem", directory);
    write_file(certificate, "the certificate");
    write_file(key, "the key");
    const char *certificates[] = {certificate}, *keys[] = {key}, *none[] = {missing};
    struct bk_bundle_want want = {.certificates = certificates,
                                  .certificate_count = 1,
                                  .keys = keys,
                                  .key_count = 1,
                                  .verify = "none",
                                  .least = "1.2",
                                  .tickets = true};
    struct bk_bundle_fault fault;
    struct bk_heritage *bundle;
    struct bk_str record, name, bytes;
    CHECK(bk_bundle_read(&want, &bundle, &fault) == 0);
    CHECK(bk_heritage_get(bundle, BK_HERITAGE_KEY, 0, &record));
    bk_bundle_split(record, &name, &bytes);
    CHECK(bk_str_equal(name, bk_str_of(key)) && bk_str_equal(bytes, BK_STR("the key")));
    CHECK(strcmp(bk_bundle_setting(bundle, "tls_min_version"), "1.2") == 0);
    CHECK(strcmp(bk_bundle_setting(bundle, "ciphers"), "") == 0);
    CHECK(strcmp(bk_bundle_setting(bundle, "unheard_of"), "") == 0);
    bk_heritage_free(bundle);
    uint64_t before = bk_bundle_stamp(&want);
    CHECK(before == bk_bundle_stamp(&want));
    write_file(key, "another key");
    CHECK(before != bk_bundle_stamp(&want));
    want.keys = none;
    CHECK(bk_bundle_read(&want, &bundle, &fault) == -EINVAL && fault.error == ENOENT);
    CHECK(strcmp(fault.option, "keyfile") == 0 && strcmp(fault.name, missing) == 0);
    want.keys = keys;
    write_file(certificate, "");
    CHECK(bk_bundle_read(&want, &bundle, &fault) == -EINVAL && fault.error == ENODATA);
    want.ca = directory;
    write_file(certificate, "the certificate");
    CHECK(bk_bundle_read(&want, &bundle, &fault) == -EINVAL && fault.error == EISDIR);
    CHECK(strcmp(fault.option, "ca-certs") == 0);
    unlink(certificate);
    unlink(key);
    rmdir(directory);
}

TEST(a_descriptor_over_the_channel)
{
    int ends[2], passed;
    char buffer[100];
    struct bk_str text;
    struct stat sent, got;
    CHECK(bk_channel_pair(ends) == 0);
    CHECK(bk_channel_send_fd(ends[0], BK_MESSAGE_BUNDLE, BK_STR("a=b"), ends[1]) == 0);
    CHECK(bk_channel_receive_fd(ends[1], buffer, sizeof buffer, &text, &passed) ==
          BK_MESSAGE_BUNDLE);
    CHECK(passed >= 0 && bk_str_equal(text, BK_STR("a=b")));
    CHECK(fstat(passed, &got) == 0 && fstat(ends[1], &sent) == 0 && got.st_ino == sent.st_ino);
    CHECK(fcntl(passed, F_GETFD) == FD_CLOEXEC);
    close(passed);
    // Who does not expect one closes it.
    CHECK(bk_channel_send_fd(ends[0], BK_MESSAGE_PING, BK_STR(""), ends[1]) == 0);
    int next = dup(0);
    close(next);
    CHECK(bk_channel_receive(ends[1], buffer, sizeof buffer, &text) == BK_MESSAGE_PING);
    int after = dup(0);
    CHECK(after == next);
    close(after);
    CHECK(bk_channel_send(ends[0], BK_MESSAGE_PING, BK_STR("x")) == 0);
    CHECK(bk_channel_receive_fd(ends[1], buffer, sizeof buffer, &text, &passed) ==
          BK_MESSAGE_PING);
    CHECK(passed == -1);
    close(ends[0]);
    close(ends[1]);
}
