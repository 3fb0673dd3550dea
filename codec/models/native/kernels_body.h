/* The functions of `kernels` for one instruction set; kernels.c includes this once for each.
 *
 * It defines these macros before: SET (a suffix for names), TARGET (an attribute of functions),
 * VECTOR (bytes of a vector), PER (1: operands are float32, 2: bfloat16) and MATRICES (whether the
 * processor multiplies whole tiles, see kernels_amx.h).
 */
#define LANES (VECTOR / 4)
#define VECTORS (BLOCK / LANES) /* of a block */

typedef float NAME(vector) __attribute__((vector_size(VECTOR), aligned(4), may_alias));
typedef int32_t NAME(integers) __attribute__((vector_size(VECTOR), aligned(4), may_alias));
#define vec NAME(vector)
#define AT(p) (*(vec *)(p))
#define READ(p) (*(const vec *)(p))
#define ALL(number) ((vec){0} + (number))

#if PER == 2
typedef uint16_t NAME(operand);
#define SAVE(p, x) _mm256_storeu_si256((void *)(p), (__m256i)_mm512_cvtneps_pbh((__m512)(x)))
#else
typedef float NAME(operand);
#define SAVE(p, x) AT(p) = (x)
#endif
#define operand NAME(operand)

/* Tiles: as many sums as there are registers for. */
#if VECTOR == 64
#define ROWS 8
#define WIDTH 3   /* blocks */
#define NARROW 16 /* rows, where there is one block only */
#define MIN(a, b) (vec) _mm512_min_ps((__m512)(a), (__m512)(b))
#define MAX(a, b) (vec) _mm512_max_ps((__m512)(a), (__m512)(b))
#define SUM(x) _mm512_reduce_add_ps((__m512)(x))
#else
#define ROWS 4
#define WIDTH 1
#define NARROW 4
#if VECTOR == 32
#define MIN(a, b) (vec) _mm256_min_ps((__m256)(a), (__m256)(b))
#define MAX(a, b) (vec) _mm256_max_ps((__m256)(a), (__m256)(b))
#else
#define MIN(a, b) NAME(choose)((a) < (b), a, b)
#define MAX(a, b) NAME(choose)((a) > (b), a, b)
INLINE vec NAME(choose)(NAME(integers) which, vec a, vec b) {
    return (vec)((which & (NAME(integers))a) | (~which & (NAME(integers))b));
}
#endif
#define SUM(x) NAME(sum)(x)
INLINE TARGET float NAME(sum)(vec x) {
    float total = 0;
    for (int l = 0; l < LANES; l++) total += x[l];
    return total;
}
#endif

/* 2^x for x <= 127, by whole powers and a polynomial for the rest, which is in [0, 1) or [-½, ½].
 * The relative error is 8·10⁻⁵ for bfloat16 and 2·10⁻⁷ for float32. */
INLINE TARGET vec NAME(exp2)(vec x) {
#if VECTOR == 64
    vec f = (vec)_mm512_reduce_ps((__m512)x, 1); /* x - floor(x) */
#else
    x = MAX(x, ALL(-126.0f));
    vec whole = (x + 12582912.0f) - 12582912.0f, f = x - whole;
#endif
#if PER == 2
    vec p = (vec)(((0.0780245231f * f + 0.226067168f) * f + 0.695833529f) * f + 0.99992522f);
#elif VECTOR == 64
    vec p = ALL(0.000217022555f);
    p = p * f + 0.0012439688f;
    p = p * f + 0.00967884095f;
    p = p * f + 0.055483342f;
    p = p * f + 0.240229836f;
    p = p * f + 0.693146984f;
    p = p * f + 1.0f;
#else
    vec p = ALL(1.5403530e-4f);
    p = p * f + 1.3333558e-3f;
    p = p * f + 9.6181291e-3f;
    p = p * f + 5.5504109e-2f;
    p = p * f + 2.4022651e-1f;
    p = p * f + 6.9314718e-1f;
    p = p * f + 1.0f;
#endif
#if VECTOR == 64
    return (vec)_mm512_scalef_ps((__m512)p, (__m512)x); /* p · 2^floor(x) */
#else
    return (vec)((NAME(integers))p + (__builtin_convertvector(whole, NAME(integers)) << 23));
#endif
}

INLINE TARGET vec NAME(gelu)(vec x) {
#if PER == 2
#define COEFFICIENTS gelu_bf16
    const float c = C_BF16;
#else
#define COEFFICIENTS gelu_float
    const float c = C_FLOAT;
#endif
    vec near = MAX(MIN(x, ALL(c)), ALL(-c)), t = near * near * (2 / (c * c)) - 1.0f;
    const int last = sizeof COEFFICIENTS / sizeof *COEFFICIENTS - 1;
    vec r = ALL(COEFFICIENTS[last]);
#pragma GCC unroll 16
    for (int i = last - 1; i >= 0; i--) r = r * t + COEFFICIENTS[i];
#undef COEFFICIENTS
    return x * (near * r + 0.5f);
}

