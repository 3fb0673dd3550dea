/* The wavefront for Python: the functions `network` and `wavefront`. See native/wavefront.py. */
#include "module.h"
#include "wavefront.h"

#include <stdlib.h>

#define NETWORK "ticodec.network"

/* -- network ----------------------------------------------------------------------- */

static void free_network(network *n) {
    layer *layers[] = {&n->qkv,     &n->mlp1,  &n->mlp2,   &n->out,  &n->hyper,
                       &n->context, &n->conv2, &n->scales, &n->means};
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) free_layer(layers[i]);
    free(n->after_mlp1.table), free(n->after_context.table), free(n->after_conv2.table);
    free(n->bias), free(n->exp), free(n->masked), free(n->thresholds), free(n);
}

static void network_destructor(PyObject *capsule) {
    free_network(PyCapsule_GetPointer(capsule, NETWORK));
}

static int read_network(network *n, PyObject *args) {
    PyObject *layers, *curves, *bias, *exp, *masked, *thresholds;
    Py_ssize_t M, heads, N, features, hidden, mixed, deep;
    const char *instructions;
    if (!PyArg_ParseTuple(args, "(nnnnnnn)O!O!OOOO(ddddd)z", &M, &heads, &N, &features, &hidden,
                          &mixed, &deep, &PyTuple_Type, &layers, &PyTuple_Type, &curves, &bias,
                          &exp, &masked, &thresholds, &n->score_factor, &n->y_factor, &n->v_factor,
                          &n->y_epsilon, &n->x_epsilon, &instructions))
        return -1;
    Py_ssize_t sizes[] = {M, heads, N, features, hidden, mixed, deep};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i] < 1 || sizes[i] > MOST_CHANNELS) return PyErr_BadArgument(), -1;
    if (M % heads) return PyErr_BadArgument(), -1;
    if (!(n->run = kernels_find(instructions))) {
        PyErr_SetString(PyExc_ValueError, "this processor lacks these instructions");
        return -1;
    }
    n->M = (size_t)M, n->N = (size_t)N, n->heads = (size_t)heads, n->depth = n->M / n->heads;
    n->groups = PADDED(n->heads) / BLOCK;
    size_t token = 3 * n->groups * n->depth * BLOCK;
    struct {
        layer *layer;
        Py_ssize_t in, out;
    } all[] = {
        {&n->qkv, M, (Py_ssize_t)token}, {&n->mlp1, M, hidden},        {&n->mlp2, hidden, M},
        {&n->out, 9 * N, features},      {&n->hyper, features, mixed}, {&n->context, M, mixed},
        {&n->conv2, mixed, deep},        {&n->scales, deep, M},        {&n->means, deep, M},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (read_layer(layers, i, (size_t)all[i].in, (size_t)all[i].out, all[i].layer)) return -1;
    curve *three[] = {&n->after_mlp1, &n->after_context, &n->after_conv2};
    for (size_t i = 0; i < 3; i++)
        if (read_curve(curves, i, three[i])) return -1;
    Py_buffer view;
    if (array_of(thresholds, &view, FLOAT64, 0, "thresholds")) return -1;
    n->count_thresholds = array_length(&view);
    PyBuffer_Release(&view);
    if (n->count_thresholds > UINT16_MAX) return PyErr_BadArgument(), -1;
    if (!(n->thresholds = copy_of(thresholds, FLOAT64, "thresholds", n->count_thresholds)))
        return -1;
    size_t biases = n->groups * QUERIES_ALL * TOKENS * BLOCK;
    if (!(n->bias = copy_of(bias, INT32, "bias", biases))) return -1;
    if (!(n->exp = copy_of(exp, INT32, "exp", EXP_SIZE))) return -1;
    return (n->masked = copy_of(masked, INT16, "masked", token)) ? 0 : -1;
}

/* network((M, heads, N, features, hidden, mixed, deep), layers, curves, bias, exp, masked,
 * thresholds, factors, instructions) -> capsule */
static PyObject *make_network(PyObject *self, PyObject *args) {
    (void)self;
    network *n = calloc(1, sizeof *n);
    if (!n) return PyErr_NoMemory();
    PyObject *capsule =
        read_network(n, args) ? NULL : PyCapsule_New(n, NETWORK, network_destructor);
    if (!capsule) free_network(n);
    return capsule;
}

