/* The wavefront for Python: `network`, `wavefront`, `run`. See native/wavefront.py. */
#include "module.h"
#include "wavefront.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NETWORK "ticodec.network"
#define WAVEFRONT "ticodec.wavefront"
/* Seconds between two looks for Ctrl-C. */
#define PATIENCE 0.1
/* More than any model has; they keep products of sizes from overflowing. */
#define MOST_CHANNELS 65536
#define MOST_CELLS ((size_t)1 << 40)

/* -- network ----------------------------------------------------------------------- */

/* A copy of an array of `count` numbers, NULL with an exception set if it is not that. */
static void *copy_of(PyObject *object, array_type type, const char *name, size_t count) {
    Py_buffer view;
    if (array_of_length(object, &view, type, 0, name, count)) return NULL;
    void *copy = malloc(view.len ? (size_t)view.len : 1);
    if (copy) memcpy(copy, view.buf, (size_t)view.len);
    else PyErr_NoMemory();
    PyBuffer_Release(&view);
    return copy;
}

/* (weight, bias, scale, limit) of a layer of these sizes. */
static int read_layer(PyObject *layers, size_t number, size_t in, size_t out, layer *l) {
    static const char *name = "layer";
    PyObject *tuple = PyTuple_GetItem(layers, (Py_ssize_t)number), *weight, *bias, *scale;
    if (!tuple || !PyArg_ParseTuple(tuple, "OOOd", &weight, &bias, &scale, &l->limit)) return -1;
    l->in = in, l->out = out;
    if (!(l->weight = copy_of(weight, INT16, name, PADDED(out) * in))) return -1;
    if (!(l->bias = copy_of(bias, FLOAT64, name, PADDED(out)))) return -1;
    return (l->scale = copy_of(scale, FLOAT64, name, PADDED(out))) ? 0 : -1;
}

static int read_curve(PyObject *curves, size_t number, curve *c) {
    PyObject *object = PyTuple_GetItem(curves, (Py_ssize_t)number);
    Py_buffer view;
    if (!object || array_of(object, &view, INT32, 0, "curve")) return -1;
    c->size = array_length(&view);
    PyBuffer_Release(&view);
    if (!c->size || c->size > INT32_MAX) {
        PyErr_SetString(PyExc_BufferError, "a curve needs entries");
        return -1;
    }
    return (c->table = copy_of(object, INT32, "curve", c->size)) ? 0 : -1;
}

static void free_network(network *n) {
    layer *layers[] = {&n->qkv,     &n->mlp1,  &n->mlp2,   &n->hyper,
                       &n->context, &n->conv2, &n->scales, &n->means};
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
        free(layers[i]->weight), free(layers[i]->bias), free(layers[i]->scale);
    free(n->after_mlp1.table), free(n->after_context.table), free(n->after_conv2.table);
    free(n->bias), free(n->exp), free(n->masked), free(n->thresholds), free(n);
}

static void network_destructor(PyObject *capsule) {
    free_network(PyCapsule_GetPointer(capsule, NETWORK));
}

