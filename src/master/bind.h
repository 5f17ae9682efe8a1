// The pool's listeners: bound before any worker starts, with errors a person can act on.
#pragma once

#include "master/state.h"

// Binds all --bind addresses (127.0.0.1:8000 when there is none). False after bk_master_fail.
bool bk_bind_open(struct bk_master_pool *pool) BK_MUST_CHECK;
// Closes them; socket files of ours are removed.
void bk_bind_close(struct bk_master_pool *pool);
// "http://127.0.0.1:8000, unix:run/web.sock (0660 web:web)": all of them, as bound.
void bk_bind_describe(const struct bk_master_pool *pool, char *out, size_t room);
// The same for addresses that were not bound (--check-config).
void bk_bind_describe_wanted(const struct bk_config *config, char *out, size_t room);
