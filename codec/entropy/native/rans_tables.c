/* Checks frequency tables, and prepares them for writing and reading. */
#include "rans_inside.h"

#include <stdlib.h>

/* Whether the sizes of the tables are allowed, and sum to `count`. The sum cannot overflow, because
 * there are at most 65536 tables of at most 65535 numbers. */
static int sizes_fit(const int64_t *halves, size_t tables, size_t count) {
    if (tables < 1 || tables > TABLES_MAX) return 0;
    uint64_t sum = 0;
    for (size_t i = 0; i < tables; i++) {
        if (halves[i] < 1 || halves[i] > HALF_MAX) return 0;
        sum += 2 * (uint64_t)halves[i] + 1;
    }
    return sum == count;
}

/* Fills the table's starts (2K + 2) and bins. Returns 0 if the frequencies are not allowed. */
static int prepare(table *one, uint16_t *starts, const int64_t *frequencies) {
    int32_t symbols = 2 * one->half + 1;
    int64_t sum = 0;
    for (int32_t s = 0; s < symbols; s++) {
        if (frequencies[s] < 1 || frequencies[s] > TOTAL - sum) return 0;
        starts[s] = (uint16_t)sum;
        sum += frequencies[s];
    }
    if (sum != TOTAL) return 0;
    starts[symbols] = 0;
    int32_t symbol = 0;
    for (int32_t bin = 0; bin < BINS; bin++) {
        while (symbol + 1 < symbols && starts[symbol + 1] <= bin << BIN_BITS) symbol++;
        one->bins[bin] = (uint16_t)symbol;
    }
    return 1;
}

int rans_tables_make(rans_tables **out, const int64_t *halves, size_t tables,
                     const int64_t *frequencies, size_t count) {
    *out = NULL;
    if (!sizes_fit(halves, tables, count)) return RANS_BAD_TABLES;
    rans_tables *made = malloc(sizeof *made + tables * sizeof made->table[0]);
    if (!made) return RANS_NO_MEMORY;
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
    if (tables) free(tables->starts);
    free(tables);
}

size_t rans_tables_count(const rans_tables *tables) { return tables->count; }
