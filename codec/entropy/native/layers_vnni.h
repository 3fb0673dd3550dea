/* `linear` with AVX-512 VNNI, whose instruction vpdpwssd multiplies 32 pairs of int16 and adds the
 * products to 16 sums of 32 bits. Products in doubles take four instructions for that.
 *
 *     x, doubles ─► split ─► planes, int16 ─┬─► add_tile: sums of 32 bits ─► sums, doubles ─► out
 *     weights, int16 as they lie in memory ─┘
 *
 * Why every bit of the result is the same
 * ---------------------------------------
 * An activation is split into planes of int16: x = low + 2^8 · middle + 2^16 · high. `low` and
 * `middle` are bytes from 0 to 255, and |high| is at most 2^8, as |x| is below 2^24. If it is below
 * 2^18 for all rows, two planes do: x = low + 2^8 · middle with |middle| up to 2^10. The size of a
 * weight is at most 2^15. So 32 bits hold the sums of this many products:
 *
 *     sizes up to 2^8:   PANEL inputs, 240 · 2^8  · 2^15 < 2^31
 *     sizes up to 2^10:  PART inputs,   60 · 2^10 · 2^15 < 2^31
 *
 * Then the sums of the planes are put together in doubles. That gives the sum of x · weight over
 * these inputs. It and its parts are below 2^48, so nothing is rounded. Such sums are added up in
 * doubles, as in layers_product.h. Only damaged weights give activations of 2^24 or more; the
 * products in doubles take those.
 */

/* Rows of a tile, tiles of a call, blocks of outputs of a call. */
#define HEIGHT 8
#define TILES 2
#define BLOCKS 16
/* Inputs whose products fit into 32 bits, see above. A panel is whole BLOCKs and whole parts. */
#define PANEL 240
#define PART 60
/* Room for a panel's row. Rows whose distance is a power of two would share places of the cache. */
#define STRIDE 288
#define PLANES 3

#define VNNI __attribute__((target("avx512vnni,avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")))

typedef int32_t __attribute__((may_alias)) pair; /* two int16 */

/* A panel of the rows of a tile. */
typedef struct {
    int16_t plane[PLANES][HEIGHT][STRIDE];
    size_t rows, planes, part; /* part: how many inputs may be summed up in 32 bits */
} panel_rows;

/* Splits `count` inputs of n rows. Returns 0 if one of them has more than 25 bits. */
VNNI static int split(const double *x, size_t width, size_t n, size_t count, panel_rows *to) {
    __m512i seen = _mm512_setzero_si512();
    for (size_t r = 0; r < n; r++)
        for (size_t k = 0; k < count; k += 16) {
            const double *from = x + r * width + k;
            __m256i first = _mm512_cvttpd_epi32(_mm512_loadu_pd(from));
            __m256i second = _mm512_cvttpd_epi32(_mm512_loadu_pd(from + 8));
            __m512i all = _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
            __m512i byte = _mm512_and_si512(all, _mm512_set1_epi32(255));
            int16_t *low = to->plane[0][r] + k, *middle = to->plane[1][r] + k;
            int16_t *high = to->plane[2][r] + k;
            _mm256_storeu_si256((void *)low, _mm512_cvtepi32_epi16(byte));
            _mm256_storeu_si256((void *)middle, _mm512_cvtepi32_epi16(_mm512_srai_epi32(all, 8)));
            _mm256_storeu_si256((void *)high, _mm512_cvtepi32_epi16(_mm512_srai_epi32(all, 16)));
            /* x if it is not negative, else -x - 1: that has as many bits. */
            seen = _mm512_or_si512(seen, _mm512_xor_si512(all, _mm512_srai_epi32(all, 31)));
        }
    uint32_t bits = (uint32_t)_mm512_reduce_or_epi32(seen);
    to->rows = n;
    to->planes = bits < 1 << 18 ? 2 : 3;
    to->part = bits < 1 << 16 || to->planes == 3 ? PANEL : PART;
    for (size_t r = 0; to->planes == 3 && r < n; r++) /* what is above the byte is in `high` */
        for (size_t k = 0; k < count; k++) to->plane[1][r][k] &= 255;
    return bits < 1 << 24;
}

/* Adds the products of R rows of P planes with the weights of a block to sums [R][BLOCK]. `count`
 * inputs from number `from` of the panel on, an even number. R and P are constants.
 *
 * vpdpwssd is written out because GCC 12 copies the sums before each intrinsic. */
