/* The functions of rans.h for Python. Tables, writers and readers are capsules. */
#include "module.h"

#include <stdlib.h>

#define TABLES "ticodec.rans.tables"
#define WRITER "ticodec.rans.writer"
#define READER "ticodec.rans.reader"

/* The content of the capsule of a writer or reader. */
typedef struct {
    void *coder;
    int taken; /* only read and written with the GIL held */
} holder;

PyObject *raise_rans(int code) {
    switch (code) {
    case RANS_NO_MEMORY:
        return PyErr_NoMemory();
    case RANS_BAD_TABLES:
        PyErr_SetString(PyExc_ValueError, "these numbers are not entropy tables");
        break;
    case RANS_BAD_INDEX:
        PyErr_SetString(PyExc_IndexError, "no entropy table has this number");
        break;
    case RANS_TOO_FAR:
        PyErr_SetString(PyExc_ValueError, "a value is too far outside its table");
        break;
    case RANS_ENDS_EARLY:
        PyErr_SetString(PyExc_ValueError, "the entropy stream ends too early");
        break;
    case RANS_IMPOSSIBLE:
        PyErr_SetString(PyExc_ValueError, "impossible symbol in an entropy stream");
        break;
    default:
        PyErr_Format(PyExc_SystemError, "unknown error code of the coder: %d", code);
    }
    return NULL;
}

/* -- capsules ---------------------------------------------------------------------- */

const rans_tables *tables_in(PyObject *capsule) {
    if (!PyCapsule_IsValid(capsule, TABLES)) {
        PyErr_SetString(PyExc_TypeError, "this is not a ticodec.rans.tables");
        return NULL;
    }
    return PyCapsule_GetPointer(capsule, TABLES);
}

static void *take(PyObject *capsule, const char *name) {
    if (!PyCapsule_IsValid(capsule, name)) {
        PyErr_Format(PyExc_TypeError, "this is not a %s", name);
        return NULL;
    }
    holder *held = PyCapsule_GetPointer(capsule, name);
    if (held->taken) {
        PyErr_Format(PyExc_RuntimeError, "another thread uses this %s", name);
        return NULL;
    }
    held->taken = 1;
    return held->coder;
}

rans_writer *take_writer(PyObject *capsule) { return take(capsule, WRITER); }

rans_reader *take_reader(PyObject *capsule) { return take(capsule, READER); }

void give_back(PyObject *capsule) {
    holder *held = PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule));
    held->taken = 0;
}

static void drop_tables(PyObject *capsule) {
    rans_tables_free(PyCapsule_GetPointer(capsule, TABLES));
}

static void drop_writer(PyObject *capsule) {
    holder *held = PyCapsule_GetPointer(capsule, WRITER);
    rans_writer_free(held->coder);
    free(held);
}

static void drop_reader(PyObject *capsule) {
    holder *held = PyCapsule_GetPointer(capsule, READER);
    rans_reader_free(held->coder);
    free(held);
}

/* A capsule that owns `coder`. Returns NULL with an exception set if that fails. Then the caller
 * still owns the coder. */
static PyObject *hold(void *coder, const char *name, PyCapsule_Destructor drop) {
    holder *held = coder ? malloc(sizeof *held) : NULL;
    if (!held) return PyErr_NoMemory();
    *held = (holder){coder, 0};
    PyObject *capsule = PyCapsule_New(held, name, drop);
    if (!capsule) free(held);
    return capsule;
}

/* -- functions --------------------------------------------------------------------- */

static PyObject *make_tables(PyObject *Py_UNUSED(module), PyObject *arguments) {
    PyObject *first, *second, *capsule = NULL;
    Py_buffer halves, frequencies;
    if (!PyArg_ParseTuple(arguments, "OO:tables", &first, &second) ||
        array_of(first, &halves, INT64, 0, "halves"))
        return NULL;
    if (!array_of(second, &frequencies, INT64, 0, "frequencies")) {
        rans_tables *made;
        int code = rans_tables_make(&made, halves.buf, array_length(&halves), frequencies.buf,
                                    array_length(&frequencies));
        if (code) raise_rans(code);
        else if (!(capsule = PyCapsule_New(made, TABLES, drop_tables))) rans_tables_free(made);
        PyBuffer_Release(&frequencies);
    }
    PyBuffer_Release(&halves);
    return capsule;
}

static PyObject *make_writer(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(nothing)) {
    rans_writer *writer = rans_writer_make();
    PyObject *capsule = hold(writer, WRITER, drop_writer);
    if (!capsule) rans_writer_free(writer);
    return capsule;
}

