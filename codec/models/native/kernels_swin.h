/* Swin layers, for kernels_body.h. While a window goes through a layer, it stays in the cache. */

/* LayerNorm without its affine part. The results are operands. */
TARGET static void NAME(norm)(const float *x, size_t rows, size_t channels, operand *out) {
    float share = 1 / (float)channels;
    for (; rows; rows--, x += channels, out += channels) {
        vec total = ALL(0), squares = ALL(0);
        for (size_t c = 0; c < channels; c += LANES) total += READ(x + c);
        vec mean = ALL(SUM(total) * share);
        for (size_t c = 0; c < channels; c += LANES) {
            vec apart = READ(x + c) - mean;
            squares += apart * apart;
        }
        vec factor = ALL(1 / sqrtf(SUM(squares) * share + NORM_EPSILON));
        for (size_t c = 0; c < channels; c += LANES) SAVE(out + c, (READ(x + c) - mean) * factor);
    }
}

/* Scores above this are clamped to it. Then no sum overflows, so the largest score of a row need
 * not be found first. Scores of trained networks are far smaller. */
#define LARGEST_SCORE 120.0f

/* Softmax of rows of scores [rows][width]. The scores are in units of log 2. The results are
 * operands. */
TARGET static void NAME(softmax)(const float *scores, size_t rows, size_t width, operand *out) {
    for (; rows; rows--, scores += width, out += width) {
        vec total = ALL(0), e[MOST_TOKENS / LANES];
        for (size_t k = 0; k < width; k += LANES)
            total += e[k / LANES] = NAME(exp2)(MIN(READ(scores + k), ALL(LARGEST_SCORE)));
        vec share = ALL(1 / SUM(total));
        for (size_t k = 0; k < width; k += LANES) SAVE(out + k, e[k / LANES] * share);
    }
}

/* Writes k of a head [tokens][depth] as weights [blocks of tokens][depth / PER][BLOCK][PER]. The
 * rows of k are `stride` apart. `tokens` is a multiple of BLOCK. */
TARGET static void NAME(turn)(const operand *k, size_t stride, size_t tokens, size_t depth,
                              operand *out) {
    for (size_t block = 0; block < tokens; block += BLOCK, out += depth * BLOCK)
        for (size_t t = 0; t < BLOCK; t++)
            for (size_t e = 0; e < depth; e += PER)
                memcpy(out + (e * BLOCK + t * PER), k + (block + t) * stride + e, PER * sizeof *k);
}

/* Writes v of a head as weights [blocks of depth][tokens / PER][BLOCK][PER], with zeros beyond the
 * depth. */
TARGET static void NAME(pair)(const operand *v, size_t stride, size_t tokens, size_t depth,
                              operand *out) {
    for (size_t block = 0; block < depth; block += BLOCK, out += tokens * BLOCK) {
        size_t count = depth - block < BLOCK ? depth - block : BLOCK;
        for (size_t t = 0; t < tokens; t++) {
            operand *to = out + t / PER * PER * BLOCK + t % PER;
            const operand *of = v + t * stride + block;
            if (count == BLOCK)
                for (size_t e = 0; e < BLOCK; e++) to[e * PER] = of[e];
            else
                for (size_t e = 0; e < BLOCK; e++) to[e * PER] = e < count ? of[e] : 0;
        }
    }
}

/* The places of a window's arrays in scratch. p has the probabilities of a head. */
typedef struct {
    float *x, *scores;
    operand *norm, *qkv, *seen, *hidden, *k, *v, *p;
    size_t apart; /* the distance between p of two heads; 0 if only one p is kept */
    size_t bytes;
} NAME(places);

/* This many hidden channels go through the MLP at a time, so that they stay in the first-level
 * cache. */
#define HIDDEN (PER * 4 * BLOCK)

