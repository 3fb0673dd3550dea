/* Threads that work on one job and wait for each other between its stages.
 *
 * Python starts the threads, so this code does not depend on the threads of an operating system. A
 * stage takes some microseconds, which is less than it takes to put a thread to sleep. So a waiting
 * thread first checks a counter again and again. If the others still do not come, they have
 * probably lost their processors to other work. Then the thread sleeps between checks, so that the
 * others can use its processor.
 */
#ifndef TICODEC_TEAM_H
#define TICODEC_TEAM_H

#include <stdatomic.h>
#include <stddef.h>

typedef struct {
    size_t size;            /* how many threads the team has */
    atomic_size_t waiting;  /* how many threads have finished this stage */
    atomic_uint stage;      /* goes up by one when all threads have finished the stage */
    atomic_size_t gathered; /* how many threads have called team_gather */
    atomic_int disbanded;
} team;

/* Waits until all threads of the team have called it. A team calls it before its first stage.
 * Returns 1, or 0 if the team was disbanded before all threads had come. */
int team_gather(team *t);

/* Ends the waiting in `team_gather`, because some thread will not come. */
void team_disband(team *t);

/* Returns when all threads of the team have called it. */
void team_wait(team *t);

/* The share of one thread in `count` things: *first … *last - 1. */
void team_share(size_t count, size_t thread, size_t threads, size_t *first, size_t *last);

#endif
