/* Turns values into symbols with escapes, and symbols into a stream. */
#include "rans_inside.h"

#include <stdlib.h>

/* A symbol, as its slice of 0 ... 65535. */
typedef struct {
    uint16_t start, width;
} slice;

struct rans_writer {
    slice *slices;
    size_t count, capacity;
};

rans_writer *rans_writer_make(void) { return calloc(1, sizeof(rans_writer)); }

void rans_writer_free(rans_writer *writer) {
    if (writer) free(writer->slices);
    free(writer);
}

/* Makes room for `more` symbols. */
static int reserve(rans_writer *writer, size_t more) {
    /* rans_finish needs count + FREE_SYMBOLS + 2 words of four bytes. */
    const size_t most = SIZE_MAX / sizeof(slice) - FREE_SYMBOLS - 2;
    if (more > most || writer->count > most - more) return RANS_NO_MEMORY;
    size_t needed = writer->count + more;
    if (needed <= writer->capacity) return RANS_OK;
    size_t capacity = writer->capacity < most / 2 ? 2 * writer->capacity : most;
    if (capacity < needed) capacity = needed;
    slice *grown = realloc(writer->slices, capacity * sizeof *grown);
    if (!grown) return RANS_NO_MEMORY;
    writer->slices = grown;
    writer->capacity = capacity;
    return RANS_OK;
}

static inline int digits_of(int64_t excess) {
    int digits = 0;
    for (; excess; excess >>= 4) digits++;
    return digits;
}

static inline void put_digit(rans_writer *writer, int64_t digit) {
    slice *to = &writer->slices[writer->count++];
    to->start = (uint16_t)(digit * DIGIT_WIDTH);
    to->width = DIGIT_WIDTH;
}

/* Writes the escapes of a call: first the numbers of digits of all values, then all the digits. */
static int write_escapes(rans_writer *writer, const int32_t *values, const uint16_t *indexes,
                         size_t n, const rans_tables *tables) {
    for (size_t i = 0; i < n; i++) {
        int64_t excess = excess_at(tables, values, indexes, i);
        if (excess < 0) continue;
        if (excess > EXCESS_MAX) return RANS_TOO_FAR;
        if (reserve(writer, 1)) return RANS_NO_MEMORY;
        put_digit(writer, digits_of(excess));
    }
    for (size_t i = 0; i < n; i++) {
        int64_t excess = excess_at(tables, values, indexes, i);
        if (excess <= 0) continue;
        if (excess > EXCESS_MAX) return RANS_TOO_FAR;
        if (reserve(writer, DIGITS)) return RANS_NO_MEMORY;
        for (int digit = digits_of(excess); digit; digit--, excess >>= 4)
            put_digit(writer, excess & 15);
    }
    return RANS_OK;
}

static int write_all(rans_writer *writer, const int32_t *values, const uint16_t *indexes, size_t n,
                     const rans_tables *tables) {
    if (reserve(writer, n)) return RANS_NO_MEMORY;
    int outside = 0;
    slice *to = writer->slices + writer->count;
    for (size_t i = 0; i < n; i++) {
        size_t index = indexes[i];
        if (index >= tables->count) return RANS_BAD_INDEX;
        const table *one = &tables->table[index];
        int32_t half = one->half, value = values[i];
        if (value >= half || value <= -half) {
            outside = 1;
            value = value < 0 ? -half : half;
        }
        const uint16_t *start = tables->starts + one->first + (value + half);
        to[i].start = start[0];
        to[i].width = (uint16_t)(start[1] - start[0]);
    }
    writer->count += n;
    return outside ? write_escapes(writer, values, indexes, n, tables) : RANS_OK;
}

int rans_write(rans_writer *writer, const int32_t *values, const uint16_t *indexes, size_t n,
               const rans_tables *tables) {
    if (!n) return RANS_OK;
    size_t before = writer->count;
    int code = write_all(writer, values, indexes, n, tables);
    if (code) writer->count = before;
    return code;
}

/* One step of the encoder. It moves a word out of the state if the state is too large. So the state
 * is below width · 2^47 before the division, and below 2^63 after the step. */
static inline uint64_t encode(uint64_t state, slice symbol, uint32_t **words) {
    if (state >= (uint64_t)symbol.width << 47) {
        *--*words = (uint32_t)state;
        state >>= 32;
    }
    uint64_t quotient = state / symbol.width;
    return (quotient << PRECISION) + (state - quotient * symbol.width) + symbol.start;
}

int rans_finish(rans_writer *writer, uint8_t **bytes, size_t *size) {
    /* A symbol gives at most one word, and the final state gives two. Most of this buffer is never
     * written, and the system gives no memory to pages that nobody writes to. */
    size_t most = writer->count + FREE_SYMBOLS + 2;
    uint32_t *buffer = malloc(most * sizeof *buffer);
    if (!buffer) return RANS_NO_MEMORY;
    uint32_t *words = buffer + most;
    uint64_t state = LOWER_BOUND;
    for (int i = 0; i < FREE_SYMBOLS; i++) state = encode(state, (slice){0, FREE_WIDTH}, &words);
    for (size_t i = writer->count; i; i--) state = encode(state, writer->slices[i - 1], &words);
    *--words = (uint32_t)(state >> 32);
    *--words = (uint32_t)state;
    size_t count = (size_t)(buffer + most - words);
    uint8_t *stream = malloc(count * 4);
    if (!stream) {
        free(buffer);
        return RANS_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++)
        for (int byte = 0; byte < 4; byte++)
            stream[4 * i + (size_t)byte] = (uint8_t)(words[i] >> 8 * byte);
    free(buffer);
    writer->count = 0;
    *bytes = stream;
    *size = count * 4;
    return RANS_OK;
}
