/* `linear` with AVX-512 VNNI. Its instruction vpdpwssd computes 32 products of int16 at once and
 * adds them to 16 sums of 32 bits. An instruction for doubles computes only eight products.
 *
 *     x, doubles ─► split ─► planes, int16 ─┬─► add_tile: sums of 32 bits ─► sums, doubles ─► out
 *     weights, int16 as they lie in memory ─┘
 *
 * layers.c includes this file after the set avx512, whose functions are used here. A tile of that
 * set is as wide as a BLOCK, so `store_avx512` can store the sums of this file.
 *
 * All rows are split first. Then each block of outputs reads its weights once, whatever the number
 * of rows. The weights of a large layer come from the outer caches. The processor does not fetch
 * them early enough by itself, so each slice prefetches the weights of the next slice. After the
 * last slice the prefetch is useless, but does no harm.
 *
 * Why every bit of the result is the same
 * ---------------------------------------
 * Activations of up to 15 bits and a sign are one plane of int16. Longer activations, of up to 24
 * bits and a sign, are split into two planes: x = low + 2^s · high. `low` has s <= 12 bits and no
 * sign. `high` has 12 bits and a sign.
 *
 * A sum of 32 bits must not overflow. So it is emptied after every `pace` inputs: its low 16 bits
 * stay, and the higher bits are added to a second sum, `over`, in units of 2^16. Until it is
 * emptied again, the sum grows by at most the largest |x| of the plane times the largest sum of
 * |weight| over `pace` inputs, which is in the layer's `reach`. If this product is at most
 * 2^31 - 2^16, the low bits that stayed, at most 2^16 - 1, fit too. The largest pace for which this
 * holds is used. For activations of 15 bits and large weights there may be no such pace. Then they
 * are split. Planes of 12 bits always have a pace, because 2^12 · 4 · 2^15 < 2^31 - 2^16.
 *
 * Then the two sums, and the planes, are put together in doubles. The result and all values on the
 * way to it are integers whose absolute value is below 2^53, so nothing is rounded. The results of
 * all slices are added up in doubles, as in layers_product.h. Activations of more than 24 bits come
 * only from damaged weights. `linear_avx512` multiplies them in doubles.
 */

/* The most rows of a tile, and the most tiles that are split at once. */
#define HEIGHT 12
#define TILES 8
/* The distance between two rows of a plane, in numbers. It is 576 bytes. With 512 bytes the rows
 * would compete for the same few lines of the cache. */
#define STRIDE (SLICE + 32)
#define PLANES 2
/* By how much a sum of 32 bits may grow before it is emptied: 2^31 - 2^16, see above. */
#define ROOM ((int64_t)INT32_MAX - UINT16_MAX)

#define VNNI __attribute__((target("avx512vnni," AVX512)))

typedef int32_t __attribute__((may_alias)) pair; /* two int16 */

/* A slice of the inputs of a tile's rows. */
typedef struct {
    int16_t plane[PLANES][HEIGHT][STRIDE];
    size_t planes, pace[PLANES]; /* pace: the number of inputs */
    double unit[PLANES];         /* the factor of each plane: 1 and 2^s */
} slice;

size_t linear_scratch(size_t in) { return TILES * ((in + SLICE - 1) / SLICE) * sizeof(slice); }

/* The largest pace that is safe for numbers up to `largest`, or 0 if even QUICKEST is not safe. */
static size_t pace_of(const layer *l, int64_t largest) {
    for (size_t i = PACES; i; i--)
        if (largest * l->reach[i - 1] <= ROOM) return (size_t)QUICKEST << (i - 1);
    return 0;
}

/* The largest |x| of n rows and `count` inputs. It is at least 2^31 if a number does not fit into
 * 32 bits. */
