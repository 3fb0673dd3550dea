/* Compiles layers_body.h for instruction sets, and chooses a set when the program runs. AVX-512
 * VNNI has a `linear` of its own, in layers_vnni.h, and takes the rest of the set avx512. */
#include "layers.h"

#include <math.h>
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

#define SET avx512
#define TARGET __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")))
#define VECTOR 64
#define ROWS 12
#include "layers_body.h"

#include "layers_vnni.h"
#endif

size_t kernels_here(const kernels *all[MOST_SETS]) {
    size_t count = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    int avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                 __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    if (avx512 && __builtin_cpu_supports("avx512vnni")) all[count++] = &kernels_avx512vnni;
    if (avx512) all[count++] = &kernels_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        all[count++] = &kernels_avx2;
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
