// Words shared by all protocols: method ids, reason phrases, finding a field. Codecs, serve and
 // hosts call it.
#include "proto/message.h"

#include "proto/headers.h"

#include "base/banned.h"

const struct bk_field *
bk_head_find(const struct bk_head *head, unsigned id)
{
    for (unsigned i = 0; i < head->field_count; i++)
        if (head->fields[i].id == id)
            return &head->fields[i];
    return NULL;
}

void
bk_head_server(const struct bk_head *head, struct bk_str *ret_name, struct bk_str *ret_port)
{
    const struct bk_field *field = bk_head_find(head, BK_HEADER_HOST);
    struct bk_str text = {0};
    if (head->flags & BK_HEAD_ABSOLUTE)
        text = bk_head_str(head, head->authority, head->authority_len);
    else if (field)
        text = bk_head_str(head, field->value, field->value_len);
    *ret_name = text;
    *ret_port = (struct bk_str){0};
    const char *colon = text.len ? memrchr(text.at, ':', text.len) : NULL;
    if (colon && !memchr(colon, ']', (size_t)(text.at + text.len - colon))) {
        ret_name->len = (size_t)(colon - text.at);
        *ret_port = (struct bk_str){colon + 1, text.len - ret_name->len - 1};
    }
}

#define IS(text) (memcmp(name.at, text, sizeof(text) - 1) == 0)

enum bk_method
bk_method_of(struct bk_str name)
{
    switch (name.len) {
    case 3:
        return IS("GET") ? BK_METHOD_GET : IS("PUT") ? BK_METHOD_PUT : BK_METHOD_OTHER;
    case 4:
        return IS("POST") ? BK_METHOD_POST : IS("HEAD") ? BK_METHOD_HEAD : BK_METHOD_OTHER;
    case 5:
        return IS("PATCH") ? BK_METHOD_PATCH : IS("TRACE") ? BK_METHOD_TRACE : BK_METHOD_OTHER;
    case 6:
        return IS("DELETE") ? BK_METHOD_DELETE : BK_METHOD_OTHER;
    case 7:
        return IS("OPTIONS")   ? BK_METHOD_OPTIONS
               : IS("CONNECT") ? BK_METHOD_CONNECT
                               : BK_METHOD_OTHER;
    default:
        return BK_METHOD_OTHER;
    }
}

// The IANA registry of HTTP status codes.
const char *
bk_status_reason(int status)
{
    switch (status) {
#define X(code, text) case code: return text;
        X(100, "Continue") X(101, "Switching Protocols") X(102, "Processing") X(103, "Early Hints")
        X(200, "OK") X(201, "Created") X(202, "Accepted") X(203, "Non-Authoritative Information")
        X(204, "No Content") X(205, "Reset Content") X(206, "Partial Content") X(207, "Multi-Status")
        X(208, "Already Reported") X(226, "IM Used")
        X(300, "Multiple Choices") X(301, "Moved Permanently") X(302, "Found") X(303, "See Other")
        X(304, "Not Modified") X(305, "Use Proxy") X(307, "Temporary Redirect") X(308, "Permanent Redirect")
        X(400, "Bad Request") X(401, "Unauthorized") X(402, "Payment Required") X(403, "Forbidden")
        X(404, "Not Found") X(405, "Method Not Allowed") X(406, "Not Acceptable")
        X(407, "Proxy Authentication Required") X(408, "Request Timeout") X(409, "Conflict") X(410, "Gone")
        X(411, "Length Required") X(412, "Precondition Failed") X(413, "Content Too Large")
        X(414, "URI Too Long") X(415, "Unsupported Media Type") X(416, "Range Not Satisfiable")
        X(417, "Expectation Failed") X(421, "Misdirected Request") X(422, "Unprocessable Content")
        X(423, "Locked") X(424, "Failed Dependency") X(425, "Too Early") X(426, "Upgrade Required")
        X(428, "Precondition Required") X(429, "Too Many Requests")
        X(431, "Request Header Fields Too Large") X(451, "Unavailable For Legal Reasons")
        X(500, "Internal Server Error") X(501, "Not Implemented") X(502, "Bad Gateway")
        X(503, "Service Unavailable") X(504, "Gateway Timeout") X(505, "HTTP Version Not Supported")
        X(506, "Variant Also Negotiates") X(507, "Insufficient Storage") X(508, "Loop Detected")
        X(511, "Network Authentication Required")
#undef X
    default: return "";
    }
}
