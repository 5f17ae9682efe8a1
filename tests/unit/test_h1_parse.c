#include "check.h"

#include "../h1_drive.h"
#include "proto/h1_parse.h"
#include "proto/h1_scan.h"

static const struct bk_h1_limits limits = {8190, 32768, 65536, 100};
static struct bk_field fields[BK_FIELDS_MAX];
static struct bk_head head;
static struct bk_fault fault;

static ssize_t
parse(const char *text, size_t len)
{
    struct bk_h1_parser parser;
    bk_h1_parse_reset(&parser);
    head = (struct bk_head){.fields = fields};
    fault = (struct bk_fault){0, NULL};
    return bk_h1_parse_head(&parser, text, len, &limits, &head, &fault);
}

TEST(fills_the_head)
{
    static const char text[] =
        "\r\nPOST /a?b HTTP/1.1\r\nHost: h\r\nX_y:  v\t\r\nContent-Length: 5\r\n\r\nhello";
    CHECK_INT(parse(text, sizeof text - 1), sizeof text - 1 - 5);
    CHECK(head.base == text);
    CHECK_INT(head.len, sizeof text - 1 - 5);
    CHECK_TEXT(bk_head_str(&head, head.method, head.method_len), "POST");
    CHECK_TEXT(bk_head_str(&head, head.target, head.target_len), "/a?b");
    CHECK_TEXT(bk_head_str(&head, head.path, head.path_len), "/a");
    CHECK_TEXT(bk_head_str(&head, head.query, head.query_len), "b");
    CHECK_TEXT(bk_head_str(&head, head.block, head.block_len),
               "Host: h\r\nX_y:  v\t\r\nContent-Length: 5\r\n");
    CHECK_INT(head.method_id, BK_METHOD_POST);
    CHECK_INT(head.minor, 1);
    CHECK_INT(head.field_count, 3);
    CHECK_INT(head.content_length, 5);
    CHECK_INT(head.flags, BK_HEAD_KEEP_ALIVE | BK_HEAD_HAS_LENGTH);
    CHECK_INT(fields[0].id, BK_HEADER_HOST);
    CHECK_INT(fields[1].id, BK_HEADER_OTHER);
    CHECK_INT(fields[1].flags, BK_FIELD_UNDERSCORE);
    CHECK_TEXT(bk_head_str(&head, fields[1].name, fields[1].name_len), "X_y");
    CHECK_TEXT(bk_head_str(&head, fields[1].value, fields[1].value_len), "v");
    CHECK_INT(fields[2].id, BK_HEADER_CONTENT_LENGTH);
}

TEST(a_head_without_fields)
{
    CHECK_INT(parse("GET / HTTP/1.0\r\n\r\n", 18), 18);
    CHECK_INT(head.field_count, 0);
    CHECK_INT(head.block_len, 0);
    CHECK_INT(head.block, 16);
}

// The buffer may move between calls, and each call may get another struct bk_head.
TEST(goes_on_in_a_moved_buffer)
{
    static const char text[] = "GET /moved HTTP/1.1\r\nHost: a\r\nCookie: b=c\r\n\r\n";
    struct bk_h1_parser parser;
    bk_h1_parse_reset(&parser);
    for (size_t len = 1; len < sizeof text; len++) {
        char *copy = malloc(len);
        struct bk_field *room = malloc(sizeof(struct bk_field) * BK_FIELDS_MAX);
        struct bk_head each;
        memset(&each, 0xee, sizeof each);
        each.fields = room;
        memcpy(copy, text, len);
        ssize_t done = bk_h1_parse_head(&parser, copy, len, &limits, &each, &fault);
        CHECK_INT(done, len == sizeof text - 1 ? (ssize_t)len : 0);
        if (done > 0) {
            CHECK_INT(each.field_count, 2);
            CHECK_TEXT(bk_head_str(&each, each.path, each.path_len), "/moved");
            CHECK_TEXT(bk_head_str(&each, room[1].value, room[1].value_len), "b=c");
        }
        free(copy);
        free(room);
    }
}

TEST(offering_the_same_bytes_again_changes_nothing)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    struct bk_h1_parser parser;
    bk_h1_parse_reset(&parser);
    head.fields = fields;
    for (size_t len = 0; len < sizeof text - 1; len++)
        for (int again = 0; again < 3; again++)
            CHECK_INT(bk_h1_parse_head(&parser, text, len, &limits, &head, &fault), 0);
    CHECK_INT(bk_h1_parse_head(&parser, text, sizeof text - 1, &limits, &head, &fault),
              sizeof text - 1);
}

