/* The hyper-synthesis h_s of TIC on integers, without its last layer: `hidden` of tic_hyper.py.
 *
 *   ẑ ─► up ─► [Swin layers] ─► + ─► up ─► [Swin layers] ─► + ─► hidden
 *          └──────────────────┘        └──────────────────┘
 *
 * The wavefront applies the last layer, one step at a time. That saves memory, because the outputs
 * of this layer would be the largest map.
 *
 * `up` is a transposed convolution, and a LeakyReLU if the model has one. A transposed convolution
 * of stride 2 is a convolution of a map with zeros between its positions. The parity of an output
 * says whether its row and its column are even or odd. Depending on the parity, the output needs
 * 1, 2, 2 or 4 of the nine taps. The other taps meet zeros. So there are four small layers, one for
 * each parity.
 *
 * In a convolution, a thread gathers the neighbourhoods of some positions into rows. In a Swin
 * layer, a thread processes some windows from the first LayerNorm to the end of the MLP, so their
 * values stay in its cache. Threads wait for each other only between layers.
 */
#ifndef TICODEC_HYPER_H
#define TICODEC_HYPER_H

#include "layers.h"
#include "team.h"

#define STAGES 2
#define PARITIES 4

/* Channels of q, k, v lie as [3][groups][depth][BLOCK]. Each head has its own lane of a vector. The
 * inputs of proj lie as [groups][depth][BLOCK]. */
typedef struct {
    layer qkv, proj, mlp1, mlp2;
    curve after_mlp1;
    size_t shift;        /* how far the map is rolled */
    int32_t *bias;       /* [patterns][groups][tokens][tokens][BLOCK], in units of 2^-10 */
    double score_factor; /* from q · k to the grid of scores */
} swin_layer;

/* A shifted layer has four patterns of windows: inside, in the last column, in the last row, in
 * both. The biases of a pattern mask pairs of tokens that are neighbours only because the map was
 * rolled. A layer that is not shifted has one pattern. */
#define patterns_of(swin) ((swin)->shift ? (size_t)4 : (size_t)1)

typedef struct {
    layer up[PARITIES]; /* parity = 2 · (row is odd) + (column is odd) */
    swin_layer *layers;
    size_t count, groups, depth;
    double epsilon; /* of LayerNorm */
} hyper_stage;

typedef struct {
    const kernels *run;
    size_t N, window;
    int leaky; /* whether a LeakyReLU follows `up` */
    hyper_stage stages[STAGES];
    int32_t *exp; /* [EXP_SIZE] */
} hyper;

/* ẑ of one image, and the result. */
typedef struct {
    size_t height, width;
    const int16_t *z; /* [height · width][N] */
    float *hidden;    /* output, [4 · height · 4 · width][N], integers */
} hyper_map;

typedef struct hyper_work hyper_work;

/* Returns NULL if there is no memory. The map's buffers must live as long as the work. */
hyper_work *hyper_make(const hyper *h, const hyper_map *m, size_t threads);
void hyper_free(hyper_work *w);

/* Does one thread's part of the work. Every thread of the team calls it with its own number.
 * Thread 0 calls `interrupted` now and then. If that returns anything but 0, all threads end.
 * Returns 0 or the result of `interrupted`. It is the same in all threads. */
int hyper_run(hyper_work *w, size_t thread, int (*interrupted)(void *), void *context);

#endif
