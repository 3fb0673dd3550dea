/* Products of rows with the weights of a layer, for kernels_body.h. */

/* Does what p->end says with sums x of a product p. Their place is out + to (float32) or saved + to
 * (operands). The input of GELU_SLOPE is at slope + to. EACH repeats a statement for every vector
 * of sums. */
#define END_WITH(EACH)                                                                             \
    switch (p->end) {                                                                              \
    case STORE:                                                                                    \
        EACH(AT(out + to) = x) break;                                                              \
    case ADD:                                                                                      \
        EACH(AT(out + to) += x) break;                                                             \
    case OPERAND:                                                                                  \
        EACH(SAVE(saved + to, x)) break;                                                           \
    case GELU:                                                                                     \
        EACH(SAVE(saved + to, NAME(gelu)(x))) break;                                               \
    case GELU_SLOPE:                                                                               \
        EACH(SAVE(saved + to, x * NAME(gelu_slope)(READ(slope + to)))) break;                      \
    case LEAKY:                                                                                    \
        EACH(AT(out + to) = MAX(x, x * LEAKY_SLOPE)) break;                                        \
    case DIVIDE:                                                                                   \
        EACH(AT(out + to) /= x) break;                                                             \
    case MULTIPLY:                                                                                 \
        EACH(AT(out + to) *= x) break;                                                             \
    }

/* Computes a tile of a product, from row `row` and block `block` on. `rows` and `blocks` are
 * constants. */
INLINE TARGET void NAME(tile)(const product_of *p, size_t row, size_t block, const int rows,
                              const int blocks) {
    const int vectors = blocks * VECTORS;
    vec s[NARROW][WIDTH * VECTORS];
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 16
        for (int v = 0; v < vectors; v++)
            if (p->start)
                s[r][v] = READ(p->start + (row + r) * p->start_stride + block * BLOCK + v * LANES);
            else s[r][v] = ALL(0);
    const operand *w = (const operand *)p->weight + block * p->block;
    const size_t stride = p->stride, apart = p->block;
    for (size_t tap = 0; tap < p->taps; tap++) {
        const operand *a = (const operand *)p->a[tap] + row * stride;
        for (size_t step = 0; step < p->steps; step++, a += PER, w += PER * BLOCK) {
#if PER == 2
            __m512bh with[WIDTH];
#pragma GCC unroll 16
            for (int v = 0; v < vectors; v++)
                with[v] = (__m512bh)_mm512_loadu_si512((const void *)(w + (size_t)v * apart));
#pragma GCC unroll 16
            for (int r = 0; r < rows; r++) {
                int32_t pair; /* it is copied because it need not be aligned */
                memcpy(&pair, a + r * stride, sizeof pair);
                __m512bh of = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 16
                for (int v = 0; v < vectors; v++)
                    s[r][v] = (vec)_mm512_dpbf16_ps((__m512)s[r][v], with[v], of);
            }
#else
            vec with[WIDTH * VECTORS];
#pragma GCC unroll 16
            for (int v = 0; v < vectors; v++)
                with[v] = READ(w + (size_t)(v / VECTORS) * apart + v % VECTORS * LANES);
#pragma GCC unroll 16
            for (int r = 0; r < rows; r++)
#pragma GCC unroll 16
                for (int v = 0; v < vectors; v++) s[r][v] += with[v] * a[r * stride];
#endif
        }
    }
    size_t at = row * p->out_stride + block * BLOCK;
    float *out = (float *)p->out + at;
    operand *saved = (operand *)p->out + at;
    const float *slope = p->end == GELU_SLOPE ? p->slope + at : NULL;
#define EACH(DO)                                                                                   \
    _Pragma("GCC unroll 16") for (int r = 0; r < rows; r++)                                        \
        _Pragma("GCC unroll 16") for (int v = 0; v < vectors; v++) {                               \
        vec x = s[r][v];                                                                           \
        const size_t to = r * p->out_stride + v * LANES;                                           \
        DO;                                                                                        \
    }
    END_WITH(EACH)
#undef EACH
}

#if MATRICES
#include "kernels_amx.h"
#endif

TARGET static void NAME(product)(const product_of *p) {
#if MATRICES
    if (NAME(product_of_tiles)(p)) return;
#endif
    for (size_t block = 0, blocks; block < p->blocks; block += blocks) {
        size_t left = p->blocks - block, row = 0;
        blocks = left == WIDTH + 1 ? WIDTH - WIDTH / 2 : left < WIDTH ? left : WIDTH;
#define ROWS_OF(ROWS, BLOCKS)                                                                      \
    {                                                                                              \
        for (; row + (ROWS) <= p->rows; row += ROWS) NAME(tile)(p, row, block, ROWS, BLOCKS);      \
        for (; row < p->rows; row++) NAME(tile)(p, row, block, 1, BLOCKS);                         \
    }
        if (blocks == 1) ROWS_OF(NARROW, 1)
#if WIDTH > 1
        else if (blocks == 2) ROWS_OF(ROWS, 2)
        else ROWS_OF(ROWS, 3)
#endif
#undef ROWS_OF
    }
}

/* Sends rows of operands through a layer. The rows are `stride` apart, and the rows of outputs
 * `out_stride`. */
TARGET static void NAME(linear)(const linear_layer *l, const operand *a, size_t stride, size_t rows,
                                void *out, size_t out_stride, int end) {
    const void *taps[] = {a};
    product_of p = {.a = taps,
                    .taps = 1,
                    .stride = stride,
                    .rows = rows,
                    .weight = l->weight,
                    .block = l->in * BLOCK,
                    .steps = l->in / PER,
                    .blocks = l->out / BLOCK,
                    .start = l->bias,
                    .out = out,
                    .out_stride = out_stride,
                    .end = end};
    NAME(product)(&p);
}

#undef END_WITH
