/* See wavefront.h. */
#include "wavefront.h"

#include <stdlib.h>
#include <string.h>

#define RING 8
/* Latents and means are in units of 2^-8. */
#define MEAN_UNIT 256.0
/* 2^LONG_SPARE of exact.py. A LONG number drops six bits before LayerNorm, which takes 19 bits. */
#define SPARE_UNIT 64.0

typedef struct {
    size_t map, row, column;
} place;

struct wavefront {
    const network *n;
    map *maps;
    size_t count, threads, longest; /* longest: the most positions that a step has */
    team team;
    atomic_int result;
    /* The data of the current step: */
    place *places;
    size_t *firsts; /* map m has the places firsts[m] … firsts[m + 1] - 1 */
    double *x, *norm, *hidden, *token, *around, *features, *mixed, *deep, *scales, *means, *new;
    uint16_t *indexes;
    int32_t *values;
    double **scratch; /* for each thread: memory for attention */
    void **room;      /* for each thread: memory for products */
};

static size_t token_width(const network *n) { return 3 * n->groups * n->depth * BLOCK; }

/* How many doubles `attend` needs: q, k, v of the tokens, scores, probabilities, and its
 * results. */
static size_t scratch_size(const network *n) {
    return TOKENS * token_width(n) + TOKENS * TOKENS * BLOCK + TOKENS * BLOCK + n->depth * BLOCK +
           3 * PADDED(n->M);
}

/* How many bytes the products need. */
static size_t room_size(const network *n) {
    const layer *all[] = {&n->qkv,     &n->mlp1,  &n->mlp2,   &n->out,  &n->hyper,
                          &n->context, &n->conv2, &n->scales, &n->means};
    size_t most = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (linear_scratch(all[i]->in) > most) most = linear_scratch(all[i]->in);
    return most;
}

wavefront *wavefront_make(const network *n, const map *maps, size_t count, size_t threads) {
    wavefront *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    w->n = n, w->count = count, w->threads = threads;
    w->team.size = threads;
    /* In a step, the position of the next row is three columns further left. */
    for (size_t m = 0; m < count; m++) {
        size_t rows = (maps[m].width + 2) / 3;
        w->longest += rows < maps[m].height ? rows : maps[m].height;
    }
    size_t rows = w->longest ? w->longest : 1, M = PADDED(n->M);
    int good = 1;
#define MAKE(name, size) good &= (w->name = calloc((size), sizeof *w->name)) != NULL
    MAKE(maps, count + 1);
    MAKE(places, rows);
    MAKE(firsts, count + 1);
    MAKE(x, rows * M);
    MAKE(norm, rows * M);
    MAKE(hidden, rows * PADDED(n->mlp1.out));
    MAKE(token, rows * token_width(n));
    MAKE(around, rows * PADDED(n->out.in));
    MAKE(features, rows * PADDED(n->hyper.in));
    MAKE(mixed, rows * PADDED(n->hyper.out));
    MAKE(deep, rows * PADDED(n->conv2.out));
    MAKE(scales, rows * M);
    MAKE(means, rows * M);
    MAKE(new, rows * M);
    MAKE(indexes, rows * M);
    MAKE(values, rows * M);
    MAKE(scratch, threads);
    MAKE(room, threads);
    for (size_t i = 0; good && i < threads; i++) {
        MAKE(scratch[i], scratch_size(n));
        good &= (w->room[i] = malloc(room_size(n) + 1)) != NULL;
    }
    for (size_t m = 0; good && m < count; m++) {
        w->maps[m] = maps[m];
        MAKE(maps[m].ring, maps[m].height * RING * token_width(n));
        MAKE(maps[m].y_ring, maps[m].height * RING * n->M);
    }
    if (good) return w;
    wavefront_free(w);
    return NULL;
}

