/* The wavefront of TIC's context model, both directions: what wavefront.py and tic_context.py do.
 *
 * Read those two first. All positions of a step go through the network together:
 *
 *   q, k, v and ŷ of 12 neighbours ─► attention ─► + ─► norm ─► mlp1 ─► mlp2 ─► + ─► context ─┐
 *                                           hidden of h_s ─► out ─► hyper ───────────────────┤
 *     ring of q, k, v ◄─ qkv ◄─ norm ◄─ ŷ ◄─ symbols ◄─ coder ◄─ means, scales ◄─ conv2 ◄────┘
 *
 * The first + adds the sum of the neighbours' ŷ, the second the input of the norm before it.
 *
 * The q, k, v and ŷ of a position are read for the last time in the eighth step after they were
 * written. So a ring of eight columns is enough for each row, and it stays in the cache.
 */
#ifndef TICODEC_WAVEFRONT_H
#define TICODEC_WAVEFRONT_H

#include "layers.h"
#include "rans.h"
#include "team.h"

#define NEIGHBOURS 12
/* The neighbours and one token for all that are not coded yet; queries: all 25 of 5 × 5. */
#define TOKENS 13
#define QUERIES_ALL 25
/* Largest symbol, as in coder.py. */
#define SYMBOL_MAX 32767.0

/* The CAM and the entropy head. Channels of q, k, v lie as [3][groups][depth][BLOCK]: one head a
 * lane, `groups` times BLOCK heads. */
typedef struct {
    const kernels *run;
    size_t M, N, heads, groups, depth;
    layer qkv, mlp1, mlp2, out, hyper, context, conv2, scales, means;
    curve after_mlp1, after_context, after_conv2;
    int32_t *bias;               /* [groups][25][13][BLOCK], in units of 2^-10 */
    int32_t *exp;                /* [EXP_SIZE] */
    int16_t *masked;             /* q, k, v of a token that is not coded yet */
    double *thresholds;          /* of the scale tables, ascending */
    size_t count_thresholds;     /* one fewer than scale tables */
    double score_factor;         /* from q · k to the grid of scores */
    double y_factor;             /* from the grid of means to that of the CAM */
    double v_factor;             /* from probability · v to the grid of the CAM */
    double y_epsilon, x_epsilon; /* of the two LayerNorms */
} network;

/* Values further from zero than this are rounded to the nearest. */
#define MAGNITUDES 16

/* How latents are rounded, see rounding.py. */
typedef struct {
    const float *errors;  /* [M]: bits that a squared error of 1 costs; NULL: to the nearest */
    const float *savings; /* [scale tables][MAGNITUDES]: bits saved from magnitude k + 1 to k */
} rounding;

/* One map of latents. */
typedef struct {
    size_t height, width;
    const float *hidden; /* what the last layer of h_s reads, [height · width][N], integers */
    const float *y;      /* to encode, [height · width][M]; NULL when decoding */
    rounding rounding;   /* of y */
    rans_writer *writer; /* one of the two */
    rans_reader *reader;
    const rans_tables *tables;
    int16_t *symbols; /* out, [height · width][M] */
    float *y_hat;     /* out, [height · width][M]; NULL if nobody wants it */
    /* The wavefront's own: q, k, v, [height][8][3 · groups · depth · BLOCK], and ŷ, [height][8][M],
     * in units of 2^-8. |ŷ| is below 2^24 there, so float holds it. */
    int16_t *ring;
    float *y_ring;
} map;

typedef struct wavefront wavefront;

/* NULL: no memory. The maps' buffers must live as long as the wavefront. */
wavefront *wavefront_make(const network *n, const map *maps, size_t count, size_t threads);
void wavefront_free(wavefront *w);

/* One thread's part of the work; every thread of the team calls it with its number.
 * `interrupted` is called by thread 0 now and then; what it returns, if not 0, ends all threads.
 * Returns RANS_OK, an error of rans.h, or what `interrupted` returned; all threads the same. */
int wavefront_run(wavefront *w, size_t thread, int (*interrupted)(void *), void *context);

#endif
