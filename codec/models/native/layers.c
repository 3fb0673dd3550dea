/* Reads arrays and layers from Python. */
#include "module.h"

#include <stdlib.h>
#include <string.h>

/* -- arrays ------------------------------------------------------------------------ */

int array_of(PyObject *object, Py_buffer *view, size_t size, size_t count, int writable,
             const char *name) {
    int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0);
    if (PyObject_GetBuffer(object, view, flags)) {
        PyErr_Format(PyExc_BufferError, "%s is not a contiguous%s array", name,
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

/* A copy of an array, aligned to 64 bytes. The caller frees it. Returns NULL with an exception set
 * if that fails. */
static void *copy_of(PyObject *object, size_t size, size_t count, const char *name) {
    Py_buffer view;
    if (array_of(object, &view, size, count, 0, name)) return NULL;
    void *copy = aligned_alloc(64, ((size_t)view.len + 64) / 64 * 64);
    if (copy) memcpy(copy, view.buf, (size_t)view.len);
    else PyErr_NoMemory();
    PyBuffer_Release(&view);
    return copy;
}

int check(int fits, const char *message) {
    if (!fits) PyErr_SetString(PyExc_ValueError, message);
    return fits ? 0 : -1;
}

/* Reads a layer (weight, bias) with `in` inputs and `out` outputs. Call `free_linear` also after a
 * failure. */
static int read_linear(PyObject *tuple, const kernels *k, size_t in, size_t out, linear_layer *l) {
    PyObject *weight, *bias;
    if (!PyArg_ParseTuple(tuple, "OO", &weight, &bias)) return -1;
    l->in = (in + k->per - 1) / k->per * k->per, l->out = PADDED(out);
    if (!(l->weight = copy_of(weight, k->operand_size, l->in * l->out, "weight"))) return -1;
    return (l->bias = copy_of(bias, sizeof *l->bias, l->out, "bias")) ? 0 : -1;
}

static void free_linear(linear_layer *l) { free(l->weight), free(l->bias); }

/* -- layers ------------------------------------------------------------------------ */

static const char capsule_name[] = "ticodec.models.native.layer";

static void free_held(held *h) {
    if (!h) return;
    if (h->convolves) {
        for (size_t i = 0; i < MOST_PARTS; i++) free_linear(&h->layer.conv.parts[i].taps);
        free_linear(&h->layer.conv.gdn), free_linear(&h->layer.conv.gdn_back);
    } else {
        swin_layer *s = &h->layer.swin;
        free_linear(&s->qkv), free_linear(&s->proj), free_linear(&s->mlp1), free_linear(&s->mlp2);
        free_linear(&s->qkv_back), free_linear(&s->proj_back);
        free_linear(&s->mlp1_back), free_linear(&s->mlp2_back);
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

held *layer_in(PyObject *capsule, int convolves) {
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

static int read_swin_back(PyObject *layers, const kernels *k, swin_layer *l) {
    size_t c = l->channels;
    PyObject *qkv, *proj, *mlp1, *mlp2;
    return !PyArg_ParseTuple(layers, "OOOO", &qkv, &proj, &mlp1, &mlp2) ||
           read_linear(qkv, k, 3 * c, c, &l->qkv_back) ||
           read_linear(proj, k, c, c, &l->proj_back) ||
           read_linear(mlp1, k, l->hidden, c, &l->mlp1_back) ||
           read_linear(mlp2, k, c, l->hidden, &l->mlp2_back);
}

PyObject *make_swin(PyObject *self, PyObject *arguments) {
    (void)self;
    const char *set;
    Py_ssize_t c, heads, window, hidden;
    int shifted;
    PyObject *layers, *bias, *back = Py_None;
    if (!PyArg_ParseTuple(arguments, "s(nnnnp)OO|O", &set, &c, &heads, &window, &hidden, &shifted,
                          &layers, &bias, &back))
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
                             read_swin(layers, bias, h->run, l) ||
                             (back != Py_None && read_swin_back(back, h->run, l)));
}

/* Reads a part ((weight, bias), rows of taps, inputs of a run, column, row_out, column_out). */
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

PyObject *make_conv(PyObject *self, PyObject *arguments) {
    (void)self;
    const char *set;
    Py_ssize_t channels, out, down, up;
    int activation;
    PyObject *parts, *gdn, *back = Py_None;
    if (!PyArg_ParseTuple(arguments, "s(nnnni)O!O|O", &set, &channels, &out, &down, &up,
                          &activation, &PyTuple_Type, &parts, &gdn, &back))
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
    if (!failed && back != Py_None)
        failed = read_linear(back, h->run, l->out, l->out, &l->gdn_back);
    return capsule_of(h, failed);
}
