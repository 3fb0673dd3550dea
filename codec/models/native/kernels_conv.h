/* Convolutions, for kernels_body.h. The taps in a row of a neighbourhood are one run of inputs. */

TARGET static void NAME(round)(const float *from, size_t count, void *to) {
    operand *out = to;
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) SAVE(out + i, READ(from + i));
    if (i == count) return;
    float rest[LANES] = {0};
    operand rounded[LANES];
    memcpy(rest, from + i, (count - i) * sizeof *rest);
    SAVE(rounded, READ(rest));
    memcpy(out + i, rounded, (count - i) * sizeof *rounded);
}

/* GDN processes this many positions of a row at a time. */
#define POSITIONS 64

static size_t NAME(conv_scratch)(const conv_layer *l) {
    return POSITIONS * l->out * sizeof(operand);
}

TARGET static void NAME(conv)(const conv_layer *l, const conv_rows *r, size_t row, size_t number,
                              void *scratch) {
    const conv_part *part = &l->parts[number];
    size_t wide = l->up * r->width, step = l->up * l->out;
    float *out = r->to + ((l->up * row + part->row_out) * wide + part->column_out) * l->out;
    const void *taps[MOST_TAPS];
    for (size_t i = 0; i < part->count; i++)
        taps[i] = (const operand *)r->from +
                  ((l->down * row + part->rows[i]) * r->from_width + part->column) * l->channels;
    const linear_layer *t = &part->taps;
    int end = l->activation == LEAKY_RELU ? LEAKY : STORE;
    product_of p = {.a = taps,
                    .taps = part->count,
                    .stride = l->down * l->channels,
                    .rows = r->width,
                    .weight = t->weight,
                    .block = t->in * BLOCK,
                    .steps = t->in / part->count / PER,
                    .blocks = t->out / BLOCK,
                    .start = t->bias,
                    .out = out,
                    .out_stride = step,
                    .end = end};
    NAME(product)(&p);
    if (l->activation < GDN) return;
    operand *sizes = scratch;
    float *kept = r->kept ? r->kept + (out - r->to) : NULL;
    for (size_t first = 0; first < r->width; first += POSITIONS) {
        size_t count = r->width - first < POSITIONS ? r->width - first : POSITIONS;
        float *x = out + first * step;
        for (size_t i = 0; i < count; i++)
            for (size_t c = 0; c < l->out; c += LANES) {
                vec value = READ(x + i * step + c);
                if (kept) AT(kept + (first + i) * step + c) = value;
                SAVE(sizes + i * l->out + c, MAX(value, -value));
            }
        NAME(linear)(&l->gdn, sizes, l->out, count, x, step,
                     l->activation == GDN ? DIVIDE : MULTIPLY);
    }
}
