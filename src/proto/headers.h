// Known field names: one table gives each an id, a perfect hash finds it. Hosts make ready-made keys per id.
#pragma once

#include "proto/message.h"

// id, name in canonical spelling. CONTENT_TYPE and CONTENT_LENGTH have no HTTP_ prefix in CGI environs.
#define BK_HEADERS(X) \
    X(ACCEPT, "Accept") X(ACCEPT_CHARSET, "Accept-Charset") X(ACCEPT_ENCODING, "Accept-Encoding") \
    X(ACCEPT_LANGUAGE, "Accept-Language") X(ACCEPT_RANGES, "Accept-Ranges") X(ACCESS_CONTROL_REQUEST_HEADERS, "Access-Control-Request-Headers") \
    X(ACCESS_CONTROL_REQUEST_METHOD, "Access-Control-Request-Method") X(AGE, "Age") X(ALLOW, "Allow") X(AUTHORIZATION, "Authorization") \
    X(BAGGAGE, "Baggage") X(CACHE_CONTROL, "Cache-Control") X(CDN_LOOP, "CDN-Loop") X(CF_CONNECTING_IP, "CF-Connecting-IP") X(CONNECTION, "Connection") \
    X(CONTENT_DISPOSITION, "Content-Disposition") X(CONTENT_ENCODING, "Content-Encoding") X(CONTENT_LANGUAGE, "Content-Language") \
    X(CONTENT_LENGTH, "Content-Length") X(CONTENT_RANGE, "Content-Range") X(CONTENT_TYPE, "Content-Type") X(COOKIE, "Cookie") \
    X(DATE, "Date") X(DNT, "DNT") X(ETAG, "ETag") X(EXPECT, "Expect") X(FORWARDED, "Forwarded") X(FROM, "From") X(HOST, "Host") \
    X(IF_MATCH, "If-Match") X(IF_MODIFIED_SINCE, "If-Modified-Since") X(IF_NONE_MATCH, "If-None-Match") X(IF_RANGE, "If-Range") \
    X(IF_UNMODIFIED_SINCE, "If-Unmodified-Since") X(KEEP_ALIVE, "Keep-Alive") X(LAST_MODIFIED, "Last-Modified") X(LOCATION, "Location") \
    X(MAX_FORWARDS, "Max-Forwards") X(ORIGIN, "Origin") X(PRAGMA, "Pragma") X(PRIORITY, "Priority") X(PROXY, "Proxy") \
    X(PROXY_AUTHORIZATION, "Proxy-Authorization") X(PROXY_CONNECTION, "Proxy-Connection") X(RANGE, "Range") X(REFERER, "Referer") \
    X(SEC_CH_UA, "Sec-CH-UA") X(SEC_CH_UA_MOBILE, "Sec-CH-UA-Mobile") X(SEC_CH_UA_PLATFORM, "Sec-CH-UA-Platform") X(SEC_FETCH_DEST, "Sec-Fetch-Dest") \
    X(SEC_FETCH_MODE, "Sec-Fetch-Mode") X(SEC_FETCH_SITE, "Sec-Fetch-Site") X(SEC_FETCH_USER, "Sec-Fetch-User") \
    X(SEC_WEBSOCKET_EXTENSIONS, "Sec-WebSocket-Extensions") X(SEC_WEBSOCKET_KEY, "Sec-WebSocket-Key") X(SEC_WEBSOCKET_PROTOCOL, "Sec-WebSocket-Protocol") \
    X(SEC_WEBSOCKET_VERSION, "Sec-WebSocket-Version") X(SERVER, "Server") X(SET_COOKIE, "Set-Cookie") X(TE, "TE") X(TRACEPARENT, "Traceparent") \
    X(TRACESTATE, "Tracestate") X(TRAILER, "Trailer") X(TRANSFER_ENCODING, "Transfer-Encoding") X(UPGRADE, "Upgrade") \
    X(UPGRADE_INSECURE_REQUESTS, "Upgrade-Insecure-Requests") X(USER_AGENT, "User-Agent") X(VARY, "Vary") X(VIA, "Via") \
    X(WWW_AUTHENTICATE, "WWW-Authenticate") X(X_CSRFTOKEN, "X-CSRFToken") X(X_FORWARDED_FOR, "X-Forwarded-For") X(X_FORWARDED_HOST, "X-Forwarded-Host") \
    X(X_FORWARDED_PORT, "X-Forwarded-Port") X(X_FORWARDED_PREFIX, "X-Forwarded-Prefix") X(X_FORWARDED_PROTO, "X-Forwarded-Proto") \
    X(X_FORWARDED_PROTOCOL, "X-Forwarded-Protocol") X(X_FORWARDED_SSL, "X-Forwarded-SSL") X(X_REAL_IP, "X-Real-IP") X(X_REQUEST_ID, "X-Request-ID") \
    X(X_REQUEST_START, "X-Request-Start") X(X_REQUESTED_WITH, "X-Requested-With")

enum bk_header {
    BK_HEADER_OTHER,
#define X(id, name) BK_HEADER_##id,
    BK_HEADERS(X)
#undef X
    BK_HEADER_COUNT
};

// Id of a name in any case; BK_HEADER_OTHER when it is none of the table.
enum bk_header bk_header_id(const char *name, size_t len);
// Canonical spelling of an id, "" for OTHER.
struct bk_str bk_header_name(enum bk_header id);

// tchar of RFC 9110 §5.6.2 for every byte: a valid method or field name.
bool bk_token_valid(struct bk_str s);
// Field value: HTAB, SP, VCHAR, obs-text; no other control byte (RFC 9110 §5.5).
bool bk_value_valid(struct bk_str s);
// True when the comma list of a value contains `token` (case-insensitive).
bool bk_value_lists(struct bk_str value, struct bk_str token);
