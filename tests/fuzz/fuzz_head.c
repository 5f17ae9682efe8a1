// A connection's bytes: heads, bodies, pipelining. The verdict must not depend on cuts or on the
// scanning code, and must be that of a slow reference. First byte: seed of the cuts.
#include <stdint.h>

#include "../h1_drive.h"
#include "reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must_be_same(const struct transcript *expected, struct transcript got, const char *how)
{
    if (!drive_same(expected, &got)) {
        fprintf(stderr, "%s differs.\n--- expected\n%s\n--- got\n%s\n", how, expected->text,
                got.text);
        abort();
    }
    free(got.text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"plain", "sse4.2", "avx2"};
    static const struct bk_codec_limits small = {{64, 48, 256, 6}, {40, 4096, 8192, 262144}};
    if (size < 1)
        return 0;
    uint64_t seed = data[0];
    const struct bk_codec_limits *limits = seed & 1 ? &small : &drive_limits;
    const char *bytes = (const char *)data + 1;
    size_t len = size - 1, cuts[16], count = 0;
    for (size_t at = 0; len && count < BK_COUNT(cuts); count++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        at += (seed >> 33) % (len / 4 + 1);
        if (at > len)
            break;
        cuts[count] = at;
    }
    struct transcript whole = {0};
    for (unsigned i = 0; i < BK_COUNT(names); i++) {
        if (bk_h1_scan_force(names[i]) < 0)
            continue;
        if (!whole.text)
            whole = drive_bytes(bytes, len, limits, NULL, 0);
        else
            must_be_same(&whole, drive_bytes(bytes, len, limits, NULL, 0), names[i]);
        must_be_same(&whole, drive_bytes(bytes, len, limits, cuts, count), "input in pieces");
    }
    if (len <= 2048)
        must_be_same(&whole, drive_bytes(bytes, len, limits, NULL, SIZE_MAX), "input byte by byte");
    reference_check_head(&whole, bytes, len, limits);
    free(whole.text);
    return 0;
}
