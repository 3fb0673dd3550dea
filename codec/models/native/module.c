/* The extension module ticodec.models.native._kernels: layers and jobs from Python.
 *
 * Buffers that do not fit raise BufferError, objects that are not the right capsule TypeError or
 * ValueError. A job may run on several threads at once, each of which calls the function: they
 * share its pieces through a counter, and wait for nothing.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdlib.h>
#include <string.h>

#include "kernels.h"

/* Raised whenever a function changes what it takes or gives. `native/__init__.py` has the same
 * number, and does not use an extension that has another. */
enum { API = 2 };

/* More than any model has; they keep products of sizes from overflowing. */
#define MOST_CHANNELS 65536
#define MOST_ROWS ((Py_ssize_t)1 << 24)

/* -- arrays ------------------------------------------------------------------------ */

/* The buffer of a contiguous array of `count` numbers of `size` bytes, aligned to them. Returns 0,
 * or -1 with an exception set; then there is nothing to release. */
static int array_of(PyObject *object, Py_buffer *view, size_t size, size_t count, int writable,
                    const char *name) {
    int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0);
    if (PyObject_GetBuffer(object, view, flags)) {
        PyErr_Format(PyExc_BufferError, "%s is no contiguous%s array", name,
                     writable ? " writable" : "");
        return -1;
    }
    if ((size_t)view->itemsize == size && (size_t)view->len == count * size &&
        (uintptr_t)view->buf % size == 0)
        return 0;
    PyErr_Format(PyExc_BufferError, "%s has %zd numbers of %zd bytes, not %zu of %zu", name,
                 view->itemsize ? view->len / view->itemsize : 0, view->itemsize, count, size);
    PyBuffer_Release(view);
    return -1;
}

/* A copy of an array, aligned to 64 bytes, for `free`; NULL with an exception set. */
static void *copy_of(PyObject *object, size_t size, size_t count, const char *name) {
    Py_buffer view;
    if (array_of(object, &view, size, count, 0, name)) return NULL;
    void *copy = aligned_alloc(64, ((size_t)view.len + 64) / 64 * 64);
    if (copy) memcpy(copy, view.buf, (size_t)view.len);
    else PyErr_NoMemory();
    PyBuffer_Release(&view);
    return copy;
}

static int check(int fits, const char *message) {
    if (!fits) PyErr_SetString(PyExc_ValueError, message);
    return fits ? 0 : -1;
}

/* A layer of (weight, bias) with `in` inputs and `out` outputs. What there is of it after a failure
 * is freed by `free_linear`. */
static int read_linear(PyObject *tuple, const kernels *k, size_t in, size_t out, linear_layer *l) {
    PyObject *weight, *bias;
    if (!PyArg_ParseTuple(tuple, "OO", &weight, &bias)) return -1;
    l->in = (in + k->per - 1) / k->per * k->per, l->out = PADDED(out);
    if (!(l->weight = copy_of(weight, k->operand_size, l->in * l->out, "weight"))) return -1;
    return (l->bias = copy_of(bias, sizeof *l->bias, l->out, "bias")) ? 0 : -1;
}

static void free_linear(linear_layer *l) { free(l->weight), free(l->bias); }

/* -- layers ------------------------------------------------------------------------ */

typedef struct {
    const kernels *run;
    int convolves; /* which of the two it is */
    union {
        swin_layer swin;
        conv_layer conv;
    } layer;
} held;

static const char capsule_name[] = "ticodec.models.native.layer";

static void free_held(held *h) {
    if (!h) return;
    if (h->convolves) {
        for (size_t i = 0; i < MOST_PARTS; i++) free_linear(&h->layer.conv.parts[i].taps);
        free_linear(&h->layer.conv.gdn);
    } else {
        swin_layer *s = &h->layer.swin;
        free_linear(&s->qkv), free_linear(&s->proj), free_linear(&s->mlp1), free_linear(&s->mlp2);
        free(s->bias);
    }
    free(h);
}

static void free_capsule(PyObject *capsule) {
    free_held(PyCapsule_GetPointer(capsule, capsule_name));
}

static held *new_held(const char *set, int convolves) {
    const kernels *run = kernels_find(set);
    if (check(run != NULL, "this processor has no such instructions")) return NULL;
    held *h = calloc(1, sizeof *h);
    if (!h) PyErr_NoMemory();
    else h->run = run, h->convolves = convolves;
    return h;
}

static PyObject *capsule_of(held *h, int failed) {
    PyObject *capsule = failed ? NULL : PyCapsule_New(h, capsule_name, free_capsule);
    if (!capsule) free_held(h);
    return capsule;
}

