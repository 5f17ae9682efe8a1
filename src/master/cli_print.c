// --help, --version and --print-config, all made from the table of options. Called by cli.c; writes
// to standard output.
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "master/cli_internal.h"
#include "master/engine_program.h"
#include "process/channel.h"

#include "base/banned.h"

#define NAME_COLUMNS 34  // where the descriptions of --help begin

static const char introduction[] =
    "Serves a WSGI application. MODULE is dotted (shop.wsgi) or a file (./app.py); CALLABLE is a name "
    "in it, 'application' or 'app' when left out, or a call that makes the application: "
    "'app:create_app()'.";
static const char closing[] =
    "TIME is in seconds, or 250ms, 30s, 5m, 1h. BYTES takes K, M, G. Each option can also be set by "
    "an environment variable, --keep-alive by BARKEEP_KEEP_ALIVE; WEB_CONCURRENCY sets --workers, "
    "PORT the port and FORWARDED_ALLOW_IPS its option. barkeep.toml and gunicorn.conf.py are stronger, "
    "the command line is strongest.";

static unsigned terminal_width(void);
static void print_wrapped(const char *text, unsigned indent, unsigned column, unsigned width);
static void print_option(const struct bk_option *option, unsigned width);
static bool names_all_words(const struct bk_option *option);
static int finish(void);

int
bk__cli_print_help(void)
{
    unsigned count, width = terminal_width();
    const struct bk_option *options = bk_options(&count);
    const char *group = "";
    printf("usage: barkeep [options] MODULE[:CALLABLE]\n"
           "       barkeep [options] --uwsgi UWSGI-OPTION...\n"
           "       barkeep migrate FILE | 'COMMAND LINE'\n"
           "       barkeep init TEMPLATE [MODULE[:CALLABLE]]\n\n");
    print_wrapped(introduction, 0, 0, width);
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(group, bk_option_group(&options[i])) != 0) {
            group = bk_option_group(&options[i]);
            printf("\n%s\n", group);
        }
        print_option(&options[i], width);
    }
    printf("  -h, --help");
    print_wrapped("print this and exit", NAME_COLUMNS, 12, width);
    printf("  -v, --version");
    print_wrapped("print the versions of everything inside and exit", NAME_COLUMNS, 15, width);
    printf("\n");
    print_wrapped(closing, 0, 0, width);
    return finish();
}

static unsigned
terminal_width(void)
{
    struct winsize size;
    const char *columns = getenv("COLUMNS");
    uint64_t width = 80;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col)
        width = size.ws_col;
    else if (columns && bk_str_parse_u64(bk_str_of(columns), 10000, &width) < 0)
        width = 80;
    return width < 60 ? 60 : width > 120 ? 120 : (unsigned)width;
}

// "  -w, --workers N      text (default 1)"
static void
print_option(const struct bk_option *option, unsigned width)
{
    char text[600];
    char letter[5] = {'-', option->letter, ',', ' ', '\0'};
    bool can_be_off = option->type == BK_OPTION_BOOL && option->scope != BK_OPTION_ACTION;
    int column = printf("  %s--%s%s%s%s", option->letter ? letter : "    ",
                        can_be_off ? "[no-]" : "", option->name, *option->meta ? " " : "",
                        option->meta);
    int len = snprintf(text, sizeof(text), "%s", option->help);
    if (option->type == BK_OPTION_WORD && !names_all_words(option)) {
        struct bk_str rest = bk_str_of(option->range), word;
        for (const char *before = ": "; bk_str_next_item(&rest, '|', &word); before = ", ")
            if (len < (int)sizeof(text))
                len += snprintf(text + len, sizeof(text) - (size_t)len, "%s%.*s", before,
                                (int)word.len, word.at);
    }
    bool said = strstr(option->help, "default") || option->scope == BK_OPTION_ACTION;
    if (!said && *option->fallback && len < (int)sizeof(text))
        snprintf(text + len, sizeof(text) - (size_t)len, " (default %s)", option->fallback);
    print_wrapped(text, NAME_COLUMNS, column < 0 ? 0 : (unsigned)column, width);
}

// Whether the help text says all words a WORD option takes.
static bool
names_all_words(const struct bk_option *option)
{
    struct bk_str rest = bk_str_of(option->range), word;
    while (bk_str_next_item(&rest, '|', &word))
        if (!memmem(option->help, strlen(option->help), word.at, word.len))
            return false;
    return true;
}

// Prints words from `column` on, going to `indent` first and at each new line, and ends the line.
static void
print_wrapped(const char *text, unsigned indent, unsigned column, unsigned width)
{
    struct bk_str rest = bk_str_of(text), word;
    if (column >= indent && column > 0) {
        printf("\n");
        column = 0;
    }
    bool first = true;
    while (bk_str_next_item(&rest, ' ', &word)) {
        if (!first && column + 1 + word.len > width) {
            printf("\n");
            column = 0;
            first = true;
        }
        if (first)
            printf("%*s", (int)(indent - column), "");
        column = first ? indent + (unsigned)word.len : column + 1 + (unsigned)word.len;
        printf("%s%.*s", first ? "" : " ", (int)word.len, word.at);
        first = false;
    }
    printf("\n");
}

// They are in the other programs; asked, since what is loaded counts and not what was there when
// this was built.
static void
print_libraries(void)
{
    static const char *const arguments[] = {"--versions", NULL};
    char answer[400];
    int error = bk_engine_program_run(arguments, environ, -1, answer, sizeof(answer));
    struct bk_str version = bk_channel_field(bk_str_of(answer), "openssl");
    if (error == 0 && version.len)
        printf("  libraries: OpenSSL %.*s\n", (int)version.len, version.at);
    else
        printf("  libraries: unknown, barkeep-engine does not answer\n");
}