// A fault is raised at the byte that decides it: one byte less, and there is none.
TEST(faults_come_at_once)
{
    static const struct {
        const char *text;
        int status;
    } rows[] = {
        {"\026", 400},
        {"\n", 400},
        {" ", 400},
        {"G\001", 400},
        {"GET  ", 400},
        {"GET /\001", 400},
        {"GET /\r", 400},
        {"GET / h", 400},
        {"GET / HTTP/1.1 ", 400},
        {"GET / HTTP/1.1\rX", 400},
        {"GET x HTTP/1.1\r\n", 400},
        {"GET / HTTP/3.0\r\n", 505},
        {"CONNECT a:80 HTTP/1.1\r\n", 501},
        {"GET / HTTP/1.1\r\n ", 400},
        {"GET / HTTP/1.1\r\n:", 400},
        {"GET / HTTP/1.1\r\nA ", 400},
        {"GET / HTTP/1.1\r\nA\r", 400},
        {"GET / HTTP/1.1\r\nA: b\n", 400},
        {"GET / HTTP/1.1\r\nA: b\rx", 400},
        {"GET / HTTP/1.1\r\nA: b\r\n ", 400},
        {"GET / HTTP/1.1\r\n\rx", 400},
        {"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r", 400},
    };
    for (unsigned i = 0; i < BK_COUNT(rows); i++) {
        size_t len = strlen(rows[i].text);
        CHECK_INT(parse(rows[i].text, len - 1), 0);
        CHECK_INT(parse(rows[i].text, len), -EPROTO);
        CHECK_INT(fault.status, rows[i].status);
        CHECK(fault.why && *fault.why);
    }
}

TEST(a_refused_head_says_what_was_asked)
{
    static const struct {
        const char *text, *method, *target, *path;
    } rows[] = {
        {"GET /a?b HTTP/1.1\r\nHost: a\r\nX\001: y\r\n\r\n", "GET", "/a?b", "/a"},  // a field
        {"GET /a?b HTTP/1.1\r\n\r\n", "GET", "/a?b", "/a"},                         // no Host
        {"GET /a HTTP/2.0\r\n\r\n", "GET", "/a", ""},
        {"\r\nGET a HTTP/1.1\r\n\r\n", "GET", "a", ""},
        {"GET /a\001b HTTP/1.1\r\n\r\n", "GET", "/a", ""},
        {"GET  /a HTTP/1.1\r\n\r\n", "GET", "", ""},
        {"G\001T / HTTP/1.1\r\n\r\n", "G", "", ""},
        {"\026\003\001", "", "", ""},
    };
    for (unsigned i = 0; i < BK_COUNT(rows); i++) {
        CHECK_INT(parse(rows[i].text, strlen(rows[i].text)), -EPROTO);
        CHECK(head.base == rows[i].text);
        CHECK_TEXT(bk_head_str(&head, head.method, head.method_len), rows[i].method);
        CHECK_TEXT(bk_head_str(&head, head.target, head.target_len), rows[i].target);
        CHECK_TEXT(bk_head_str(&head, head.path, head.path_len), rows[i].path);
    }
}

// Faults of meaning are judged behind all faults of form, in an order of their own.
TEST(the_order_of_faults)
{
    static const char meaning_then_form[] =
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nX\001: y\r\n\r\n";
    CHECK_INT(parse(meaning_then_form, sizeof meaning_then_form - 1), -EPROTO);
    CHECK_STR(fault.why, "bad byte in a field name");
    static const char several[] =
        "POST / HTTP/1.1\r\nExpect: magic\r\nTransfer-Encoding: x\r\nHost: a b\r\n\r\n";
    CHECK_INT(parse(several, sizeof several - 1), -EPROTO);
    CHECK_STR(fault.why, "bad Host value");
}

// 256 lines of one name: the counters behind the checks for repeated fields must not wrap.
TEST(counters_do_not_wrap)
{
    static const struct bk_h1_limits many = {8190, 32768, 65536, 256};
    static const char *const lines[] = {"Content-Length: 1\r\n", "Transfer-Encoding: chunked\r\n",
                                        "Host: a\r\n"};
    for (unsigned count = 250; count <= 256; count++) {
        for (unsigned i = 0; i < BK_COUNT(lines); i++) {
            static char text[16384];
            struct bk_h1_parser parser;
            size_t len = (size_t)snprintf(text, sizeof text, "POST / HTTP/1.0\r\n");
            for (unsigned k = 0; k < count; k++)
                len += (size_t)snprintf(text + len, sizeof text - len, "%s", lines[i]);
            len += (size_t)snprintf(text + len, sizeof text - len, "\r\n");
            bk_h1_parse_reset(&parser);
            head.fields = fields;
            CHECK_INT(bk_h1_parse_head(&parser, text, len, &many, &head, &fault), -EPROTO);
            CHECK_INT(fault.status, 400);
        }
    }
}

