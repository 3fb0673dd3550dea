/* Gradients, for kernels_body.h: the backward pass through a Swin layer, window by window in the
 * cache, and through activations.
 *
 *     x ─► norm ─► qkv ─► attend ─► proj ─► + ─► norm ─► MLP ─► +
 *     └─────────────────────────────────────┘└──────────────────┘   residuals
 *
 * The intermediate results of the forward pass that a window needs are computed again from the
 * layer's input, x. `above` is always the gradient with respect to the output of a step. From it
 * the gradient with respect to the input of the step is computed.
 */

/* The backward pass of LayerNorm of rows x. It adds to the gradient `to` of x. */
TARGET static void NAME(norm_gradient)(const float *x, const float *above, size_t rows,
                                       size_t channels, float *to) {
    float share = 1 / (float)channels;
    for (; rows; rows--, x += channels, above += channels, to += channels) {
        vec total = ALL(0), squares = ALL(0), sum = ALL(0), along = ALL(0);
        for (size_t c = 0; c < channels; c += LANES) total += READ(x + c);
        vec mean = ALL(SUM(total) * share);
        for (size_t c = 0; c < channels; c += LANES) {
            vec apart = READ(x + c) - mean, a = READ(above + c);
            squares += apart * apart, sum += a, along += a * apart;
        }
        float inverse = 1 / (SUM(squares) * share + NORM_EPSILON);
        vec factor = ALL(sqrtf(inverse)), level = ALL(SUM(sum) * share);
        vec slope = ALL(SUM(along) * share * inverse);
        for (size_t c = 0; c < channels; c += LANES)
            AT(to + c) += (READ(above + c) - level - (READ(x + c) - mean) * slope) * factor;
    }
}

/* The backward pass of softmax: probabilities p and their gradient `above`, rows of `width`, to the
 * gradient of scores. */
TARGET static void NAME(softmax_gradient)(const operand *p, const float *above, size_t rows,
                                          size_t width, operand *out) {
    for (; rows; rows--, p += width, above += width, out += width) {
        vec total = ALL(0);
        for (size_t k = 0; k < width; k += LANES) total += LOAD(p + k) * READ(above + k);
        vec mean = ALL(SUM(total));
        for (size_t k = 0; k < width; k += LANES)
            SAVE(out + k, LOAD(p + k) * (READ(above + k) - mean));
    }
}

/* Transposes a square of SIDE rows and columns. Each round of unpacking interleaves the rows i and
 * i + SIDE / 2. */
#if VECTOR == 16
#define SIDE 1
INLINE void NAME(flip_square)(const operand *from, size_t stride, operand *to) {
    (void)stride;
    *to = *from;
}
#else
#define SIDE (16 / (int)sizeof(operand))
#if PER == 2
#define UNPACK(half, a, b) _mm_unpack##half##_epi16(a, b)
#else
#define UNPACK(half, a, b) _mm_unpack##half##_epi32(a, b)
#endif
INLINE TARGET void NAME(flip_square)(const operand *from, size_t stride, operand *to) {
    __m128i a[SIDE], b[SIDE];
    for (int i = 0; i < SIDE; i++) a[i] = _mm_loadu_si128((const void *)(from + i * stride));
    for (int round = 1; round < SIDE; round *= 2) {
        for (int i = 0; i < SIDE / 2; i++) {
            b[2 * i] = UNPACK(lo, a[i], a[i + SIDE / 2]);
            b[2 * i + 1] = UNPACK(hi, a[i], a[i + SIDE / 2]);
        }
        memcpy(a, b, sizeof a);
    }
    for (int i = 0; i < SIDE; i++) _mm_storeu_si128((void *)(to + i * stride), a[i]);
}
#undef UNPACK
#endif

/* Transposes a matrix [rows][width], after rows of zeros have filled it up to [width][width]. */
TARGET static void NAME(flip)(const operand *from, size_t rows, size_t width, operand *to) {
    size_t whole = rows / SIDE * SIDE;
    for (size_t q = 0; q < whole; q += SIDE)
        for (size_t k = 0; k < width; k += SIDE)
            NAME(flip_square)(from + q * width + k, width, to + k * width + q);
    for (size_t k = 0; k < width; k++)
        for (size_t q = whole; q < width; q++)
            to[k * width + q] = q < rows ? from[q * width + k] : 0;
}

/* The places of a window's arrays in scratch: those of the forward pass, and more. */
typedef struct {
    NAME(places) s;
    float *middle, *above, *part, *before;
    operand *rounded, *q, *k, *v, *scores, *flipped, *weight;
    size_t bytes;
} NAME(gradient_places);

