/* rANS: symbols to a stream of bytes and back. `ticodec/entropy/rans.py` explains how it works.
 *
 * Streams are the same as those of compressai.ans, bit for bit. The state has 64 bits and stays at
 * 2^31 or above. Words have 32 bits (little-endian). The frequencies of a table sum to 2^16.
 * Symbols are coded from the last to the first.
 *
 * Values outside a table have escapes. The symbols -K and K of a table mean "this far or further".
 * After the symbols of one call come two lists. The first has, for each of these end symbols, the
 * number of hexadecimal digits of |value| - K (0 to 4). The second has all the digits, the lowest
 * digit of each value first.
 *
 * Every access is checked here. No bytes, tables, values or indexes can make these functions touch
 * memory other than their own and the caller's arrays. Nothing is printed. No state is shared, so
 * threads may use one rans_tables together, and each thread its own writers and readers.
 */
#ifndef TICODEC_RANS_H
#define TICODEC_RANS_H

#include <stddef.h>
#include <stdint.h>

/* The results of the functions. */
enum {
    RANS_OK,
    RANS_NO_MEMORY,
    RANS_BAD_TABLES, /* the numbers are not frequency tables */
    RANS_BAD_INDEX,  /* no table has this number */
    RANS_TOO_FAR,    /* |value| - K is above 65535, so it needs more than four digits */
    RANS_ENDS_EARLY, /* the caller reads more values than it announced */
    RANS_IMPOSSIBLE  /* an escape of more than four digits, which no writer writes */
};

/* Frequency tables, checked and prepared. They never change. */
typedef struct rans_tables rans_tables;

/* Table i covers the values -K_i ... K_i.
 *
 * halves: K of each table, 1 to 32767. There are 1 to 65536 tables.
 * frequencies: the frequencies of all tables, one table after the other. Table i has 2 K_i + 1
 *   numbers of at least 1 that sum to 65536.
 * count: how many frequencies there are in all.
 * out: the tables, if RANS_OK is returned. Free them with rans_tables_free.
 * Returns RANS_OK, RANS_BAD_TABLES or RANS_NO_MEMORY. */
int rans_tables_make(rans_tables **out, const int64_t *halves, size_t tables,
                     const int64_t *frequencies, size_t count);
void rans_tables_free(rans_tables *tables); /* NULL is allowed, as in the other free functions */
size_t rans_tables_count(const rans_tables *tables);

/* Collects symbols, in the order in which a reader will read them. It grows as needed, by four
 * bytes per symbol. */
typedef struct rans_writer rans_writer;

rans_writer *rans_writer_make(void); /* returns NULL if there is no memory */
void rans_writer_free(rans_writer *writer);

/* Appends n values. indexes[i] is the number of the table of values[i].
 * Returns RANS_OK, RANS_BAD_INDEX, RANS_TOO_FAR or RANS_NO_MEMORY. An error leaves the writer as it
 * was before the call. */
int rans_write(rans_writer *writer, const int32_t *values, const uint16_t *indexes, size_t n,
               const rans_tables *tables);

/* Makes the stream of all values that were written. The writer is empty afterwards, and can be used
 * again.
 * bytes: the stream. Release it with free().
 * Returns RANS_OK or RANS_NO_MEMORY. An error leaves the writer as it was before the call. */
int rans_finish(rans_writer *writer, uint8_t **bytes, size_t *size);

/* Reads back what a writer wrote. */
typedef struct rans_reader rans_reader;

/* data: the stream. It may be any bytes. The reader keeps its own copy.
 * limit: how many values may be read in all.
 * Returns NULL if there is no memory. */
rans_reader *rans_reader_make(const uint8_t *data, size_t size, size_t limit);
void rans_reader_free(rans_reader *reader);

/* Reads the next n values. indexes[i] is the number of the table of values[i].
 *
 * A stream that ends early is read as if endless zero bytes followed it. The values are then wrong,
 * which the caller detects by its checksum of the values.
 * Returns RANS_OK, RANS_BAD_INDEX, RANS_ENDS_EARLY or RANS_IMPOSSIBLE. An error leaves the reader
 * as it was before the call, and `values` holds numbers without meaning. */
int rans_read(rans_reader *reader, int32_t *values, const uint16_t *indexes, size_t n,
              const rans_tables *tables);

#endif
