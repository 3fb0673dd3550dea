/* The wavefront of TIC's context model, for encoding and decoding. It does the same as
 * wavefront.py and tic_context.py in the folder above. Read those two first. All positions of a
 * step go through the network together:
 *
 *   q, k, v and ŷ of 12 neighbours ─► attention ─► + ─► norm ─► mlp1 ─► mlp2 ─► + ─► context ─┐
 *                                           hidden of h_s ─► out ─► hyper ───────────────────┤
 *     ring of q, k, v ◄─ qkv ◄─ norm ◄─ ŷ ◄─ symbols ◄─ coder ◄─ means, scales ◄─ conv2 ◄────┘
 *
 * The first + adds the sum of the neighbours' ŷ. The second + adds the input of the norm.
 *
 * The q, k, v and ŷ of a position are read for the last time eight steps after they were written.
 * So a ring buffer of eight columns is enough for each row. It is small and stays in the cache.
 */
#ifndef TICODEC_WAVEFRONT_H
#define TICODEC_WAVEFRONT_H

#include "layers.h"
#include "rans.h"
#include "team.h"

#define NEIGHBOURS 12
/* The tokens of a 5 × 5 neighbourhood: its 12 earlier neighbours, and one token that stands for all
 * 13 positions that are not coded yet. Each of the 25 positions is a query. */
#define TOKENS 13
#define QUERIES_ALL 25
/* The largest symbol, as in coder.py. */
#define SYMBOL_MAX 32767.0

/* The CAM and the entropy head. Channels of q, k, v lie as [3][groups][depth][BLOCK]. Each head has
 * its own lane of a vector. A group has BLOCK heads. */
typedef struct {
    const kernels *run;
    size_t M, N, heads, groups, depth;
    layer qkv, mlp1, mlp2, out, hyper, context, conv2, scales, means;
    curve after_mlp1, after_context, after_conv2;
    int32_t *bias;               /* [groups][25][13][BLOCK], in units of 2^-10 */
    int32_t *exp;                /* [EXP_SIZE] */
    int16_t *masked;             /* q, k, v of a token that is not coded yet */
    double *thresholds;          /* between the scale tables, ascending */
    size_t count_thresholds;     /* the number of scale tables - 1 */
    double score_factor;         /* from q · k to the grid of scores */
    double y_factor;             /* from the grid of means to that of the CAM */
    double v_factor;             /* from probability · v to the grid of the CAM */
    double y_epsilon, x_epsilon; /* of the two LayerNorms */
} network;

/* Values further from zero than this are rounded to the nearest integer. */
#define MAGNITUDES 16

/* How latents are rounded, see rounding.py. If `errors` is NULL, they are rounded to the nearest
 * integer. */
typedef struct {
    const float *errors;  /* [M]: how many bits a squared error of 1 is worth */
    const float *savings; /* [scale tables][MAGNITUDES]: bits saved by magnitude k, not k + 1 */
} rounding;

/* One map of latents. */
typedef struct {
    size_t height, width;
    const float *hidden; /* the input of the last layer of h_s, [height · width][N], integers */
    const float *y;      /* the latents to encode, [height · width][M]; NULL when decoding */
    rounding rounding;   /* how to round y */
    rans_writer *writer; /* NULL when decoding */
    rans_reader *reader; /* NULL when encoding */
    const rans_tables *tables;
    int16_t *symbols; /* output, [height · width][M] */
    float *y_hat;     /* output, [height · width][M]; NULL if ŷ is not wanted */
    /* wavefront_make allocates these ring buffers. ring: q, k, v,
     * [height][8][3 · groups · depth · BLOCK]. y_ring: ŷ, [height][8][M], in units of 2^-8. In
     * these units |ŷ| is below 2^24, so float holds it exactly. */
    int16_t *ring;
    float *y_ring;
} map;

typedef struct wavefront wavefront;

/* Returns NULL if there is no memory. The maps' buffers must live as long as the wavefront. */
wavefront *wavefront_make(const network *n, const map *maps, size_t count, size_t threads);
void wavefront_free(wavefront *w);

/* Does one thread's part of the work. Every thread of the team calls it with its own number.
 * Thread 0 calls `interrupted` now and then. If that returns anything but 0, all threads end.
 * Returns RANS_OK, an error of rans.h, or the result of `interrupted`. It is the same in all
 * threads. */
int wavefront_run(wavefront *w, size_t thread, int (*interrupted)(void *), void *context);

#endif
