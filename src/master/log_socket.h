// Log records as datagrams: syslog (RFC 3164 to the local daemon, RFC 5424 over udp) and the journal's native
// protocol. Used by log_target.c only.
#pragma once

#include "master/log_target.h"

// `to`: unix:PATH or udp://host:port, NULL for the usual place. A daemon that is not there yet is not an error
// for a unix path: each record tries again, at most once a second. -EINVAL for an address that cannot be read,
// -ENOENT for an unknown host.
int bk_log_socket_open(struct bk_log_target *target, enum bk_log_target_kind kind, const char *to) BK_MUST_CHECK;
// Sends at once, one datagram a line; what the daemon does not take is counted as lost.
void bk_log_socket_send(struct bk_log_target *target, const struct bk_log_record *record);
// "user" -> 1, "local0" -> 16; -EINVAL.
int bk_log_socket_facility(const char *name);

// Pure parts, for tests. Head of a syslog line without the message; returns its length.
size_t bk_log_socket_head(const struct bk_log_target *target, const struct bk_log_record *record, char *out,
                          size_t room);
// Whole journal datagram appended to the page.
int bk_log_socket_journal(struct bk_page *page, const struct bk_log_record *record);
