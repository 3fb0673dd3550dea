/* See team.h. */
#include "team.h"

#if defined(_WIN32)
#include <windows.h>
static void sleep_briefly(void) { Sleep(0); }
#else
#include <time.h>
static void sleep_briefly(void) {
    struct timespec t = {0, 50 * 1000};
    nanosleep(&t, NULL);
}
#endif

#if defined(__x86_64__)
#define pause_briefly() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define pause_briefly() __asm__ volatile("isb")
#else
#define pause_briefly() ((void)0)
#endif

/* A thread that has checked this many times sleeps between its further checks. */
#define LOOKS 2000

/* Lets some time pass after check number `look`. */
static void pass_time(int look) {
    if (look < LOOKS) pause_briefly();
    else sleep_briefly();
}

int team_gather(team *t) {
    atomic_fetch_add(&t->gathered, 1);
    for (int look = 0; atomic_load(&t->gathered) < t->size; look += look < LOOKS) {
        if (atomic_load(&t->disbanded)) return 0;
        pass_time(look);
    }
    return 1;
}

void team_disband(team *t) { atomic_store(&t->disbanded, 1); }

void team_wait(team *t) {
    if (t->size == 1) return;
    unsigned stage = atomic_load(&t->stage);
    if (atomic_fetch_add(&t->waiting, 1) + 1 == t->size) {
        atomic_store(&t->waiting, 0);
        atomic_store(&t->stage, stage + 1);
        return;
    }
    for (int look = 0; atomic_load(&t->stage) == stage; look += look < LOOKS) pass_time(look);
}

void team_share(size_t count, size_t thread, size_t threads, size_t *first, size_t *last) {
    *first = count * thread / threads;
    *last = count * (thread + 1) / threads;
}
