/* The functions of `kernels` for one instruction set; layers.c includes this once for each.
 *
 * It defines before: SET (a suffix for names), TARGET (an attribute of functions), VECTOR (bytes
 * of a vector), ROWS (rows that share one read of the weights: 8, or 4 if registers are few) and
 * LOAD_WEIGHTS (int16 from memory to a vector of doubles).
 */
#define LANES (VECTOR / 8)
/* Vectors of outputs that are summed at once. */
#define WIDTH 2

typedef double NAME(vector) __attribute__((vector_size(VECTOR), aligned(8), may_alias));

/* Sums of products of R rows of x with WIDTH vectors of outputs, to sums [R][WIDTH · LANES]. */
#define DEFINE_TILE(R)                                                                             \
    TARGET static void NAME(tile##R)(const double *restrict x, size_t width,                       \
                                     const int16_t *restrict weight, size_t in,                    \
                                     double *restrict sums) {                                      \
        NAME(vector) s[R][WIDTH];                                                                  \
        for (int r = 0; r < R; r++)                                                                \
            for (int v = 0; v < WIDTH; v++) s[r][v] = (NAME(vector)){0};                           \
        for (size_t k = 0; k < in; k++, weight += BLOCK)                                           \
            for (int v = 0; v < WIDTH; v++) {                                                      \
                NAME(vector) w = (NAME(vector))LOAD_WEIGHTS(weight + v * LANES);                                 \
                for (int r = 0; r < R; r++) s[r][v] += x[r * width + k] * w;                       \
            }                                                                                      \
        for (int r = 0; r < R; r++)                                                                \
            for (int v = 0; v < WIDTH; v++)                                                        \
                *(NAME(vector) *)(sums + (r * WIDTH + v) * LANES) = s[r][v];                       \
    }

DEFINE_TILE(1)
DEFINE_TILE(2)
DEFINE_TILE(4)
#if ROWS == 8
DEFINE_TILE(8)
#endif

TARGET static void NAME(linear)(const layer *l, const double *x, size_t width, size_t rows,
                                size_t first, size_t last, const double *add, int raw, double *out,
                                size_t out_width) {
    double sums[ROWS * WIDTH * LANES];
    for (size_t channel = first * BLOCK; channel < last * BLOCK; channel += WIDTH * LANES) {
        const int16_t *weight =
            l->weight + channel / BLOCK * BLOCK * l->in + channel % BLOCK;
        const double *bias = l->bias + channel, *scale = l->scale + channel;
        for (size_t row = 0, n; row < rows; row += n) {
            const double *from = x + row * width;
            size_t left = rows - row;
#if ROWS == 8
            if (left >= 8) NAME(tile8)(from, width, weight, l->in, sums), n = 8;
            else
#endif
            if (left >= 4) NAME(tile4)(from, width, weight, l->in, sums), n = 4;
            else if (left >= 2) NAME(tile2)(from, width, weight, l->in, sums), n = 2;
            else NAME(tile1)(from, width, weight, l->in, sums), n = 1;
            for (size_t r = 0; r < n; r++) {
                const double *sum = sums + r * WIDTH * LANES;
                size_t at = (row + r) * out_width + channel;
                double value[WIDTH * LANES];
                for (int i = 0; i < WIDTH * LANES; i++) value[i] = (sum[i] + bias[i]) * scale[i];
                if (add)
                    for (int i = 0; i < WIDTH * LANES; i++) value[i] += add[at + i];
                if (!raw)
                    for (int i = 0; i < WIDTH * LANES; i++)
                        value[i] = rounded(clamped(value[i], -l->limit, l->limit));
                memcpy(out + at, value, sizeof value);
            }
        }
    }
}

TARGET static void NAME(norm)(const double *x, size_t channels, double epsilon, double *out) {
    double totals[BLOCK] = {0}, squared[BLOCK] = {0}, total = 0, squares = 0;
    for (size_t i = 0; i < PADDED(channels); i += BLOCK)
        for (int l = 0; l < BLOCK; l++) {
            totals[l] += x[i + l];
            squared[l] += x[i + l] * x[i + l];
        }
    for (int l = 0; l < BLOCK; l++) total += totals[l], squares += squared[l];
    double c = (double)channels;
    double deviation = sqrt(c * squares - total * total + epsilon);
    for (size_t i = 0; i < PADDED(channels); i++) {
        double normal = (c * x[i] - total) / deviation;
        out[i] = clamped(rounded(normal * (1 << NORM_BITS)), -NARROW, NARROW);
    }
}

TARGET static void NAME(gelu)(const curve *c, double *x, size_t count) {
    const int32_t *table = c->table;
    double last = (double)(c->size - 1);
    for (size_t i = 0; i < count; i++) {
        int32_t index = (int32_t)clamped(fabs(x[i]), 0, last);
        x[i] = (x[i] > 0 ? x[i] : 0) + table[index];
    }
}

TARGET static void NAME(leaky_relu)(double *x, size_t count) {
    for (size_t i = 0; i < count; i++) {
        double low = rounded(x[i] * LEAKY_FACTOR);
        x[i] = x[i] < 0 ? low : x[i];
    }
}

TARGET static void NAME(requantise)(const double *x, double factor, double limit, double *out,
                                    size_t count) {
    for (size_t i = 0; i < count; i++) out[i] = rounded(clamped(x[i] * factor, -limit, limit));
}