VNNI static inline __attribute__((always_inline)) void add_tile(const panel_rows *x, size_t from,
                                                                size_t count, const int16_t *weight,
                                                                double *sums, const int R,
                                                                const int P) {
    __m512i s[PLANES * HEIGHT];
#pragma GCC unroll 24
    for (int i = 0; i < R * P; i++) s[i] = _mm512_setzero_si512();
    for (size_t k = from; k < from + count; k += 2, weight += 2 * BLOCK) {
        __m512i w = _mm512_loadu_si512(weight);
#pragma GCC unroll 24
        for (int i = 0; i < R * P; i++)
            __asm__("vpdpwssd %2%{1to16%}, %1, %0"
                    : "+v"(s[i])
                    : "v"(w), "m"(*(const pair *)&x->plane[i % P][i / P][k]));
    }
#pragma GCC unroll 16
    for (int i = 0; i < 2 * R; i++) { /* half a block of outputs of a row */
        __m512d sum = _mm512_loadu_pd(sums + 8 * i);
#pragma GCC unroll 3
        for (int p = 0; p < P; p++) {
            __m256i plane = _mm512_castsi512_si256(s[i / 2 * P + p]);
            if (i % 2) plane = _mm512_extracti64x4_epi64(s[i / 2 * P + p], 1);
            sum += _mm512_cvtepi32_pd(plane) * (double)(1 << 8 * p);
        }
        _mm512_storeu_pd(sums + 8 * i, sum);
    }
}

#define DEFINE_TILES(R)                                                                            \
    VNNI static void tile2_##R(const panel_rows *x, size_t from, size_t count,                     \
                               const int16_t *weight, double *sums) {                              \
        add_tile(x, from, count, weight, sums, R, 2);                                              \
    }                                                                                              \
    VNNI static void tile3_##R(const panel_rows *x, size_t from, size_t count,                     \
                               const int16_t *weight, double *sums) {                              \
        add_tile(x, from, count, weight, sums, R, 3);                                              \
    }
DEFINE_TILES(1)
DEFINE_TILES(2)
DEFINE_TILES(3)
DEFINE_TILES(4)
DEFINE_TILES(5)
DEFINE_TILES(6)
DEFINE_TILES(7)
DEFINE_TILES(8)

/* By planes and rows, from two planes and one row on. */
static void (*const tiles[][HEIGHT])(const panel_rows *, size_t, size_t, const int16_t *,
                                     double *) = {
    {tile2_1, tile2_2, tile2_3, tile2_4, tile2_5, tile2_6, tile2_7, tile2_8},
    {tile3_1, tile3_2, tile3_3, tile3_4, tile3_5, tile3_6, tile3_7, tile3_8},
};

/* `linear` for up to TILES · HEIGHT rows and BLOCKS blocks. Returns 0, and has written nothing, if
 * an activation has more than 25 bits. */
VNNI static int linear_panels(const layer *l, const double *x, size_t width, size_t rows,
                              size_t first, size_t last, const double *add, int raw, double *out,
                              size_t out_width) {
    _Alignas(64) double sums[BLOCKS][TILES * HEIGHT * BLOCK];
    _Alignas(64) panel_rows panels[TILES];
    size_t count = (rows + HEIGHT - 1) / HEIGHT, in = 2 * PAIRS(l->in);
    memset(sums, 0, (last - first) * sizeof *sums);
    for (size_t k = 0; k < in; k += PANEL) {
        size_t inputs = in - k < PANEL ? in - k : PANEL;
        for (size_t t = 0; t < count; t++) { /* tiles of nearly the same height */
            size_t row = rows * t / count, n = rows * (t + 1) / count - row;
            if (!split(x + row * width + k, width, n, inputs, &panels[t])) return 0;
        }
        for (size_t b = first; b < last; b++) {
            const int16_t *weight = l->weight + (b * in + k) * BLOCK;
            double *to = sums[b - first];
            for (const panel_rows *p = panels; p < panels + count; to += p++->rows * BLOCK)
                for (size_t i = 0; i < inputs; i += p->part)
                    tiles[p->planes - 2][p->rows - 1](
                        p, i, inputs - i < p->part ? inputs - i : p->part, weight + i * BLOCK, to);
        }
    }
    for (size_t b = first; b < last; b++)
        store_avx512(l, sums[b - first], rows, b * BLOCK, add, raw, out, out_width);
    return 1;
}

static void linear_avx512vnni(const layer *l, const double *x, size_t width, size_t rows,
                              size_t first, size_t last, const double *add, int raw, double *out,
                              size_t out_width) {
    size_t calls = (rows + TILES * HEIGHT - 1) / (TILES * HEIGHT);
    for (size_t call = 0; call < calls; call++) {
        size_t row = rows * call / calls, n = rows * (call + 1) / calls - row;
        const double *some = x + row * width, *more = add ? add + row * out_width : NULL;
        double *to = out + row * out_width;
        for (size_t b = first; b < last; b += BLOCKS) {
            size_t end = last - b < BLOCKS ? last : b + BLOCKS;
            if (!linear_panels(l, some, width, n, b, end, more, raw, to, out_width))
                linear_avx512(l, some, width, n, b, end, more, raw, to, out_width);
        }
    }
}

static const kernels kernels_avx512vnni = {
    "avx512vnni",      linear_avx512vnni,    norm_avx512,  gelu_avx512,
    leaky_relu_avx512, requantise_avx512,    add_avx512,   probabilities_avx512,
    weigh_avx512,      scale_indexes_avx512, widen_avx512,
};

#undef HEIGHT
#undef TILES
#undef BLOCKS
#undef PANEL
#undef PART
#undef STRIDE
#undef PLANES
#undef VNNI
#undef DEFINE_TILES
