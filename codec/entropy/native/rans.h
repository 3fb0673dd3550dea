/* rANS: symbols to a stream of bytes and back. How it works: `ticodec/entropy/rans.py`.
 *
 * Streams are those of compressai.ans, bit for bit: a state of 64 bits that stays at 2^31 or above,
 * words of 32 bits (little-endian), frequencies that sum to 2^16, symbols coded from the last to
 * the first.
 *
 * Values outside a table have escapes. The symbols -K and K of a table mean "K or further". After
 * the symbols of a call come, for each of those, the number of hexadecimal digits of |value| - K
 * (0 to 4), and then all the digits, lowest first.
 *
 * Every access is checked here: no bytes, tables, values or indexes make these functions touch
 * memory that is not theirs or the caller's arrays. Nothing is printed, and no state is shared:
 * threads may use one rans_tables together, and each its own writers and readers.
 */
#ifndef TICODEC_RANS_H
#define TICODEC_RANS_H

#include <stddef.h>
#include <stdint.h>

/* What the functions return. */
enum {
    RANS_OK,
    RANS_NO_MEMORY,
    RANS_BAD_TABLES, /* the numbers are not frequency tables */
    RANS_BAD_INDEX,  /* no table has this number */
    RANS_TOO_FAR,    /* |value| - K is above 65535, which four digits do not hold */
    RANS_ENDS_EARLY, /* more values are read than were announced */
    RANS_IMPOSSIBLE  /* an escape of more than four digits, which no writer writes */
};

/* Frequency tables, checked and prepared. They never change. */
typedef struct rans_tables rans_tables;

/* Table i covers the values -K_i ... K_i.
 *
 * halves: K of each table, 1 to 32767; there are 1 to 65536 tables.
 * frequencies: of all tables, one after the other: 2 K_i + 1 numbers of at least 1 that sum to
 *   65536. `count` is how many numbers there are in all.
 * out: the tables, when RANS_OK is returned; free them with rans_tables_free.
 * Returns RANS_OK, RANS_BAD_TABLES or RANS_NO_MEMORY. */
int rans_tables_make(rans_tables **out, const int64_t *halves, size_t tables,
                     const int64_t *frequencies, size_t count);
void rans_tables_free(rans_tables *tables); /* NULL is allowed, as in the other free functions */
size_t rans_tables_count(const rans_tables *tables);

/* Collects symbols, in the order in which a reader will read them. It grows as needed, by four
 * bytes a symbol. */
typedef struct rans_writer rans_writer;

rans_writer *rans_writer_make(void); /* NULL: no memory */
void rans_writer_free(rans_writer *writer);

/* Append n values; indexes[i] is the number of the table of values[i].
 * Returns RANS_OK, RANS_BAD_INDEX, RANS_TOO_FAR or RANS_NO_MEMORY. After an error the writer is as
 * it was before the call. */
int rans_write(rans_writer *writer, const int32_t *values, const uint16_t *indexes, size_t n,
               const rans_tables *tables);

/* The stream of all that was written. The writer is empty afterwards, and can be used again.
 * bytes: the stream; release it with free().
 * Returns RANS_OK or RANS_NO_MEMORY (then the writer is as it was). */
int rans_finish(rans_writer *writer, uint8_t **bytes, size_t *size);

/* Reads back what a writer wrote. */
typedef struct rans_reader rans_reader;

/* data: the stream, any bytes; the reader keeps its own copy.
 * limit: how many values may be read in all.
 * NULL: no memory. */
rans_reader *rans_reader_make(const uint8_t *data, size_t size, size_t limit);
void rans_reader_free(rans_reader *reader);

/* Read the next n values; indexes[i] is the number of the table of values[i].
 *
 * A stream that ends early is read as if zero bytes followed it without end: the values are then
 * wrong, which the caller's checksum over the values detects.
 * Returns RANS_OK, RANS_BAD_INDEX, RANS_ENDS_EARLY or RANS_IMPOSSIBLE. After an error the reader is
 * as it was before the call, and `values` holds numbers without meaning. */
int rans_read(rans_reader *reader, int32_t *values, const uint16_t *indexes, size_t n,
              const rans_tables *tables);

#endif
