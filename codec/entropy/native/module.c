/* The extension module ticodec.entropy.native._exact, and its access to arrays. */
#include "module.h"

#include <string.h>

/* Raise this number whenever the arguments or the result of a function change.
 * `native/__init__.py` has the same number, and does not use an extension with another number. */
enum { API = 5 };

typedef struct {
    const char *letters; /* the letters that Python's struct module uses for this type */
    Py_ssize_t size;     /* in bytes */
    const char *name;
} array_kind;

static const array_kind kinds[] = {
    [INT16] = {"h", 2, "int16"},  [UINT16] = {"H", 2, "uint16"},   [INT32] = {"il", 4, "int32"},
    [INT64] = {"lq", 8, "int64"}, [FLOAT32] = {"f", 4, "float32"}, [FLOAT64] = {"d", 8, "float64"},
};

int array_of(PyObject *object, Py_buffer *view, array_type type, int writable, const char *name) {
    const array_kind *kind = &kinds[type];
    int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0);
    if (PyObject_GetBuffer(object, view, flags)) {
        PyErr_Format(PyExc_BufferError, "%s is not a contiguous%s array", name,
                     writable ? " writable" : "");
        return -1;
    }
    const char *format = view->format ? view->format : "B";
    int fits = format[0] && !format[1] && strchr(kind->letters, format[0]) &&
               view->itemsize == kind->size && (uintptr_t)view->buf % (uintptr_t)kind->size == 0;
    if (!fits) {
        PyErr_Format(PyExc_BufferError, "%s is not an array of %s", name, kind->name);
        PyBuffer_Release(view);
        return -1;
    }
    return 0;
}

int array_of_length(PyObject *object, Py_buffer *view, array_type type, int writable,
                    const char *name, size_t count) {
    if (array_of(object, view, type, writable, name)) return -1;
    if (array_length(view) != count) {
        PyErr_Format(PyExc_BufferError, "%s has %zu numbers, not %zu", name, array_length(view),
                     count);
        PyBuffer_Release(view);
        return -1;
    }
    return 0;
}

/* Adds INSTRUCTIONS: the names of the kernels that this processor can run, the fastest first. */
static int add_instructions(PyObject *module) {
    const kernels *all[MOST_SETS];
    size_t count = kernels_here(all);
    PyObject *names = PyTuple_New((Py_ssize_t)count);
    for (size_t i = 0; names && i < count; i++) {
        PyObject *name = PyUnicode_FromString(all[i]->name);
        if (!name || PyTuple_SetItem(names, (Py_ssize_t)i, name)) Py_CLEAR(names);
    }
    int failed = !names || PyModule_AddObjectRef(module, "INSTRUCTIONS", names);
    Py_XDECREF(names);
    return failed ? -1 : 0;
}

static int fill(PyObject *module) {
    if (PyModule_AddIntConstant(module, "API", API) || add_instructions(module)) return -1;
    return PyModule_AddFunctions(module, rans_methods) ||
           PyModule_AddFunctions(module, wavefront_methods) ||
           PyModule_AddFunctions(module, hyper_methods) ||
           PyModule_AddFunctions(module, job_methods);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, fill}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_exact",
    .m_doc = "The exact entropy path in C. See ticodec.entropy.native.",
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__exact(void) { return PyModuleDef_Init(&definition); }
