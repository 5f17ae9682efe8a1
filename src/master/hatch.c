// The hatch: two lists behind a lock that is held for a few instructions.
#include "master/hatch.h"

#include <stdlib.h>
#include <string.h>

#include "master/roster.h"

#include "base/banned.h"

static void free_all(struct bk_wish *wish);
static struct bk_wish *take(struct bk_hatch *hatch, struct bk_wish **list);

void
bk_hatch_init(struct bk_hatch *hatch, struct bk_loop *main, struct bk_loop *desk)
{
    pthread_mutex_init(&hatch->lock, NULL);
    hatch->main = main;
    hatch->desk = desk;
    hatch->wishes = hatch->granted = NULL;
}

void
bk_hatch_release(struct bk_hatch *hatch)
{
    free_all(hatch->wishes);
    free_all(hatch->granted);
    pthread_mutex_destroy(&hatch->lock);
}

static void
free_all(struct bk_wish *wish)
{
    while (wish) {
        struct bk_wish *next = wish->next;
        bk_wish_free(wish);
        wish = next;
    }
}

struct bk_wish *
bk_wish_new(enum bk_wish_kind kind, const char *words)
{
    struct bk_wish *wish = calloc(1, sizeof *wish);

    if (!wish)
        return NULL;
    wish->kind = kind;
    wish->key = "";
    wish->words = words ? strdup(words) : NULL;
    if (words && !wish->words) {
        free(wish);
        return NULL;
    }
    return wish;
}

void
bk_wish_free(struct bk_wish *wish)
{
    if (!wish)
        return;
    bk_roster_free(wish->roster);
    bk_buf_release(&wish->text);
    free(wish->words);
    free(wish);
}

void
bk_hatch_wish(struct bk_hatch *hatch, struct bk_wish *wish)
{
    pthread_mutex_lock(&hatch->lock);
    wish->next = hatch->wishes;
    hatch->wishes = wish;
    pthread_mutex_unlock(&hatch->lock);
    bk_loop_wake(hatch->main);
}

struct bk_wish *
bk_hatch_granted(struct bk_hatch *hatch)
{
    return take(hatch, &hatch->granted);
}

struct bk_wish *
bk_hatch_wishes(struct bk_hatch *hatch)
{
    return take(hatch, &hatch->wishes);
}

void
bk_hatch_grant(struct bk_hatch *hatch, struct bk_wish *wish)
{
    pthread_mutex_lock(&hatch->lock);
    wish->next = hatch->granted;
    hatch->granted = wish;
    pthread_mutex_unlock(&hatch->lock);
    bk_loop_wake(hatch->desk);
}

static struct bk_wish *
take(struct bk_hatch *hatch, struct bk_wish **list)
{
    struct bk_wish *last, *ordered = NULL;

    pthread_mutex_lock(&hatch->lock);
    last = *list;
    *list = NULL;
    pthread_mutex_unlock(&hatch->lock);
    while (last) {
        struct bk_wish *next = last->next;
        last->next = ordered;
        ordered = last;
        last = next;
    }
    return ordered;
}
