// The table of options as data, near and foreign names, rules between settings, and the table of
// messages.
#include "config/config_hint.h"

#include <ctype.h>

#include "check.h"
#include "config/config_check.h"
#include "config/option.h"

TEST(the_table_is_sound)
{
    unsigned count;
    const struct bk_option *options = bk_options(&count);
    for (unsigned i = 0; i < count; i++) {
        const struct bk_option *o = &options[i];
        CHECK(bk_option_find(bk_str_of(o->key)) == o);
        CHECK(bk_option_named(bk_str_of(o->name)) == o);  // also: no alias hides it
        CHECK(!o->letter || bk_option_lettered(o->letter) == o);
        CHECK(bk_option_same_name(bk_str_of(o->key), bk_str_of(o->name)));
        CHECK(*bk_option_group(o) != '\0');
        CHECK((o->type == BK_OPTION_BOOL) == (*o->meta == '\0'));
        CHECK(*o->help && o->help[strlen(o->help) - 1] != '.');
        for (const char *at = o->key; *at; at++)
            CHECK(islower((unsigned char)*at) || *at == '_' || isdigit((unsigned char)*at));
        for (unsigned k = 0; k < i; k++)
            CHECK(strcmp(o->key, options[k].key) != 0
                  && (!o->letter || o->letter != options[k].letter));
    }
    CHECK_STR(bk_option_group(&options[0]), "Application");
}

TEST(names_have_aliases_and_dashes)
{
    CHECK_STR(bk_option_named(BK_STR("limit-request-field_size"))->key, "limit_request_field_size");
    CHECK_STR(bk_option_named(BK_STR("limit-request-field-size"))->key, "limit_request_field_size");
    CHECK_STR(bk_option_named(BK_STR("log-file"))->key, "error_logfile");
    CHECK_STR(bk_option_named(BK_STR("error_logfile"))->key, "error_logfile");
    CHECK(bk_option_named(BK_STR("worker")) == NULL);
    CHECK(bk_option_named(BK_STR("")) == NULL);
    CHECK(bk_option_lettered('z') == NULL);
    CHECK(bk_option_lettered('\0') == NULL);
}

static const char *
near(const char *name, enum bk_hint_style style)
{
    static char text[200];
    bk_hint_near(bk_str_of(name), style, text, sizeof(text));
    return text;
}

TEST(near_names)
{
    CHECK_STR(near("worker", BK_HINT_OPTION),
              "--workers, --worker-class, --worker-connections, --workers-min");
    CHECK_STR(near("wokers", BK_HINT_SETTING), "workers");
    CHECK_STR(near("WOKERS", BK_HINT_ENVIRONMENT), "BARKEEP_WORKERS");
    CHECK_STR(near("KEEPALIVE", BK_HINT_ENVIRONMENT), "BARKEEP_KEEP_ALIVE");
    CHECK_STR(near("accesslog", BK_HINT_OPTION),
              "--access-logfile");  // Gunicorn's name of the setting
    CHECK_STR(near("bnd", BK_HINT_OPTION), "--bind");
    CHECK_STR(near("xyzzy", BK_HINT_OPTION), "");
    CHECK_STR(near("w", BK_HINT_OPTION), "");
    CHECK_STR(near("", BK_HINT_OPTION), "");
    CHECK_STR(near("print-confg", BK_HINT_SETTING), "");  // a command is no setting
    CHECK_STR(near("print-confg", BK_HINT_OPTION), "--print-config");
}

TEST(near_names_are_bounded)
{
    char longer[5000], small[12];
    memset(longer, 'a', sizeof(longer));
    CHECK_INT(
        bk_hint_near((struct bk_str){longer, sizeof(longer)}, BK_HINT_OPTION, small, sizeof(small)),
        0);
    CHECK_STR(small, "");
    CHECK_INT(bk_hint_near(BK_STR("limit"), BK_HINT_ENVIRONMENT, small, sizeof(small)), 4);
    CHECK(strncmp(small, "BARKEEP_", 8) == 0);
    CHECK_INT(strlen(small), sizeof(small) - 1);
}

