/* The hyper-synthesis for Python: the functions `hyper` and `synthesis`. See native/hyper.py. */
#include "module.h"
#include "hyper.h"

#include <stdlib.h>

#define HYPER "ticodec.hyper"

/* -- weights ----------------------------------------------------------------------- */

static void free_hyper(hyper *h) {
    for (size_t s = 0; s < STAGES; s++) {
        hyper_stage *stage = &h->stages[s];
        for (size_t p = 0; p < PARITIES; p++) free_layer(&stage->up[p]);
        for (size_t i = 0; stage->layers && i < stage->count; i++) {
            swin_layer *l = &stage->layers[i];
            free_layer(&l->qkv), free_layer(&l->proj), free_layer(&l->mlp1), free_layer(&l->mlp2);
            free(l->after_mlp1.table), free(l->bias);
        }
        free(stage->layers);
    }
    free(h->exp), free(h);
}

static void hyper_destructor(PyObject *capsule) {
    free_hyper(PyCapsule_GetPointer(capsule, HYPER));
}

/* Reads a tuple (layers, hidden, curves, shifted, bias, score factor). */
static int read_swin(const hyper *h, const hyper_stage *s, PyObject *tuple, swin_layer *l) {
    PyObject *layers, *curves, *bias;
    Py_ssize_t hidden;
    int shifted;
    if (!PyTuple_Check(tuple)) return PyErr_BadArgument(), -1;
    if (!PyArg_ParseTuple(tuple, "O!nO!pOd", &PyTuple_Type, &layers, &hidden, &PyTuple_Type,
                          &curves, &shifted, &bias, &l->score_factor))
        return -1;
    if (hidden < 1 || hidden > MOST_CHANNELS) return PyErr_BadArgument(), -1;
    size_t seen = s->groups * s->depth * BLOCK, tokens = h->window * h->window;
    l->shift = shifted ? h->window / 2 : 0;
    if (read_layer(layers, 0, h->N, 3 * seen, &l->qkv)) return -1;
    if (read_layer(layers, 1, seen, h->N, &l->proj)) return -1;
    if (read_layer(layers, 2, h->N, (size_t)hidden, &l->mlp1)) return -1;
    if (read_layer(layers, 3, (size_t)hidden, h->N, &l->mlp2)) return -1;
    if (read_curve(curves, 0, &l->after_mlp1)) return -1;
    size_t biases = patterns_of(l) * s->groups * tokens * tokens * BLOCK;
    return (l->bias = copy_of(bias, INT32, "bias", biases)) ? 0 : -1;
}

/* Reads a tuple (heads, ups, Swin layers, epsilon). */
static int read_stage(hyper *h, PyObject *tuple, hyper_stage *s) {
    PyObject *ups, *layers;
    Py_ssize_t heads;
    if (!PyTuple_Check(tuple)) return PyErr_BadArgument(), -1;
    if (!PyArg_ParseTuple(tuple, "nO!O!d", &heads, &PyTuple_Type, &ups, &PyTuple_Type, &layers,
                          &s->epsilon))
        return -1;
    if (heads < 1 || h->N % (size_t)heads) return PyErr_BadArgument(), -1;
    s->groups = PADDED((size_t)heads) / BLOCK, s->depth = h->N / (size_t)heads;
    for (size_t p = 0; p < PARITIES; p++) {
        size_t taps = (p / 2 + 1) * (p % 2 + 1);
        if (read_layer(ups, p, taps * h->N, h->N, &s->up[p])) return -1;
    }
    s->count = (size_t)PyTuple_Size(layers);
    if (!(s->layers = calloc(s->count + 1, sizeof *s->layers))) return PyErr_NoMemory(), -1;
    for (size_t i = 0; i < s->count; i++)
        if (read_swin(h, s, PyTuple_GetItem(layers, (Py_ssize_t)i), &s->layers[i])) return -1;
    return 0;
}

static int read_hyper(hyper *h, PyObject *args) {
    PyObject *stages, *exp;
    Py_ssize_t N, window;
    const char *instructions;
    if (!PyArg_ParseTuple(args, "(nnp)O!Oz", &N, &window, &h->leaky, &PyTuple_Type, &stages, &exp,
                          &instructions))
        return -1;
    if (N < 1 || N > MOST_CHANNELS) return PyErr_BadArgument(), -1;
    if (window < 1 || window > MOST_TOKENS || window * window > MOST_TOKENS)
        return PyErr_BadArgument(), -1;
    if (!(h->run = kernels_find(instructions))) {
        PyErr_SetString(PyExc_ValueError, "this processor lacks these instructions");
        return -1;
    }
    h->N = (size_t)N, h->window = (size_t)window;
    if (PyTuple_Size(stages) != STAGES) return PyErr_BadArgument(), -1;
    for (size_t s = 0; s < STAGES; s++)
        if (read_stage(h, PyTuple_GetItem(stages, (Py_ssize_t)s), &h->stages[s])) return -1;
    return (h->exp = copy_of(exp, INT32, "exp", EXP_SIZE)) ? 0 : -1;
}

/* hyper((N, window, leaky), stages, exp, instructions) -> capsule */
static PyObject *make_hyper(PyObject *self, PyObject *args) {
    (void)self;
    hyper *h = calloc(1, sizeof *h);
    if (!h) return PyErr_NoMemory();
    PyObject *capsule = read_hyper(h, args) ? NULL : PyCapsule_New(h, HYPER, hyper_destructor);
    if (!capsule) free_hyper(h);
    return capsule;
}

/* -- work -------------------------------------------------------------------------- */

static int run_work(void *work, size_t thread, int (*interrupted)(void *), void *context) {
    return hyper_run(work, thread, interrupted, context);
}

static void free_work(void *work) { hyper_free(work); }

/* synthesis(hyper, (height, width), z, hidden, threads) -> job */
static PyObject *make_synthesis(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *capsule, *z, *hidden;
    Py_ssize_t height, width, threads;
    if (!PyArg_ParseTuple(args, "O(nn)OOn", &capsule, &height, &width, &z, &hidden, &threads))
        return NULL;
    const hyper *h = PyCapsule_GetPointer(capsule, HYPER);
    if (!h) return NULL;
    if (height < 1 || width < 1 || (size_t)height > MOST_CELLS / 16 / (size_t)width) {
        PyErr_BadArgument();
        return NULL;
    }
    job *j;
    PyObject *made = job_make(args, threads, 2, 0, &j);
    if (!made) return NULL;
    hyper_map m = {(size_t)height, (size_t)width, NULL, NULL};
    size_t cells = m.height * m.width;
    j->run_work = run_work, j->free_work = free_work;
    if ((m.z = job_hold(j, z, INT16, 0, "z", cells * h->N)) &&
        (m.hidden = job_hold(j, hidden, FLOAT32, 1, "hidden", 16 * cells * h->N))) {
        if ((j->work = hyper_make(h, &m, j->threads))) return made;
        PyErr_NoMemory();
    }
    Py_DECREF(made);
    return NULL;
}

PyMethodDef hyper_methods[] = {
    {"hyper", make_hyper, METH_VARARGS, "The weights of h_s. See native/hyper.py."},
    {"synthesis", make_synthesis, METH_VARARGS,
     "The job of h_s for one image. See native/hyper.py."},
    {NULL, NULL, 0, NULL},
};
