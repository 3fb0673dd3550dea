/* `linear` for one instruction set: products of rows of activations with the weights of a layer.
 *
 * layers_body.h includes this file and defines the macros that it uses. A tile is up to ROWS rows
 * by WIDTH vectors of outputs. The number of registers limits the number of its sums. Weights lie
 * in memory as int16. If there is only one tile, it converts them while it reads them. For several
 * tiles they are converted once, in panels that stay in the cache.
 */

/* Reads the weights of a tile's outputs as doubles. w[0] gets the weights of the first input of a
 * pair, and w[1] the weights of the second input. */
TARGET static inline void NAME(read_pairs)(const int16_t *weight, vec w[2][WIDTH]) {
    for (int v = 0; v < WIDTH; v++, weight += 2 * LANES) {
        w[0][v] = (vec)FIRSTS(weight);
        w[1][v] = (vec)SECONDS(weight);
    }
}

/* Adds products of R rows of x with the weights of WIDTH vectors of outputs to sums
 * [R][WIDTH · LANES]. `packed` reads weights in the form that a layer has. If the number of inputs
 * is odd, it reads one more x, whose weight is zero. `panel` reads weights that `convert` wrote. */
#define DEFINE_TILE(KIND, R, TYPE, INPUTS, READ_WEIGHTS, STEP)                                     \
    TARGET static void NAME(KIND##R)(const double *restrict x, size_t width,                       \
                                     const TYPE *restrict weight, size_t in,                       \
                                     double *restrict sums) {                                      \
        vec s[R][WIDTH];                                                                           \
        for (int r = 0; r < R; r++)                                                                \
            for (int v = 0; v < WIDTH; v++) s[r][v] = READ(sums + (r * WIDTH + v) * LANES);        \
        for (size_t k = 0; k < in; k += INPUTS, weight += STEP) {                                  \
            vec w[INPUTS][WIDTH];                                                                  \
            READ_WEIGHTS(weight, w);                                                               \
            for (int i = 0; i < INPUTS; i++)                                                       \
                for (int r = 0; r < R; r++)                                                        \
                    for (int v = 0; v < WIDTH; v++) s[r][v] += x[r * width + k + i] * w[i][v];     \
        }                                                                                          \
        for (int r = 0; r < R; r++)                                                                \
            for (int v = 0; v < WIDTH; v++) AT(sums + (r * WIDTH + v) * LANES) = s[r][v];          \
    }

#define READ_PANEL(weight, w)                                                                      \
    for (int v = 0; v < WIDTH; v++) w[0][v] = READ(weight + v * LANES)

#define DEFINE_TILES(R)                                                                            \
    DEFINE_TILE(packed, R, int16_t, 2, NAME(read_pairs), 2 * BLOCK)                                \
    DEFINE_TILE(panel, R, double, 1, READ_PANEL, WIDTH *LANES)

#if ROWS == 12
#define TO_ROWS TO_12
#else
#define TO_ROWS TO_6
#endif
#define PACKED(R) NAME(packed##R),
#define FROM_PANEL(R) NAME(panel##R),

TO_ROWS(DEFINE_TILES)

/* The function for a tile of n rows is entry n - 1. */
static void (*const NAME(packed)[])(const double *restrict, size_t, const int16_t *restrict, size_t,
                                    double *restrict) = {TO_ROWS(PACKED)};
static void (*const NAME(panel)[])(const double *restrict, size_t, const double *restrict, size_t,
                                   double *restrict) = {TO_ROWS(FROM_PANEL)};

/* Takes a tile's sums of n rows, adds the bias, scales, rounds and stores them. */
TARGET static void NAME(store)(const layer *l, const double *sums, size_t n, size_t channel,
                               const double *add, int raw, double *out, size_t out_width) {
    for (size_t r = 0; r < n; r++)
        for (size_t v = 0; v < WIDTH; v++) {
            size_t c = channel + v * LANES, at = r * out_width + c;
            vec value =
                (READ(sums + (r * WIDTH + v) * LANES) + READ(l->bias + c)) * READ(l->scale + c);
            if (add) value += READ(add + at);
            if (!raw) value = ROUND(CLAMP(value, l->limit));
            AT(out + at) = value;
        }
}

/* Converts the weights of a tile's outputs for `count` inputs to doubles. An odd count is rounded
 * up. */
TARGET static void NAME(convert)(const int16_t *weight, size_t count, double *panel) {
    for (size_t k = 0; k < count; k += 2, weight += 2 * BLOCK) {
        vec w[2][WIDTH];
        NAME(read_pairs)(weight, w);
        for (int i = 0; i < 2; i++)
            for (int v = 0; v < WIDTH; v++, panel += LANES) AT(panel) = w[i][v];
    }
}

/* Weights are converted for PANEL inputs at once. Then at most TILES tiles read them. */
#define PANEL 192
#define TILES 8

/* Computes WIDTH vectors of outputs from `channel` on, for up to TILES · ROWS rows. */
TARGET static void NAME(outputs)(const layer *l, const double *x, size_t width, size_t rows,
                                 size_t channel, const double *add, int raw, double *out,
                                 size_t out_width) {
    _Alignas(64) double sums[TILES][ROWS * WIDTH * LANES], panel[PANEL * WIDTH * LANES];
    const int16_t *weight =
        l->weight + channel / BLOCK * BLOCK * 2 * PAIRS(l->in) + channel % BLOCK * 2;
    size_t tiles = (rows + ROWS - 1) / ROWS;
    memset(sums, 0, tiles * sizeof *sums);
    if (tiles == 1) NAME(packed)[rows - 1](x, width, weight, l->in, *sums);
    for (size_t k = 0; tiles > 1 && k < l->in; k += PANEL) {
        size_t in = l->in - k < PANEL ? l->in - k : PANEL;
        NAME(convert)(weight + k * BLOCK, in, panel);
        for (size_t tile = 0; tile < tiles; tile++) {
            size_t row, n = tile_rows(rows, tile, tiles, &row);
            NAME(panel)[n - 1](x + row * width + k, width, panel, in, sums[tile]);
        }
    }
    for (size_t tile = 0; tile < tiles; tile++) {
        size_t row, n = tile_rows(rows, tile, tiles, &row);
        size_t at = row * out_width;
        NAME(store)(l, sums[tile], n, channel, add ? add + at : NULL, raw, out + at, out_width);
    }
}

TARGET static void NAME(linear)(const layer *l, const double *x, size_t width, size_t rows,
                                size_t first, size_t last, const double *add, int raw, double *out,
                                size_t out_width, void *scratch) {
    (void)scratch;
    for (size_t row = 0; row < rows; row += TILES * ROWS) {
        size_t n = rows - row < TILES * ROWS ? rows - row : TILES * ROWS, at = row * out_width;
        for (size_t c = first * BLOCK; c < last * BLOCK; c += WIDTH * LANES)
            NAME(outputs)(l, x + row * width, width, n, c, add ? add + at : NULL, raw, out + at,
                          out_width);
    }
}

#undef READ_PANEL
#undef DEFINE_TILE
#undef DEFINE_TILES
#undef TO_ROWS
#undef PACKED
#undef FROM_PANEL
#undef PANEL
#undef TILES
