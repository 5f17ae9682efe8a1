#include "check.h"

#include "proto/credentials.h"

static const struct {
    const char *field, *user;  // "" = none
} rows[] = {
    {"Basic Ym9iOnB3", "bob"},                         // bob:pw
    {"basic   Ym9iOnB3  ", "bob"},
    {"BASIC QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin"},  // the example of RFC 7617 §2
    {"Basic dGVzdDoxMjPCow==", "test"},                // test:123£
    {"Basic YTpiOmM=", "a"},                           // a:b:c
    {"Basic w6k6eA==", "\xc3\xa9"},                    // é:x
    {"Basic YSBiCjp4", "a b\n"},
    {"Basic YTo=", "a"},
    {"Basic YTo", "a"},                                // padding left out
    {"Basic YTo!!!!", "a"},                            // what follows the colon is not looked at
    {"Basic OnB3", ""},                                // :pw
    {"Basic c2VjcmV0", ""},                            // secret, no colon
    {"Basic Ym9i!Onh4", ""},
    {"Basic Ym9=Onh4", ""},
    {"Basic Ym-_OnB3", ""},                            // the URL alphabet is another one
    {"Basic", ""},
    {"Basic ", ""},
    {"BasicYm9iOnB3", ""},
    {"Bearer Ym9iOnB3", ""},
    {"", ""},
};

TEST(names)
{
    for (unsigned i = 0; i < BK_COUNT(rows); i++) {
        char out[64];
        size_t len = bk_credentials_user(bk_str_of(rows[i].field), out, sizeof out);
        CHECK_TEXT(((struct bk_str){out, len}), rows[i].user);
    }
}

TEST(a_long_name_is_cut)
{
    char out[4] = "----";
    CHECK_INT(bk_credentials_user(bk_str_of("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), out, 3), 3);
    CHECK(memcmp(out, "Ala-", 4) == 0);
}
