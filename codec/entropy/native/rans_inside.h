/* Definitions that only the files rans_*.c use. All other files use rans.h. */
#ifndef TICODEC_RANS_INSIDE_H
#define TICODEC_RANS_INSIDE_H

#include "rans.h"

enum {
    PRECISION = 16,
    TOTAL = 1 << PRECISION, /* the sum of the frequencies of a table */
    TABLES_MAX = 1 << 16,   /* because indexes have 16 bits */
    HALF_MAX = TOTAL / 2 - 1,
    DIGITS = 4,
    EXCESS_MAX = (1 << 4 * DIGITS) - 1,
    DIGIT_WIDTH = TOTAL / 16, /* the width of a digit's slice: all 16 digits are equally probable */
    FREE_WIDTH = TOTAL - 1,   /* the width of the slice of a symbol that costs no bits */
    FREE_SYMBOLS = 4,         /* a stream ends with this many free symbols, which are never read */
    BINS = 256,
    BIN_BITS = 8
};

/* The state is never below this, except when a damaged stream is decoded. */
#define LOWER_BOUND (UINT64_C(1) << 31)

typedef struct {
    int32_t half;
    size_t first;        /* where the table begins in `starts` */
    uint16_t bins[BINS]; /* bins[b]: the symbol of slot 256 b, where a search begins */
} table;

struct rans_tables {
    size_t count;
    /* For each table, the first slots of its symbols 0 ... 2K, and then 0, which is 65536 in 16
     * bits. The difference of two neighbours in 16 bits is a width, because no width is 65536. */
    uint16_t *starts;
    table table[];
};

/* |value|, also for INT32_MIN. */
static inline int64_t magnitude(int32_t value) { return value < 0 ? -(int64_t)value : value; }

/* |values[i]| - K of the value's table, or -1 if no table has the index. Another thread may write
 * into the caller's arrays at any time. So an index is checked again whenever it is used. */
static inline int64_t excess_at(const rans_tables *tables, const int32_t *values,
                                const uint16_t *indexes, size_t i) {
    size_t index = indexes[i];
    return index < tables->count ? magnitude(values[i]) - tables->table[index].half : -1;
}

#endif
