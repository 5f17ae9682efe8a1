// The settings snapshot: defaults, the coercion of each type of options.def, origins, and the way
// through text.
#include "config/config.h"

#include "check.h"
#include "config/option.h"

static struct bk_config *
make(void)
{
    struct bk_config *config = NULL;
    CHECK_INT(bk_config_new(&config), 0);
    return config;
}

// Sets from the command line; returns "" or why not.
static const char *
set(struct bk_config *config, const char *key, const char *value)
{
    const char *why = "?";
    int error = bk_config_set(config, bk_str_of(key), bk_str_of(value), "command line", &why);
    CHECK(error == 0 || error == -EINVAL);
    return error ? why : "";
}

TEST(all_defaults_are_there)
{
    struct bk_config *config = make();
    CHECK_INT(config->workers, 1);
    CHECK_INT(config->backlog, 2048);
    CHECK_INT(config->keep_alive, 620 * BK_SEC);
    CHECK_INT(config->limit_request_field_size, 32 * 1024);
    CHECK_INT(config->limit_request_body, UINT64_C(1) << 30);
    CHECK(config->sendfile && !config->reuse_port);
    CHECK(config->chdir == NULL && config->app == NULL);
    CHECK_STR(config->worker_class, "auto");
    CHECK_STR(config->error_logfile, "-");
    CHECK_INT(config->bind.count, 0);
    CHECK_INT(config->forwarded_allow_ips.count, 2);
    CHECK_STR(config->forwarded_allow_ips.items[1], "::1");
    CHECK_INT(config->secure_scheme_headers.count, 3);
    CHECK_STR(bk_config_origin(config, "workers"), "default");
    CHECK_STR(bk_config_origin(config, "nothing"), "");
    CHECK_STR(bk_config_text(config, "nothing"), "");
    bk_config_free(config);
    bk_config_free(NULL);
}

// Each default, said again as a user would, gives the same value: so the master's snapshot and a
// worker's are equal.
TEST(every_setting_survives_the_way_through_text)
{
    struct bk_config *one = make(), *other = make();
    const char *origin, *why;
    struct bk_str key, value, again;
    unsigned count;
    bk_options(&count);
    CHECK_STR(set(one, "bind", ":80,unix:a b"), "");
    CHECK_STR(set(one, "bind", "[::1]:81"), "");
    CHECK_STR(set(one, "env", "A=1,2"), "");
    CHECK_STR(set(one, "keep_alive", "250ms"), "");
    CHECK_STR(set(one, "workers", "auto"), "");
    CHECK_STR(set(one, "limit_request_body", "off"), "");
    CHECK_STR(set(one, "sendfile", "no"), "");
    CHECK_STR(set(one, "forwarded_allow_ips", ""), "");
    unsigned n = 0;
    for (; bk_config_get(one, n, &key, &value, &origin); n++) {
        CHECK_INT(bk_config_set(other, key, value, origin, &why), 0);
        CHECK_INT(
            bk_config_set(other, key, value, strcmp(origin, "default") ? "later" : origin, &why),
            0);
        CHECK(bk_config_get(other, n, &key, &again, &origin));
        CHECK(bk_str_equal(value, again));
    }
    CHECK_INT(n, count);
    CHECK_INT(other->bind.count, 3);
    CHECK_STR(other->bind.items[1], "unix:a b");
    CHECK_STR(other->env.items[0], "A=1,2");
    CHECK_INT(other->env.count, 1);
    CHECK_INT(other->keep_alive, 250 * BK_MSEC);
    CHECK_INT(other->workers, -1);
    CHECK_INT(other->limit_request_body, 0);
    CHECK_INT(other->forwarded_allow_ips.count, 0);
    CHECK(!other->sendfile);
    bk_config_free(one);
    bk_config_free(other);
}

TEST(booleans)
{
    static const char *const on[] = {"on", "true", "True", "YES", "1", " on "};
    static const char *const off[] = {"off", "false", "No", "0", "OFF\t"};
    static const char *const wrong[] = {"", "2", "onn", "y", "on off", "-1", "enabled"};
    struct bk_config *config = make();
    for (unsigned i = 0; i < BK_COUNT(on); i++) {
        config->reuse_port = false;
        CHECK_STR(set(config, "reuse_port", on[i]), "");
        CHECK(config->reuse_port);
        CHECK_STR(bk_config_text(config, "reuse_port"), "on");
    }
    for (unsigned i = 0; i < BK_COUNT(off); i++) {
        config->reuse_port = true;
        CHECK_STR(set(config, "reuse_port", off[i]), "");
        CHECK(!config->reuse_port);
        CHECK_STR(bk_config_text(config, "reuse_port"), "off");
    }
    for (unsigned i = 0; i < BK_COUNT(wrong); i++)
        CHECK_STR(set(config, "reuse_port", wrong[i]), "on or off (also true/false, yes/no, 1/0)");
    bk_config_free(config);
}

