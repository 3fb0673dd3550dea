/* Threads that work on one job and wait for each other between its stages.
 *
 * The threads belong to the caller (Python starts them), so nothing here depends on a system's
 * threads. A stage takes some microseconds, less than it takes to put a thread to sleep. Who waits
 * therefore watches a counter for a while. If the others are still not there, the system runs
 * something else in their place; then it sleeps between looks, so that they get its processor.
 */
#ifndef TICODEC_TEAM_H
#define TICODEC_TEAM_H

#include <stdatomic.h>
#include <stddef.h>

typedef struct {
    size_t size;
    atomic_size_t waiting;
    atomic_uint stage;
    atomic_size_t gathered;
    atomic_int disbanded;
} team;

/* Waits until all threads of the team have called it, before the first stage.
 * Returns 1, or 0 when the team was disbanded before all were there. */
int team_gather(team *t);

/* Ends the waiting of `team_gather`: somebody will not come. */
void team_disband(team *t);

/* Returns when all threads of the team have called it. */
void team_wait(team *t);

/* This thread's share of `count` things: *first … *last - 1. */
void team_share(size_t count, size_t thread, size_t threads, size_t *first, size_t *last);

#endif
