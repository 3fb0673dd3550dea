/* Definitions for the files of the extension that use Python's C API (module*.c).
 *
 * A buffer that does not fit raises BufferError. An object that is not the right capsule raises
 * TypeError. A reader or writer that another thread is using raises RuntimeError.
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

/* Holds the buffer of a contiguous, aligned array of `type`, of any shape, as `view->buf`. It has
 * `view->len / view->itemsize` numbers. Release it with PyBuffer_Release.
 * writable: whether the array has to be writable.
 * name: the name of the argument, for messages.
 * Returns 0, or -1 with an exception set. After -1 there is nothing to release. */
int array_of(PyObject *object, Py_buffer *view, array_type type, int writable, const char *name);

/* `array_of` for an array that must have `count` numbers. */
int array_of_length(PyObject *object, Py_buffer *view, array_type type, int writable,
                    const char *name, size_t count);

static inline size_t array_length(const Py_buffer *view) {
    return (size_t)(view->len / view->itemsize);
}

/* -- rANS -------------------------------------------------------------------------- */

/* The tables in a capsule that `tables` made. They live as long as the capsule. Returns NULL with
 * an exception set for any other object. */
const rans_tables *tables_in(PyObject *capsule);

/* Take the writer or reader in a capsule for this thread alone. Return NULL with an exception set
 * for any other object, and if the writer or reader is already taken. Call these with the GIL held.
 * Afterwards call `give_back`. The GIL may be released in between. */
rans_writer *take_writer(PyObject *capsule);
rans_reader *take_reader(PyObject *capsule);
void give_back(PyObject *capsule);

/* Sets the exception for an error code of rans.h, and returns NULL. */
PyObject *raise_rans(int code);

/* -- layers ------------------------------------------------------------------------ */

/* Limits that are larger than any model needs. They keep products of sizes from overflowing. */
#define MOST_CHANNELS 65536
#define MOST_CELLS ((size_t)1 << 40)

/* A copy of an array of `count` numbers. The caller frees it. Returns NULL with an exception set if
 * the object is no such array. */
void *copy_of(PyObject *object, array_type type, const char *name, size_t count);

/* Reads layer number `number` of a tuple of layers (weight, bias, scale, limit, inputs). It must
 * have these sizes.
 * Returns 0, or -1 with an exception set. Call `free_layer` in both cases. */
int read_layer(PyObject *layers, size_t number, size_t in, size_t out, layer *l);
void free_layer(layer *l);

/* Reads table number `number` of a tuple of tables. The caller frees `c->table`.
 * Returns 0, or -1 with an exception set. */
int read_curve(PyObject *curves, size_t number, curve *c);

/* -- jobs -------------------------------------------------------------------------- */

/* Work that Python threads do together without the GIL. Each thread calls `run` with its number. */
typedef struct {
    void *work; /* NULL until it is made */
    /* Thread 0 may call `interrupted` now and then. If that returns anything but 0, the work ends.
     * Returns 0, an error of rans.h, or the result of `interrupted`. */
    int (*run_work)(void *work, size_t thread, int (*interrupted)(void *), void *context);
    void (*free_work)(void *work);
    size_t threads, views_held, coders_held;
    Py_buffer *views;  /* held until the job ends */
    PyObject **coders; /* the capsules that were taken; they are given back when the job ends */
    PyObject *arguments;
    atomic_flag *started; /* for each thread, whether it has called `run` */
    team team;            /* gathers before the work begins */
} job;

/* A capsule with an empty job. The job has room for `views` views and `coders` coders, and keeps
 * the arguments alive. Returns NULL with an exception set if that fails. */
PyObject *job_make(PyObject *arguments, Py_ssize_t threads, size_t views, size_t coders,
                   job **made);

/* The buffer of an array of `count` numbers, held until the job ends. Returns NULL with an
 * exception set if the object is no such array. */
void *job_hold(job *j, PyObject *object, array_type type, int writable, const char *name,
               size_t count);

/* -- functions of the module ------------------------------------------------------- */

extern PyMethodDef rans_methods[], wavefront_methods[], hyper_methods[], job_methods[];

#endif
