/* Definitions that the files module.c and layers.c share: arrays and layers that come from
 * Python. */
#ifndef TICODEC_MODULE_H
#define TICODEC_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "kernels.h"

/* Limits that are larger than any model needs. They keep products of sizes from overflowing. */
#define MOST_CHANNELS 65536
#define MOST_ROWS ((Py_ssize_t)1 << 24)

/* A layer, and the kernels that run it. */
typedef struct {
    const kernels *run;
    int convolves; /* whether it is a conv_layer */
    union {
        swin_layer swin;
        conv_layer conv;
    } layer;
} held;

/* Gets the buffer of a contiguous, aligned array of `count` numbers of `size` bytes. Returns 0, or
 * -1 with an exception set. After -1 there is nothing to release. */
int array_of(PyObject *object, Py_buffer *view, size_t size, size_t count, int writable,
             const char *name);

/* Returns 0 if `fits` is not 0, and otherwise -1 with a ValueError set. */
int check(int fits, const char *message);

/* The layer in a capsule. Returns NULL with an exception set if it is not of the kind that
 * `convolves` says. */
held *layer_in(PyObject *capsule, int convolves);

/* Functions of the module that make the capsules. */
PyObject *make_swin(PyObject *self, PyObject *arguments);
PyObject *make_conv(PyObject *self, PyObject *arguments);

#endif