/* kept: whether p of all heads is kept. */
static NAME(places) NAME(lay_out)(const swin_layer *l, char *scratch, int kept) {
    size_t tokens = l->window * l->window, keys = PADDED(tokens), c = l->channels, at = 0;
    NAME(places) s;
#define PLACE(name, count)                                                                         \
    s.name = (void *)(scratch + at), at += ((count) * sizeof *s.name + 63) / 64 * 64
    PLACE(x, tokens * c);
    PLACE(scores, tokens * keys);
    PLACE(norm, tokens * c);
    PLACE(qkv, keys * 3 * c);
    PLACE(seen, keys * (c + BLOCK));
    PLACE(hidden, tokens * HIDDEN);
    PLACE(k, keys * c);
    PLACE(v, keys * PADDED(c / l->heads));
    s.apart = kept ? tokens * keys : 0;
    PLACE(p, kept ? l->heads * tokens * keys : tokens * keys);
    s.bytes = at;
    return s;
}

static size_t NAME(swin_scratch)(const swin_layer *l) { return NAME(lay_out)(l, NULL, 0).bytes; }

/* Attention of the tokens first … last - 1. The other tokens of the window are missing. */
TARGET static void NAME(attend)(const swin_layer *l, const NAME(places) * s, const float *bias,
                                size_t first, size_t last) {
    size_t tokens = l->window * l->window, keys = PADDED(tokens), c = l->channels;
    size_t depth = c / l->heads, rows = last - first;
    for (size_t head = 0; head < l->heads; head++, bias += tokens * keys) {
        const operand *q = s->qkv + first * 3 * c + head * depth;
        NAME(turn)(s->qkv + c + head * depth, 3 * c, keys, depth, s->k);
        NAME(pair)(s->qkv + 2 * c + head * depth, 3 * c, keys, depth, s->v);
        operand *p = s->p + head * s->apart;
        const void *queries[] = {q}, *shares[] = {p};
        product_of scores = {.a = queries,
                             .taps = 1,
                             .stride = 3 * c,
                             .rows = rows,
                             .weight = s->k,
                             .block = depth * BLOCK,
                             .steps = depth / PER,
                             .blocks = keys / BLOCK,
                             .start = bias + first * keys,
                             .start_stride = keys,
                             .out = s->scores,
                             .out_stride = keys,
                             .end = STORE};
        NAME(product)(&scores);
        NAME(softmax)(s->scores, rows, keys, p);
        /* Beyond the depth of a head this writes into the place of the next head, which is written
         * later. */
        product_of seen = {.a = shares,
                           .taps = 1,
                           .stride = keys,
                           .rows = rows,
                           .weight = s->v,
                           .block = keys * BLOCK,
                           .steps = keys / PER,
                           .blocks = PADDED(depth) / BLOCK,
                           .out = s->seen + first * (c + BLOCK) + head * depth,
                           .out_stride = c + BLOCK,
                           .end = OPERAND};
        NAME(product)(&seen);
    }
}

/* The place of token number `token` of a window in a map's rows. */
static size_t NAME(place)(const swin_layer *l, const swin_rows *r, size_t window, size_t token) {
    size_t across = r->width / l->window, row = window / across * l->window + token / l->window;
    size_t column = window % across * l->window + token % l->window + l->shift;
    return ((row - r->absent) * r->width + (column < r->width ? column : column - r->width)) *
           l->channels;
}

/* The tokens of a window that are not missing, first … last - 1, and its position biases. */
typedef struct {
    size_t first, last;
    int halved; /* whether half of the tokens are missing */
    const float *bias;
} NAME(present);

static NAME(present) NAME(find_present)(const swin_layer *l, const swin_rows *r, size_t window) {
    size_t tokens = l->window * l->window, across = r->width / l->window;
    size_t top = window / across * l->window; /* counted with absent rows */
    size_t end = r->rows + r->absent - top;
    NAME(present) t;
    t.first = top < r->absent ? (r->absent - top) * l->window : 0;
    t.last = end < l->window ? end * l->window : tokens;
    t.halved = t.first > 0 || t.last < tokens;
    size_t pattern = l->shift ? 2 * (size_t)t.halved + (window % across == across - 1) : 0;
    t.bias = l->bias + pattern * l->heads * tokens * PADDED(tokens);
    return t;
}