TARGET static void NAME(add)(double *x, const double *y, double limit, size_t count) {
    for (size_t i = 0; i < count; i++) x[i] = clamped(x[i] + y[i], -limit, limit);
}

/* Scores of all queries with one key: sums over the depth, in up to 13 registers at once. */
#define QUERIES 13

TARGET static void NAME(score)(const double *q, const double *k, size_t tokens, size_t depth,
                               double factor, double *scores) {
    for (size_t key = 0; key < tokens; key++)
        for (size_t query = 0; query < tokens; query += QUERIES)
            for (int lane = 0; lane < BLOCK; lane += LANES) {
                size_t n = tokens - query < QUERIES ? tokens - query : QUERIES;
                const double *of = q + query * depth * BLOCK + lane;
                const double *with = k + key * depth * BLOCK + lane;
                NAME(vector) s[QUERIES];
                for (int i = 0; i < QUERIES; i++) s[i] = (NAME(vector)){0};
                if (n == QUERIES) {
                    for (size_t e = 0; e < depth; e++) {
                        NAME(vector) value = *(const NAME(vector) *)(with + e * BLOCK);
                        for (int i = 0; i < QUERIES; i++)
                            s[i] += value * *(const NAME(vector) *)(of + (i * depth + e) * BLOCK);
                    }
                } else {
                    for (size_t i = 0; i < n; i++)
                        for (size_t e = 0; e < depth; e++)
                            s[i] += *(const NAME(vector) *)(with + e * BLOCK) *
                                    *(const NAME(vector) *)(of + (i * depth + e) * BLOCK);
                }
                for (size_t i = 0; i < n; i++) {
                    NAME(vector) scaled = s[i] * factor;
                    *(NAME(vector) *)(scores + ((query + i) * tokens + key) * BLOCK + lane) =
                        (scaled + ROUNDER) - ROUNDER;
                }
            }
}

TARGET static void NAME(probabilities)(const double *q, const double *k, size_t tokens,
                                       size_t depth, size_t queries, double factor,
                                       const int32_t *bias, const int32_t *exp, int together,
                                       double *scores, double *summed) {
    NAME(score)(q, k, tokens, depth, factor, scores);
    if (together) memset(summed, 0, tokens * BLOCK * sizeof *summed);
    for (size_t i = 0; i < queries; i++) {
        const double *row = scores + (i < tokens ? i : tokens - 1) * tokens * BLOCK;
        const int32_t *b = bias + i * tokens * BLOCK;
        double *out = summed + (together ? 0 : i * tokens * BLOCK);
        double largest[BLOCK], total[BLOCK] = {0}, weights[25][BLOCK];
        for (int l = 0; l < BLOCK; l++) largest[l] = row[l] + b[l];
        for (size_t j = 1; j < tokens; j++)
            for (int l = 0; l < BLOCK; l++) {
                double score = row[j * BLOCK + l] + b[j * BLOCK + l];
                largest[l] = largest[l] > score ? largest[l] : score;
            }
        for (size_t j = 0; j < tokens; j++)
            for (int l = 0; l < BLOCK; l++) {
                double below = largest[l] - (row[j * BLOCK + l] + b[j * BLOCK + l]);
                weights[j][l] = exp[(int32_t)clamped(below, 0, EXP_SIZE - 1)];
                total[l] += weights[j][l];
            }
        for (size_t j = 0; j < tokens; j++)
            for (int l = 0; l < BLOCK; l++) {
                double p = rounded(weights[j][l] * (1 << PROBABILITY_BITS) / total[l]);
                if (together) out[j * BLOCK + l] += p;
                else out[j * BLOCK + l] = p;
            }
    }
}

TARGET static void NAME(weigh)(const double *weights, const double *v, size_t tokens, size_t depth,
                               double *out) {
    for (size_t e = 0; e < depth; e++)
        for (int lane = 0; lane < BLOCK; lane += LANES) {
            NAME(vector) s = {0};
            for (size_t j = 0; j < tokens; j++)
                s += *(const NAME(vector) *)(weights + j * BLOCK + lane) *
                     *(const NAME(vector) *)(v + (j * depth + e) * BLOCK + lane);
            *(NAME(vector) *)(out + e * BLOCK + lane) = s;
        }
}

TARGET static void NAME(scale_indexes)(const double *scales, const double *thresholds,
                                       size_t tables, uint16_t *indexes, size_t count) {
    for (size_t i = 0; i < count; i += BLOCK) {
        double reached[BLOCK] = {0};
        for (size_t t = 0; t < tables; t++)
            for (int l = 0; l < BLOCK; l++)
                reached[l] += scales[i + l] >= thresholds[t] ? 1.0 : 0.0;
        for (int l = 0; l < BLOCK; l++) indexes[i + l] = (uint16_t)reached[l];
    }
}

TARGET static void NAME(widen)(const int16_t *x, double *out, size_t count) {
    for (size_t i = 0; i < count; i++) out[i] = x[i];
}

static const kernels NAME(kernels) = {
    STRING(SET), NAME(linear), NAME(norm), NAME(gelu), NAME(leaky_relu), NAME(requantise),
    NAME(add), NAME(probabilities), NAME(weigh), NAME(scale_indexes), NAME(widen),
};

#undef SET
#undef TARGET
#undef VECTOR
#undef ROWS
#undef LANES
#undef WIDTH
#undef QUERIES
#undef LOAD_WEIGHTS
#undef DEFINE_TILE