void wavefront_free(wavefront *w) {
    if (!w) return;
    for (size_t m = 0; w->maps && m < w->count; m++) free(w->maps[m].ring), free(w->maps[m].y_ring);
    for (size_t i = 0; w->scratch && i < w->threads; i++) free(w->scratch[i]);
    for (size_t i = 0; w->room && i < w->threads; i++) free(w->room[i]);
    void *all[] = {w->maps,    w->places,   w->firsts,  w->x,    w->norm,   w->hidden, w->token,
                   w->around,  w->features, w->mixed,   w->deep, w->scales, w->means,  w->new,
                   w->indexes, w->values,   w->scratch, w->room, w};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

/* Lists the positions of step t of all maps, map by map, the top row first. In step t,
 * column = t - 3 · row. */
static void place_step(wavefront *w, size_t t) {
    size_t placed = 0;
    for (size_t m = 0; m < w->count; m++) {
        w->firsts[m] = placed;
        size_t height = w->maps[m].height, width = w->maps[m].width;
        size_t top = t < width ? 0 : (t - width) / 3 + 1;
        for (size_t row = top; row < height && 3 * row <= t; row++)
            w->places[placed++] = (place){m, row, t - 3 * row};
    }
    w->firsts[w->count] = placed;
}

static size_t position(const map *m, place p) { return p.row * m->width + p.column; }

static int16_t *cell(const wavefront *w, const map *m, size_t row, size_t column) {
    return m->ring + (row * RING + column % RING) * token_width(w->n);
}

static float *y_cell(const wavefront *w, const map *m, size_t row, size_t column) {
    return m->y_ring + (row * RING + column % RING) * w->n->M;
}

/* Computes the attention of one position. It fills the position's row of x (the CAM's residual) and
 * its row of norm (the LayerNorm of that residual). */
static void attend(const wavefront *w, size_t number, double *scratch) {
    const network *n = w->n;
    place p = w->places[number];
    const map *m = &w->maps[p.map];
    size_t part = n->groups * n->depth * BLOCK, group = n->depth * BLOCK, M = PADDED(n->M);
    double *tokens = scratch; /* [3][groups][13][depth][BLOCK] */
    double *scores = tokens + TOKENS * 3 * part;
    double *summed = scores + TOKENS * TOKENS * BLOCK;
    double *seen = summed + TOKENS * BLOCK;
    double *total = seen + n->depth * BLOCK, *mixed = total + M, *short_x = mixed + M;
    memset(total, 0, M * sizeof *total);
    for (size_t i = 0; i < TOKENS; i++) {
        const int16_t *token = n->masked;
        /* Both are 2 too large, so that they are never below 0. */
        size_t row = p.row + i / 5, column = p.column + i % 5;
        int inside = row >= 2 && column >= 2 && column - 2 < m->width;
        if (i < NEIGHBOURS && inside) {
            token = cell(w, m, row - 2, column - 2);
            const float *y = y_cell(w, m, row - 2, column - 2);
            for (size_t c = 0; c < n->M; c++) total[c] += y[c];
        }
        for (size_t g = 0; g < 3 * n->groups; g++)
            n->run->widen(token + g * group, tokens + (g * TOKENS + i) * group, group);
    }
    for (size_t g = 0; g < n->groups; g++) {
        const double *q = tokens + g * TOKENS * group, *k = q + TOKENS * part;
        const double *v = k + TOKENS * part;
        const int32_t *bias = n->bias + g * QUERIES_ALL * TOKENS * BLOCK;
        n->run->probabilities(q, k, TOKENS, n->depth, QUERIES_ALL, n->score_factor, bias, n->exp, 1,
                              scores, summed);
        n->run->weigh(summed, v, TOKENS, n->depth, seen);
        for (size_t lane = 0; lane < BLOCK && g * BLOCK + lane < n->heads; lane++)
            for (size_t e = 0; e < n->depth; e++)
                mixed[(g * BLOCK + lane) * n->depth + e] = seen[e * BLOCK + lane];
    }
    memset(mixed + n->M, 0, (M - n->M) * sizeof *mixed);
    double *x = w->x + number * M;
    n->run->requantise(total, n->y_factor, LONG_LIMIT, x, M);
    n->run->requantise(mixed, n->v_factor, LONG_LIMIT, mixed, M);
    n->run->add(x, mixed, LONG_LIMIT, M);
    n->run->requantise(x, 1 / SPARE_UNIT, WIDE, short_x, M);
    n->run->norm(short_x, n->M, n->x_epsilon, w->norm + number * M);
}

/* Gathers the input of the last layer of h_s for a position: hidden of 3 × 3 positions. Outside the
 * map it is zero. */
static void look_around(const wavefront *w, size_t number) {
    place p = w->places[number];
    const map *m = &w->maps[p.map];
    size_t N = w->n->N;
    double *to = w->around + number * PADDED(w->n->out.in);
    /* Row 0 - 1 is the largest size_t, so it is outside the map. So is column 0 - 1. */
    for (size_t dy = 0; dy < 3; dy++)
        for (size_t dx = 0; dx < 3; dx++, to += N) {
            size_t row = p.row + dy - 1, column = p.column + dx - 1;
            int inside = row < m->height && column < m->width;
            if (!inside) memset(to, 0, N * sizeof *to);
            for (size_t c = 0; inside && c < N; c++)
                to[c] = m->hidden[(row * m->width + column) * N + c];
        }
}

/* The symbols of a position of the step. They have no padding, because the coder takes all symbols
 * of a map at once. */
static int32_t *values_of(const wavefront *w, size_t number) {
    size_t first = w->firsts[w->places[number].map];
    return w->values + first * PADDED(w->n->M) + (number - first) * w->n->M;
}

/* Returns the next value towards zero, if it saves more bits than its larger error costs, and
 * otherwise `value`. See rounding.py.
 * index: the number of the latent's table.
 * step: the latent minus its mean.
 * value: `step`, rounded to the nearest integer. */
static int32_t cheaper(const rounding *r, size_t channel, size_t index, double step,
                       int32_t value) {
    int32_t magnitude = value < 0 ? -value : value;
    if (!magnitude || magnitude > MAGNITUDES) return value;
    /* By how much the squared error grows: 1 + 2e. */
    double worse = 1 + 2 * ((step < 0 ? -step : step) - magnitude);
    double saved = r->savings[index * MAGNITUDES + (size_t)magnitude - 1];
    if (saved <= r->errors[channel] * worse) return value;
    return value < 0 ? value + 1 : value - 1;
}

/* Computes the symbols of channels first … last - 1 of a position that is encoded. */
static void quantise(const wavefront *w, size_t number, size_t first, size_t last) {
    size_t M = w->n->M, end = last < M ? last : M;
    const map *m = &w->maps[w->places[number].map];
    const float *y = m->y + position(m, w->places[number]) * M;
    const double *mean = w->means + number * PADDED(M);
    const uint16_t *index = w->indexes + number * PADDED(M);
    int32_t *value = values_of(w, number);
    for (size_t c = first; c < end; c++) {
        double step = (double)y[c] - mean[c] * (1 / MEAN_UNIT);
        step = step < SYMBOL_MAX ? step : SYMBOL_MAX;
        step = step > -SYMBOL_MAX ? step : -SYMBOL_MAX;
        value[c] = (int32_t)((step + ROUNDER) - ROUNDER);
        if (m->rounding.errors) value[c] = cheaper(&m->rounding, c, index[c], step, value[c]);
    }
}

/* Codes a map's positions of this step: it writes their symbols to the map's stream, or reads them
 * from it. Returns RANS_OK or an error of rans.h. */
static int code(wavefront *w, size_t number) {
    const network *n = w->n;
    const map *m = &w->maps[number];
    size_t first = w->firsts[number], count = w->firsts[number + 1] - first, M = PADDED(n->M);
    if (!count) return RANS_OK;
    int32_t *values = values_of(w, first);
    uint16_t *indexes = w->indexes + first * M;
    if (M != n->M)
        for (size_t i = 1; i < count; i++)
            memmove(indexes + i * n->M, indexes + i * M, n->M * sizeof *indexes);
    if (m->writer) return rans_write(m->writer, values, indexes, count * n->M, m->tables);
    int failed = rans_read(m->reader, values, indexes, count * n->M, m->tables);
    for (size_t i = 0; !failed && i < count * n->M; i++)
        if (values[i] > SYMBOL_MAX || values[i] < -SYMBOL_MAX) failed = RANS_IMPOSSIBLE;
    return failed;
}

/* Stores the symbols of a position and its ŷ, and computes the LayerNorm of ŷ. */
static void settle(const wavefront *w, size_t number) {
    const network *n = w->n;
    place p = w->places[number];
    const map *m = &w->maps[p.map];
    size_t at = position(m, p) * n->M, M = PADDED(n->M);
    const int32_t *value = values_of(w, number);
    const double *mean = w->means + number * M;
    double *new = w->new + number * M;
    float *y_near = y_cell(w, m, p.row, p.column);
    for (size_t c = 0; c < n->M; c++) {
        double y = value[c] * MEAN_UNIT + mean[c];
        m->symbols[at + c] = (int16_t)value[c];
        y_near[c] = (float)y;
        if (m->y_hat) m->y_hat[at + c] = (float)(y * (1 / MEAN_UNIT));
        new[c] = y < -WIDE ? -WIDE : y > WIDE ? WIDE : y;
    }
    memset(new + n->M, 0, (M - n->M) * sizeof *new);
    n->run->norm(new, n->M, n->y_epsilon, w->norm + number * M);
}

/* Computes blocks first … last - 1 of the outputs of a layer, for all positions of the step. */
static void apply(const wavefront *w, size_t thread, const layer *l, const double *x, size_t first,
                  size_t last, const double *add, int raw, double *out) {
    w->n->run->linear(l, x, PADDED(l->in), w->firsts[w->count], first, last, add, raw, out,
                      PADDED(l->out), w->room[thread]);
}

static void activate(const wavefront *w, const layer *l, const curve *c, size_t first, size_t last,
                     double *x) {
    for (size_t row = 0; row < w->firsts[w->count]; row++)
        w->n->run->gelu(c, x + row * PADDED(l->out) + first * BLOCK, (last - first) * BLOCK);
}

/* Does one thread's part of one step of all maps. */
static void step(wavefront *w, size_t thread, int (*interrupted)(void *), void *context) {
    const network *n = w->n;
    size_t rows = w->firsts[w->count], M = PADDED(n->M), first, last;

    team_share(rows, thread, w->threads, &first, &last);
    for (size_t i = first; i < last; i++) attend(w, i, w->scratch[thread]), look_around(w, i);
    team_wait(&w->team);

    team_share(PADDED(n->mlp1.out) / BLOCK, thread, w->threads, &first, &last);
    apply(w, thread, &n->mlp1, w->norm, first, last, NULL, 0, w->hidden);
    activate(w, &n->mlp1, &n->after_mlp1, first, last, w->hidden);
    team_share(PADDED(n->out.out) / BLOCK, thread, w->threads, &first, &last);
    apply(w, thread, &n->out, w->around, first, last, NULL, 0, w->features);
    team_wait(&w->team);

    team_share(M / BLOCK, thread, w->threads, &first, &last);
    apply(w, thread, &n->mlp2, w->hidden, first, last, NULL, 0, w->new);
    for (size_t row = 0; row < rows; row++) {
        size_t at = row * M + first * BLOCK;
        n->run->add(w->x + at, w->new + at, LONG_LIMIT, (last - first) * BLOCK);
    }
    team_wait(&w->team);

    team_share(PADDED(n->context.out) / BLOCK, thread, w->threads, &first, &last);
    apply(w, thread, &n->hyper, w->features, first, last, NULL, 1, w->mixed);
    apply(w, thread, &n->context, w->x, first, last, w->mixed, 0, w->mixed);
    activate(w, &n->context, &n->after_context, first, last, w->mixed);
    team_wait(&w->team);

    team_share(PADDED(n->conv2.out) / BLOCK, thread, w->threads, &first, &last);
    apply(w, thread, &n->conv2, w->mixed, first, last, NULL, 0, w->deep);
    activate(w, &n->conv2, &n->after_conv2, first, last, w->deep);
    team_wait(&w->team);

    team_share(M / BLOCK, thread, w->threads, &first, &last);
    apply(w, thread, &n->scales, w->deep, first, last, NULL, 0, w->scales);
    apply(w, thread, &n->means, w->deep, first, last, NULL, 0, w->means);
    for (size_t row = 0; row < rows; row++) {
        size_t at = row * M + first * BLOCK;
        n->run->scale_indexes(w->scales + at, n->thresholds, n->count_thresholds, w->indexes + at,
                              (last - first) * BLOCK);
        if (w->maps[w->places[row].map].writer) quantise(w, row, first * BLOCK, last * BLOCK);
    }
    team_wait(&w->team);

    /* `result` is set only here, so that all threads see the same value after the next wait. */
    for (size_t m = thread; m < w->count; m += w->threads) {
        int failed = code(w, m);
        if (failed) atomic_store(&w->result, failed);
    }
    if (!thread) {
        int failed = interrupted ? interrupted(context) : 0;
        if (failed) atomic_store(&w->result, failed);
    }
    team_wait(&w->team);
    if (atomic_load(&w->result)) return;

    team_share(rows, thread, w->threads, &first, &last);
    for (size_t i = first; i < last; i++) settle(w, i);
    team_wait(&w->team);

    team_share(PADDED(n->qkv.out) / BLOCK, thread, w->threads, &first, &last);
    apply(w, thread, &n->qkv, w->norm, first, last, NULL, 0, w->token);
    for (size_t row = 0; row < rows; row++) {
        place p = w->places[row];
        const double *from = w->token + row * token_width(n);
        int16_t *to = cell(w, &w->maps[p.map], p.row, p.column);
        for (size_t c = first * BLOCK; c < last * BLOCK; c++) to[c] = (int16_t)from[c];
    }
    team_wait(&w->team);
}

int wavefront_run(wavefront *w, size_t thread, int (*interrupted)(void *), void *context) {
    size_t steps = 0;
    for (size_t m = 0; m < w->count; m++) {
        size_t of_map = w->maps[m].width + 3 * (w->maps[m].height - 1);
        steps = of_map > steps ? of_map : steps;
    }
    for (size_t t = 0; t < steps; t++) {
        if (!thread) place_step(w, t);
        team_wait(&w->team);
        if (w->firsts[w->count]) step(w, thread, interrupted, context);
        else team_wait(&w->team); /* narrow maps have steps without positions */
        if (atomic_load(&w->result)) break;
    }
    return atomic_load(&w->result);
}
