/* The functions of `kernels` for one instruction set. layers.c includes this file once per set.
 *
 * Before that it defines these macros: SET (a suffix for names), TARGET (an attribute of
 * functions), VECTOR (bytes of a vector) and ROWS (the most rows that share one read of the
 * weights, which the number of registers limits to 6 or 12).
 */
#define LANES (VECTOR / 8)
/* The number of vectors of outputs that are summed at once. */
#define WIDTH 2

typedef double NAME(vector) __attribute__((vector_size(VECTOR), aligned(8), may_alias));
#define vec NAME(vector)
#define AT(p) (*(vec *)(p))
#define READ(p) (*(const vec *)(p))
/* GCC and clang do not compile plain loops to these instructions.
 *
 * FIRSTS and SECONDS read LANES pairs of int16. FIRSTS gives the first numbers of the pairs as
 * doubles, and SECONDS the second numbers. (madd with (1, 0) keeps the first number.)
 * LOOKUP replaces a and b by their entries in a table. One gather of 16 numbers is twice as fast as
 * two gathers of eight.
 * MIN and MAX give b if a is NaN. COUNT adds 1 to the lanes of n in which x is at least `least`.
 *
 * QUOTIENT is a/b except for the last bit, without the slow instruction for division. inverse is
 * 1/b, rounded. For integers a <= 2^31 and b <= 2^22, QUOTIENT rounds to the same integer as a/b.
 * If a/b is not n + ½ for an integer n, its distance from every n + ½ is at least 1/(2b), and the
 * error of QUOTIENT is much smaller. If a/b is n + ½, QUOTIENT gives exactly n + ½: with q =
 * a · inverse, a - q · b is exact in a fused multiply-add, so the error of the correction is
 * smaller than the last bit of q. */
#if VECTOR == 64
#define PAIRS_AT(p) _mm256_loadu_si256((const void *)(p))
#define FIRSTS(p) _mm512_cvtepi32_pd(_mm256_madd_epi16(PAIRS_AT(p), _mm256_set1_epi32(1)))
#define SECONDS(p) _mm512_cvtepi32_pd(_mm256_srai_epi32(PAIRS_AT(p), 16))
#define SHORTS(p) _mm512_cvtepi32_pd(_mm256_cvtepi16_epi32(_mm_loadu_si128((const void *)(p))))
#define INTEGERS(p) _mm512_cvtepi32_pd(_mm256_loadu_si256((const void *)(p)))
#define LOOKUP(table, a, b)                                                                        \
    do {                                                                                           \
        __m512i at = _mm512_castsi256_si512(_mm512_cvttpd_epi32(a));                               \
        at = _mm512_inserti64x4(at, _mm512_cvttpd_epi32(b), 1);                                    \
        at = _mm512_i32gather_epi32(at, table, 4);                                                 \
        a = _mm512_cvtepi32_pd(_mm512_castsi512_si256(at));                                        \
        b = _mm512_cvtepi32_pd(_mm512_extracti64x4_epi64(at, 1));                                  \
    } while (0)
#define COUNT(n, x, least)                                                                         \
    (vec) _mm512_mask_add_pd(n, _mm512_cmp_pd_mask(x, ALL(least), _CMP_GE_OQ), n, ALL(1))
#define QUOTIENT(a, b, inverse)                                                                    \
    _mm512_fmadd_pd(_mm512_fnmadd_pd((a) * (inverse), b, a), inverse, (a) * (inverse))
#define MIN(a, b) _mm512_min_pd(a, b)
#define MAX(a, b) _mm512_max_pd(a, b)
#elif VECTOR == 32
#define PAIRS_AT(p) _mm_loadu_si128((const void *)(p))
#define FIRSTS(p) _mm256_cvtepi32_pd(_mm_madd_epi16(PAIRS_AT(p), _mm_set1_epi32(1)))
#define SECONDS(p) _mm256_cvtepi32_pd(_mm_srai_epi32(PAIRS_AT(p), 16))
#define SHORTS(p) _mm256_cvtepi32_pd(_mm_cvtepi16_epi32(_mm_loadl_epi64((const void *)(p))))
#define INTEGERS(p) _mm256_cvtepi32_pd(_mm_loadu_si128((const void *)(p)))
#define LOOKUP(table, a, b)                                                                        \
    do {                                                                                           \
        a = _mm256_cvtepi32_pd(_mm_i32gather_epi32(table, _mm256_cvttpd_epi32(a), 4));             \
        b = _mm256_cvtepi32_pd(_mm_i32gather_epi32(table, _mm256_cvttpd_epi32(b), 4));             \
    } while (0)
#define COUNT(n, x, least)                                                                         \
    ((n) + (vec)_mm256_and_pd(_mm256_cmp_pd(x, ALL(least), _CMP_GE_OQ), ALL(1)))
#define QUOTIENT(a, b, inverse)                                                                    \
    _mm256_fmadd_pd(_mm256_fnmadd_pd((a) * (inverse), b, a), inverse, (a) * (inverse))
