/* Which vector instructions this processor has. The extension of the transforms uses this, too. */
#ifndef TICODEC_PROCESSOR_H
#define TICODEC_PROCESSOR_H

#if defined(__x86_64__)
static inline int has_avx2(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

/* The parts of AVX-512 that all our kernels for it use. */
static inline int has_avx512(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}
#endif

#endif
