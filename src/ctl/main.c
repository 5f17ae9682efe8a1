// barkeepctl: the command line.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ctl/ctl.h"

#include "base/banned.h"

#define WORDS_MAX 8

// Everything there is. `words`: how many may follow the name.
static const struct {
    const char *name, *arguments, *help;
    unsigned least, most;
} commands[] = {
    {"status", "[--json]", "what runs: workers, requests, memory", 0, 0},
    {"top", "[--once] [--json]", "the same, live; q ends it", 0, 0},
    {"reload", "", "replace the workers by a newer version; waits for the outcome", 0, 0},
    {"stop", "[now]", "finish what there is and end, or end at once; waits for it", 0, 1},
    {"scale", "N|+N|-N", "so many workers, or so many more or fewer", 1, 1},
    {"worker", "N kill|drain",
     "end one worker at once, or when its requests are done; another one starts", 2, 2},
    {"log", "reopen", "open log files anew, after they were moved", 1, 2},
    {"log", "level LEVEL", "debug, info, warning, error or critical, until the next start", 1, 2},
    {"config", "", "every setting with its origin", 0, 0},
};

static int read_options(int argc, char **argv, struct bk_ctl_options *options, char **words,
                        unsigned *ret_count);
static int read_option(struct bk_ctl_options *options, const char *word, const char *value,
                       int *ret_used);
static int run(const struct bk_ctl_options *options, char **words, unsigned count);
static int forward(const struct bk_ctl_server *server, char **words, unsigned count);
static int print_help(void);
static bool speaks_utf8(void);

int
main(int argc, char **argv)
{
    struct bk_ctl_options options = {.interval = 1, .ascii = !speaks_utf8()};
    char *words[WORDS_MAX];
    unsigned count = 0;
    int code;

    signal(SIGPIPE, SIG_IGN);
    code = read_options(argc, argv, &options, words, &count);
    return code >= 0 ? code : run(&options, words, count);
}

// -1: go on.
static int
read_options(int argc, char **argv, struct bk_ctl_options *options, char **words,
             unsigned *ret_count)
{
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0)
            return print_help();
        if (strcmp(word, "-v") == 0 || strcmp(word, "--version") == 0)
            return printf("barkeepctl %s\n", BK_VERSION) < 0 || fflush(stdout) != 0;
        if (word[0] == '-' && word[1] == '-') {
            int used = 0,
                code = read_option(options, word + 2, i + 1 < argc ? argv[i + 1] : NULL, &used);
            if (code >= 0)
                return code;
            i += used;
        } else if (*ret_count < WORDS_MAX) {
            words[(*ret_count)++] = argv[i];
        }
    }
    return *ret_count > 0 ? -1 : print_help() ? 1 : 2;
}

static int
read_option(struct bk_ctl_options *options, const char *word, const char *value, int *ret_used)
{
    static const char *const valued[] = {"name", "pid", "interval"};
    const char *equals = strchr(word, '=');
    size_t len = equals ? (size_t)(equals - word) : strlen(word);
    struct bk_str name = {word, len};
    uint64_t pid;
    char *end;

    if (bk_str_equal(name, BK_STR("json")) || bk_str_equal(name, BK_STR("once"))) {
        *(word[0] == 'j' ? &options->json : &options->once) = true;
        return equals ? bk_ctl_fail(2, "option-value", "--%.*s takes no value", (int)len, word)
                      : -1;
    }
    for (unsigned i = 0; i < BK_COUNT(valued); i++) {
        if (!bk_str_equal(name, bk_str_of(valued[i])))
            continue;
        *ret_used = !equals;
        value = equals ? equals + 1 : value;
        if (!value || !*value)
            return bk_ctl_fail(2, "option-value", "--%s needs a value", valued[i]);
        if (i == 0) {
            options->name = value;
        } else if (i == 1) {
            if (bk_str_parse_u64(bk_str_of(value), 1 << 30, &pid) < 0 || pid == 0)
                return bk_ctl_fail(2, "option-value", "--pid '%s': a process id", value);
            options->pid = (pid_t)pid;
        } else {
            options->interval = strtod(value, &end);
            if (*end || !(options->interval >= 0.1 && options->interval <= 3600))
                return bk_ctl_fail(2, "option-value", "--interval '%s': 0.1 to 3600 seconds",
                                   value);
        }
        return -1;
    }
    return bk_ctl_fail(2, "option-unknown", "no option '--%.*s'\n  try: barkeepctl --help",
                       (int)len, word);
}

