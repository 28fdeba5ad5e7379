/* clients: who uses the journal in the simulated world. */
#pragma once

#include "journal/journal.h"
#include "os/thread.h"
#include "sim/faults.h"
#include "sim/oracle.h"

enum { CLIENT_COUNT = 3, READER_COUNT = 2 };

/* One life of the process, as its clients see it. */
struct life {
    struct journal *journal;
    struct oracle *oracle;
    struct faults *faults;
    unsigned appends; /* that each client sends */
    bool flood; /* nobody waits for one append before the next */
    bool quiet;       /* clients have gone; readers may go */
    struct journal_listener listener;
    struct os_mutex lock; /* below */
    struct os_cond ended;
    struct os_thread clients[CLIENT_COUNT], readers[READER_COUNT];
};

/* Let them work until they have sent all they have, or the process is dead. */
void clients_work(struct life *life);

/* Everything was answered and nobody writes: random reads show what the model shows. */
void clients_compare_reads(struct life *life);

/* There was no room, and now there is: an append must go through (P7), unless something else went wrong too. */
void clients_prove_room(struct life *life);
