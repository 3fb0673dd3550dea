/* See hyper.h. */
#include "hyper.h"

#include <stdlib.h>
#include <string.h>

/* How many rows a product takes at a time. They are few enough for the cache, and enough to be
 * worth reading the weights. */
#define CHUNK 48

typedef struct {
    size_t height, width;
    float *x; /* [height · width][N]; integers of 19 bits, so float holds them */
} grid;

struct hyper_work {
    const hyper *h;
    hyper_map map;
    size_t threads, rows; /* rows: the most rows of a product */
    team team;
    atomic_int result;
    atomic_size_t *taken;              /* for each step: how many of its pieces have been taken */
    grid maps[STAGES], padded[STAGES]; /* the last of the maps is the caller's array */
    double **scratch;                  /* for each thread */
    void **room;                       /* for each thread: memory for products */
};

/* The state of one thread while it works. */
typedef struct {
    hyper_work *w;
    double *scratch;
    void *room;
    size_t step;
    int (*interrupted)(void *); /* NULL for all threads but one */
    void *context;
} worker;

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

static size_t token_width(const hyper_stage *s) { return 3 * s->groups * s->depth * BLOCK; }

/* How many doubles a convolution needs: neighbourhoods and outputs. */
static size_t conv_scratch(const layer *l) { return CHUNK * (PADDED(l->in) + PADDED(l->out)); }

/* How many doubles a Swin layer needs: x, its norm, q, k, v, the result of attention, the hidden
 * layer, scores and probabilities. */
static size_t swin_scratch(const hyper *h, const hyper_stage *s, const swin_layer *l, size_t rows) {
    size_t tokens = h->window * h->window;
    return rows * (2 * PADDED(h->N) + token_width(s) + PADDED(l->proj.in) + PADDED(l->mlp1.out)) +
           2 * tokens * tokens * BLOCK;
}

static int make_grid(grid *g, size_t height, size_t width, size_t channels) {
    *g = (grid){height, width, malloc(height * width * channels * sizeof *g->x)};
    return g->x != NULL;
}

static size_t up_to_multiple(size_t size, size_t side) { return (size + side - 1) / side * side; }

hyper_work *hyper_make(const hyper *h, const hyper_map *m, size_t threads) {
    hyper_work *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    size_t tokens = h->window * h->window, size = 0, steps = 0;
    w->h = h, w->map = *m, w->threads = threads, w->team.size = threads;
    w->rows = tokens < CHUNK ? CHUNK / tokens * tokens : tokens;
    size_t room = 1;
    int good = (w->scratch = calloc(threads, sizeof *w->scratch)) != NULL;
    good &= (w->room = calloc(threads, sizeof *w->room)) != NULL;
    for (size_t s = 0; s < STAGES; s++) {
        const hyper_stage *stage = &h->stages[s];
        size_t height = m->height << (s + 1), width = m->width << (s + 1);
        if (s == STAGES - 1) w->maps[s] = (grid){height, width, m->hidden};
        else good &= make_grid(&w->maps[s], height, width, h->N);
        good &= make_grid(&w->padded[s], up_to_multiple(height, h->window),
                          up_to_multiple(width, h->window), h->N);
        steps += 3 + stage->count;
        for (size_t p = 0; p < PARITIES; p++) {
            size = larger(size, conv_scratch(&stage->up[p]));
            room = larger(room, linear_scratch(stage->up[p].in));
        }
        for (size_t i = 0; i < stage->count; i++) {
            const swin_layer *l = &stage->layers[i];
            size = larger(size, swin_scratch(h, stage, l, w->rows));
            room = larger(room, linear_scratch(larger(l->mlp2.in, l->proj.in)));
            room = larger(room, linear_scratch(h->N));
        }
    }
    good &= (w->taken = calloc(steps, sizeof *w->taken)) != NULL;
    for (size_t i = 0; good && i < threads; i++)
        good &= (w->scratch[i] = calloc(size, sizeof **w->scratch)) != NULL &&
                (w->room[i] = malloc(room)) != NULL;
    if (good) return w;
    hyper_free(w);
    return NULL;
}

void hyper_free(hyper_work *w) {
    if (!w) return;
    for (size_t s = 0; s < STAGES; s++) free(w->padded[s].x);
    for (size_t s = 0; s < STAGES - 1; s++) free(w->maps[s].x);
    for (size_t i = 0; w->scratch && i < w->threads; i++) free(w->scratch[i]);
    for (size_t i = 0; w->room && i < w->threads; i++) free(w->room[i]);
    free(w->scratch), free(w->room), free(w->taken), free(w);
}

/* -- sharing ----------------------------------------------------------------------- */

/* Takes a piece of this step that no thread has taken yet. Returns 1 and its number in `piece`, or
 * 0 if no piece is left or the work was ended. Also when the work was ended, every thread goes
 * through all steps, so that no thread waits for one that has left. */
static int take(worker *t, size_t pieces, size_t *piece) {
    if (t->interrupted) {
        int failed = t->interrupted(t->context);
        if (failed) atomic_store(&t->w->result, failed), t->interrupted = NULL;
    }
    if (atomic_load(&t->w->result)) return 0;
    *piece = atomic_fetch_add(&t->w->taken[t->step], 1);
    return *piece < pieces;
}

