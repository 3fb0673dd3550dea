#include "rans.h"

#include <stdlib.h>
#include <string.h>

enum {
    PRECISION = 16,
    TOTAL = 1 << PRECISION, /* what the frequencies of a table sum to */
    TABLES_MAX = 1 << 16,   /* as many as an index of 16 bits can name */
    HALF_MAX = TOTAL / 2 - 1,
    DIGITS = 4,
    EXCESS_MAX = (1 << 4 * DIGITS) - 1,
    DIGIT_WIDTH = TOTAL / 16, /* a digit's slice: all 16 are equally probable */
    FREE_WIDTH = TOTAL - 1,   /* the slice of a symbol that costs no bits */
    FREE_SYMBOLS = 4,         /* of them at the end of a stream, which no reader reads */
    BINS = 256,
    BIN_BITS = 8
};

/* The state is at least this, except in damaged streams. */
#define LOWER_BOUND (UINT64_C(1) << 31)

/* -- tables ------------------------------------------------------------------------ */

typedef struct {
    int32_t half;
    size_t first;        /* where the table begins in `starts` */
    uint16_t bins[BINS]; /* the symbol of slot 256 b: a search for later slots begins there */
} table;

struct rans_tables {
    size_t count;
    /* Of each table the first slot of each of its symbols 0 ... 2K, and then 0, which is 65536 in
     * 16 bits. Differences in 16 bits are widths, since no width is 65536. */
    uint16_t *starts;
    table table[];
};

/* Whether the numbers are tables. The sum cannot overflow: at most 65536 tables of 65535. */
static int sizes_fit(const int64_t *halves, size_t tables, size_t count) {
    if (tables < 1 || tables > TABLES_MAX)
        return 0;
    uint64_t sum = 0;
    for (size_t i = 0; i < tables; i++) {
        if (halves[i] < 1 || halves[i] > HALF_MAX)
            return 0;
        sum += 2 * (uint64_t)halves[i] + 1;
    }
    return sum == count;
}

/* Fill the table's starts (2K + 2) and bins; 0 when the frequencies are not those of a table. */
static int prepare(table *one, uint16_t *starts, const int64_t *frequencies) {
    int32_t symbols = 2 * one->half + 1;
    int64_t sum = 0;
    for (int32_t s = 0; s < symbols; s++) {
        if (frequencies[s] < 1 || frequencies[s] > TOTAL - sum)
            return 0;
        starts[s] = (uint16_t)sum;
        sum += frequencies[s];
    }
    if (sum != TOTAL)
        return 0;
    starts[symbols] = 0;
    int32_t symbol = 0;
    for (int32_t bin = 0; bin < BINS; bin++) {
        while (symbol + 1 < symbols && starts[symbol + 1] <= bin << BIN_BITS)
            symbol++;
        one->bins[bin] = (uint16_t)symbol;
    }
    return 1;
}

int rans_tables_make(rans_tables **out, const int64_t *halves, size_t tables,
                     const int64_t *frequencies, size_t count) {
    *out = NULL;
    if (!sizes_fit(halves, tables, count))
        return RANS_BAD_TABLES;
    rans_tables *made = malloc(sizeof *made + tables * sizeof made->table[0]);
    if (!made)
        return RANS_NO_MEMORY;
    made->count = tables;
    made->starts = calloc(count + tables, sizeof *made->starts);
    if (!made->starts) {
        rans_tables_free(made);
        return RANS_NO_MEMORY;
    }
    size_t first = 0;
    for (size_t i = 0; i < tables; i++) {
        table *one = &made->table[i];
        one->half = (int32_t)halves[i];
        one->first = first;
        if (!prepare(one, made->starts + first, frequencies)) {
            rans_tables_free(made);
            return RANS_BAD_TABLES;
        }
        frequencies += 2 * one->half + 1;
        first += 2 * (size_t)one->half + 2;
    }
    *out = made;
    return RANS_OK;
}

void rans_tables_free(rans_tables *tables) {
    if (tables)
        free(tables->starts);
    free(tables);
}

size_t rans_tables_count(const rans_tables *tables) {
    return tables->count;
}

/* -- writing ----------------------------------------------------------------------- */

/* A symbol is its slice of 0 ... 65535. */
typedef struct {
    uint16_t start, width;
} slice;

