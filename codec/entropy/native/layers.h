/* Layers on integers that are carried in doubles: the arithmetic of `exact.Ops`, in C.
 *
 * Which numbers, and why every machine gets the same bits
 * -------------------------------------------------------
 * Activations are integers of at most 25 bits, weights are integers of 16 bits. A sum of their
 * products stays below 2^53: the export checks it for every output, with the largest activation
 * that there can be. Up to 2^53 a double holds every integer, so such a sum is exact: it depends
 * neither on the order of its additions, nor on the width of the vectors, nor on whether a
 * multiplication and an addition are fused. A power of two changes only the exponent.
 *
 * What is not a sum of products is one correctly rounded IEEE operation at a time (division,
 * square root), a comparison, or a table.
 *
 * A compiler may fuse a product and a sum where the product is exact anyway. It must not reorder
 * divisions or assume that there are no NaN: never compile this with -ffast-math.
 *
 * layers_vnni.h multiplies in integers instead, and says why that gives the same sums.
 *
 * Rows of activations have room for a multiple of BLOCK numbers. What lies behind the last one may
 * be any finite number, since at most a weight of zero meets it; only `norm` needs zeros there.
 * Every `count` below is a multiple of BLOCK.
 */
#ifndef TICODEC_LAYERS_H
#define TICODEC_LAYERS_H

#include <float.h>
#include <stddef.h>
#include <stdint.h>

/* 0, 1 and 16 differ in what narrower types are computed in: doubles are computed as doubles. */
#if !defined(FLT_EVAL_METHOD) ||                                                                   \
    (FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 1 && FLT_EVAL_METHOD != 16)
#error "doubles with excess precision would not give the same bits; the torch path runs instead"
#endif

/* Outputs of a layer that lie together in memory. */
#define BLOCK 16
/* Largest activations, as in exact.py. */
#define NARROW 32767.0
#define WIDE 262143.0
#define LONG_LIMIT 16777215.0
/* Fractional bits: of a normalised token, of attention scores, of probabilities. */
#define NORM_BITS 11
#define SCORE_BITS 10
#define PROBABILITY_BITS 15
/* The exp table has this many entries: exp(-i / 2^10). */
#define EXP_SIZE 16384

/* Most tokens of a window or neighbourhood. */
#define MOST_TOKENS 64

/* 1.5 · 2^52: adding and subtracting it rounds numbers below 2^51 half to even. */
#define ROUNDER 6755399441055744.0

/* The least multiple of BLOCK that is not below n. */
#define PADDED(n) (((n) + BLOCK - 1) / BLOCK * BLOCK)
/* How many pairs hold n inputs. If n is odd, the last weight is zero. */
#define PAIRS(n) (((n) + 1) / 2)

/* Inputs that layers_vnni.h splits at once, and after how many of them it can empty its sums: after
 * QUICKEST, twice as many, and so on, PACES numbers up to SLICE. */
#define QUICKEST 4
#define PACES 7
#define SLICE (QUICKEST << (PACES - 1))

/* output = (x · weight + bias) · scale, rounded half to even and clamped to ±limit.
 *
 * weight: [PADDED(out) / BLOCK][PAIRS(in)][BLOCK][2], so that the weights of two inputs lie side by
 * side; bias: integers, [PADDED(out)]; scale: powers of two, [PADDED(out)]. Padding is zero.
 * reach: of each pace the largest sum of |weight| that an output has over so many inputs, which
 * begin at a multiple of the pace; `layer_measure` fills it. */
typedef struct {
    size_t in, out;
    int16_t *weight;
    double *bias, *scale;
    double limit;
    int64_t reach[PACES];
} layer;

void layer_measure(layer *l);

/* relu(x) + table[|x|]; the last entry is for all |x| beyond it, too. */
typedef struct {
    size_t size;
    int32_t *table;
} curve;

/* The arithmetic for one instruction set. */
typedef struct {
    const char *name;

    /* Computes the outputs in blocks first … last - 1, for `rows` rows of x. Rows of x lie `width`
     * apart, rows of out `out_width`. Output c of a row goes to out[c], whatever `first` is.
     * `add` (NULL for none), laid out like `out`, is added before rounding.
     * `raw`: neither round nor clamp.
     * `scratch`: room for `linear_scratch` bytes. */
    void (*linear)(const layer *l, const double *x, size_t width, size_t rows, size_t first,
                   size_t last, const double *add, int raw, double *out, size_t out_width,
                   void *scratch);

    /* LayerNorm of `channels` values without its affine part, see `Ops.norm`. */
    void (*norm)(const double *x, size_t channels, double epsilon, double *out);

    /* GELU of `count` values in place. */
    void (*gelu)(const curve *c, double *x, size_t count);

    /* LeakyReLU of `count` values in place, slope 328 / 2^15. */
    void (*leaky_relu)(double *x, size_t count);

    /* out = clamp(round(x · factor)), `count` values. factor is a power of two. */
    void (*requantise)(const double *x, double factor, double limit, double *out, size_t count);

    /* x = clamp(x + y), `count` values. */
    void (*add)(double *x, const double *y, double limit, size_t count);

    /* Attention of one neighbourhood or window, for BLOCK heads at a time, one a lane.
     * q, k, v: [tokens][depth][BLOCK] integers; bias [queries][tokens][BLOCK]; query number i has
     * the scores of row min(i, tokens - 1), so that several queries can share the last row.
     * scores: room for [tokens][tokens][BLOCK].
     * summed: [1 or queries][tokens][BLOCK]: probabilities, added up over queries if `together`.
     * See exact.py `scores` and `softmax`. */
    void (*probabilities)(const double *q, const double *k, size_t tokens, size_t depth,
                          size_t queries, double factor, const int32_t *bias, const int32_t *exp,
                          int together, double *scores, double *summed);

    /* out [depth][BLOCK] = the sum over tokens of weights [tokens][BLOCK] · v. */
    void (*weigh)(const double *weights, const double *v, size_t tokens, size_t depth, double *out);

    /* The number of thresholds that each of `count` scales reaches. */
    void (*scale_indexes)(const double *scales, const double *thresholds, size_t count_thresholds,
                          uint16_t *indexes, size_t count);

    /* int16 to double. */
    void (*widen)(const int16_t *x, double *out, size_t count);
} kernels;

/* Bytes that `linear` needs for a layer of so many inputs, whatever the set of kernels. */
size_t linear_scratch(size_t in);

/* How many sets of kernels there are. */
#define MOST_SETS 4

/* Lists the kernels that this processor can run, the best ones first. Returns how many. */
size_t kernels_here(const kernels *all[MOST_SETS]);

/* The kernels with this name, or the best ones if the name is NULL. Returns NULL where this
 * processor cannot run them, or none have that name. */
const kernels *kernels_find(const char *name);

#endif