TEST(very_long_names)
{
    static const struct bk_h1_limits wide = {8190, 200000, 400000, 100};
    static const size_t lens[] = {500, 512, 513, 1024, 65535, 65536, 70000};
    for (unsigned i = 0; i < BK_COUNT(lens); i++) {
        size_t front = strlen("GET / HTTP/1.0\r\n"), len = front + lens[i] + 7;
        char *text = malloc(len);
        struct bk_h1_parser parser;
        memcpy(text, "GET / HTTP/1.0\r\n", front);
        memset(text + front, 'n', lens[i]);
        memcpy(text + front + lens[i], ": v\r\n\r\n", 7);
        bk_h1_parse_reset(&parser);
        head.fields = fields;
        ssize_t done = bk_h1_parse_head(&parser, text, len, &wide, &head, &fault);
        if (lens[i] <= UINT16_MAX) {
            CHECK_INT(done, len);
            CHECK_INT(fields[0].name_len, lens[i]);
            CHECK_TEXT(bk_head_str(&head, fields[0].value, fields[0].value_len), "v");
        } else {
            CHECK_INT(done, -EPROTO);
            CHECK_INT(fault.status, 431);
        }
        free(text);
    }
}

// ---- scanning codes -----------------------------------------------------------------------------

static const struct bk__scan *
scan_named(unsigned i)
{
    static const char *const names[] = {"plain", "sse4.2", "avx2"};
    if (bk_h1_scan_force(names[i]) < 0)
        return NULL;
    CHECK_STR(bk_h1_scan_name(), names[i]);
    return (const struct bk__scan *[]){
        &bk__scan_plain,
#if defined(__x86_64__)
        &bk__scan_sse42, &bk__scan_avx2,
#endif
    }[i];
}

TEST(one_is_chosen_and_unknown_ones_are_refused)
{
#if defined(__x86_64__)
    const char *best = __builtin_cpu_supports("avx2")     ? "avx2"
                       : __builtin_cpu_supports("sse4.2") ? "sse4.2"
                                                          : "plain";
    CHECK_STR(bk_h1_scan_name(), best);
#endif
    CHECK_INT(bk_h1_scan_force("mmx"), -ENOTSUP);
    CHECK_INT(bk_h1_scan_force("plain"), 0);
}

// Every byte value at every place of every length up to three blocks and a bit.
TEST(all_codes_classify_alike)
{
    for (unsigned which = 1; which < 3; which++) {
        const struct bk__scan *scan = scan_named(which);
        for (size_t len = 1; scan && len <= 200; len += len < 70 ? 1 : 13) {
            char *bytes = malloc(len);
            for (size_t place = 0; place < len; place++) {
                for (int byte = 0; byte < 256; byte++) {
                    struct bk__scan_marks ours, plain;
                    memset(bytes, 'a', len);
                    bytes[place] = (char)byte;
                    bool high = bk__scan_plain.classify(bytes, len, &plain);
                    CHECK_INT(scan->classify(bytes, len, &ours), high);
                    CHECK_INT(high, byte >= 0x80);
                    size_t words = (len + 63) / 64;
                    CHECK(memcmp(ours.names, plain.names, words * 8) == 0);
                    CHECK(memcmp(ours.values, plain.values, words * 8) == 0);
                }
            }
            free(bytes);
        }
    }
}

TEST(the_plain_code_classifies_by_the_table)
{
    for (int byte = 0; byte < 256; byte++) {
        char bytes[3] = {'a', (char)byte, 'a'};
        struct bk__scan_marks marks;
        bk__scan_plain.classify(bytes, 3, &marks);
        CHECK(marks.names[0] ==
              ((bk_token_valid((struct bk_str){bytes + 1, 1}) ? 0u : 2u) | ~UINT64_C(0) << 3));
        CHECK(marks.values[0] ==
              ((bk_value_valid((struct bk_str){bytes + 1, 1}) ? 0u : 2u) | ~UINT64_C(0) << 3));
    }
}

