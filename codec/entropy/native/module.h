/* What the files of the extension that know Python (module*.c) share.
 *
 * Buffers that do not fit raise BufferError, objects that are not the right capsule TypeError,
 * a reader or writer that another thread uses at that moment RuntimeError.
 */
#ifndef TICODEC_MODULE_H
#define TICODEC_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdatomic.h>

#include "layers.h"
#include "rans.h"
#include "team.h"

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

static inline size_t array_length(const Py_buffer *view) {
    return (size_t)(view->len / view->itemsize);
}

/* -- rANS -------------------------------------------------------------------------- */

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

/* -- layers ------------------------------------------------------------------------ */

/* More than any model has; they keep products of sizes from overflowing. */
#define MOST_CHANNELS 65536
#define MOST_CELLS ((size_t)1 << 40)

/* A copy of an array of `count` numbers, for `free`; NULL with an exception set if it is not that.
 */
void *copy_of(PyObject *object, array_type type, const char *name, size_t count);

/* Number `number` of a tuple of layers, (weight, bias, scale, limit), which has these sizes.
 * -1 with an exception set if it is not that. What there is of it is freed by `free_layer`. */
int read_layer(PyObject *layers, size_t number, size_t in, size_t out, layer *l);
void free_layer(layer *l);

/* Number `number` of a tuple of tables. The owner frees `c->table`. */
int read_curve(PyObject *curves, size_t number, curve *c);

/* -- jobs -------------------------------------------------------------------------- */

/* Work that threads of Python do together without the GIL: each calls `run` with its number. */
typedef struct {
    void *work; /* NULL until there is some */
    /* Thread 0 may call `interrupted` now and then; the work ends when it gives anything but 0.
     * Returns 0, an error of rans.h, or what `interrupted` gave. */
    int (*run_work)(void *work, size_t thread, int (*interrupted)(void *), void *context);
    void (*free_work)(void *work);
    size_t threads, views_held, coders_held;
    Py_buffer *views;  /* held until the job ends */
    PyObject **coders; /* capsules taken, given back when it ends */
    PyObject *arguments;
    atomic_flag *started; /* of each thread */
    team team;            /* gathers before the work begins */
} job;

/* A capsule with an empty job, which has room for so many views and coders, and keeps the arguments
 * alive; NULL with an exception set. */
PyObject *job_make(PyObject *arguments, Py_ssize_t threads, size_t views, size_t coders,
                   job **made);

/* The buffer of an array of `count` numbers, held until the job ends; NULL with an exception set.
 */
void *job_hold(job *j, PyObject *object, array_type type, int writable, const char *name,
               size_t count);

/* -- functions of the module ------------------------------------------------------- */

extern PyMethodDef rans_methods[], wavefront_methods[], hyper_methods[], job_methods[];

#endif