VNNI static int64_t largest_of(const double *x, size_t width, size_t n, size_t count) {
    __m512i largest = _mm512_setzero_si512();
    for (size_t r = 0; r < n; r++)
        for (size_t k = 0; k < count; k += 8) {
            __m256i some = _mm512_cvttpd_epi32(_mm512_loadu_pd(x + r * width + k));
            __m512i wide = _mm512_castsi256_si512(_mm256_abs_epi32(some));
            largest = _mm512_max_epu32(largest, wide);
        }
    return (uint32_t)_mm512_reduce_max_epu32(
        _mm512_zextsi256_si512(_mm512_castsi512_si256(largest)));
}

/* Splits `count` inputs of n rows. It reads and writes up to the next multiple of 16. Returns 0 if
 * one of them has more than 24 bits and a sign. */
VNNI static int split(const layer *l, const double *x, size_t width, size_t n, size_t count,
                      slice *to) {
    int64_t largest = largest_of(x, width, n, (count + 15) / 16 * 16);
    if (largest > 1 << 24) return 0;
    int bits = largest ? 32 - __builtin_clz((uint32_t)largest) : 0, shift = 0;
    to->planes = 1, to->unit[0] = 1;
    to->pace[0] = bits < 16 ? pace_of(l, largest) : 0;
    if (!to->pace[0]) {
        shift = bits / 2;
        to->planes = 2, to->unit[1] = 1 << shift;
        to->pace[0] = pace_of(l, (1 << shift) - 1);
        to->pace[1] = pace_of(l, (largest >> shift) + 1); /* + 1, because high is rounded down */
    }
    __m512i mask = _mm512_set1_epi32(shift ? (1 << shift) - 1 : -1);
    __m128i by = _mm_cvtsi32_si128(shift);
    for (size_t r = 0; r < n; r++)
        for (size_t k = 0; k < count; k += 16) {
            const double *from = x + r * width + k;
            __m256i first = _mm512_cvttpd_epi32(_mm512_loadu_pd(from));
            __m256i second = _mm512_cvttpd_epi32(_mm512_loadu_pd(from + 8));
            __m512i all = _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
            __m256i low = _mm512_cvtepi32_epi16(_mm512_and_si512(all, mask));
            _mm256_storeu_si256((void *)(to->plane[0][r] + k), low);
            if (!shift) continue;
            __m256i high = _mm512_cvtepi32_epi16(_mm512_sra_epi32(all, by));
            _mm256_storeu_si256((void *)(to->plane[1][r] + k), high);
        }
    return 1;
}

/* Adds the products of R rows of a plane with the weights of a block to sums [R][BLOCK]. `count`
 * and `pace` are even. R is a constant.
 *
 * vpdpwssd is written as assembly, because GCC 12 copies the sums before each intrinsic for it. */
VNNI static inline __attribute__((always_inline)) void add_tile(const int16_t (*x)[STRIDE],
                                                                size_t count, size_t pace,
                                                                const int16_t *weight, double unit,
                                                                double *sums, int R) {
    __m512i s[HEIGHT], over[HEIGHT];
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) s[r] = over[r] = _mm512_setzero_si512();
    for (size_t k = 0;;) {
        size_t end = count - k < pace ? count : k + pace;
        for (; k < end; k += 2, weight += 2 * BLOCK) {
            __m512i w = _mm512_loadu_si512(weight);
            _mm_prefetch((const char *)(weight + SLICE * BLOCK), _MM_HINT_T0);
#pragma GCC unroll 12
            for (int r = 0; r < R; r++)
                __asm__("vpdpwssd %2%{1to16%}, %1, %0"
                        : "+v"(s[r])
                        : "v"(w), "m"(*(const pair *)&x[r][k]));
        }
        if (k == count) break;
#pragma GCC unroll 12
        for (int r = 0; r < R; r++) {
            over[r] = _mm512_add_epi32(over[r], _mm512_srai_epi32(s[r], 16));
            s[r] = _mm512_and_si512(s[r], _mm512_set1_epi32(UINT16_MAX));
        }
    }
