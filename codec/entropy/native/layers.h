/* Layers on integers that are carried in doubles: the arithmetic of `exact.Ops`, in C.
 *
 * Which numbers, and why every machine gets the same bits
 * -------------------------------------------------------
 * Activations are integers of at most 25 bits. Weights are integers of 16 bits. A sum of their
 * products stays below 2^53. The export checks this for every output, with the largest activation
 * that is possible. A double holds every integer below 2^53, so such a sum is exact. It depends
 * neither on the order of its additions, nor on the width of the vectors, nor on whether a
 * multiplication and an addition are fused. A factor that is a power of two changes only the
 * exponent.
 *
 * All other arithmetic is one correctly rounded IEEE operation at a time (division, square root), a
 * comparison, or a table.
 *
 * A compiler may fuse a product and a sum, because every product that goes into a sum is exact. It
 * must not reorder divisions, and it must not assume that there are no NaN. Never compile this with
 * -ffast-math.
 *
 * layers_vnni.h multiplies integers instead, and explains why its sums are the same.
 *
 * Rows of activations have room for a multiple of BLOCK numbers. The numbers after the last
 * activation may be any finite numbers, because they are only ever multiplied by a weight of zero.
 * Only `norm` needs zeros there. Every `count` below is a multiple of BLOCK.
 */
#ifndef TICODEC_LAYERS_H
#define TICODEC_LAYERS_H

#include <float.h>
#include <stddef.h>
#include <stdint.h>

/* With the values 0, 1 and 16, doubles are computed as doubles. These values differ only in how
 * narrower types are computed. */
#if !defined(FLT_EVAL_METHOD) ||                                                                   \
    (FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 1 && FLT_EVAL_METHOD != 16)
#error "doubles with excess precision would not give the same bits; the torch path runs instead"
#endif

/* This many outputs of a layer lie together in memory. */
#define BLOCK 16
/* The largest activations, as in exact.py. */
#define NARROW 32767.0
#define WIDE 262143.0
#define LONG_LIMIT 16777215.0
/* Fractional bits of a normalised token, of attention scores, and of probabilities. */
#define NORM_BITS 11
#define SCORE_BITS 10
#define PROBABILITY_BITS 15
/* The table of exp has this many entries: exp(-i / 2^10). */
#define EXP_SIZE 16384

/* The most tokens of a window or neighbourhood. */
#define MOST_TOKENS 64

/* 1.5 · 2^52. Adding it to a number below 2^51 and then subtracting it rounds half to even. */
#define ROUNDER 6755399441055744.0

/* n, rounded up to a multiple of BLOCK. */
#define PADDED(n) (((n) + BLOCK - 1) / BLOCK * BLOCK)
/* How many pairs hold n inputs. If n is odd, the last weight of the last pair is zero. */
#define PAIRS(n) (((n) + 1) / 2)

/* layers_vnni.h splits SLICE inputs at once. A pace is the number of inputs after which it empties
 * its sums. There are PACES paces: QUICKEST, twice QUICKEST, and so on, up to SLICE. */
#define QUICKEST 4
#define PACES 7
#define SLICE (QUICKEST << (PACES - 1))

/* output = (x · weight + bias) · scale, rounded half to even and clamped to ±limit.
 *
 * weight: [PADDED(out) / BLOCK][PAIRS(in)][BLOCK][2]. The weights of two inputs lie side by side.
 * bias: integers, [PADDED(out)]. Padding is zero in all three arrays.
 * scale: powers of two, [PADDED(out)].
 * reach: for each pace, the largest sum of |weight| of any output over `pace` inputs that begin at
 *   a multiple of the pace. `layer_measure` computes it. */
typedef struct {
    size_t in, out;
    int16_t *weight;
    double *bias, *scale;
    double limit;
    int64_t reach[PACES];
} layer;

void layer_measure(layer *l);

/* relu(x) + table[|x|]. The last entry also serves all larger |x|. */
typedef struct {
    size_t size;
    int32_t *table;
} curve;

/* The arithmetic for one instruction set. */
typedef struct {
    const char *name;

    /* Computes the outputs in blocks first … last - 1, for `rows` rows of x. Rows of x lie `width`
     * doubles apart, rows of out `out_width`. Output c of a row goes to out[c], for any `first`.
     * add: added before rounding. It is laid out like `out`. NULL adds nothing.
     * raw: if it is not 0, the results are neither rounded nor clamped.
     * scratch: room for `linear_scratch` bytes. */
    void (*linear)(const layer *l, const double *x, size_t width, size_t rows, size_t first,
                   size_t last, const double *add, int raw, double *out, size_t out_width,
                   void *scratch);

    /* LayerNorm of `channels` values without its affine part. See `Ops.norm`. */
    void (*norm)(const double *x, size_t channels, double epsilon, double *out);

    /* GELU of `count` values in place. */
    void (*gelu)(const curve *c, double *x, size_t count);

    /* LeakyReLU of `count` values in place, with slope 328 / 2^15. */
    void (*leaky_relu)(double *x, size_t count);

    /* out = clamp(round(x · factor)), `count` values. factor is a power of two. */
    void (*requantise)(const double *x, double factor, double limit, double *out, size_t count);

    /* x = clamp(x + y), `count` values. */
    void (*add)(double *x, const double *y, double limit, size_t count);

    /* Attention probabilities of one neighbourhood or window, for BLOCK heads at a time. Each head
     * has its own lane. See `scores` and `softmax` in exact.py.
     * q, k: integers, [tokens][depth][BLOCK].
     * bias: [queries][tokens][BLOCK]. Query number i has the scores of row min(i, tokens - 1), so
     *   that several queries can share the last row.
     * together: whether to add up the probabilities of all queries.
     * scores: room for [tokens][tokens][BLOCK].
     * summed: the probabilities, [1 if together, otherwise queries][tokens][BLOCK]. */
    void (*probabilities)(const double *q, const double *k, size_t tokens, size_t depth,
                          size_t queries, double factor, const int32_t *bias, const int32_t *exp,
                          int together, double *scores, double *summed);

    /* out [depth][BLOCK] = the sum over tokens of weights · v.
     * weights: [tokens][BLOCK]. v: [tokens][depth][BLOCK]. */
    void (*weigh)(const double *weights, const double *v, size_t tokens, size_t depth, double *out);

    /* For each of `count` scales, the number of thresholds that are not above it. */
    void (*scale_indexes)(const double *scales, const double *thresholds, size_t count_thresholds,
                          uint16_t *indexes, size_t count);

    /* Converts int16 to double. */
    void (*widen)(const int16_t *x, double *out, size_t count);
} kernels;

/* How many bytes `linear` needs at most for a layer of `in` inputs, with any set of kernels. */
size_t linear_scratch(size_t in);

/* The largest number of sets of kernels. */
#define MOST_SETS 4

/* Lists the sets of kernels that this processor can run, the fastest first. Returns how many. */
size_t kernels_here(const kernels *all[MOST_SETS]);

/* The set of kernels with this name, or the fastest set if the name is NULL. Returns NULL if this
 * processor cannot run the set, or if there is no set with this name. */
const kernels *kernels_find(const char *name);

#endif
