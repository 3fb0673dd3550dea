/* The hyper-synthesis h_s of TIC on integers, all but its last layer: `hidden` of tic_hyper.py.
 *
 *   ẑ ─► up ─► [Swin layers] ─► + ─► up ─► [Swin layers] ─► + ─► hidden
 *          └──────────────────┘        └──────────────────┘
 *
 * The wavefront applies the last layer, a step at a time: its outputs would be the largest map.
 *
 * `up` is a transposed convolution, and a LeakyReLU if the model has one. A transposed convolution
 * of stride 2 is a convolution of a map with zeros between its positions. An output in an even or
 * odd row and an even or odd column (its parity) needs 1, 2, 2 or 4 of the nine taps; the others
 * meet zeros. So there are four small layers, one for each parity.
 *
 * In a convolution, a thread gathers the neighbourhoods of some positions into rows. In a Swin
 * layer, a thread takes some windows from the first LayerNorm to the end of the MLP; their values
 * stay in its cache. Threads wait for each other only between layers.
 */
#ifndef TICODEC_HYPER_H
#define TICODEC_HYPER_H

#include "layers.h"
#include "team.h"

#define STAGES 2
#define PARITIES 4

/* Channels of q, k, v lie as [3][groups][depth][BLOCK]: one head a lane. The inputs of proj lie as
 * [groups][depth][BLOCK]. */
typedef struct {
    layer qkv, proj, mlp1, mlp2;
    curve after_mlp1;
    size_t shift;        /* how far the map is rolled */
    int32_t *bias;       /* [patterns][groups][tokens][tokens][BLOCK], in units of 2^-10 */
    double score_factor; /* from q · k to the grid of scores */
} swin_layer;

/* The patterns of a shifted layer: windows inside, in the last column, in the last row, in both.
 * Their biases keep apart the tokens that only the roll has brought together. A layer that is not
 * shifted has one pattern. */
#define patterns_of(swin) ((swin)->shift ? (size_t)4 : (size_t)1)

typedef struct {
    layer up[PARITIES]; /* parity 2 · (row odd) + (column odd) */
    swin_layer *layers;
    size_t count, groups, depth;
    double epsilon; /* of LayerNorm */
} hyper_stage;

typedef struct {
    const kernels *run;
    size_t N, window;
    int leaky; /* LeakyReLU after `up` */
    hyper_stage stages[STAGES];
    int32_t *exp; /* [EXP_SIZE] */
} hyper;

/* ẑ of one image. */
typedef struct {
    size_t height, width;
    const int16_t *z; /* [height · width][N] */
    float *hidden;    /* out, [4 · height · 4 · width][N], integers */
} hyper_map;

typedef struct hyper_work hyper_work;

/* NULL: no memory. The map's buffers must live as long as the work. */
hyper_work *hyper_make(const hyper *h, const hyper_map *m, size_t threads);
void hyper_free(hyper_work *w);

/* One thread's part of the work; every thread of the team calls it with its number.
 * `interrupted` is called by thread 0 now and then; what it returns, if not 0, ends all threads.
 * Returns 0 or what `interrupted` returned; all threads the same. */
int hyper_run(hyper_work *w, size_t thread, int (*interrupted)(void *), void *context);

#endif
