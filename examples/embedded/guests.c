/* A guest book in a folder: `guests FOLDER NAME…` writes names into it, `guests FOLDER` reads it, and `guests FOLDER --watch N`
 * waits, in a process of its own, until N names more have come. */
#include <daybook/daybook.h>

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(int answer, const char *what)
{
    if (answer != 0)
        errx(1, "%s: %s", what, daybook_error_text(answer));
}

static void append(struct daybook *book, const char *name)
{
    char data[256];
    snprintf(data, sizeof(data), "{\"length\":%zu}", strlen(name));
    struct daybook_bytes tag = {name, strlen(name)};
    struct daybook_event_new event = {.stream = DAYBOOK_BYTES("book-front"), .type = DAYBOOK_BYTES("GuestSigned"),
                                      .tags = &tag, .tag_count = 1, .data = {data, strlen(data)}};
    struct daybook_append one = {.events = &event, .event_count = 1};
    check(daybook_append(book, &one, NULL), name);
}

static void print(const struct daybook_event_stored *event)
{
    printf("%llu %.*s\n", (unsigned long long)event->position, (int)event->tags[0].size,
           (const char *)event->tags[0].data);
    fflush(stdout);
}

int main(int argument_count, char **arguments)
{
    bool watch = argument_count == 4 && strcmp(arguments[2], "--watch") == 0;
    struct daybook_options options = {.read_only = watch}; /* a writer may be at work beside us */
    struct daybook_read books = {.stream_prefix = DAYBOOK_BYTES("book-")};
    struct daybook_event_stored event;
    struct daybook_reader *reader;
    struct daybook *book;
    char error[DAYBOOK_ERROR_SIZE];

    if (argument_count < 2)
        errx(2, "usage: guests FOLDER [NAME… | --watch N]");
    if (daybook_open(arguments[1], &options, &book, error) != 0)
        errx(1, "%s", error);
    for (int i = 2; i < argument_count && !watch; i++)
        append(book, arguments[i]);
    books.after = watch ? daybook_head(book) : 0;
    check(daybook_reader_new(book, &books, &reader), "reading");
    if (watch)
        fprintf(stderr, "watching\n");
    for (long left = watch ? strtol(arguments[3], NULL, 10) : 0; left > 0; left--) {
        check(daybook_reader_wait(reader, 60000, &event), "waiting");
        print(&event);
    }
    while (!watch && daybook_reader_next(reader, &event) == 0)
        print(&event);
    daybook_reader_free(reader);
    daybook_close(book);
    if (fclose(stdout) != 0)
        err(1, "printing");
    return 0;
}
