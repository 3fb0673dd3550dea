/* Threads that work on one job and wait for each other between its stages.
 *
 * The threads belong to the caller (Python starts them), so nothing here depends on a system's
 * threads. A stage takes some microseconds, less than it takes to put a thread to sleep. So a
 * thread that waits first looks at a counter again and again. If the others still do not come, they
 * have probably lost their processors to other work. Then the thread sleeps between looks, so that
 * they can have its processor.
 */
#ifndef TICODEC_TEAM_H
#define TICODEC_TEAM_H

#include <stdatomic.h>
#include <stddef.h>

typedef struct {
    size_t size;            /* how many threads */
    atomic_size_t waiting;  /* how many have ended this stage */
    atomic_uint stage;      /* goes up when all have */
    atomic_size_t gathered; /* how many have called team_gather */
    atomic_int disbanded;
} team;

/* Waits until all threads of the team have called it, before the first stage.
 * Returns 1, or 0 when the team was disbanded before all were there. */
int team_gather(team *t);

/* Ends the waiting in `team_gather`: some thread will not come. */
void team_disband(team *t);

/* Returns when all threads of the team have called it. */
void team_wait(team *t);

/* This thread's share of `count` things: *first … *last - 1. */
void team_share(size_t count, size_t thread, size_t threads, size_t *first, size_t *last);

#endif