static held *layer_in(PyObject *capsule, int convolves) {
    held *h = PyCapsule_GetPointer(capsule, capsule_name);
    return h && check(h->convolves == convolves, "this is another kind of layer") ? NULL : h;
}

static int read_swin(PyObject *layers, PyObject *bias, const kernels *k, swin_layer *l) {
    size_t tokens = l->window * l->window, c = l->channels, patterns = l->shift ? 4 : 1;
    PyObject *qkv, *proj, *mlp1, *mlp2;
    return !PyArg_ParseTuple(layers, "OOOO", &qkv, &proj, &mlp1, &mlp2) ||
           read_linear(qkv, k, c, 3 * c, &l->qkv) || read_linear(proj, k, c, c, &l->proj) ||
           read_linear(mlp1, k, c, l->hidden, &l->mlp1) ||
           read_linear(mlp2, k, l->hidden, c, &l->mlp2) ||
           !(l->bias = copy_of(bias, sizeof *l->bias, patterns * l->heads * tokens * PADDED(tokens),
                               "bias"));
}

static PyObject *make_swin(PyObject *self, PyObject *arguments) {
    (void)self;
    const char *set;
    Py_ssize_t c, heads, window, hidden;
    int shifted;
    PyObject *layers, *bias;
    if (!PyArg_ParseTuple(arguments, "s(nnnnp)OO", &set, &c, &heads, &window, &hidden, &shifted,
                          &layers, &bias))
        return NULL;
    held *h = new_held(set, 0);
    if (!h) return NULL;
    int fits = c > 0 && c <= MOST_CHANNELS && c % BLOCK == 0 && heads > 0 && c % heads == 0 &&
               c / heads % (Py_ssize_t)h->run->per == 0 && window > 1 && window % 2 == 0 &&
               window * window <= MOST_TOKENS && hidden > 0 && hidden <= MOST_CHANNELS &&
               hidden % BLOCK == 0;
    swin_layer *l = &h->layer.swin;
    l->channels = (size_t)c, l->heads = (size_t)heads, l->window = (size_t)window;
    l->hidden = (size_t)hidden, l->shift = shifted ? l->window / 2 : 0;
    return capsule_of(h, check(fits, "no kernel for such a Swin layer") ||
                             read_swin(layers, bias, h->run, l));
}

/* A part of ((weight, bias), rows of taps, inputs of a row, column, row_out, column_out). */
static int read_part(PyObject *tuple, const kernels *k, conv_layer *l, conv_part *part) {
    PyObject *layer, *rows;
    Py_ssize_t run, column, row_out, column_out;
    if (!PyArg_ParseTuple(tuple, "OOnnnn", &layer, &rows, &run, &column, &row_out, &column_out))
        return -1;
    Py_ssize_t count = PyTuple_Size(rows), up = (Py_ssize_t)l->up;
    if (count < 0 || check(count > 0 && count <= MOST_TAPS && run > 0 && run <= MOST_CHANNELS &&
                               run % (Py_ssize_t)k->per == 0 && column >= 0 && row_out >= 0 &&
                               row_out < up && column_out >= 0 && column_out < up,
                           "no kernel for such a convolution"))
        return -1;
    part->count = (size_t)count, part->column = (size_t)column;
    part->row_out = (size_t)row_out, part->column_out = (size_t)column_out;
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_ssize_t row = PyLong_AsSsize_t(PyTuple_GetItem(rows, i));
        if (row < 0) return PyErr_Occurred() ? -1 : check(0, "a row of taps is negative");
        part->rows[i] = (size_t)row;
    }
    return read_linear(layer, k, (size_t)(run * count), l->out, &part->taps);
}

static PyObject *make_conv(PyObject *self, PyObject *arguments) {
    (void)self;
    const char *set;
    Py_ssize_t channels, out, down, up;
    int activation;
    PyObject *parts, *gdn;
    if (!PyArg_ParseTuple(arguments, "s(nnnni)O!O", &set, &channels, &out, &down, &up, &activation,
                          &PyTuple_Type, &parts, &gdn))
        return NULL;
    held *h = new_held(set, 1);
    if (!h) return NULL;
    Py_ssize_t count = PyTuple_Size(parts);
    int fits = channels > 0 && channels <= MOST_CHANNELS && out > 0 && out <= MOST_CHANNELS &&
               out % BLOCK == 0 && down > 0 && down <= 2 && up > 0 && up <= 2 && count > 0 &&
               count <= MOST_PARTS && activation >= NOTHING && activation <= INVERSE_GDN;
    conv_layer *l = &h->layer.conv;
    l->channels = (size_t)channels, l->out = (size_t)out, l->down = (size_t)down;
    l->up = (size_t)up, l->activation = activation;
    int failed = check(fits, "no kernel for such a convolution");
    for (Py_ssize_t i = 0; !failed && i < count; i++, l->count++)
        failed = read_part(PyTuple_GetItem(parts, i), h->run, l, &l->parts[i]);
    if (!failed && activation >= GDN) failed = read_linear(gdn, h->run, l->out, l->out, &l->gdn);
    return capsule_of(h, failed);
}