static NAME(gradient_places) NAME(lay_out_gradient)(const swin_layer *l, char *scratch) {
    size_t tokens = l->window * l->window, keys = PADDED(tokens), c = l->channels;
    NAME(gradient_places) s = {.s = NAME(lay_out)(l, scratch, 1)};
    size_t at = s.s.bytes;
    PLACE(middle, tokens * c);      /* the map between attention and MLP */
    PLACE(above, tokens * c);       /* the gradient of the map */
    PLACE(part, tokens * c);        /* the gradient of the output of LayerNorm */
    PLACE(before, tokens * HIDDEN); /* the input of GELU */
    PLACE(rounded, tokens * c);     /* `above` as operands */
    PLACE(q, keys * (c + BLOCK));   /* gradients of q, k and v */
    PLACE(k, keys * (c + BLOCK));
    PLACE(v, keys * (c + BLOCK));
    PLACE(scores, tokens * keys); /* the gradients of the scores of a head */
    PLACE(flipped, keys * keys);
    PLACE(weight, keys * PADDED(c / l->heads)); /* k, q or v of a head, as weights */
    s.bytes = at;
    return s;
}

static size_t NAME(swin_gradient_scratch)(const swin_layer *l) {
    return NAME(lay_out_gradient)(l, NULL).bytes;
}

/* Multiplies rows of `from`, [width] each, by a head's weights [keys][depth]. The results go to
 * `out` as operands. */
TARGET static void NAME(mix)(const operand *from, size_t rows, size_t width, const operand *weight,
                             size_t depth, operand *out, size_t out_stride) {
    const void *taps[] = {from};
    product_of p = {.a = taps,
                    .taps = 1,
                    .stride = width,
                    .rows = rows,
                    .weight = weight,
                    .block = width * BLOCK,
                    .steps = width / PER,
                    .blocks = PADDED(depth) / BLOCK,
                    .out = out,
                    .out_stride = out_stride,
                    .end = OPERAND};
    NAME(product)(&p);
}

/* The backward pass of attention: from the gradient of its result, s.seen, to the gradients of q, k
 * and v. Like the forward pass it writes beyond the depth of a head, into the place of the next
 * head, which is written later. */
TARGET static void NAME(attend_gradient)(const swin_layer *l, const NAME(gradient_places) * g) {
    const NAME(places) *s = &g->s;
    size_t tokens = l->window * l->window, keys = PADDED(tokens), c = l->channels;
    size_t depth = c / l->heads, stride = c + BLOCK;
    for (size_t head = 0; head < l->heads; head++) {
        const operand *q = s->qkv + head * depth, *k = q + c, *v = k + c;
        const operand *seen = s->seen + head * depth, *p = s->p + head * s->apart;
        const void *rows[] = {seen};
        NAME(turn)(v, 3 * c, keys, depth, g->weight);
        product_of shares = {.a = rows,
                             .taps = 1,
                             .stride = stride,
                             .rows = tokens,
                             .weight = g->weight,
                             .block = depth * BLOCK,
                             .steps = depth / PER,
                             .blocks = keys / BLOCK,
                             .out = s->scores,
                             .out_stride = keys,
                             .end = STORE};
        NAME(product)(&shares);
        NAME(softmax_gradient)(p, s->scores, tokens, keys, g->scores);
        NAME(pair)(k, 3 * c, keys, depth, g->weight);
        NAME(mix)(g->scores, tokens, keys, g->weight, depth, g->q + head * depth, stride);
        NAME(flip)(g->scores, tokens, keys, g->flipped);
        NAME(pair)(q, 3 * c, keys, depth, g->weight);
        NAME(mix)(g->flipped, tokens, keys, g->weight, depth, g->k + head * depth, stride);
        NAME(flip)(p, tokens, keys, g->flipped);
        NAME(pair)(seen, stride, keys, depth, g->weight);
        NAME(mix)(g->flipped, tokens, keys, g->weight, depth, g->v + head * depth, stride);
    }
}

/* The backward pass of the MLP: from `rounded` to the gradient `part` of the MLP's input,
 * s.norm. */
TARGET static void NAME(mlp_gradient)(const swin_layer *l, const NAME(gradient_places) * g) {
    const NAME(places) *s = &g->s;
    size_t tokens = l->window * l->window, c = l->channels;
    for (size_t h = 0; h < l->hidden; h += HIDDEN) {
        size_t count = l->hidden - h < HIDDEN ? l->hidden - h : HIDDEN;
        NAME(to_hidden)(l, s->norm, tokens, h, count, g->before, STORE);
        const void *above[] = {g->rounded};
        product_of slopes = {.a = above,
                             .taps = 1,
                             .stride = c,
                             .rows = tokens,
                             .weight = (operand *)l->mlp2_back.weight + h * l->mlp2_back.in,
                             .block = l->mlp2_back.in * BLOCK,
                             .steps = c / PER,
                             .blocks = count / BLOCK,
                             .out = s->hidden,
                             .out_stride = count,
                             .slope = g->before,
                             .end = GELU_SLOPE};
        NAME(product)(&slopes);
        NAME(from_hidden)(&l->mlp1_back, s->hidden, tokens, h, count, NULL, g->part, c,
                          h ? ADD : STORE);
    }
}

/* Missing tokens are zeros, and so are the gradients with respect to their outputs. No other tokens
 * see the missing ones, so the gradients of the others do not change. */