struct rans_writer {
    slice *slices;
    size_t count, capacity;
};

rans_writer *rans_writer_make(void) {
    return calloc(1, sizeof(rans_writer));
}

void rans_writer_free(rans_writer *writer) {
    if (writer)
        free(writer->slices);
    free(writer);
}

/* Make room for `more` symbols. */
static int reserve(rans_writer *writer, size_t more) {
    /* rans_finish needs four bytes for each of count + FREE_SYMBOLS symbols and two words more. */
    const size_t most = SIZE_MAX / sizeof(slice) - FREE_SYMBOLS - 2;
    if (more > most || writer->count > most - more)
        return RANS_NO_MEMORY;
    size_t needed = writer->count + more;
    if (needed <= writer->capacity)
        return RANS_OK;
    size_t capacity = writer->capacity < most / 2 ? 2 * writer->capacity : most;
    if (capacity < needed)
        capacity = needed;
    slice *grown = realloc(writer->slices, capacity * sizeof *grown);
    if (!grown)
        return RANS_NO_MEMORY;
    writer->slices = grown;
    writer->capacity = capacity;
    return RANS_OK;
}

/* |value|; right for INT32_MIN, too. */
static inline int64_t magnitude(int32_t value) {
    return value < 0 ? -(int64_t)value : value;
}

static inline int digits_of(int64_t excess) {
    int digits = 0;
    for (; excess; excess >>= 4)
        digits++;
    return digits;
}

/* |values[i]| - K of the value's table, or -1 for an index that is none. Others may write into the
 * caller's arrays meanwhile, so no index is taken to be right because it once was. */
static inline int64_t excess_at(const rans_tables *tables, const int32_t *values,
                                const uint16_t *indexes, size_t i) {
    size_t index = indexes[i];
    return index < tables->count ? magnitude(values[i]) - tables->table[index].half : -1;
}

static inline void put_digit(rans_writer *writer, int64_t digit) {
    slice *to = &writer->slices[writer->count++];
    to->start = (uint16_t)(digit * DIGIT_WIDTH);
    to->width = DIGIT_WIDTH;
}

/* The escapes of a call: first all the counts of digits, then all the digits. */
static int write_escapes(rans_writer *writer, const int32_t *values, const uint16_t *indexes,
                         size_t n, const rans_tables *tables) {
    for (size_t i = 0; i < n; i++) {
        int64_t excess = excess_at(tables, values, indexes, i);
        if (excess < 0)
            continue;
        if (excess > EXCESS_MAX)
            return RANS_TOO_FAR;
        if (reserve(writer, 1))
            return RANS_NO_MEMORY;
        put_digit(writer, digits_of(excess));
    }
    for (size_t i = 0; i < n; i++) {
        int64_t excess = excess_at(tables, values, indexes, i);
        if (excess <= 0)
            continue;
        if (excess > EXCESS_MAX)
            return RANS_TOO_FAR;
        if (reserve(writer, DIGITS))
            return RANS_NO_MEMORY;
        for (int digit = digits_of(excess); digit; digit--, excess >>= 4)
            put_digit(writer, excess & 15);
    }
    return RANS_OK;
}