static void end_step(worker *t) {
    t->step++;
    team_wait(&t->w->team);
}

/* -- convolutions ------------------------------------------------------------------ */

static void widen(const float *from, size_t count, double *to) {
    for (size_t c = 0; c < count; c++) to[c] = from[c];
}

static void narrow(const double *from, size_t count, float *to) {
    for (size_t c = 0; c < count; c++) to[c] = (float)from[c];
}

static float *position(const grid *g, size_t row, size_t column, size_t channels) {
    return g->x + (row * g->width + column) * channels;
}

/* The values of a position of a map. They are zero outside the map. */
static void fetch(const grid *g, size_t row, size_t column, size_t channels, double *out) {
    if (row < g->height && column < g->width)
        widen(position(g, row, column, channels), channels, out);
    else memset(out, 0, channels * sizeof *out);
}

/* `fetch` for ẑ. */
static void fetch_z(const hyper_map *m, size_t row, size_t column, size_t channels, double *out) {
    const int16_t *z = m->z + (row * m->width + column) * channels;
    int inside = row < m->height && column < m->width;
    for (size_t c = 0; c < channels; c++) out[c] = inside ? z[c] : 0;
}

/* Computes positions first … last - 1 of one parity of the map of twice the size. */
static void upsample(const worker *t, size_t stage, size_t parity, size_t first, size_t last) {
    const hyper_work *w = t->w;
    const hyper *h = w->h;
    const layer *l = &h->stages[stage].up[parity];
    const grid *to = &w->maps[stage];
    size_t down = parity / 2, right = parity % 2, width = PADDED(l->in), P = PADDED(h->N);
    size_t columns = to->width / 2;
    double *gathered = t->scratch, *out = gathered + CHUNK * width;
    for (size_t i = first; i < last; i++) {
        double *at = gathered + (i - first) * width;
        for (size_t dy = 0; dy <= down; dy++)
            for (size_t dx = 0; dx <= right; dx++, at += h->N) {
                size_t row = i / columns + dy, column = i % columns + dx;
                if (stage) fetch(&w->maps[stage - 1], row, column, h->N, at);
                else fetch_z(&w->map, row, column, h->N, at);
            }
    }
    h->run->linear(l, gathered, width, last - first, 0, P / BLOCK, NULL, 0, out, P, t->room);
    if (h->leaky) h->run->leaky_relu(out, (last - first) * P);
    for (size_t i = first; i < last; i++) {
        size_t row = 2 * (i / columns) + down, column = 2 * (i % columns) + right;
        narrow(out + (i - first) * P, h->N, position(to, row, column, h->N));
    }
}

/* -- Swin layers ------------------------------------------------------------------- */

/* Fills a row of the padded map. The padding repeats the last row and column. */
static void pad_row(const worker *t, size_t stage, size_t row) {
    const grid *from = &t->w->maps[stage], *to = &t->w->padded[stage];
    size_t N = t->w->h->N, above = row < from->height ? row : from->height - 1;
    for (size_t column = 0; column < to->width; column++) {
        size_t left = column < from->width ? column : from->width - 1;
        memcpy(position(to, row, column, N), position(from, above, left, N), N * sizeof *to->x);
    }
}

/* Adds the padded map, cropped, to a row of the map: the residual connection around the layers. */
static void join_row(const worker *t, size_t stage, size_t row) {
    size_t N = t->w->h->N, count = t->w->maps[stage].width * N;
    float *x = position(&t->w->maps[stage], row, 0, N);
    const float *y = position(&t->w->padded[stage], row, 0, N);
    const float limit = WIDE;
    for (size_t i = 0; i < count; i++) {
        float sum = x[i] + y[i]; /* 20 bits, so it is exact */
        x[i] = sum < -limit ? -limit : sum > limit ? limit : sum;
    }
}

/* The place on the map of token number `token` of a window. The map is rolled by `shift`. */
static float *token_of(const grid *g, size_t window, size_t number, size_t token, size_t shift,
                       size_t channels) {
    size_t across = g->width / window;
    size_t row = number / across * window + token / window + shift;
    size_t column = number % across * window + token % window + shift;
    return position(g, row % g->height, column % g->width, channels);
}

/* Computes the attention of one window.
 * q: q of the window's tokens in the first group of heads, [tokens][depth][BLOCK]. k lies `part`
 *   doubles after q, and v `part` doubles after k. The groups lie part / groups doubles apart.
 * seen: the result, [tokens][groups][depth][BLOCK]. */
static void attend(const hyper *h, const hyper_stage *s, const swin_layer *l, const double *q,
                   size_t part, const int32_t *bias, double *scores, double *seen) {
    size_t tokens = h->window * h->window, head = s->depth * BLOCK, all = tokens * tokens * BLOCK;
    double *probabilities = scores + all;
    for (size_t g = 0; g < s->groups; g++, q += part / s->groups, bias += all) {
        h->run->probabilities(q, q + part, tokens, s->depth, tokens, l->score_factor, bias, h->exp,
                              0, scores, probabilities);
        for (size_t i = 0; i < tokens; i++)
            h->run->weigh(probabilities + i * tokens * BLOCK, q + 2 * part, tokens, s->depth,
                          seen + (i * s->groups + g) * head);
    }
}