static int
run(const struct bk_ctl_options *options, char **words, unsigned count)
{
    struct bk_ctl_server server;
    unsigned found = BK_COUNT(commands);
    int code;

    for (unsigned i = 0; i < BK_COUNT(commands) && found == BK_COUNT(commands); i++)
        if (strcmp(words[0], commands[i].name) == 0)
            found = i;
    if (found == BK_COUNT(commands))
        return bk_ctl_fail(2, "control-command", "no command '%s'\n  try: barkeepctl --help",
                           words[0]);
    if (count - 1 < commands[found].least || count - 1 > commands[found].most)
        return bk_ctl_fail(2, "control-command", "usage: barkeepctl %s %s", words[0],
                           commands[found].arguments);
    code = bk_ctl_find(options, &server);
    if (code)
        return code;
    if (strcmp(words[0], "status") == 0)
        return bk_ctl_status(&server, options);
    if (strcmp(words[0], "top") == 0)
        return bk_ctl_top(&server, options);
    return forward(&server, words, count);
}

// All the rest is the server's business.
static int
forward(const struct bk_ctl_server *server, char **words, unsigned count)
{
    struct bk_ctl_answer answer;
    char line[900];
    size_t len = 0;

    for (unsigned i = 0; i < count; i++) {
        if (strpbrk(words[i], " \n") || len + strlen(words[i]) + 2 > sizeof line)
            return bk_ctl_fail(2, "control-command", "'%s' is no argument of %s", words[i],
                               words[0]);
        len += (size_t)snprintf(line + len, sizeof line - len, "%s%s", i ? " " : "", words[i]);
    }
    int rc = bk_ctl_ask(server, line, &answer);
    if (rc < 0)
        return bk_ctl_fail(1, "control-answer", "the server with pid %d does not answer: %s",
                           (int)server->pid, strerrordesc_np(-rc));
    if (answer.code != 0)
        bk_ctl_fail(answer.code, answer.key, "%s", answer.text.at);
    else
        fwrite(answer.text.at, 1, answer.text.len, stdout);
    bk_buf_release(&answer.text);
    return answer.code ? answer.code : fflush(stdout) == 0 ? 0 : 1;
}

static int
print_help(void)
{
    printf("usage: barkeepctl [--pid PID | --name NAME] COMMAND\n\n"
           "Looks at a running barkeep of this user and tells it what to do. With one running, it "
           "needs no name.\n\n");
    for (unsigned i = 0; i < BK_COUNT(commands); i++) {
        char left[64];
        snprintf(left, sizeof left, "%s %s", commands[i].name, commands[i].arguments);
        printf("  %-26s %s\n", left, commands[i].help);
    }
    printf("\n  --pid PID                  the master with this pid\n"
           "  --name NAME                the server with this --name, or this application\n"
           "  --interval SECONDS         of top (default 1)\n"
           "  -h, --help                 print this and exit\n"
           "  -v, --version              print the version and exit\n");
    return fflush(stdout) == 0 ? 0 : 1;
}

static bool
speaks_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};

    for (unsigned i = 0; i < BK_COUNT(names); i++) {
        const char *value = getenv(names[i]);
        if (value && *value)
            return strcasestr(value, "utf-8") || strcasestr(value, "utf8");
    }
    return false;
}
