// Doubly linked intrusive list with a sentinel. Header only.
#pragma once

#include <stdbool.h>

#include "base/compiler.h"

struct bk_list {
    struct bk_list *next, *prev;
};

static inline void
bk_list_init(struct bk_list *list)
{
    list->next = list->prev = list;
}

static inline bool
bk_list_empty(const struct bk_list *list)
{
    return list->next == list;
}

static inline void
bk_list_append(struct bk_list *list, struct bk_list *node)
{
    node->prev = list->prev;
    node->next = list;
    list->prev->next = node;
    list->prev = node;
}

// Takes `node` out of whatever list it is in and leaves it as an empty list of its own (safe
// twice).
static inline void
bk_list_remove(struct bk_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    bk_list_init(node);
}

// First node taken out, or NULL when empty.
static inline struct bk_list *
bk_list_pop(struct bk_list *list)
{
    struct bk_list *node = list->next;
    if (node == list)
        return NULL;
    bk_list_remove(node);
    return node;
}