#define MIN(a, b) _mm256_min_pd(a, b)
#define MAX(a, b) _mm256_max_pd(a, b)
#else
#define FIRSTS(p) ((vec){(double)(p)[0], (double)(p)[2]})
#define SECONDS(p) ((vec){(double)(p)[1], (double)(p)[3]})
#define SHORTS(p) ((vec){(double)(p)[0], (double)(p)[1]})
#define INTEGERS(p) ((vec){(double)(p)[0], (double)(p)[1]})
#define LOOKUP(table, a, b)                                                                        \
    do {                                                                                           \
        a = (vec){(double)(table)[(int32_t)(a)[0]], (double)(table)[(int32_t)(a)[1]]};             \
        b = (vec){(double)(table)[(int32_t)(b)[0]], (double)(table)[(int32_t)(b)[1]]};             \
    } while (0)
#define COUNT(n, x, least) ((n) + (vec){(x)[0] >= (least), (x)[1] >= (least)})
#define QUOTIENT(a, b, inverse) ((void)(inverse), (a) / (b))
#define MIN(a, b) NAME(min)(a, b)
#define MAX(a, b) NAME(max)(a, b)
static inline vec NAME(min)(vec a, vec b) {
    return (vec){a[0] < b[0] ? a[0] : b[0], a[1] < b[1] ? a[1] : b[1]};
}
static inline vec NAME(max)(vec a, vec b) {
    return (vec){a[0] > b[0] ? a[0] : b[0], a[1] > b[1] ? a[1] : b[1]};
}
#endif
#define ALL(number) ((vec){0} + (number))
#define CLAMP(x, limit) MAX(MIN(x, ALL(limit)), ALL(-(limit)))
#define ROUND(x) (((x) + ROUNDER) - ROUNDER)

#include "layers_product.h"

TARGET static void NAME(norm)(const double *x, size_t channels, double epsilon, double *out) {
    vec totals = ALL(0), squared = ALL(0);
    for (size_t i = 0; i < PADDED(channels); i += LANES) {
        totals += READ(x + i);
        squared += READ(x + i) * READ(x + i);
    }
    double total = 0, squares = 0, c = (double)channels;
    for (int l = 0; l < LANES; l++) total += totals[l], squares += squared[l];
    double deviation = sqrt(c * squares - total * total + epsilon);
    for (size_t i = 0; i < PADDED(channels); i += LANES) {
        vec normal = (c * READ(x + i) - total) / deviation;
        AT(out + i) = ROUND(CLAMP(normal * (1 << NORM_BITS), NARROW));
    }
}

TARGET static void NAME(gelu)(const curve *c, double *x, size_t count) {
    double last = (double)(c->size - 1);
    for (size_t i = 0; i < count; i += 2 * LANES) {
        vec a = READ(x + i), b = READ(x + i + LANES);
        vec positive[2] = {MAX(a, ALL(0)), MAX(b, ALL(0))};
        a = MAX(MIN(MAX(a, -a), ALL(last)), ALL(0)), b = MAX(MIN(MAX(b, -b), ALL(last)), ALL(0));
        LOOKUP(c->table, a, b);
        AT(x + i) = positive[0] + a, AT(x + i + LANES) = positive[1] + b;
    }
}

TARGET static void NAME(leaky_relu)(double *x, size_t count) {
    for (size_t i = 0; i < count; i += LANES) {
        vec low = MIN(READ(x + i), ALL(0));
        AT(x + i) = MAX(READ(x + i), ALL(0)) + ROUND(low * LEAKY_FACTOR);
    }
}

TARGET static void NAME(requantise)(const double *x, double factor, double limit, double *out,
                                    size_t count) {
    for (size_t i = 0; i < count; i += LANES)
        AT(out + i) = ROUND(CLAMP(READ(x + i) * factor, limit));
}

TARGET static void NAME(add)(double *x, const double *y, double limit, size_t count) {
    for (size_t i = 0; i < count; i += LANES) AT(x + i) = CLAMP(READ(x + i) + READ(y + i), limit);
}

/* The scores of all queries with each key are sums over the depth. QUERIES queries are computed at
 * once. The number of registers limits this. */
#define QUERIES 13