int
bk__cli_print_version(void)
{
    struct utsname kernel;
    printf("barkeep %s\n", BK_VERSION);
#if defined(__clang__)
    printf("  compiler: clang %d.%d.%d\n", __clang_major__, __clang_minor__, __clang_patchlevel__);
#else
    printf("  compiler: gcc %d.%d.%d\n", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
    char libc[64];
    bool has_name = false;
#ifdef _CS_GNU_LIBC_VERSION
    has_name = confstr(_CS_GNU_LIBC_VERSION, libc, sizeof(libc)) > 0;
#endif
    printf("  libc: %s\n", has_name ? libc : "not glibc");
    if (uname(&kernel) == 0)
        printf("  kernel: %s %s %s\n", kernel.sysname, kernel.release, kernel.machine);
    printf("  protocols: HTTP/1.1, HTTP/1.0, TLS 1.3, TLS 1.2\n");
    printf("  interfaces: WSGI\n");
    print_libraries();
    return finish();
}

// The question that the config process would be asked, without a file.
int
bk__cli_print_table(const struct bk__cli *read)
{
    struct bk_buf question = {0};
    if (bk__cli_files_question(read, &question) == 0)
        fwrite(question.at, 1, question.len, stdout);
    bk_buf_release(&question);
    return finish();
}

static void print_setting(FILE *out, const struct bk_option *option, struct bk_str value,
                          const char *origin);
static size_t write_value(char *out, size_t room, const struct bk_option *option,
                          struct bk_str value);
static size_t write_text(char *out, size_t room, struct bk_str value);

int
bk__cli_print_config(const struct bk_config *config)
{
    bk_cli_write_config(stdout, config);
    return finish();
}

void
bk_cli_write_config(FILE *out, const struct bk_config *config)
{
    unsigned count;
    const struct bk_option *options = bk_options(&count);
    const char *group = "", *origin;
    struct bk_str key, value;
    fprintf(out, "# barkeep %s; as barkeep.toml this gives the same settings\n", BK_VERSION);
    if (config->app) {
        static const struct bk_option app = {.type = BK_OPTION_TEXT, .key = "app"};
        print_setting(out, &app, bk_str_of(config->app),
                      config->app_origin ? config->app_origin : "command line");
    }
    for (unsigned i = 0; bk_config_get(config, i, &key, &value, &origin); i++) {
        if (options[i].scope == BK_OPTION_ACTION)
            continue;
        if (strcmp(group, bk_option_group(&options[i])) != 0) {
            group = bk_option_group(&options[i]);
            fprintf(out, "\n# %s\n", group);
        }
        print_setting(out, &options[i], value, origin);
    }
}

static void
print_setting(FILE *out, const struct bk_option *option, struct bk_str value, const char *origin)
{
    // Escapes make a byte six, quotes and commas add two for each item.
    size_t room = value.len * 6 + 16;
    char *text = malloc(room);
    if (!text)
        return;
    size_t len = write_value(text, room, option, value);
    // What a file cannot say: the values of the environment are not shown, and it is not told where
    // it is.
    bool remark = strcmp(option->key, "config") == 0
                  || (strcmp(option->key, "env") == 0 && value.len);
    int column = fprintf(out, "%s%s = %.*s", remark ? "# " : "", option->key, (int)len, text);
    fprintf(out, "%*s  # %s\n", column < 44 ? 44 - column : 0, "", origin);
    free(text);
}

// As TOML has it: booleans and plain numbers bare, the rest quoted.
static size_t
write_value(char *out, size_t room, const struct bk_option *option, struct bk_str value)
{
    if (option->type == BK_OPTION_BOOL)
        return (size_t)snprintf(out, room, bk_str_equal(value, BK_STR("on")) ? "true" : "false");
    bool number = option->type != BK_OPTION_LIST && option->type != BK_OPTION_TEXT
                  && option->type != BK_OPTION_WORD;
    for (size_t i = 0; i < value.len; i++)
        if (!strchr("0123456789.", value.at[i]))
            number = false;
    if (number && value.len)
        return (size_t)snprintf(out, room, "%.*s", (int)value.len, value.at);
    if (option->type != BK_OPTION_LIST)
        return write_text(out, room, value);
    size_t len = 0;
    struct bk_str rest = value, item;
    out[len++] = '[';
    while (rest.len && bk_str_next_item(&rest, '\n', &item)) {
        if (len > 1)
            len += (size_t)snprintf(out + len, room - len, ", ");
        // The variables given to workers hold secrets: their names are enough here.
        const char *equals = memchr(item.at, '=', item.len);
        if (strcmp(option->key, "env") != 0)
            equals = NULL;
        if (equals)
            item.len = (size_t)(equals - item.at);
        len += write_text(out + len, room - len, item);
        if (equals) {
            out[len - 1] = '=';
            len += (size_t)snprintf(out + len, room - len, "...\"");
        }
    }
    out[len++] = ']';
    return len;
}

// A basic string of TOML.
static size_t
write_text(char *out, size_t room, struct bk_str value)
{
    size_t len = 0;
    out[len++] = '"';
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.at[i];
        if (c == '"' || c == '\\')
            len += (size_t)snprintf(out + len, room - len, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            len += (size_t)snprintf(out + len, room - len, "\\u%04x", c);
        else
            out[len++] = (char)c;
    }
    out[len++] = '"';
    return len;
}

// Standard output may be a full disk or a closed pipe; that must not look like success.
static int
finish(void)
{
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