TARGET static void NAME(swin_gradient)(const swin_layer *l, const swin_rows *r, const float *above,
                                       size_t window, void *scratch) {
    NAME(gradient_places) g = NAME(lay_out_gradient)(l, scratch);
    const NAME(places) *s = &g.s;
    size_t tokens = l->window * l->window, keys = PADDED(tokens), c = l->channels;
    NAME(present) there = NAME(find_present)(l, r, window);
    if (there.halved) {
        memset(s->x, 0, tokens * c * sizeof *s->x);
        memset(g.above, 0, tokens * c * sizeof *g.above);
    }
    for (size_t t = there.first; t < there.last; t++) {
        size_t place = NAME(place)(l, r, window, t);
        memcpy(s->x + t * c, r->from + place, c * sizeof *s->x);
        memcpy(g.above + t * c, above + place, c * sizeof *g.above);
    }
    /* Products take whole blocks of tokens. */
    memset(s->qkv + tokens * 3 * c, 0, (keys - tokens) * 3 * c * sizeof(operand));
    memset(s->seen + tokens * (c + BLOCK), 0, (keys - tokens) * (c + BLOCK) * sizeof(operand));

    NAME(norm)(s->x, tokens, c, s->norm);
    NAME(linear)(&l->qkv, s->norm, c, tokens, s->qkv, 3 * c, OPERAND);
    NAME(attend)(l, s, there.bias, 0, tokens);
    memcpy(g.middle, s->x, tokens * c * sizeof *s->x);
    NAME(linear)(&l->proj, s->seen, c + BLOCK, tokens, g.middle, c, ADD);
    NAME(norm)(g.middle, tokens, c, s->norm);

    NAME(round)(g.above, tokens * c, g.rounded);
    NAME(mlp_gradient)(l, &g);
    NAME(norm_gradient)(g.middle, g.part, tokens, c, g.above);

    NAME(round)(g.above, tokens * c, g.rounded);
    NAME(linear)(&l->proj_back, g.rounded, c, tokens, s->seen, c + BLOCK, OPERAND);
    NAME(attend_gradient)(l, &g);
    const void *taps[] = {g.q, g.k, g.v};
    product_of p = {.a = taps,
                    .taps = 3,
                    .stride = c + BLOCK,
                    .rows = tokens,
                    .weight = l->qkv_back.weight,
                    .block = l->qkv_back.in * BLOCK,
                    .steps = c / PER,
                    .blocks = c / BLOCK,
                    .out = g.part,
                    .out_stride = c,
                    .end = STORE};
    NAME(product)(&p);
    NAME(norm_gradient)(s->x, g.part, tokens, c, g.above);

    NAME(put_back)(l, r, window, &there, g.above);
}

static size_t NAME(activation_gradient_scratch)(const conv_layer *l) {
    return 2 * POSITIONS * l->out * (sizeof(operand) + sizeof(float));
}

/* INVERSE_GDN computes x · n with n = β + Γ|x|. So its backward pass turns the gradient a into
 * a · n + sign(x) · Γᵀ(a · x). */
TARGET static void NAME(activation_gradient)(const conv_layer *l, const float *kept,
                                             const float *above, size_t positions, void *to,
                                             void *scratch) {
    operand *out = to;
    size_t numbers = positions * l->out;
    if (l->activation == NOTHING) NAME(round)(above, numbers, out);
    if (l->activation == LEAKY_RELU)
        for (size_t i = 0; i < numbers; i += LANES) {
            vec a = READ(above + i), less = a * LEAKY_SLOPE;
            NAME(integers) positive = READ(kept + i) > 0;
            SAVE(out + i,
                 (vec)((positive & (NAME(integers))a) | (~positive & (NAME(integers))less)));
        }
    if (l->activation < GDN) return;
    float *norm = scratch, *across = norm + POSITIONS * l->out;
    operand *sizes = (operand *)(across + POSITIONS * l->out), *both = sizes + POSITIONS * l->out;
    for (size_t first = 0; first < positions; first += POSITIONS) {
        size_t count = positions - first < POSITIONS ? positions - first : POSITIONS;
        const float *x = kept + first * l->out, *a = above + first * l->out;
        for (size_t i = 0; i < count * l->out; i += LANES) {
            vec value = READ(x + i);
            SAVE(sizes + i, MAX(value, -value));
            SAVE(both + i, value * READ(a + i));
        }
        NAME(linear)(&l->gdn, sizes, l->out, count, norm, l->out, STORE);
        NAME(linear)(&l->gdn_back, both, l->out, count, across, l->out, STORE);
        operand *o = out + first * l->out;
        for (size_t i = 0; i < count * l->out; i += LANES) {
            NAME(integers) sign = (NAME(integers))READ(x + i) & INT32_MIN;
            vec side = (vec)(sign ^ (NAME(integers))READ(across + i));
            SAVE(o + i, READ(a + i) * READ(norm + i) + side);
        }
    }
}