static struct bk_hint
ask(const char *typed)
{
    struct bk_hint hint;
    bk_hint_option(bk_str_of(typed), &hint);
    return hint;
}

TEST(what_an_unknown_option_gets_to_hear)
{
    static const struct {
        const char *typed;
        enum bk_key key;
        bool known, takes_value;
        const char *text;
    } cases[] = {
        {"--worker", BK_KEY_OPTION_UNKNOWN, false, false, "no option '--worker'"},
        {"--preload", BK_KEY_OPTION_LATER, true, false, "--preload is not in this version yet"},
        {"--processes", BK_KEY_OPTION_FOREIGN, true, true,
         "'--processes' is uWSGI's name; Barkeep calls it --workers"},
        {"--http-socket", BK_KEY_OPTION_FOREIGN, true, true,
         "'--http-socket' is uWSGI's name; Barkeep calls it --bind"},
        {"--harakiri", BK_KEY_OPTION_FOREIGN, true, true,
         "'--harakiri' is uWSGI's name; Barkeep calls it --timeout"},
        {"--uds", BK_KEY_OPTION_FOREIGN, true, true,
         "'--uds' is uvicorn's name; Barkeep calls it --bind unix:PATH"},
        {"--master", BK_KEY_OPTION_FOREIGN, true, false,
         "'--master' is uWSGI's option; Barkeep always has a master"},
        {"--lazy_apps", BK_KEY_OPTION_FOREIGN, true, false,
         "'--lazy_apps' is uWSGI's option; Barkeep loads the application in each worker"},
        {"-D", BK_KEY_OPTION_DAEMON, true, false, "-D: Barkeep stays in the foreground"},
        {"--daemon", BK_KEY_OPTION_DAEMON, true, false,
         "--daemon: Barkeep stays in the foreground"},
        {"-x", BK_KEY_OPTION_UNKNOWN, false, false, "no option '-x'"},
        {"-", BK_KEY_OPTION_UNKNOWN, false, false, "no option '-'"},
        {"--", BK_KEY_OPTION_UNKNOWN, false, false, "no option '--'"},
        {"--\x1b[31m", BK_KEY_OPTION_UNKNOWN, false, false, "no option '--\\x1b[31m'"},
    };
    for (unsigned i = 0; i < BK_COUNT(cases); i++) {
        struct bk_hint hint = ask(cases[i].typed);
        CHECK_STR(hint.text, cases[i].text);
        CHECK_INT(hint.key, cases[i].key);
        CHECK_INT(hint.known, cases[i].known);
        CHECK_INT(hint.takes_value, cases[i].takes_value);
    }
    CHECK_STR(ask("--worker").detail,
              "near: --workers, --worker-class, --worker-connections, --workers-min");
    CHECK_STR(ask("--xyzzy").detail, "try: barkeep --help");
}

// A row of other_names.def must be removed when its option is built, or the option could not be
// reached by that name.
TEST(no_other_name_is_an_option_of_ours)
{
#define ALIAS(name_, option_) CHECK(bk_option_named(BK_STR(option_)) != NULL);
#define LATER(name_, letter_, takes_) \
    CHECK(bk_option_named(BK_STR(name_)) == NULL \
          && (!letter_ || bk_option_lettered(letter_) == NULL));
#define FOREIGN(name_, letter_, takes_, server_, option_) LATER(name_, letter_, takes_)
#define NEEDLESS(name_, letter_, takes_, server_, what_) LATER(name_, letter_, takes_)
#define REFUSED(name_, letter_, takes_, server_, what_) LATER(name_, letter_, takes_)
#define DAEMON(name_, letter_, takes_) LATER(name_, letter_, takes_)
#include "config/other_names.def"
#undef ALIAS
#undef LATER
#undef FOREIGN
#undef NEEDLESS
#undef REFUSED
#undef DAEMON
}

