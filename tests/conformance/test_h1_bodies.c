// Request bodies and limits as tables (ids FR, CH and the limits of RL and HD), and the shapes that
// have split other servers from their proxies (D1 to D56). docs/conformance.md explains the ids.
#include "h1_rows.h"

TABLE(framing,
    OK("FR1-get-body", GET("Content-Length: 5\r\n") "hello", "length=5 KEEP_ALIVE HAS_LENGTH\n  Host: a\n  Content-Length: 5\nbody hello\nend\n")
    OK("FR1-delete-chunked", "DELETE / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "CHUNKED\n")
    OK("FR1-post-nothing", POST(""), "length=0 KEEP_ALIVE\n  Host: a\nend\n")
    OK("FR1-zero", POST("Content-Length: 0\r\n"), "HAS_LENGTH\n  Host: a\n  Content-Length: 0\nend\n")
    OK("FR1-1.0-body", "POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi", "body hi\nend\n")
    BAD("FR2-plus", POST("Content-Length: +5\r\n") "hello")
    BAD("FR2-minus", POST("Content-Length: -0\r\n"))
    BAD("FR2-underscore", POST("Content-Length: 0_5\r\n") "hello")
    BAD("FR2-hex", POST("Content-Length: 0x5\r\n") "hello")
    BAD("FR2-dot", POST("Content-Length: 5.0\r\n") "hello")
    BAD("FR2-exponent", POST("Content-Length: 1e1\r\n") "hello")
    BAD("FR2-comma", POST("Content-Length: 5,\r\n") "hello")
    BAD("FR2-semicolon", POST("Content-Length: 5;\r\n") "hello")
    BAD("FR2-quotes", POST("Content-Length: \"5\"\r\n") "hello")
    BAD("FR2-inner-space", POST("Content-Length: 1 0\r\n"))
    BAD("FR2-empty", POST("Content-Length:\r\n"))
    BAD("FR2-blank", POST("Content-Length: \t\r\n"))
    BAD("FR2-arabic-digit", POST("Content-Length: \331\245\r\n") "hello")
    BAD("FR2-suffix", POST("Content-Length: 5x\r\n") "hello")
    BAD("FR2-nbsp", POST("Content-Length: 5\240\r\n") "hello")
    BAD("FR2-vertical-tab", POST("Content-Length: \v5\r\n") "hello")
    OK("FR2-ows", POST("Content-Length: \t 5 \t\r\n") "hello", "length=5")
    R("FR3-2^63", POST("Content-Length: 9223372036854775808\r\n"), 413, NULL)
    R("FR3-2^64", POST("Content-Length: 18446744073709551616\r\n"), 413, NULL)
    R("FR3-2^64+5", POST("Content-Length: 18446744073709551621\r\n") "hello", 413, NULL)
    R("FR3-many-digits", POST("Content-Length: 99999999999999999999999999999999\r\n"), 413, NULL)
    R("FR3-largest", POST("Content-Length: 9223372036854775807\r\n"), OPEN, "length=9223372036854775807")
    BAD("FR4-differing", POST("Content-Length: 5\r\nContent-Length: 6\r\n") "hello")
    BAD("FR4-equal", POST("Content-Length: 5\r\nContent-Length: 5\r\n") "hello")
    BAD("FR4-list", POST("Content-Length: 5, 5\r\n") "hello")
    BAD("FR4-empty-and-number", POST("Content-Length:\r\nContent-Length: 5\r\n") "hello")
    OK("FR5-leading-zeros", POST("Content-Length: 010\r\n") "0123456789", "body 0123456789\n")
    BAD("FR6-cl-te", POST("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") "0\r\n\r\n")
    BAD("FR6-te-cl", POST("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n") "0\r\n\r\n")
    BAD("FR6-cl-0", POST("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n") "0\r\n\r\n")
    BAD("FR6-bad-cl", POST("Transfer-Encoding: chunked\r\nContent-Length: x\r\n") "0\r\n\r\n")
    BAD("FR6-bad-te", POST("Transfer-Encoding: x\r\nContent-Length: 5\r\n") "hello")
    BAD("FR6-empty-te", POST("Transfer-Encoding:\r\nContent-Length: 5\r\n") "hello")
    BAD("FR7-1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    BAD("FR7-1.0-keep-alive", "POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    OK("FR8-case", POST("Transfer-Encoding: ChUnKeD\r\n") "0\r\n\r\n", "CHUNKED\n")
    OK("FR8-ows", POST("Transfer-Encoding: \t chunked \t\r\n") "0\r\n\r\n", "CHUNKED\n")
    R("FR8-gzip", POST("Transfer-Encoding: gzip\r\n"), 501, NULL)
    R("FR8-identity", POST("Transfer-Encoding: identity\r\n"), 501, NULL)
    R("FR8-gzip-chunked", POST("Transfer-Encoding: gzip, chunked\r\n") "0\r\n\r\n", 501, NULL)
    R("FR8-gzip-line-chunked-line", POST("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n") "0\r\n\r\n", 501, NULL)
    R("FR8-identity-chunked", POST("Transfer-Encoding: identity, chunked\r\n") "0\r\n\r\n", 501, NULL)
    BAD("FR8-chunked-gzip", POST("Transfer-Encoding: chunked, gzip\r\n"))
    BAD("FR8-chunked-identity", POST("Transfer-Encoding: chunked, identity\r\n"))
    BAD("FR8-chunked-line-gzip-line", POST("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n"))
    BAD("FR8-twice", POST("Transfer-Encoding: chunked, chunked\r\n") "0\r\n\r\n")
    BAD("FR8-two-lines", POST("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n") "0\r\n\r\n")
    BAD("FR8-parameter", POST("Transfer-Encoding: chunked;a=b\r\n") "0\r\n\r\n")
    BAD("FR8-quotes", POST("Transfer-Encoding: \"chunked\"\r\n") "0\r\n\r\n")
    BAD("FR8-empty", POST("Transfer-Encoding:\r\n"))
    BAD("FR8-comma", POST("Transfer-Encoding: ,chunked\r\n") "0\r\n\r\n")
    BAD("FR8-comma-behind", POST("Transfer-Encoding: chunked,\r\n") "0\r\n\r\n")
    BAD("FR8-vertical-tab", POST("Transfer-Encoding: \vchunked\r\n") "0\r\n\r\n")
    BAD("FR8-form-feed", POST("Transfer-Encoding: chunked\f\r\n") "0\r\n\r\n")
    BAD("FR8-nul", POST("Transfer-Encoding: chunked\0\r\n") "0\r\n\r\n")
    BAD("FR8-nbsp", POST("Transfer-Encoding: chunked\240\r\n") "0\r\n\r\n")
    BAD("FR8-inner-space", POST("Transfer-Encoding: chun ked\r\n") "0\r\n\r\n")
    R("FR9-prefix", POST("Transfer-Encoding: chunkedfoo\r\n"), 501, NULL)
    R("FR9-suffix", POST("Transfer-Encoding: xchunked\r\n"), 501, NULL)
    R("FR9-kelvin", POST("Transfer-Encoding: chun\342\204\252ed\r\n"), 400, NULL)
    R("FR10-short", POST("Content-Length: 5\r\n") "hell", OPEN, "body hell\nin a body\n")
    R("FR12-in-time", POST("Content-Length: 5\r\nExpect: 100-continue\r\n"), OPEN, "HAS_LENGTH EXPECT\n")
)

TABLE(chunked,
    OK("CH", CHUNKED("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"), "body hello world\nend\n")
    OK("CH-hex", CHUNKED("A\r\n0123456789\r\nb\r\n0123456789a\r\n0\r\n\r\n"), "body 01234567890123456789a\nend\n")
    OK("CH1-zeros", CHUNKED("0000000000000005\r\nhello\r\n000\r\n\r\n"), "body hello\n")
    BAD("CH1-17-digits", CHUNKED("00000000000000005\r\nhello\r\n0\r\n\r\n"))
    R("CH1-16-digits", CHUNKED("ffffffffffffffff\r\n"), 413, NULL)
    R("CH1-2^63", CHUNKED("8000000000000000\r\n"), 413, NULL)
    BAD("CH1-17-f", CHUNKED("fffffffffffffffff\r\n"))
    BAD("CH1-0x", CHUNKED("0x5\r\nhello\r\n0\r\n\r\n"))
    BAD("CH1-underscore", CHUNKED("5_0\r\nhello"))
    BAD("CH1-plus", CHUNKED("+5\r\nhello\r\n0\r\n\r\n"))
    BAD("CH1-minus", CHUNKED("-0\r\n\r\n"))
    BAD("CH1-space-before", CHUNKED(" 5\r\nhello\r\n0\r\n\r\n"))
    BAD("CH1-tab-before", CHUNKED("\t5\r\nhello\r\n0\r\n\r\n"))
    BAD("CH1-space-behind", CHUNKED("5 \r\nhello\r\n0\r\n\r\n"))
    BAD("CH1-tab-behind", CHUNKED("5\t\r\nhello\r\n0\r\n\r\n"))
    BAD("CH1-space-before-semicolon", CHUNKED("5 ;a\r\nhello\r\n0\r\n\r\n"))
    BAD("CH1-empty", CHUNKED("\r\nhello\r\n0\r\n\r\n"))
    BAD("CH1-semicolon-only", CHUNKED(";\r\nhello\r\n0\r\n\r\n"))
    BAD("CH1-extension-only", CHUNKED(";a=b\r\nhello\r\n0\r\n\r\n"))
    BAD("CH1-letter", CHUNKED("g\r\nhello"))
    BAD("CH1-junk-behind", CHUNKED("5x\r\nhello\r\n0\r\n\r\n"))
    BAD("CH1-decimal-point", CHUNKED("5.0\r\nhello\r\n0\r\n\r\n"))
    BAD("CH1-nul", CHUNKED("5\0\r\nhello\r\n0\r\n\r\n"))
    BAD("CH1-high", CHUNKED("5\240\r\nhello\r\n0\r\n\r\n"))
    BAD("CH1-vertical-tab", CHUNKED("\v5\r\nhello\r\n0\r\n\r\n"))
    BAD("CH2-lf-size", CHUNKED("5\nhello\r\n0\r\n\r\n"))
    BAD("CH2-cr-size", CHUNKED("5\rhello\r\n0\r\n\r\n"))
    BAD("CH2-cr-x", CHUNKED("5\rX\nhello\r\n0\r\n\r\n"))
    BAD("CH2-cr-cr-lf", CHUNKED("5\r\r\nhello\r\n0\r\n\r\n"))
    BAD("CH2-lf-extension", CHUNKED("5;a\nhello\r\n0\r\n\r\n"))
    BAD("CH2-cr-extension", CHUNKED("5;a\rb\r\nhello\r\n0\r\n\r\n"))
    BAD("CH2-lf-data", CHUNKED("5\r\nhello\n0\r\n\r\n"))
    BAD("CH2-lf-last", CHUNKED("0\n\r\n"))
    BAD("CH2-lf-end", CHUNKED("0\r\n\n"))
    BAD("CH2-cr-end", CHUNKED("0\r\n\rX"))
    BAD("CH3-two-bytes", CHUNKED("5\r\nhelloXX0\r\n\r\n"))
    BAD("CH3-cr-x", CHUNKED("5\r\nhello\rX0\r\n\r\n"))
    BAD("CH3-longer", CHUNKED("5\r\nhello!\r\n0\r\n\r\n"))
    BAD("CH3-shorter", CHUNKED("5\r\nhell\r\n0\r\n\r\n"))
    BAD("CH3-nothing", CHUNKED("5\r\nhello0\r\n\r\n"))
    BAD("CH3-extra-crlf", CHUNKED("5\r\nhello\r\n\r\n0\r\n\r\n"))
    BAD("CH3-end-xx", CHUNKED("0\r\nXX\r\n"))
    OK("CH4-name", CHUNKED("5;a\r\nhello\r\n0\r\n\r\n"), "body hello\n")
    OK("CH4-token", CHUNKED("5;a=b;c=d\r\nhello\r\n0;e\r\n\r\n"), "body hello\n")
    OK("CH4-quoted", CHUNKED("5;a=\"b c;\\\"d\\\\\"\r\nhello\r\n0\r\n\r\n"), "body hello\n")
    OK("CH4-quoted-then", CHUNKED("5;a=\"\" ; b\r\nhello\r\n0\r\n\r\n"), "body hello\n")
    OK("CH4-bws", CHUNKED("5; a = b ;\tc\r\nhello\r\n0\r\n\r\n"), "body hello\n")
    OK("CH4-high-quoted", CHUNKED("5;a=\"\351\"\r\nhello\r\n0\r\n\r\n"), "body hello\n")
    BAD("CH4-no-name", CHUNKED("5;\r\nhello\r\n0\r\n\r\n"))
    BAD("CH4-two-semicolons", CHUNKED("5;;a\r\nhello\r\n0\r\n\r\n"))
    BAD("CH4-no-value", CHUNKED("5;a=\r\nhello\r\n0\r\n\r\n"))
    BAD("CH4-no-name-value", CHUNKED("5;=b\r\nhello\r\n0\r\n\r\n"))
    BAD("CH4-two-equals", CHUNKED("5;a==b\r\nhello\r\n0\r\n\r\n"))
    BAD("CH4-trailing-space", CHUNKED("5;a \r\nhello\r\n0\r\n\r\n"))
    BAD("CH4-trailing-space-value", CHUNKED("5;a=b \r\nhello\r\n0\r\n\r\n"))
    BAD("CH4-two-words", CHUNKED("5;a b\r\nhello\r\n0\r\n\r\n"))
    BAD("CH4-open-quote", CHUNKED("5;a=\"b\r\nhello\r\n0\r\n\r\n"))
    BAD("CH4-junk-behind-quote", CHUNKED("5;a=\"b\"c\r\nhello\r\n0\r\n\r\n"))
    BAD("CH4-escaped-lf", CHUNKED("5;a=\"\\\n\"\r\nhello\r\n0\r\n\r\n"))
    BAD("CH4-slash", CHUNKED("5;a/b\r\nhello\r\n0\r\n\r\n"))
    BAD("CH5-nul", CHUNKED("5;a\0\r\nhello\r\n0\r\n\r\n"))
    BAD("CH5-control", CHUNKED("5;a=\001\r\nhello\r\n0\r\n\r\n"))
    BAD("CH5-control-quoted", CHUNKED("5;a=\"\001\"\r\nhello\r\n0\r\n\r\n"))
    BAD("CH5-del-quoted", CHUNKED("5;a=\"\177\"\r\nhello\r\n0\r\n\r\n"))
    OK("CH6", CHUNKED("5\r\nhello\r\n0\r\nX-A: b\r\nX-C:d\r\nX-E:\r\n\r\n"), "  Transfer-Encoding: chunked\nbody hello\nend\n")
    BAD("CH6-request-line", CHUNKED("0\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"))
    BAD("CH6-no-colon", CHUNKED("0\r\nX-A\r\n\r\n"))
    BAD("CH6-empty-name", CHUNKED("0\r\n: b\r\n\r\n"))
    BAD("CH6-space-name", CHUNKED("0\r\nX-A : b\r\n\r\n"))
    BAD("CH6-fold", CHUNKED("0\r\nX-A: b\r\n c\r\n\r\n"))
    BAD("CH6-fold-first", CHUNKED("0\r\n c\r\n\r\n"))
    BAD("CH6-lf", CHUNKED("0\r\nX-A: b\n\r\n"))
    BAD("CH6-cr", CHUNKED("0\r\nX-A: b\rc\r\n\r\n"))
    BAD("CH6-nul", CHUNKED("0\r\nX-A: b\0c\r\n\r\n"))
    BAD("CH6-high-name", CHUNKED("0\r\nX\351: b\r\n\r\n"))
    BAD("CH6-length", CHUNKED("0\r\nContent-Length: 5\r\n\r\n"))
    BAD("CH6-coding", CHUNKED("0\r\ntransfer-encoding: chunked\r\n\r\n"))
    BAD("CH6-host", CHUNKED("0\r\nHOST: evil\r\n\r\n"))
    BAD("CH6-authorization", CHUNKED("0\r\nAuthorization: x\r\n\r\n"))
    R("CH7-no-last-chunk", CHUNKED("5\r\nhello\r\n"), OPEN, "body hello\nin a body\n")
    R("CH7-no-end", CHUNKED("5\r\nhello\r\n0\r\n"), OPEN, NULL)
    R("CH7-half-end", CHUNKED("5\r\nhello\r\n0\r\n\r"), OPEN, NULL)
    R("CH7-half-chunk", CHUNKED("5\r\nhel"), OPEN, "body hel\nin a body\n")
    R("CH7-half-size", CHUNKED("5"), OPEN, NULL)
    R("CH8-behind-data", CHUNKED("5\r\nhello\r\nzz\r\n"), 400, "body hello\nfault 400")
)

TABLE(known_discrepancies,
    BAD("D1", POST("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") "0\r\n\r\nG")
    R("D2", POST("Transfer-Encoding: xchunked\r\nX: y\r\n"), 501, NULL)
    R("D3", POST("Transfer-Encoding: identity, chunked\r\n") "0\r\n\r\n", 501, NULL)
    BAD("D4", POST("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n") "0\r\n\r\n")
    BAD("D5", POST("Transfer-Encoding: ,chunked\r\n") "0\r\n\r\n")
    BAD("D6", POST("Transfer-Encoding: \vchunked\r\n") "0\r\n\r\n")
    R("D7", POST("Transfer-Encoding: cow\r\n"), 501, NULL)
    R("D8", POST("Transfer-Encoding: chunkedfoo\r\n"), 501, NULL)
    BAD("D9-fold", POST("Transfer-Encoding:\r\n chunked\r\n"))
    BAD("D9-name", POST("Transfer-\r\nEncoding: chunked\r\n"))
    BAD("D10", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n")
    BAD("D11", POST("Content-Length: 0_5\r\n") "hello")
    OK("D12", POST("Content-Length: 010\r\n") "0123456789", "length=10")
    BAD("D13", POST("Content-Length: 0\r\nContent-Length: 30\r\n"))
    BAD("D14", POST("Content-Length: \r\n"))
    BAD("D15", POST("Content-Length: 5x\r\n") "hello")
    R("D16", POST("Content-Length: 4294967296000000000000\r\n"), 413, NULL)
    BAD("D17", POST("Content-Length : 5\r\n") "hello")
    BAD("D18", "POST / HTTP/1.1\r\n Content-Length: 40\r\nHost: a\r\n\r\n")
    BAD("D19", POST("Content-Length\205: 5\r\n") "hello")
    OK("D20", GET("X_Forwarded_For: 6.6.6.6\r\n"), "  X_Forwarded_For_: 6.6.6.6\n")
    BAD("D21", GET("X: y\rTransfer-Encoding: chunked\r\n"))
    BAD("D22", GET("X: a\nContent-Length: 0\r\n"))
    BAD("D23", GET("X: a\0b\r\n"))
    BAD("D24", "GET / HTTP/1.1\r\nHost: a\r\n\rX")
    BAD("D25", GET(":\r\nX: y\r\n"))
    BAD("D26", GET("X\001: y\r\n"))
    BAD("D27", GET("X:\n\n y\r\n"))
    BAD("D28", CHUNKED("0x5\r\nhello\r\n0\r\n\r\n"))
    BAD("D29", CHUNKED("5junk\r\nhello\r\n0\r\n\r\n"))
    BAD("D30", CHUNKED("\r\n\r\n"))
    BAD("D31", CHUNKED("5 \r\nhello\r\n0\r\n\r\n"))
    BAD("D32-term-ext", CHUNKED("2;\nxx\r\n1\r\nx\r\n0\r\n\r\n"))
    BAD("D32-ext-term", CHUNKED("2;\rxx\r\n1\r\nx\r\n0\r\n\r\n"))
    BAD("D33", CHUNKED("5\r\nhelloAB0\r\n\r\n"))
    BAD("D34", CHUNKED("0\r\nXX\r\n"))
    R("D36", CHUNKED("5\r\nhello\r\n0\r\n"), OPEN, NULL)
    OK("D37", CHUNKED("0\r\nX-Role: admin\r\n\r\n"), "  Transfer-Encoding: chunked\nend\nidle\n")
    BAD("D38", CHUNKED("0\r\nGET / HTTP/1.1\r\n\r\n"))
    BAD("D39", CHUNKED("5\r\nhello\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"))
    OK("D40", POST("Content-Length: 0\r\n") GET(""), "HAS_LENGTH\n  Host: a\n  Content-Length: 0\nend\nGET / ?")
    OK("D41", GET("Sec-WebSocket-Key1: x\r\n") GET(""), "end\nGET / ?")
    OK("D45", "GET //evil/x HTTP/1.1\r\nHost: a\r\n\r\n", "GET //evil/x ? 1.1 length=0 KEEP_ALIVE\n")
    BAD("D46", LINE("GET\" / HTTP/1.1"))
    BAD("D47", "GET /a\n")
    BAD("D48", LINE("GET / HTTP/1.1111"))
    BAD("D55", POST("Transfer-Encoding: chun\342\204\252ed\r\n") "0\r\n\r\n")
    BAD("D56", GET("Content-Type: a/b\r\nContent-Type: a/b\r\n"))
)

// ---- limits: rows made at run time, with small limits so that every cut can be tried ------------

static const struct bk_codec_limits small = {{40, 30, 120, 4}, {10, 4096, 8192, 262144}};

// A row with `count` times `c` in the place of the '*' in `form`.
static void
fill(const char *id, const char *form, char c, size_t count, const struct bk_codec_limits *limits,
     int status)
{
    const char *star = strchr(form, '*');
    size_t len = strlen(form) - 1 + count, front = (size_t)(star - form);
    char *bytes = malloc(len + 1);
    memcpy(bytes, form, front);
    memset(bytes + front, c, count);
    memcpy(bytes + front + count, star + 1, strlen(star));
    struct row row = {id, bytes, len, status, NULL};
    struct transcript t = every_way(id, bytes, len, limits);
    if (status_of(&t) != row.status)
        fail(id, "another verdict", t.text);
    free(t.text);
    free(bytes);
}

TEST(limits)
{
    // "GET / HTTP/1.1" is 14 bytes; limits: line 40, field 30, head 120, fields 4.
    fill("RL7-at", "GET /* HTTP/1.1\r\nHost: a\r\n\r\n", 'a', 26, &small, GOOD);
    fill("RL7-one-over", "GET /* HTTP/1.1\r\nHost: a\r\n\r\n", 'a', 27, &small, 414);
    fill("RL7-far-over", "GET /* HTTP/1.1\r\nHost: a\r\n\r\n", 'a', 70, &small, 414);
    fill("RL7-no-end", "GET /*", 'a', 36, &small, 414);
    fill("RL7-not-yet", "GET /*", 'a', 35, &small, OPEN);
    fill("RL7-bad-byte-first", "GET /*\001", 'a', 34, &small, 400);
    fill("RL7-too-long-first", "GET /*\001", 'a', 36, &small, 414);
    fill("RL7-method-first", "* / HTTP/1.1\r\n\r\n", 'M', 65, &drive_limits, 501);
    fill("RL7-empty-lines-free", "\r\n\r\nGET /* HTTP/1.1\r\nHost: a\r\n\r\n", 'a', 26, &small,
         GOOD);
    fill("HD12-field-at", "GET / HTTP/1.1\r\nHost: a\r\nX: *\r\n\r\n", 'v', 27, &small, GOOD);
    fill("HD12-field-over", "GET / HTTP/1.1\r\nHost: a\r\nX: *\r\n\r\n", 'v', 28, &small, 431);
    fill("HD12-field-no-end", "GET / HTTP/1.1\r\nHost: a\r\nX: *", 'v', 28, &small, 431);
    fill("HD12-field-not-yet", "GET / HTTP/1.1\r\nHost: a\r\nX: *", 'v', 27, &small, OPEN);
    fill("HD12-field-blanks", "GET / HTTP/1.1\r\nHost: a\r\nX: *\r\n\r\n", ' ', 28, &small, 431);
    fill("HD12-name", "GET / HTTP/1.1\r\nHost: a\r\n*: v\r\n\r\n", 'n', 31, &small, 431);
    fill("HD12-name-no-end", "GET / HTTP/1.1\r\nHost: a\r\n*", 'n', 31, &small, 431);
    fill("HD12-bad-byte-first", "GET / HTTP/1.1\r\nHost: a\r\nX: *\001", 'v', 20, &small, 400);
    fill(
        "HD12-head-at",
        "GET / HTTP/1.1\r\nHost: a\r\nX: vvvvvvvvvvvvvvvvvvvvvvvvvvv\r\nY: vvvvvvvvvvvvvvvvvvvvvvvvvvv\r\nZ: *\r\n\r\n",
        'v', 24, &small, GOOD);
    fill(
        "HD12-head-over",
        "GET / HTTP/1.1\r\nHost: a\r\nX: vvvvvvvvvvvvvvvvvvvvvvvvvvv\r\nY: vvvvvvvvvvvvvvvvvvvvvvvvvvv\r\nZ: *\r\n\r\n",
        'v', 25, &small, 431);
    fill("HD12-4-fields", "GET / HTTP/1.1\r\nHost: a\r\nA:\r\nB:\r\nC:*\r\n\r\n", ' ', 0, &small,
         GOOD);
    fill("HD12-5-fields", "GET / HTTP/1.1\r\nHost: a\r\nA:\r\nB:\r\nC:*\r\nD:\r\n\r\n", ' ', 0,
         &small, 431);
    fill("HD12-5-fields-at-once", "GET / HTTP/1.1\r\nHost: a\r\nA:\r\nB:\r\nC:*\r\nD", ' ', 0,
         &small, 431);
    fill("FR12-at", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n*", 'b', 10, &small,
         GOOD);
    fill("FR12-over", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n*", 'b', 11, &small,
         413);
    fill("FR12-before-100",
         "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n*", 'b',
         0, &small, 413);
    fill("FR12-chunked-at",
         "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\na\r\n*\r\n0\r\n\r\n", 'b',
         10, &small, GOOD);
    fill("FR12-chunked-over",
         "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n*\r\n0\r\n\r\n", 'b',
         11, &small, 413);
    fill(
        "FR12-chunked-sum",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\na\r\n*\r\n1\r\nb\r\n0\r\n\r\n",
        'b', 10, &small, 413);
}

#define IN_CHUNKS "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

TEST(default_limits)
{
    fill("RL6-8000", "GET /* HTTP/1.1\r\nHost: a\r\n\r\n", 'a', 8000 - 14, &drive_limits, GOOD);
    fill("RL7-8190", "GET /* HTTP/1.1\r\nHost: a\r\n\r\n", 'a', 8190 - 14, &drive_limits, GOOD);
    fill("RL7-8191", "GET /* HTTP/1.1\r\nHost: a\r\n\r\n", 'a', 8191 - 14, &drive_limits, 414);
    fill("HD12-8-kib", "GET / HTTP/1.1\r\nHost: a\r\nX: *\r\n\r\n", 'v', 8192, &drive_limits, GOOD);
    fill("CH4-line-at", IN_CHUNKS "5;a=*\r\nhello\r\n0\r\n\r\n", 'e', 252, &drive_limits, GOOD);
    fill("CH4-line-over", IN_CHUNKS "5;a=*\r\nhello\r\n0\r\n\r\n", 'e', 253, &drive_limits, 413);
    fill("CH6-line-at", IN_CHUNKS "0\r\nX: *\r\n\r\n", 't', 4093, &drive_limits, GOOD);
    fill("CH6-line-over", IN_CHUNKS "0\r\nX: *\r\n\r\n", 't', 4094, &drive_limits, 431);
    fill("CH6-name-over", IN_CHUNKS "0\r\n*: x\r\n\r\n", 't', 5000, &drive_limits, 431);
}

// Long input only whole and byte by byte.
static int
status_of_long(const char *bytes, size_t len)
{
    struct transcript whole = drive_bytes(bytes, len, &drive_limits, NULL, 0);
    size_t cuts[] = {len / 3, len / 2, len - 1};
    must_equal("long", "cut in four", &whole, drive_bytes(bytes, len, &drive_limits, cuts, 3));
    int status = status_of(&whole);
    free(whole.text);
    return status;
}

// "front", then `count` times `piece`, then "back".
static int
status_repeated(const char *front, const char *piece, size_t count, const char *back)
{
    size_t at = strlen(front), step = strlen(piece), len = at + count * step + strlen(back);
    char *bytes = malloc(len);
    memcpy(bytes, front, at);
    for (size_t i = 0; i < count; i++, at += step)
        memcpy(bytes + at, piece, step);
    memcpy(bytes + at, back, len - at);
    int status = status_of_long(bytes, len);
    free(bytes);
    return status;
}

TEST(long_input)
{
    static const char start[] = "GET / HTTP/1.1\r\nHost: a\r\n";
    CHECK_INT(status_repeated(start, "X: y\r\n", 99, "\r\n"), GOOD);
    CHECK_INT(status_repeated(start, "X: y\r\n", 100, "\r\n"), 431);
    CHECK_INT(status_repeated("GET / HTTP/1.1\r\nHost: a\r\nX: ", "v", 32768 - 3, "\r\n\r\n"),
              GOOD);
    CHECK_INT(status_repeated("GET / HTTP/1.1\r\nHost: a\r\nX: ", "v", 32768 - 2, "\r\n\r\n"), 431);
    CHECK_INT(status_repeated("GET / HTTP/1.1\r\nHost: a\r\nX: ", "v", 70000, ""), 431);
    CHECK_INT(status_repeated("GET / HTTP/1.1\r\nHost: a\r\n", "X", 40000, ": v\r\n\r\n"), 431);
    CHECK_INT(status_repeated("GET /", "a", 9000, ""), 414);
    CHECK_INT(status_repeated("GET /", "a", 70000, ""), 414);
    CHECK_INT(status_repeated(IN_CHUNKS, "1\r\nx\r\n", 1000, "0\r\n\r\n"), GOOD);
    CHECK_INT(status_repeated(IN_CHUNKS, "1;a=bcdefgh\r\nx\r\n", 409, "0\r\n\r\n"),
              GOOD);  // 10 bytes of extension each
    CHECK_INT(status_repeated(IN_CHUNKS, "1;a=bcdefgh\r\nx\r\n", 410, "0\r\n\r\n"), 413);
    CHECK_INT(status_repeated(IN_CHUNKS "0\r\n", "X: 345678\r\n", 910, "\r\n"),
              GOOD);  // 9 bytes of trailer each
    CHECK_INT(status_repeated(IN_CHUNKS "0\r\n", "X: 345678\r\n", 911, "\r\n"), 431);
}