static int read_network(network *n, PyObject *args) {
    PyObject *layers, *curves, *bias, *exp, *masked, *thresholds;
    Py_ssize_t M, heads, features, hidden, mixed, deep;
    const char *instructions;
    if (!PyArg_ParseTuple(args, "(nnnnnn)O!O!OOOO(ddddd)z", &M, &heads, &features, &hidden, &mixed,
                          &deep, &PyTuple_Type, &layers, &PyTuple_Type, &curves, &bias, &exp,
                          &masked, &thresholds, &n->score_factor, &n->y_factor, &n->v_factor,
                          &n->y_epsilon, &n->x_epsilon, &instructions))
        return -1;
    Py_ssize_t sizes[] = {M, heads, features, hidden, mixed, deep};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i] < 1 || sizes[i] > MOST_CHANNELS) return PyErr_BadArgument(), -1;
    if (M % heads) return PyErr_BadArgument(), -1;
    if (!(n->run = kernels_find(instructions))) {
        PyErr_SetString(PyExc_ValueError, "this processor lacks these instructions");
        return -1;
    }
    n->M = (size_t)M, n->heads = (size_t)heads, n->depth = n->M / n->heads;
    n->groups = PADDED(n->heads) / BLOCK;
    size_t token = 3 * n->groups * n->depth * BLOCK;
    struct { layer *layer; Py_ssize_t in, out; } all[] = {
        {&n->qkv, M, (Py_ssize_t)token}, {&n->mlp1, M, hidden}, {&n->mlp2, hidden, M},
        {&n->hyper, features, mixed}, {&n->context, M, mixed}, {&n->conv2, mixed, deep},
        {&n->scales, deep, M}, {&n->means, deep, M},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (read_layer(layers, i, (size_t)all[i].in, (size_t)all[i].out, all[i].layer)) return -1;
    curve *three[] = {&n->after_mlp1, &n->after_context, &n->after_conv2};
    for (size_t i = 0; i < 3; i++)
        if (read_curve(curves, i, three[i])) return -1;
    Py_buffer view;
    if (array_of(thresholds, &view, FLOAT64, 0, "thresholds")) return -1;
    n->tables = array_length(&view);
    PyBuffer_Release(&view);
    if (n->tables > UINT16_MAX) return PyErr_BadArgument(), -1;
    if (!(n->thresholds = copy_of(thresholds, FLOAT64, "thresholds", n->tables))) return -1;
    size_t biases = n->groups * QUERIES_ALL * TOKENS * BLOCK;
    if (!(n->bias = copy_of(bias, INT32, "bias", biases))) return -1;
    if (!(n->exp = copy_of(exp, INT32, "exp", EXP_SIZE))) return -1;
    return (n->masked = copy_of(masked, INT16, "masked", token)) ? 0 : -1;
}

/* network((M, heads, features, hidden, mixed, deep), layers, curves, bias, exp, masked, thresholds,
 * factors, instructions) -> capsule */
static PyObject *make_network(PyObject *self, PyObject *args) {
    (void)self;
    network *n = calloc(1, sizeof *n);
    if (!n) return PyErr_NoMemory();
    PyObject *capsule = read_network(n, args) ? NULL : PyCapsule_New(n, NETWORK, network_destructor);
    if (!capsule) free_network(n);
    return capsule;
}

/* -- wavefront --------------------------------------------------------------------- */

/* A wavefront and what keeps its maps' memory alive. */
typedef struct {
    wavefront *wavefront;
    size_t threads, views_held, coders_held;
    Py_buffer *views;   /* up to four a map */
    PyObject **coders;  /* capsules taken, one a map */
    PyObject *arguments;
    atomic_flag *started; /* of each thread */
} job;

static void free_job(job *j) {
    wavefront_free(j->wavefront);
    for (size_t i = 0; i < j->views_held; i++) PyBuffer_Release(&j->views[i]);
    for (size_t i = 0; i < j->coders_held; i++) give_back(j->coders[i]);
    Py_XDECREF(j->arguments);
    free(j->views), free(j->coders), free(j->started), free(j);
}

static void job_destructor(PyObject *capsule) { free_job(PyCapsule_GetPointer(capsule, WAVEFRONT)); }

/* The buffer of an array of `count` numbers, held until the job ends. */
static void *hold(job *j, PyObject *object, array_type type, int writable, const char *name,
                  size_t count) {
    Py_buffer *view = &j->views[j->views_held];
    if (array_of_length(object, view, type, writable, name, count)) return NULL;
    j->views_held++;
    return view->buf;
}

/* (height, width, features, y or None, coder, tables, symbols, y_hat) */
static int read_map(job *j, const network *n, PyObject *tuple, map *m) {
    PyObject *features, *y, *coder, *tables, *symbols, *y_hat;
    Py_ssize_t height, width;
    if (!PyArg_ParseTuple(tuple, "nnOOOOOO", &height, &width, &features, &y, &coder, &tables,
                          &symbols, &y_hat))
        return -1;
    if (height < 1 || width < 1 || (size_t)height > MOST_CELLS / (size_t)width)
        return PyErr_BadArgument(), -1;
    m->height = (size_t)height, m->width = (size_t)width;
    size_t cells = m->height * m->width, latents = cells * n->M;
    if (!(m->tables = tables_in(tables))) return -1;
    if (rans_tables_count(m->tables) != n->tables + 1) return PyErr_BadArgument(), -1;
    if (!(m->features = hold(j, features, FLOAT32, 0, "features", cells * n->hyper.in))) return -1;
    if (y != Py_None && !(m->y = hold(j, y, FLOAT64, 0, "y", latents))) return -1;
    if (!(m->symbols = hold(j, symbols, INT16, 1, "symbols", latents))) return -1;
    if (!(m->y_hat = hold(j, y_hat, FLOAT64, 1, "y_hat", latents))) return -1;
    if (m->y) m->writer = take_writer(coder);
    else m->reader = take_reader(coder);
    if (!m->writer && !m->reader) return -1;
    j->coders[j->coders_held++] = coder;
    return 0;
}