/* A tile of a product: from row `row` and block `block` on. `rows` and `blocks` are constants. */
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
                __m512bh of = (__m512bh)_mm512_set1_epi32(*(const int32_t *)(a + r * stride));
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
#define EACH(DO)                                                                                   \
    _Pragma("GCC unroll 16") for (int r = 0; r < rows; r++)                                        \
        _Pragma("GCC unroll 16") for (int v = 0; v < vectors; v++) {                               \
        vec x = s[r][v];                                                                           \
        const size_t to = r * p->out_stride + v * LANES;                                           \
        DO;                                                                                        \
    }
    switch (p->end) {
    case STORE:
        EACH(AT(out + to) = x) break;
    case ADD:
        EACH(AT(out + to) += x) break;
    case OPERAND:
        EACH(SAVE(saved + to, x)) break;
    case GELU:
        EACH(SAVE(saved + to, NAME(gelu)(x))) break;
    case LEAKY:
        EACH(AT(out + to) = MAX(x, x * 0.01f)) break;
    case DIVIDE:
        EACH(AT(out + to) /= x) break;
    case MULTIPLY:
        EACH(AT(out + to) *= x) break;
    }
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

/* Rows of operands, `stride` apart, through a layer: to outputs that are `out_stride` apart. */
TARGET static void NAME(linear)(const linear_layer *l, const operand *a, size_t stride, size_t rows,
                                void *out, size_t out_stride, int end) {
    const void *taps[] = {a};
    product_of p = {
        taps,    1, stride, rows,       l->weight, l->in * BLOCK, l->in / PER, l->out / BLOCK,
        l->bias, 0, out,    out_stride, end};
    NAME(product)(&p);
}

/* -- Swin layers ------------------------------------------------------------------- */

/* LayerNorm without its affine part, as operands. */
TARGET static void NAME(norm)(const float *x, size_t rows, size_t channels, operand *out) {
    float share = 1 / (float)channels;
    for (; rows; rows--, x += channels, out += channels) {
        vec total = ALL(0), squares = ALL(0);
        for (size_t c = 0; c < channels; c += LANES) total += READ(x + c);
        vec mean = ALL(SUM(total) * share);
        for (size_t c = 0; c < channels; c += LANES) {
            vec apart = READ(x + c) - mean;
            squares += apart * apart;
        }
        vec factor = ALL(1 / sqrtf(SUM(squares) * share + 1e-5f));
        for (size_t c = 0; c < channels; c += LANES) SAVE(out + c, (READ(x + c) - mean) * factor);
    }
}

/* Scores beyond ± this do not count: then no sum overflows, and no row has to be searched for its
 * largest score. Those of trained networks are far smaller. */
#define LARGEST_SCORE 120.0f

/* softmax of rows of scores [rows][width] as operands; scores are in units of log 2. */
TARGET static void NAME(softmax)(const float *scores, size_t rows, size_t width, operand *out) {
    for (; rows; rows--, scores += width, out += width) {
        vec total = ALL(0), e[MOST_TOKENS / LANES];
        for (size_t k = 0; k < width; k += LANES)
            total += e[k / LANES] = NAME(exp2)(MIN(READ(scores + k), ALL(LARGEST_SCORE)));
        vec share = ALL(1 / SUM(total));
        for (size_t k = 0; k < width; k += LANES) SAVE(out + k, e[k / LANES] * share);
    }
}

/* k of a head [tokens][depth], rows `stride` apart, as weights: [blocks of tokens][depth / PER][
 * BLOCK][PER]. tokens: a multiple of BLOCK. */
TARGET static void NAME(turn)(const operand *k, size_t stride, size_t tokens, size_t depth,
                              operand *out) {
    for (size_t block = 0; block < tokens; block += BLOCK, out += depth * BLOCK)
        for (size_t t = 0; t < BLOCK; t++)
            for (size_t e = 0; e < depth; e += PER)
                memcpy(out + (e * BLOCK + t * PER), k + (block + t) * stride + e, PER * sizeof *k);
}

/* v of a head as weights: [blocks of depth][tokens / PER][BLOCK][PER]; zeros beyond the depth. */
TARGET static void NAME(pair)(const operand *v, size_t stride, size_t tokens, size_t depth,
                              operand *out) {
    for (size_t block = 0; block < depth; block += BLOCK, out += tokens * BLOCK) {
        size_t count = depth - block < BLOCK ? depth - block : BLOCK;
        for (size_t t = 0; t < tokens; t++) {
            operand *to = out + t / PER * PER * BLOCK + t % PER;
            const operand *of = v + t * stride + block;
            if (count == BLOCK)
                for (size_t e = 0; e < BLOCK; e++) to[e * PER] = of[e];
            else
                for (size_t e = 0; e < BLOCK; e++) to[e * PER] = e < count ? of[e] : 0;
        }
    }
}

