/* The kernels that run the transforms on the CPU: Swin layers and convolutions on float32 maps, and
 * their backward passes. These compute gradients with respect to the input of a layer, but never
 * with respect to its weights.
 *
 * Maps are channels-last. Products take their operands in float32 or in bfloat16, and always sum in
 * float32. A set of kernels is for one instruction set and one type of operands.
 *
 * The weights of a layer lie as [blocks][steps][BLOCK][PER], so the weights of 16 outputs lie
 * together. PER is 2 for bfloat16, because processors multiply pairs of bfloat16, and 1 for
 * float32.
 */
#ifndef TICODEC_KERNELS_H
#define TICODEC_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* This many outputs lie together in memory. */
#define BLOCK 16
#define PADDED(n) (((n) + BLOCK - 1) / BLOCK * BLOCK)
/* The ε of LayerNorm. */
#define NORM_EPSILON 1e-5f
/* The most tokens of a window. */
#define MOST_TOKENS 256
/* The most rows of taps of a convolution, and the most parities of a transposed convolution. */
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
    /* The transposes of these layers, with biases of zero, for gradients. They are empty if
     * gradients are not needed. */
    linear_layer qkv_back, proj_back, mlp1_back, mlp2_back;
    /* Position biases [patterns][heads][tokens][PADDED(tokens)], -inf for masked pairs. A layer
     * that is not shifted has one pattern. A shifted layer has four patterns: whole windows,
     * windows of the last column, windows of which a half is missing above or below, and windows
     * with both properties. The biases of a pattern mask pairs of tokens that are neighbours only
     * because of the shift. */
    float *bias;
} swin_layer;

/* Rows of windows of a map: `rows` rows of `width` tokens. Shifted windows at the top and at the
 * bottom of a map are not whole. So `absent` rows of the first windows are missing, and some rows
 * of the last windows may be missing. The result for `from` goes to `to`, which may be the same
 * array. `add` is added to the result, unless it is NULL. */
typedef struct {
    const float *from, *add;
    float *to;
    size_t rows, width, absent;
} swin_rows;

/* One part of a convolution: all its outputs, or for a transposed convolution the outputs of one
 * parity, which are every second output of every second row. The taps in one row are one run of
 * inputs. */
typedef struct {
    linear_layer taps;          /* its inputs are all runs, one after the other */
    size_t count;               /* the number of runs */
    size_t rows[MOST_TAPS];     /* the row of each run, counted from the first row */
    size_t column;              /* the column where runs begin */
    size_t row_out, column_out; /* the parity, 0 or 1 each */
} conv_part;

/* The slope of LEAKY_RELU is 0.01. */
enum { NOTHING, LEAKY_RELU, GDN, INVERSE_GDN };

/* A convolution and the activation after it. Neighbouring outputs of a part are `up` positions
 * apart, and their inputs `down` positions. */
typedef struct {
    size_t channels, out;   /* the channels of inputs and of outputs */
    size_t down, up, count; /* count: the number of parts */
    conv_part parts[MOST_PARTS];
    int activation;
    linear_layer gdn;      /* GDN divides x by this layer of |x|; INVERSE_GDN multiplies by it */
    linear_layer gdn_back; /* its transpose, for gradients; empty if they are not needed */
} conv_layer;

/* Rows to convolve. */
typedef struct {
    const void *from; /* operands, rows of [from_width][channels], including borders */
    float *to;        /* rows of [up · width][out] */
    float *kept;      /* the input of GDN also goes here, rows as in `to`, unless it is NULL */
    size_t from_width, width;
} conv_rows;

typedef struct {
    const char *name;
    size_t per;          /* PER */
    size_t operand_size; /* in bytes */

    /* How many bytes of scratch, aligned to 64, each function below needs. */
    size_t (*swin_scratch)(const swin_layer *l);
    size_t (*conv_scratch)(const conv_layer *l);
    size_t (*swin_gradient_scratch)(const swin_layer *l);
    size_t (*activation_gradient_scratch)(const conv_layer *l);

    /* A thread calls these before and after it calls the functions below, except `round`. They are
     * NULL if they are not needed. */
    void (*begin)(void), (*end)(void);

    /* Sends one window through a Swin layer. */
    void (*swin)(const swin_layer *l, const swin_rows *r, size_t window, void *scratch);

    /* The backward pass of one window. r->from is the layer's input. `above` is the gradient with
     * respect to its output. The gradient with respect to its input goes to r->to, which may be
     * `above`. */
    void (*swin_gradient)(const swin_layer *l, const swin_rows *r, const float *above,
                          size_t window, void *scratch);

    /* Converts float32 to operands. */
    void (*round)(const float *from, size_t count, void *to);

    /* Computes one row of outputs of one part. */
    void (*conv)(const conv_layer *l, const conv_rows *r, size_t row, size_t part, void *scratch);

    /* The backward pass of the activation of a layer. All arrays are [positions][out].
     * kept: the input of INVERSE_GDN, or the output of LEAKY_RELU.
     * above: the gradient with respect to the activation's output.
     * to: the gradient with respect to the activation's input, as operands. */
    void (*activation_gradient)(const conv_layer *l, const float *kept, const float *above,
                                size_t positions, void *to, void *scratch);
} kernels;

/* The largest number of sets of kernels. */
#define MOST_SETS 8

/* Lists the sets of kernels that this processor can run. For each type of operands the fastest set
 * comes first. Returns how many. */
size_t kernels_here(const kernels *all[MOST_SETS]);

/* The set of kernels with this name, or NULL if this processor cannot run it. */
const kernels *kernels_find(const char *name);

#endif