TEST(all_codes_find_the_same_ends)
{
    for (unsigned which = 1; which < 3; which++) {
        const struct bk__scan *scan = scan_named(which);
        for (size_t len = 1; scan && len <= 80; len++) {
            char *bytes = malloc(len);
            for (size_t place = 0; place < len; place++) {
                for (int byte = 0; byte < 256; byte++) {
                    memset(bytes, 'a', len);
                    bytes[place] = (char)byte;
                    CHECK(scan->token(bytes, bytes + len) ==
                          bk__scan_plain.token(bytes, bytes + len));
                    CHECK(scan->target(bytes, bytes + len) ==
                          bk__scan_plain.target(bytes, bytes + len));
                    CHECK(scan->value(bytes, bytes + len) ==
                          bk__scan_plain.value(bytes, bytes + len));
                }
            }
            free(bytes);
        }
    }
}

// Heads that reach over several windows, with the line ends at every place of a window.
TEST(windows_have_no_seams)
{
    for (size_t pad = 0; pad < 600; pad += pad < 440 || pad > 530 ? 7 : 1) {
        static char text[8192];
        struct bk_str filler = {text + 4096, pad};
        memset(text + 4096, 'f', pad);
        size_t len = (size_t)snprintf(
            text, 4096,
            "GET / HTTP/1.1\r\nHost: a\r\nX: %.*s\r\nCookie: %.*s\r\nAccept: */*\r\n%.*s-Y: z\r\n"
            "Connection: close\r\n\r\n",
            (int)filler.len, filler.at, (int)(600 - pad), "", (int)filler.len, filler.at);
        struct transcript bytewise = drive_bytes(text, len, &drive_limits, NULL, SIZE_MAX);
        CHECK(strstr(bytewise.text, "  Connection: close\nend\nidle\n"));
        for (unsigned which = 0; which < 3; which++) {
            if (!scan_named(which))
                continue;
            struct transcript whole = drive_bytes(text, len, &drive_limits, NULL, 0);
            CHECK_STR(whole.text, bytewise.text);
            free(whole.text);
        }
        free(bytewise.text);
    }
}

static uint64_t random_state = 88172645463325252u;

static unsigned
random_below(unsigned bound)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 33) % bound;
}

// Random heads from pieces that are mostly good, whole against random pieces.
TEST(random_heads_in_random_pieces)
{
    static const char *const pieces[] = {
        "GET / HTTP/1.1\r\n",
        "Host: a\r\n",
        "Content-Length: 3\r\n",
        "X: y\r\n",
        "\r\n",
        "abc",
        "Transfer-Encoding: chunked\r\n",
        "3\r\nabc\r\n",
        "0\r\n",
        "\r",
        "\n",
        " ",
        ":",
        "\351",
        "A-Long-Name-Of-A-Field: with a value of it\r\n",
        "Cookie: 0123456789012345678901234567890123456789012345678901234567890123456789\r\n",
        "Connection: keep-alive\r\n",
        "\001"};
    for (unsigned round = 0; round < 4000; round++) {
        char text[2048];
        size_t len = 0, cuts[8], count = 0;
        unsigned many = random_below(20);
        len += (size_t)snprintf(text, sizeof text, "GET /%u HTTP/1.1\r\nHost: a\r\n", round);
        for (unsigned i = 0; i < many; i++) {
            unsigned choice = random_below(random_below(3) ? 9 : BK_COUNT(pieces));
            len += (size_t)snprintf(text + len, sizeof text - len, "%s", pieces[choice]);
        }
        for (size_t at = random_below(40); count < BK_COUNT(cuts) && at <= len;
             at += random_below(80))
            cuts[count++] = at;
        scan_named(round % 3);
        struct transcript whole = drive_bytes(text, len, &drive_limits, NULL, 0);
        struct transcript cut = drive_bytes(text, len, &drive_limits, cuts, count);
        CHECK_STR(cut.text, whole.text);
        free(whole.text);
        free(cut.text);
    }
}

// Work is linear in the bytes however they come: a head of 60 KiB byte by byte takes milliseconds,
// not minutes.
TEST(byte_by_byte_is_linear)
{
    static char text[60000];
    struct bk_h1_parser parser;
    size_t len = (size_t)snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
    memset(text + len, 'v', 30000);
    len += 30000;
    len += (size_t)snprintf(text + len, sizeof text - len, "\r\n\r\n");
    bk_h1_parse_reset(&parser);
    head.fields = fields;
    for (size_t seen = 1; seen < len; seen++) {
        uint32_t before = parser.at;
        CHECK_INT(bk_h1_parse_head(&parser, text, seen, &limits, &head, &fault), 0);
        CHECK_INT(parser.at - before, 1);  // it went on where it was, it did not begin again
    }
    CHECK_INT(bk_h1_parse_head(&parser, text, len, &limits, &head, &fault), len);
}