/* Where a window's things lie in scratch. */
typedef struct {
    float *x, *scores;
    operand *norm, *qkv, *seen, *hidden, *k, *v, *p;
    size_t bytes;
} NAME(places);

/* Hidden channels that go through the MLP at a time, so that they stay in the first-level cache. */
#define HIDDEN (PER * 4 * BLOCK)

static NAME(places) NAME(lay_out)(const swin_layer *l, char *scratch) {
    size_t tokens = l->window * l->window, keys = PADDED(tokens), c = l->channels, at = 0;
    NAME(places) s;
#define PLACE(name, count)                                                                         \
    s.name = (void *)(scratch + at), at += ((count) * sizeof *s.name + 63) / 64 * 64
    PLACE(x, tokens * c);
    PLACE(scores, tokens * keys);
    PLACE(norm, tokens * c);
    PLACE(qkv, keys * 3 * c);
    PLACE(seen, tokens * (c + BLOCK));
    PLACE(hidden, tokens * HIDDEN);
    PLACE(k, keys * c);
    PLACE(v, keys * PADDED(c / l->heads));
    PLACE(p, tokens * keys);
#undef PLACE
    s.bytes = at;
    return s;
}

static size_t NAME(swin_scratch)(const swin_layer *l) { return NAME(lay_out)(l, NULL).bytes; }

/* Attention of the tokens first … last - 1; the others are not there. */
TARGET static void NAME(attend)(const swin_layer *l, const NAME(places) * s, const float *bias,
                                size_t first, size_t last) {
    size_t tokens = l->window * l->window, keys = PADDED(tokens), c = l->channels;
    size_t depth = c / l->heads, rows = last - first;
    for (size_t head = 0; head < l->heads; head++, bias += tokens * keys) {
        const operand *q = s->qkv + first * 3 * c + head * depth;
        NAME(turn)(s->qkv + c + head * depth, 3 * c, keys, depth, s->k);
        NAME(pair)(s->qkv + 2 * c + head * depth, 3 * c, keys, depth, s->v);
        const void *queries[] = {q}, *shares[] = {s->p};
        product_of scores = {queries,
                             1,
                             3 * c,
                             rows,
                             s->k,
                             depth * BLOCK,
                             depth / PER,
                             keys / BLOCK,
                             bias + first * keys,
                             keys,
                             s->scores,
                             keys,
                             STORE};
        NAME(product)(&scores);
        NAME(softmax)(s->scores, rows, keys, s->p);
        /* Beyond the depth of a head this writes into the place of the next one, which follows. */
        product_of seen = {shares,
                           1,
                           keys,
                           rows,
                           s->v,
                           keys * BLOCK,
                           keys / PER,
                           PADDED(depth) / BLOCK,
                           NULL,
                           0,
                           s->seen + first * (c + BLOCK) + head * depth,
                           c + BLOCK,
                           OPERAND};
        NAME(product)(&seen);
    }
}

/* Where token number `token` of a window is in a map's rows. */
static size_t NAME(place)(const swin_layer *l, const swin_rows *r, size_t window, size_t token) {
    size_t across = r->width / l->window, row = window / across * l->window + token / l->window;
    size_t column = window % across * l->window + token % l->window + l->shift;
    return ((row - r->absent) * r->width + (column < r->width ? column : column - r->width)) *
           l->channels;
}

