/* The functions of `kernels` for one instruction set. kernels.c includes this file once per set.
 *
 * Before that it defines these macros: SET (a suffix for names), TARGET (an attribute of
 * functions), VECTOR (bytes of a vector), PER (1 if operands are float32, 2 if they are bfloat16)
 * and MATRICES (whether the processor multiplies whole tiles, see kernels_amx.h).
 */
#define LANES (VECTOR / 4)
#define VECTORS (BLOCK / LANES) /* how many vectors a block has */

typedef float NAME(vector) __attribute__((vector_size(VECTOR), aligned(4), may_alias));
typedef int32_t NAME(integers) __attribute__((vector_size(VECTOR), aligned(4), may_alias));
#define vec NAME(vector)
#define AT(p) (*(vec *)(p))
#define READ(p) (*(const vec *)(p))
#define ALL(number) ((vec){0} + (number))

#if PER == 2
typedef uint16_t NAME(operand);
#define SAVE(p, x) _mm256_storeu_si256((void *)(p), (__m256i)_mm512_cvtneps_pbh((__m512)(x)))
#define LOAD(p)                                                                                    \
    (vec) _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)(p))), 16)
#else
typedef float NAME(operand);
#define SAVE(p, x) AT(p) = (x)
#define LOAD(p) READ(p)
#endif
#define operand NAME(operand)

/* The sizes of a tile of sums: ROWS rows by WIDTH blocks, or NARROW rows by one block. The number
 * of registers limits them. */
#if VECTOR == 64
#define ROWS 8
#define WIDTH 3
#define NARROW 16
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

/* 2^x for x <= 127: a whole power of two times a polynomial of the rest, which is in [0, 1) or in
 * [-½, ½]. The relative error is 8·10⁻⁵ for bfloat16 and 2·10⁻⁷ for float32. */
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

/* Φ(x) - ½, where Φ is the cumulative of the normal distribution. */
INLINE TARGET vec NAME(normal)(vec x) {
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
    return near * r;
}

INLINE TARGET vec NAME(gelu)(vec x) { return x * (NAME(normal)(x) + 0.5f); }

/* The derivative of GELU, Φ(x) + x · φ(x). */
INLINE TARGET vec NAME(gelu_slope)(vec x) {
    vec density = 0.398942280f * NAME(exp2)(x * x * -0.721347520f); /* 1/√(2π), -log₂(e)/2 */
    return NAME(normal)(x) + 0.5f + x * density;
}

#include "kernels_product.h"

#include "kernels_swin.h"

#include "kernels_conv.h"

#include "kernels_gradient.h"

static const kernels NAME(kernels) = {
    .name = STRING(SET),
    .per = PER,
    .operand_size = sizeof(operand),
    .swin_scratch = NAME(swin_scratch),
    .conv_scratch = NAME(conv_scratch),
    .swin_gradient_scratch = NAME(swin_gradient_scratch),
    .activation_gradient_scratch = NAME(activation_gradient_scratch),
#if MATRICES
    .begin = amx_begin,
    .end = amx_end,
#endif
    .swin = NAME(swin),
    .swin_gradient = NAME(swin_gradient),
    .round = NAME(round),
    .conv = NAME(conv),
    .activation_gradient = NAME(activation_gradient),
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
#undef LOAD
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
#undef PLACE
#undef SIDE