/* Sends windows first … last - 1 through a layer. */
static void transform(const worker *t, size_t stage, const swin_layer *l, size_t first,
                      size_t last) {
    const hyper *h = t->w->h;
    const hyper_stage *s = &h->stages[stage];
    const grid *map = &t->w->padded[stage];
    size_t tokens = h->window * h->window, rows = (last - first) * tokens, P = PADDED(h->N);
    size_t head = s->depth * BLOCK, seen_width = s->groups * head,
           hidden_width = PADDED(l->mlp1.out);
    size_t across = map->width / h->window, down = map->height / h->window;
    size_t part = rows * seen_width; /* q, k or v of all tokens */
    double *x = t->scratch, *norm = x + rows * P, *token = norm + rows * P;
    double *seen = token + 3 * part, *hidden = seen + part, *scores = hidden + rows * hidden_width;
    for (size_t i = 0; i < rows; i++) {
        widen(token_of(map, h->window, first + i / tokens, i % tokens, l->shift, h->N), h->N,
              x + i * P);
        memset(x + i * P + h->N, 0, (P - h->N) * sizeof *x);
        h->run->norm(x + i * P, h->N, s->epsilon, norm + i * P);
    }
    /* token: [3][groups][rows][depth][BLOCK], so group g begins at g · rows · head. `linear` adds
     * g · head to the pointer that it gets. So it gets g · (rows - 1) · head. */
    for (size_t g = 0; g < 3 * s->groups; g++)
        h->run->linear(&l->qkv, norm, P, rows, g * s->depth, (g + 1) * s->depth, NULL, 0,
                       token + g * (rows - 1) * head, head, t->room);
    for (size_t number = first; number < last; number++) {
        size_t at = (number - first) * tokens, pattern = 0;
        if (l->shift) pattern = 2 * (number / across == down - 1) + (number % across == across - 1);
        attend(h, s, l, token + at * head, part,
               l->bias + pattern * s->groups * tokens * tokens * BLOCK, scores,
               seen + at * seen_width);
    }
    h->run->requantise(seen, 1.0 / (1 << PROBABILITY_BITS), NARROW, seen, part);
    h->run->linear(&l->proj, seen, seen_width, rows, 0, P / BLOCK, NULL, 0, norm, P, t->room);
    h->run->add(x, norm, WIDE, rows * P);
    for (size_t i = 0; i < rows; i++) h->run->norm(x + i * P, h->N, s->epsilon, norm + i * P);
    h->run->linear(&l->mlp1, norm, P, rows, 0, hidden_width / BLOCK, NULL, 0, hidden, hidden_width,
                   t->room);
    h->run->gelu(&l->after_mlp1, hidden, rows * hidden_width);
    h->run->linear(&l->mlp2, hidden, hidden_width, rows, 0, P / BLOCK, NULL, 0, norm, P, t->room);
    h->run->add(x, norm, WIDE, rows * P);
    for (size_t i = 0; i < rows; i++)
        narrow(x + i * P, h->N,
               token_of(map, h->window, first + i / tokens, i % tokens, l->shift, h->N));
}

/* -- all --------------------------------------------------------------------------- */

/* The end of a piece of `count` things. Each piece has `size` things, and the last one the rest. */
static size_t end_of(size_t piece, size_t size, size_t count) {
    return (piece + 1) * size < count ? (piece + 1) * size : count;
}

static void run_stage(worker *t, size_t stage) {
    const hyper_work *w = t->w;
    const hyper_stage *s = &w->h->stages[stage];
    const grid *map = &w->maps[stage], *padded = &w->padded[stage];
    size_t window = w->h->window, piece;

    size_t positions = map->height * map->width / PARITIES;
    size_t pieces = (positions + CHUNK - 1) / CHUNK;
    while (take(t, PARITIES * pieces, &piece)) {
        /* The parity with the most taps comes first. */
        size_t parity = PARITIES - 1 - piece / pieces, number = piece % pieces;
        upsample(t, stage, parity, number * CHUNK, end_of(number, CHUNK, positions));
    }
    end_step(t);

    while (take(t, padded->height, &piece)) pad_row(t, stage, piece);
    end_step(t);

    size_t windows = padded->height / window * (padded->width / window);
    size_t together = w->rows / (window * window);
    for (size_t i = 0; i < s->count; i++) {
        while (take(t, (windows + together - 1) / together, &piece))
            transform(t, stage, &s->layers[i], piece * together, end_of(piece, together, windows));
        end_step(t);
    }

    while (take(t, map->height, &piece)) join_row(t, stage, piece);
    end_step(t);
}

int hyper_run(hyper_work *w, size_t thread, int (*interrupted)(void *), void *context) {
    worker t = {w, w->scratch[thread], w->room[thread], 0, interrupted, context};
    for (size_t stage = 0; stage < STAGES; stage++) run_stage(&t, stage);
    return atomic_load(&w->result);
}
