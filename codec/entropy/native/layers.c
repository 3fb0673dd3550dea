/* Compiles layers_body.h once for each instruction set, and chooses a set when the program runs.
 * AVX-512 VNNI has its own `linear`, in layers_vnni.h. Its other functions are those of avx512. */
#include "layers.h"

#include "processor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define LEAKY_FACTOR (328.0 / 32768.0)

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define NAME(name) JOIN(name, SET)
#define STRING_(a) #a
#define STRING(a) STRING_(a)

/* Repeat a macro for each height that a tile can have. */
#define TO_6(WHAT) WHAT(1) WHAT(2) WHAT(3) WHAT(4) WHAT(5) WHAT(6)
#define TO_8(WHAT) TO_6(WHAT) WHAT(7) WHAT(8)
#define TO_12(WHAT) TO_8(WHAT) WHAT(9) WHAT(10) WHAT(11) WHAT(12)

/* Shares rows among tiles of nearly the same height. Returns the height of tile number `tile` and
 * puts its first row into `row`. */
static size_t tile_rows(size_t rows, size_t tile, size_t tiles, size_t *row) {
    *row = rows * tile / tiles;
    return rows * (tile + 1) / tiles - *row;
}

#define SET plain
#define TARGET
#define VECTOR 16
#define ROWS 6
#include "layers_body.h"

#if defined(__x86_64__)
#define SET avx2
#define TARGET __attribute__((target("avx2,fma")))
#define VECTOR 32
#define ROWS 6
#include "layers_body.h"

#define AVX512 "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"
#define SET avx512
#define TARGET __attribute__((target(AVX512)))
#define VECTOR 64
#define ROWS 12
#include "layers_body.h"

#include "layers_vnni.h"
#else
size_t linear_scratch(size_t in) { return (void)in, 0; }
#endif

void layer_measure(layer *l) {
    size_t in = 2 * PAIRS(l->in);
    memset(l->reach, 0, sizeof l->reach);
    for (size_t output = 0; output < l->out; output++) {
        int64_t sums[PACES] = {0};
        const int16_t *weight =
            l->weight + output / BLOCK * BLOCK * in + output % BLOCK * 2; /* for inputs 0 and 1 */
        for (size_t k = 0; k < in; k++)
            for (size_t i = 0; i < PACES; i++) {
                if (k % ((size_t)QUICKEST << i) == 0) sums[i] = 0;
                sums[i] += abs(weight[k / 2 * 2 * BLOCK + k % 2]);
                if (sums[i] > l->reach[i]) l->reach[i] = sums[i];
            }
    }
}

size_t kernels_here(const kernels *all[MOST_SETS]) {
    size_t count = 0;
#if defined(__x86_64__)
    if (has_avx512() && __builtin_cpu_supports("avx512vnni")) all[count++] = &kernels_avx512vnni;
    if (has_avx512()) all[count++] = &kernels_avx512;
    if (has_avx2()) all[count++] = &kernels_avx2;
#endif
    all[count++] = &kernels_plain;
    return count;
}

const kernels *kernels_find(const char *name) {
    const kernels *all[MOST_SETS];
    size_t count = kernels_here(all);
    if (!name) return all[0];
    for (size_t i = 0; i < count; i++)
        if (!strcmp(all[i]->name, name)) return all[i];
    return NULL;
}
