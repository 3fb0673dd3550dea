/* Jobs: work that several Python threads do together without the GIL. See module.h. */
#include "module.h"

#include <stdlib.h>
#include <time.h>

#define JOB "ticodec.job"
/* Seconds between two checks for Ctrl-C. */
#define PATIENCE 0.1
#define MOST_THREADS 1024

static void free_job(job *j) {
    if (j->work) j->free_work(j->work);
    for (size_t i = 0; i < j->views_held; i++) PyBuffer_Release(&j->views[i]);
    for (size_t i = 0; i < j->coders_held; i++) give_back(j->coders[i]);
    Py_XDECREF(j->arguments);
    free(j->views), free(j->coders), free(j->started), free(j);
}

static void job_destructor(PyObject *capsule) { free_job(PyCapsule_GetPointer(capsule, JOB)); }

PyObject *job_make(PyObject *arguments, Py_ssize_t threads, size_t views, size_t coders,
                   job **made) {
    if (threads < 1 || threads > MOST_THREADS) return PyErr_BadArgument(), NULL;
    job *j = calloc(1, sizeof *j);
    if (!j) return PyErr_NoMemory();
    Py_INCREF(arguments);
    j->arguments = arguments, j->threads = j->team.size = (size_t)threads;
    j->views = calloc(views + 1, sizeof *j->views);
    j->coders = calloc(coders + 1, sizeof *j->coders);
    j->started = calloc(j->threads, sizeof *j->started);
    PyObject *capsule = NULL;
    if (!j->views || !j->coders || !j->started) PyErr_NoMemory();
    else capsule = PyCapsule_New(j, JOB, job_destructor);
    if (capsule) *made = j;
    else free_job(j);
    return capsule;
}

void *job_hold(job *j, PyObject *object, array_type type, int writable, const char *name,
               size_t count) {
    Py_buffer *view = &j->views[j->views_held];
    if (array_of_length(object, view, type, writable, name, count)) return NULL;
    j->views_held++;
    return view->buf;
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

/* run(job, thread) -> bool: does one thread's part of the work, without the GIL. Each thread calls
 * it once. It returns False if the team was disbanded before all threads had come. Then nothing was
 * done. */
static PyObject *run(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *capsule;
    Py_ssize_t thread;
    if (!PyArg_ParseTuple(args, "On", &capsule, &thread)) return NULL;
    job *j = PyCapsule_GetPointer(capsule, JOB);
    if (!j) return NULL;
    if (thread < 0 || (size_t)thread >= j->threads ||
        atomic_flag_test_and_set(&j->started[thread])) {
        PyErr_BadArgument();
        return NULL;
    }
    python p = {NULL, now()};
    p.thread = PyEval_SaveThread();
    int all = team_gather(&j->team), failed = 0;
    if (all) failed = j->run_work(j->work, (size_t)thread, thread ? NULL : interrupted, &p);
    PyEval_RestoreThread(p.thread);
    if (failed < 0 && !thread) return NULL; /* the handler's exception is set */
    if (failed > 0 && !thread) return raise_rans(failed);
    return PyBool_FromLong(all);
}

/* disband(job): ends the waiting of threads whose `run` still waits for the other threads. */
static PyObject *disband(PyObject *self, PyObject *capsule) {
    (void)self;
    job *j = PyCapsule_GetPointer(capsule, JOB);
    if (!j) return NULL;
    team_disband(&j->team);
    Py_RETURN_NONE;
}

PyMethodDef job_methods[] = {
    {"run", run, METH_VARARGS,
     "run(job, thread): one thread's part of a job. Each thread calls it once."},
    {"disband", disband, METH_O,
     "disband(job): ends the waiting of threads whose `run` still waits for the other threads."},
    {NULL, NULL, 0, NULL},
};