static int read_job(job *j, PyObject *args) {
    PyObject *capsule, *maps;
    Py_ssize_t threads;
    if (!PyArg_ParseTuple(args, "OO!n", &capsule, &PyTuple_Type, &maps, &threads)) return -1;
    const network *n = PyCapsule_GetPointer(capsule, NETWORK);
    if (!n) return -1;
    if (threads < 1 || threads > 1024) return PyErr_BadArgument(), -1;
    size_t count = (size_t)PyTuple_Size(maps);
    Py_INCREF(args);
    j->arguments = args, j->threads = (size_t)threads;
    map *all = calloc(count + 1, sizeof *all);
    j->views = calloc(4 * count + 1, sizeof *j->views);
    j->coders = calloc(count + 1, sizeof *j->coders);
    j->started = calloc(j->threads, sizeof *j->started);
    int failed = !all || !j->views || !j->coders || !j->started;
    if (failed) PyErr_NoMemory();
    for (size_t i = 0; !failed && i < count; i++)
        failed = read_map(j, n, PyTuple_GetItem(maps, (Py_ssize_t)i), &all[i]);
    if (!failed && !(j->wavefront = wavefront_make(n, all, count, j->threads)))
        failed = 1, PyErr_NoMemory();
    free(all);
    return failed ? -1 : 0;
}

/* wavefront(network, maps, threads) -> capsule */
static PyObject *make_wavefront(PyObject *self, PyObject *args) {
    (void)self;
    job *j = calloc(1, sizeof *j);
    if (!j) return PyErr_NoMemory();
    PyObject *capsule = read_job(j, args) ? NULL : PyCapsule_New(j, WAVEFRONT, job_destructor);
    if (!capsule) free_job(j);
    return capsule;
}

static double now(void) {
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct {
    PyThreadState *thread;
    double looked;
} python;

/* Whether Ctrl-C, or another signal whose Python handler raises, ended the work. */
static int interrupted(void *context) {
    python *p = context;
    double time = now();
    if (time - p->looked < PATIENCE && time >= p->looked) return 0;
    p->looked = time;
    PyEval_RestoreThread(p->thread);
    int failed = PyErr_CheckSignals();
    p->thread = PyEval_SaveThread();
    return failed;
}

/* run(wavefront, thread): one thread's part, without the GIL. Each thread calls it once. */
static PyObject *run(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *capsule;
    Py_ssize_t thread;
    if (!PyArg_ParseTuple(args, "On", &capsule, &thread)) return NULL;
    job *j = PyCapsule_GetPointer(capsule, WAVEFRONT);
    if (!j) return NULL;
    if (thread < 0 || (size_t)thread >= j->threads ||
        atomic_flag_test_and_set(&j->started[thread])) {
        PyErr_BadArgument();
        return NULL;
    }
    python p = {NULL, now()};
    p.thread = PyEval_SaveThread();
    int failed = wavefront_run(j->wavefront, (size_t)thread, thread ? NULL : interrupted, &p);
    PyEval_RestoreThread(p.thread);
    if (failed < 0 && !thread) return NULL; /* the handler's exception is set */
    if (failed > 0 && !thread) return raise_rans(failed);
    Py_RETURN_NONE;
}

PyMethodDef wavefront_methods[] = {
    {"network", make_network, METH_VARARGS, NULL},
    {"wavefront", make_wavefront, METH_VARARGS, NULL},
    {"run", run, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
