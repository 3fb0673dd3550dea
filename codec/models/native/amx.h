/* AMX: tiles of 16 rows of 64 bytes, and products of tiles.
 *
 * A tile of operands has 16 rows of 32 numbers. A tile of weights has 16 pairs of inputs for 16
 * outputs. A tile of sums has 16 rows of 16 outputs. With EMULATE_AMX, C code does the same, so
 * that processors without AMX can test the code that uses it.
 */
#ifndef TICODEC_AMX_H
#define TICODEC_AMX_H

#if defined(EMULATE_AMX)
#define HAS_AMX 1
#define AMX
#elif defined(__linux__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#define HAS_AMX 1
#define AMX "amx-tile,amx-bf16,"
#else
#define HAS_AMX 0
#endif

#if defined(EMULATE_AMX)
static _Thread_local union {
    uint8_t rows[16][64];
    uint16_t operands[16][32];
    float sums[16][16];
} amx_tiles[8];

#define TILE_ZERO(t) memset(&amx_tiles[t], 0, sizeof amx_tiles[t])
#define TILE_LOAD(t, from, stride)                                                                 \
    for (size_t i_ = 0; i_ < 16; i_++)                                                             \
    memcpy(amx_tiles[t].rows[i_], (const uint8_t *)(from) + i_ * (stride), 64)
#define TILE_STORE(t, to, stride)                                                                  \
    for (size_t i_ = 0; i_ < 16; i_++)                                                             \
    memcpy((uint8_t *)(to) + i_ * (stride), amx_tiles[t].rows[i_], 64)
#define TILE_MULTIPLY(s, a, w) amx_multiply(s, a, w)
static inline void amx_multiply(int s, int a, int w) {
    for (int row = 0; row < 16; row++)
        for (int out = 0; out < 16; out++)
            for (int k = 0; k < 32; k++) {
                uint32_t x = (uint32_t)amx_tiles[a].operands[row][k] << 16;
                uint32_t y = (uint32_t)amx_tiles[w].operands[k / 2][2 * out + k % 2] << 16;
                float f, g;
                memcpy(&f, &x, 4), memcpy(&g, &y, 4);
                amx_tiles[s].sums[row][out] += f * g;
            }
}
static int amx_allowed(void) { return 1; }
static void amx_begin(void) {}
static void amx_end(void) {}

#elif HAS_AMX
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TILE_ZERO(t) _tile_zero(t)
#define TILE_LOAD(t, from, stride) _tile_loadd(t, from, stride)
#define TILE_STORE(t, to, stride) _tile_stored(t, to, stride)
#define TILE_MULTIPLY(s, a, w) _tile_dpbf16ps(s, a, w)

/* Whether the processor has AMX for bfloat16, and the system saves its registers and lets this
 * process use them. */
static int amx_allowed(void) {
    unsigned a, b, c, d, low, high;
    if (!__get_cpuid_count(1, 0, &a, &b, &c, &d) || !(c >> 27 & 1)) return 0; /* OSXSAVE */
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    if (!(d >> 22 & 1) || !(d >> 24 & 1)) return 0; /* AMX-BF16, AMX-TILE */
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    if ((low >> 17 & 3) != 3) return 0;          /* XTILECFG, XTILEDATA */
    const long request = 0x1023, tile_data = 18; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
    return syscall(SYS_arch_prctl, request, tile_data) == 0;
}

/* Gives all eight tiles 16 rows of 64 bytes. */
static __attribute__((target("amx-tile"))) void amx_begin(void) {
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shape = {.palette = 1};
    for (int t = 0; t < 8; t++) shape.row_bytes[t] = 64, shape.rows[t] = 16;
    _tile_loadconfig(&shape);
}

static __attribute__((target("amx-tile"))) void amx_end(void) { _tile_release(); }
#endif

#if HAS_AMX
/* Whether AMX multiplies small whole numbers correctly. This file has never run on a processor with
 * AMX, so it tests AMX before it is used. */
#if defined(EMULATE_AMX)
static int amx_works(void) {
#else
static __attribute__((target("amx-tile,amx-bf16"))) int amx_works(void) {
#endif
    uint16_t a[16][32], w[16][32];
    float sums[16][16], value;
    const uint16_t whole[] = {0xc000, 0xbf80, 0, 0x3f80, 0x4000}; /* -2 … 2 in bfloat16 */
    for (int row = 0; row < 16; row++)
        for (int k = 0; k < 32; k++) {
            a[row][k] = whole[(3 * row + k) % 5];
            w[k / 2][2 * row + k % 2] = whole[(row + 2 * k) % 5];
        }
    amx_begin();
    TILE_ZERO(0);
    TILE_LOAD(4, a, 64);
    TILE_LOAD(6, w, 64);
    TILE_MULTIPLY(0, 4, 6);
    TILE_STORE(0, sums, 64);
    amx_end();
    int right = 1;
    for (int row = 0; row < 16; row++)
        for (int out = 0; out < 16; out++) {
            value = 0;
            for (int k = 0; k < 32; k++)
                value += (float)(((3 * row + k) % 5 - 2) * ((out + 2 * k) % 5 - 2));
            right &= sums[row][out] == value;
        }
    return right;
}
#endif

#endif