TARGET static void NAME(swin)(const swin_layer *l, const swin_rows *r, size_t window,
                              void *scratch) {
    NAME(places) s = NAME(lay_out)(l, scratch);
    size_t tokens = l->window * l->window, c = l->channels, across = r->width / l->window;
    size_t top = window / across * l->window; /* counted with absent rows */
    size_t first = top < r->absent ? (r->absent - top) * l->window : 0;
    size_t end = r->rows + r->absent - top, last = end < l->window ? end * l->window : tokens;
    size_t rows = last - first;
    int halved = first > 0 || last < tokens;
    float *x = s.x + first * c;
    for (size_t t = first; t < last; t++)
        memcpy(s.x + t * c, r->from + NAME(place)(l, r, window, t), c * sizeof *x);

    NAME(norm)(x, rows, c, s.norm);
    if (halved || tokens < PADDED(tokens)) memset(s.qkv, 0, PADDED(tokens) * 3 * c * sizeof *s.qkv);
    NAME(linear)(&l->qkv, s.norm, c, rows, s.qkv + first * 3 * c, 3 * c, OPERAND);
    size_t pattern = l->shift ? 2 * (size_t)halved + (window % across == across - 1) : 0;
    NAME(attend)(l, &s, l->bias + pattern * l->heads * tokens * PADDED(tokens), first, last);
    NAME(linear)(&l->proj, s.seen + first * (c + BLOCK), c + BLOCK, rows, x, c, ADD);

    NAME(norm)(x, rows, c, s.norm);
    for (size_t h = 0; h < l->hidden; h += HIDDEN) {
        size_t count = l->hidden - h < HIDDEN ? l->hidden - h : HIDDEN;
        linear_layer in = l->mlp1;
        in.out = count, in.bias += h, in.weight = (operand *)in.weight + h * in.in;
        NAME(linear)(&in, s.norm, c, rows, s.hidden, count, GELU);
        const void *taps[] = {s.hidden};
        product_of p = {taps,
                        1,
                        count,
                        rows,
                        (operand *)l->mlp2.weight + h * BLOCK,
                        l->mlp2.in * BLOCK,
                        count / PER,
                        c / BLOCK,
                        h ? NULL : l->mlp2.bias,
                        0,
                        x,
                        c,
                        ADD};
        NAME(product)(&p);
    }
    for (size_t t = first; t < last; t++) {
        size_t place = NAME(place)(l, r, window, t);
        float *to = r->to + place;
        const float *of = s.x + t * c, *add = r->add ? r->add + place : NULL;
        if (add)
            for (size_t i = 0; i < c; i += LANES) AT(to + i) = READ(of + i) + READ(add + i);
        else memcpy(to, of, c * sizeof *to);
    }
}

/* -- convolutions ------------------------------------------------------------------ */

TARGET static void NAME(round)(const float *from, size_t count, void *to) {
    operand *out = to;
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) SAVE(out + i, READ(from + i));
    if (i == count) return;
    float rest[LANES] = {0};
    operand rounded[LANES];
    memcpy(rest, from + i, (count - i) * sizeof *rest);
    SAVE(rounded, READ(rest));
    memcpy(out + i, rounded, (count - i) * sizeof *rounded);
}

/* Positions of a row that GDN takes at a time. */
#define POSITIONS 64

static size_t NAME(conv_scratch)(const conv_layer *l) {
    return POSITIONS * l->out * sizeof(operand);
}

TARGET static void NAME(conv)(const conv_layer *l, const conv_rows *r, size_t row, size_t number,
                              void *scratch) {
    const conv_part *part = &l->parts[number];
    size_t wide = l->up * r->width, step = l->up * l->out;
    float *out = r->to + ((l->up * row + part->row_out) * wide + part->column_out) * l->out;
    const void *taps[MOST_TAPS];
    for (size_t i = 0; i < part->count; i++)
        taps[i] = (const operand *)r->from +
                  ((l->down * row + part->rows[i]) * r->from_width + part->column) * l->channels;
    const linear_layer *t = &part->taps;
    int end = l->activation == LEAKY_RELU ? LEAKY : STORE;
    product_of p = {taps,
                    part->count,
                    l->down * l->channels,
                    r->width,
                    t->weight,
                    t->in * BLOCK,
                    t->in / part->count / PER,
                    t->out / BLOCK,
                    t->bias,
                    0,
                    out,
                    step,
                    end};
    NAME(product)(&p);
    if (l->activation < GDN) return;
    operand *sizes = scratch;
    for (size_t first = 0; first < r->width; first += POSITIONS) {
        size_t count = r->width - first < POSITIONS ? r->width - first : POSITIONS;
        float *x = out + first * step;
        for (size_t i = 0; i < count; i++)
            for (size_t c = 0; c < l->out; c += LANES) {
                vec value = READ(x + i * step + c);
                SAVE(sizes + i * l->out + c, MAX(value, -value));
            }
        NAME(linear)(&l->gdn, sizes, l->out, count, x, step,
                     l->activation == GDN ? DIVIDE : MULTIPLY);
    }
}

static const kernels NAME(kernels) = {
    STRING(SET), PER,         sizeof(operand), NAME(swin_scratch), NAME(conv_scratch),
#if MATRICES
    amx_begin,   amx_end,
#else
    NULL,        NULL,
#endif
    NAME(swin),  NAME(round), NAME(conv),
};

#undef SET
#undef TARGET
#undef VECTOR
#undef PER
#undef MATRICES
#undef LANES
#undef VECTORS
#undef vec
#undef AT
#undef READ
#undef ALL
#undef SAVE
#undef operand
#undef ROWS
#undef NARROW
#undef WIDTH
#undef MIN
#undef MAX
#undef SUM
#undef LARGEST_SCORE
#undef HIDDEN
#undef POSITIONS
