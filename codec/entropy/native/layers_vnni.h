/* `linear` with AVX-512 VNNI. Its instruction vpdpwssd does 32 products of int16 at once and adds
 * them to 16 sums of 32 bits. An activation takes two or three such products, because it is split;
 * 32 products of doubles take four instructions.
 *
 *     x, doubles ─► split ─► planes, int16 ─┬─► add_tile: sums of 32 bits ─► sums, doubles ─► out
 *     weights, int16 as they lie in memory ─┘
 *
 * layers.c includes this after the set avx512, and uses functions of that set. A tile of that set
 * is as wide as a BLOCK, so `store_avx512` takes the sums that are made here.
 *
 * Why every bit of the result is the same
 * ---------------------------------------
 * An activation from -2^24 to 2^24 - 1 is split into planes of int16:
 * x = low + 2^8 · middle + 2^16 · high. `low` and `middle` are from 0 to 255, `high` is from -2^8
 * to 2^8 - 1. If all activations of a slice of inputs are from -2^18 to 2^18 - 1, there are two
 * planes: x = low + 2^8 · middle, with `middle` from -2^10 to 2^10 - 1. If they are from -2^16 to
 * 2^16 - 1, `middle` is from -2^8 to 2^8 - 1. A weight is at most 2^15 in size. So 32 bits hold the
 * sum of this many products:
 *
 *     planes of numbers up to 2^8 in size:    SLICE inputs, 240 · 2^8  · 2^15 < 2^31
 *     planes of numbers up to 2^10 in size:   PART inputs,   60 · 2^10 · 2^15 < 2^31
 *
 * Then doubles put the sums of the planes together, which gives the sum of x · weight over these
 * inputs. This sum and each step towards it are below 2^48 in size, so nothing is rounded. Such
 * sums are added up in doubles, as in layers_product.h. Larger activations come only from damaged
 * weights; the products in doubles take them.
 */

/* The most rows of a tile; the most tiles, and blocks of outputs, of one call of `linear_some`. */
#define HEIGHT 8
#define TILES 2
#define BLOCKS 16
/* Inputs that are split at once, and a part of them; see above. SLICE is a multiple of BLOCK and of
 * PART; PART is even. */
#define SLICE 240
#define PART 60
/* Room of a row of a plane: 576 bytes. With 512 bytes the rows would compete for the same few lines
 * of the cache. */
#define STRIDE 288
#define PLANES 3

#define VNNI __attribute__((target("avx512vnni," AVX512)))

typedef int32_t __attribute__((may_alias)) pair; /* two int16 */

/* A slice of the inputs of a tile's rows. */
typedef struct {
    int16_t plane[PLANES][HEIGHT][STRIDE];
    size_t rows, planes, part; /* part: how many inputs may be summed up in 32 bits */
} slice;

/* Splits `count` inputs of n rows; reads and writes up to the next multiple of 16. Returns 0 if one
 * of them has more than 25 bits. */
VNNI static int split(const double *x, size_t width, size_t n, size_t count, slice *to) {
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
    to->part = bits < 1 << 16 || to->planes == 3 ? SLICE : PART;
    for (size_t r = 0; to->planes == 3 && r < n; r++) /* what is above the byte is in `high` */
        for (size_t k = 0; k < count; k++) to->plane[1][r][k] &= 255;
    return bits < 1 << 24;
}

/* Adds the products of R rows of P planes with the weights of a block to sums [R][BLOCK]: of
 * `count` inputs of the slice from number `from` on. Both are even. R and P are constants.
 *
 * vpdpwssd stands here as assembly because GCC 12 copies the sums before each of its intrinsics. */
VNNI static inline __attribute__((always_inline)) void add_tile(const slice *x, size_t from,
                                                                size_t count, const int16_t *weight,
                                                                double *sums, int R, int P) {
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
        __m512d sum = _mm512_setzero_pd();
#pragma GCC unroll 3
        for (int p = 0; p < P; p++) {
            __m256i plane = _mm512_castsi512_si256(s[i / 2 * P + p]);
            if (i % 2) plane = _mm512_extracti64x4_epi64(s[i / 2 * P + p], 1);
            sum += _mm512_cvtepi32_pd(plane) * (double)(1 << 8 * p);
        }
        _mm512_storeu_pd(sums + 8 * i, _mm512_loadu_pd(sums + 8 * i) + sum);
    }
}

#define DEFINE_TILES(R)                                                                            \
    VNNI static void tile2_##R(const slice *x, size_t from, size_t count, const int16_t *weight,   \
                               double *sums) {                                                     \
        add_tile(x, from, count, weight, sums, R, 2);                                              \
    }                                                                                              \
    VNNI static void tile3_##R(const slice *x, size_t from, size_t count, const int16_t *weight,   \
                               double *sums) {                                                     \
        add_tile(x, from, count, weight, sums, R, 3);                                              \
    }
#define TILE_2(R) tile2_##R,
#define TILE_3(R) tile3_##R,

TO_8(DEFINE_TILES)

/* Of P planes and R rows: tiles[P - 2][R - 1]. */
static void (*const tiles[][HEIGHT])(const slice *, size_t, size_t, const int16_t *, double *) = {
    {TO_8(TILE_2)},
    {TO_8(TILE_3)},
};

/* `linear` for up to TILES · HEIGHT rows and BLOCKS blocks. Returns 0, and has written nothing, if
 * an activation has more than 25 bits. */
VNNI static int linear_some(const layer *l, const double *x, size_t width, size_t rows,
                            size_t first, size_t last, const double *add, int raw, double *out,
                            size_t out_width) {
    _Alignas(64) double sums[BLOCKS][TILES * HEIGHT * BLOCK];
    _Alignas(64) slice slices[TILES];
    size_t count = (rows + HEIGHT - 1) / HEIGHT, in = 2 * PAIRS(l->in);
    memset(sums, 0, (last - first) * sizeof *sums);
    for (size_t k = 0; k < in; k += SLICE) {
        size_t inputs = in - k < SLICE ? in - k : SLICE;
        for (size_t t = 0; t < count; t++) {
            size_t row, n = tile_rows(rows, t, count, &row);
            if (!split(x + row * width + k, width, n, inputs, &slices[t])) return 0;
        }
        for (size_t b = first; b < last; b++) {
            const int16_t *weight = l->weight + (b * in + k) * BLOCK;
            double *to = sums[b - first];
            for (const slice *p = slices; p < slices + count; to += p++->rows * BLOCK)
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
        size_t row, n = tile_rows(rows, call, calls, &row);
        const double *from = x + row * width, *added = add ? add + row * out_width : NULL;
        double *to = out + row * out_width;
        for (size_t b = first; b < last; b += BLOCKS) {
            size_t end = last - b < BLOCKS ? last : b + BLOCKS;
            if (!linear_some(l, from, width, n, b, end, added, raw, to, out_width))
                linear_avx512(l, from, width, n, b, end, added, raw, to, out_width);
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
#undef SLICE
#undef PART
#undef STRIDE
#undef PLANES
#undef VNNI
#undef DEFINE_TILES
#undef TILE_2
#undef TILE_3
