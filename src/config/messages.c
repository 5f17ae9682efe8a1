// messages.def as an array. Who uses it: see messages.h.
#include "config/messages.h"

#include "base/banned.h"

static const struct bk_message_info messages[] = {
#define GROUP(title)
#define X(name_, key_, code_, level_, text_) \
    [BK_KEY_##name_] = {.key = key_, .exit_code = code_, .level = BK_LOG_##level_, .text = text_},
#include "config/messages.def"
#undef X
#undef GROUP
};

const struct bk_message_info *
bk_messages(unsigned *ret_count)
{
    *ret_count = BK_COUNT(messages);
    return messages;
}

const struct bk_message_info *
bk_message_find(struct bk_str key)
{
    for (unsigned i = 0; i < BK_COUNT(messages); i++)
        if (bk_str_equal(bk_str_of(messages[i].key), key))
            return &messages[i];
    return NULL;
}