static int write_all(rans_writer *writer, const int32_t *values, const uint16_t *indexes, size_t n,
                     const rans_tables *tables) {
    if (reserve(writer, n))
        return RANS_NO_MEMORY;
    int outside = 0;
    slice *to = writer->slices + writer->count;
    for (size_t i = 0; i < n; i++) {
        size_t index = indexes[i];
        if (index >= tables->count)
            return RANS_BAD_INDEX;
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
    if (!n)
        return RANS_OK;
    size_t before = writer->count;
    int code = write_all(writer, values, indexes, n, tables);
    if (code)
        writer->count = before;
    return code;
}

/* One step of the encoder. Gives a word where the state gets too large: it is below width · 2^47
 * before the division, and so below 2^63 afterwards. */
static inline uint64_t encode(uint64_t state, slice symbol, uint32_t **words) {
    if (state >= (uint64_t)symbol.width << 47) {
        *--*words = (uint32_t)state;
        state >>= 32;
    }
    uint64_t quotient = state / symbol.width;
    return (quotient << PRECISION) + (state - quotient * symbol.width) + symbol.start;
}

int rans_finish(rans_writer *writer, uint8_t **bytes, size_t *size) {
    /* A symbol gives at most one word, and the state at the end gives two. Pages of this buffer
     * that no word is written to are never really there. */
    size_t most = writer->count + FREE_SYMBOLS + 2;
    uint32_t *buffer = malloc(most * sizeof *buffer);
    if (!buffer)
        return RANS_NO_MEMORY;
    uint32_t *words = buffer + most;
    uint64_t state = LOWER_BOUND;
    for (int i = 0; i < FREE_SYMBOLS; i++)
        state = encode(state, (slice){0, FREE_WIDTH}, &words);
    for (size_t i = writer->count; i; i--)
        state = encode(state, writer->slices[i - 1], &words);
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

/* -- reading ----------------------------------------------------------------------- */

/* Where a reader is: the state, and how many words of the stream it has read. */
typedef struct {
    uint64_t state;
    size_t at;
} place;

struct rans_reader {
    place place;
    size_t left;  /* values that may still be read */
    size_t count; /* words of the stream; the last is filled up with zero bytes */
    uint32_t words[];
};

/* The next word; 0 behind the end. */
static inline uint32_t next_word(const rans_reader *reader, size_t *at) {
    return *at < reader->count ? reader->words[(*at)++] : 0;
}

rans_reader *rans_reader_make(const uint8_t *data, size_t size, size_t limit) {
    size_t count = size / 4 + (size % 4 != 0);
    if (count > (SIZE_MAX - sizeof(rans_reader)) / sizeof(uint32_t))
        return NULL;
    rans_reader *reader = malloc(sizeof *reader + count * sizeof reader->words[0]);
    if (!reader)
        return NULL;
    memset(reader->words, 0, count * sizeof reader->words[0]);
    for (size_t i = 0; i < size; i++)
        reader->words[i / 4] |= (uint32_t)data[i] << 8 * (i % 4);
    reader->count = count;
    reader->left = limit;
    reader->place.at = 0;
    uint64_t low = next_word(reader, &reader->place.at);
    reader->place.state = low | (uint64_t)next_word(reader, &reader->place.at) << 32;
    return reader;
}

void rans_reader_free(rans_reader *reader) {
    free(reader);
}

/* The place after a symbol. `start` and `width` are of the slice that the state's slot is in. One
 * word at most is read, even where damage has made the state so small that one is not enough. */
static inline place advance(const rans_reader *reader, place from, uint32_t start, uint32_t width) {
    uint64_t slot = from.state & (TOTAL - 1);
    from.state = width * (from.state >> PRECISION) + slot - start;
    if (from.state < LOWER_BOUND)
        from.state = from.state << 32 | next_word(reader, &from.at);
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

/* Put the excesses onto the values that are at an end of their table. Between the two loops such a
 * value is K and its count of digits. */
static int read_escapes(rans_reader *reader, int32_t *values, const uint16_t *indexes, size_t n,
                        const rans_tables *tables) {
    for (size_t i = 0; i < n; i++) {
        if (excess_at(tables, values, indexes, i) != 0)
            continue;
        int digits = read_digit(reader);
        if (digits > DIGITS)
            return RANS_IMPOSSIBLE;
        values[i] = with_sign_of(values[i], magnitude(values[i]) + digits);
    }
    for (size_t i = 0; i < n; i++) {
        int64_t digits = excess_at(tables, values, indexes, i);
        if (digits <= 0)
            continue;
        if (digits > DIGITS)
            return RANS_IMPOSSIBLE;
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
        if (index >= tables->count)
            return RANS_BAD_INDEX;
        const table *one = &tables->table[index];
        const uint16_t *starts = tables->starts + one->first;
        uint32_t slot = (uint32_t)(here.state & (TOTAL - 1));
        uint32_t symbol = one->bins[slot >> BIN_BITS];
        /* The last slot of a symbol is one before the next start; 65535 for the last symbol. */
        while ((uint16_t)(starts[symbol + 1] - 1) < slot)
            symbol++;
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
    if (n > reader->left)
        return RANS_ENDS_EARLY;
    place before = reader->place;
    int code = read_all(reader, values, indexes, n, tables);
    if (code)
        reader->place = before;
    else
        reader->left -= n;
    return code;
}
