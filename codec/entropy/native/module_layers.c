/* Reads layers and tables from Python. See module.h and native/pack.py. */
#include "module.h"

#include <stdlib.h>
#include <string.h>

void *copy_of(PyObject *object, array_type type, const char *name, size_t count) {
    Py_buffer view;
    if (array_of_length(object, &view, type, 0, name, count)) return NULL;
    void *copy = malloc(view.len ? (size_t)view.len : 1);
    if (copy) memcpy(copy, view.buf, (size_t)view.len);
    else PyErr_NoMemory();
    PyBuffer_Release(&view);
    return copy;
}

int read_layer(PyObject *layers, size_t number, size_t in, size_t out, layer *l) {
    static const char *name = "layer";
    PyObject *tuple = PyTuple_GetItem(layers, (Py_ssize_t)number), *weight, *bias, *scale;
    /* The weight's size does not show the number of inputs, because it is padded to an even one. */
    Py_ssize_t inputs;
    if (!tuple || !PyArg_ParseTuple(tuple, "OOOdn", &weight, &bias, &scale, &l->limit, &inputs))
        return -1;
    if (inputs < 0 || (size_t)inputs != in) {
        PyErr_Format(PyExc_BufferError, "a layer has %zd inputs, not %zu", inputs, in);
        return -1;
    }
    l->in = in, l->out = out;
    if (!(l->weight = copy_of(weight, INT16, name, PADDED(out) * 2 * PAIRS(in)))) return -1;
    if (!(l->bias = copy_of(bias, FLOAT64, name, PADDED(out)))) return -1;
    if (!(l->scale = copy_of(scale, FLOAT64, name, PADDED(out)))) return -1;
    layer_measure(l);
    return 0;
}

int read_curve(PyObject *curves, size_t number, curve *c) {
    PyObject *object = PyTuple_GetItem(curves, (Py_ssize_t)number);
    Py_buffer view;
    if (!object || array_of(object, &view, INT32, 0, "curve")) return -1;
    c->size = array_length(&view);
    PyBuffer_Release(&view);
    if (!c->size || c->size > INT32_MAX) {
        PyErr_SetString(PyExc_BufferError, "a curve needs 1 to 2^31 - 1 entries");
        return -1;
    }
    return (c->table = copy_of(object, INT32, "curve", c->size)) ? 0 : -1;
}

void free_layer(layer *l) { free(l->weight), free(l->bias), free(l->scale); }