/* Computes channels h … h + count - 1 of the MLP's hidden layer, [rows][count], from normalised
 * rows. */
TARGET static void NAME(to_hidden)(const swin_layer *l, const operand *norm, size_t rows, size_t h,
                                   size_t count, void *hidden, int end) {
    linear_layer in = l->mlp1;
    in.out = count, in.bias += h, in.weight = (operand *)in.weight + h * in.in;
    NAME(linear)(&in, norm, l->channels, rows, hidden, count, end);
}

/* Sends channels h … h + count - 1 of the hidden layer through `layer`, to `out`:
 * [rows][channels]. */
TARGET static void NAME(from_hidden)(const linear_layer *layer, const operand *hidden, size_t rows,
                                     size_t h, size_t count, const float *start, float *out,
                                     size_t channels, int end) {
    const void *taps[] = {hidden};
    product_of p = {.a = taps,
                    .taps = 1,
                    .stride = count,
                    .rows = rows,
                    .weight = (operand *)layer->weight + h * BLOCK,
                    .block = layer->in * BLOCK,
                    .steps = count / PER,
                    .blocks = channels / BLOCK,
                    .start = start,
                    .out = out,
                    .out_stride = channels,
                    .end = end};
    NAME(product)(&p);
}

/* Writes the tokens of a window that are not missing from [tokens][channels] to the map's rows. */
TARGET static void NAME(put_back)(const swin_layer *l, const swin_rows *r, size_t window,
                                  const NAME(present) * there, const float *from) {
    size_t c = l->channels;
    for (size_t t = there->first; t < there->last; t++) {
        size_t place = NAME(place)(l, r, window, t);
        float *to = r->to + place;
        const float *of = from + t * c, *add = r->add ? r->add + place : NULL;
        if (add)
            for (size_t i = 0; i < c; i += LANES) AT(to + i) = READ(of + i) + READ(add + i);
        else memcpy(to, of, c * sizeof *to);
    }
}

TARGET static void NAME(swin)(const swin_layer *l, const swin_rows *r, size_t window,
                              void *scratch) {
    NAME(places) s = NAME(lay_out)(l, scratch, 0);
    NAME(present) there = NAME(find_present)(l, r, window);
    size_t tokens = l->window * l->window, c = l->channels;
    size_t first = there.first, last = there.last, rows = last - first;
    float *x = s.x + first * c;
    for (size_t t = first; t < last; t++)
        memcpy(s.x + t * c, r->from + NAME(place)(l, r, window, t), c * sizeof *x);

    NAME(norm)(x, rows, c, s.norm);
    if (there.halved || tokens < PADDED(tokens))
        memset(s.qkv, 0, PADDED(tokens) * 3 * c * sizeof *s.qkv);
    NAME(linear)(&l->qkv, s.norm, c, rows, s.qkv + first * 3 * c, 3 * c, OPERAND);
    NAME(attend)(l, &s, there.bias, first, last);
    NAME(linear)(&l->proj, s.seen + first * (c + BLOCK), c + BLOCK, rows, x, c, ADD);

    NAME(norm)(x, rows, c, s.norm);
    for (size_t h = 0; h < l->hidden; h += HIDDEN) {
        size_t count = l->hidden - h < HIDDEN ? l->hidden - h : HIDDEN;
        NAME(to_hidden)(l, s.norm, rows, h, count, s.hidden, GELU);
        NAME(from_hidden)(&l->mlp2, s.hidden, rows, h, count, h ? NULL : l->mlp2.bias, x, c, ADD);
    }
    NAME(put_back)(l, r, window, &there, s.x);
}
