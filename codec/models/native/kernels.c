/* Compiles kernels_body.h once for each instruction set, and chooses a set when the program
 * runs. */
#include "kernels.h"

#include "../../entropy/native/processor.h"

#include <math.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>

#include "amx.h"
#endif

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define NAME(name) JOIN(name, SET)
#define STRING_(a) #a
#define STRING(a) STRING_(a)
#define INLINE static inline __attribute__((always_inline))

#define LEAKY_SLOPE 0.01f

/* What is done with the sums of a product: they are stored, added to `out`, stored as operands, go
 * through GELU first, are multiplied by GELU's derivative, go through LeakyReLU, or `out` is
 * divided or multiplied by them. */
enum { STORE, ADD, OPERAND, GELU, GELU_SLOPE, LEAKY, DIVIDE, MULTIPLY };

/* A product: rows of operands times the weights of a layer. For each run of inputs (tap), row
 * number r begins at a[tap] + r · stride. */
typedef struct {
    const void *const *a;
    size_t taps, stride, rows;
    const void *weight;   /* the first block of weights */
    size_t block;         /* how many operands a block of weights has */
    size_t steps, blocks; /* steps: for each tap */
    const float *start;   /* the sums start with this, row r at r · start_stride; NULL for zeros */
    size_t start_stride;
    void *out;          /* float32, or operands for OPERAND, GELU and GELU_SLOPE */
    const float *slope; /* for GELU_SLOPE: the inputs of GELU, in the layout of `out` */
    size_t out_stride;
    int end; /* what is done with the sums, see above */
} product_of;

/* The coefficients of a polynomial R, with Φ(x) - ½ = x · R(2x²/c² - 1) for |x| <= c. They minimise
 * the largest error of GELU(x) = x · Φ(x), which is 6·10⁻⁵ for bfloat16 and 2·10⁻⁶ for float32. */
#define C_FLOAT 5.0f
static const float gelu_float[] = {0.141363766f,   -0.0702953795f,  0.0515211783f,  -0.040468281f,
                                   0.0314498243f,  -0.0230741037f,  0.0162833982f,  -0.0117431608f,
                                   0.00684603614f, -0.00195460874f, 0.00111625509f, -0.00194090924f,
                                   0.000895984915f};

#if defined(__x86_64__)
#define C_BF16 4.2f
static const float gelu_bf16[] = {0.16785499f,    -0.0814473347f,  0.0558158563f,
                                  -0.039411112f,  0.0252880956f,   -0.012316869f,
                                  0.00700529496f, -0.00690158058f, 0.00316027799f};
#endif

#define SET plain
#define TARGET
#define VECTOR 16
#define PER 1
#define MATRICES 0
#include "kernels_body.h"

#if defined(__x86_64__)
#define SET avx2
#define TARGET __attribute__((target("avx2,fma")))
#define VECTOR 32
#define PER 1
#define MATRICES 0
#include "kernels_body.h"

#define SET avx512
#define TARGET __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")))
#define VECTOR 64
#define PER 1
#define MATRICES 0
#include "kernels_body.h"

#define SET avx512bf16
#define TARGET __attribute__((target("avx512bf16,avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")))
#define VECTOR 64
#define PER 2
#define MATRICES 0
#include "kernels_body.h"

#if HAS_AMX
#define SET amxbf16
#define TARGET __attribute__((target(AMX "avx512bf16,avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")))
#define VECTOR 64
#define PER 2
#define MATRICES 1
#include "kernels_body.h"
#endif
#endif

size_t kernels_here(const kernels *all[MOST_SETS]) {
    size_t count = 0;
#if defined(__x86_64__)
    int bf16 = has_avx512() && __builtin_cpu_supports("avx512bf16");
#if HAS_AMX
    static int amx = -1; /* tested only once; the GIL is held, so no other thread is here */
    if (amx < 0) amx = bf16 && amx_allowed() && amx_works();
    if (amx) all[count++] = &kernels_amxbf16;
#endif
    if (bf16) all[count++] = &kernels_avx512bf16;
    if (has_avx512()) all[count++] = &kernels_avx512;
    if (has_avx2()) all[count++] = &kernels_avx2;
#endif
    all[count++] = &kernels_plain;
    return count;
}

const kernels *kernels_find(const char *name) {
    const kernels *all[MOST_SETS];
    size_t count = kernels_here(all);
    for (size_t i = 0; i < count; i++)
        if (!strcmp(all[i]->name, name)) return all[i];
    return NULL;
}
