/* Products with AMX, for kernels_product.h: 32 rows by two blocks of outputs at a time. The tiles
 * have these numbers:
 *
 *           weights 6  7
 *   rows 4  sums    0  1
 *   rows 5  sums    2  3
 */

/* Does what p->end says with a row of sums of a block. */
INLINE TARGET void NAME(finish)(const product_of *p, size_t row, size_t block, vec x) {
    size_t at = row * p->out_stride + block * BLOCK;
    float *out = (float *)p->out + at;
    operand *saved = (operand *)p->out + at;
    const float *slope = p->end == GELU_SLOPE ? p->slope + at : NULL;
    if (p->start) x += READ(p->start + row * p->start_stride + block * BLOCK);
    const size_t to = 0;
#define ONCE(DO) DO;
    END_WITH(ONCE)
#undef ONCE
}

/* Multiplies one tile of rows, or two if `lower`, by one block of outputs, or two if `right`.
 * `lower` and `right` are constants. */
INLINE TARGET void NAME(tiles)(const product_of *p, size_t row, size_t block, const int lower,
                               const int right) {
    const operand *w = (const operand *)p->weight + block * p->block;
    size_t stride = p->stride * sizeof(operand);
    TILE_ZERO(0);
    if (right) TILE_ZERO(1);
    if (lower) TILE_ZERO(2);
    if (lower && right) TILE_ZERO(3);
    for (size_t tap = 0; tap < p->taps; tap++) {
        const operand *a = (const operand *)p->a[tap] + row * p->stride;
        for (size_t step = 0; step < p->steps; step += 16, a += 32, w += 32 * BLOCK) {
            TILE_LOAD(4, a, stride);
            TILE_LOAD(6, w, 64);
            TILE_MULTIPLY(0, 4, 6);
            if (right) {
                TILE_LOAD(7, w + p->block, 64);
                TILE_MULTIPLY(1, 4, 7);
            }
            if (lower) {
                TILE_LOAD(5, a + 16 * p->stride, stride);
                TILE_MULTIPLY(2, 5, 6);
            }
            if (lower && right) TILE_MULTIPLY(3, 5, 7);
        }
    }
    _Alignas(64) float sums[4][16][BLOCK];
    TILE_STORE(0, sums[0], 64);
    if (right) TILE_STORE(1, sums[1], 64);
    if (lower) TILE_STORE(2, sums[2], 64);
    if (lower && right) TILE_STORE(3, sums[3], 64);
    for (size_t down = 0; down <= (size_t)lower; down++)
        for (size_t r = 0; r < 16; r++)
            for (size_t b = 0; b <= (size_t)right; b++)
                NAME(finish)(p, row + 16 * down + r, block + b, READ(sums[2 * down + b][r]));
}

/* `product` with AMX. If the inputs of a tap do not fill whole tiles, it does nothing and returns
 * 0. */
TARGET static int NAME(product_of_tiles)(const product_of *p) {
    if (p->steps % 16) return 0;
    for (size_t block = 0; block < p->blocks; block += 2) {
        size_t row = 0;
        int right = block + 1 < p->blocks;
        for (; row + 32 <= p->rows; row += 32)
            if (right) NAME(tiles)(p, row, block, 1, 1);
            else NAME(tiles)(p, row, block, 1, 0);
        for (; row + 16 <= p->rows; row += 16)
            if (right) NAME(tiles)(p, row, block, 0, 1);
            else NAME(tiles)(p, row, block, 0, 0);
        for (; row < p->rows; row++)
            if (right) NAME(tile)(p, row, block, 1, 2);
            else NAME(tile)(p, row, block, 1, 1);
    }
    return 1;
}
