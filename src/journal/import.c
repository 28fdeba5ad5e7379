/* Import: lines in, appends out, in order, up to JOURNAL_IMPORT_PENDING_COUNT_MAX on their way at once. The appends keep
 * their order in the journal because the queue does. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "journal/append_json.h"
#include "journal/event_json.h"
#include "journal/tools.h"
#include "os/thread.h"

struct import {
    struct os_mutex lock;
    struct os_cond landed;
    size_t pending;
    int answer; /* of the first line that failed */
    struct journal_import_report report;
};

/* A line on its way. */
struct line {
    struct import *import;
    struct append_json *parsed;
    uint64_t number;
};

static void line_free(struct line *line)
{
    append_json_free(line->parsed);
    free(line);
}

/* The first line that fails, by its number, is the one reported. */
static void note_failure(struct import *import, int answer, uint64_t number, const char *detail)
{
    if (import->answer != 0 && import->report.line_failed < number)
        return;
    import->answer = answer;
    import->report.line_failed = number;
    snprintf(import->report.detail, sizeof(import->report.detail), "line %" PRIu64 ": %.220s", number,
             detail);
}

static void on_done(struct journal_append *append, const struct journal_result *result)
{
    struct line *line = append->user;
    struct import *import = line->import;
    os_mutex_lock(&import->lock);
    if (result->answer == 0) {
        import->report.events++;
        import->report.replayed += result->replayed;
    } else {
        note_failure(import, result->answer, line->number, result->detail);
    }
    import->pending--;
    os_cond_signal(&import->landed);
    os_mutex_unlock(&import->lock);
    line_free(line);
}

/* Wait until fewer than `count` are on their way. */
static int wait_below(struct import *import, size_t count)
{
    _os_locked_(&import->lock);
    while (import->pending >= count)
        os_cond_wait(&import->landed, &import->lock);
    return import->answer;
}

static int refuse_line(struct import *import, int answer, uint64_t number, const char *detail)
{
    _os_locked_(&import->lock);
    note_failure(import, answer, number, detail);
    return import->answer;
}

static int submit(struct journal *journal, struct import *import, struct append_json *parsed, uint64_t number)
{
    struct journal_result result;
    struct line *line = malloc(sizeof(*line));
    if (!line) {
        append_json_free(parsed);
        return -ENOMEM;
    }
    *line = (struct line){.import = import, .parsed = parsed, .number = number};
    parsed->items[0].append.done = on_done;
    parsed->items[0].append.user = line;
    os_mutex_lock(&import->lock);
    import->pending++;
    os_mutex_unlock(&import->lock);
    int r = journal_submit(journal, &parsed->items[0].append, &result);
    if (r == 0)
        return 0;
    os_mutex_lock(&import->lock);
    import->pending--;
    note_failure(import, r == JOURNAL_E_INVALID ? JOURNAL_TOOLS_E_LINE : r, number, result.detail);
    os_mutex_unlock(&import->lock);
    line_free(line);
    return r;
}

static int take_line(struct journal *journal, struct import *import, struct bytes text, bool system,
                     uint64_t number)
{
    struct append_json_options options = {.form = APPEND_JSON_LINE, .system = system};
    struct append_json *parsed;
    int r = append_json_parse(text, &options, &parsed);
    if (r < 0)
        return r;
    if (r == 0)
        return submit(journal, import, parsed, number);
    r = refuse_line(import, JOURNAL_TOOLS_E_LINE, number, parsed->detail);
    append_json_free(parsed);
    return r;
}

static int take_lines(struct journal *journal, struct import *import, FILE *in, bool system)
{
    _cleanup_(freep) char *text = NULL;
    size_t capacity = 0;
    ssize_t size;
    int r = 0;
    while (r == 0 && (size = getline(&text, &capacity, in)) >= 0) {
        struct bytes line = bytes_make(text, (size_t)size);
        import->report.lines++;
        while (line.size > 0 && (line.data[line.size - 1] == '\n' || line.data[line.size - 1] == '\r'))
            line.size--;
        if (line.size > EVENT_JSON_LINE_SIZE_MAX)
            r = refuse_line(import, JOURNAL_TOOLS_E_LINE, import->report.lines, "is too long for an event");
        else if (line.size > 0)
            r = take_line(journal, import, line, system, import->report.lines);
        if (r == 0)
            r = wait_below(import, JOURNAL_IMPORT_PENDING_COUNT_MAX);
    }
    return r == 0 && ferror(in) ? -EIO : r;
}

int journal_import(struct journal *journal, FILE *in, bool system, struct journal_import_report *ret_report)
{
    struct import import = {0};
    os_mutex_init(&import.lock);
    os_cond_init(&import.landed);
    int r = take_lines(journal, &import, in, system);
    int answer = wait_below(&import, 1);
    *ret_report = import.report;
    os_cond_deinit(&import.landed);
    os_mutex_deinit(&import.lock);
    return answer != 0 ? answer : r;
}