TEST(numbers_and_auto)
{
    static const char *const wrong[] = {"",
                                        "0",
                                        "1025",
                                        "two",
                                        "-1",
                                        "+1",
                                        "4.0",
                                        "0x4",
                                        "4 5",
                                        "99999999999999999999",
                                        "18446744073709551617",
                                        "automatic",
                                        "1e2"};
    struct bk_config *config = make();
    CHECK_STR(set(config, "workers", "1024"), "");
    CHECK_INT(config->workers, 1024);
    CHECK_STR(set(config, "workers", " 007 "), "");
    CHECK_INT(config->workers, 7);
    CHECK_STR(bk_config_text(config, "workers"), "7");
    CHECK_STR(set(config, "workers", "AUTO"), "");
    CHECK_INT(config->workers, -1);
    CHECK_STR(bk_config_text(config, "workers"), "auto");
    for (unsigned i = 0; i < BK_COUNT(wrong); i++)
        CHECK_STR(set(config, "workers", wrong[i]), "a number from 1 to 1024, or auto");
    CHECK_INT(config->workers, -1);
    CHECK_STR(set(config, "backlog", "auto"), "a number from 1 to 65535");
    CHECK_STR(set(config, "backlog", "65536"), "a number from 1 to 65535");
    CHECK_STR(set(config, "backlog", "65535"), "");
    bk_config_free(config);
}

TEST(sizes)
{
    static const struct {
        const char *text, *canonical;
        uint64_t bytes;
    } good[] = {
        {"1024", "1K", 1024},
        {"1025", "1025", 1025},
        {"64k", "64K", 65536},
        {"64K", "64K", 65536},
        {"64KB", "64K", 65536},
        {"64KiB", "64K", 65536},
        {"1M", "1M", UINT64_C(1) << 20},
        {"1024M", "1G", UINT64_C(1) << 30},
        {"1536M", "1536M", UINT64_C(1536) << 20},
        {"1024G", "1024G", UINT64_C(1) << 40},
        {"0", "0", 0},
        {"off", "0", 0},
        {" 5M ", "5M", UINT64_C(5) << 20},
    };
    static const char *const wrong[] = {"",     "K",  "1.5M", "-1",   "1T",     "1 M",
                                        "1KBs", "KK", "1MM",  "0x10", "1bytes", "many"};
    static const char *const outside[] = {"1025G", "99999999999999999999", "17179869184G",
                                          "18446744073709551615"};
    struct bk_config *config = make();
    for (unsigned i = 0; i < BK_COUNT(good); i++) {
        CHECK_STR(set(config, "limit_request_body", good[i].text), "");
        CHECK_INT(config->limit_request_body, good[i].bytes);
        CHECK_STR(bk_config_text(config, "limit_request_body"), good[i].canonical);
    }
    for (unsigned i = 0; i < BK_COUNT(wrong); i++)
        CHECK_STR(set(config, "limit_request_body", wrong[i]),
                  "not a size; 8192, 64K, 10M, 1G are");
    for (unsigned i = 0; i < BK_COUNT(outside); i++)
        CHECK_STR(set(config, "limit_request_body", outside[i]), "a size from 0 to 1024G");
    CHECK_STR(set(config, "limit_request_head", "1023"), "a size from 1K to 64M");
    CHECK_STR(set(config, "limit_request_head", "off"), "a size from 1K to 64M");
    bk_config_free(config);
}

