// What went wrong because of the peer: an HTTP status for it and a short reason for the log.
// Functions that can fail return a negative errno; -EPROTO means "the peer's fault, *fault says what".
#pragma once

#include "base/compiler.h"

struct bk_fault {
    int status;       // 400, 413, ... to answer with; 0 = close without an answer
    const char *why;  // borrows a string literal: "bare LF in the request line"
};

// Fills *fault and returns -EPROTO, so that a parser can write `return bk_fault_set(f, 400, "...");`.
int bk_fault_set(struct bk_fault *fault, int status, const char *why);

// Short name of an errno value, also a negative one: "ECONNRESET"; "E?" when unknown. Never NULL.
const char *bk_err_name(int error);
