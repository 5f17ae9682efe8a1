// JSON, read: a text becomes a tree of values. For the answers of a server that may be older or
// newer than this program, so every look-up has a default. Strings are unescaped in place.
#pragma once

#include "base/str.h"

enum bk_tree_kind {
    BK_TREE_NULL,
    BK_TREE_FALSE,
    BK_TREE_TRUE,
    BK_TREE_NUMBER,
    BK_TREE_STRING,
    BK_TREE_ARRAY,
    BK_TREE_OBJECT
};

struct bk_tree_value {
    enum bk_tree_kind kind;
    struct bk_str key;    // of an object's member
    struct bk_str text;   // STRING: unescaped; NUMBER: as written
    unsigned count;       // of members
    uint32_t first, next; // index of a value, 0: none
};

struct bk_tree {
    char *text;                   // owns
    struct bk_tree_value *values; // owns; [0] is nobody, [1] the whole
    uint32_t count, room;
};

// Takes `text` (malloc'ed, `len` bytes and a NUL behind them) over in any case. -EPROTO when it is
// no JSON or nested deeper than 32, -ENOMEM.
int bk_tree_parse(char *text, size_t len, struct bk_tree *ret) BK_MUST_CHECK;
void bk_tree_release(struct bk_tree *tree);

typedef const struct bk_tree_value *bk_tree_at;
bk_tree_at bk_tree_root(const struct bk_tree *tree);
// Member of an object by its key; NULL when `at` is NULL or has none.
bk_tree_at bk_tree_get(const struct bk_tree *tree, bk_tree_at at, const char *key);
// First member, and the one behind a member; NULL at the end.
bk_tree_at bk_tree_first(const struct bk_tree *tree, bk_tree_at at);
bk_tree_at bk_tree_next(const struct bk_tree *tree, bk_tree_at at);
// Values of members; 0 and "" when there is none or it is of another kind.
uint64_t bk_tree_u64(const struct bk_tree *tree, bk_tree_at at, const char *key);
double bk_tree_double(const struct bk_tree *tree, bk_tree_at at, const char *key);
struct bk_str bk_tree_text(const struct bk_tree *tree, bk_tree_at at, const char *key);
