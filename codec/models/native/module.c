/* The extension module ticodec.models.native._kernels: layers and jobs from Python.
 *
 * A buffer that does not fit raises BufferError. An object that is not the right capsule raises
 * TypeError or ValueError. Several threads may work on one job at once. Each of them calls the
 * function. They share the pieces of the job through a counter, and do not wait for each other.
 */
#include "module.h"

#include <stdlib.h>
#include <string.h>

/* Raise this number whenever the arguments or the result of a function change.
 * `native/__init__.py` has the same number, and does not use an extension with another number. */
enum { API = 3 };

/* -- jobs -------------------------------------------------------------------------- */

/* Takes the next piece of the job. */
static size_t take(int64_t *counter) {
    return (size_t)__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

static PyObject *done(void *scratch) {
    if (!scratch) return PyErr_NoMemory();
    free(scratch);
    Py_RETURN_NONE;
}

static void *scratch_of(size_t bytes) { return aligned_alloc(64, (bytes + 64) / 64 * 64); }

/* An array that a job needs. */
typedef struct {
    PyObject *object; /* NULL if the array is left out */
    size_t size, count;
    int writable;
    const char *name;
} array;

/* Gets the buffers of arrays. If an array is left out, `buf` of its buffer is NULL. Returns 0, or
 * -1 with an exception set. Call `release` for all of them in both cases. */
static int arrays_of(const array *wanted, size_t count, Py_buffer *views) {
    memset(views, 0, count * sizeof *views);
    for (size_t i = 0; i < count; i++) {
        const array *a = &wanted[i];
        if (a->object && array_of(a->object, &views[i], a->size, a->count, a->writable, a->name))
            return -1;
    }
    return 0;
}

static void release(Py_buffer *views, size_t count) {
    while (count) PyBuffer_Release(&views[--count]);
}

static PyObject *unless_none(PyObject *object) { return object == Py_None ? NULL : object; }

/* The function `swin`, or `swin_gradient` if `back`. */
static PyObject *swin_job(PyObject *arguments, int back) {
    PyObject *capsule, *from, *add, *above = NULL, *to, *counter;
    Py_ssize_t rows, width, absent;
    if (back ? !PyArg_ParseTuple(arguments, "O(nnn)OOOOO", &capsule, &rows, &width, &absent, &from,
                                 &above, &add, &to, &counter)
             : !PyArg_ParseTuple(arguments, "O(nnn)OOOO", &capsule, &rows, &width, &absent, &from,
                                 &add, &to, &counter))
        return NULL;
    held *h = layer_in(capsule, 0);
    if (!h) return NULL;
    const swin_layer *l = &h->layer.swin;
    Py_ssize_t window = (Py_ssize_t)l->window, half = window / 2;
    if (check(rows > 0 && rows <= MOST_ROWS && width > 0 && width <= MOST_ROWS &&
                  width % window == 0 && rows % half == 0 &&
                  (absent == 0 || (absent == half && l->shift)),
              "these are not rows of windows") ||
        check(!back || l->mlp2_back.weight, "this layer was made without gradients"))
        return NULL;
    size_t count = (size_t)(rows * width) * l->channels;
    const array wanted[] = {{from, 4, count, 0, "from"},
                            {unless_none(add), 4, count, 0, "add"},
                            {above, 4, count, 0, "above"},
                            {to, 4, count, 1, "to"},
                            {counter, 8, 1, 1, "counter"}};
    Py_buffer views[5];
    PyObject *result = NULL;
    if (!arrays_of(wanted, 5, views)) {
        swin_rows r = {views[0].buf, views[1].buf,  views[3].buf,
                       (size_t)rows, (size_t)width, (size_t)absent};
        size_t windows = (size_t)((rows + absent + window - 1) / window * (width / window)), i;
        const kernels *k = h->run;
        void *scratch = scratch_of(back ? k->swin_gradient_scratch(l) : k->swin_scratch(l));
        Py_BEGIN_ALLOW_THREADS;
        if (k->begin) k->begin();
        while (scratch && (i = take(views[4].buf)) < windows)
            if (back) k->swin_gradient(l, &r, views[2].buf, i, scratch);
            else k->swin(l, &r, i, scratch);
        if (k->end) k->end();
        Py_END_ALLOW_THREADS;
        result = done(scratch);
    }
    release(views, 5);
    return result;
}

static PyObject *run_swin(PyObject *self, PyObject *arguments) {
    (void)self;
    return swin_job(arguments, 0);
}

static PyObject *run_swin_gradient(PyObject *self, PyObject *arguments) {
    (void)self;
    return swin_job(arguments, 1);
}

/* Whether the sizes are allowed for `rows` rows of `numbers` numbers each, which are written as
 * operands to rows of `width`, from operand `first` on. */
static int fit_rows(Py_ssize_t rows, Py_ssize_t numbers, Py_ssize_t width, Py_ssize_t first) {
    const Py_ssize_t most = MOST_ROWS * MOST_CHANNELS;
    return rows >= 0 && rows <= MOST_ROWS && numbers >= 0 && first >= 0 && width >= 0 &&
           width <= most && numbers <= width && first <= width - numbers;
}

static PyObject *run_round(PyObject *self, PyObject *arguments) {
    (void)self;
    const char *set;
    PyObject *from, *to, *counter, *result = NULL;
    Py_ssize_t rows, numbers, width, first;
    if (!PyArg_ParseTuple(arguments, "s(nnnn)OOO", &set, &rows, &numbers, &width, &first, &from,
                          &to, &counter))
        return NULL;
    const kernels *run = kernels_find(set);
    if (check(run && fit_rows(rows, numbers, width, first), "these are not rows of numbers"))
        return NULL;
    const array wanted[] = {{from, 4, (size_t)(rows * numbers), 0, "from"},
                            {to, run->operand_size, (size_t)(rows * width), 1, "to"},
                            {counter, 8, 1, 1, "counter"}};
    Py_buffer views[3];
    if (!arrays_of(wanted, 3, views)) {
        size_t i, step = (size_t)width * run->operand_size;
        Py_BEGIN_ALLOW_THREADS;
        while ((i = take(views[2].buf)) < (size_t)rows)
            run->round((const float *)views[0].buf + i * (size_t)numbers, (size_t)numbers,
                       (char *)views[1].buf + i * step + (size_t)first * run->operand_size);
        Py_END_ALLOW_THREADS;
        result = Py_NewRef(Py_None);
    }
    release(views, 3);
    return result;
}

static PyObject *run_activation_gradient(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *capsule, *kept, *above, *to, *counter, *result = NULL;
    Py_ssize_t rows, numbers, width, first;
    if (!PyArg_ParseTuple(arguments, "O(nnnn)OOOO", &capsule, &rows, &numbers, &width, &first,
                          &kept, &above, &to, &counter))
        return NULL;
    held *h = layer_in(capsule, 1);
    if (!h) return NULL;
    const conv_layer *l = &h->layer.conv;
    if (check(fit_rows(rows, numbers, width, first) && numbers % (Py_ssize_t)l->out == 0,
              "these are not rows of such a layer") ||
        check(l->activation != GDN && (l->activation != INVERSE_GDN || l->gdn_back.weight),
              "this layer was made without gradients") ||
        check(l->activation == NOTHING || kept != Py_None, "the argument `kept` is missing"))
        return NULL;
    size_t count = (size_t)(rows * numbers), size = h->run->operand_size;
    const array wanted[] = {{unless_none(kept), 4, count, 0, "kept"},
                            {above, 4, count, 0, "above"},
                            {to, size, (size_t)(rows * width), 1, "to"},
                            {counter, 8, 1, 1, "counter"}};
    Py_buffer views[4];
    if (!arrays_of(wanted, 4, views)) {
        const float *of = views[0].buf, *gradient = views[1].buf;
        char *out = (char *)views[2].buf + (size_t)first * size;
        size_t i, step = (size_t)numbers;
        const kernels *k = h->run;
        void *scratch = scratch_of(k->activation_gradient_scratch(l));
        Py_BEGIN_ALLOW_THREADS;
        if (k->begin) k->begin();
        while (scratch && (i = take(views[3].buf)) < (size_t)rows)
            k->activation_gradient(l, of ? of + i * step : NULL, gradient + i * step, step / l->out,
                                   out + i * (size_t)width * size, scratch);
        if (k->end) k->end();
        Py_END_ALLOW_THREADS;
        result = done(scratch);
    }
    release(views, 4);
    return result;
}

static PyObject *run_conv(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *capsule, *from, *to, *counter, *kept = Py_None;
    Py_ssize_t rows_from, width_from, rows, width;
    if (!PyArg_ParseTuple(arguments, "O(nnnn)OOO|O", &capsule, &rows_from, &width_from, &rows,
                          &width, &from, &to, &counter, &kept))
        return NULL;
    held *h = layer_in(capsule, 1);
    if (!h) return NULL;
    const conv_layer *l = &h->layer.conv;
    int fits = rows_from > 0 && rows_from <= MOST_ROWS && width_from > 0 &&
               width_from <= MOST_ROWS && rows > 0 && rows <= MOST_ROWS && width > 0 &&
               width <= MOST_ROWS;
    /* No run of taps may end after the last of the rows. */
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
    if (check(fits, "these are not rows of such a convolution")) return NULL;
    size_t to_size = l->up * (size_t)rows * l->up * (size_t)width * l->out;
    const array wanted[] = {{from, h->run->operand_size, from_size, 0, "from"},
                            {to, 4, to_size, 1, "to"},
                            {unless_none(kept), 4, to_size, 1, "kept"},
                            {counter, 8, 1, 1, "counter"}};
    Py_buffer views[4];
    PyObject *result = NULL;
    if (!arrays_of(wanted, 4, views)) {
        conv_rows r = {views[0].buf, views[1].buf, views[2].buf, (size_t)width_from, (size_t)width};
        size_t pieces = (size_t)rows * l->count, i;
        const kernels *k = h->run;
        void *scratch = scratch_of(k->conv_scratch(l));
        Py_BEGIN_ALLOW_THREADS;
        if (k->begin) k->begin();
        while (scratch && (i = take(views[3].buf)) < pieces)
            k->conv(l, &r, i / l->count, i % l->count, scratch);
        if (k->end) k->end();
        Py_END_ALLOW_THREADS;
        result = done(scratch);
    }
    release(views, 4);
    return result;
}

/* -- the module -------------------------------------------------------------------- */

static PyMethodDef methods[] = {
    {"swin_layer", make_swin, METH_VARARGS,
     "swin_layer(set, (channels, heads, window, hidden, shifted), (qkv, proj, mlp1, mlp2), bias, "
     "the same four transposed or None)"},
    {"conv_layer", make_conv, METH_VARARGS,
     "conv_layer(set, (channels, outputs, down, up, activation), parts, gdn, "
     "the same transposed or None)"},
    {"swin", run_swin, METH_VARARGS,
     "swin(layer, (rows, width, absent), from, add or None, to, counter)"},
    {"swin_gradient", run_swin_gradient, METH_VARARGS,
     "swin_gradient(layer, (rows, width, absent), from, above, add or None, to, counter)"},
    {"conv", run_conv, METH_VARARGS,
     "conv(layer, (rows from, width from, rows, width), from, to, counter, kept or None)"},
    {"activation_gradient", run_activation_gradient, METH_VARARGS,
     "activation_gradient(layer, (rows, numbers, width, first), kept or None, above, to, counter)"},
    {"round", run_round, METH_VARARGS,
     "round(set, (rows, numbers, width, first), from, to, counter)"},
    {NULL, NULL, 0, NULL},
};

/* Adds SETS: the names of the sets of kernels that this processor can run, with the bytes of their
 * operands. For each type of operands the fastest set comes first. */
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
