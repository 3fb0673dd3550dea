/* Reads values from any bytes, and never accesses memory outside them. */
#include "rans_inside.h"

#include <stdlib.h>
#include <string.h>

/* The position of a reader: its state, and how many words of the stream it has read. */
typedef struct {
    uint64_t state;
    size_t at;
} place;

struct rans_reader {
    place place;
    size_t left;  /* how many values may still be read */
    size_t count; /* how many words the stream has, the last one padded with zero bytes */
    uint32_t words[];
};

/* The next word. It is 0 after the end of the stream. */
static inline uint32_t next_word(const rans_reader *reader, size_t *at) {
    return *at < reader->count ? reader->words[(*at)++] : 0;
}

rans_reader *rans_reader_make(const uint8_t *data, size_t size, size_t limit) {
    size_t count = size / 4 + (size % 4 != 0);
    if (count > (SIZE_MAX - sizeof(rans_reader)) / sizeof(uint32_t)) return NULL;
    rans_reader *reader = malloc(sizeof *reader + count * sizeof reader->words[0]);
    if (!reader) return NULL;
    memset(reader->words, 0, count * sizeof reader->words[0]);
    for (size_t i = 0; i < size; i++) reader->words[i / 4] |= (uint32_t)data[i] << 8 * (i % 4);
    reader->count = count;
    reader->left = limit;
    reader->place.at = 0;
    uint64_t low = next_word(reader, &reader->place.at);
    reader->place.state = low | (uint64_t)next_word(reader, &reader->place.at) << 32;
    return reader;
}

void rans_reader_free(rans_reader *reader) { free(reader); }

/* The place after a symbol. `start` and `width` describe the slice that contains the state's slot.
 * At most one word is read, even if damage has made the state so small that one is not enough. */
static inline place advance(const rans_reader *reader, place from, uint32_t start, uint32_t width) {
    uint64_t slot = from.state & (TOTAL - 1);
    from.state = width * (from.state >> PRECISION) + slot - start;
    if (from.state < LOWER_BOUND) from.state = from.state << 32 | next_word(reader, &from.at);
    return from;
}

static inline int read_digit(rans_reader *reader) {
    uint32_t digit = (uint32_t)(reader->place.state & (TOTAL - 1)) / DIGIT_WIDTH;
    reader->place = advance(reader, reader->place, digit * DIGIT_WIDTH, DIGIT_WIDTH);
    return (int)digit;
}

static inline int32_t with_sign_of(int32_t value, int64_t size) {
    return (int32_t)(value < 0 ? -size : size);
}

/* Adds the excesses to the values that are at an end of their table. The first loop adds the number
 * of digits to K. The second loop replaces this number by the excess that the digits give. */
static int read_escapes(rans_reader *reader, int32_t *values, const uint16_t *indexes, size_t n,
                        const rans_tables *tables) {
    for (size_t i = 0; i < n; i++) {
        if (excess_at(tables, values, indexes, i) != 0) continue;
        int digits = read_digit(reader);
        if (digits > DIGITS) return RANS_IMPOSSIBLE;
        values[i] = with_sign_of(values[i], magnitude(values[i]) + digits);
    }
    for (size_t i = 0; i < n; i++) {
        int64_t digits = excess_at(tables, values, indexes, i);
        if (digits <= 0) continue;
        if (digits > DIGITS) return RANS_IMPOSSIBLE;
        int64_t size = magnitude(values[i]) - digits;
        for (int digit = 0; digit < digits; digit++)
            size += (int64_t)read_digit(reader) << 4 * digit;
        values[i] = with_sign_of(values[i], size);
    }
    return RANS_OK;
}

static int read_all(rans_reader *reader, int32_t *values, const uint16_t *indexes, size_t n,
                    const rans_tables *tables) {
    int outside = 0;
    place here = reader->place;
    for (size_t i = 0; i < n; i++) {
        size_t index = indexes[i];
        if (index >= tables->count) return RANS_BAD_INDEX;
        const table *one = &tables->table[index];
        const uint16_t *starts = tables->starts + one->first;
        uint32_t slot = (uint32_t)(here.state & (TOTAL - 1));
        uint32_t symbol = one->bins[slot >> BIN_BITS];
        /* The last slot of a symbol is the next start - 1. In 16 bits that is 65535 for the last
         * symbol. */
        while ((uint16_t)(starts[symbol + 1] - 1) < slot) symbol++;
        uint16_t start = starts[symbol], width = (uint16_t)(starts[symbol + 1] - start);
        here = advance(reader, here, start, width);
        int32_t value = (int32_t)symbol - one->half;
        outside |= magnitude(value) == one->half;
        values[i] = value;
    }
    reader->place = here;
    return outside ? read_escapes(reader, values, indexes, n, tables) : RANS_OK;
}

int rans_read(rans_reader *reader, int32_t *values, const uint16_t *indexes, size_t n,
              const rans_tables *tables) {
    if (n > reader->left) return RANS_ENDS_EARLY;
    place before = reader->place;
    int code = read_all(reader, values, indexes, n, tables);
    if (code) reader->place = before;
    else reader->left -= n;
    return code;
}
