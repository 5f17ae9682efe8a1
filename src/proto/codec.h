// The seam between a connection and its wire protocol. A codec turns bytes into messages and back and does no I/O; the
// connection (serve/conn) owns the stream, the buffers and the timeouts. HTTP/1.x is proto/h1.c; HTTP/2, uwsgi and SCGI
// fill the same vtable. `stream` numbers the exchanges of one connection (always 0 where there is one at a time).
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "proto/h1_body.h"
#include "proto/h1_parse.h"
#include "proto/h1_write.h"
#include "proto/message.h"

struct bk_codec_limits {
    struct bk_h1_limits h1;
    struct bk_h1_body_limits body;
};

enum bk_codec_item {
    BK_ITEM_MORE,  // nothing whole yet: read on
    BK_ITEM_HEAD,  // *head is complete; the connection decides what becomes of it before it asks on
    BK_ITEM_DATA,  // body bytes
    BK_ITEM_END,   // the request is complete, trailers included; may come with the last body bytes
};

// State of one connection's codec; a union so that a connection needs no second allocation.
struct bk_codec {
    const struct bk_codec_ops *ops;
    union {
        struct {
            struct bk_h1_parser parser;
            struct bk_h1_body body;
            bool in_body;
        } h1;
    };
};

struct bk_codec_ops {
    const char *name;  // "HTTP/1.1"
    void (*reset)(struct bk_codec *codec);
    // Looks at `in` (for a head: all bytes since it began) and finds the next item. *ret_used says how many bytes it
    // took; with MORE and a head in progress that is 0 and the caller must offer the same bytes again with more behind.
    // Returns the item or -EPROTO with *fault.
    int (*next)(struct bk_codec *codec, struct bk_str in, const struct bk_codec_limits *limits, struct bk_head *head,
                size_t *ret_used, struct bk_str *ret_data, struct bk_fault *fault);
    // Upper bound and bytes of a response head.
    size_t (*head_bound)(const struct bk_h1_answer *answer);
    size_t (*write_head)(char *out, const struct bk_h1_answer *answer);
};

extern const struct bk_codec_ops bk_codec_h1;
