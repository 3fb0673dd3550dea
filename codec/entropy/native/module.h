/* What the files of the extension that know Python (module*.c) share.
 *
 * Buffers that do not fit raise BufferError, objects that are not the right capsule TypeError,
 * a reader or writer that another thread uses at that moment RuntimeError.
 */
#ifndef TICODEC_MODULE_H
#define TICODEC_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "rans.h"

/* -- arrays ------------------------------------------------------------------------ */

typedef enum { INT16, UINT16, INT32, INT64, FLOAT32, FLOAT64 } array_type;

/* Hold the buffer of a contiguous, aligned array of `type`, of any shape, as
 * `view->buf`; `view->len / view->itemsize` is how many numbers it has. Release it with
 * PyBuffer_Release.
 * writable: whether the array has to be writable. name: of the argument, for messages.
 * Returns 0, or -1 with an exception set; then there is nothing to release. */
int array_of(PyObject *object, Py_buffer *view, array_type type, int writable, const char *name);

/* The same, and it must have `count` numbers. */
int array_of_length(PyObject *object, Py_buffer *view, array_type type, int writable,
                    const char *name, size_t count);

static inline size_t array_length(const Py_buffer *view)
{
    return (size_t)(view->len / view->itemsize);
}

/* -- rANS -------------------------------------------------------------------------- */

extern PyMethodDef rans_methods[], wavefront_methods[];

/* The tables in a capsule that `tables` made; NULL with an exception set for anything else. They
 * live as long as the capsule. */
const rans_tables *tables_in(PyObject *capsule);

/* The writer or reader in a capsule, taken for this thread alone; NULL with an exception set for
 * anything else, and when it is taken already. Call these with the GIL held. Whoever takes one
 * gives it back with `give_back`, and may release the GIL in between. */
rans_writer *take_writer(PyObject *capsule);
rans_reader *take_reader(PyObject *capsule);
void give_back(PyObject *capsule);

/* Set the exception of an error code of rans.h, and return NULL. */
PyObject *raise_rans(int code);

#endif