#pragma GCC unroll 24
    for (int i = 0; i < 2 * R; i++) { /* each is half a block of the outputs of a row */
        __m512i part = i % 2 ? _mm512_shuffle_i64x2(s[i / 2], s[i / 2], 0xee) : s[i / 2];
        __m512i more = i % 2 ? _mm512_shuffle_i64x2(over[i / 2], over[i / 2], 0xee) : over[i / 2];
        __m512d sum = _mm512_cvtepi32_pd(_mm512_castsi512_si256(part)) +
                      _mm512_cvtepi32_pd(_mm512_castsi512_si256(more)) * 65536.0;
        _mm512_storeu_pd(sums + 8 * i, _mm512_loadu_pd(sums + 8 * i) + sum * unit);
    }
}

#define DEFINE_TILE(R)                                                                             \
    VNNI static void tile_##R(const int16_t (*x)[STRIDE], size_t count, size_t pace,               \
                              const int16_t *weight, double unit, double *sums) {                  \
        add_tile(x, count, pace, weight, unit, sums, R);                                           \
    }
#define TILE(R) tile_##R,

TO_12(DEFINE_TILE)

/* The function for R rows is tiles[R - 1]. */
static void (*const tiles[HEIGHT])(const int16_t (*)[STRIDE], size_t, size_t, const int16_t *,
                                   double, double *) = {TO_12(TILE)};

/* `linear` for up to TILES · HEIGHT rows. If an activation has more than 24 bits and a sign, it
 * writes nothing and returns 0. */
VNNI static int linear_some(const layer *l, const double *x, size_t width, size_t rows,
                            size_t first, size_t last, const double *add, int raw, double *out,
                            size_t out_width, slice *slices) {
    _Alignas(64) double sums[TILES * HEIGHT * BLOCK];
    size_t count = (rows + HEIGHT - 1) / HEIGHT, in = 2 * PAIRS(l->in);
    slice *to = slices;
    for (size_t k = 0; k < in; k += SLICE)
        for (size_t t = 0; t < count; t++) {
            size_t row, n = tile_rows(rows, t, count, &row),
                        inputs = in - k < SLICE ? in - k : SLICE;
            if (!split(l, x + row * width + k, width, n, inputs, to++)) return 0;
        }
    for (size_t b = first; b < last; b++) {
        const int16_t *weight = l->weight + b * in * BLOCK;
        const slice *from = slices;
        memset(sums, 0, rows * BLOCK * sizeof *sums);
        for (size_t k = 0; k < in; k += SLICE)
            for (size_t t = 0; t < count; t++, from++) {
                size_t row, n = tile_rows(rows, t, count, &row),
                            inputs = in - k < SLICE ? in - k : SLICE;
                for (size_t p = 0; p < from->planes; p++)
                    tiles[n - 1](from->plane[p], inputs, from->pace[p], weight + k * BLOCK,
                                 from->unit[p], sums + row * BLOCK);
            }
        store_avx512(l, sums, rows, b * BLOCK, add, raw, out, out_width);
    }
    return 1;
}

static void linear_avx512vnni(const layer *l, const double *x, size_t width, size_t rows,
                              size_t first, size_t last, const double *add, int raw, double *out,
                              size_t out_width, void *scratch) {
    size_t calls = (rows + TILES * HEIGHT - 1) / (TILES * HEIGHT);
    for (size_t call = 0; call < calls; call++) {
        size_t row, n = tile_rows(rows, call, calls, &row);
        const double *from = x + row * width, *added = add ? add + row * out_width : NULL;
        double *to = out + row * out_width;
        if (!linear_some(l, from, width, n, first, last, added, raw, to, out_width, scratch))
            linear_avx512(l, from, width, n, first, last, added, raw, to, out_width, scratch);
    }
}

static const kernels kernels_avx512vnni = {
    "avx512vnni",      linear_avx512vnni,    norm_avx512,  gelu_avx512,
    leaky_relu_avx512, requantise_avx512,    add_avx512,   probabilities_avx512,
    weigh_avx512,      scale_indexes_avx512, widen_avx512,
};

#undef HEIGHT
#undef TILES
#undef STRIDE
#undef PLANES
#undef ROOM
#undef VNNI
#undef DEFINE_TILE
#undef TILE
