// The program barkeep-engine: what the master must know and has no library for. It is run as a
// child, so that the master needs no OpenSSL and a fault in it costs an answer. Lines on standard
// output, "key=value":
//   barkeep-engine --check-tls FD   of a bundle: "ok", then for each certificate "name=", "names=",
//                                   "from=", "until=" (seconds); or "fault=KEY", "text="
//   barkeep-engine --make-certificate NAME,NAME   certificate and key in PEM form
//   barkeep-engine --versions           of the libraries in it
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "certs/certs.h"
#include "process/bundle.h"
#include "tls/tls_make.h"

static int check_tls(const char *descriptor);
static int make_certificate(const char *names);

int
main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--check-tls") == 0)
        return check_tls(argv[2]);
    if (argc == 3 && strcmp(argv[1], "--make-certificate") == 0)
        return make_certificate(argv[2]);
    if (argc == 2 && strcmp(argv[1], "--versions") == 0)
        return printf("openssl=%s\n", bk_tls_library()) < 0;
    fprintf(stderr, "barkeep-engine is run by barkeep\n");
    return 2;
}

static int
check_tls(const char *descriptor)
{
    struct bk_heritage *bundle;
    struct bk_tls_fault fault;
    struct bk_tls_validity validity;
    struct bk_tls *tls = NULL;
    if (bk_heritage_open(atoi(descriptor), &bundle) < 0)
        return 2;
    int error = bk_certs_make(bundle, NULL, &tls, &fault);
    if (error < 0)
        printf("fault=%s\ntext=%s\n", fault.key ? fault.key : "internal",
               fault.key ? fault.text : "out of memory");
    else
        printf("ok\n");
    for (unsigned n = 0; tls && bk_tls_validity(tls, n, &validity); n++) {
        struct bk_str record, name = {"", 0}, bytes;
        if (bk_heritage_get(bundle, BK_HERITAGE_CERTIFICATE, validity.pair, &record))
            bk_bundle_split(record, &name, &bytes);
        printf("name=%.*s\nnames=%s\nfrom=%lld\nuntil=%lld\n", (int)name.len, name.at,
               validity.names, (long long)validity.from, (long long)validity.until);
    }
    bk_tls_unref(tls);
    bk_heritage_free(bundle);
    return fflush(stdout) != 0;
}

static int
make_certificate(const char *names)
{
    char *text;
    if (bk_tls_make_certificate(bk_str_of(names), &text) < 0)
        return 1;
    printf("%s", text);
    free(text);
    return fflush(stdout) != 0;
}