TARGET static void NAME(score)(const double *q, const double *k, size_t tokens, size_t depth,
                               double factor, double *scores) {
    for (size_t at = 0; at < tokens * (BLOCK / LANES); at++) {
        size_t key = at / (BLOCK / LANES), lane = at % (BLOCK / LANES) * LANES;
        const double *with = k + key * depth * BLOCK + lane;
        for (size_t first = 0; first < tokens; first += QUERIES) {
            const double *of = q + first * depth * BLOCK + lane;
            size_t n = tokens - first < QUERIES ? tokens - first : QUERIES;
            vec s[QUERIES];
            for (int i = 0; i < QUERIES; i++) s[i] = ALL(0);
            if (n == QUERIES) {
                for (size_t e = 0; e < depth * BLOCK; e += BLOCK)
                    for (size_t i = 0; i < QUERIES; i++)
                        s[i] += READ(with + e) * READ(of + i * depth * BLOCK + e);
            } else {
                for (size_t i = 0; i < n; i++)
                    for (size_t e = 0; e < depth * BLOCK; e += BLOCK)
                        s[i] += READ(with + e) * READ(of + i * depth * BLOCK + e);
            }
            for (size_t i = 0; i < n; i++)
                AT(scores + ((first + i) * tokens + key) * BLOCK + lane) = ROUND(s[i] * factor);
        }
    }
}

/* The softmax of one query for 2 · LANES heads. If `more` is not 0, it is added to `out`. */
TARGET static void NAME(softmax)(const double *scores, const int32_t *bias, const int32_t *exp,
                                 size_t tokens, int more, double *out) {
    vec score[MOST_TOKENS][2], largest[2], total[2] = {ALL(0), ALL(0)}, inverse[2];
    for (size_t j = 0; j < tokens; j++)
        for (size_t v = 0; v < 2; v++) {
            size_t at = j * BLOCK + v * LANES;
            score[j][v] = READ(scores + at) + (vec)INTEGERS(bias + at);
            if (!j) largest[v] = score[j][v];
            largest[v] = MAX(score[j][v], largest[v]);
        }
    for (size_t j = 0; j < tokens; j++) {
        vec a = MAX(MIN(largest[0] - score[j][0], ALL(EXP_SIZE - 1)), ALL(0));
        vec b = MAX(MIN(largest[1] - score[j][1], ALL(EXP_SIZE - 1)), ALL(0));
        LOOKUP(exp, a, b);
        score[j][0] = a, score[j][1] = b;
        total[0] += a, total[1] += b;
    }
    for (size_t v = 0; v < 2; v++) inverse[v] = 1.0 / total[v];
    for (size_t j = 0; j < tokens; j++)
        for (size_t v = 0; v < 2; v++) {
            double *to = out + j * BLOCK + v * LANES;
            vec p = ROUND(QUOTIENT(score[j][v] * (1 << PROBABILITY_BITS), total[v], inverse[v]));
            if (more) p += READ(to);
            AT(to) = p;
        }
}

TARGET static void NAME(probabilities)(const double *q, const double *k, size_t tokens,
                                       size_t depth, size_t queries, double factor,
                                       const int32_t *bias, const int32_t *exp, int together,
                                       double *scores, double *out) {
    size_t row = tokens * BLOCK;
    NAME(score)(q, k, tokens, depth, factor, scores);
    for (size_t i = 0; i < queries; i++)
        for (size_t lane = 0; lane < BLOCK; lane += 2 * LANES)
            NAME(softmax)(scores + (i < tokens ? i : tokens - 1) * row + lane,
                          bias + i * row + lane, exp, tokens, together && i,
                          out + (together ? 0 : i * row) + lane);
}

TARGET static void NAME(weigh)(const double *weights, const double *v, size_t tokens, size_t depth,
                               double *out) {
    for (size_t e = 0; e < depth * BLOCK; e += LANES) {
        vec s = ALL(0);
        for (size_t j = 0; j < tokens; j++)
            s += READ(weights + j * BLOCK + e % BLOCK) * READ(v + j * depth * BLOCK + e);
        AT(out + e) = s;
    }
}

TARGET static void NAME(scale_indexes)(const double *scales, const double *thresholds,
                                       size_t count_thresholds, uint16_t *indexes, size_t count) {
    for (size_t i = 0; i < count; i += LANES) {
        vec scale = READ(scales + i), reached = ALL(0);
        for (size_t t = 0; t < count_thresholds; t++)
            reached = COUNT(reached, scale, thresholds[t]);
        for (size_t l = 0; l < LANES; l++) indexes[i + l] = (uint16_t)reached[l];
    }
}

TARGET static void NAME(widen)(const int16_t *x, double *out, size_t count) {
    for (size_t i = 0; i < count; i += LANES) AT(out + i) = (vec)SHORTS(x + i);
}

static const kernels NAME(kernels) = {
    STRING(SET),      NAME(linear),        NAME(norm),  NAME(gelu),
    NAME(leaky_relu), NAME(requantise),    NAME(add),   NAME(probabilities),
    NAME(weigh),      NAME(scale_indexes), NAME(widen),
};

#undef SET
#undef TARGET
#undef VECTOR
#undef ROWS
#undef LANES
#undef WIDTH
#undef QUERIES
#undef vec
#undef AT
#undef READ
#undef PAIRS_AT
#undef FIRSTS
#undef SECONDS
#undef SHORTS
#undef INTEGERS
#undef LOOKUP
#undef COUNT
#undef QUOTIENT
#undef MIN
#undef MAX
#undef ALL
#undef CLAMP
#undef ROUND