TEST(durations)
{
    static const struct {
        const char *text, *canonical;
        uint64_t ns;
    } good[] = {
        {"30", "30", 30 * BK_SEC},
        {"0.5", "0.5", BK_SEC / 2},
        {"30s", "30", 30 * BK_SEC},
        {"5m", "300", 300 * BK_SEC},
        {"1h", "3600", 3600 * BK_SEC},
        {"1.5h", "5400", 5400 * BK_SEC},
        {"0.000000001h", "0.0000036", 3600},
        {"250ms", "0.25", 250 * BK_MSEC},
        {"0.25ms", "0.00025", 250000},
        {"0.123456789", "0.123456789", 123456789},
        {"24h", "86400", 86400 * BK_SEC},
        {"0", "0", 0},
        {"off", "0", 0},
        {" 7 ", "7", 7 * BK_SEC},
    };
    static const char *const wrong[] = {"",     "30x", "s",     ".5", "1.",           "1.s",
                                        "-1",   "1 s", "1h30m", "1S", "0.1234567891", "1e3",
                                        "1..5", "ten", "1,5"};
    static const char *const outside[] = {"86401",
                                          "25h",
                                          "1441m",
                                          "999999999",
                                          "9999999999",
                                          "1000000000h",
                                          "99999999999999999999",
                                          "86400001ms"};
    struct bk_config *config = make();
    for (unsigned i = 0; i < BK_COUNT(good); i++) {
        CHECK_STR(set(config, "keep_alive", good[i].text), "");
        CHECK_INT(config->keep_alive, good[i].ns);
        CHECK_STR(bk_config_text(config, "keep_alive"), good[i].canonical);
    }
    for (unsigned i = 0; i < BK_COUNT(wrong); i++)
        CHECK_STR(set(config, "keep_alive", wrong[i]), "not a duration; 30, 0.5, 30s, 5m, 1h are");
    for (unsigned i = 0; i < BK_COUNT(outside); i++)
        CHECK_STR(set(config, "keep_alive", outside[i]), "a duration from 0 to 86400 seconds");
    bk_config_free(config);
}

TEST(words)
{
    struct bk_config *config = make();
    CHECK_STR(set(config, "log_level", "DEBUG"), "");
    CHECK_STR(config->log_level, "debug");
    CHECK_STR(set(config, "log_level", "warn"), "one of debug, info, warning, error, critical");
    CHECK_STR(set(config, "log_level", ""), "one of debug, info, warning, error, critical");
    CHECK_STR(set(config, "log_level", "debug|info"),
              "one of debug, info, warning, error, critical");
    CHECK_STR(set(config, "worker_class", "eventlet"),
              "one of auto, sync, gthread, gevent, asgi, tornado");
    CHECK_STR(config->worker_class, "auto");
    CHECK_STR(config->log_level, "debug");
    bk_config_free(config);
}

TEST(texts)
{
    struct bk_config *config = make();
    const char *why;
    CHECK_STR(set(config, "chdir", " with space "), "");
    CHECK_STR(config->chdir, " with space ");
    CHECK_STR(set(config, "chdir", ""), "");
    CHECK(config->chdir == NULL);
    CHECK_STR(bk_config_origin(config, "chdir"), "command line");
    CHECK_INT(bk_config_set(config, BK_STR("chdir"), BK_STR("a\0b"), "command line", &why),
              -EINVAL);
    CHECK_STR(why, "a text without NUL bytes");
    bk_config_free(config);
}

TEST(lists_split_where_the_table_says)
{
    struct bk_config *config = make();
    CHECK_STR(set(config, "pythonpath", " a , ,b,"), "");
    CHECK_INT(config->pythonpath.count, 2);
    CHECK_STR(config->pythonpath.items[0], "a");
    CHECK_STR(config->pythonpath.items[1], "b");
    CHECK_STR(bk_config_text(config, "pythonpath"), "a\nb");
    CHECK_STR(set(config, "env", "PATH=/a,/b"), "");
    CHECK_STR(set(config, "env", "X= 1 \nY=2"), "");
    CHECK_INT(config->env.count, 3);
    CHECK_STR(config->env.items[1], "X= 1 ");
    CHECK_STR(config->env.items[2], "Y=2");
    bk_config_free(config);
}

TEST(lists_grow_within_a_source_and_yield_to_a_stronger_one)
{
    struct bk_config *config = make();
    const char *why;
    CHECK_INT(bk_config_set(config, BK_STR("forwarded_allow_ips"), BK_STR("10.0.0.1"),
                            "barkeep.toml line 3", &why),
              0);
    CHECK_INT(config->forwarded_allow_ips.count, 1);  // the default is gone
    CHECK_INT(bk_config_set(config, BK_STR("forwarded_allow_ips"), BK_STR("10.0.0.2"),
                            "barkeep.toml line 9", &why),
              0);
    CHECK_INT(config->forwarded_allow_ips.count, 2);
    CHECK_INT(
        bk_config_set(config, BK_STR("forwarded_allow_ips"), BK_STR("::2"), "environment X", &why),
        0);
    CHECK_INT(config->forwarded_allow_ips.count, 1);
    CHECK_STR(config->forwarded_allow_ips.items[0], "::2");
    CHECK_STR(bk_config_origin(config, "forwarded_allow_ips"), "environment X");
    CHECK_INT(
        bk_config_set(config, BK_STR("forwarded_allow_ips"), BK_STR("1.1.1.1"), "default", &why),
        0);
    CHECK_INT(
        bk_config_set(config, BK_STR("forwarded_allow_ips"), BK_STR("1.1.1.1"), "default", &why),
        0);
    CHECK_INT(config->forwarded_allow_ips.count, 1);
    bk_config_free(config);
}

