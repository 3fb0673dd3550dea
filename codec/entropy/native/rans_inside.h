/* What the files of the coder share; others use rans.h. */
#ifndef TICODEC_RANS_INSIDE_H
#define TICODEC_RANS_INSIDE_H

#include "rans.h"

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

/* |value|; right for INT32_MIN, too. */
static inline int64_t magnitude(int32_t value) { return value < 0 ? -(int64_t)value : value; }

/* |values[i]| - K of the value's table, or -1 for an index that is none. Others may write into the
 * caller's arrays meanwhile, so no index is taken to be right because it once was. */
static inline int64_t excess_at(const rans_tables *tables, const int32_t *values,
                                const uint16_t *indexes, size_t i) {
    size_t index = indexes[i];
    return index < tables->count ? magnitude(values[i]) - tables->table[index].half : -1;
}

#endif
