/* What the C files of the extension module share: arrays and layers that come from Python. */
#ifndef TICODEC_MODULE_H
#define TICODEC_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "kernels.h"

/* More than any model has; they keep products of sizes from overflowing. */
#define MOST_CHANNELS 65536
#define MOST_ROWS ((Py_ssize_t)1 << 24)

/* A layer, and the kernels that run it. */
typedef struct {
    const kernels *run;
    int convolves; /* which of the two it is */
    union {
        swin_layer swin;
        conv_layer conv;
    } layer;
} held;

/* The buffer of a contiguous array of `count` numbers of `size` bytes, aligned to them. Returns 0,
 * or -1 with an exception set; then there is nothing to release. */
int array_of(PyObject *object, Py_buffer *view, size_t size, size_t count, int writable,
             const char *name);

/* 0 where it fits, or -1 with a ValueError set. */
int check(int fits, const char *message);

/* The layer in a capsule of that kind; NULL with an exception set. */
held *layer_in(PyObject *capsule, int convolves);

/* Functions of the module. They make the capsules. */
PyObject *make_swin(PyObject *self, PyObject *arguments);
PyObject *make_conv(PyObject *self, PyObject *arguments);

#endif