TEST(lists_have_a_limit)
{
    struct bk_config *config = make();
    char text[2 * (BK_CONFIG_LIST_MAX + 1) + 1] = "";
    for (unsigned i = 0; i < 2 * (BK_CONFIG_LIST_MAX + 1); i++)
        text[i] = i % 2 ? ',' : 'a';
    CHECK_STR(set(config, "pythonpath", text), "at most 1000 items");
    CHECK_INT(config->pythonpath.count, 0);
    text[2 * BK_CONFIG_LIST_MAX] = '\0';
    CHECK_STR(set(config, "pythonpath", text), "");
    CHECK_STR(set(config, "pythonpath", "one more"), "at most 1000 items");
    CHECK_INT(config->pythonpath.count, 1000);
    bk_config_free(config);
}

TEST(items_must_have_their_form)
{
    static const struct {
        const char *key, *value, *why;
    } wrong[] = {
        {"env", "NAME", "not NAME=VALUE"},
        {"env", "=VALUE", "not NAME=VALUE"},
        {"env", "A=1\nB", "not NAME=VALUE"},
        {"secure_scheme_headers", "X-Proto", "not HEADER=VALUE"},
        {"secure_scheme_headers", "X-Proto=", "not HEADER=VALUE"},
        {"secure_scheme_headers", "X Proto=https", "not the name of a header"},
        {"forwarder_headers", "SCRIPT NAME", "not the name of a header"},
        {"access_logformat", "%(h", "an atom is written %(name)s, a percent sign %%"},
        {"access_logformat", "%(h)d", "an atom is written %(name)s, a percent sign %%"},
        {"access_logformat", "%(h)", "an atom is written %(name)s, a percent sign %%"},
        {"access_logformat", "%()s", "an atom is written %(name)s, a percent sign %%"},
        {"access_logformat", "100% %(h)s", "an atom is written %(name)s, a percent sign %%"},
        {"access_logformat", "%(h)s %", "an atom is written %(name)s, a percent sign %%"},
        {"access_logformat", "apache",
         "not a format; combined, short, json, or a text with atoms like %(h)s are"},
        {"log_syslog_to", "localhost",
         "not an address of syslog; unix:PATH and udp://host:port are"},
        {"log_syslog_to", "unix:", "not an address of syslog; unix:PATH and udp://host:port are"},
    };
    static const char *const good[][2] = {
        {"env", "NAME="},
        {"env", "A=B=C"},
        {"secure_scheme_headers", "X_P=a=b"},
        {"forwarder_headers", "*"},
        {"access_logformat", "json"},
        {"access_logformat", "100%% %({X-Id}i)s"},
        {"log_syslog_to", "udp://h:514"},
    };
    struct bk_config *config = make();
    for (unsigned i = 0; i < BK_COUNT(wrong); i++)
        CHECK_STR(set(config, wrong[i].key, wrong[i].value), wrong[i].why);
    CHECK_INT(config->env.count, 0);
    for (unsigned i = 0; i < BK_COUNT(good); i++)
        CHECK_STR(set(config, good[i][0], good[i][1]), "");
    bk_config_free(config);
}

TEST(a_refused_value_changes_nothing)
{
    struct bk_config *config = make();
    const char *why;
    CHECK_STR(set(config, "workers", "3"), "");
    CHECK_INT(bk_config_set(config, BK_STR("workers"), BK_STR("x"), "environment Y", &why),
              -EINVAL);
    CHECK_INT(config->workers, 3);
    CHECK_STR(bk_config_text(config, "workers"), "3");
    CHECK_STR(bk_config_origin(config, "workers"), "command line");
    CHECK_INT(bk_config_set(config, BK_STR("worker"), BK_STR("3"), "command line", &why), -ENOENT);
    CHECK_INT(bk_config_set(config, BK_STR("keep-alive"), BK_STR("3"), "command line", &why),
              -ENOENT);
    bk_config_free(config);
}