/* -- wavefront --------------------------------------------------------------------- */

static int run_work(void *work, size_t thread, int (*interrupted)(void *), void *context) {
    return wavefront_run(work, thread, interrupted, context);
}

static void free_work(void *work) { wavefront_free(work); }

/* Reads a tuple (height, width, hidden, y or None, (errors, savings) or None, coder, tables,
 * symbols, y_hat or None). */
static int read_map(job *j, const network *n, PyObject *tuple, map *m) {
    PyObject *hidden, *y, *rounding, *coder, *tables, *symbols, *y_hat, *errors, *savings;
    Py_ssize_t height, width;
    if (!PyArg_ParseTuple(tuple, "nnOOOOOOO", &height, &width, &hidden, &y, &rounding, &coder,
                          &tables, &symbols, &y_hat))
        return -1;
    if (height < 1 || width < 1 || (size_t)height > MOST_CELLS / (size_t)width)
        return PyErr_BadArgument(), -1;
    m->height = (size_t)height, m->width = (size_t)width;
    size_t cells = m->height * m->width, latents = cells * n->M;
    if (!(m->tables = tables_in(tables))) return -1;
    if (rans_tables_count(m->tables) != n->count_thresholds + 1) return PyErr_BadArgument(), -1;
    if (!(m->hidden = job_hold(j, hidden, FLOAT32, 0, "hidden", cells * n->N))) return -1;
    if (y != Py_None && !(m->y = job_hold(j, y, FLOAT32, 0, "y", latents))) return -1;
    if (rounding != Py_None) {
        if (!PyTuple_Check(rounding)) return PyErr_BadArgument(), -1;
        if (!PyArg_ParseTuple(rounding, "OO", &errors, &savings)) return -1;
        size_t all = (n->count_thresholds + 1) * MAGNITUDES;
        if (!(m->rounding.errors = job_hold(j, errors, FLOAT32, 0, "errors", n->M))) return -1;
        if (!(m->rounding.savings = job_hold(j, savings, FLOAT32, 0, "savings", all))) return -1;
    }
    if (!(m->symbols = job_hold(j, symbols, INT16, 1, "symbols", latents))) return -1;
    if (y_hat != Py_None && !(m->y_hat = job_hold(j, y_hat, FLOAT32, 1, "y_hat", latents)))
        return -1;
    if (m->y) m->writer = take_writer(coder);
    else m->reader = take_reader(coder);
    if (!m->writer && !m->reader) return -1;
    j->coders[j->coders_held++] = coder;
    return 0;
}

/* wavefront(network, maps, threads) -> job */
static PyObject *make_wavefront(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *capsule, *maps;
    Py_ssize_t threads;
    if (!PyArg_ParseTuple(args, "OO!n", &capsule, &PyTuple_Type, &maps, &threads)) return NULL;
    const network *n = PyCapsule_GetPointer(capsule, NETWORK);
    if (!n) return NULL;
    size_t count = (size_t)PyTuple_Size(maps);
    job *j;
    PyObject *made = job_make(args, threads, 6 * count, count, &j);
    if (!made) return NULL;
    map *all = calloc(count + 1, sizeof *all);
    int failed = !all;
    if (failed) PyErr_NoMemory();
    for (size_t i = 0; !failed && i < count; i++)
        failed = read_map(j, n, PyTuple_GetItem(maps, (Py_ssize_t)i), &all[i]);
    j->run_work = run_work, j->free_work = free_work;
    if (!failed && !(j->work = wavefront_make(n, all, count, j->threads)))
        failed = 1, PyErr_NoMemory();
    free(all);
    if (!failed) return made;
    Py_DECREF(made);
    return NULL;
}

PyMethodDef wavefront_methods[] = {
    {"network", make_network, METH_VARARGS,
     "The CAM and the entropy head. See native/wavefront.py."},
    {"wavefront", make_wavefront, METH_VARARGS, "The job of a wavefront. See native/wavefront.py."},
    {NULL, NULL, 0, NULL},
};
