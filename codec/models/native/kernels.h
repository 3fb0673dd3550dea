/* What runs the transforms on the CPU: Swin layers and convolutions on float32 maps, and the way
 * back: gradients with respect to what a layer takes, never to its weights.
 *
 * Maps are channels-last. Products take their operands in float32 or in bfloat16, and always add
 * up in float32. A set of kernels is for one instruction set and one type of operands.
 *
 * Weights of a layer lie as [blocks][steps][BLOCK][PER]: those of 16 outputs lie together. PER is
 * 2 for bfloat16, since processors multiply pairs of it, and 1 for float32.
 */
#ifndef TICODEC_KERNELS_H
#define TICODEC_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* Outputs that lie together. */
#define BLOCK 16
#define PADDED(n) (((n) + BLOCK - 1) / BLOCK * BLOCK)
/* That of LayerNorm. */
#define NORM_EPSILON 1e-5f
/* Most tokens of a window. */
#define MOST_TOKENS 256
/* Most rows of taps of a convolution, and most parities of a transposed one. */
#define MOST_TAPS 5
#define MOST_PARTS 4

/* A linear layer. */
typedef struct {
    size_t in;    /* inputs, a multiple of PER; the last one may have weights of zero */
    size_t out;   /* outputs, a multiple of BLOCK */
    void *weight; /* [out / BLOCK][in / PER][BLOCK][PER] */
    float *bias;  /* [out] */
} linear_layer;

/* A Swin layer. The affine parts of LayerNorm and 1/√d are in the weights. */
typedef struct {
    size_t channels, heads, window, shift, hidden;
    linear_layer qkv, proj, mlp1, mlp2;
    /* Their transposes, with biases of zero, for gradients; none where gradients are not wanted. */
    linear_layer qkv_back, proj_back, mlp1_back, mlp2_back;
    /* Position biases [patterns][heads][tokens][PADDED(tokens)], -inf where a pair is masked. A
     * layer that is not shifted has one pattern. A shifted one has four: whole windows, those of
     * the last column, those of which a half is missing above or below, and both. They keep apart
     * the tokens that only the shift has brought together. */
    float *bias;
} swin_layer;

/* Rows of windows of a map: `rows` rows of `width` tokens. In front of them, `absent` rows of the
 * first windows are missing, and at the end perhaps some of the last ones: shifted windows at the
 * top and the bottom of a map are not whole. What a layer makes of `from` goes to `to`, which may
 * be the same; `add`, unless it is NULL, is added to it. */
typedef struct {
    const float *from, *add;
    float *to;
    size_t rows, width, absent;
} swin_rows;

/* One part of a convolution: all outputs, or for a transposed one those of a parity, every second
 * one of every second row. The taps in one row are one run of inputs. */
typedef struct {
    linear_layer taps;      /* in: all runs, one after the other */
    size_t count;           /* of runs */
    size_t rows[MOST_TAPS]; /* of each run, from the first row on */
    size_t column;          /* where runs begin */
    size_t row_out, column_out;
} conv_part;

/* The slope of LEAKY_RELU is 0.01. */
enum { NOTHING, LEAKY_RELU, GDN, INVERSE_GDN };

/* A convolution and the activation after it. Neighbouring outputs of a part are `up` apart, and
 * their inputs `down`. */
typedef struct {
    size_t channels, out;   /* of inputs and of outputs */
    size_t down, up, count; /* count: of parts */
    conv_part parts[MOST_PARTS];
    int activation;
    linear_layer gdn;      /* of GDN: what x is divided by, or multiplied with, is linear in |x| */
    linear_layer gdn_back; /* its transpose, for gradients; none where they are not wanted */
} conv_layer;

/* Rows to convolve. */
typedef struct {
    const void *from; /* operands, rows of [from_width][channels], borders included */
    float *to;        /* rows of [up · width][out] */
    float *kept;      /* what GDN takes goes there too, as `to`, unless it is NULL */
    size_t from_width, width;
} conv_rows;

typedef struct {
    const char *name;
    size_t per;          /* PER */
    size_t operand_size; /* in bytes */

    /* Bytes that the others need as scratch, aligned to 64. */
    size_t (*swin_scratch)(const swin_layer *l);
    size_t (*conv_scratch)(const conv_layer *l);
    size_t (*swin_gradient_scratch)(const swin_layer *l);
    size_t (*activation_gradient_scratch)(const conv_layer *l);

    /* A thread calls these before and after `swin` and `conv`; NULL where that is not needed. */
    void (*begin)(void), (*end)(void);

    /* One window. */
    void (*swin)(const swin_layer *l, const swin_rows *r, size_t window, void *scratch);

    /* One window of a gradient. r->from is what the layer took, `above` the gradient of what it
     * made; that of what it took goes to r->to, which may be `above`. */
    void (*swin_gradient)(const swin_layer *l, const swin_rows *r, const float *above,
                          size_t window, void *scratch);

    /* float32 to operands. */
    void (*round)(const float *from, size_t count, void *to);

    /* One row of outputs of one part. */
    void (*conv)(const conv_layer *l, const conv_rows *r, size_t row, size_t part, void *scratch);

    /* The gradient of what the activation of a layer made, at so many positions, [out] each, to
     * that of what it took, as operands. kept: what INVERSE_GDN took, or what LEAKY_RELU made. */
    void (*activation_gradient)(const conv_layer *l, const float *kept, const float *above,
                                size_t positions, void *to, void *scratch);
} kernels;

/* How many sets of kernels there are. */
#define MOST_SETS 8

/* Lists the kernels that this processor can run, the best ones of each type first. Returns how
 * many. */
size_t kernels_here(const kernels *all[MOST_SETS]);

/* The kernels with this name, or NULL where this processor cannot run them. */
const kernels *kernels_find(const char *name);

#endif