/* -- jobs -------------------------------------------------------------------------- */

/* The next piece that nobody has taken. */
static size_t take(int64_t *counter) {
    return (size_t)__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

static PyObject *done(void *scratch) {
    if (!scratch) return PyErr_NoMemory();
    free(scratch);
    Py_RETURN_NONE;
}

static void *scratch_of(size_t bytes) { return aligned_alloc(64, (bytes + 64) / 64 * 64); }

static PyObject *run_swin(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *capsule, *objects[4];
    Py_ssize_t rows, width, absent;
    if (!PyArg_ParseTuple(arguments, "O(nnn)OOOO", &capsule, &rows, &width, &absent, &objects[0],
                          &objects[1], &objects[2], &objects[3]))
        return NULL;
    held *h = layer_in(capsule, 0);
    if (!h) return NULL;
    const swin_layer *l = &h->layer.swin;
    Py_ssize_t window = (Py_ssize_t)l->window, half = window / 2;
    if (check(rows > 0 && rows <= MOST_ROWS && width > 0 && width <= MOST_ROWS &&
                  width % window == 0 && rows % half == 0 &&
                  (absent == 0 || (absent == half && l->shift)),
              "these are no rows of windows"))
        return NULL;
    /* from, add, to, counter */
    size_t count = (size_t)(rows * width) * l->channels, held_views = 0;
    Py_buffer views[4];
    int failed = 0, none = objects[1] == Py_None;
    for (size_t i = 0; i < 4 && !failed; i++) {
        if (i == 1 && none) objects[1] = objects[0];
        failed = array_of(objects[i], &views[i], i == 3 ? 8 : 4, i == 3 ? 1 : count, i > 1, "map");
        held_views += !failed;
    }
    PyObject *result = NULL;
    if (!failed) {
        swin_rows r = {views[0].buf,  none ? NULL : views[1].buf,
                       views[2].buf,  (size_t)rows,
                       (size_t)width, (size_t)absent};
        size_t windows = (size_t)((rows + absent + window - 1) / window * (width / window)), i;
        void *scratch = scratch_of(h->run->swin_scratch(l));
        Py_BEGIN_ALLOW_THREADS;
        if (h->run->begin) h->run->begin();
        while (scratch && (i = take(views[3].buf)) < windows) h->run->swin(l, &r, i, scratch);
        if (h->run->end) h->run->end();
        Py_END_ALLOW_THREADS;
        result = done(scratch);
    }
    while (held_views) PyBuffer_Release(&views[--held_views]);
    return result;
}

/* Rows of `numbers` float32 numbers to operands, each row at `first` of `width` of them. */
static PyObject *run_round(PyObject *self, PyObject *arguments) {
    (void)self;
    const char *set;
    PyObject *from, *to, *counter, *result = NULL;
    Py_ssize_t rows, numbers, width, first;
    if (!PyArg_ParseTuple(arguments, "s(nnnn)OOO", &set, &rows, &numbers, &width, &first, &from,
                          &to, &counter))
        return NULL;
    const kernels *run = kernels_find(set);
    const Py_ssize_t most = MOST_ROWS * MOST_CHANNELS;
    int fits = run && rows >= 0 && rows <= MOST_ROWS && numbers >= 0 && first >= 0 && width >= 0 &&
               width <= most && numbers <= width && first <= width - numbers;
    Py_buffer views[3];
    if (check(fits, "these are no rows of numbers") ||
        array_of(from, &views[0], 4, (size_t)(rows * numbers), 0, "from"))
        return NULL;
    if (!array_of(to, &views[1], run->operand_size, (size_t)(rows * width), 1, "to")) {
        if (!array_of(counter, &views[2], 8, 1, 1, "counter")) {
            size_t i, step = (size_t)width * run->operand_size;
            Py_BEGIN_ALLOW_THREADS;
            while ((i = take(views[2].buf)) < (size_t)rows)
                run->round((const float *)views[0].buf + i * (size_t)numbers, (size_t)numbers,
                           (char *)views[1].buf + i * step + (size_t)first * run->operand_size);
            Py_END_ALLOW_THREADS;
            result = Py_NewRef(Py_None);
            PyBuffer_Release(&views[2]);
        }
        PyBuffer_Release(&views[1]);
    }
    PyBuffer_Release(&views[0]);
    return result;
}

static PyObject *run_conv(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *capsule, *from, *to, *counter;
    Py_ssize_t rows_from, width_from, rows, width;
    if (!PyArg_ParseTuple(arguments, "O(nnnn)OOO", &capsule, &rows_from, &width_from, &rows, &width,
                          &from, &to, &counter))
        return NULL;
    held *h = layer_in(capsule, 1);
    if (!h) return NULL;
    const conv_layer *l = &h->layer.conv;
    int fits = rows_from > 0 && rows_from <= MOST_ROWS && width_from > 0 &&
               width_from <= MOST_ROWS && rows > 0 && rows <= MOST_ROWS && width > 0 &&
               width <= MOST_ROWS;
    /* No run of taps may end behind the rows that there are. */
    size_t from_size = fits ? (size_t)(rows_from * width_from) * l->channels : 0;
    for (size_t i = 0; fits && i < l->count; i++) {
        const conv_part *part = &l->parts[i];
        for (size_t t = 0; t < part->count; t++) {
            size_t row = l->down * (size_t)(rows - 1) + part->rows[t];
            size_t column = l->down * (size_t)(width - 1) + part->column;
            size_t end = (row * (size_t)width_from + column) * l->channels;
            fits =
                fits && row < (size_t)rows_from && end + part->taps.in / part->count <= from_size;
        }
    }
    Py_buffer views[3];
    if (check(fits, "these are no rows of such a convolution") ||
        array_of(from, &views[0], h->run->operand_size, from_size, 0, "from"))
        return NULL;
    PyObject *result = NULL;
    size_t to_size = l->up * (size_t)rows * l->up * (size_t)width * l->out;
    if (!array_of(to, &views[1], 4, to_size, 1, "to")) {
        if (!array_of(counter, &views[2], 8, 1, 1, "counter")) {
            conv_rows r = {views[0].buf, views[1].buf, (size_t)width_from, (size_t)width};
            size_t pieces = (size_t)rows * l->count, i;
            void *scratch = scratch_of(h->run->conv_scratch(l));
            Py_BEGIN_ALLOW_THREADS;
            if (h->run->begin) h->run->begin();
            while (scratch && (i = take(views[2].buf)) < pieces)
                h->run->conv(l, &r, i / l->count, i % l->count, scratch);
            if (h->run->end) h->run->end();
            Py_END_ALLOW_THREADS;
            result = done(scratch);
            PyBuffer_Release(&views[2]);
        }
        PyBuffer_Release(&views[1]);
    }
    PyBuffer_Release(&views[0]);
    return result;
}

/* -- the module -------------------------------------------------------------------- */

static PyMethodDef methods[] = {
    {"swin_layer", make_swin, METH_VARARGS,
     "swin_layer(set, (channels, heads, window, hidden, shifted), (qkv, proj, mlp1, mlp2), bias)"},
    {"conv_layer", make_conv, METH_VARARGS,
     "conv_layer(set, (channels, outputs, down, up, activation), parts, gdn)"},
    {"swin", run_swin, METH_VARARGS,
     "swin(layer, (rows, width, absent), from, add or None, to, counter)"},
    {"conv", run_conv, METH_VARARGS,
     "conv(layer, (rows from, width from, rows, width), from, to, counter)"},
    {"round", run_round, METH_VARARGS,
     "round(set, (rows, numbers, width, first), from, to, counter)"},
    {NULL, NULL, 0, NULL},
};

/* SETS: names of the kernels that this processor can run and bytes of their operands, the best ones
 * first. */
static int add_sets(PyObject *module) {
    const kernels *all[MOST_SETS];
    size_t count = kernels_here(all);
    PyObject *sets = PyTuple_New((Py_ssize_t)count);
    for (size_t i = 0; sets && i < count; i++) {
        PyObject *set = Py_BuildValue("(sn)", all[i]->name, (Py_ssize_t)all[i]->operand_size);
        if (!set || PyTuple_SetItem(sets, (Py_ssize_t)i, set)) Py_CLEAR(sets);
    }
    int failed = !sets || PyModule_AddObjectRef(module, "SETS", sets);
    Py_XDECREF(sets);
    return failed ? -1 : 0;
}

static int fill(PyObject *module) {
    if (PyModule_AddIntConstant(module, "API", API) || add_sets(module)) return -1;
    return PyModule_AddFunctions(module, methods);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, fill}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_kernels",
    .m_doc = "The transforms in C. See ticodec.models.native.",
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__kernels(void) { return PyModuleDef_Init(&definition); }