TEST(the_options_that_foreign_names_lead_to_exist_or_are_planned)
{
#define ALIAS(name_, option_)
#define LATER(name_, letter_, takes_)
#define FOREIGN(name_, letter_, takes_, server_, option_) \
    do { \
        struct bk_str ours = {option_, strcspn(option_, " ")}; \
        char typed[60]; \
        snprintf(typed, sizeof(typed), "--%.*s", (int)ours.len, ours.at); \
        CHECK(bk_option_named(ours) != NULL || ask(typed).key == BK_KEY_OPTION_LATER); \
    } while (0);
#define NEEDLESS(name_, letter_, takes_, server_, what_)
#define REFUSED(name_, letter_, takes_, server_, what_)
#define DAEMON(name_, letter_, takes_)
#include "config/other_names.def"
#undef ALIAS
#undef LATER
#undef FOREIGN
#undef NEEDLESS
#undef REFUSED
#undef DAEMON
}

static char complaints[1000];

static void
complain(void *self, enum bk_key key, const char *text)
{
    CHECK_INT(key, BK_KEY_OPTION_CONFLICT);
    snprintf(complaints + strlen(complaints), sizeof(complaints) - strlen(complaints), "%s\n",
             text);
}

static void
set(struct bk_config *config, const char *key, const char *value, const char *origin)
{
    const char *why = "";
    CHECK_INT(bk_config_set(config, bk_str_of(key), bk_str_of(value), origin, &why), 0);
}

TEST(rules_between_settings)
{
    struct bk_config *config = NULL;
    CHECK_INT(bk_config_new(&config), 0);
    CHECK_INT(bk_config_check(config, complain, NULL), 0);
    set(config, "limit_request_head", "4K", "command line");
    CHECK_INT(bk_config_check(config, complain, NULL),
              0);  // against a default the smaller one simply wins
    set(config, "limit_request_field_size", "8K", "environment BARKEEP_LIMIT_REQUEST_FIELD_SIZE");
    set(config, "limit_request_line", "5000", "command line");
    set(config, "python", "python3", "command line");
    set(config, "venv", ".venv", "command line");
    CHECK_INT(bk_config_check(config, complain, NULL), 3);
    CHECK_STR(
        complaints,
        "--limit-request-field_size 8K (environment BARKEEP_LIMIT_REQUEST_FIELD_SIZE) is above "
        "--limit-request-head 4K (command line)\n"
        "--limit-request-line 5000 (command line) is above --limit-request-head 4K (command line)\n"
        "--python (command line) and --venv (command line) both choose the interpreter: give "
        "one\n");
    bk_config_free(config);
}

TEST(messages_are_sound)
{
    unsigned count;
    const struct bk_message_info *messages = bk_messages(&count);
    CHECK_INT(count, BK_KEY_COUNT);
    for (unsigned i = 0; i < count; i++) {
        const struct bk_message_info *m = &messages[i];
        CHECK(bk_message_find(bk_str_of(m->key)) == m);
        CHECK(bk_message((enum bk_key)i) == m);
        CHECK(m->exit_code >= 0 && m->exit_code <= 4);
        CHECK(m->level >= BK_LOG_INFO && m->level <= BK_LOG_CRITICAL);
        CHECK(m->exit_code == 0 || m->level >= BK_LOG_ERROR);
        CHECK(m->text[strlen(m->text) - 1] == '.');
        for (const char *at = m->key; *at; at++)
            CHECK(islower((unsigned char)*at) || isdigit((unsigned char)*at) || *at == '-');
    }
    CHECK_INT(bk_message_find(BK_STR("app-module"))->exit_code, 4);
    CHECK_INT(bk_message_find(BK_STR("bind-in-use"))->exit_code, 1);
    CHECK_INT(bk_message_find(BK_STR("worker-boot"))->exit_code, 3);
    CHECK_INT(bk_message_find(BK_STR("option-value"))->exit_code, 2);
    CHECK(bk_message_find(BK_STR("app")) == NULL);
}