static PyObject *write_values(PyObject *Py_UNUSED(module), PyObject *arguments) {
    PyObject *capsule, *first, *second, *third;
    Py_buffer values, indexes;
    if (!PyArg_ParseTuple(arguments, "OOOO:write", &capsule, &first, &second, &third)) return NULL;
    const rans_tables *tables = tables_in(third);
    if (!tables || array_of(first, &values, INT32, 0, "values")) return NULL;
    int code = -1; /* an exception is set */
    if (!array_of_length(second, &indexes, UINT16, 0, "indexes", array_length(&values))) {
        rans_writer *writer = take_writer(capsule);
        if (writer) {
            Py_BEGIN_ALLOW_THREADS
            code = rans_write(writer, values.buf, indexes.buf, array_length(&values), tables);
            Py_END_ALLOW_THREADS
            give_back(capsule);
        }
        PyBuffer_Release(&indexes);
    }
    PyBuffer_Release(&values);
    if (code > 0) raise_rans(code);
    return code ? NULL : Py_NewRef(Py_None);
}

static PyObject *finish(PyObject *Py_UNUSED(module), PyObject *capsule) {
    rans_writer *writer = take_writer(capsule);
    if (!writer) return NULL;
    uint8_t *bytes;
    size_t size;
    int code;
    Py_BEGIN_ALLOW_THREADS
    code = rans_finish(writer, &bytes, &size);
    Py_END_ALLOW_THREADS
    give_back(capsule);
    if (code) return raise_rans(code);
    PyObject *stream = PyBytes_FromStringAndSize((const char *)bytes, (Py_ssize_t)size);
    free(bytes);
    return stream;
}

static PyObject *make_reader(PyObject *Py_UNUSED(module), PyObject *arguments) {
    Py_buffer data;
    Py_ssize_t limit;
    if (!PyArg_ParseTuple(arguments, "y*n:reader", &data, &limit)) return NULL;
    PyObject *capsule = NULL;
    if (limit < 0) {
        PyErr_SetString(PyExc_ValueError, "limit is negative");
    } else {
        rans_reader *reader = rans_reader_make(data.buf, (size_t)data.len, (size_t)limit);
        capsule = hold(reader, READER, drop_reader);
        if (!capsule) rans_reader_free(reader);
    }
    PyBuffer_Release(&data);
    return capsule;
}

static PyObject *read_values(PyObject *Py_UNUSED(module), PyObject *arguments) {
    PyObject *capsule, *first, *second, *third;
    Py_buffer indexes, values;
    if (!PyArg_ParseTuple(arguments, "OOOO:read", &capsule, &first, &second, &third)) return NULL;
    const rans_tables *tables = tables_in(third);
    if (!tables || array_of(first, &indexes, UINT16, 0, "indexes")) return NULL;
    int code = -1; /* an exception is set */
    if (!array_of_length(second, &values, INT32, 1, "values", array_length(&indexes))) {
        rans_reader *reader = take_reader(capsule);
        if (reader) {
            Py_BEGIN_ALLOW_THREADS
            code = rans_read(reader, values.buf, indexes.buf, array_length(&indexes), tables);
            Py_END_ALLOW_THREADS
            give_back(capsule);
        }
        PyBuffer_Release(&values);
    }
    PyBuffer_Release(&indexes);
    if (code > 0) raise_rans(code);
    return code ? NULL : Py_NewRef(Py_None);
}

PyMethodDef rans_methods[] = {
    {"tables", make_tables, METH_VARARGS,
     "tables(halves, frequencies): int64 arrays. See ticodec.entropy.rans.Tables.\n\n"
     "Raises ValueError if the numbers are not tables."},
    {"writer", make_writer, METH_NOARGS, "writer(): an empty writer."},
    {"write", write_values, METH_VARARGS,
     "write(writer, values, indexes, tables): int32 and uint16 arrays of the same length.\n\n"
     "Raises IndexError for an index that no table has, and ValueError for a value too far\n"
     "outside its table. In both cases nothing is written."},
    {"finish", finish, METH_O, "finish(writer): the stream, bytes. The writer is empty then."},
    {"reader", make_reader, METH_VARARGS,
     "reader(data, limit): a reader of a stream, from which `limit` values may be read in all."},
    {"read", read_values, METH_VARARGS,
     "read(reader, indexes, values, tables): fills `values` (int32). `indexes` is uint16.\n\n"
     "Raises IndexError for an index that no table has, and ValueError if more than `limit`\n"
     "values are read or an escape is impossible. In all these cases nothing is read."},
    {NULL, NULL, 0, NULL},
};
